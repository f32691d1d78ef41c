"""A Lambda function of ours, inside the VPC and with no permission that it does not name."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from blue_green.encrypted_log_group import EncryptedLogGroup
from blue_green.service_role import ServiceRole
from policy.acknowledgement import acknowledge

SOURCE_ROOT = Path(__file__).resolve().parents[2] / "lambda"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the functions of a stack run and what encrypts for them.

    Attributes:
        vpc: network of the functions.
        subnets: subnets of the functions.
        security_group: security group of the functions.
        functions_key: encrypts their environment.
        logs_key: encrypts their logs.
        secrets_key: encrypts the secrets that they read and write.
        log_retention_days: retention of their logs.
        layer: driver and certificate authorities, for functions that reach the databases.
    """

    vpc: ec2.IVpc
    subnets: ec2.SubnetSelection
    security_group: ec2.ISecurityGroup
    functions_key: kms.IKey
    logs_key: kms.IKey
    secrets_key: kms.IKey
    log_retention_days: int
    layer: lambda_.ILayerVersion | None = None


class RuntimeFunction(Construct):
    """The function in ``lambda/<package>/``, entered at ``handler.lambda_handler``.

    The asset holds the package and the packages of ``lambda/`` that it imports, and nothing else.

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
        placement: Placement,
        timeout: cdk.Duration,
        environment: Mapping[str, str] | None = None,
        memory: cdk.Size | None = None,
        code: lambda_.Code | None = None,
        reserved_concurrency: int | None = None,
        dead_letters: sqs.IQueue | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        if not (SOURCE_ROOT / package / "handler.py").is_file():
            raise ValueError(f"package: lambda/{package}/handler.py does not exist")
        log_group = EncryptedLogGroup(self, "Logs", key=placement.logs_key, retention_days=placement.log_retention_days)
        self.permissions = ServiceRole(
            self,
            "Execution",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"Execution of {package}",
        )
        self._allow_execution(log_group, placement.functions_key)
        self.function = lambda_.Function(
            self,
            "Function",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            handler=f"{package}.handler.lambda_handler",
            code=code or package_code(package),
            description=description,
            timeout=timeout,
            memory_size=int((memory or cdk.Size.mebibytes(256)).to_mebibytes()),
            environment=dict(environment or {}),
            environment_encryption=placement.functions_key,
            layers=[placement.layer] if placement.layer else [],
            reserved_concurrent_executions=reserved_concurrency,
            dead_letter_queue=dead_letters,
            log_group=log_group,
            role=self.permissions.role,
            tracing=lambda_.Tracing.ACTIVE,
            vpc=placement.vpc,
            vpc_subnets=placement.subnets,
            security_groups=[placement.security_group],
        )
        if dead_letters:
            self.permissions.allow("sqs:SendMessage", resources=[dead_letters.queue_arn])

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
        self.permissions.allow("xray:PutTraceSegments", "xray:PutTelemetryRecords", resources=["*"])
        acknowledge(
            self.permissions.policy,
            "AwsSolutions::AwsSolutions-IAM5[Resource::*]",
            reason="Lambda attaches the function to the VPC with these six network interface actions, and X-Ray takes "
            "traces; both are granted on all resources only and give no access to data.",
        )


def package_code(package: str) -> lambda_.Code:
    """The asset of ``lambda/`` filtered to ``package`` and what it imports; caches of Python do not change its hash."""
    kept = [pattern for name in packages_of(package) for pattern in (f"!{name}", f"!{name}/**")]
    return lambda_.Code.from_asset(
        str(SOURCE_ROOT), exclude=["*", *kept, "**/__pycache__"], ignore_mode=cdk.IgnoreMode.GIT
    )


def packages_of(package: str) -> tuple[str, ...]:
    """``package`` and every package of ``lambda/`` that it imports, directly or by another one, in order of name."""
    found: set[str] = set()
    pending = [package]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(_imports(SOURCE_ROOT / name))
    return tuple(sorted(found))


def _imports(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            names: Sequence[str] = ()
            if isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module]
            for name in names:
                top = name.partition(".")[0]
                if (SOURCE_ROOT / top).is_dir():
                    yield top
