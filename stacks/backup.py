"""Backups of both databases that nobody can delete before their time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_backup as backup
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from constructs import Construct

from blue_green.notification_topic import NotificationTopic
from blue_green.payment_database import PaymentDatabase
from policy.acknowledgement import acknowledge
from stacks.config import Backup, Color
from stacks.security import Keys

NOTIFIED = (
    backup.BackupVaultEvents.BACKUP_JOB_COMPLETED,
    backup.BackupVaultEvents.BACKUP_JOB_FAILED,
    backup.BackupVaultEvents.RESTORE_JOB_COMPLETED,
    backup.BackupVaultEvents.RESTORE_JOB_FAILED,
    backup.BackupVaultEvents.RECOVERY_POINT_MODIFIED,
)


class BackupStack(cdk.NestedStack):
    """A vault under its own key, a daily snapshot and continuous backup of both clusters.

    Attributes:
        vault: the vault.
        role: what AWS Backup does its jobs with.
        topic: told of jobs.
    """

    vault: backup.BackupVault
    role: iam.Role
    topic: NotificationTopic

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        config: Backup,
        databases: Mapping[Color, PaymentDatabase],
        keys: Keys,
        emails: Sequence[str],
    ) -> None:
        super().__init__(scope, construct_id, description="Recovery points of both databases")
        self.topic = NotificationTopic(
            self,
            "Events",
            key=keys.logs,
            display_name="Backups of the payment databases",
            publishers=["backup.amazonaws.com"],
            emails=emails,
        )
        acknowledge(
            self.topic,
            "PCI401::ResourcePolicyServiceBound[backup.amazonaws.com]",
            reason="It is not documented that AWS Backup names the source account when it publishes, and a condition "
            "that never holds would lose its alerts without a word; the topic carries no data.",
        )
        self.vault = backup.BackupVault(
            self,
            "Vault",
            encryption_key=keys.backup,
            notification_topic=self.topic.topic,
            notification_events=list(NOTIFIED),
            lock_configuration=_lock(config),
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        self.vault.block_recovery_point_deletion()
        self.role = self._make_role()
        plan = backup.BackupPlan(
            self,
            "Plan",
            backup_vault=self.vault,
            backup_plan_rules=[
                backup.BackupPlanRule(
                    rule_name="daily",
                    schedule_expression=events.Schedule.expression(config.schedule),
                    start_window=cdk.Duration.hours(1),
                    completion_window=cdk.Duration.hours(4),
                    delete_after=cdk.Duration.days(config.retention_days),
                ),
                backup.BackupPlanRule(
                    rule_name="continuous",
                    schedule_expression=events.Schedule.expression(config.schedule),
                    start_window=cdk.Duration.hours(1),
                    completion_window=cdk.Duration.hours(4),
                    delete_after=cdk.Duration.days(config.retention_days),
                    enable_continuous_backup=True,
                ),
            ],
        )
        plan.add_selection(
            "Databases",
            role=self.role,
            disable_default_backup_policy=True,
            resources=[backup.BackupResource.from_arn(databases[color].cluster.cluster_arn) for color in Color],
        )

    def _make_role(self) -> iam.Role:
        policies = ("AWSBackupServiceRolePolicyForBackup", "AWSBackupServiceRolePolicyForRestores")
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal(
                "backup.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": self.account}}
            ),
            description="Backup and restore of the payment databases",
            managed_policies=[
                iam.ManagedPolicy.from_aws_managed_policy_name(f"service-role/{name}") for name in policies
            ],
        )
        for name in policies:
            acknowledge(
                role,
                f"AwsSolutions::AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/{name}]",
                reason="AWS keeps this policy in step with what AWS Backup does for Aurora; a copy of it would break "
                "backups when the service changes.",
            )
        return role


def _lock(config: Backup) -> backup.LockConfiguration | None:
    lock = config.vault_lock
    if lock is None:
        return None
    return backup.LockConfiguration(
        min_retention=cdk.Duration.days(lock.min_retention_days),
        max_retention=cdk.Duration.days(lock.max_retention_days),
        changeable_for=cdk.Duration.days(lock.changeable_for_days) if lock.changeable_for_days else None,
    )
