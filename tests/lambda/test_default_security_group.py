"""The function that closes the default security group, as Lambda runs it: real clients, a real answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from custom_resource import Request
from default_security_group.handler import PropertyError, lambda_handler, run
from tests.support.answer_receiver import Receiver, answer_receiver
from tests.support.local_aws import LocalAws

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Context:
    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@dataclass
class Deployment:
    """A stack that is being deployed with a VPC in it."""

    receiver: Receiver
    ec2: EC2Client
    group: str

    def deploy(self, request_type: str = "Create", **properties: Any) -> dict[str, Any]:
        """Invoke the function; the answer that CloudFormation gets."""
        event = self.receiver.event(request_type, **{"SecurityGroupId": self.group, **properties})
        lambda_handler(event, Context())
        answer: dict[str, Any] = self.receiver.answers[-1]
        return answer

    @property
    def rules(self) -> list[Any]:
        found = self.ec2.describe_security_group_rules(Filters=[{"Name": "group-id", "Values": [self.group]}])
        return list(found["SecurityGroupRules"])


@pytest.fixture
def deployment(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    ec2: EC2Client = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    [default] = ec2.describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    )["SecurityGroups"]
    group = default["GroupId"]
    # As EC2 makes it: members talk to each other, and send to everybody.
    members = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[members])  # type: ignore[list-item]
    with answer_receiver() as receiver:
        yield Deployment(receiver=receiver, ec2=ec2, group=group)


def test_creation_takes_every_rule_out_in_both_directions(deployment: Deployment) -> None:
    assert {rule["IsEgress"] for rule in deployment.rules} == {False, True}

    answer = deployment.deploy()

    assert answer["Status"] == "SUCCESS"
    assert deployment.rules == []


def test_the_answer_says_how_many_rules_there_were(deployment: Deployment) -> None:
    before = len(deployment.rules)

    assert deployment.deploy()["Data"] == {"RevokedRules": str(before)}


def test_a_second_run_finds_nothing_to_do(deployment: Deployment) -> None:
    deployment.deploy()

    answer = deployment.deploy("Update")

    assert (answer["Status"], answer["Data"]) == ("SUCCESS", {"RevokedRules": "0"})


def test_an_update_closes_a_group_that_somebody_opened_again(deployment: Deployment) -> None:
    deployment.deploy()
    everybody: Any = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    deployment.ec2.authorize_security_group_ingress(GroupId=deployment.group, IpPermissions=[everybody])

    deployment.deploy("Update")

    assert deployment.rules == []


def test_many_rules_are_all_taken_out(deployment: Deployment) -> None:
    for port in range(1000, 1040):
        rule: Any = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
        deployment.ec2.authorize_security_group_ingress(GroupId=deployment.group, IpPermissions=[rule])

    deployment.deploy()

    assert deployment.rules == []


def test_deletion_leaves_the_group_as_it_is(deployment: Deployment) -> None:
    before = deployment.rules

    answer = deployment.deploy("Delete")

    assert (answer["Status"], answer["Data"]) == ("SUCCESS", {"RevokedRules": "0"})
    assert deployment.rules == before


@pytest.mark.parametrize("group", ["", "default", "sg-", "sg-xyz", "vpc-0123456789abcdef0", ["sg-0123456789abcdef0"]])
def test_a_wrong_property_is_answered_with_what_is_allowed(deployment: Deployment, group: object) -> None:
    answer = deployment.deploy(SecurityGroupId=group)

    assert answer["Status"] == "FAILED"
    assert answer["Reason"] == (
        f"PropertyError: SecurityGroupId must be an id such as sg-0123456789abcdef0, got {group!r}"
    )


def test_a_missing_property_is_told_as_such(deployment: Deployment) -> None:
    event = deployment.receiver.event("Create")
    request = Request.parse(event, physical_resource_id="closed-default-group")

    with pytest.raises(PropertyError, match="got None"):
        run(request, ec2=deployment.ec2)


def test_a_group_that_is_gone_has_no_rules_to_take_out(deployment: Deployment) -> None:
    answer = deployment.deploy(SecurityGroupId="sg-0123456789abcdef0")

    assert (answer["Status"], answer["Data"]) == ("SUCCESS", {"RevokedRules": "0"})


def test_the_resource_is_named_once_and_keeps_its_name(deployment: Deployment) -> None:
    """Another name in a later answer would make CloudFormation delete the resource."""
    names = [deployment.deploy(each)["PhysicalResourceId"] for each in ("Create", "Update", "Delete")]

    assert names == ["closed-default-group-Bootstrapped", "given-before", "given-before"]
