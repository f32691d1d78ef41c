"""DMS between the databases of the chain."""

from __future__ import annotations

import json
import ssl
from typing import Any

import pytest

from policy.templates import Resource
from tests.support.synthesized import Synthesis, Variation, name_of, plain

BETWEEN = {"BlueToGreen": ("Blue", "Green"), "GreenToBlue": ("Green", "Blue")}
CHAINED = {"LegacyToBlue": ("Legacy", "Blue"), "BlueToLegacy": ("Blue", "Legacy")}
ACCOUNT = "111122223333"


def task(synthesis: Synthesis, name: str) -> Resource:
    return synthesis.the("AWS::DMS::ReplicationTask", f"Replication/{name}")


def settings(synthesis: Synthesis, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(plain(task(synthesis, name)["ReplicationTaskSettings"]))
    return document


def endpoint(synthesis: Synthesis, name: str) -> Resource:
    return synthesis.the("AWS::DMS::Endpoint", f"Replication/{name}")


def test_the_instance_spans_zones_is_encrypted_and_private(prod: Synthesis) -> None:
    instance = prod.the("AWS::DMS::ReplicationInstance")

    assert instance["MultiAZ"].value is True
    assert instance["PubliclyAccessible"].value is False
    assert plain(instance["KmsKeyId"]) == "<Security/Database>.Arn"
    assert plain(instance["VpcSecurityGroupIds"]) == ["<Network/Replication>.GroupId"]


def test_the_instance_stands_in_the_subnets_of_databases_of_all_zones(prod: Synthesis) -> None:
    group = prod.the("AWS::DMS::ReplicationSubnetGroup")
    instance = prod.the("AWS::DMS::ReplicationInstance")

    assert plain(instance["ReplicationSubnetGroupIdentifier"]) == f"<{name_of(group)}>"
    assert plain(group["SubnetIds"]) == [f"<Network/Vpc/DatabaseSubnet{number}/Subnet>" for number in (1, 2, 3)]


def test_the_version_changes_only_when_somebody_changes_it(prod: Synthesis) -> None:
    instance = prod.the("AWS::DMS::ReplicationInstance")

    assert instance["EngineVersion"].value == prod.config.replication.engine_version
    assert instance["AllowMajorVersionUpgrade"].value is False


def test_there_are_two_tasks_between_blue_and_green(prod: Synthesis) -> None:
    assert {name_of(each) for each in prod.every("AWS::DMS::ReplicationTask")} == {
        f"Replication/{name}" for name in BETWEEN
    }


def test_a_legacy_database_brings_a_pair_of_tasks_of_its_own(staging: Synthesis) -> None:
    assert {name_of(each) for each in staging.every("AWS::DMS::ReplicationTask")} == {
        f"Replication/{name}" for name in (*BETWEEN, *CHAINED)
    }


@pytest.mark.parametrize(("name", "ends"), [*BETWEEN.items(), *CHAINED.items()])
def test_a_task_reads_its_source_and_writes_its_target(staging: Synthesis, name: str, ends: tuple[str, str]) -> None:
    source, target = ends

    assert plain(task(staging, name)["SourceEndpointArn"]) == f"<Replication/{source}Source>"
    assert plain(task(staging, name)["TargetEndpointArn"]) == f"<Replication/{target}Target>"
    assert plain(task(staging, name)["ReplicationInstanceArn"]) == "<Replication/Instance>"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BlueToGreen", "full-load-and-cdc"),
        ("GreenToBlue", "cdc"),
        ("LegacyToBlue", "full-load-and-cdc"),
        ("BlueToLegacy", "cdc"),
    ],
)
def test_of_each_pair_only_the_task_of_the_first_writer_loads(staging: Synthesis, name: str, kind: str) -> None:
    """Only one task of a bidirectional pair may be full-load-and-cdc (DMS user guide, CHAP_Task.CDC)."""
    assert task(staging, name)["MigrationType"].value == kind


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("BlueToGreen", "payments-staging-blue-to-green"),
        ("GreenToBlue", "payments-staging-green-to-blue"),
        ("LegacyToBlue", "payments-staging-legacy-to-blue"),
        ("BlueToLegacy", "payments-staging-blue-to-legacy"),
    ],
)
def test_the_resource_identifier_is_known_beforehand(staging: Synthesis, name: str, identifier: str) -> None:
    assert task(staging, name)["ResourceIdentifier"].value == identifier
    assert len(identifier) <= 31


@pytest.mark.parametrize("name", [*BETWEEN, *CHAINED])
def test_a_task_leaves_out_what_its_counterpart_applied(staging: Synthesis, name: str) -> None:
    schema = "loopback_blue_green" if name in BETWEEN else "loopback_legacy_blue"

    assert settings(staging, name)["LoopbackPreventionSettings"] == {
        "EnableLoopbackPrevention": True,
        "SourceSchema": schema,
        "TargetSchema": schema,
    }
    assert settings(staging, name)["TargetMetadata"]["BatchApplyEnabled"] is False


