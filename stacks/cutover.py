"""What moves traffic and the writer: functions, state machine, schedule, and alarms on all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from blue_green.cutover_functions import CutoverFunctions, Surroundings
from blue_green.cutover_workflow import CutoverWorkflow
from blue_green.notification_topic import NotificationTopic
from blue_green.operator_roles import OperatorSeat
from blue_green.payment_database import PaymentDatabase
from blue_green.runtime_function import Placement
from blue_green.runtime_layer import RuntimeLayer
from stacks.backup import BackupStack
from stacks.chain import LEGACY, DatabaseChain
from stacks.compute import ComputeStack
from stacks.config import Alarms, Color, Domain, LegacyDatabase
from stacks.front_door import FrontDoorStack
from stacks.observability import ObservabilityStack, cutover_namespace
from stacks.replication import ReplicationStack
from stacks.routing import RoutingStack
from stacks.security import Keys

DIRECTIONS = ("blue-green", "green-blue", "legacy-aws", "aws-legacy")
"""Cutovers that there are, as ``from-to``; each has a plan of its own in Parameter Store."""

ROUTING = "Routing"
"""Construct id of the nested stack that holds the levers, with which its name begins."""

AWS = "aws"
"""Side of the front door that is both environments together."""

RUNBOOK = "docs/runbook.md"
RECONCILE_EVERY = cdk.Duration.minutes(1)
ENDED_BADLY = ("FAILED", "TIMED_OUT", "ABORTED")
UPDATED = ("UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")


class CutoverParameters(Construct):
    """Plans and settings that an operator may change between two cutovers; empty means the defaults.

    Attributes:
        plans: name and ARN of the plan of each direction.
        verdict: name and ARN of the settings of the verdict.
    """

    plans: Mapping[str, tuple[str, str]]
    verdict: tuple[str, str]

    def __init__(self, scope: Construct, construct_id: str, *, path: str, min_tasks: int, lag_seconds: int) -> None:
        super().__init__(scope, construct_id)
        self._path = path
        self.plans = {name: self._parameter(f"plan/{name}", "{}", f"Plan of the cutover {name}") for name in DIRECTIONS}
        self.verdict = self._parameter(
            "verdict",
            json.dumps(
                {
                    "limits": {
                        "healthy_hosts_minimum": min_tasks - 1,
                        "replication_lag_seconds_maximum": lag_seconds,
                    }
                }
            ),
            "What counts as bad, and how sure a decision must be",
        )

    def _parameter(self, name: str, value: str, description: str) -> tuple[str, str]:
        parameter = ssm.StringParameter(
            self,
            "".join(part.capitalize() for part in name.replace("/", "-").split("-")),
            parameter_name=f"{self._path}/cutover/{name}",
            string_value=value,
            description=description,
        )
        return f"{self._path}/cutover/{name}", parameter.parameter_arn


class CutoverStack(cdk.NestedStack):
    """The runtime of the cutover.

    Attributes:
        functions: the functions.
        workflow: the state machine.
        topic: told of what the cutover does.
        seat: roles and parameters of those who sit at the command line.
    """

    functions: CutoverFunctions
    workflow: CutoverWorkflow
    topic: NotificationTopic
    seat: OperatorSeat

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        parameter_path: str,
        root_stack_name: str,
        chain: DatabaseChain,
        alarms: Alarms,
        min_tasks: int,
        payment_schema: str,
        domain: Domain,
        legacy_database: LegacyDatabase | None,
        legacy_ca: Path | None,
        state_table: dynamodb.ITable,
        routing: RoutingStack,
        front_door: FrontDoorStack,
        compute: ComputeStack,
        databases: Mapping[Color, PaymentDatabase],
        replication: ReplicationStack,
        observability: ObservabilityStack,
        backup: BackupStack,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        security_group: ec2.ISecurityGroup,
        keys: Keys,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id, description="Functions, state machine and alarms of the cutover")
        self._namespace = cutover_namespace(prefix)
        machine = f"{prefix}-cutover"
        self.topic = NotificationTopic(
            self,
            "Notifications",
            key=keys.logs,
            display_name="Cutovers of the payment system",
            publishers=[],
            emails=alarms.emails,
        )
        parameters = CutoverParameters(
            self,
            "Parameters",
            path=parameter_path,
            min_tasks=min_tasks,
            lag_seconds=alarms.replication_lag_seconds,
        )
        placement = Placement(
            vpc=vpc,
            subnets=subnets,
            security_group=security_group,
            functions_key=keys.functions,
            logs_key=keys.logs,
            secrets_key=keys.secrets,
            log_retention_days=log_retention_days,
            layer=RuntimeLayer(self, "RuntimeLayer", legacy_ca=legacy_ca),
        )
        secrets = {
            color.value: (databases[color].secrets.admin.secret_arn, databases[color].secrets.application.secret_arn)
            for color in Color
        }
        key_arns = [keys.secrets.key_arn]
        if legacy_database:
            secrets[LEGACY] = (legacy_database.admin_secret_arn, legacy_database.application_secret_arn)
            key_arns.append(legacy_database.secret_key_arn)
        composites = {color.value: [observability.environments[color].composite.alarm_name] for color in Color}
        surroundings = Surroundings(
            state_table=(state_table.table_name, state_table.table_arn),
            listener_rule_arn=routing.rule.attr_rule_arn,
            target_groups={
                color.value: (
                    front_door.target_groups[color].target_group_arn,
                    front_door.target_groups[color].target_group_full_name,
                )
                for color in Color
            },
            load_balancer_name=front_door.load_balancer.load_balancer_full_name,
            hosted_zone_id=domain.hosted_zone_id,
            payments_host=domain.payments_host,
            ecs_cluster=compute.cluster.cluster_name,
            ecs_services={
                color.value: (
                    compute.services[color].service.service_name,
                    compute.services[color].service.service_arn,
                )
                for color in Color
            },
            replication_instance=replication.instance_identifier,
            replication_tasks=[
                {
                    "identifier": direction.identifier,
                    "source": direction.source,
                    "target": direction.target,
                    "loads": direction.loads,
                }
                for direction in chain.directions
            ],
            replication_task_arns=[
                f"arn:{self.partition}:dms:{self.region}:{self.account}:task:{direction.identifier}"
                for direction in chain.directions
            ],
            replication_instance_arn=replication.instance.ref,
            endpoint_arns=[endpoint.ref for endpoint in replication.endpoints],
            chain=chain.databases,
            database_secrets={name: secrets[name] for name in chain.databases},
            secret_key_arns=key_arns,
            rotated_secret_arns=[secret.secret_arn for color in Color for secret in databases[color].secrets.every],
            payment_schema=payment_schema,
            alarms={
                **composites,
                AWS: [name for names in composites.values() for name in names],
                LEGACY: [observability.legacy_health.alarm_name],
            },
            slower_than_seconds=alarms.latency_p99_seconds,
            backup_vault=backup.vault.backup_vault_name,
            backup_vault_arn=backup.vault.backup_vault_arn,
            backup_role_arn=backup.role.role_arn,
            cluster_arns=[databases[color].cluster.cluster_arn for color in Color],
            plan_parameters=parameters.plans,
            verdict_parameter=parameters.verdict,
            notification_topic_arn=self.topic.topic.topic_arn,
            logs_key=keys.logs,
            state_key=keys.functions,
            executions_arn=f"arn:{self.partition}:states:{self.region}:{self.account}:execution:{machine}:*",
            metric_namespace=self._namespace,
        )
        self.functions = CutoverFunctions(self, "Functions", placement=placement, surroundings=surroundings)
        self.workflow = CutoverWorkflow(
            self,
            "Workflow",
            name=machine,
            functions=self.functions,
            functions_key=keys.functions,
            logs_key=keys.logs,
            log_retention_days=log_retention_days,
        )
        self._let_alarms_roll_back(observability.rollback_topic.topic)
        self._let_bad_ends_roll_back()
        self._reconcile(root_stack_name)
        self._watch_the_watchers(observability.topic.topic)
        self.seat = OperatorSeat(
            self,
            "Seat",
            path=parameter_path,
            surroundings=surroundings,
            functions=self.functions,
            state_machine=self.workflow.state_machine,
            vpc_id=vpc.vpc_id,
            alarms={
                **composites,
                LEGACY: [observability.legacy_health.alarm_name],
                "replication": [
                    alarm.alarm_name for task in observability.replication.values() for alarm in task.every
                ],
                "controllers": [alarm.alarm_name for alarm in self._watchers],
            },
        )

    def _let_alarms_roll_back(self, topic: sns.ITopic) -> None:
        topic.add_subscription(
            subscriptions.LambdaSubscription(
                self.functions.rollback.function, dead_letter_queue=self.functions.dead_letters
            )
        )

    def _let_bad_ends_roll_back(self) -> None:
        """Whatever ends an execution other than its own end takes the cutover back; a rollback done twice is one."""
        events.Rule(
            self,
            "EndedBadly",
            description="An execution of the cutover failed, timed out or was aborted",
            event_pattern=events.EventPattern(
                source=["aws.states"],
                detail_type=["Step Functions Execution Status Change"],
                detail={
                    "stateMachineArn": [self.workflow.state_machine.state_machine_arn],
                    "status": list(ENDED_BADLY),
                },
            ),
            targets=[
                targets.LambdaFunction(
                    self.functions.rollback.function,
                    dead_letter_queue=self.functions.dead_letters,
                    event=events.RuleTargetInput.from_object(
                        {
                            "cutover_id": events.EventField.from_path("$.detail.name"),
                            "requested_by": "state machine",
                            "reason": f"the execution ended: {events.EventField.from_path('$.detail.status')}",
                            "from_state_machine": True,
                        }
                    ),
                )
            ],
        )

    def _reconcile(self, root_stack_name: str) -> None:
        def target() -> targets.LambdaFunction:
            return targets.LambdaFunction(
                self.functions.reconciler.function,
                dead_letter_queue=self.functions.dead_letters,
                # It comes again in a minute.
                retry_attempts=0,
                max_event_age=RECONCILE_EVERY,
            )

        events.Rule(
            self,
            "EveryMinute",
            description="Weights and records as they should be",
            schedule=events.Schedule.rate(RECONCILE_EVERY),
            targets=[target()],
        )
        root = f"arn:{self.partition}:cloudformation:{self.region}:{self.account}:stack/{root_stack_name}"
        events.Rule(
            self,
            "StackUpdated",
            description="A deployment may have reset weights and records",
            event_pattern=events.EventPattern(
                source=["aws.cloudformation"],
                detail_type=["CloudFormation Stack Status Change"],
                detail={
                    # An id ends in "/" and a UUID; the name of a nested stack begins with those of its parent and of
                    # itself. A stage whose name begins like ours is another one.
                    "stack-id": events.Match.any_of(
                        events.Match.prefix(f"{root}/"), events.Match.prefix(f"{root}-{ROUTING}NestedStack")
                    ),
                    "status-details": {"status": list(UPDATED)},
                },
            ),
            targets=[target()],
        )

    def _watch_the_watchers(self, topic: sns.ITopic) -> None:
        """Alarms on the controllers themselves: failing, throttled, silent, stuck."""
        told = actions.SnsAction(topic)
        self._watchers = (*self._function_alarms(), *self._workflow_alarms(), *self._letters_alarm())
        for alarm in self._watchers:
            alarm.add_alarm_action(told)

    def _function_alarms(self) -> Sequence[cloudwatch.Alarm]:
        alarms = []
        for name, each in self.functions.every.items():
            # A look, or a reconciliation, that fails once is made again within a minute.
            patience = 3 if name in ("Controller", "Reconciler") else 1
            for what, metric in (
                ("Errors", each.function.metric_errors(period=RECONCILE_EVERY, statistic="Sum")),
                ("Throttles", each.function.metric_throttles(period=RECONCILE_EVERY, statistic="Sum")),
            ):
                alarms.append(
                    self._alarm(
                        f"{name}{what}",
                        f"Function {name} of the cutover: {what.lower()}",
                        metric,
                        periods=patience,
                        missing=cloudwatch.TreatMissingData.NOT_BREACHING,
                    )
                )
        alarms.append(
            cloudwatch.Alarm(
                self,
                "ReconcilerSilent",
                alarm_description=f"The reconciler has not run for five minutes. Runbook: {RUNBOOK}#controllers",
                metric=self.functions.reconciler.function.metric_invocations(
                    period=cdk.Duration.minutes(5), statistic="Sum"
                ),
                threshold=1,
                comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
                evaluation_periods=1,
                # It runs every minute: no data means that it does not.
                treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
            )
        )
        return alarms

    def _workflow_alarms(self) -> Sequence[cloudwatch.Alarm]:
        machine = self.workflow.state_machine
        counted = {
            "ExecutionsFailed": machine.metric_failed(period=RECONCILE_EVERY, statistic="Sum"),
            "ExecutionsTimedOut": machine.metric_timed_out(period=RECONCILE_EVERY, statistic="Sum"),
            "CutoverStuck": self._own_metric("CutoverStuck"),
            "DriftCorrected": self._own_metric("DriftCorrected"),
        }
        words = {
            "ExecutionsFailed": "A cutover ended without success",
            "ExecutionsTimedOut": "A cutover timed out",
            "CutoverStuck": "A cutover is under way and nobody drives it",
            "DriftCorrected": "Weights or records had drifted and were put right",
        }
        return [
            self._alarm(name, words[name], metric, periods=1, missing=cloudwatch.TreatMissingData.NOT_BREACHING)
            for name, metric in counted.items()
        ]

    def _letters_alarm(self) -> Sequence[cloudwatch.Alarm]:
        metric = self.functions.dead_letters.metric_approximate_number_of_messages_visible(
            period=RECONCILE_EVERY, statistic="Maximum"
        )
        return [
            self._alarm(
                "DeadLetters",
                "An event could not be handed to a function of the cutover",
                metric,
                periods=1,
                missing=cloudwatch.TreatMissingData.NOT_BREACHING,
            )
        ]

    def _own_metric(self, name: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=self._namespace, metric_name=name, statistic="Maximum", period=RECONCILE_EVERY
        )

    def _alarm(
        self,
        construct_id: str,
        what: str,
        metric: cloudwatch.IMetric,
        *,
        periods: int,
        missing: cloudwatch.TreatMissingData,
    ) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            construct_id,
            alarm_description=f"{what}. Runbook: {RUNBOOK}#controllers",
            metric=metric,
            threshold=0,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=periods,
            treat_missing_data=missing,
        )
