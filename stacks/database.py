"""The blue and the green database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from blue_green.database_functions import DatabaseFunctions
from blue_green.payment_database import PaymentDatabase
from blue_green.runtime_function import Placement
from blue_green.runtime_layer import RuntimeLayer
from stacks.chain import DatabaseChain
from stacks.config import Color, Database
from stacks.security import Keys


class DatabaseStack(cdk.NestedStack):
    """Both clusters with their secrets, the rotation of these, and the bootstrap, from one loop.

    Attributes:
        databases: the clusters by environment.
        rotations: the function that rotates the secrets of each.
    """

    databases: Mapping[Color, PaymentDatabase]
    rotations: Mapping[Color, lambda_.Function]

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        chain: DatabaseChain,
        database: Database,
        availability_zones: Sequence[str],
        vpc: ec2.IVpc,
        database_subnets: ec2.SubnetSelection,
        compute_subnets: ec2.SubnetSelection,
        database_groups: Mapping[Color, ec2.ISecurityGroup],
        functions_group: ec2.ISecurityGroup,
        state_table: dynamodb.ITable,
        legacy_ca: Path | None,
        keys: Keys,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id, description="Blue and green Aurora MySQL, their secrets and rotation")
        placement = Placement(
            vpc=vpc,
            subnets=compute_subnets,
            security_group=functions_group,
            functions_key=keys.functions,
            logs_key=keys.logs,
            secrets_key=keys.secrets,
            log_retention_days=log_retention_days,
            layer=RuntimeLayer(self, "RuntimeLayer", legacy_ca=legacy_ca),
        )
        databases: dict[Color, PaymentDatabase] = {}
        rotations: dict[Color, lambda_.Function] = {}
        for offset, color in enumerate(Color, start=1):
            environment = Construct(self, color.title)
            cdk.Tags.of(environment).add("Environment", color.value)
            store = PaymentDatabase(
                environment,
                "Database",
                database=color.value,
                identifier=f"{prefix}-{color.value}",
                auto_increment_offset=offset,
                instance_class=database.instance_class,
                port=database.port,
                backup_retention_days=database.backup_retention_days,
                performance_insights_days=database.performance_insights_days,
                monitoring_interval_seconds=database.monitoring_interval_seconds,
                vpc=vpc,
                subnets=database_subnets,
                availability_zones=availability_zones,
                security_group=database_groups[color],
                database_key=keys.database,
                secrets_key=keys.secrets,
                logs_key=keys.logs,
                log_retention_days=log_retention_days,
            )
            functions = DatabaseFunctions(
                environment,
                "Functions",
                database=color.value,
                secrets=store.secrets,
                placement=placement,
                state_table=state_table,
                replication_task_arns=[
                    f"arn:{self.partition}:dms:{self.region}:{self.account}:task:{task}"
                    for task in chain.tasks_of(color.value)
                ],
                writer_at_creation=chain.first_writer == color.value,
                binlog_retention_hours=database.binlog_retention_hours,
                payment_schema=database.payment_schema,
                control_schema=database.control_schema,
                loopback_schemas=chain.loopback_schemas_of(color.value),
            )
            functions.bootstrapped.node.add_dependency(store.cluster, *store.attachments)
            store.secrets.rotate(functions.rotation, after=functions.bootstrapped)
            databases[color] = store
            rotations[color] = functions.rotation
        self.databases = databases
        self.rotations = rotations
