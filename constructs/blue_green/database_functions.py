"""The functions that work inside one database: its bootstrap and the rotation of its secrets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from blue_green.database_secrets import DatabaseSecrets
from blue_green.runtime_function import SOURCE_ROOT, Placement, RuntimeFunction, packages_of
from blue_green.runtime_layer import DATABASE_CA_PATH
from blue_green.staged_folder import PROJECT, copy_source, digest, staged
from policy.acknowledgement import acknowledge

SCHEMA_FILES = {
    "payments.sql": PROJECT / "service" / "payment_service" / "schema.sql",
}
"""SQL that the bootstrap applies beside its own files, by the name it gets there."""

RESUME_EVERY = cdk.Duration.minutes(15)


def stage_bootstrap() -> Path:
    """Lay out the code of the bootstrap with the SQL it applies, and return the folder."""

    def lay_out(target: Path) -> None:
        for package in packages_of("database_bootstrap"):
            copy_source(SOURCE_ROOT / package, target / package)
        for name, source in SCHEMA_FILES.items():
            shutil.copyfile(source, target / "database_bootstrap" / "schema" / name)

    return staged("database-bootstrap", lay_out)


class DatabaseFunctions(Construct):
    """Bootstrap and rotation of one database; each may reach that database's secrets and no other.

    Attributes:
        rotation: the rotation function.
        bootstrapped: the custom resource; accounts and schemas exist when it does.
    """

    rotation: lambda_.Function
    bootstrapped: cdk.CustomResource

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        database: str,
        secrets: DatabaseSecrets,
        placement: Placement,
        state_table: dynamodb.ITable,
        replication_task_arns: Sequence[str],
        writer_at_creation: bool,
        binlog_retention_hours: int,
        payment_schema: str,
        control_schema: str,
        loopback_schemas: Sequence[str],
    ) -> None:
        super().__init__(scope, construct_id)
        code = stage_bootstrap()
        bootstrap = self._function(
            "Bootstrap",
            placement,
            package="database_bootstrap",
            description=f"Schemas and accounts of the {database} database",
            timeout=cdk.Duration.minutes(15),
            environment={},
            code=lambda_.Code.from_asset(str(code)),
        )
        self._read(bootstrap, placement.secrets_key, secrets.every)
        self.bootstrapped = cdk.CustomResource(
            self,
            "Bootstrapped",
            resource_type="Custom::DatabaseBootstrap",
            service_token=bootstrap.function.function_arn,
            properties={
                "Environment": database,
                "AdminSecretArn": secrets.admin.secret_arn,
                "ApplicationSecretArn": secrets.application.secret_arn,
                "ReplicationSecretArn": secrets.replication.secret_arn,
                "WriterAtCreation": str(writer_at_creation).lower(),
                "BinlogRetentionHours": str(binlog_retention_hours),
                "PaymentSchema": payment_schema,
                "ControlSchema": control_schema,
                "LoopbackSchemas": list(loopback_schemas),
                # A change of the code or of the SQL runs it again.
                "Revision": digest(code),
            },
        )
        rotation = self._function(
            "Rotation",
            placement,
            package="secret_rotation",
            description=f"Rotation of the secrets of the {database} database",
            timeout=cdk.Duration.minutes(15),
            environment={
                "ADMIN_SECRET_ARN": secrets.admin.secret_arn,
                "APPLICATION_SECRET_ARN": secrets.application.secret_arn,
                "REPLICATION_SECRET_ARN": secrets.replication.secret_arn,
                "STATE_TABLE_NAME": state_table.table_name,
                "REPLICATION_TASK_ARNS": json.dumps(list(replication_task_arns)),
            },
        )
        self._let_rotate(rotation, placement, secrets, state_table, replication_task_arns)
        self._resume(rotation.function, database)
        self.rotation = rotation.function

    def _function(
        self,
        construct_id: str,
        placement: Placement,
        *,
        package: str,
        description: str,
        timeout: cdk.Duration,
        environment: dict[str, str],
        code: lambda_.Code | None = None,
    ) -> RuntimeFunction:
        return RuntimeFunction(
            self,
            construct_id,
            package=package,
            description=description,
            placement=placement,
            timeout=timeout,
            environment={"DATABASE_CA_PATH": DATABASE_CA_PATH, **environment},
            code=code,
        )

    def _resume(self, rotation: lambda_.Function, database: str) -> None:
        """Finish what a cutover deferred or a failure broke off: Secrets Manager retries only for a while."""
        rule = events.Rule(
            self,
            "ResumeRotation",
            description=f"Finishes rotations of the {database} database that were deferred or broke off",
            schedule=events.Schedule.rate(RESUME_EVERY),
        )
        rule.add_target(
            targets.LambdaFunction(
                rotation,
                event=events.RuleTargetInput.from_object({"Step": "resumeUnfinished"}),
                # It comes again by itself.
                retry_attempts=0,
                max_event_age=RESUME_EVERY,
            )
        )

    def _read(self, function: RuntimeFunction, key: kms.IKey, secrets: Sequence[secretsmanager.Secret]) -> None:
        function.permissions.allow("secretsmanager:GetSecretValue", resources=[each.secret_arn for each in secrets])
        function.permissions.allow(
            "kms:Decrypt",
            resources=[key.key_arn],
            conditions={
                "StringEquals": {"kms:ViaService": f"secretsmanager.{cdk.Stack.of(self).region}.amazonaws.com"}
            },
        )

    def _let_rotate(
        self,
        function: RuntimeFunction,
        placement: Placement,
        secrets: DatabaseSecrets,
        state_table: dynamodb.ITable,
        task_arns: Sequence[str],
    ) -> None:
        key, state_key = placement.secrets_key, placement.functions_key
        self._read(function, key, secrets.every)
        allow = function.permissions.allow
        allow(
            "secretsmanager:DescribeSecret",
            "secretsmanager:PutSecretValue",
            "secretsmanager:UpdateSecretVersionStage",
            resources=[each.secret_arn for each in secrets.every],
        )
        allow(
            "kms:GenerateDataKey",
            resources=[key.key_arn],
            conditions={
                "StringEquals": {"kms:ViaService": f"secretsmanager.{cdk.Stack.of(self).region}.amazonaws.com"}
            },
        )
        allow("secretsmanager:GetRandomPassword", resources=["*"])
        # It reads the lease and writes only what it has to remember about a restart of the replication tasks.
        allow("dynamodb:GetItem", "dynamodb:ConditionCheckItem", resources=[state_table.table_arn])
        allow(
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
            "dynamodb:DeleteItem",
            resources=[state_table.table_arn],
            conditions={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["RESTART"]}},
        )
        allow(
            "kms:Decrypt",
            "kms:GenerateDataKey",
            resources=[state_key.key_arn],
            conditions={"StringEquals": {"kms:ViaService": f"dynamodb.{cdk.Stack.of(self).region}.amazonaws.com"}},
        )
        if task_arns:
            allow("dms:StopReplicationTask", "dms:StartReplicationTask", resources=list(task_arns))
            allow("dms:DescribeReplicationTasks", resources=["*"])
        acknowledge(
            function.permissions.policy,
            "AwsSolutions::AwsSolutions-IAM5[Resource::*]",
            reason="A random password belongs to no resource, and DMS lists tasks on all resources only; both read and "
            "change nothing.",
        )
