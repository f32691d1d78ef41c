"""Alarms of one replication task."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_sns as sns
from constructs import Construct

MINUTE = cdk.Duration.minutes(1)
BAD_STATES = ("REPLICATION_TASK_FAILED", "REPLICATION_TASK_STOPPED")


class ReplicationAlarms(Construct):
    """Lag, state and validation of one direction.

    Attributes:
        lag: seconds by which the task is behind, at its source and at its target.
        state: the task failed or was stopped.
        validation: rows that differ between the databases.
    """

    lag: tuple[cloudwatch.Alarm, ...]
    state: cloudwatch.Alarm
    validation: cloudwatch.Alarm

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        instance_identifier: str,
        task_identifier: str,
        task_arn: str,
        lag_seconds: int,
        evaluation_minutes: int,
        topic: sns.ITopic,
        runbook: str,
    ) -> None:
        super().__init__(scope, construct_id)
        # DMS names a task in its metrics by the last part of its ARN, which is the ResourceIdentifier.
        self._dimensions = {
            "ReplicationInstanceIdentifier": instance_identifier,
            "ReplicationTaskIdentifier": task_identifier,
        }
        self.lag = tuple(
            cloudwatch.Alarm(
                self,
                f"Lag{side}",
                alarm_description=f"Replication {task_identifier} is more than {lag_seconds} s behind at its "
                f"{side.lower()}, or reports nothing. Runbook: {runbook}",
                metric=self.metric(f"CDCLatency{side}", "Maximum"),
                threshold=lag_seconds,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
                evaluation_periods=evaluation_minutes,
                # A task that does not run reports no lag: without it the way back is closed.
                treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
            )
            for side in ("Source", "Target")
        )
        self.validation = cloudwatch.Alarm(
            self,
            "Validation",
            alarm_description=f"Rows of {task_identifier} differ between source and target. Runbook: {runbook}",
            metric=self.metric("ValidationFailedOverallCount", "Maximum"),
            threshold=0,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=1,
            # The lag alarms tell of a task that reports nothing; no report is no difference.
            treat_missing_data=cloudwatch.TreatMissingData.IGNORE,
        )
        self.state = self._state(task_identifier, task_arn, topic, runbook)

    @property
    def every(self) -> tuple[cloudwatch.Alarm, ...]:
        """All alarms of the task."""
        return *self.lag, self.state, self.validation

    def metric(self, name: str, statistic: str) -> cloudwatch.Metric:
        """Metric ``name`` that DMS emits for the task."""
        return cloudwatch.Metric(
            namespace="AWS/DMS",
            metric_name=name,
            dimensions_map=self._dimensions,
            statistic=statistic,
            period=MINUTE,
            label=f"{self._dimensions['ReplicationTaskIdentifier']} {name}",
        )

    def _state(self, task_identifier: str, task_arn: str, topic: sns.ITopic, runbook: str) -> cloudwatch.Alarm:
        """DMS has no metric for the state of a task; EventBridge counts the events that tell of it."""
        rule = events.Rule(
            self,
            "Stopped",
            description=f"{task_identifier} failed or was stopped",
            event_pattern=events.EventPattern(
                source=["aws.dms"],
                detail_type=["DMS Replication Task State Change"],
                resources=[task_arn],
                detail={"eventType": list(BAD_STATES)},
            ),
            targets=[targets.SnsTopic(topic)],
        )
        return cloudwatch.Alarm(
            self,
            "State",
            alarm_description=f"Replication {task_identifier} failed or was stopped. Runbook: {runbook}",
            metric=cloudwatch.Metric(
                namespace="AWS/Events",
                metric_name="MatchedEvents",
                dimensions_map={"RuleName": rule.rule_name},
                statistic="Sum",
                period=MINUTE,
            ),
            threshold=0,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=1,
            # The metric exists only when an event matched.
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
