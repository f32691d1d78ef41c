"""A Lambda function of ours, inside the VPC and with no permission that it does not name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from blue_green.encrypted_log_group import EncryptedLogGroup
from blue_green.service_role import ServiceRole
from policy.acknowledgement import acknowledge

SOURCE_ROOT = Path(__file__).resolve().parents[2] / "lambda"


class RuntimeFunction(Construct):
    """The function in ``lambda/<package>/``, entered at ``handler.lambda_handler``.

    The asset holds the package and the packages that it ``shares``, and nothing else of ``lambda/``.

    Attributes:
        function: the function.
        permissions: its role, to be granted what it needs.
    """

    function: lambda_.Function
    permissions: ServiceRole

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        package: str,
        description: str,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        security_group: ec2.ISecurityGroup,
        functions_key: kms.IKey,
        logs_key: kms.IKey,
        log_retention_days: int,
        timeout: cdk.Duration,
        environment: Mapping[str, str] | None = None,
        shares: Sequence[str] = (),
        layers: Sequence[lambda_.ILayerVersion] = (),
        memory: cdk.Size | None = None,
        code: lambda_.Code | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        if not (SOURCE_ROOT / package / "handler.py").is_file():
            raise ValueError(f"package: lambda/{package}/handler.py does not exist")
        log_group = EncryptedLogGroup(self, "Logs", key=logs_key, retention_days=log_retention_days)
        self.permissions = ServiceRole(
            self,
            "Execution",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"Execution of {package}",
        )
        self._allow_execution(log_group, functions_key)
        self.function = lambda_.Function(
            self,
            "Function",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            handler=f"{package}.handler.lambda_handler",
            code=code or package_code(package, *shares),
            description=description,
            timeout=timeout,
            memory_size=int((memory or cdk.Size.mebibytes(256)).to_mebibytes()),
            environment=dict(environment or {}),
            environment_encryption=functions_key,
            layers=list(layers),
            log_group=log_group,
            role=self.permissions.role,
            vpc=vpc,
            vpc_subnets=subnets,
            security_groups=[security_group],
        )

    def _allow_execution(self, log_group: logs.ILogGroup, functions_key: kms.IKey) -> None:
        # CDK's own log_group_arn ends in ":*", which covers the streams of this group only.
        self.permissions.allow("logs:CreateLogStream", "logs:PutLogEvents", resources=[log_group.log_group_arn])
        self.permissions.allow("kms:Decrypt", resources=[functions_key.key_arn])
        self.permissions.allow(
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
            resources=["*"],
        )
        acknowledge(
            self.permissions.policy,
            "AwsSolutions::AwsSolutions-IAM5[Resource::*]",
            reason="Lambda attaches the function to the VPC with these six network interface actions and requires them "
            "on all resources; they give no access to data.",
        )


def package_code(package: str, *shares: str) -> lambda_.Code:
    """The asset of ``lambda/`` filtered to ``package`` and ``shares``; caches of Python do not change its hash."""
    kept = [pattern for name in (package, *shares) for pattern in (f"!{name}", f"!{name}/**")]
    return lambda_.Code.from_asset(
        str(SOURCE_ROOT), exclude=["*", *kept, "**/__pycache__"], ignore_mode=cdk.IgnoreMode.GIT
    )
