"""An encrypted topic through which AWS services tell people."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

NAME_THEIR_ACCOUNT = ("cloudwatch.amazonaws.com",)
"""Services that send the source account with a publication. EventBridge does not, and of DMS and AWS Backup it is not
documented: a condition on it would lose what they say without a word."""


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
    ) -> None:
        super().__init__(scope, construct_id)
        self.topic = sns.Topic(self, "Topic", display_name=display_name, master_key=key, enforce_ssl=True)
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
