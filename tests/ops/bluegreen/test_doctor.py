"""``bluegreen doctor``: what is misconfigured, and what the caller may not do."""

from __future__ import annotations

import time
from typing import Any

import pytest

from cutover_state.run import Phase
from ops.bluegreen import documents as d
from ops.bluegreen.errors import Exit
from tests.support.operator_stage import OperatorStage


def examine(stage: OperatorStage) -> d.Doctor:
    ended = stage.run("doctor", "--json")
    assert ended.code in (Exit.DONE, Exit.REFUSED), ended.out
    found = d.Doctor.model_validate(ended.document)
    assert found.healthy == (ended.code == Exit.DONE)
    return found


def problems(stage: OperatorStage, name: str) -> list[str]:
    return [each.found for each in examine(stage).checks if each.name == name and each.result != "ok"]


def test_it_looks_at_everything_and_changes_nothing(stage: OperatorStage) -> None:
    stage.begin()
    before = stage.snapshot()
    found = examine(stage)
    assert stage.snapshot() == before
    assert {each.name for each in found.checks} == {
        "weights",
        "writer",
        "cutover",
        "alarms",
        "replication",
        "rotation",
        "DMS endpoints",
        "DMS roles",
        "VPC endpoints",
        "quota of vCPUs",
        "quota of addresses",
        "quota of endpoints",
        "permission to call",
        "permission to order",
    }
    well = {each.name for each in found.checks if each.result == "ok"}
    assert well >= {"weights", "cutover", "alarms", "replication", "rotation", "permission to call"}
    assert all(each.next_step for each in found.checks if each.result != "ok")


def test_nothing_is_invoked_to_see_whether_it_may_be(stage: OperatorStage) -> None:
    stage.begin()
    examine(stage)
    assert stage.host.calls == []


def test_drift_of_the_weights(stage: OperatorStage) -> None:
    stage.levers.set(green=40, aws=100)
    assert problems(stage, "weights") == [
        "the weights of the listener rule are blue 60, green 40 and should be blue 100, green 0"
    ]


def test_databases_that_do_not_answer(stage: OperatorStage) -> None:
    found = problems(stage, "writer")
    assert [each.partition(":")[0] for each in found] == ["blue does not answer", "green does not answer"]


def test_two_writers(stage: OperatorStage) -> None:
    answer: dict[str, Any] = {"verdict": "several", "writer": None, "databases": {}, "failures": {}}
    stage.host.handlers["writer-switch"] = lambda event, context: answer
    assert problems(stage, "writer") == ["several databases admit writers"]


def test_a_lease_that_was_left_behind(stage: OperatorStage) -> None:
    stage.begin(phase=Phase.SUCCEEDED)
    stage.aws.hold_lease(stage.table, expires_at=time.time() + 600)
    [found] = problems(stage, "cutover")
    assert found.startswith("state machine holds the lease for cutover-7")


def test_a_cutover_that_nobody_looks_at(stage: OperatorStage) -> None:
    stage.begin(looked_at=time.time() - 3600)
    [found] = problems(stage, "cutover")
    assert "nobody has looked at it for 60 minutes" in found


def test_alarms_that_fire_or_could_not(stage: OperatorStage) -> None:
    stage.alarm("rollback-errors", "ALARM")
    stage.alarm("lag", "INSUFFICIENT_DATA")
    assert problems(stage, "alarms") == [
        "alarm lag has no data, so it could not warn",
        "alarm rollback-errors is firing",
    ]


def test_replication_that_stands_or_differs(stage: OperatorStage) -> None:
    stage.lags(differing=2)
    assert all("found 2 rows that differ" in each for each in problems(stage, "replication"))


def test_roles_that_dms_looks_for(stage: OperatorStage) -> None:
    assert problems(stage, "DMS roles") == [
        "role dms-vpc-role does not exist",
        "role dms-cloudwatch-logs-role does not exist",
    ]
    iam = stage.aws.shared_client("iam")
    names = ("dms-vpc-role", "dms-cloudwatch-logs-role")
    for name in names:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    try:
        assert problems(stage, "DMS roles") == []
    finally:
        for name in names:
            iam.delete_role(RoleName=name)


def test_a_vpc_without_endpoints(stage: OperatorStage) -> None:
    usual = stage.aws.shared_client("ssm").get_parameter(Name=f"{stage.path}/cutover/vpc-id")["Parameter"]["Value"]
    ec2 = stage.aws.shared_client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    stage.put_parameter("cutover/vpc-id", vpc)
    try:
        assert problems(stage, "VPC endpoints") == ["the VPC has no endpoints, so no function reaches AWS"]
        ec2.create_vpc_endpoint(VpcId=vpc, ServiceName="com.amazonaws.us-east-1.dynamodb")
        assert problems(stage, "VPC endpoints") == []
    finally:
        stage.put_parameter("cutover/vpc-id", usual)


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("lambda:InvokeFunction", "permission to call"),
        ("dynamodb:PutItem", "permission to order"),
        ("servicequotas:GetServiceQuota", "quota of vCPUs"),
        ("iam:GetRole", "DMS roles"),
        ("ec2:DescribeVpcEndpoints", "VPC endpoints"),
        ("dms:DescribeConnections", "DMS endpoints"),
    ],
)
def test_a_permission_that_is_missing_is_named(stage: OperatorStage, action: str, name: str) -> None:
    stage.denied[action] = (
        "" if action.startswith("ec2") else f"arn:aws:x:us-east-1:123456789012:{name.replace(' ', '-')}"
    )
    missing: list[Any] = [each.missing_permission for each in examine(stage).checks if each.name == name]
    assert [(each.action, each.resource) for each in missing] == [(action, stage.denied[action] or "*")]


def test_the_page_sums_up(stage: OperatorStage) -> None:
    ended = stage.run("doctor")
    assert ended.code == Exit.REFUSED
    assert "problems" in ended.out
    assert "arn:aws:sts::123456789012" in ended.out
