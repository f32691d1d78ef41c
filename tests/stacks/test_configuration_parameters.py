"""What programs and operators find in Parameter Store."""

from __future__ import annotations

import pytest

from tests.support.synthesized import Synthesis, plain

SHARED = {
    "database-chain": "blue,green",
    "ecs-cluster": "<Compute/Cluster>",
    "hosted-zone-id": "Z0123456789ABCDEFGHIJ",
    "listener-rule-arn": "<Routing/Weighted>.RuleArn",
    "load-balancer-dns-name": "<FrontDoor/LoadBalancer>.DNSName",
    "payments-host": "api.payments.example.com",
    "replication-tasks": "payments-prod-blue-to-green,payments-prod-green-to-blue",
    "state-table": "<State/State>",
}


def parameters(synthesis: Synthesis) -> dict[str, str]:
    return {plain(each["Name"]): plain(each["Value"]) for each in synthesis.every("AWS::SSM::Parameter")}


def test_every_parameter_stands_under_one_path_by_environment(either: Synthesis) -> None:
    """Beside them stand the plans and settings of the cutover."""
    folders = {name.rsplit("/", 1)[0] for name in parameters(either)}
    path = f"/payments/{either.config.name}"

    assert {each for each in folders if not each.startswith(f"{path}/cutover")} == {
        f"{path}/blue",
        f"{path}/green",
        f"{path}/shared",
    }


@pytest.mark.parametrize(("name", "value"), SHARED.items())
def test_a_shared_parameter_names_what_both_environments_have(prod: Synthesis, name: str, value: str) -> None:
    assert parameters(prod)[f"/payments/prod/shared/{name}"] == value


@pytest.mark.parametrize("color", ["blue", "green"])
def test_an_environment_names_its_own_resources(prod: Synthesis, color: str) -> None:
    prefix, title = f"/payments/prod/{color}/", color.capitalize()
    found = {name.removeprefix(prefix): value for name, value in parameters(prod).items() if name.startswith(prefix)}

    assert found == {
        "host": f"{color}.payments.example.com",
        "target-group-arn": f"<FrontDoor/{title}Targets>",
        "ecs-service": f"<Compute/{title}/Payments/Service/Service>.Name",
        "database-cluster": f"payments-prod-{color}",
        "writer-endpoint": f"<Database/{title}/Database/Cluster>.Endpoint.Address",
        "reader-endpoint": f"<Database/{title}/Database/Cluster>.ReadEndpoint.Address",
        "admin-secret-arn": f"<Database/{title}/Database/Secrets/Admin>",
        "application-secret-arn": f"<Database/{title}/Database/Secrets/Application>",
        "replication-secret-arn": f"<Database/{title}/Database/Secrets/Replication>",
    }


def test_the_chain_and_its_tasks_are_told_in_order(staging: Synthesis) -> None:
    assert parameters(staging)["/payments/staging/shared/database-chain"] == "legacy,blue,green"
    assert parameters(staging)["/payments/staging/shared/replication-tasks"].split(",") == [
        "payments-staging-legacy-to-blue",
        "payments-staging-blue-to-legacy",
        "payments-staging-blue-to-green",
        "payments-staging-green-to-blue",
    ]


def test_no_parameter_holds_a_secret(either: Synthesis) -> None:
    for name, value in parameters(either).items():
        assert "resolve:secretsmanager" not in value, name
