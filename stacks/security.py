"""The customer-managed keys, one for each purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from blue_green.notification_topic import NAME_THEIR_ACCOUNT
from policy.acknowledgement import acknowledge


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys by purpose, as other stacks use them.

    They are imported by ARN, so that a grant lands in the policy of the one who uses the key. A grant on the key
    itself would make this stack depend on all others.

    Attributes:
        database: storage, snapshots and Performance Insights of the clusters; replication storage.
        secrets: Secrets Manager.
        logs: log groups and notification topics.
        backup: the backup vault.
        storage: ephemeral storage of containers.
        functions: environment of functions, and the state of the cutover.
    """

    database: kms.IKey
    secrets: kms.IKey
    logs: kms.IKey
    backup: kms.IKey
    storage: kms.IKey
    functions: kms.IKey


PUBLISHERS = ("backup.amazonaws.com", "dms.amazonaws.com", "events.amazonaws.com")
"""Services that do not, or are not documented to: with a condition, what they say would be lost without a word."""


class SecurityStack(cdk.NestedStack):
    """Keys with yearly rotation, whose policies name service principals and the account, never a role.

    Attributes:
        keys: the keys.
    """

    keys: Keys

    def __init__(self, scope: Construct, construct_id: str, *, prefix: str) -> None:
        super().__init__(scope, construct_id, description="Customer-managed keys by purpose")
        self._prefix = prefix
        # RDS, DMS, Secrets Manager, Lambda, DynamoDB and AWS Backup use a key on behalf of the caller, whose own
        # policy decides, by the statement for the account that every key has. Only services that act by themselves
        # are named below.
        self.keys = Keys(
            database=self._key("Database", "storage, snapshots and insights of the databases"),
            secrets=self._key("Secrets", "secrets of the databases"),
            logs=self._key(
                "Logs", "log groups and notification topics", self._logs(), self._topics(), self._other_publishers()
            ),
            backup=self._key("Backup", "recovery points"),
            storage=self._key("Storage", "ephemeral storage of containers", *self._fargate()),
            functions=self._key(
                "Functions",
                "environment of functions, state and executions of the cutover, dead letters",
                *self._queues(),
                self._deliveries(),
            ),
        )
        self._acknowledge()

    def _acknowledge(self) -> None:
        acknowledge(
            self.node.find_child("Logs"),
            "PCI401::KeyPolicyServiceBound[backup.amazonaws.com,dms.amazonaws.com]",
            reason="It is not documented that AWS Backup and DMS name the source account when they publish; with a "
            "condition that never holds their alerts would be lost without a word. Topic policies name each topic.",
        )

    def _key(self, name: str, purpose: str, *statements: iam.PolicyStatement) -> kms.IKey:
        key = kms.Key(
            self,
            name,
            description=f"{self._prefix}: {purpose}",
            alias=f"alias/{self._prefix}/{name.lower()}",
            enable_key_rotation=True,
            pending_window=cdk.Duration.days(30),
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        for statement in statements:
            key.add_to_resource_policy(statement)
        return kms.Key.from_key_arn(self, f"{name}ByArn", key.key_arn)

    def _statement(
        self, sid: str, principals: Sequence[str], actions: Sequence[str], conditions: Mapping[str, Any] | None
    ) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            sid=sid,
            principals=[iam.ServicePrincipal(name) for name in principals],
            actions=list(actions),
            # In a key policy, "*" means this key.
            resources=["*"],
            conditions=conditions,
        )

    def _logs(self) -> iam.PolicyStatement:
        context = f"arn:{self.partition}:logs:{self.region}:{self.account}:*"
        return self._statement(
            "LogGroups",
            [f"logs.{self.region}.amazonaws.com"],
            ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"],
            {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": context}},
        )

    def _topics(self) -> iam.PolicyStatement:
        return self._statement(
            "TopicPublishers",
            NAME_THEIR_ACCOUNT,
            ["kms:Decrypt", "kms:GenerateDataKey*"],
            {"StringEquals": {"aws:SourceAccount": self.account}},
        )

    def _other_publishers(self) -> iam.PolicyStatement:
        # Only the topic's own policy, which names one topic, lets them publish; the key is of no use without it.
        return self._statement("OtherTopicPublishers", PUBLISHERS, ["kms:Decrypt", "kms:GenerateDataKey*"], None)

    def _queues(self) -> tuple[iam.PolicyStatement, ...]:
        actions = ["kms:Decrypt", "kms:GenerateDataKey*"]
        account = {"StringEquals": {"aws:SourceAccount": self.account}}
        return (
            self._statement("DeadLettersOfEvents", ["events.amazonaws.com"], actions, None),
            self._statement("DeadLettersOfTopics", ["sns.amazonaws.com"], actions, account),
        )

    def _deliveries(self) -> iam.PolicyStatement:
        # Step Functions hands its encrypted log records to the delivery service of CloudWatch Logs.
        return self._statement(
            "LogsOfExecutions",
            ["delivery.logs.amazonaws.com"],
            ["kms:Decrypt*"],
            {
                "StringEquals": {
                    "kms:EncryptionContext:SourceArn": f"arn:{self.partition}:logs:{self.region}:{self.account}:*"
                }
            },
        )

    def _fargate(self) -> tuple[iam.PolicyStatement, ...]:
        account = {"kms:EncryptionContext:aws:ecs:clusterAccount": self.account}
        return (
            self._statement(
                "FargateDataKeys",
                ["fargate.amazonaws.com"],
                ["kms:GenerateDataKeyWithoutPlaintext"],
                {"StringEquals": account},
            ),
            self._statement(
                "FargateGrants",
                ["fargate.amazonaws.com"],
                ["kms:CreateGrant"],
                {
                    "StringEquals": account,
                    "ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt"]},
                },
            ),
        )
