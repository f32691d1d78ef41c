"""Both databases, their secrets, rotation and bootstrap."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from aws_cdk import aws_rds as rds

from policy.templates import Resource
from tests.support.synthesized import Synthesis, name_of, plain

COLORS = ("Blue", "Green")
OFFSETS = {"Blue": "1", "Green": "2"}
KEY = "<Security/Database>.Arn"
ACCOUNT = "111122223333"


def cluster(synthesis: Synthesis, color: str) -> Resource:
    return synthesis.the("AWS::RDS::DBCluster", f"Database/{color}/")


def instances(synthesis: Synthesis, color: str) -> dict[str, Resource]:
    found = [each for each in synthesis.every("AWS::RDS::DBInstance") if f"Database/{color}/" in name_of(each)]
    return {name_of(each).rpartition("/")[2]: each for each in found}


def parameters(synthesis: Synthesis, color: str) -> dict[str, str]:
    group = synthesis.the("AWS::RDS::DBClusterParameterGroup", f"Database/{color}/")
    assert plain(cluster(synthesis, color)["DBClusterParameterGroupName"]) == f"<{name_of(group)}>"
    found: dict[str, str] = plain(group["Parameters"])
    return found


def test_there_are_two_clusters(either: Synthesis) -> None:
    assert len(either.every("AWS::RDS::DBCluster")) == 2


@pytest.mark.parametrize("color", COLORS)
def test_the_engine_is_the_newest_aurora_mysql_3_that_the_cdk_knows(prod: Synthesis, color: str) -> None:
    known = [
        re.fullmatch(r"VER_3_(\d\d)_(\d)", name)
        for name in dir(rds.AuroraMysqlEngineVersion)
        if name.startswith("VER_3_")
    ]
    newest = max((int(each[1]), int(each[2])) for each in known if each)

    assert cluster(prod, color)["Engine"].value == "aurora-mysql"
    assert str(plain(cluster(prod, color)["EngineVersion"])).endswith(f".mysql_aurora.3.{newest[0]:02}.{newest[1]}")


@pytest.mark.parametrize("color", COLORS)
def test_writer_and_reader_stand_in_different_zones(prod: Synthesis, color: str) -> None:
    found = instances(prod, color)

    assert {name: plain(each["AvailabilityZone"]) for name, each in found.items()} == {
        "Writer": "us-east-1a",
        "Reader": "us-east-1b",
    }
    assert {plain(each["DBClusterIdentifier"]) for each in found.values()} == {f"<{name_of(cluster(prod, color))}>"}


@pytest.mark.parametrize("color", COLORS)
def test_the_reader_can_take_over_at_once(prod: Synthesis, color: str) -> None:
    writer, reader = instances(prod, color)["Writer"], instances(prod, color)["Reader"]

    assert reader["DBInstanceClass"].value == writer["DBInstanceClass"].value == "db.r7g.large"
    assert reader["PromotionTier"].value == 0


@pytest.mark.parametrize("color", COLORS)
def test_storage_is_encrypted_under_the_key_of_databases(prod: Synthesis, color: str) -> None:
    assert cluster(prod, color)["StorageEncrypted"].value is True
    assert plain(cluster(prod, color)["KmsKeyId"]) == KEY


@pytest.mark.parametrize("color", COLORS)
def test_a_cluster_is_protected_and_leaves_a_snapshot(prod: Synthesis, color: str) -> None:
    assert cluster(prod, color)["DeletionProtection"].value is True
    assert cluster(prod, color).deletion_policy == "Snapshot"
    assert cluster(prod, color).definition["UpdateReplacePolicy"] == "Snapshot"


@pytest.mark.parametrize("color", COLORS)
def test_backups_are_kept_for_seven_days_and_carry_the_tags(prod: Synthesis, color: str) -> None:
    assert cluster(prod, color)["BackupRetentionPeriod"].value == 7
    assert cluster(prod, color)["CopyTagsToSnapshot"].value is True


@pytest.mark.parametrize("color", COLORS)
def test_the_port_is_the_configured_one_and_not_mysqls(prod: Synthesis, color: str) -> None:
    assert cluster(prod, color)["Port"].value == 3307


@pytest.mark.parametrize("color", COLORS)
def test_nothing_of_the_database_is_reachable_from_outside(prod: Synthesis, color: str) -> None:
    subnets = plain(prod.the("AWS::RDS::DBSubnetGroup", f"Database/{color}/")["SubnetIds"])

    assert subnets == [f"<Network/Vpc/DatabaseSubnet{number}/Subnet>" for number in (1, 2, 3)]
    assert plain(cluster(prod, color)["VpcSecurityGroupIds"]) == [f"<Network/{color}Database>.GroupId"]
    assert {each["PubliclyAccessible"].value for each in instances(prod, color).values()} == {False}


@pytest.mark.parametrize("color", COLORS)
def test_all_four_logs_go_to_groups_of_ours_that_exist_before(prod: Synthesis, color: str) -> None:
    exports = ["audit", "error", "general", "slowquery"]
    groups = [
        each
        for each in prod.every("AWS::Logs::LogGroup")
        if str(plain(each["LogGroupName"])).startswith(f"/aws/rds/cluster/payments-prod-{color.lower()}/")
    ]

    assert plain(cluster(prod, color)["DBClusterIdentifier"]) == f"payments-prod-{color.lower()}"
    assert plain(cluster(prod, color)["EnableCloudwatchLogsExports"]) == exports
    assert [str(plain(each["LogGroupName"])).rpartition("/")[2] for each in groups] == exports
    assert {plain(each["KmsKeyId"]) for each in groups} == {"<Security/Logs>.Arn"}
    assert {each.logical_id for each in groups} <= set(cluster(prod, color).definition["DependsOn"])


@pytest.mark.parametrize("color", COLORS)
def test_enhanced_monitoring_is_on_with_a_role_of_its_own(prod: Synthesis, color: str) -> None:
    role = prod.the("AWS::IAM::Role", f"Database/{color}/Database/Monitoring")

    assert cluster(prod, color)["MonitoringInterval"].value == 15
    assert plain(cluster(prod, color)["MonitoringRoleArn"]) == f"<{name_of(role)}>.Arn"
    [statement] = plain(role["AssumeRolePolicyDocument"])["Statement"]
    assert statement["Principal"] == {"Service": "monitoring.rds.amazonaws.com"}


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("instance", ["Writer", "Reader"])
def test_performance_insights_are_kept_under_the_key_of_databases(prod: Synthesis, color: str, instance: str) -> None:
    found = instances(prod, color)[instance]

    assert found["EnablePerformanceInsights"].value is True
    assert plain(found["PerformanceInsightsKMSKeyId"]) == KEY
    assert found["PerformanceInsightsRetentionPeriod"].value == 7


# The cluster parameter group (DMS user guide, CHAP_Source.MySQL; Aurora user guide, parameter reference).


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("binlog_format", "ROW"),
        ("binlog_checksum", "NONE"),
        ("binlog_transaction_compression", "OFF"),
        ("require_secure_transport", "ON"),
        ("tls_version", "TLSv1.2,TLSv1.3"),
        ("server_audit_logging", "1"),
        ("server_audit_events", "CONNECT,QUERY_DCL,QUERY_DDL"),
        ("auto_increment_increment", "2"),
        ("time_zone", "UTC"),
    ],
)
def test_a_parameter_has_the_value_that_replication_and_audit_need(
    prod: Synthesis, color: str, parameter: str, value: str
) -> None:
    assert parameters(prod, color)[parameter] == value


@pytest.mark.parametrize("color", COLORS)
def test_generated_keys_of_the_two_never_collide(prod: Synthesis, color: str) -> None:
    assert parameters(prod, color)["auto_increment_offset"] == OFFSETS[color]


@pytest.mark.parametrize("color", COLORS)
def test_no_statement_with_cardholder_data_reaches_a_log(prod: Synthesis, color: str) -> None:
    assert parameters(prod, color)["general_log"] == "0"
    assert "DML" not in parameters(prod, color)["server_audit_events"]


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize(
    "parameter",
    [
        # Aurora does not let anybody set these.
        "binlog_row_image",
        "sync_binlog",
        "server_id",
        "log_slave_updates",
        "innodb_flush_log_at_trx_commit",
        # Enhanced binlog needs three parameters in one request, which CloudFormation does not make.
        "aurora_enhanced_binlog",
        "binlog_backup",
        "binlog_replication_globaldb",
    ],
)
def test_what_must_not_be_set_is_not_set(prod: Synthesis, color: str, parameter: str) -> None:
    assert parameter not in parameters(prod, color)


@pytest.mark.parametrize("color", COLORS)
def test_backtrack_is_off_because_replication_reads_the_binary_log(prod: Synthesis, color: str) -> None:
    assert cluster(prod, color)["BacktrackWindow"].missing


# Secrets and their rotation.

SECRETS: dict[str, dict[str, str]] = {
    "Admin": {"engine": "mysql", "username": "payments_admin"},
    "Application": {"engine": "mysql", "username": "payments_app_a", "alternate_username": "payments_app_b"},
    "Replication": {"engine": "mysql", "username": "dms_a", "alternate_username": "dms_b"},
}


def secret(synthesis: Synthesis, color: str, kind: str) -> Resource:
    return synthesis.the("AWS::SecretsManager::Secret", f"Database/{color}/Database/Secrets/{kind}")


def test_there_are_three_secrets_for_each_database(either: Synthesis) -> None:
    assert len(either.every("AWS::SecretsManager::Secret")) == 6


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_generated_under_the_key_of_secrets(prod: Synthesis, color: str, kind: str) -> None:
    found = secret(prod, color, kind)
    generated = plain(found["GenerateSecretString"])

    assert plain(found["KmsKeyId"]) == "<Security/Secrets>.Arn"
    assert json.loads(generated["SecretStringTemplate"]) == SECRETS[kind]
    assert generated["GenerateStringKey"] == "password"
    assert generated["PasswordLength"] == 40
    assert found.deletion_policy == "Retain"


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("kind", SECRETS)
def test_a_password_has_no_character_that_dms_or_a_shell_mistakes(prod: Synthesis, color: str, kind: str) -> None:
    generated = plain(secret(prod, color, kind)["GenerateSecretString"])

    assert generated["ExcludePunctuation"] is True
    assert not generated.get("IncludeSpace", False)


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_learns_host_and_port_of_its_own_cluster(prod: Synthesis, color: str, kind: str) -> None:
    attachments = [
        each
        for each in prod.every("AWS::SecretsManager::SecretTargetAttachment")
        if plain(each["SecretId"]) == f"<{name_of(secret(prod, color, kind))}>"
    ]

    assert [plain(each["TargetId"]) for each in attachments] == [f"<{name_of(cluster(prod, color))}>"]
    assert [each["TargetType"].value for each in attachments] == ["AWS::RDS::DBCluster"]


@pytest.mark.parametrize("color", COLORS)
def test_the_master_user_is_the_admin_secrets(prod: Synthesis, color: str) -> None:
    name = name_of(secret(prod, color, "Admin"))

    assert (
        plain(cluster(prod, color)["MasterUsername"])
        == f"{{{{resolve:secretsmanager:<{name}>:SecretString:username::}}}}"
    )
    assert (
        plain(cluster(prod, color)["MasterUserPassword"])
        == f"{{{{resolve:secretsmanager:<{name}>:SecretString:password::}}}}"
    )
    assert cluster(prod, color)["ManageMasterUserPassword"].missing


def rotation(synthesis: Synthesis, color: str, kind: str) -> Resource:
    [found] = [
        each
        for each in synthesis.every("AWS::SecretsManager::RotationSchedule")
        if plain(each["SecretId"]) == f"<{name_of(secret(synthesis, color, kind))}>"
    ]
    return found


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_rotated_every_thirty_days_by_the_function_of_its_database(
    prod: Synthesis, color: str, kind: str
) -> None:
    schedule = rotation(prod, color, kind)

    assert plain(schedule["RotationRules"]) == {"AutomaticallyAfterDays": 30}
    assert plain(schedule["RotationLambdaARN"]) == f"<Database/{color}/Functions/Rotation/Function>.Arn"
    assert schedule["HostedRotationLambda"].missing


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("kind", SECRETS)
def test_the_first_rotation_waits_for_the_accounts_and_for_the_permission(
    prod: Synthesis, color: str, kind: str
) -> None:
    """A schedule rotates at once when it is created."""
    schedule = rotation(prod, color, kind)
    bootstrapped = prod.the("Custom::DatabaseBootstrap", f"Database/{color}/")
    [permission] = [
        each
        for each in prod.every("AWS::Lambda::Permission")
        if plain(each["SourceArn"]) == f"<{name_of(secret(prod, color, kind))}>"
    ]

    assert {bootstrapped.logical_id, permission.logical_id} <= set(schedule.definition["DependsOn"])
    assert permission["Principal"].value == "secretsmanager.amazonaws.com"
    assert permission["SourceAccount"].value == ACCOUNT
    assert plain(permission["FunctionName"]) == plain(schedule["RotationLambdaARN"])


# The functions.


def function(synthesis: Synthesis, color: str, name: str) -> Resource:
    return synthesis.the("AWS::Lambda::Function", f"Database/{color}/Functions/{name}/")


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize(
    ("name", "handler"),
    [
        ("Bootstrap", "database_bootstrap.handler.lambda_handler"),
        ("Rotation", "secret_rotation.handler.lambda_handler"),
    ],
)
def test_a_function_runs_inside_the_vpc_with_its_environment_encrypted(
    prod: Synthesis, color: str, name: str, handler: str
) -> None:
    found = function(prod, color, name)

    assert found["Handler"].value == handler
    assert plain(found["VpcConfig"]) == {
        "SecurityGroupIds": ["<Network/Functions>.GroupId"],
        "SubnetIds": [f"<Network/Vpc/ComputeSubnet{number}/Subnet>" for number in (1, 2, 3)],
    }
    assert plain(found["KmsKeyArn"]) == "<Security/Functions>.Arn"
    assert plain(found["Layers"]) == ["<Database/RuntimeLayer>"]
    assert plain(found["LoggingConfig"])["LogGroup"] == f"<Database/{color}/Functions/{name}/Logs>"


@pytest.mark.parametrize("color", COLORS)
def test_the_bootstrap_knows_nothing_but_where_the_authorities_are(prod: Synthesis, color: str) -> None:
    assert plain(function(prod, color, "Bootstrap")["Environment"]) == {
        "Variables": {"DATABASE_CA_PATH": "/opt/certificates/databases.pem"}
    }


def arn(synthesis: Synthesis, color: str, kind: str) -> str:
    return f"<{name_of(secret(synthesis, color, kind))}>"


def task(name: str) -> str:
    return f"arn:aws:dms:us-east-1:{ACCOUNT}:task:{name}"


def environment(synthesis: Synthesis, color: str) -> dict[str, Any]:
    variables: dict[str, Any] = plain(function(synthesis, color, "Rotation")["Environment.Variables"])
    return variables


@pytest.mark.parametrize("color", COLORS)
def test_the_rotation_knows_the_secrets_of_its_database_and_the_lease(prod: Synthesis, color: str) -> None:
    assert environment(prod, color) == {
        "ADMIN_SECRET_ARN": arn(prod, color, "Admin"),
        "APPLICATION_SECRET_ARN": arn(prod, color, "Application"),
        "REPLICATION_SECRET_ARN": arn(prod, color, "Replication"),
        "STATE_TABLE_NAME": "<State/State>",
        "REPLICATION_TASK_ARNS": json.dumps([task("payments-prod-blue-to-green"), task("payments-prod-green-to-blue")]),
        "DATABASE_CA_PATH": "/opt/certificates/databases.pem",
    }


def test_the_rotation_restarts_the_tasks_that_log_in_to_its_database_and_no_others(staging: Synthesis) -> None:
    between, chained = (
        [task(f"payments-staging-{name}") for name in names]
        for names in (("blue-to-green", "green-to-blue"), ("legacy-to-blue", "blue-to-legacy"))
    )

    assert json.loads(environment(staging, "Blue")["REPLICATION_TASK_ARNS"]) == [*chained, *between]
    assert json.loads(environment(staging, "Green")["REPLICATION_TASK_ARNS"]) == between


def test_the_tasks_that_the_rotation_restarts_are_those_that_are_created(either: Synthesis) -> None:
    created = {task(str(plain(each["ResourceIdentifier"]))) for each in either.every("AWS::DMS::ReplicationTask")}
    restarted = {arn for color in COLORS for arn in json.loads(environment(either, color)["REPLICATION_TASK_ARNS"])}

    assert restarted == created


@pytest.mark.parametrize("color", COLORS)
def test_a_rotation_that_was_put_off_is_taken_up_again(prod: Synthesis, color: str) -> None:
    rule = prod.the("AWS::Events::Rule", f"Database/{color}/")

    assert rule["ScheduleExpression"].value == "rate(15 minutes)"
    [target] = plain(rule["Targets"])
    assert target["Arn"] == f"<Database/{color}/Functions/Rotation/Function>.Arn"
    assert json.loads(target["Input"]) == {"Step": "resumeUnfinished"}
    assert target["RetryPolicy"]["MaximumRetryAttempts"] == 0


# The bootstrap.


def bootstrap(synthesis: Synthesis, color: str) -> Resource:
    return synthesis.the("Custom::DatabaseBootstrap", f"Database/{color}/")


@pytest.mark.parametrize("color", COLORS)
def test_the_bootstrap_is_told_what_it_makes(prod: Synthesis, color: str) -> None:
    properties = plain(bootstrap(prod, color).properties)
    revision = properties.pop("Revision")

    assert re.fullmatch(r"[0-9a-f]{16}", revision)
    assert properties == {
        "ServiceToken": f"<Database/{color}/Functions/Bootstrap/Function>.Arn",
        "Environment": color.lower(),
        "AdminSecretArn": arn(prod, color, "Admin"),
        "ApplicationSecretArn": arn(prod, color, "Application"),
        "ReplicationSecretArn": arn(prod, color, "Replication"),
        "WriterAtCreation": "true" if color == "Blue" else "false",
        "BinlogRetentionHours": "168",
        "PaymentSchema": "payments",
        "ControlSchema": "blue_green_control",
        "LoopbackSchemas": ["loopback_blue_green"],
    }


def test_with_a_legacy_database_nobody_else_writes_at_creation(staging: Synthesis) -> None:
    assert [bootstrap(staging, color)["WriterAtCreation"].value for color in COLORS] == ["false", "false"]


def test_each_pair_of_neighbours_has_its_own_loopback_schema(staging: Synthesis) -> None:
    assert plain(bootstrap(staging, "Blue")["LoopbackSchemas"]) == ["loopback_legacy_blue", "loopback_blue_green"]
    assert plain(bootstrap(staging, "Green")["LoopbackSchemas"]) == ["loopback_blue_green"]


@pytest.mark.parametrize("color", COLORS)
def test_the_bootstrap_waits_for_the_writer_instance_and_for_host_and_port_in_the_secrets(
    prod: Synthesis, color: str
) -> None:
    waits = set(bootstrap(prod, color).definition["DependsOn"])
    attachments = [
        each.logical_id
        for each in prod.every("AWS::SecretsManager::SecretTargetAttachment")
        if f"Database/{color}/" in name_of(each)
    ]

    assert len(attachments) == 3
    assert {instances(prod, color)["Writer"].logical_id, *attachments} <= waits
