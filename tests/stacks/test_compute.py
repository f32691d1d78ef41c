"""The payment service in both environments."""

from __future__ import annotations

import re
from typing import Any

import pytest

from policy.templates import Resource
from tests.support.synthesized import PROJECT, Synthesis, Variation, name_of, plain

COLORS = ("Blue", "Green")
DIGEST = "sha256:" + "0123456789abcdef" * 4


def service(synthesis: Synthesis, color: str) -> Resource:
    return synthesis.the("AWS::ECS::Service", f"Compute/{color}/")


def definition(synthesis: Synthesis, color: str) -> Resource:
    return synthesis.the("AWS::ECS::TaskDefinition", f"Compute/{color}/")


def container(synthesis: Synthesis, color: str) -> dict[str, Any]:
    [found] = plain(definition(synthesis, color)["ContainerDefinitions"])
    assert isinstance(found, dict)
    return found


def target(synthesis: Synthesis, color: str) -> Resource:
    return synthesis.the("AWS::ApplicationAutoScaling::ScalableTarget", f"Compute/{color}/")


def test_container_insights_are_on(prod: Synthesis) -> None:
    [setting] = plain(prod.the("AWS::ECS::Cluster")["ClusterSettings"])

    assert setting == {"Name": "containerInsights", "Value": "enhanced"}


def test_ephemeral_storage_is_encrypted_under_its_own_key(prod: Synthesis) -> None:
    storage = prod.the("AWS::ECS::Cluster")["Configuration.ManagedStorageConfiguration"]

    assert plain(storage) == {"FargateEphemeralStorageKmsKeyId": "<Security/Storage>.Arn"}


@pytest.mark.parametrize("color", COLORS)
def test_tasks_run_on_fargate_in_every_zone_without_a_public_address(prod: Synthesis, color: str) -> None:
    found = service(prod, color)

    assert found["LaunchType"].value == "FARGATE"
    assert plain(found["NetworkConfiguration.AwsvpcConfiguration"]) == {
        "AssignPublicIp": "DISABLED",
        "SecurityGroups": [f"<Network/{color}Service>.GroupId"],
        "Subnets": [f"<Network/Vpc/ComputeSubnet{number}/Subnet>" for number in (1, 2, 3)],
    }


@pytest.mark.parametrize("color", COLORS)
def test_there_is_a_task_in_every_zone_at_least_and_zones_are_kept_in_balance(prod: Synthesis, color: str) -> None:
    assert int(plain(target(prod, color)["MinCapacity"])) >= 3
    assert service(prod, color)["AvailabilityZoneRebalancing"].value == "ENABLED"


@pytest.mark.parametrize("color", COLORS)
def test_a_deployment_never_takes_tasks_away_first_nor_sets_their_number(prod: Synthesis, color: str) -> None:
    deployment = plain(service(prod, color)["DeploymentConfiguration"])

    assert deployment["MinimumHealthyPercent"] == 100
    assert service(prod, color)["DesiredCount"].missing


@pytest.mark.parametrize("color", COLORS)
def test_a_task_whose_process_no_longer_answers_is_replaced(prod: Synthesis, color: str) -> None:
    dockerfile = (PROJECT / "service" / "Dockerfile").read_text()
    found = container(prod, color)["HealthCheck"]

    assert found == {
        "Command": ["CMD", "python", "-m", "payment_service.healthcheck", "8443"],
        "Interval": 10,
        "Retries": 3,
        "StartPeriod": 15,
        "Timeout": 5,
    }
    assert "HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3" in dockerfile


@pytest.mark.parametrize("color", COLORS)
def test_a_deployment_that_fails_is_rolled_back(prod: Synthesis, color: str) -> None:
    deployment = plain(service(prod, color)["DeploymentConfiguration"])

    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}


@pytest.mark.parametrize("color", COLORS)
def test_a_deployment_that_makes_errors_is_rolled_back(prod: Synthesis, color: str) -> None:
    alarms = plain(service(prod, color)["DeploymentConfiguration"])["Alarms"]
    alarm = prod.the("AWS::CloudWatch::Alarm", f"Compute/{color}/")

    assert alarms == {"AlarmNames": [f"<{name_of(alarm)}>"], "Enable": True, "Rollback": True}
    assert alarm["MetricName"].value == "HTTPCode_Target_5XX_Count"


