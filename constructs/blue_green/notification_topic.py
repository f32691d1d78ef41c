"""An encrypted topic through which AWS services tell people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from blue_green.encrypted_log_group import EncryptedLogGroup
from blue_green.service_role import ServiceRole

NAME_THEIR_ACCOUNT = ("cloudwatch.amazonaws.com",)
"""Services that send the source account with a publication. EventBridge does not, and of DMS and AWS Backup it is not
documented: a condition on it would lose what they say without a word."""


@dataclass(frozen=True, kw_only=True)
class FunctionDeliveries:
    """That a topic is read by a function, and that deliveries to it which fail are logged.

    Attributes:
        topic_name: SNS names the log group after the topic, so the name must be known beforehand.
        log_retention_days: retention of the log.
    """

    topic_name: str
    log_retention_days: int


class NotificationTopic(Construct):
    """A topic that only named AWS services of this account may publish to, over TLS, read by ``emails``.

    The key must be one whose policy lets ``publishers`` encrypt.

    Attributes:
        topic: the topic.
    """

    topic: sns.Topic

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        key: kms.IKey,
        display_name: str,
        publishers: Sequence[str],
        emails: Sequence[str],
        function_deliveries: FunctionDeliveries | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        logged = function_deliveries
        self.topic = sns.Topic(
            self,
            "Topic",
            topic_name=logged.topic_name if logged else None,
            display_name=display_name,
            master_key=key,
            enforce_ssl=True,
            logging_configs=[self._log_failures(logged, key)] if logged else None,
        )
        for publisher in publishers:
            conditions = (
                {"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}}
                if publisher in NAME_THEIR_ACCOUNT
                else None
            )
            self.topic.add_to_resource_policy(
                iam.PolicyStatement(
                    sid=f"Publish{publisher.split('.')[0].capitalize()}",
                    principals=[iam.ServicePrincipal(publisher)],
                    actions=["sns:Publish"],
                    resources=[self.topic.topic_arn],
                    conditions=conditions,
                )
            )
        for email in emails:
            self.topic.add_subscription(subscriptions.EmailSubscription(email))

    def _log_failures(self, deliveries: FunctionDeliveries, key: kms.IKey) -> sns.LoggingConfig:
        stack = cdk.Stack.of(self)
        log_group = EncryptedLogGroup(
            self,
            "FailedDeliveries",
            key=key,
            retention_days=deliveries.log_retention_days,
            # SNS writes to a group of this name, and would make it without a key if it did not exist.
            log_group_name=f"sns/{stack.region}/{stack.account}/{deliveries.topic_name}/Failure",
        )
        feedback = ServiceRole(
            self,
            "Feedback",
            assumed_by=iam.ServicePrincipal(
                "sns.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": stack.account}}
            ),
            description=f"Log of deliveries of {deliveries.topic_name} that failed",
        )
        feedback.allow("logs:CreateLogStream", "logs:PutLogEvents", resources=[log_group.log_group_arn])
        return sns.LoggingConfig(protocol=sns.LoggingProtocol.LAMBDA, failure_feedback_role=feedback.role)
