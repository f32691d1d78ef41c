"""Entry point of the function behind ``Custom::ClosedDefaultSecurityGroup``.

A VPC comes with a security group that lets its members talk to each other and to the whole internet, and anything that
is created without a group gets it. CloudFormation cannot change its rules, so this function takes them out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import boto3

from custom_resource import Request, serve
from database_access import structured_log

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

log = logging.getLogger(__name__)

GROUP_ID = re.compile(r"sg-[0-9a-f]{8,17}")


class LambdaContext(Protocol):
    """What the function needs of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


class PropertyError(ValueError):
    """The custom resource lacks a property or has a wrong one."""


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, bool]:
    """Answer CloudFormation; the result is for the reader of a test invocation only."""
    structured_log.configure()
    request = Request.parse(event, physical_resource_id=f"closed-default-group-{event.get('LogicalResourceId')}")
    ec2 = boto3.client("ec2")
    succeeded = serve(
        request,
        work=lambda request, seconds: run(request, ec2=ec2),
        remaining_seconds=context.get_remaining_time_in_millis() / 1000,
        conceal=structured_log.strike_out,
    )
    return {"succeeded": succeeded}


def run(request: Request, *, ec2: EC2Client) -> Mapping[str, str]:
    """Take every rule out of the group on Create and Update; Delete leaves it closed.

    Returns:
        How many rules were taken out, as the data of the custom resource.

    Raises:
        PropertyError: ``SecurityGroupId`` is missing or is not the id of a security group.
    """
    group = request.properties.get("SecurityGroupId")
    if not isinstance(group, str) or not GROUP_ID.fullmatch(group):
        raise PropertyError(f"SecurityGroupId must be an id such as sg-0123456789abcdef0, got {group!r}")
    if request.request_type == "Delete":
        return {"RevokedRules": "0"}
    return {"RevokedRules": str(close(group, ec2=ec2))}


def close(group: str, *, ec2: EC2Client) -> int:
    """Take every rule out of the security group ``group``; return how many there were. Twice is as good as once."""
    rules = [
        rule
        for page in ec2.get_paginator("describe_security_group_rules").paginate(
            Filters=[{"Name": "group-id", "Values": [group]}]
        )
        for rule in page["SecurityGroupRules"]
    ]
    inbound = [rule["SecurityGroupRuleId"] for rule in rules if not rule["IsEgress"]]
    outbound = [rule["SecurityGroupRuleId"] for rule in rules if rule["IsEgress"]]
    if inbound:
        ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=inbound)
    if outbound:
        ec2.revoke_security_group_egress(GroupId=group, SecurityGroupRuleIds=outbound)
    log.info("default security group %s: %d rules taken out", group, len(rules))
    return len(rules)
