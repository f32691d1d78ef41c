"""Targets and services of the environments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client


ACTIVE: Final = "ACTIVE"


class EnvironmentUnreadableError(Exception):
    """A service of AWS could not be asked for an environment; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Targets of one environment: how many are healthy, and how many are registered and not leaving."""

    healthy: int
    registered: int


@dataclass(frozen=True, kw_only=True)
class Service:
    """The ECS service of one environment.

    Attributes:
        desired: tasks that should run.
        running: tasks that run.
        deploying: whether a deployment is under way.
    """

    desired: int
    running: int
    deploying: bool


def read_targets(elbv2: ElasticLoadBalancingv2Client, target_groups: Mapping[str, str]) -> Mapping[str, Targets]:
    """Health of the targets, by environment.

    Args:
        target_groups: ARNs by environment.

    Raises:
        EnvironmentUnreadableError: see there.
    """
    found = {}
    for name, arn in target_groups.items():
        try:
            descriptions = elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        except (ClientError, BotoCoreError) as error:
            raise EnvironmentUnreadableError(f"the targets of {name} cannot be read: {error}") from None
        states = [each.get("TargetHealth", {}).get("State", "") for each in descriptions]
        found[name] = Targets(
            healthy=states.count("healthy"), registered=sum(1 for state in states if state != "draining")
        )
    return found


def read_services(ecs: ECSClient, *, cluster: str, services: Mapping[str, str]) -> Mapping[str, Service]:
    """The ECS services, by environment.

    Args:
        services: names of the services by environment.

    Raises:
        EnvironmentUnreadableError: see there; also for a service that does not exist.
    """
    try:
        described = ecs.describe_services(cluster=cluster, services=list(services.values()))["services"]
    except (ClientError, BotoCoreError) as error:
        raise EnvironmentUnreadableError(f"the services of {cluster} cannot be read: {error}") from None
    by_name = {each["serviceName"]: each for each in described}
    found = {}
    for name, service in services.items():
        state = by_name.get(service)
        # A deleted service is described as inactive for a while.
        if state is None or state["status"] != ACTIVE:
            raise EnvironmentUnreadableError(f"the service {service} of {name} does not exist in {cluster}")
        deployments = state.get("deployments", [])
        found[name] = Service(
            desired=state["desiredCount"],
            running=state["runningCount"],
            deploying=len(deployments) > 1 or any(each.get("rolloutState") == "IN_PROGRESS" for each in deployments),
        )
    return found
