"""The whole stage, deployed by the real CDK command line into a local AWS, with three real databases.

The tests run in order: the system moves from the legacy one to blue, from blue to green, and back.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from cutover_state.run import Phase
from rehearsal.local_aws import CdkError
from tests.support.local_stage import LocalStage, edited, last, project_with, step
from tests.support.synthesized import PROJECT

pytestmark = pytest.mark.slow

# Twice the TTL of the records, and the allowance for INSYNC.
DNS_SECONDS = 180
LONG_SECONDS = 86_400
GATE = {"question": "Switch the writer to green?", "timeout_seconds": LONG_SECONDS}


@pytest.fixture(scope="module")
def unrelated(stage: LocalStage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The templates after a change of the configuration that has nothing to do with traffic."""
    folder = tmp_path_factory.mktemp("unrelated")

    def change(local: dict[str, Any]) -> None:
        local["alarms"]["errors_percent"] = 3.0

    project = project_with(folder / "project", change, project=PROJECT)
    return stage.cloud.synthesize(project, output=folder / "assembly")


def let_it_fail(template: dict[str, Any]) -> None:
    """A rule of a security group that does not exist: everything else is updated before."""
    properties = {
        "GroupId": "sg-00000000000000000",
        "IpProtocol": "tcp",
        "FromPort": 443,
        "ToPort": 443,
        "CidrIp": "10.0.0.0/8",
    }
    last(template, "OfNoGroup", {"Type": "AWS::EC2::SecurityGroupIngress", "Properties": properties})


def raise_threshold(template: dict[str, Any]) -> None:
    [alarm] = [each for name, each in template["Resources"].items() if name.startswith("BlueLatency")]
    alarm["Properties"]["Threshold"] = 2


def tag_weighted_rule(template: dict[str, Any]) -> None:
    [rule] = [
        each
        for each in template["Resources"].values()
        if each["Type"] == "AWS::ElasticLoadBalancingV2::ListenerRule" and each["Properties"]["Priority"] == 100
    ]
    rule["Properties"]["Tags"].append({"Key": "Team", "Value": "payments"})


def test_resource_types_without_effect_are_told(stage: LocalStage) -> None:
    assert stage.cloud.simulated == [
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        "AWS::DMS::Certificate",
        "AWS::DMS::EventSubscription",
        "AWS::EC2::TransitGatewayAttachment",
        "AWS::SecretsManager::RotationSchedule",
        "AWS::WAFv2::LoggingConfiguration",
    ]


def test_the_deployed_bootstrap_made_accounts_that_only_the_first_writer_admits(stage: LocalStage) -> None:
    assert {name: stage.admits(name) for name in stage.cloud.databases.names} == {
        "legacy": True,
        "blue": False,
        "green": False,
    }


def test_at_first_all_traffic_goes_to_the_legacy_system_and_in_aws_to_blue(stage: LocalStage) -> None:
    assert stage.cloud.weights() == {"blue": 100, "green": 0}
    assert stage.records() == {"legacy": 100, "aws": 0}


def test_the_default_security_group_of_the_vpc_is_closed(stage: LocalStage) -> None:
    ec2 = stage.cloud.client("ec2")
    [vpc] = ec2.describe_vpcs(Filters=[{"Name": "cidr", "Values": [stage.cloud.config.network.cidr]}])["Vpcs"]
    groups = ec2.describe_security_groups(
        Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}, {"Name": "group-name", "Values": ["default"]}]
    )["SecurityGroups"]

    assert [(group["IpPermissions"], group["IpPermissionsEgress"]) for group in groups] == [([], [])]


def test_a_function_may_do_what_its_role_allows_and_nothing_else(stage: LocalStage) -> None:
    cloud = stage.cloud
    name = cloud.function_name("reconciler")
    role = cloud.client("lambda").get_function_configuration(FunctionName=name)["Role"]
    credentials = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    dynamodb = boto3.client(
        "dynamodb",
        endpoint_url=cloud.environment["AWS_ENDPOINT_URL"],
        region_name=cloud.environment["AWS_REGION"],
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials["SessionToken"],
    )
    key = {"pk": {"S": "RUN"}, "sk": {"S": "current"}}

    assert dynamodb.get_item(TableName=cloud.state_table_name, Key=key)["ResponseMetadata"]["HTTPStatusCode"] == 200
    with pytest.raises(ClientError, match="not authorized to perform: dynamodb:DeleteTable"):
        dynamodb.delete_table(TableName=cloud.state_table_name)


def test_a_second_deployment_of_the_same_changes_nothing(stage: LocalStage) -> None:
    assert not stage.cloud.deploy(stage.assembly)


def test_the_state_machine_admits_the_traffic_and_moves_the_writer_from_the_legacy_database(stage: LocalStage) -> None:
    stage.begin(
        "legacy",
        "aws",
        step(50, watch=DNS_SECONDS),
        step(100, watch=DNS_SECONDS),
        step(100, watch=DNS_SECONDS, switch_writer=True),
    )
    stage.wait_for_phase(Phase.SUCCEEDED)

    assert stage.records() == {"legacy": 0, "aws": 100}
    assert stage.writer == "blue"


@pytest.fixture(scope="module")
def at_25(stage: LocalStage) -> LocalStage:
    """A cutover from blue to green that has shifted a quarter of the traffic and waits for an approval."""
    stage.begin("blue", "green", step(25), step(25, switch_writer=True, gate=GATE), step(100))
    stage.wait_for_gate()
    return stage


