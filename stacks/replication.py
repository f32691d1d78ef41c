"""DMS between the databases of the chain, both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_dms as dms
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from blue_green.notification_topic import NotificationTopic
from blue_green.payment_database import PaymentDatabase
from blue_green.replication_task import table_mappings, task_settings
from blue_green.runtime_layer import RDS_AUTHORITIES
from blue_green.service_role import ServiceRole
from blue_green.staged_folder import PROJECT
from policy.acknowledgement import acknowledge
from stacks.chain import LEGACY, DatabaseChain, Direction
from stacks.config import Color, LegacyDatabase, Replication
from stacks.security import Keys

ACCOUNT_ROLES: Mapping[str, str] = {
    "dms-vpc-role": "AmazonDMSVPCManagementRole",
    "dms-cloudwatch-logs-role": "AmazonDMSCloudWatchLogsRole",
}
"""Roles that DMS looks for by these very names in every account, with the policy that each needs."""

EVENT_CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "replication-task": ("configuration change", "creation", "deletion", "failure", "state change"),
    "replication-instance": ("failover", "failure", "low storage", "maintenance", "state change"),
}


class ReplicationStack(cdk.NestedStack):
    """A Multi-AZ replication instance and two tasks for each pair of neighbours.

    CloudFormation creates the tasks and does not start them; the controller does, in the right order.

    Attributes:
        instance_identifier: name of the replication instance, a dimension of its metrics.
        tasks: the task of each direction.
        events: topic of what DMS reports.
        instance: the replication instance.
        endpoints: both endpoints of every database.
    """

    instance_identifier: str
    tasks: Mapping[Direction, dms.CfnReplicationTask]
    events: NotificationTopic
    instance: dms.CfnReplicationInstance
    endpoints: Sequence[dms.CfnEndpoint]

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        chain: DatabaseChain,
        replication: Replication,
        legacy_database: LegacyDatabase | None,
        databases: Mapping[Color, PaymentDatabase],
        payment_schema: str,
        control_schema: str,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        security_group: ec2.ISecurityGroup,
        keys: Keys,
        emails: Sequence[str],
    ) -> None:
        super().__init__(scope, construct_id, description="DMS between the databases, both ways")
        self._keys = keys
        self.instance_identifier = f"{prefix}-replication"
        instance = self.instance = self._instance(replication, vpc, subnets, security_group)
        secrets = {color.value: databases[color].secrets.replication.secret_arn for color in Color}
        key_arns = dict.fromkeys(secrets, keys.secrets.key_arn)
        certificates = dict.fromkeys(secrets, self._certificate("Rds", RDS_AUTHORITIES))
        if legacy_database:
            secrets[LEGACY] = legacy_database.secret_arn
            key_arns[LEGACY] = legacy_database.secret_key_arn
            certificates[LEGACY] = self._certificate("Legacy", PROJECT / legacy_database.ca_certificate_file)
        endpoints = {
            (database, side): self._endpoint(
                database, side, secrets[database], key_arns[database], certificates[database]
            )
            for database in chain.databases
            for side in ("source", "target")
        }
        self.endpoints = tuple(endpoints.values())
        self.tasks = {
            direction: self._task(
                direction,
                instance,
                source=endpoints[direction.source, "source"],
                target=endpoints[direction.target, "target"],
                mappings=table_mappings(payment_schema=payment_schema, control_schema=control_schema),
            )
            for direction in chain.directions
        }
        self._report(emails, instance)

    def _instance(
        self,
        replication: Replication,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        security_group: ec2.ISecurityGroup,
    ) -> dms.CfnReplicationInstance:
        subnet_group = dms.CfnReplicationSubnetGroup(
            self,
            "Subnets",
            replication_subnet_group_description="Isolated subnets of the replication instance",
            subnet_ids=vpc.select_subnets(subnet_group_name=subnets.subnet_group_name).subnet_ids,
        )
        instance = dms.CfnReplicationInstance(
            self,
            "Instance",
            replication_instance_identifier=self.instance_identifier,
            replication_instance_class=replication.instance_class,
            engine_version=replication.engine_version,
            allocated_storage=replication.allocated_storage_gib,
            multi_az=True,
            publicly_accessible=False,
            kms_key_id=self._keys.database.key_arn,
            replication_subnet_group_identifier=subnet_group.ref,
            vpc_security_group_ids=[security_group.security_group_id],
            # An upgrade restarts the tasks: it is done when somebody chooses to, not in a maintenance window.
            auto_minor_version_upgrade=False,
            allow_major_version_upgrade=False,
            preferred_maintenance_window="sun:06:00-sun:06:30",
        )
        acknowledge(
            instance,
            "PCI401::MinorUpgradesAutomatic",
            reason="An upgrade restarts the tasks and so may fall into a cutover; the version is pinned in the "
            "configuration, and the platform team raises it between cutovers as DMS publishes versions.",
        )
        if replication.create_account_roles:
            for name, policy in ACCOUNT_ROLES.items():
                role = self._account_role(name, policy)
                subnet_group.node.add_dependency(role)
                instance.node.add_dependency(role)
        return instance

    def _account_role(self, name: str, policy: str) -> iam.Role:
        role = iam.Role(
            self,
            "".join(part.capitalize() for part in name.split("-")),
            role_name=name,
            assumed_by=iam.ServicePrincipal("dms.amazonaws.com"),
            description="Looked up by DMS under this name, for every replication instance of the account",
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name(f"service-role/{policy}")],
        )
        # Other replication instances of the account need it when this stack is gone.
        role.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
        acknowledge(
            role,
            f"AwsSolutions::AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/{policy}]",
            reason=f"DMS checks that the role {name} carries exactly this managed policy, and fails without it.",
        )
        return role

    def _certificate(self, name: str, path: Path) -> dms.CfnCertificate:
        return dms.CfnCertificate(self, f"{name}Authorities", certificate_pem=path.read_text())

    def _endpoint(
        self, database: str, side: str, secret_arn: str, key_arn: str, certificate: dms.CfnCertificate
    ) -> dms.CfnEndpoint:
        name = f"{database.capitalize()}{side.capitalize()}"
        access = ServiceRole(
            self,
            f"{name}Access",
            # DMS assumes this role as the service of the region, not as the global one.
            assumed_by=iam.ServicePrincipal(
                f"dms.{self.region}.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": self.account}},
            ),
            description=f"DMS reads the replication secret of the {database} database",
        )
        access.allow("secretsmanager:GetSecretValue", resources=[secret_arn])
        access.allow("kms:Decrypt", "kms:DescribeKey", resources=[key_arn])
        settings = dms.CfnEndpoint.MySqlSettingsProperty(
            secrets_manager_secret_id=secret_arn,
            secrets_manager_access_role_arn=access.role.role_arn,
            # Rows arrive in the order of the source, in which a child may come before its parent during the load.
            after_connect_script="SET FOREIGN_KEY_CHECKS=0" if side == "target" else None,
        )
        endpoint = dms.CfnEndpoint(
            self,
            name,
            endpoint_type=side,
            engine_name="mysql" if database == LEGACY else "aurora",
            ssl_mode="verify-full",
            certificate_arn=certificate.ref,
            kms_key_id=self._keys.database.key_arn,
            my_sql_settings=settings,
        )
        if database != LEGACY:
            cdk.Tags.of(endpoint).add("Environment", database)
            cdk.Tags.of(access).add("Environment", database)
        return endpoint

    def _task(
        self,
        direction: Direction,
        instance: dms.CfnReplicationInstance,
        *,
        source: dms.CfnEndpoint,
        target: dms.CfnEndpoint,
        mappings: str,
    ) -> dms.CfnReplicationTask:
        return dms.CfnReplicationTask(
            self,
            direction.name,
            resource_identifier=direction.identifier,
            replication_task_identifier=direction.identifier,
            migration_type="full-load-and-cdc" if direction.loads else "cdc",
            replication_instance_arn=instance.ref,
            source_endpoint_arn=source.ref,
            target_endpoint_arn=target.ref,
            table_mappings=mappings,
            replication_task_settings=task_settings(
                loopback_schema=direction.pair.loopback_schema, follows_ddl=direction.loads
            ),
        )

    def _report(self, emails: Sequence[str], instance: dms.CfnReplicationInstance) -> None:
        self.events = NotificationTopic(
            self,
            "Events",
            key=self._keys.logs,
            display_name="Replication of the payment databases",
            publishers=["dms.amazonaws.com"],
            emails=emails,
        )
        acknowledge(
            self.events,
            "PCI401::ResourcePolicyServiceBound[dms.amazonaws.com]",
            reason="It is not documented that DMS names the source account when it publishes, and a condition that "
            "never holds would lose its alerts without a word; the topic carries no data.",
        )
        sources = {
            "replication-task": [direction.identifier for direction in self.tasks],
            "replication-instance": [self.instance_identifier],
        }
        for source_type, categories in EVENT_CATEGORIES.items():
            subscription = dms.CfnEventSubscription(
                self,
                "".join(part.capitalize() for part in source_type.split("-")) + "Events",
                sns_topic_arn=self.events.topic.topic_arn,
                source_type=source_type,
                source_ids=sources[source_type],
                event_categories=list(categories),
                enabled=True,
            )
            # DMS refuses a subscription to a source that does not exist yet.
            subscription.node.add_dependency(instance, *self.tasks.values())