@pytest.mark.parametrize("name", [*BETWEEN, *CHAINED])
def test_rows_are_compared_on_both_sides(staging: Synthesis, name: str) -> None:
    validation = settings(staging, name)["ValidationSettings"]

    assert validation["EnableValidation"] is True
    assert validation["ValidationMode"] == "ROW_LEVEL"


@pytest.mark.parametrize("name", [*BETWEEN, *CHAINED])
def test_no_task_drops_or_empties_a_table(staging: Synthesis, name: str) -> None:
    handling = settings(staging, name)["ChangeProcessingDdlHandlingPolicy"]

    assert handling["HandleSourceTableDropped"] is False
    assert handling["HandleSourceTableTruncated"] is False


@pytest.mark.parametrize(
    ("name", "follows"),
    [("BlueToGreen", True), ("GreenToBlue", False), ("LegacyToBlue", True), ("BlueToLegacy", False)],
)
def test_changes_of_a_table_go_one_way_because_their_echo_is_not_prevented(
    staging: Synthesis, name: str, follows: bool
) -> None:
    assert settings(staging, name)["ChangeProcessingDdlHandlingPolicy"]["HandleSourceTableAltered"] is follows


@pytest.mark.parametrize("name", [*BETWEEN, *CHAINED])
def test_a_row_that_cannot_be_applied_stops_the_task(staging: Synthesis, name: str) -> None:
    policies = {key: value for key, value in settings(staging, name)["ErrorBehavior"].items() if "Policy" in key}

    assert {"DataErrorPolicy", "TableErrorPolicy", "ApplyErrorInsertPolicy", "ApplyErrorUpdatePolicy"} <= set(policies)
    assert set(policies.values()) == {"STOP_TASK"}


@pytest.mark.parametrize("name", [*BETWEEN, *CHAINED])
def test_a_lost_connection_is_tried_again_without_end(staging: Synthesis, name: str) -> None:
    assert settings(staging, name)["ErrorBehavior"]["RecoverableErrorCount"] == -1


@pytest.mark.parametrize("name", [*BETWEEN, *CHAINED])
def test_a_load_keeps_the_tables_that_the_bootstrap_made(staging: Synthesis, name: str) -> None:
    assert settings(staging, name)["FullLoadSettings"]["TargetTablePrepMode"] == "DO_NOTHING"


@pytest.mark.parametrize("name", [*BETWEEN, *CHAINED])
def test_a_task_logs_without_rows_and_names_no_log_group(staging: Synthesis, name: str) -> None:
    """DMS refuses a log group on creation, and a debug level would log what it replicates."""
    logging = settings(staging, name)["Logging"]

    assert logging["EnableLogging"] is True
    assert set(logging) == {"EnableLogging", "LogComponents"}
    assert {each["Severity"] for each in logging["LogComponents"]} == {"LOGGER_SEVERITY_DEFAULT"}


@pytest.mark.parametrize("name", [*BETWEEN, *CHAINED])
def test_payments_marker_and_heartbeat_travel_in_one_task_and_nothing_else_does(staging: Synthesis, name: str) -> None:
    rules = json.loads(plain(task(staging, name)["TableMappings"]))["rules"]

    assert [(each["rule-type"], each["rule-action"]) for each in rules] == [("selection", "include")] * 3
    assert {tuple(each["object-locator"].values()) for each in rules} == {
        ("payments", "%"),
        ("blue_green_control", "heartbeat"),
        ("blue_green_control", "marker"),
    }


@pytest.mark.parametrize("database", ["Blue", "Green", "Legacy"])
@pytest.mark.parametrize("side", ["Source", "Target"])
def test_an_endpoint_logs_in_with_the_replication_secret_over_verified_tls(
    staging: Synthesis, database: str, side: str
) -> None:
    found = endpoint(staging, f"{database}{side}")
    secret = (
        "arn:aws:secretsmanager:us-east-1:111122223333:secret:legacy/replication-AbCdEf"
        if database == "Legacy"
        else f"<Database/{database}/Database/Secrets/Replication>"
    )

    assert found["EndpointType"].value == side.lower()
    assert found["EngineName"].value == ("mysql" if database == "Legacy" else "aurora")
    assert found["SslMode"].value == "verify-full"
    assert plain(found["CertificateArn"]) == f"<Replication/{'Legacy' if database == 'Legacy' else 'Rds'}Authorities>"
    assert plain(found["MySqlSettings.SecretsManagerSecretId"]) == secret
    assert plain(found["MySqlSettings.SecretsManagerAccessRoleArn"]) == f"<Replication/{database}{side}Access/Role>.Arn"
    assert plain(found["KmsKeyId"]) == "<Security/Database>.Arn"


