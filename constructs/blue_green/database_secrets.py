"""The secrets of one database: who may do what in it, by account."""

from __future__ import annotations

import json

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

PASSWORD_LENGTH = 40
ROTATION_DAYS = 30
"""Rotation period that is demanded, in days."""

ADMIN = "payments_admin"
APPLICATION_PAIR = ("payments_app_a", "payments_app_b")
REPLICATION_PAIR = ("dms_a", "dms_b")


class DatabaseSecrets(Construct):
    """Admin, application pair and replication pair of one database.

    A pair has two accounts of which the secret names the one in use; rotation changes the other one's password and
    then swaps the two, so that an open system keeps a password that works.

    Attributes:
        admin: the master user.
        application: accounts of the payment service; the fence locks them.
        replication: accounts of DMS.
    """

    admin: secretsmanager.Secret
    application: secretsmanager.Secret
    replication: secretsmanager.Secret

    def __init__(self, scope: Construct, construct_id: str, *, database: str, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        self._key = key
        self.admin = self._secret("Admin", f"Master user of the {database} database", username=ADMIN)
        self.application = self._pair("Application", f"Payment service in the {database} database", APPLICATION_PAIR)
        self.replication = self._pair("Replication", f"DMS in the {database} database", REPLICATION_PAIR)

    def _pair(self, construct_id: str, description: str, accounts: tuple[str, str]) -> secretsmanager.Secret:
        current, alternate = accounts
        return self._secret(construct_id, description, username=current, alternate_username=alternate)

    def _secret(self, construct_id: str, description: str, **fields: str) -> secretsmanager.Secret:
        return secretsmanager.Secret(
            self,
            construct_id,
            description=description,
            encryption_key=self._key,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template=json.dumps({"engine": "mysql", **fields}),
                generate_string_key="password",
                password_length=PASSWORD_LENGTH,
                # Letters and digits only: DMS refuses some punctuation, shells and URLs mangle more of it.
                exclude_punctuation=True,
            ),
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )

    @property
    def every(self) -> tuple[secretsmanager.Secret, ...]:
        """All three secrets."""
        return self.admin, self.application, self.replication

    def attach(self, cluster: rds.DatabaseCluster) -> tuple[secretsmanager.ISecret, ...]:
        """Let the secrets carry host and port of ``cluster``; what needs them depends on the result.

        The cluster has attached the admin's secret already, as that of its master user.
        """
        admin = cluster.secret
        assert admin is not None
        return admin, *(secret.attach(cluster) for secret in (self.application, self.replication))

    def rotate(self, rotation: lambda_.IFunction, *, after: Construct) -> None:
        """Rotate every secret with the function ``rotation``, beginning when ``after`` has made the accounts."""
        for secret in self.every:
            name = secret.node.id
            permission = lambda_.CfnPermission(
                self,
                f"{name}RotationPermission",
                action="lambda:InvokeFunction",
                function_name=rotation.function_arn,
                principal="secretsmanager.amazonaws.com",
                source_account=cdk.Stack.of(self).account,
                source_arn=secret.secret_arn,
            )
            schedule = secretsmanager.CfnRotationSchedule(
                self,
                f"{name}Rotation",
                secret_id=secret.secret_arn,
                rotation_lambda_arn=rotation.function_arn,
                rotation_rules=secretsmanager.CfnRotationSchedule.RotationRulesProperty(
                    automatically_after_days=ROTATION_DAYS
                ),
            )
            schedule.node.add_dependency(permission, after)
