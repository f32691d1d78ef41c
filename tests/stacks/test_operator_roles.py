"""What people may do: look, or move through the runtime; and what the command line finds in Parameter Store."""

from __future__ import annotations

import pytest

from blue_green.operator_roles import DMS_ROLES, QUOTAS, RUN_PARTITION
from cutover_state import layout
from ops.bluegreen import doctor
from tests.support.permissions import permissions_of
from tests.support.synthesized import Synthesis, name_of, plain

ACCOUNT = "111122223333"
TABLE = "<State/State>.Arn"
DESCRIBED = {
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricData",
    "dms:DescribeConnections",
    "dms:DescribeReplicationTasks",
    "ec2:DescribeVpcEndpoints",
    "ecs:DescribeTaskDefinition",
    "elasticloadbalancing:DescribeRules",
    "elasticloadbalancing:DescribeTargetHealth",
}


def key(service: str) -> str:
    return f"<Security/Functions>.Arn [StringEquals kms:ViaService={service}.us-east-1.amazonaws.com]"


def looking(synthesis: Synthesis) -> dict[str, set[str]]:
    """What both roles may do."""
    zone = synthesis.config.domain.hosted_zone_id
    return {
        f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter{synthesis.config.parameter_path}": {"ssm:GetParametersByPath"},
        TABLE: {"dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"},
        key("dynamodb"): {"kms:Decrypt"},
        f"arn:aws:route53:::hostedzone/{zone}": {"route53:ListResourceRecordSets"},
        **{
            f"<Database/{color}/Database/Secrets/{kind}>": {"secretsmanager:DescribeSecret"}
            for color in ("Blue", "Green")
            for kind in ("Admin", "Application", "Replication")
        },
        **{f"arn:aws:iam::{ACCOUNT}:role/{name}": {"iam:GetRole"} for name in DMS_ROLES},
        **{f"arn:aws:servicequotas:us-east-1:{ACCOUNT}:{quota}": {"servicequotas:GetServiceQuota"} for quota in QUOTAS},
        "*": DESCRIBED,
    }


def on(synthesis: Synthesis, name: str) -> dict[str, set[str]]:
    found = dict(permissions_of(synthesis.app, synthesis.the("AWS::IAM::Role", f"Cutover/Seat/{name}")).on)
    services = [place for place in found if "ecs:DescribeServices" in found[place]]
    assert len(services) == 2
    return {place: actions for place, actions in found.items() if place not in services}


def test_an_observer_looks_and_changes_nothing(either: Synthesis) -> None:
    assert on(either, "Observer") == looking(either)


def test_an_operator_moves_through_the_runtime_and_writes_nothing_but_orders(either: Synthesis) -> None:
    functions = ("Preflight", "WriterSwitch", "Rollback", "ReplicationControl")
    assert on(either, "Operator") == {
        **looking(either),
        **{f"<Cutover/Functions/{name}/Function>.Arn": {"lambda:InvokeFunction"} for name in functions},
        "<Cutover/Workflow/StateMachine>": {"states:StartExecution"},
        f"{TABLE} [ForAllValues:StringEquals dynamodb:LeadingKeys={RUN_PARTITION}]": {"dynamodb:PutItem"},
        key("dynamodb"): {"kms:Decrypt", "kms:GenerateDataKey"},
        key("states"): {"kms:Decrypt", "kms:GenerateDataKey"},
    }


def test_orders_are_written_where_the_runtime_reads_them() -> None:
    assert RUN_PARTITION == layout.RUN_PARTITION


def test_the_roles_may_read_what_the_doctor_looks_at() -> None:
    assert DMS_ROLES == doctor.DMS_ROLES
    assert set(QUOTAS) == {"/".join(each) for each in doctor.QUOTAS.values()}


@pytest.mark.parametrize("name", ["Observer", "Operator"])
def test_people_of_the_account_assume_a_role_with_a_second_factor(either: Synthesis, name: str) -> None:
    role = either.the("AWS::IAM::Role", f"Cutover/Seat/{name}")
    [statement] = plain(role["AssumeRolePolicyDocument"])["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}},
    }


def test_the_command_line_finds_what_it_needs_in_parameter_store(either: Synthesis) -> None:
    path = either.config.parameter_path
    found = {plain(each["Name"]): plain(each["Value"]) for each in either.every("AWS::SSM::Parameter", "Cutover")}
    assert found[f"{path}/cutover/operator-role-arn"] == "<Cutover/Seat/Operator>.Arn"
    assert found[f"{path}/cutover/observer-role-arn"] == "<Cutover/Seat/Observer>.Arn"
    assert found[f"{path}/cutover/vpc-id"] == "<Network/Vpc>"
    assert found[f"{path}/cutover/replication-instance"].startswith(either.config.prefix)


def test_status_shows_every_alarm_that_stops_a_cutover_or_guards_the_runtime(either: Synthesis) -> None:
    path = f"{either.config.parameter_path}/cutover/alarms/"
    found = {
        str(plain(each["Name"])).removeprefix(path): str(plain(each["Value"])).split(",")
        for each in either.every("AWS::SSM::Parameter", "Cutover")
        if str(plain(each["Name"])).startswith(path)
    }
    assert set(found) == {"blue", "green", "legacy", "replication", "controllers"}
    controllers = {f"<{name_of(each)}>" for each in either.every("AWS::CloudWatch::Alarm", "Cutover")}
    assert set(found["controllers"]) == controllers
    # A standard parameter holds 4096 characters; a name has at most 255, and ours are far shorter.
    assert all(120 * len(names) < 4096 for names in found.values())
