"""The functions of the cutover, each with the permissions that it needs and no other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from blue_green.runtime_function import Placement, RuntimeFunction
from blue_green.runtime_layer import DATABASE_CA_PATH
from policy.acknowledgement import acknowledge

LEASE_PARTITION = "LEASE"
"""Partition key of the lease in the state table (lambda/cutover_state/layout.py)."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the functions work on, by the names and ARNs that their permissions are bound to.

    Attributes:
        state_table: name and ARN of the state table.
        listener_rule_arn: the weighted rule.
        target_groups: ARN and name as dimension, by environment.
        load_balancer_name: as dimension, ``app/name/id``.
        hosted_zone_id: zone of the weighted records.
        payments_host: their name.
        ecs_cluster: name of the cluster.
        ecs_services: name and ARN, by environment.
        replication_instance: identifier of the DMS instance.
        replication_tasks: ``identifier``, ``source``, ``target`` and ``loads`` of each task.
        replication_task_arns: their ARNs.
        replication_instance_arn: ARN of the DMS instance.
        endpoint_arns: ARNs of the DMS endpoints.
        chain: databases in the order of the chain.
        database_secrets: admin and application secret, by database.
        secret_key_arns: keys of all of these secrets.
        rotated_secret_arns: secrets whose rotation would disturb a cutover.
        payment_schema: schema whose tables are compared.
        alarms: names of the alarms that are watched, by side.
        slower_than_seconds: an answer that takes longer is slow.
        backup_vault: name of the vault.
        backup_vault_arn: its ARN.
        backup_role_arn: role of the backup jobs.
        cluster_arns: what is backed up.
        plan_parameters: name and ARN of the plan of each direction, by ``from-to``.
        verdict_parameter: name and ARN of the verdict's settings.
        notification_topic_arn: where people are told.
        logs_key: encrypts that topic.
        state_key: encrypts the state table, the dead letters and the executions.
        executions_arn: executions of the state machine, ``arn:…:execution:name:*``.
        metric_namespace: of the metrics that the functions send.
    """

    state_table: tuple[str, str]
    listener_rule_arn: str
    target_groups: Mapping[str, tuple[str, str]]
    load_balancer_name: str
    hosted_zone_id: str
    payments_host: str
    ecs_cluster: str
    ecs_services: Mapping[str, tuple[str, str]]
    replication_instance: str
    replication_tasks: Sequence[Mapping[str, Any]]
    replication_task_arns: Sequence[str]
    replication_instance_arn: str
    endpoint_arns: Sequence[str]
    chain: Sequence[str]
    database_secrets: Mapping[str, tuple[str, str]]
    secret_key_arns: Sequence[str]
    rotated_secret_arns: Sequence[str]
    payment_schema: str
    alarms: Mapping[str, Sequence[str]]
    slower_than_seconds: float
    backup_vault: str
    backup_vault_arn: str
    backup_role_arn: str
    cluster_arns: Sequence[str]
    plan_parameters: Mapping[str, tuple[str, str]]
    verdict_parameter: tuple[str, str]
    notification_topic_arn: str
    logs_key: kms.IKey
    state_key: kms.IKey
    executions_arn: str
    metric_namespace: str


class CutoverFunctions(Construct):
    """The seven functions.

    Attributes:
        preflight: begins a cutover, or says why not.
        controller: one look at a cutover.
        writer_switch: moves the writer between neighbours.
        rollback: takes a cutover back.
        reconciler: keeps weights as they should be.
        recovery_point: takes backups before a cutover.
        replication_control: starts and stops the replication tasks.
        dead_letters: what could not be handed to a function.
    """

    preflight: RuntimeFunction
    controller: RuntimeFunction
    writer_switch: RuntimeFunction
    rollback: RuntimeFunction
    reconciler: RuntimeFunction
    recovery_point: RuntimeFunction
    replication_control: RuntimeFunction
    dead_letters: sqs.Queue

    def __init__(
        self, scope: Construct, construct_id: str, *, placement: Placement, surroundings: Surroundings
    ) -> None:
        super().__init__(scope, construct_id)
        self._placement = placement
        self._with = surroundings
        self._stack = cdk.Stack.of(self)
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=placement.functions_key,
            enforce_ssl=True,
            retention_period=cdk.Duration.days(14),
        )
        acknowledge(
            self.dead_letters,
            "AwsSolutions::AwsSolutions-SQS3",
            reason="This is the dead-letter queue itself; an alarm tells as soon as anything lies in it.",
        )
        table, told, levers = self._table(), self._told(), self._levers()
        databases, schema, observed = self._databases(), self._schema(), self._observed()
        self.preflight = self._function(
            "Preflight",
            package="cutover_preflight",
            description="Begins a cutover, or gives every reason against it",
            timeout=cdk.Duration.minutes(2),
            environment={
                **table,
                **told,
                **levers,
                **databases,
                **schema,
                **observed,
                "ECS_CLUSTER": surroundings.ecs_cluster,
                "ECS_SERVICES": json.dumps({name: each[0] for name, each in surroundings.ecs_services.items()}),
                "ROTATED_SECRET_ARNS": json.dumps(list(surroundings.rotated_secret_arns)),
                "VERDICT_PARAMETER": surroundings.verdict_parameter[0],
                "PLAN_PARAMETERS": json.dumps({name: each[0] for name, each in surroundings.plan_parameters.items()}),
            },
        )
        self.controller = self._function(
            "Controller",
            package="cutover_controller",
            description="One look at a cutover, and the step that follows from it",
            timeout=cdk.Duration.minutes(5),
            environment={
                **table,
                **told,
                **levers,
                **observed,
                "LOAD_BALANCER_NAME": surroundings.load_balancer_name,
                "TARGET_GROUP_NAMES": json.dumps({name: each[1] for name, each in surroundings.target_groups.items()}),
                "SLOWER_THAN_SECONDS": f"{surroundings.slower_than_seconds:g}",
            },
            one_at_a_time=True,
        )
        self.writer_switch = self._function(
            "WriterSwitch",
            package="writer_switch",
            description="Moves the writer between two neighbours of the chain",
            timeout=cdk.Duration.minutes(3),
            environment={**table, **databases},
            # Half a virtual CPU more: the pause of the writes depends on it.
            memory=cdk.Size.mebibytes(1769),
            one_at_a_time=True,
        )
        self.rollback = self._function(
            "Rollback",
            package="cutover_rollback",
            description="Takes a cutover back: weights, writer, execution, and says why",
            timeout=cdk.Duration.minutes(10),
            environment={**table, **told, **levers, **databases, **schema, **self._alarms()},
            memory=cdk.Size.mebibytes(1769),
        )
        self.reconciler = self._function(
            "Reconciler",
            package="reconciler",
            description="Keeps weights and records as they should be",
            timeout=cdk.Duration.minutes(5),
            environment={
                **table,
                **told,
                **levers,
                "FIRST_WRITER": surroundings.chain[0],
                "CHAIN": json.dumps(list(surroundings.chain)),
                "METRIC_NAMESPACE": surroundings.metric_namespace,
            },
            one_at_a_time=True,
        )
        self.recovery_point = self._function(
            "RecoveryPoint",
            package="recovery_point",
            description="Takes recovery points of both databases before a cutover",
            timeout=cdk.Duration.minutes(1),
            environment={
                **table,
                "BACKUP_VAULT": surroundings.backup_vault,
                "BACKUP_ROLE_ARN": surroundings.backup_role_arn,
                "CLUSTER_ARNS": json.dumps(list(surroundings.cluster_arns)),
            },
        )
        self.replication_control = self._function(
            "ReplicationControl",
            package="replication_control",
            description="Starts and stops the replication tasks in order",
            timeout=cdk.Duration.minutes(5),
            environment={
                **table,
                **databases,
                **schema,
                "REPLICATION_TASKS": json.dumps(list(surroundings.replication_tasks)),
            },
            one_at_a_time=True,
        )
        self._permit()

    @property
    def every(self) -> Mapping[str, RuntimeFunction]:
        """All functions by name."""
        return {
            "Preflight": self.preflight,
            "Controller": self.controller,
            "WriterSwitch": self.writer_switch,
            "Rollback": self.rollback,
            "Reconciler": self.reconciler,
            "RecoveryPoint": self.recovery_point,
            "ReplicationControl": self.replication_control,
        }

    @property
    def by_parameter(self) -> Mapping[str, RuntimeFunction]:
        """The functions that people and programs call, by the name that Parameter Store has for each."""
        return {
            "preflight": self.preflight,
            "writer-switch": self.writer_switch,
            "rollback": self.rollback,
            "reconciler": self.reconciler,
            "replication-control": self.replication_control,
        }

    def _function(
        self,
        construct_id: str,
        *,
        package: str,
        description: str,
        timeout: cdk.Duration,
        environment: Mapping[str, str],
        memory: cdk.Size | None = None,
        one_at_a_time: bool = False,
    ) -> RuntimeFunction:
        return RuntimeFunction(
            self,
            construct_id,
            package=package,
            description=description,
            placement=self._placement,
            timeout=timeout,
            environment=environment,
            memory=memory,
            reserved_concurrency=1 if one_at_a_time else None,
            dead_letters=self.dead_letters,
        )

    def _table(self) -> dict[str, str]:
        return {"STATE_TABLE_NAME": self._with.state_table[0]}

    def _told(self) -> dict[str, str]:
        return {"NOTIFICATION_TOPIC_ARN": self._with.notification_topic_arn}

    def _levers(self) -> dict[str, str]:
        return {
            "LISTENER_RULE_ARN": self._with.listener_rule_arn,
            "TARGET_GROUP_ARNS": json.dumps({name: each[0] for name, each in self._with.target_groups.items()}),
            "HOSTED_ZONE_ID": self._with.hosted_zone_id,
            "PAYMENTS_HOST": self._with.payments_host,
        }

    def _databases(self) -> dict[str, str]:
        return {
            "CHAIN": json.dumps(list(self._with.chain)),
            "WRITER_SWITCH_DATABASES": json.dumps(
                {
                    name: {"admin_secret_arn": admin, "application_secret_arn": application}
                    for name, (admin, application) in self._with.database_secrets.items()
                }
            ),
            "DATABASE_CA_PATH": DATABASE_CA_PATH,
        }

    def _schema(self) -> dict[str, str]:
        return {"PAYMENT_SCHEMA": self._with.payment_schema}

    def _observed(self) -> dict[str, str]:
        return {
            "REPLICATION_INSTANCE": self._with.replication_instance,
            "REPLICATION_TASKS": json.dumps(list(self._with.replication_tasks)),
            **self._alarms(),
        }

    def _alarms(self) -> dict[str, str]:
        return {"ALARMS": json.dumps({side: list(names) for side, names in self._with.alarms.items()})}

    def _permit(self) -> None:
        for function in self.every.values():
            # Lambda hands what it cannot deliver to the queue in the name of the function.
            self._let_use_key(function, self._with.state_key.key_arn, service="sqs")
        for function in (
            self.preflight,
            self.controller,
            self.writer_switch,
            self.rollback,
            self.reconciler,
            self.recovery_point,
        ):
            self._let_read_state(function)
        # While backups are made it extends the lease and notes that the cutover is being driven.
        self._let_write_state(self.recovery_point)
        for function in (self.preflight, self.controller, self.rollback, self.reconciler):
            self._let_write_state(function)
            self._let_tell(function)
            self._let_read_levers(function)
        for function in (self.preflight, self.controller, self.rollback):
            self._let_release_lease(function)
        for function in (self.controller, self.rollback, self.reconciler):
            self._let_move_levers(function)
        for function in (self.preflight, self.writer_switch, self.rollback, self.replication_control):
            self._let_reach_databases(function)
        for function in (self.preflight, self.controller):
            self._let_observe(function)
        self._let_begin(self.preflight)
        self._let_stop(self.rollback)
        self._let_count(self.reconciler)
        self._let_back_up(self.recovery_point)
        self._let_control_replication(self.replication_control)

    def _let_read_state(self, function: RuntimeFunction) -> None:
        function.permissions.allow("dynamodb:GetItem", resources=[self._with.state_table[1]])
        self._let_use_key(function, self._with.state_key.key_arn, service="dynamodb")

    def _let_write_state(self, function: RuntimeFunction) -> None:
        function.permissions.allow("dynamodb:PutItem", resources=[self._with.state_table[1]])

    def _let_release_lease(self, function: RuntimeFunction) -> None:
        # Nothing else is ever deleted: the journal is append-only.
        function.permissions.allow(
            "dynamodb:DeleteItem",
            resources=[self._with.state_table[1]],
            conditions={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [LEASE_PARTITION]}},
        )

    def _let_stop(self, function: RuntimeFunction) -> None:
        function.permissions.allow("states:StopExecution", resources=[self._with.executions_arn])
        # Error and cause are encrypted as the execution is.
        self._let_use_key(function, self._with.state_key.key_arn, service="states")
        acknowledge(
            function.permissions.policy,
            f"AwsSolutions::AwsSolutions-IAM5[Resource::{self._with.executions_arn}]",
            reason="Each cutover is an execution of its own; these are the executions of this one state machine.",
        )

    def _let_tell(self, function: RuntimeFunction) -> None:
        function.permissions.allow("sns:Publish", resources=[self._with.notification_topic_arn])
        self._let_use_key(function, self._with.logs_key.key_arn, service="sns")

    def _let_use_key(self, function: RuntimeFunction, key_arn: str, *, service: str) -> None:
        function.permissions.allow(
            "kms:Decrypt",
            "kms:GenerateDataKey",
            resources=[key_arn],
            conditions={"StringEquals": {"kms:ViaService": f"{service}.{self._stack.region}.amazonaws.com"}},
        )

    def _let_read_levers(self, function: RuntimeFunction) -> None:
        function.permissions.allow(
            "route53:ListResourceRecordSets", resources=[f"arn:aws:route53:::hostedzone/{self._with.hosted_zone_id}"]
        )
        self._let_describe(function, "elasticloadbalancing:DescribeRules")

    def _let_describe(self, function: RuntimeFunction, *actions: str) -> None:
        function.permissions.allow(*actions, resources=["*"])
        acknowledge(
            function.permissions.policy,
            "AwsSolutions::AwsSolutions-IAM5[Resource::*]",
            reason="Elastic Load Balancing, CloudWatch and DMS let these read-only actions be granted on all resources "
            "only, and Lambda attaches the function to the VPC likewise; none of them changes or reads data.",
        )

    def _let_move_levers(self, function: RuntimeFunction) -> None:
        function.permissions.allow("elasticloadbalancing:ModifyRule", resources=[self._with.listener_rule_arn])
        function.permissions.allow(
            "route53:ChangeResourceRecordSets",
            resources=[f"arn:aws:route53:::hostedzone/{self._with.hosted_zone_id}"],
            conditions={
                "ForAllValues:StringEquals": {
                    "route53:ChangeResourceRecordSetsNormalizedRecordNames": [self._with.payments_host],
                    "route53:ChangeResourceRecordSetsRecordTypes": ["A"],
                    "route53:ChangeResourceRecordSetsActions": ["UPSERT"],
                }
            },
        )
        # A change has an id of its own that nobody knows beforehand.
        function.permissions.allow("route53:GetChange", resources=["arn:aws:route53:::change/*"])
        acknowledge(
            function.permissions.policy,
            "AwsSolutions::AwsSolutions-IAM5[Resource::arn:aws:route53:::change/*]",
            reason="Route 53 gives each change an id when it is made; reading whether it has spread changes nothing.",
        )

    def _let_reach_databases(self, function: RuntimeFunction) -> None:
        secrets = [arn for pair in self._with.database_secrets.values() for arn in pair]
        function.permissions.allow("secretsmanager:GetSecretValue", resources=secrets)
        function.permissions.allow(
            "kms:Decrypt",
            resources=list(self._with.secret_key_arns),
            conditions={"StringEquals": {"kms:ViaService": f"secretsmanager.{self._stack.region}.amazonaws.com"}},
        )

    def _let_observe(self, function: RuntimeFunction) -> None:
        self._let_describe(
            function,
            "cloudwatch:GetMetricData",
            "cloudwatch:DescribeAlarms",
            "dms:DescribeReplicationTasks",
            "elasticloadbalancing:DescribeTargetHealth",
        )

    def _let_begin(self, function: RuntimeFunction) -> None:
        # Restarts of replication tasks that a rotation still owes.
        function.permissions.allow("dynamodb:Query", resources=[self._with.state_table[1]])
        function.permissions.allow(
            "ssm:GetParameter",
            resources=[self._with.verdict_parameter[1], *(arn for _, arn in self._with.plan_parameters.values())],
        )
        function.permissions.allow(
            "ecs:DescribeServices", resources=[arn for _, arn in self._with.ecs_services.values()]
        )
        function.permissions.allow("secretsmanager:DescribeSecret", resources=list(self._with.rotated_secret_arns))

    def _let_count(self, function: RuntimeFunction) -> None:
        function.permissions.allow(
            "cloudwatch:PutMetricData",
            resources=["*"],
            conditions={"StringEquals": {"cloudwatch:namespace": self._with.metric_namespace}},
        )

    def _let_back_up(self, function: RuntimeFunction) -> None:
        backed_up = [self._with.backup_vault_arn, *self._with.cluster_arns]
        function.permissions.allow("backup:StartBackupJob", "backup:TagResource", resources=backed_up)
        function.permissions.allow(
            "iam:PassRole",
            resources=[self._with.backup_role_arn],
            conditions={"StringEquals": {"iam:PassedToService": "backup.amazonaws.com"}},
        )
        function.permissions.allow("backup:DescribeBackupJob", resources=["*"])
        acknowledge(
            function.permissions.policy,
            "PCI401::PolicyResourcesNamed[backup:DescribeBackupJob]",
            reason="A backup job gets its id when it starts, and AWS Backup lets the reading of jobs be granted on all "
            "resources only; it changes nothing.",
        )

    def _let_control_replication(self, function: RuntimeFunction) -> None:
        function.permissions.allow(
            "dms:StartReplicationTask",
            "dms:StopReplicationTask",
            resources=list(self._with.replication_task_arns),
        )
        function.permissions.allow(
            "dms:TestConnection", resources=[self._with.replication_instance_arn, *self._with.endpoint_arns]
        )
        self._let_describe(function, "dms:DescribeReplicationTasks", "dms:DescribeConnections")