@pytest.mark.parametrize("color", COLORS)
def test_ecs_does_not_move_traffic_itself(prod: Synthesis, color: str) -> None:
    """Its own blue-green strategies rewrite the listener rule that the runtime owns."""
    found = service(prod, color)

    assert (
        found["DeploymentConfiguration.Strategy"].missing
        or found["DeploymentConfiguration.Strategy"].value == "ROLLING"
    )
    [balancer] = plain(found["LoadBalancers"])
    assert balancer == {
        "ContainerName": "Payments",
        "ContainerPort": 8443,
        "TargetGroupArn": f"<FrontDoor/{color}Targets>",
    }


@pytest.mark.parametrize("color", COLORS)
def test_tasks_carry_the_tags_of_their_service(prod: Synthesis, color: str) -> None:
    assert service(prod, color)["PropagateTags"].value == "SERVICE"
    assert service(prod, color)["EnableECSManagedTags"].value is True


@pytest.mark.parametrize("color", COLORS)
def test_nobody_gets_a_shell_in_a_container(prod: Synthesis, color: str) -> None:
    assert service(prod, color)["EnableExecuteCommand"].value is False


# Scaling.


@pytest.mark.parametrize("color", COLORS)
def test_the_floor_of_scaling_carries_all_of_the_load(prod: Synthesis, color: str) -> None:
    compute = prod.config.compute
    floor = int(plain(target(prod, color)["MinCapacity"]))

    assert floor * compute.requests_per_second_per_task >= compute.peak_requests_per_second
    assert int(plain(target(prod, color)["MaxCapacity"])) == compute.max_tasks


@pytest.mark.parametrize("color", COLORS)
def test_the_floor_follows_the_peak(variation: Variation, color: str) -> None:
    synthesis = variation("busier", compute__peak_requests_per_second=401, compute__max_tasks=20)

    assert target(synthesis, color)["MinCapacity"].value == 9


