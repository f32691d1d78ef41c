"""AWS services reached from inside the VPC without a way to the internet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

WORKLOADS: Mapping[str, tuple[str, ...]] = {
    "backup": ("the controller takes a recovery point before a cutover",),
    "dms": ("the rotation and the controller stop and start replication tasks",),
    "ec2": ("the function that closes the default security group",),
    "ecr.api": ("Fargate pulls the image",),
    "ecr.dkr": ("Fargate pulls the image",),
    "ecs": ("the controller reads the services",),
    "elasticloadbalancing": ("the controller sets the weights",),
    "events": ("the controller announces what it does",),
    "kms": ("functions decrypt under customer-managed keys",),
    "lambda": ("the controller calls functions",),
    "logs": ("containers and functions write logs",),
    "monitoring": ("the controller reads metrics",),
    "rds": ("the controller reads the clusters",),
    "route53": ("the controller sets the weighted records",),
    "secretsmanager": ("services, functions and DMS read the databases' secrets",),
    "sns": ("the controller notifies",),
    "ssm": ("the controller reads its parameters",),
    "states": ("functions answer the state machine",),
    "sts": ("SDKs ask for the identity of the caller",),
    "xray": ("functions send traces",),
}
"""Why each endpoint is needed, by service; leaving out one of them is an error."""

# The global service has no region in its name and is offered in us-east-1 only (since November 2025).
_GLOBAL = {"route53"}


class MissingEndpointError(ValueError):
    """A workload in the VPC calls a service for which there is no endpoint."""


def require_endpoints(configured: Sequence[str]) -> None:
    """Check that nothing in the VPC is cut off.

    Raises:
        MissingEndpointError: names each service that is left out and who needs it.
    """
    missing = [f"{name} ({'; '.join(needs)})" for name, needs in WORKLOADS.items() if name not in configured]
    if missing:
        raise MissingEndpointError(
            f"network.interface_endpoints: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing, and workloads in the VPC need them"
        )


class InterfaceEndpoints(Construct):
    """Interface endpoints with private DNS, open to the VPC on 443 and to principals of this account only."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        vpc: ec2.IVpc,
        services: Sequence[str],
        subnets: ec2.SubnetSelection,
        security_group: ec2.ISecurityGroup,
    ) -> None:
        super().__init__(scope, construct_id)
        require_endpoints(services)
        for name in services:
            endpoint = ec2.InterfaceVpcEndpoint(
                self,
                "".join(part.capitalize() for part in name.split(".")),
                vpc=vpc,
                service=_service(name),
                subnets=subnets,
                security_groups=[security_group],
                private_dns_enabled=True,
                open=False,
            )
            endpoint.add_to_policy(
                iam.PolicyStatement(
                    sid="OwnAccountOnly",
                    principals=[iam.AnyPrincipal()],
                    actions=["*"],
                    resources=["*"],
                    conditions={"StringEquals": {"aws:PrincipalAccount": cdk.Stack.of(self).account}},
                )
            )


def _service(name: str) -> ec2.IInterfaceVpcEndpointService:
    if name in _GLOBAL:
        return ec2.InterfaceVpcEndpointAwsService(name, "com.amazonaws", 443, global_=True)
    return ec2.InterfaceVpcEndpointAwsService(name)
