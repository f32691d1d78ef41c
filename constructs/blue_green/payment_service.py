"""The payment service of one environment on Fargate."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct

from blue_green.encrypted_log_group import EncryptedLogGroup
from blue_green.service_role import ServiceRole
from policy.acknowledgement import acknowledge

USER = "10001:10001"
"""User and group of the container; the image's files belong to root and are not writable by it."""

SCRATCH = "/tmp"  # noqa: S108 - the only writable path in the container, on the task's encrypted storage


class PaymentService(Construct):
    """Tasks in every zone, replaced without a gap, and rolled back when a deployment makes errors.

    Attributes:
        service: the ECS service.
    """

    service: ecs.FargateService

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        environment: str,
        cluster: ecs.ICluster,
        image: ecs.ContainerImage,
        arguments: Sequence[str],
        port: int,
        cpu_units: int,
        memory_mib: int,
        min_tasks: int,
        max_tasks: int,
        requests_per_second_per_task: int,
        cpu_target_percent: int,
        health_check: ecs.HealthCheck | None,
        stop_timeout: cdk.Duration,
        subnets: ec2.SubnetSelection,
        security_group: ec2.ISecurityGroup,
        target_group: elbv2.ApplicationTargetGroup,
        load_balancer: elbv2.ApplicationLoadBalancer,
        secret_arns: Sequence[str],
        secret_key_arns: Sequence[str],
        repository_arn: str | None,
        logs_key: kms.IKey,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id)
        self._stack = cdk.Stack.of(self)
        log_group = EncryptedLogGroup(self, "Logs", key=logs_key, retention_days=log_retention_days)
        definition = ecs.FargateTaskDefinition(
            self,
            "Task",
            cpu=cpu_units,
            memory_limit_mib=memory_mib,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=ecs.CpuArchitecture.X86_64, operating_system_family=ecs.OperatingSystemFamily.LINUX
            ),
            execution_role=self._execution_role(environment, log_group, repository_arn).role,
            task_role=self._task_role(environment, secret_arns, secret_key_arns).role,
            volumes=[ecs.Volume(name="scratch")],
        )
        container = definition.add_container(
            "Payments",
            image=image,
            command=list(arguments),
            user=USER,
            readonly_root_filesystem=True,
            privileged=False,
            essential=True,
            # ECS does not look at the one of the image.
            health_check=health_check,
            stop_timeout=stop_timeout,
            port_mappings=[ecs.PortMapping(container_port=port, protocol=ecs.Protocol.TCP)],
            logging=ecs.LogDrivers.aws_logs(
                log_group=log_group,
                stream_prefix=environment,
                # A slow log service must not stop payments; what does not fit into the buffer is lost.
                mode=ecs.AwsLogDriverMode.NON_BLOCKING,
                max_buffer_size=cdk.Size.mebibytes(25),
            ),
            linux_parameters=self._linux_parameters(),
        )
        container.add_mount_points(ecs.MountPoint(source_volume="scratch", container_path=SCRATCH, read_only=False))
        self.service = ecs.FargateService(
            self,
            "Service",
            cluster=cluster,
            task_definition=definition,
            # No desired count: a deployment would set it back in the middle of a busy hour. The floor of scaling below
            # brings the service to its first tasks.
            min_healthy_percent=100,
            max_healthy_percent=200,
            availability_zone_rebalancing=ecs.AvailabilityZoneRebalancing.ENABLED,
            platform_version=ecs.FargatePlatformVersion.VERSION1_4,
            assign_public_ip=False,
            vpc_subnets=subnets,
            security_groups=[security_group],
            circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
            deployment_alarms=ecs.DeploymentAlarmConfig(
                alarm_names=[self._deployment_alarm(environment, target_group, load_balancer).alarm_name],
                behavior=ecs.AlarmBehavior.ROLLBACK_ON_ALARM,
            ),
            enable_execute_command=False,
            enable_ecs_managed_tags=True,
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
            health_check_grace_period=cdk.Duration.seconds(60),
        )
        self.service.attach_to_application_target_group(target_group)
        self._scale(min_tasks, max_tasks, requests_per_second_per_task, cpu_target_percent, target_group)

    def _linux_parameters(self) -> ecs.LinuxParameters:
        parameters = ecs.LinuxParameters(self, "Linux", init_process_enabled=True)
        parameters.drop_capabilities(ecs.Capability.ALL)
        return parameters

    def _execution_role(
        self, environment: str, log_group: EncryptedLogGroup, repository_arn: str | None
    ) -> ServiceRole:
        role = ServiceRole(
            self,
            "Execution",
            assumed_by=self._ecs_tasks(),
            description=f"Start of the payment tasks, {environment} environment",
        )
        role.allow("logs:CreateLogStream", "logs:PutLogEvents", resources=[log_group.log_group_arn])
        if repository_arn:
            role.allow(
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetDownloadUrlForLayer",
                resources=[repository_arn],
            )
            role.allow("ecr:GetAuthorizationToken", resources=["*"])
            acknowledge(
                role.policy,
                "AwsSolutions::AwsSolutions-IAM5[Resource::*]",
                reason="The authorization token of the registry belongs to no repository; ECR grants it on all "
                "resources only.",
            )
        return role

    def _task_role(self, environment: str, secret_arns: Sequence[str], key_arns: Sequence[str]) -> ServiceRole:
        role = ServiceRole(
            self, "Tasks", assumed_by=self._ecs_tasks(), description=f"Payment tasks, {environment} environment"
        )
        role.allow("secretsmanager:GetSecretValue", resources=secret_arns)
        role.allow(
            "kms:Decrypt",
            resources=key_arns,
            conditions={"StringEquals": {"kms:ViaService": f"secretsmanager.{self._stack.region}.amazonaws.com"}},
        )
        return role

    def _ecs_tasks(self) -> iam.ServicePrincipal:
        return iam.ServicePrincipal(
            "ecs-tasks.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": self._stack.account}}
        )

    def _deployment_alarm(
        self,
        environment: str,
        target_group: elbv2.ApplicationTargetGroup,
        load_balancer: elbv2.ApplicationLoadBalancer,
    ) -> cloudwatch.Alarm:
        """Watches deployments only; the alarms of the cutover are others, so that neither blocks the other."""
        return cloudwatch.Alarm(
            self,
            "DeploymentErrors",
            alarm_description=f"Answers 5xx of the {environment} environment while ECS deploys; ECS rolls back on it.",
            metric=cloudwatch.Metric(
                namespace="AWS/ApplicationELB",
                metric_name="HTTPCode_Target_5XX_Count",
                dimensions_map={
                    "LoadBalancer": load_balancer.load_balancer_full_name,
                    "TargetGroup": target_group.target_group_full_name,
                },
                statistic="Sum",
                period=cdk.Duration.minutes(1),
            ),
            threshold=5,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=2,
            # The metric exists only when there were errors.
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )

    def _scale(
        self,
        min_tasks: int,
        max_tasks: int,
        requests_per_second_per_task: int,
        cpu_target_percent: int,
        target_group: elbv2.ApplicationTargetGroup,
    ) -> None:
        tasks = self.service.auto_scale_task_count(min_capacity=min_tasks, max_capacity=max_tasks)
        tasks.scale_on_cpu_utilization("Cpu", target_utilization_percent=cpu_target_percent)
        tasks.scale_on_request_count(
            "Requests",
            # The metric counts a minute; the target leaves a third of what a task can carry for the time of scaling.
            requests_per_target=requests_per_second_per_task * 60 * 2 // 3,
            target_group=target_group,
        )