def test_a_shift_reaches_the_listener_rule(at_25: LocalStage) -> None:
    assert at_25.cloud.weights() == {"blue": 75, "green": 25}
    assert at_25.writer == "blue"


def test_an_unrelated_deployment_leaves_the_weights_alone(at_25: LocalStage, unrelated: Path) -> None:
    assert at_25.cloud.deploy(unrelated)

    assert at_25.status() == "UPDATE_COMPLETE"
    assert at_25.drifts() == []
    assert at_25.cloud.weights() == {"blue": 75, "green": 25}


def test_a_failing_deployment_rolls_back_and_leaves_weights_writer_and_data_alone(
    at_25: LocalStage, unrelated: Path, tmp_path: Path
) -> None:
    at_25.cloud.databases["blue"].query("INSERT INTO payments.balances VALUES ('before', 'EUR', 12.5)")
    at_25.cloud.databases.wait_caught_up()
    before = at_25.checksums()
    failing = edited(
        unrelated,
        tmp_path / "failing",
        {"Observability": raise_threshold, f"{at_25.cloud.stack_name}.template.json": let_it_fail},
    )

    with pytest.raises(CdkError, match="OfNoGroup"):
        at_25.cloud.deploy(failing)

    assert at_25.status() == "UPDATE_ROLLBACK_COMPLETE"
    assert at_25.drifts() == []
    assert at_25.cloud.weights() == {"blue": 75, "green": 25}
    assert at_25.writer == "blue"
    assert at_25.checksums() == before


def test_weights_that_a_deployment_reset_are_put_right_by_the_reconciler(
    at_25: LocalStage, unrelated: Path, tmp_path: Path
) -> None:
    assert at_25.cloud.deploy(edited(unrelated, tmp_path / "routing", {"Routing": tag_weighted_rule}))

    at_25.wait_until(lambda: bool(at_25.drifts()), lambda: "nothing has drifted")
    at_25.wait_until(
        lambda: at_25.cloud.weights() == {"blue": 75, "green": 25}, lambda: f"weights {at_25.cloud.weights()}"
    )


def test_the_deploy_guard_refuses_while_a_cutover_runs(at_25: LocalStage) -> None:
    cloud = at_25.cloud
    finished = subprocess.run(
        [sys.executable, "-m", "ops.deploy_guard", "--stage", "local"],
        cwd=PROJECT,
        env={**cloud.environment, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(cloud.folder)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert at_25.now.cutover_id in finished.stdout + finished.stderr


def test_after_the_approval_the_writer_moves_and_the_cutover_completes(at_25: LocalStage) -> None:
    at_25.order("approve")
    at_25.wait_for_phase(Phase.SUCCEEDED)

    assert at_25.cloud.weights() == {"blue": 0, "green": 100}
    assert at_25.writer == "green"


def test_an_alarm_takes_back_a_cutover_that_waits_for_an_approval(stage: LocalStage) -> None:
    """By composite alarm, topic and rollback function, before the state machine looks again."""
    stage.begin("green", "blue", step(25), step(100, gate=GATE), poll=120)
    stage.wait_for_gate()
    assert stage.cloud.weights() == {"blue": 25, "green": 75}
    stage.wait_for_look()
    stage.fire("BlueDatabaseCpu")
    stage.wait_for_phase(Phase.ROLLED_BACK)

    assert stage.cloud.weights() == {"blue": 0, "green": 100}
    assert stage.now.reason.startswith("alarm ")
    assert "BlueHealth" in stage.now.reason


def test_errors_after_the_switch_take_weights_and_writer_back(stage: LocalStage) -> None:
    assert stage.writer == "green"
    stage.begin("green", "blue", step(50, switch_writer=True), step(100, watch=3600))
    stage.wait_until(lambda: stage.writer == "blue", stage.story)
    stage.metrics.sick.add("blue")
    stage.wait_for_phase(Phase.ROLLED_BACK)
    stage.metrics.sick.clear()

    assert stage.cloud.weights() == {"blue": 0, "green": 100}
    assert stage.writer == "green"
    assert stage.now.before["writer"] == "green"


def test_what_the_deployment_makes_is_gone_afterwards_but_for_what_it_retains(stage: LocalStage) -> None:
    cloud = stage.cloud
    table, secrets = cloud.state_table_name, list(cloud.application_secret_arns.values())
    keys = cloud.client("kms").list_keys()["Keys"]

    cloud.destroy()

    assert [
        each for each in cloud.client("lambda").list_functions()["Functions"] if "payments" in each["FunctionName"]
    ] == []
    assert cloud.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
    assert cloud.client("elbv2").describe_target_groups()["TargetGroups"] == []
    assert cloud.client("dms").describe_replication_tasks()["ReplicationTasks"] == []
    assert cloud.client("rds").describe_db_clusters()["DBClusters"] == []
    assert cloud.client("stepfunctions").list_state_machines()["stateMachines"] == []
    assert cloud.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert stage.records() == {}
    snapshots = cloud.client("rds").describe_db_cluster_snapshots()["DBClusterSnapshots"]
    assert {each["DBClusterIdentifier"] for each in snapshots} == {"payments-local-blue", "payments-local-green"}
    assert cloud.client("dynamodb").describe_table(TableName=table)["Table"]["TableStatus"] == "ACTIVE"
    assert [cloud.client("secretsmanager").describe_secret(SecretId=arn)["ARN"] for arn in secrets] == secrets
    assert cloud.client("kms").list_keys()["Keys"] == keys
