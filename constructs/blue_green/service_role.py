"""A role whose permissions stand in a customer-managed policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import aws_iam as iam
from constructs import Construct


class ServiceRole(Construct):
    """A role for one service, with its permissions in one customer-managed policy and none inline.

    PCI DSS packs refuse inline policies, which every CDK grant to a role creates; grants to ``policy`` do not.
    The policy comes first and the role refers to it, so that whatever waits for the role waits for its permissions.

    Attributes:
        role: for constructs that take a role; they cannot add permissions to it.
        policy: what to grant to.
    """

    role: iam.IRole
    policy: iam.ManagedPolicy

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        assumed_by: iam.IPrincipal,
        description: str,
        managed_policies: Sequence[iam.IManagedPolicy] = (),
    ) -> None:
        super().__init__(scope, construct_id)
        self.policy = iam.ManagedPolicy(self, "Permissions", description=description)
        role = iam.Role(
            self,
            "Role",
            assumed_by=assumed_by,
            description=description,
            managed_policies=[*managed_policies, self.policy],
        )
        self.role = role.without_policy_updates()

    def allow(self, *actions: str, resources: Sequence[str], conditions: Mapping[str, Any] | None = None) -> None:
        """Let the role do ``actions`` on ``resources`` (ARNs) under ``conditions``."""
        self.policy.add_statements(
            iam.PolicyStatement(actions=list(actions), resources=list(resources), conditions=conditions)
        )
