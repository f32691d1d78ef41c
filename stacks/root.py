"""The root stack: puts the nested stacks together and defines no resource itself."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from blue_green.staged_folder import PROJECT
from stacks.backup import BackupStack
from stacks.chain import DatabaseChain
from stacks.compute import ComputeStack
from stacks.config import Color, StageConfig
from stacks.configuration import ConfigurationStack
from stacks.cutover import CutoverStack
from stacks.database import DatabaseStack
from stacks.front_door import FrontDoorStack
from stacks.network import NetworkStack
from stacks.observability import ObservabilityStack
from stacks.replication import ReplicationStack
from stacks.routing import RoutingStack
from stacks.security import SecurityStack
from stacks.state import StateStack


class PaymentsStack(cdk.Stack):
    """One stage of the payment system. Each nested stack refers only to those before it."""

    def __init__(self, scope: Construct, construct_id: str, *, config: StageConfig) -> None:
        super().__init__(
            scope,
            construct_id,
            env=cdk.Environment(account=config.account, region=config.region),
            description="Blue-green payment system: two environments, one writer, reversible at any time",
            termination_protection=config.termination_protection,
        )
        for key, value in {**config.tags, "Environment": "shared"}.items():
            cdk.Tags.of(self).add(key, value)
        chain = DatabaseChain.of(config)
        legacy_ca = PROJECT / config.legacy_database.ca_certificate_file if config.legacy_database else None
        days = config.log_retention_days
        security = SecurityStack(self, "Security", prefix=config.prefix)
        keys = security.keys
        state = StateStack(self, "State", key=keys.functions)
        network = NetworkStack(
            self,
            "Network",
            network=config.network,
            availability_zones=config.availability_zones,
            database_port=config.database.port,
            http_redirect=config.front_door.http_redirect,
            legacy_database=config.legacy_database,
            keys=keys,
            log_retention_days=days,
        )
        database = DatabaseStack(
            self,
            "Database",
            prefix=config.prefix,
            chain=chain,
            database=config.database,
            availability_zones=config.availability_zones,
            vpc=network.vpc,
            database_subnets=network.database_subnets,
            compute_subnets=network.compute_subnets,
            database_groups=network.database_groups,
            functions_group=network.functions_group,
            state_table=state.table,
            legacy_ca=legacy_ca,
            keys=keys,
            log_retention_days=days,
        )
        replication = ReplicationStack(
            self,
            "Replication",
            prefix=config.prefix,
            chain=chain,
            replication=config.replication,
            legacy_database=config.legacy_database,
            databases=database.databases,
            payment_schema=config.database.payment_schema,
            control_schema=config.database.control_schema,
            vpc=network.vpc,
            subnets=network.database_subnets,
            security_group=network.replication_group,
            keys=keys,
            emails=config.alarms.emails,
        )
        front_door = FrontDoorStack(
            self,
            "FrontDoor",
            prefix=config.prefix,
            front_door=config.front_door,
            domain=config.domain,
            preview_cidrs=config.network.preview_cidrs,
            vpc=network.vpc,
            security_group=network.load_balancer_group,
            keys=keys,
            log_retention_days=days,
        )
        routing = RoutingStack(
            self,
            "Routing",
            domain=config.domain,
            legacy_endpoint=config.legacy_endpoint,
            load_balancer=front_door.load_balancer,
            listener=front_door.listener,
            target_groups=front_door.target_groups,
        )
        compute = ComputeStack(
            self,
            "Compute",
            compute=config.compute,
            vpc=network.vpc,
            subnets=network.compute_subnets,
            security_groups=network.service_groups,
            load_balancer=front_door.load_balancer,
            target_groups=front_door.target_groups,
            databases=database.databases,
            legacy_database=config.legacy_database,
            payment_schema=config.database.payment_schema,
            keys=keys,
            log_retention_days=days,
        )
        observability = ObservabilityStack(
            self,
            "Observability",
            prefix=config.prefix,
            alarms=config.alarms,
            min_tasks=config.compute.min_tasks,
            load_balancer=front_door.load_balancer,
            target_groups=front_door.target_groups,
            databases=database.databases,
            chain=chain.databases,
            tasks=replication.tasks,
            replication_instance=replication.instance_identifier,
            rotations=database.rotations,
            firewall_metric=front_door.firewall.metric_name,
            legacy_health_check_id=routing.legacy_health_check_id,
            keys=keys,
            log_retention_days=days,
        )
        backup = BackupStack(
            self,
            "Backup",
            config=config.backup,
            databases=database.databases,
            keys=keys,
            emails=config.alarms.emails,
        )
        cutover = CutoverStack(
            self,
            "Cutover",
            prefix=config.prefix,
            parameter_path=config.parameter_path,
            root_stack_name=self.stack_name,
            chain=chain,
            alarms=config.alarms,
            min_tasks=config.compute.min_tasks,
            payment_schema=config.database.payment_schema,
            domain=config.domain,
            legacy_database=config.legacy_database,
            legacy_ca=legacy_ca,
            state_table=state.table,
            routing=routing,
            front_door=front_door,
            compute=compute,
            databases=database.databases,
            replication=replication,
            observability=observability,
            backup=backup,
            vpc=network.vpc,
            subnets=network.compute_subnets,
            security_group=network.functions_group,
            keys=keys,
            log_retention_days=days,
        )
        ConfigurationStack(
            self,
            "Configuration",
            path=config.parameter_path,
            shared={
                "hosted-zone-id": config.domain.hosted_zone_id,
                "payments-host": config.domain.payments_host,
                "listener-rule-arn": routing.rule.attr_rule_arn,
                "load-balancer-dns-name": front_door.load_balancer.load_balancer_dns_name,
                "state-table": state.table.table_name,
                "database-chain": ",".join(chain.databases),
                "replication-tasks": ",".join(direction.identifier for direction in chain.directions),
                "ecs-cluster": compute.cluster.cluster_name,
                "cutover-state-machine-arn": cutover.workflow.state_machine.state_machine_arn,
                **{
                    f"{name}-function-name": function.function.function_name
                    for name, function in cutover.functions.by_parameter.items()
                },
            },
            environments={
                color: {
                    "host": config.domain.environment_host(color),
                    "target-group-arn": front_door.target_groups[color].target_group_arn,
                    "ecs-service": compute.services[color].service.service_name,
                    "database-cluster": database.databases[color].identifier,
                    "writer-endpoint": database.databases[color].cluster.cluster_endpoint.hostname,
                    "reader-endpoint": database.databases[color].cluster.cluster_read_endpoint.hostname,
                    "admin-secret-arn": database.databases[color].secrets.admin.secret_arn,
                    "application-secret-arn": database.databases[color].secrets.application.secret_arn,
                    "replication-secret-arn": database.databases[color].secrets.replication.secret_arn,
                }
                for color in Color
            },
        )
        self._tell(config, front_door, database)

    def _tell(self, config: StageConfig, front_door: FrontDoorStack, database: DatabaseStack) -> None:
        outputs = {
            "LoadBalancerDnsName": front_door.load_balancer.load_balancer_dns_name,
            "PaymentsHost": config.domain.payments_host,
            "ParameterPath": config.parameter_path,
        }
        for color in Color:
            cluster = database.databases[color].cluster
            outputs |= {
                f"{color.title}Host": config.domain.environment_host(color),
                f"{color.title}WriterEndpoint": cluster.cluster_endpoint.hostname,
                f"{color.title}ReaderEndpoint": cluster.cluster_read_endpoint.hostname,
            }
        for name, value in outputs.items():
            cdk.CfnOutput(self, name, value=value)
