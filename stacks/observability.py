"""Alarms, who is told, and the dashboard on which an operator follows a cutover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_dms as dms
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from blue_green.environment_alarms import EnvironmentAlarms
from blue_green.notification_topic import FunctionDeliveries, NotificationTopic
from blue_green.payment_database import PaymentDatabase
from blue_green.replication_alarms import ReplicationAlarms
from stacks.chain import Direction
from stacks.config import Alarms, Color
from stacks.security import Keys

RUNBOOK = "docs/runbook.md"
BLOCKED_REQUESTS = 500
"""Requests blocked in five minutes that somebody should look at: an eighth of the average traffic."""

HALF = 12
"""Half the width of a dashboard, in grid columns."""


def cutover_namespace(prefix: str) -> str:
    """Namespace in which the reconciler tells of the cutover."""
    return f"{prefix}/cutover"


class ObservabilityStack(cdk.NestedStack):
    """What is watched, with a treatment of missing data chosen for each metric.

    Attributes:
        topic: told of every alarm.
        rollback_topic: told of the composite alarms; the cutover listens.
        environments: alarms by environment.
        replication: alarms by replication task.
        legacy_health: the legacy system does not answer.
    """

    topic: NotificationTopic
    rollback_topic: NotificationTopic
    environments: Mapping[Color, EnvironmentAlarms]
    replication: Mapping[Direction, ReplicationAlarms]
    legacy_health: cloudwatch.Alarm

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        alarms: Alarms,
        min_tasks: int,
        load_balancer: elbv2.ApplicationLoadBalancer,
        target_groups: Mapping[Color, elbv2.ApplicationTargetGroup],
        databases: Mapping[Color, PaymentDatabase],
        chain: Sequence[str],
        tasks: Mapping[Direction, dms.CfnReplicationTask],
        replication_instance: str,
        rotations: Mapping[Color, lambda_.IFunction],
        firewall_metric: str,
        legacy_health_check_id: str,
        keys: Keys,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id, description="Alarms, notifications and dashboard")
        self.topic = NotificationTopic(
            self,
            "Alarms",
            key=keys.logs,
            display_name="Alarms of the payment system",
            publishers=["cloudwatch.amazonaws.com", "events.amazonaws.com"],
            emails=alarms.emails,
        )
        self.environments = {
            color: self._environment(color, alarms, min_tasks, load_balancer, target_groups[color], databases[color])
            for color in Color
        }
        blue, green = self.environments[Color.BLUE], self.environments[Color.GREEN]
        blue.compare(green)
        green.compare(blue)
        self.replication = {
            direction: ReplicationAlarms(
                self,
                direction.name,
                instance_identifier=replication_instance,
                task_identifier=direction.identifier,
                task_arn=task.ref,
                lag_seconds=alarms.replication_lag_seconds,
                evaluation_minutes=alarms.evaluation_minutes,
                topic=self.topic.topic,
                runbook=f"{RUNBOOK}#replication",
            )
            for direction, task in tasks.items()
        }
        told = actions.SnsAction(self.topic.topic)
        every = [alarm for environment in self.environments.values() for alarm in environment.every]
        every += [alarm for task in self.replication.values() for alarm in task.every]
        every += [self._rotation_alarm(color, function) for color, function in rotations.items()]
        every.append(self._firewall_alarm(firewall_metric))
        self.legacy_health = self._legacy_alarm(legacy_health_check_id)
        every.append(self.legacy_health)
        for alarm in every:
            alarm.add_alarm_action(told)
            alarm.add_ok_action(told)
        # A topic of its own: whatever it says, the cutover that is under way is taken back.
        self.rollback_topic = NotificationTopic(
            self,
            "Rollback",
            key=keys.logs,
            display_name="Alarms that take a cutover back",
            publishers=["cloudwatch.amazonaws.com"],
            emails=(),
            function_deliveries=FunctionDeliveries(
                topic_name=f"{prefix}-rollback", log_retention_days=log_retention_days
            ),
        )
        rolled_back = actions.SnsAction(self.rollback_topic.topic)
        for environment in self.environments.values():
            environment.composite.add_alarm_action(rolled_back, told)
            environment.composite.add_ok_action(told)
        self.legacy_health.add_alarm_action(rolled_back)
        self._dashboard(prefix, load_balancer, chain, every)

    def _environment(
        self,
        color: Color,
        alarms: Alarms,
        min_tasks: int,
        load_balancer: elbv2.ApplicationLoadBalancer,
        target_group: elbv2.ApplicationTargetGroup,
        database: PaymentDatabase,
    ) -> EnvironmentAlarms:
        environment = EnvironmentAlarms(
            self,
            color.title,
            environment=color.value,
            load_balancer_name=load_balancer.load_balancer_full_name,
            target_group=target_group,
            cluster_identifier=database.identifier,
            errors_percent=alarms.errors_percent,
            latency_p99_seconds=alarms.latency_p99_seconds,
            # One task may be replaced at any time; two missing ones leave less than the whole load can live with.
            healthy_hosts_min=min_tasks - 1,
            database_cpu_percent=alarms.database_cpu_percent,
            database_connections=alarms.database_connections,
            database_free_memory_mib=alarms.database_free_memory_mib,
            evaluation_minutes=alarms.evaluation_minutes,
            runbook=f"{RUNBOOK}#environment",
        )
        cdk.Tags.of(environment).add("Environment", color.value)
        return environment

    def _rotation_alarm(self, color: Color, rotation: lambda_.IFunction) -> cloudwatch.Alarm:
        alarm = cloudwatch.Alarm(
            self,
            f"{color.title}Rotation",
            alarm_description=f"The rotation of the secrets of the {color.value} database keeps failing. "
            f"Runbook: {RUNBOOK}#rotation",
            metric=rotation.metric_errors(period=cdk.Duration.minutes(15), statistic="Sum"),
            threshold=0,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            # One failure is a rotation that waits for a cutover; it comes again every fifteen minutes.
            evaluation_periods=3,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        cdk.Tags.of(alarm).add("Environment", color.value)
        return alarm

    def _firewall_alarm(self, metric_name: str) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            "Firewall",
            alarm_description=f"The firewall blocks many requests: an attack, or a rule that hits clients. "
            f"Runbook: {RUNBOOK}#firewall",
            metric=cloudwatch.Metric(
                namespace="AWS/WAFV2",
                metric_name="BlockedRequests",
                dimensions_map={"WebACL": metric_name, "Region": self.region, "Rule": "ALL"},
                statistic="Sum",
                period=cdk.Duration.minutes(5),
            ),
            threshold=BLOCKED_REQUESTS,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=1,
            # The metric exists only when something was blocked.
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )

    def _legacy_alarm(self, health_check_id: str) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            "LegacyHealth",
            alarm_description=f"The legacy system does not answer its health check. Runbook: {RUNBOOK}#legacy",
            metric=cloudwatch.Metric(
                namespace="AWS/Route53",
                metric_name="HealthCheckStatus",
                dimensions_map={"HealthCheckId": health_check_id},
                statistic="Minimum",
                period=cdk.Duration.minutes(1),
            ),
            threshold=1,
            comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            evaluation_periods=3,
            # Route 53 reports it all the time.
            treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
        )

    def _dashboard(
        self,
        prefix: str,
        load_balancer: elbv2.ApplicationLoadBalancer,
        chain: Sequence[str],
        alarms: list[cloudwatch.Alarm],
    ) -> None:
        environments = tuple(self.environments.values())
        tasks = tuple(self.replication.values())
        dashboard = cloudwatch.Dashboard(
            self, "Dashboard", dashboard_name=prefix, default_interval=cdk.Duration.hours(3)
        )
        dashboard.add_widgets(
            cloudwatch.AlarmStatusWidget(
                title="Health of the environments",
                width=HALF,
                height=3,
                alarms=[each.composite for each in environments],
            ),
            cloudwatch.AlarmStatusWidget(title="Alarms", width=HALF, height=3, alarms=list(alarms)),
        )
        dashboard.add_widgets(
            _graph(
                "Who should serve: weights in percent",
                *(
                    _told(prefix, "WeightPercent", Side=side)
                    for side in ("legacy", "aws", *(color.value for color in Color))
                ),
            ),
            _graph(
                "Who should write, and whether a cutover is under way",
                *(_told(prefix, "Writer", Database=name) for name in chain),
                *(_told(prefix, name) for name in ("CutoverUnderWay", "CutoverStuck", "DriftCorrected")),
            ),
        )
        dashboard.add_widgets(
            _graph("Requests a minute", *(each.target_metric("RequestCount", "Sum") for each in environments)),
            _graph("Errors in percent", *(each.error_rate() for each in environments)),
        )
        dashboard.add_widgets(
            _graph(
                "Answers in seconds",
                *(each.target_metric("TargetResponseTime", p) for each in environments for p in ("p50", "p99")),
            ),
            _graph("Healthy targets", *(each.target_metric("HealthyHostCount", "Minimum") for each in environments)),
        )
        dashboard.add_widgets(
            _graph(
                "Replication lag in seconds",
                *(each.metric(name, "Maximum") for each in tasks for name in ("CDCLatencySource", "CDCLatencyTarget")),
            ),
            _graph(
                "Validation",
                *(
                    each.metric(name, "Maximum")
                    for each in tasks
                    for name in ("ValidationFailedOverallCount", "ValidationPendingOverallCount")
                ),
            ),
        )
        dashboard.add_widgets(
            _graph(
                "Database CPU in percent", *(each.database_metric("CPUUtilization", "Average") for each in environments)
            ),
            _graph(
                "Commits a second: who writes",
                *(each.database_metric("CommitThroughput", "Average") for each in environments),
            ),
        )
        dashboard.add_widgets(
            _graph(
                "Load balancer: requests it answered with an error itself",
                *(
                    cloudwatch.Metric(
                        namespace="AWS/ApplicationELB",
                        metric_name=name,
                        dimensions_map={"LoadBalancer": load_balancer.load_balancer_full_name},
                        statistic="Sum",
                        period=cdk.Duration.minutes(1),
                    )
                    for name in ("HTTPCode_ELB_5XX_Count", "HTTPCode_ELB_4XX_Count", "RejectedConnectionCount")
                ),
            ),
            _graph(
                "Database connections",
                *(each.database_metric("DatabaseConnections", "Maximum") for each in environments),
            ),
        )


def _told(prefix: str, name: str, **dimensions: str) -> cloudwatch.Metric:
    """What the reconciler tells of the cutover every minute."""
    return cloudwatch.Metric(
        namespace=cutover_namespace(prefix),
        metric_name=name,
        dimensions_map=dimensions,
        statistic="Maximum",
        period=cdk.Duration.minutes(1),
    )


def _graph(title: str, *metrics: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=title, width=HALF, height=6, left=list(metrics), left_y_axis=cloudwatch.YAxisProps(min=0)
    )
