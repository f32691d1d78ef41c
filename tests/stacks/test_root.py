"""The root stack."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.synthesized import ROOT, STACKS, Synthesis, plain


def outputs(synthesis: Synthesis) -> dict[str, Any]:
    root = synthesis.stacks[ROOT]
    return {name: plain(synthesis.app.resolve(each["Value"], root)) for name, each in root.section("Outputs").items()}


def test_the_root_defines_nested_stacks_and_nothing_else(either: Synthesis) -> None:
    assert {each.type for each in either.stacks[ROOT].resources.values()} == {"AWS::CloudFormation::Stack"}
    assert set(either.stacks) == {ROOT, *STACKS}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LoadBalancerDnsName", "<FrontDoor/LoadBalancer>.DNSName"),
        ("PaymentsHost", "api.payments.example.com"),
        ("BlueHost", "blue.payments.example.com"),
        ("GreenHost", "green.payments.example.com"),
        ("BlueWriterEndpoint", "<Database/Blue/Database/Cluster>.Endpoint.Address"),
        ("BlueReaderEndpoint", "<Database/Blue/Database/Cluster>.ReadEndpoint.Address"),
        ("GreenWriterEndpoint", "<Database/Green/Database/Cluster>.Endpoint.Address"),
        ("GreenReaderEndpoint", "<Database/Green/Database/Cluster>.ReadEndpoint.Address"),
        ("ParameterPath", "/payments/prod"),
    ],
)
def test_the_outputs_tell_where_everything_is(prod: Synthesis, name: str, value: str) -> None:
    assert outputs(prod)[name] == value


def manifest(synthesis: Synthesis) -> dict[str, Any]:
    artifacts = json.loads((synthesis.folder / "manifest.json").read_text())["artifacts"]
    [stack] = [each for each in artifacts.values() if each["type"] == "aws:cloudformation:stack"]
    assert isinstance(stack, dict)
    return stack


def test_the_stack_is_protected_against_deletion(prod: Synthesis) -> None:
    assert manifest(prod)["properties"]["terminationProtection"] is True


def test_a_stage_can_do_without_that_protection(staging: Synthesis) -> None:
    assert not manifest(staging)["properties"].get("terminationProtection", False)


def test_the_stack_belongs_to_the_configured_account_in_us_east_1(prod: Synthesis) -> None:
    assert manifest(prod)["environment"] == "aws://111122223333/us-east-1"


def test_nothing_was_looked_up(either: Synthesis) -> None:
    assert json.loads((either.folder / "manifest.json").read_text()).get("missing", []) == []


def test_nothing_is_exported_so_that_nested_change_sets_work(either: Synthesis) -> None:
    for stack in either.app.stacks:
        assert [each for each in stack.section("Outputs").values() if "Export" in each] == []
