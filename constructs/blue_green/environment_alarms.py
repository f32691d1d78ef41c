"""Alarms of one environment, and the composite one that rolls back."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from constructs import Construct

MINUTE = cdk.Duration.minutes(1)


class EnvironmentAlarms(Construct):
    """Whether an environment serves well, seen from the load balancer and from its database.

    Attributes:
        errors: share of answers 5xx.
        latency: 99th percentile of the answers.
        healthy_hosts: targets that answer the health check.
        database: CPU, connections and memory of the writer instance.
        composite: any of the above, errors and latency as far as the other environment is free of them; made by
            :meth:`compare`.
    """

    errors: cloudwatch.Alarm
    latency: cloudwatch.Alarm
    healthy_hosts: cloudwatch.Alarm
    database: tuple[cloudwatch.Alarm, ...]
    composite: cloudwatch.CompositeAlarm

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: str,
        load_balancer_name: str,
        target_group: elbv2.ApplicationTargetGroup,
        cluster_identifier: str,
        errors_percent: float,
        latency_p99_seconds: float,
        healthy_hosts_min: int,
        database_cpu_percent: int,
        database_connections: int,
        database_free_memory_mib: int,
        evaluation_minutes: int,
        runbook: str,
    ) -> None:
        super().__init__(scope, construct_id)
        self._environment = environment
        self._targets = {"LoadBalancer": load_balancer_name, "TargetGroup": target_group.target_group_full_name}
        self._writer = {"DBClusterIdentifier": cluster_identifier, "Role": "WRITER"}
        self._minutes = evaluation_minutes
        self._runbook = runbook
        self.errors = self._alarm(
            "Errors",
            f"more than {errors_percent:g} % of the answers are 5xx",
            self.error_rate(),
            errors_percent,
            # An environment without requests has no errors; the verdict of the cutover asks for enough of them.
            missing=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        self.latency = self._alarm(
            "Latency",
            f"the 99th percentile of the answers is above {latency_p99_seconds:g} s",
            self.target_metric("TargetResponseTime", "p99"),
            latency_p99_seconds,
            missing=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        self.healthy_hosts = self._alarm(
            "HealthyHosts",
            f"fewer than {healthy_hosts_min} targets are healthy",
            self.target_metric("HealthyHostCount", "Minimum"),
            healthy_hosts_min,
            comparison=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            # The load balancer reports it all the time: silence means that something is broken.
            missing=cloudwatch.TreatMissingData.BREACHING,
        )
        self.database = (
            self._alarm(
                "DatabaseCpu",
                f"the writer instance of the database uses more than {database_cpu_percent} % CPU",
                self.database_metric("CPUUtilization", "Average"),
                database_cpu_percent,
                missing=cloudwatch.TreatMissingData.BREACHING,
            ),
            self._alarm(
                "DatabaseConnections",
                f"the writer instance of the database has more than {database_connections} connections",
                self.database_metric("DatabaseConnections", "Maximum"),
                database_connections,
                missing=cloudwatch.TreatMissingData.BREACHING,
            ),
            self._alarm(
                "DatabaseMemory",
                f"the writer instance of the database has less than {database_free_memory_mib} MiB free",
                self.database_metric("FreeableMemory", "Minimum"),
                database_free_memory_mib * 1024 * 1024,
                comparison=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
                missing=cloudwatch.TreatMissingData.BREACHING,
            ),
        )

    def compare(self, other: EnvironmentAlarms) -> None:
        """Make the composite alarm: this environment is unhealthy, and not only because of a common cause.

        Errors and slow answers count as far as the ``other`` environment has not got them too: a card network that
        fails is no reason to leave this environment for the other one.
        """
        firing = cloudwatch.AlarmState.ALARM
        own = [
            cloudwatch.AlarmRule.all_of(
                cloudwatch.AlarmRule.from_alarm(mine, firing),
                cloudwatch.AlarmRule.not_(cloudwatch.AlarmRule.from_alarm(theirs, firing)),
            )
            for mine, theirs in ((self.errors, other.errors), (self.latency, other.latency))
        ]
        self.composite = cloudwatch.CompositeAlarm(
            self,
            "Health",
            alarm_description=f"The {self._environment} environment is not healthy, and the other one does not have "
            f"the same trouble. Runbook: {self._runbook}",
            alarm_rule=cloudwatch.AlarmRule.any_of(
                *own,
                *(cloudwatch.AlarmRule.from_alarm(alarm, firing) for alarm in (self.healthy_hosts, *self.database)),
            ),
        )

    @property
    def every(self) -> tuple[cloudwatch.Alarm, ...]:
        """The alarms under the composite one."""
        return self.errors, self.latency, self.healthy_hosts, *self.database

    def target_metric(self, name: str, statistic: str) -> cloudwatch.Metric:
        """Metric ``name`` that the load balancer emits for the environment's target group."""
        return cloudwatch.Metric(
            namespace="AWS/ApplicationELB",
            metric_name=name,
            dimensions_map=self._targets,
            statistic=statistic,
            period=MINUTE,
            label=f"{self._environment} {name}",
        )

    def database_metric(self, name: str, statistic: str) -> cloudwatch.Metric:
        """Metric ``name`` of the cluster's writer instance."""
        return cloudwatch.Metric(
            namespace="AWS/RDS",
            metric_name=name,
            dimensions_map=self._writer,
            statistic=statistic,
            period=MINUTE,
            label=f"{self._environment} {name}",
        )

    def error_rate(self) -> cloudwatch.MathExpression:
        """Answers 5xx of the targets in percent of the requests."""
        # Ids of metrics are shared by all expressions of a graph.
        errors, requests = f"{self._environment}Errors", f"{self._environment}Requests"
        return cloudwatch.MathExpression(
            # A minute without errors has no data point for them.
            expression=f"100 * FILL({errors}, 0) / {requests}",
            using_metrics={
                errors: self.target_metric("HTTPCode_Target_5XX_Count", "Sum"),
                requests: self.target_metric("RequestCount", "Sum"),
            },
            label=f"{self._environment} errors in percent",
            period=MINUTE,
        )

    def _alarm(
        self,
        construct_id: str,
        condition: str,
        metric: cloudwatch.IMetric,
        threshold: float,
        *,
        missing: cloudwatch.TreatMissingData,
        comparison: cloudwatch.ComparisonOperator = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
    ) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            construct_id,
            alarm_description=f"In the {self._environment} environment {condition}. Runbook: {self._runbook}",
            metric=metric,
            threshold=threshold,
            comparison_operator=comparison,
            evaluation_periods=self._minutes,
            datapoints_to_alarm=self._minutes,
            treat_missing_data=missing,
        )