@pytest.mark.parametrize("key", ["Username", "Password", "ServerName", "Port", "DatabaseName"])
def test_no_endpoint_names_an_account_a_host_or_a_single_database(either: Synthesis, key: str) -> None:
    """With a secret DMS refuses the first four; a database name would pour all schemas into one."""
    for each in either.every("AWS::DMS::Endpoint"):
        assert each[key].missing, name_of(each)
        assert each[f"MySqlSettings.{key}"].missing, name_of(each)


@pytest.mark.parametrize("name", ["RdsAuthorities", "LegacyAuthorities"])
def test_the_authorities_are_certificates(staging: Synthesis, name: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    context.load_verify_locations(cadata=plain(staging.the("AWS::DMS::Certificate", name)["CertificatePem"]))

    assert context.cert_store_stats()["x509"] >= 1


def test_the_authorities_of_rds_are_all_that_rds_has_in_the_region(prod: Synthesis) -> None:
    pem = plain(prod.the("AWS::DMS::Certificate")["CertificatePem"])

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem)

    names = {dict(part[0] for part in each["subject"])["commonName"] for each in context.get_ca_certs()}  # type: ignore[misc]
    assert names == {f"Amazon RDS us-east-1 Root CA {kind} G1" for kind in ("RSA2048", "RSA4096", "ECC384")}


def test_dms_assumes_its_roles_as_the_service_of_the_region_and_for_this_account_only(either: Synthesis) -> None:
    roles = [each for each in either.every("AWS::IAM::Role", "Replication") if "Access/" in name_of(each)]

    assert len(roles) == len(either.every("AWS::DMS::Endpoint"))
    for role in roles:
        [statement] = plain(role["AssumeRolePolicyDocument"])["Statement"]
        assert statement["Principal"] == {"Service": "dms.us-east-1.amazonaws.com"}
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


@pytest.mark.parametrize(
    ("kind", "category"),
    [("ReplicationTask", "failure"), ("ReplicationTask", "state change"), ("ReplicationInstance", "failover")],
)
def test_what_happens_to_tasks_and_instance_is_told(prod: Synthesis, kind: str, category: str) -> None:
    subscription = prod.the("AWS::DMS::EventSubscription", f"{kind}Events")

    assert subscription["Enabled"].value is True
    assert category in plain(subscription["EventCategories"])
    assert plain(subscription["SnsTopicArn"]) == "<Replication/Events/Topic>"


def test_a_subscription_names_sources_that_exist_before_it(either: Synthesis) -> None:
    tasks = {plain(each["ReplicationTaskIdentifier"]) for each in either.every("AWS::DMS::ReplicationTask")}
    instances = {plain(each["ReplicationInstanceIdentifier"]) for each in either.every("AWS::DMS::ReplicationInstance")}
    created = {each.logical_id for each in either.every("AWS::DMS::ReplicationTask")}

    subscription = either.the("AWS::DMS::EventSubscription", "ReplicationTaskEvents")
    assert set(plain(subscription["SourceIds"])) == tasks
    assert created <= set(subscription.definition["DependsOn"])
    assert set(plain(either.the("AWS::DMS::EventSubscription", "InstanceEvents")["SourceIds"])) == instances


def test_the_account_level_roles_are_left_to_who_owns_them(prod: Synthesis) -> None:
    assert [each for each in prod.every("AWS::IAM::Role") if str(plain(each["RoleName"])).startswith("dms-")] == []


ROLES = {
    "dms-vpc-role": "AmazonDMSVPCManagementRole",
    "dms-cloudwatch-logs-role": "AmazonDMSCloudWatchLogsRole",
}


@pytest.mark.parametrize(("name", "policy"), ROLES.items())
def test_the_account_level_roles_can_be_made_and_are_never_taken_away(
    variation: Variation, name: str, policy: str
) -> None:
    synthesis = variation("account-roles", replication__create_account_roles=True)
    [role] = [each for each in synthesis.every("AWS::IAM::Role") if plain(each["RoleName"]) == name]
    instance = synthesis.the("AWS::DMS::ReplicationInstance")
    group = synthesis.the("AWS::DMS::ReplicationSubnetGroup")

    assert plain(role["ManagedPolicyArns"]) == [f"arn:aws:iam::aws:policy/service-role/{policy}"]
    assert role.deletion_policy == "Retain"
    [statement] = plain(role["AssumeRolePolicyDocument"])["Statement"]
    assert statement["Principal"] == {"Service": "dms.amazonaws.com"}
    assert role.logical_id in instance.definition["DependsOn"]
    assert role.logical_id in group.definition["DependsOn"]