def scaling(synthesis: Synthesis, color: str, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = plain(
        synthesis.the(
            "AWS::ApplicationAutoScaling::ScalingPolicy", f"Compute/{color}/Payments/Service/TaskCount/Target/{kind}"
        )["TargetTrackingScalingPolicyConfiguration"]
    )
    return found


@pytest.mark.parametrize("color", COLORS)
def test_it_scales_on_cpu(prod: Synthesis, color: str) -> None:
    policy = scaling(prod, color, "Cpu")

    assert policy["PredefinedMetricSpecification"]["PredefinedMetricType"] == "ECSServiceAverageCPUUtilization"
    assert policy["TargetValue"] == prod.config.compute.cpu_target_percent


@pytest.mark.parametrize("color", COLORS)
def test_it_scales_on_the_requests_of_its_own_targets(prod: Synthesis, color: str) -> None:
    policy = scaling(prod, color, "Requests")

    assert policy["PredefinedMetricSpecification"]["PredefinedMetricType"] == "ALBRequestCountPerTarget"
    label = policy["PredefinedMetricSpecification"]["ResourceLabel"]
    assert label.endswith(f"/<FrontDoor/{color}Targets>.TargetGroupFullName")
    assert policy["TargetValue"] <= prod.config.compute.requests_per_second_per_task * 60


@pytest.mark.parametrize("color", COLORS)
def test_scaling_in_is_not_switched_off_for_good(prod: Synthesis, color: str) -> None:
    assert not scaling(prod, color, "Cpu").get("DisableScaleIn", False)
    assert not scaling(prod, color, "Requests").get("DisableScaleIn", False)


# The container.


@pytest.mark.parametrize("color", COLORS)
def test_the_container_is_not_root_and_cannot_write_its_file_system(prod: Synthesis, color: str) -> None:
    found = container(prod, color)

    assert found["User"].partition(":")[0] not in ("", "0", "root")
    assert found["ReadonlyRootFilesystem"] is True
    assert found["Privileged"] is False
    assert found["LinuxParameters"]["Capabilities"]["Drop"] == ["ALL"]


@pytest.mark.parametrize("color", COLORS)
def test_the_container_has_neither_an_environment_nor_secrets_in_it(prod: Synthesis, color: str) -> None:
    assert not {"Environment", "EnvironmentFiles", "Secrets"} & set(container(prod, color))


@pytest.mark.parametrize("color", COLORS)
def test_the_service_gets_both_databases_whatever_its_colour(prod: Synthesis, color: str) -> None:
    assert container(prod, color)["Command"] == [
        "--database",
        "blue=<Database/Blue/Database/Secrets/Application>",
        "--database",
        "green=<Database/Green/Database/Secrets/Application>",
        "--listen-port",
        "8443",
        "--hold-seconds",
        "45",
        "--schema",
        "payments",
        "--database-ca",
        "/app/certificates/databases.pem",
        "--region",
        "us-east-1",
    ]


@pytest.mark.parametrize("color", COLORS)
def test_with_a_legacy_database_the_service_gets_it_first(staging: Synthesis, color: str) -> None:
    assert container(staging, color)["Command"][:2] == [
        "--database",
        "legacy=arn:aws:secretsmanager:us-east-1:111122223333:secret:legacy/application-AbCdEf",
    ]


@pytest.mark.parametrize("color", COLORS)
def test_a_request_is_held_for_less_time_than_the_load_balancer_waits(either: Synthesis, color: str) -> None:
    command = container(either, color)["Command"]
    [idle] = [
        int(each["Value"])
        for each in plain(either.the("AWS::ElasticLoadBalancingV2::LoadBalancer")["LoadBalancerAttributes"])
        if each["Key"] == "idle_timeout.timeout_seconds"
    ]

    hold = int(command[command.index("--hold-seconds") + 1])
    assert hold < idle
    assert container(either, color)["StopTimeout"] > hold


@pytest.mark.parametrize("color", COLORS)
def test_the_only_writable_path_is_the_scratch_volume(prod: Synthesis, color: str) -> None:
    assert container(prod, color)["MountPoints"] == [
        {"ContainerPath": "/tmp", "ReadOnly": False, "SourceVolume": "scratch"}  # noqa: S108
    ]
    assert plain(definition(prod, color)["Volumes"]) == [{"Name": "scratch"}]


@pytest.mark.parametrize("color", COLORS)
def test_logs_go_to_an_encrypted_group(prod: Synthesis, color: str) -> None:
    logging = container(prod, color)["LogConfiguration"]
    group = prod.the("AWS::Logs::LogGroup", f"Compute/{color}/")

    assert logging["LogDriver"] == "awslogs"
    assert logging["Options"]["awslogs-group"] == f"<{name_of(group)}>"
    assert plain(group["KmsKeyId"]) == "<Security/Logs>.Arn"


@pytest.mark.parametrize("color", COLORS)
def test_the_reference_service_is_built_when_no_image_is_given(prod: Synthesis, color: str) -> None:
    assert re.fullmatch(
        r"111122223333\.dkr\.ecr\.us-east-1\.amazonaws\.com/cdk-hnb659fds-container-assets-111122223333-us-east-1:[0-9a-f]{64}",
        container(prod, color)["Image"],
    )


def test_both_environments_start_from_the_same_image(prod: Synthesis) -> None:
    assert container(prod, "Blue")["Image"] == container(prod, "Green")["Image"]


@pytest.mark.parametrize(
    "image",
    [
        f"111122223333.dkr.ecr.us-east-1.amazonaws.com/team/payments@{DIGEST}",
        f"registry.example.com/payments@{DIGEST}",
    ],
)
@pytest.mark.parametrize("color", COLORS)
def test_a_given_image_is_used_as_it_is(variation: Variation, color: str, image: str) -> None:
    synthesis = variation(f"image-{'ecr' if 'ecr' in image else 'other'}", compute__image=image)

    assert container(synthesis, color)["Image"] == image
    # What the image holds to ask itself with is not known.
    assert "HealthCheck" not in container(synthesis, color)
