"""The payment service in both environments."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_kms as kms
from constructs import Construct

from blue_green.payment_database import PaymentDatabase
from blue_green.payment_service import PaymentService
from blue_green.runtime_layer import authorities
from blue_green.staged_folder import PROJECT, copy_source, staged
from stacks.chain import LEGACY
from stacks.config import Color, Compute, LegacyDatabase
from stacks.network import SERVICE_PORT
from stacks.security import Keys

ECR_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<name>[^:@]+)(:[^@]+)?@(?P<digest>.+)"
)

DATABASE_CA_PATH = "/app/certificates/databases.pem"
"""Where the image holds the authorities of the databases; an image of one's own needs the file too."""

DRAIN_SECONDS = 11
"""What a task has on top of the longest hold before it is killed: 5 s until it stops listening, and last answers."""


HEALTH_CHECK = ecs.HealthCheck(
    command=["CMD", "python", "-m", "payment_service.healthcheck", str(SERVICE_PORT)],
    interval=cdk.Duration.seconds(10),
    timeout=cdk.Duration.seconds(5),
    start_period=cdk.Duration.seconds(15),
    retries=3,
)
"""Of the reference image, as its Dockerfile has it. An image of one's own is asked by the load balancer only."""


class ComputeStack(cdk.NestedStack):
    """An ECS cluster with one Fargate service for each environment, from one loop.

    Attributes:
        cluster: the cluster.
        services: the payment service by environment.
    """

    cluster: ecs.Cluster
    services: Mapping[Color, PaymentService]

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        compute: Compute,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        security_groups: Mapping[Color, ec2.ISecurityGroup],
        load_balancer: elbv2.ApplicationLoadBalancer,
        target_groups: Mapping[Color, elbv2.ApplicationTargetGroup],
        databases: Mapping[Color, PaymentDatabase],
        legacy_database: LegacyDatabase | None,
        payment_schema: str,
        keys: Keys,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id, description="Payment service, blue and green")
        self.cluster = ecs.Cluster(
            self,
            "Cluster",
            vpc=vpc,
            container_insights_v2=ecs.ContainerInsights.ENHANCED,
        )
        self._encrypt_ephemeral_storage(keys.storage)
        # Every service gets every database: the one that admits the account is the writer, whatever its name.
        secrets = {color.value: databases[color].secrets.application.secret_arn for color in Color}
        key_arns = [keys.secrets.key_arn]
        if legacy_database:
            secrets = {LEGACY: legacy_database.application_secret_arn, **secrets}
            key_arns.append(legacy_database.secret_key_arn)
        legacy_ca = PROJECT / legacy_database.ca_certificate_file if legacy_database else None
        image, repository_arn = self._image(compute, legacy_ca)
        services = {}
        for color in Color:
            environment = Construct(self, color.title)
            cdk.Tags.of(environment).add("Environment", color.value)
            services[color] = PaymentService(
                environment,
                "Payments",
                environment=color.value,
                cluster=self.cluster,
                image=image,
                arguments=_arguments(secrets, compute, payment_schema, self.region),
                port=SERVICE_PORT,
                cpu_units=compute.cpu_units,
                memory_mib=compute.memory_mib,
                min_tasks=compute.min_tasks,
                max_tasks=compute.max_tasks,
                requests_per_second_per_task=compute.requests_per_second_per_task,
                cpu_target_percent=compute.cpu_target_percent,
                health_check=None if compute.image else HEALTH_CHECK,
                stop_timeout=cdk.Duration.seconds(compute.hold_seconds + DRAIN_SECONDS),
                subnets=subnets,
                security_group=security_groups[color],
                target_group=target_groups[color],
                load_balancer=load_balancer,
                secret_arns=list(secrets.values()),
                secret_key_arns=key_arns,
                repository_arn=repository_arn,
                logs_key=keys.logs,
                log_retention_days=log_retention_days,
            )
        self.services = services

    def _encrypt_ephemeral_storage(self, key: kms.IKey) -> None:
        cluster = self.cluster.node.default_child
        assert isinstance(cluster, ecs.CfnCluster)
        # The L2 would add ECS to the key's policy, and so make the keys depend on this stack; ours names it already.
        cluster.configuration = ecs.CfnCluster.ClusterConfigurationProperty(
            managed_storage_configuration=ecs.CfnCluster.ManagedStorageConfigurationProperty(
                fargate_ephemeral_storage_kms_key_id=key.key_arn
            )
        )

    def _image(self, compute: Compute, legacy_ca: Path | None) -> tuple[ecs.ContainerImage, str | None]:
        """The image, and the ECR repository that it comes from, if it is one."""
        if compute.image:
            return self._given_image(compute.image)
        asset = ecr_assets.DockerImageAsset(
            self,
            "Image",
            directory=str(stage_image(legacy_ca)),
            platform=ecr_assets.Platform.LINUX_AMD64,
        )
        image = ecs.ContainerImage.from_ecr_repository(asset.repository, asset.image_tag)
        return image, asset.repository.repository_arn

    def _given_image(self, image: str) -> tuple[ecs.ContainerImage, str | None]:
        match = ECR_IMAGE.fullmatch(image)
        if match is None:
            return ecs.ContainerImage.from_registry(image), None
        repository = ecr.Repository.from_repository_attributes(
            self,
            "Repository",
            repository_name=match["name"],
            repository_arn=f"arn:{self.partition}:ecr:{match['region']}:{match['account']}:repository/{match['name']}",
        )
        return ecs.ContainerImage.from_ecr_repository(repository, match["digest"]), repository.repository_arn


def stage_image(legacy_ca: Path | None) -> Path:
    """Lay out what the image of the reference service is built from, with the authorities of all databases."""

    def lay_out(target: Path) -> None:
        copy_source(PROJECT / "service", target, "*.md", "*.in", "benchmarks")
        (target / "certificates" / "databases.pem").write_text(authorities(legacy_ca))

    return staged("service-image", lay_out)


def _arguments(secrets: Mapping[str, str], compute: Compute, schema: str, region: str) -> Sequence[str]:
    databases = [part for name, arn in secrets.items() for part in ("--database", f"{name}={arn}")]
    return [
        *databases,
        "--listen-port",
        str(SERVICE_PORT),
        "--hold-seconds",
        str(compute.hold_seconds),
        "--schema",
        schema,
        "--database-ca",
        DATABASE_CA_PATH,
        "--region",
        region,
    ]
