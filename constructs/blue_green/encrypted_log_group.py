"""A log group under a customer-managed key."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct


class EncryptedLogGroup(logs.LogGroup):
    """A log group that is encrypted, kept for the configured time, and survives its stack as audit history."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        key: kms.IKey,
        retention_days: int,
        log_group_name: str | None = None,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            log_group_name=log_group_name,
            encryption_key=key,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        # The L2 takes an enum with a member for each period; the L1 takes the number that the configuration checked.
        group = self.node.default_child
        assert isinstance(group, logs.CfnLogGroup)
        group.retention_in_days = retention_days
