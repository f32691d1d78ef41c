"""The runtime of the cutover: functions, state machine, schedule, and alarms on all of them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from blue_green.cutover_functions import LEASE_PARTITION
from blue_green.runtime_function import SOURCE_ROOT, packages_of
from cutover_plan import Direction, default_plan, parse_plan
from cutover_rollback.request import Request
from cutover_rollback.request import parse as parse_request
from cutover_state import layout
from policy.templates import Resource
from tests.support.permissions import Permissions, permissions_of
from tests.support.synthesized import Synthesis, name_of, plain
from verdict import parse_settings
from writer_switch.request import HandlerSettings
from writer_switch.request import SettingsError as HandlerSettingsError

FUNCTIONS: Mapping[str, str] = {
    "Preflight": "cutover_preflight",
    "Controller": "cutover_controller",
    "WriterSwitch": "writer_switch",
    "Rollback": "cutover_rollback",
    "Reconciler": "reconciler",
    "RecoveryPoint": "recovery_point",
    "ReplicationControl": "replication_control",
}
"""The functions with their packages."""

every_function = pytest.mark.parametrize("name", FUNCTIONS)


def function(synthesis: Synthesis, name: str) -> Resource:
    return synthesis.the("AWS::Lambda::Function", f"Functions/{name}/", stack="Cutover")


def machine(synthesis: Synthesis) -> Resource:
    return synthesis.the("AWS::StepFunctions::StateMachine")


def rule(synthesis: Synthesis, name: str) -> Any:
    return plain(synthesis.the("AWS::Events::Rule", f"Cutover/{name}").properties.value)


def arn(name: str) -> str:
    return f"<Cutover/Functions/{name}/Function>.Arn"


# The functions.


def test_there_are_seven_functions(either: Synthesis) -> None:
    found = {name_of(each) for each in either.every("AWS::Lambda::Function", "Cutover")}

    assert found == {f"Cutover/Functions/{name}/Function" for name in FUNCTIONS}


@every_function
def test_a_function_runs_in_the_isolated_subnets_of_the_vpc(prod: Synthesis, name: str) -> None:
    placed = plain(function(prod, name)["VpcConfig"])

    assert placed == {
        "SecurityGroupIds": ["<Network/Functions>.GroupId"],
        "SubnetIds": [f"<Network/Vpc/ComputeSubnet{n}/Subnet>" for n in (1, 2, 3)],
    }


@every_function
def test_the_environment_of_a_function_is_encrypted_with_the_customer_managed_key(prod: Synthesis, name: str) -> None:
    assert plain(function(prod, name)["KmsKeyArn"]) == "<Security/Functions>.Arn"


@every_function
def test_a_function_is_traced_and_writes_to_its_own_encrypted_log(prod: Synthesis, name: str) -> None:
    found = function(prod, name)
    log = prod.the("AWS::Logs::LogGroup", f"Functions/{name}/", stack="Cutover")

    assert plain(found["TracingConfig"]) == {"Mode": "Active"}
    assert plain(found["LoggingConfig"])["LogGroup"] == f"<{name_of(log)}>"
    assert plain(log["KmsKeyId"]) == "<Security/Logs>.Arn"


@every_function
def test_what_cannot_be_handed_to_a_function_is_kept(prod: Synthesis, name: str) -> None:
    assert plain(function(prod, name)["DeadLetterConfig"]) == {"TargetArn": "<Cutover/Functions/DeadLetters>.Arn"}


ONE_AT_A_TIME = ("Controller", "WriterSwitch", "Reconciler", "ReplicationControl")


@every_function
def test_what_must_not_run_twice_at_once_has_one_instance(prod: Synthesis, name: str) -> None:
    """A rollback is safe twice at once, and must not wait for another one that hangs."""
    reserved = plain(function(prod, name)["ReservedConcurrentExecutions"])

    assert reserved == (1 if name in ONE_AT_A_TIME else None)


@every_function
def test_a_function_is_entered_at_the_handler_of_its_package(prod: Synthesis, name: str) -> None:
    assert function(prod, name)["Handler"].value == f"{FUNCTIONS[name]}.handler.lambda_handler"


@every_function
def test_a_function_is_uploaded_with_every_package_that_it_imports_and_no_other(either: Synthesis, name: str) -> None:
    asset = either.folder / str(function(either, name).metadata["aws:asset:path"])

    assert {each.name for each in asset.iterdir()} == set(packages_of(FUNCTIONS[name]))


# Environment variables: set when a handler reads them, and only then.

READS = ("text", "mapping", "listing")


def names_read(node: ast.AST) -> Iterator[str]:
    """Environment variables that are read through the settings."""
    for call in ast.walk(node):
        match call:
            case ast.Call(func=ast.Attribute(attr=attr), args=[ast.Constant(value=str(name)), *_]) if (
                attr in READS and re.fullmatch(r"[A-Z][A-Z_]+", name)
            ):
                yield name


def attributes(node: ast.AST, of: str) -> set[str]:
    return {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id == of
    }


def wiring_reads() -> Mapping[str, set[str]]:
    """What each piece of the wiring reads, itself and through other pieces."""
    [wiring] = [
        node
        for node in ast.parse((SOURCE_ROOT / "cutover_wiring" / "__init__.py").read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "Wiring"
    ]
    pieces = {each.name: each for each in wiring.body if isinstance(each, ast.FunctionDef)}

    def of(name: str) -> set[str]:
        used = attributes(pieces[name], "self") & set(pieces)
        return {*names_read(pieces[name]), *(found for each in used for found in of(each))}

    return {name: of(name) for name in pieces}


def chain_reads() -> set[str]:
    """What making the chain of databases reads."""
    with pytest.raises(HandlerSettingsError) as caught:
        HandlerSettings.parse({})
    required = {each.removesuffix(" is not set") for each in str(caught.value).split("; ")}
    return required | set(names_read(ast.parse((SOURCE_ROOT / "cutover_databases" / "chain.py").read_text())))


def variables_of(package: str) -> set[str]:
    """The environment variables that the function of a package reads."""
    wiring = wiring_reads()
    found: set[str] = set()
    for path in (SOURCE_ROOT / package).rglob("*.py"):
        tree = ast.parse(path.read_text())
        found.update(names_read(tree))
        for piece in attributes(tree, "wiring") & set(wiring):
            found |= wiring[piece]
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        if "make_chain" in names:
            found |= chain_reads()
        elif "HandlerSettings" in names:
            found |= chain_reads() - {"PAYMENT_SCHEMA"}
    return found


def test_what_the_wiring_reads_is_found() -> None:
    wiring = wiring_reads()

    assert wiring["levers"] == {"LISTENER_RULE_ARN", "TARGET_GROUP_ARNS", "HOSTED_ZONE_ID", "PAYMENTS_HOST"}
    assert wiring["tell"] == {"NOTIFICATION_TOPIC_ARN"}
    assert wiring["lease"] == {"STATE_TABLE_NAME"}


@every_function
def test_a_function_has_the_environment_variables_that_it_reads_and_no_other(either: Synthesis, name: str) -> None:
    variables = set(plain(function(either, name)["Environment.Variables"]))

    assert variables == variables_of(FUNCTIONS[name])


def variable(synthesis: Synthesis, name: str, key: str) -> Any:
    return json.loads(plain(function(synthesis, name)["Environment.Variables"])[key])


@pytest.mark.parametrize("name", ["Preflight", "WriterSwitch", "Rollback", "ReplicationControl"])
def test_the_databases_of_a_function_are_the_configured_chain(staging: Synthesis, name: str) -> None:
    variables = plain(function(staging, name)["Environment.Variables"])

    settings = HandlerSettings.parse(variables | {"WRITER_SWITCH_DATABASES": _real_arns(variables)})
    assert settings.chain == ("legacy", "blue", "green")


def _real_arns(variables: Mapping[str, str]) -> str:
    """A reference to a secret is its ARN."""
    return re.sub(
        r"<[^>]*>",
        "arn:aws:secretsmanager:us-east-1:111122223333:secret:of-a-stack-AbCdEf",
        variables["WRITER_SWITCH_DATABASES"],
    )


@pytest.mark.parametrize(
    ("side", "alarms"),
    [
        ("blue", ["<Observability/Blue/Health>"]),
        ("green", ["<Observability/Green/Health>"]),
        ("aws", ["<Observability/Blue/Health>", "<Observability/Green/Health>"]),
        ("legacy", ["<Observability/LegacyHealth>"]),
    ],
)
@pytest.mark.parametrize("name", ["Preflight", "Controller"])
def test_the_alarms_that_are_watched_are_those_that_take_the_cutover_back(
    prod: Synthesis, name: str, side: str, alarms: list[str]
) -> None:
    assert variable(prod, name, "ALARMS")[side] == alarms


def test_the_tasks_that_are_controlled_are_those_of_the_replication_stack(staging: Synthesis) -> None:
    controlled = {each["identifier"]: each for each in variable(staging, "ReplicationControl", "REPLICATION_TASKS")}
    tasks = {
        str(plain(each["ReplicationTaskIdentifier"])): plain(each["MigrationType"])
        for each in staging.every("AWS::DMS::ReplicationTask")
    }

    assert {name: each["loads"] for name, each in controlled.items()} == {
        name: kind == "full-load-and-cdc" for name, kind in tasks.items()
    }


# Plans and verdict.


def parameter(synthesis: Synthesis, name: str) -> str:
    [found] = [
        each
        for each in synthesis.every("AWS::SSM::Parameter", "Cutover")
        if str(plain(each["Name"])) == f"{synthesis.config.parameter_path}/cutover/{name}"
    ]
    return str(plain(found["Value"]))


@pytest.mark.parametrize("direction", list(Direction), ids=str)
def test_the_plan_of_every_direction_is_the_default_one_at_first(either: Synthesis, direction: Direction) -> None:
    name = f"{direction.source}-{direction.target}"

    assert parse_plan(parameter(either, f"plan/{name}"), direction=direction) == default_plan(direction)


@pytest.mark.parametrize("direction", list(Direction), ids=str)
def test_the_preflight_reads_the_plan_of_every_direction(prod: Synthesis, direction: Direction) -> None:
    name = f"{direction.source}-{direction.target}"

    assert variable(prod, "Preflight", "PLAN_PARAMETERS")[name] == f"/payments/prod/cutover/plan/{name}"


def test_the_verdict_has_the_limits_of_the_alarms(either: Synthesis) -> None:
    limits = parse_settings(parameter(either, "verdict")).limits

    assert limits.healthy_hosts_minimum == either.config.compute.min_tasks - 1
    assert limits.replication_lag_seconds_maximum == either.config.alarms.replication_lag_seconds


# The state machine.


def definition(synthesis: Synthesis) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(plain(machine(synthesis)["DefinitionString"]))
    return found


def states(synthesis: Synthesis) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = definition(synthesis)["States"]
    return found


def following(state: Mapping[str, Any]) -> set[str]:
    """The states that a state names, in its choices and catchers too."""
    return {
        *(state[key] for key in ("Next", "Default") if key in state),
        *(each["Next"] for key in ("Choices", "Catch") for each in state.get(key, [])),
    }


def test_the_state_machine_is_a_standard_one(prod: Synthesis) -> None:
    """An express one lives for five minutes."""
    assert machine(prod)["StateMachineType"].value == "STANDARD"


def test_everything_that_the_state_machine_does_is_logged_encrypted(prod: Synthesis) -> None:
    logging = plain(machine(prod)["LoggingConfiguration"])
    log = prod.the("AWS::Logs::LogGroup", "Cutover/Workflow/")

    assert logging == {
        "Destinations": [{"CloudWatchLogsLogGroup": {"LogGroupArn": f"<{name_of(log)}>.Arn"}}],
        "IncludeExecutionData": True,
        "Level": "ALL",
    }
    assert plain(log["KmsKeyId"]) == "<Security/Logs>.Arn"


def test_the_state_machine_is_traced(prod: Synthesis) -> None:
    assert plain(machine(prod)["TracingConfiguration"]) == {"Enabled": True}


def test_the_executions_are_encrypted_with_the_customer_managed_key(prod: Synthesis) -> None:
    encryption = plain(machine(prod)["EncryptionConfiguration"])

    assert encryption["Type"] == "CUSTOMER_MANAGED_KMS_KEY"
    assert encryption["KmsKeyId"] == "<Security/Functions>.Arn"


def test_the_delivery_of_logs_may_decrypt_what_an_execution_logs(prod: Synthesis) -> None:
    policy = plain(prod.the("AWS::KMS::Key", "Security/Functions")["KeyPolicy"])

    [statement] = [
        each for each in policy["Statement"] if each["Principal"].get("Service") == "delivery.logs.amazonaws.com"
    ]
    assert statement["Action"] == "kms:Decrypt*"
    assert statement["Condition"] == {
        "StringEquals": {"kms:EncryptionContext:SourceArn": "arn:aws:logs:us-east-1:111122223333:*"}
    }


def test_every_state_that_is_named_exists(prod: Synthesis) -> None:
    found = states(prod)
    named = {definition(prod)["StartAt"], *(each for state in found.values() for each in following(state))}

    assert named - set(found) == set()


def test_every_state_can_be_reached(prod: Synthesis) -> None:
    found = states(prod)
    reached: set[str] = set()
    pending = {definition(prod)["StartAt"]}
    while pending:
        name = pending.pop()
        reached.add(name)
        pending |= following(found[name]) - reached

    assert reached == set(found)


def test_from_every_state_an_end_can_be_reached(prod: Synthesis) -> None:
    found = states(prod)
    ending = {name for name, each in found.items() if each["Type"] in ("Succeed", "Fail")}
    while more := {name for name, each in found.items() if following(each) & ending} - ending:
        ending |= more

    assert ending == set(found)


def tasks(synthesis: Synthesis) -> dict[str, dict[str, Any]]:
    return {name: each for name, each in states(synthesis).items() if each["Type"] == "Task"}


def test_every_task_calls_a_function_of_ours(prod: Synthesis) -> None:
    assert {name: each["Resource"] for name, each in tasks(prod).items()} == {
        "Preflight": arn("Preflight"),
        "StartRecoveryPoints": arn("RecoveryPoint"),
        "LookAtRecoveryPoints": arn("RecoveryPoint"),
        "Look": arn("Controller"),
        "LookAfterSwitch": arn("Controller"),
        "SwitchWriter": arn("WriterSwitch"),
        "RollBack": arn("Rollback"),
        "RollBackAfterError": arn("Rollback"),
    }


def test_every_task_is_tried_again_whatever_its_error_with_jitter(prod: Synthesis) -> None:
    for name, each in tasks(prod).items():
        [retry] = each["Retry"]
        assert retry["ErrorEquals"] == ["States.ALL"], name
        assert retry["JitterStrategy"] == "FULL", name
        assert retry["MaxDelaySeconds"] == 60, name


def test_a_rollback_is_tried_longest(prod: Synthesis) -> None:
    attempts = {name: each["Retry"][0]["MaxAttempts"] for name, each in tasks(prod).items()}

    assert {name for name, count in attempts.items() if count == 20} == {"RollBack", "RollBackAfterError"}
    assert {count for name, count in attempts.items() if not name.startswith("RollBack")} == {4}


def test_whatever_fails_but_the_rollback_leads_to_the_rollback(prod: Synthesis) -> None:
    for name, each in tasks(prod).items():
        if name.startswith("RollBack"):
            # Nothing is left but the rule on executions that end badly, and the alarm.
            assert "Catch" not in each, name
        else:
            [catch] = each["Catch"]
            assert (catch["ErrorEquals"], catch["Next"]) == (["States.ALL"], "RollBackAfterError"), name


def test_only_a_look_that_says_done_ends_well(prod: Synthesis) -> None:
    found = states(prod)
    [good] = [name for name, each in found.items() if each["Type"] == "Succeed"]

    assert [
        (name, choice) for name, each in found.items() for choice in each.get("Choices", []) if choice["Next"] == good
    ] == [("WhatNext", {"Variable": "$.look.next", "StringEquals": "done", "Next": good})]
    assert [name for name, each in found.items() if good in (each.get("Next"), each.get("Default"))] == []


@pytest.mark.parametrize("name", ["RollBack", "RollBackAfterError"])
def test_the_state_machine_does_not_have_itself_stopped(prod: Synthesis, name: str) -> None:
    parameters = states(prod)[name]["Parameters"]

    assert parameters["from_state_machine"] is True
    assert parameters["requested_by"] == "state machine"


# What each role may do, exactly.

COLORS = ("Blue", "Green")
KINDS = ("Admin", "Application")
TABLE = "<State/State>.Arn"
STATE_KEY = "<Security/Functions>.Arn [StringEquals kms:ViaService=dynamodb.us-east-1.amazonaws.com]"
QUEUE_KEY = "<Security/Functions>.Arn [StringEquals kms:ViaService=sqs.us-east-1.amazonaws.com]"
EXECUTIONS_KEY = "<Security/Functions>.Arn [StringEquals kms:ViaService=states.us-east-1.amazonaws.com]"
TOPIC_KEY = "<Security/Logs>.Arn [StringEquals kms:ViaService=sns.us-east-1.amazonaws.com]"
SECRETS_KEY = "<Security/Secrets>.Arn [StringEquals kms:ViaService=secretsmanager.us-east-1.amazonaws.com]"
USE_KEY = {"kms:Decrypt", "kms:GenerateDataKey"}
ZONE = "arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ"
TWO_RECORDS = (
    f"{ZONE} [ForAllValues:StringEquals route53:ChangeResourceRecordSetsActions=UPSERT, "
    "ForAllValues:StringEquals route53:ChangeResourceRecordSetsNormalizedRecordNames=api.payments.example.com, "
    "ForAllValues:StringEquals route53:ChangeResourceRecordSetsRecordTypes=A]"
)
LEASE_ONLY = f"{TABLE} [ForAllValues:StringEquals dynamodb:LeadingKeys={LEASE_PARTITION}]"
RUN_IN_VPC = {
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
LOOK = {
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricData",
    "dms:DescribeReplicationTasks",
    "elasticloadbalancing:DescribeTargetHealth",
}
READ_RULE = {"elasticloadbalancing:DescribeRules"}


def expected(name: str, *, everywhere: set[str] | None = None) -> dict[str, set[str]]:
    """What every function of the cutover may do."""
    return {
        "*": RUN_IN_VPC | (everywhere or set()),
        f"<Cutover/Functions/{name}/Logs>.Arn": {"logs:CreateLogStream", "logs:PutLogEvents"},
        "<Cutover/Functions/DeadLetters>.Arn": {"sqs:SendMessage"},
        "<Security/Functions>.Arn": {"kms:Decrypt"},
        QUEUE_KEY: USE_KEY,
    }


READS_TABLE = {TABLE: {"dynamodb:GetItem"}, STATE_KEY: USE_KEY}
KEEPS_STATE = {TABLE: {"dynamodb:GetItem", "dynamodb:PutItem"}, STATE_KEY: USE_KEY}
RELEASES_LEASE = {LEASE_ONLY: {"dynamodb:DeleteItem"}}
TELLS = {"<Cutover/Notifications/Topic>": {"sns:Publish"}, TOPIC_KEY: USE_KEY}
READS_RECORDS = {ZONE: {"route53:ListResourceRecordSets"}}
MOVES = {
    "<Routing/Weighted>.RuleArn": {"elasticloadbalancing:ModifyRule"},
    TWO_RECORDS: {"route53:ChangeResourceRecordSets"},
    "arn:aws:route53:::change/*": {"route53:GetChange"},
}
REACHES_DATABASES = {
    **{
        f"<Database/{color}/Database/Secrets/{kind}>": {"secretsmanager:GetSecretValue"}
        for color in COLORS
        for kind in KINDS
    },
    SECRETS_KEY: {"kms:Decrypt"},
}


def may(synthesis: Synthesis, name: str) -> Mapping[str, set[str]]:
    role = synthesis.the("AWS::IAM::Role", f"Functions/{name}/Execution/Role", stack="Cutover")
    permissions = permissions_of(synthesis.app, role)
    assert permissions == Permissions(permissions.on)  # no policy of AWS
    return permissions.on


def test_the_preflight_looks_at_everything_and_changes_the_state_only(prod: Synthesis) -> None:
    describe = {"secretsmanager:DescribeSecret"}
    read = {*describe, "secretsmanager:GetSecretValue"}
    plans = ("AwsLegacy", "BlueGreen", "GreenBlue", "LegacyAws")

    assert may(prod, "Preflight") == {
        **expected("Preflight", everywhere=LOOK | READ_RULE),
        **KEEPS_STATE,
        TABLE: {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"},
        **RELEASES_LEASE,
        **TELLS,
        **READS_RECORDS,
        **{f"<Database/{color}/Database/Secrets/Replication>": describe for color in COLORS},
        **{f"<Database/{color}/Database/Secrets/{kind}>": read for color in COLORS for kind in KINDS},
        SECRETS_KEY: {"kms:Decrypt"},
        **{f"<Compute/{color}/Payments/Service/Service>": {"ecs:DescribeServices"} for color in COLORS},
        **{
            f"arn:aws:ssm:us-east-1:111122223333:parameter<Cutover/Parameters/{each}>": {"ssm:GetParameter"}
            for each in (*(f"Plan{plan}" for plan in plans), "Verdict")
        },
    }


def test_the_controller_moves_this_rule_and_these_records_and_reaches_no_database(prod: Synthesis) -> None:
    assert may(prod, "Controller") == {
        **expected("Controller", everywhere=LOOK | READ_RULE),
        **KEEPS_STATE,
        **RELEASES_LEASE,
        **TELLS,
        **READS_RECORDS,
        **MOVES,
    }


def test_the_writer_switch_reaches_the_databases_and_changes_nothing_else(prod: Synthesis) -> None:
    assert may(prod, "WriterSwitch") == {**expected("WriterSwitch"), **READS_TABLE, **REACHES_DATABASES}


def test_the_rollback_moves_levers_and_writer_and_stops_executions_of_this_state_machine(prod: Synthesis) -> None:
    assert may(prod, "Rollback") == {
        **expected("Rollback", everywhere=READ_RULE),
        **KEEPS_STATE,
        **RELEASES_LEASE,
        **TELLS,
        **READS_RECORDS,
        **MOVES,
        **REACHES_DATABASES,
        "arn:aws:states:us-east-1:111122223333:execution:payments-prod-cutover:*": {"states:StopExecution"},
        EXECUTIONS_KEY: USE_KEY,
    }


def test_the_executions_that_the_rollback_may_stop_are_those_of_the_state_machine(either: Synthesis) -> None:
    name = plain(machine(either)["StateMachineName"])

    assert {each for each in may(either, "Rollback") if ":execution:" in each} == {
        f"arn:aws:states:us-east-1:111122223333:execution:{name}:*"
    }


def test_the_reconciler_moves_this_rule_and_these_records_and_counts_in_its_namespace(prod: Synthesis) -> None:
    assert may(prod, "Reconciler") == {
        **expected("Reconciler", everywhere=READ_RULE),
        "* [StringEquals cloudwatch:namespace=payments-prod/cutover]": {"cloudwatch:PutMetricData"},
        **KEEPS_STATE,
        **TELLS,
        **READS_RECORDS,
        **MOVES,
    }


def test_the_recovery_point_is_taken_of_these_clusters_into_this_vault(prod: Synthesis) -> None:
    start = {"backup:StartBackupJob", "backup:TagResource"}

    assert may(prod, "RecoveryPoint") == {
        **expected("RecoveryPoint", everywhere={"backup:DescribeBackupJob"}),
        # A backup takes longer than a lease lasts.
        **KEEPS_STATE,
        "<Backup/Vault>.BackupVaultArn": start,
        **{
            f"arn:aws:rds:us-east-1:111122223333:cluster:<Database/{color}/Database/Cluster>": start for color in COLORS
        },
        "<Backup/Role>.Arn [StringEquals iam:PassedToService=backup.amazonaws.com]": {"iam:PassRole"},
    }


def test_the_replication_control_starts_and_stops_these_tasks(prod: Synthesis) -> None:
    tested = ["Instance", *(f"{color}{side}" for color in COLORS for side in ("Source", "Target"))]

    assert may(prod, "ReplicationControl") == {
        **expected("ReplicationControl", everywhere={"dms:DescribeConnections", "dms:DescribeReplicationTasks"}),
        **REACHES_DATABASES,
        **{f"<Replication/{each}>": {"dms:TestConnection"} for each in tested},
        **{
            f"arn:aws:dms:us-east-1:111122223333:task:payments-prod-{each}": {
                "dms:StartReplicationTask",
                "dms:StopReplicationTask",
            }
            for each in ("blue-to-green", "green-to-blue")
        },
    }


@pytest.mark.parametrize("name", ["Preflight", "WriterSwitch", "Rollback", "ReplicationControl"])
def test_with_a_legacy_database_its_admin_and_application_secrets_are_read_under_its_key(
    staging: Synthesis, name: str
) -> None:
    legacy = {
        place: actions for place, actions in may(staging, name).items() if ":secret:" in place or ":key/" in place
    }

    secrets = [place for place, actions in legacy.items() if actions == {"secretsmanager:GetSecretValue"}]
    [(key, decrypt)] = [each for each in legacy.items() if ":key/" in each[0]]
    assert len(secrets) == len(legacy) - 1 == 2
    assert decrypt == {"kms:Decrypt"}
    assert key.endswith("[StringEquals kms:ViaService=secretsmanager.us-east-1.amazonaws.com]")


def test_the_partition_whose_items_may_be_deleted_is_that_of_the_lease() -> None:
    assert LEASE_PARTITION == layout.LEASE_PARTITION


def test_the_state_machine_calls_its_five_functions_and_writes_its_log(prod: Synthesis) -> None:
    role = prod.the("AWS::IAM::Role", "Cutover/Workflow/Execution/Role")

    assert permissions_of(prod.app, role) == Permissions(
        {
            **{
                arn(name): {"lambda:InvokeFunction"}
                for name in ("Preflight", "RecoveryPoint", "Controller", "WriterSwitch", "Rollback")
            },
            "<Security/Functions>.Arn": USE_KEY,
            "*": {
                "logs:CreateLogDelivery",
                "logs:DeleteLogDelivery",
                "logs:DescribeLogGroups",
                "logs:DescribeResourcePolicies",
                "logs:GetLogDelivery",
                "logs:ListLogDeliveries",
                "logs:PutResourcePolicy",
                "logs:UpdateLogDelivery",
                "xray:GetSamplingRules",
                "xray:GetSamplingTargets",
                "xray:PutTelemetryRecords",
                "xray:PutTraceSegments",
            },
        }
    )


def test_the_feedback_of_the_rollback_topic_writes_its_log_only(prod: Synthesis) -> None:
    role = prod.the("AWS::IAM::Role", "Observability/Rollback/Feedback/Role")

    assert permissions_of(prod.app, role) == Permissions(
        {"<Observability/Rollback/FailedDeliveries>.Arn": {"logs:CreateLogStream", "logs:PutLogEvents"}}
    )


def test_no_other_role_belongs_to_the_cutover(either: Synthesis) -> None:
    roles = {name_of(each) for each in either.every("AWS::IAM::Role", "Cutover")}

    assert roles == {
        "Cutover/Workflow/Execution/Role",
        *(f"Cutover/Functions/{name}/Execution/Role" for name in FUNCTIONS),
        # Those of people: test_operator_roles.py.
        "Cutover/Seat/Observer",
        "Cutover/Seat/Operator",
    }


# Dead letters.

DEAD_LETTERS = "<Cutover/Functions/DeadLetters>.Arn"


def test_the_dead_letters_are_encrypted_with_the_customer_managed_key_and_kept_two_weeks(prod: Synthesis) -> None:
    queue = prod.the("AWS::SQS::Queue", stack="Cutover")

    assert plain(queue["KmsMasterKeyId"]) == "<Security/Functions>.Arn"
    assert queue["MessageRetentionPeriod"].value == 14 * 24 * 3600


def test_only_the_topic_and_the_rules_put_letters_into_the_queue_and_over_tls(prod: Synthesis) -> None:
    policy = plain(prod.the("AWS::SQS::QueuePolicy", stack="Cutover")["PolicyDocument"])
    deny, *allow = sorted(policy["Statement"], key=lambda each: each["Effect"] == "Allow")

    assert (deny["Effect"], deny["Action"]) == ("Deny", "sqs:*")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert {
        (each["Principal"]["Service"], each["Action"], each["Condition"]["ArnEquals"]["aws:SourceArn"])
        for each in allow
    } == {
        ("sns.amazonaws.com", "sqs:SendMessage", "<Observability/Rollback/Topic>"),
        *(
            ("events.amazonaws.com", "sqs:SendMessage", f"<Cutover/{name}>.Arn")
            for name in ("EndedBadly", "EveryMinute", "StackUpdated")
        ),
    }


@pytest.mark.parametrize("service", ["events.amazonaws.com", "sns.amazonaws.com"])
def test_who_puts_letters_into_the_queue_may_use_its_key(prod: Synthesis, service: str) -> None:
    policy = plain(prod.the("AWS::KMS::Key", "Security/Functions")["KeyPolicy"])

    [statement] = [each for each in policy["Statement"] if each["Principal"].get("Service") == service]
    assert set(statement["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey*"}


# What calls a function by itself.


def test_the_only_subscriber_of_the_rollback_topic_is_the_rollback_and_failed_deliveries_are_kept(
    prod: Synthesis,
) -> None:
    subscribed = [
        plain(each.properties.value)
        for each in prod.every("AWS::SNS::Subscription")
        if plain(each["TopicArn"]) == "<Observability/Rollback/Topic>"
    ]

    assert subscribed == [
        {
            "TopicArn": "<Observability/Rollback/Topic>",
            "Protocol": "lambda",
            "Endpoint": arn("Rollback"),
            "RedrivePolicy": {"deadLetterTargetArn": DEAD_LETTERS},
        }
    ]


def rolling_back(synthesis: Synthesis) -> set[str]:
    return {
        name_of(each)
        for type_ in ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
        for each in synthesis.every(type_)
        if "<Observability/Rollback/Topic>" in (plain(each["AlarmActions"]) or [])
    }


def test_the_composite_alarms_and_the_health_of_the_legacy_system_roll_back_and_no_other_alarm(
    either: Synthesis,
) -> None:
    assert rolling_back(either) == {
        "Observability/Blue/Health",
        "Observability/Green/Health",
        "Observability/LegacyHealth",
    }


def test_every_alarm_that_is_watched_also_rolls_back(prod: Synthesis) -> None:
    watched = {name for names in variable(prod, "Controller", "ALARMS").values() for name in names}

    assert watched == {f"<{name}>" for name in rolling_back(prod)}


def invokers(synthesis: Synthesis, name: str) -> set[tuple[str, str]]:
    return {
        (str(plain(each["Principal"])), str(plain(each["SourceArn"])))
        for each in synthesis.every("AWS::Lambda::Permission")
        if plain(each["FunctionName"]) == arn(name)
    }


@pytest.mark.parametrize(
    ("name", "callers"),
    [
        (
            "Rollback",
            {
                ("sns.amazonaws.com", "<Observability/Rollback/Topic>"),
                ("events.amazonaws.com", "<Cutover/EndedBadly>.Arn"),
            },
        ),
        (
            "Reconciler",
            {
                ("events.amazonaws.com", "<Cutover/EveryMinute>.Arn"),
                ("events.amazonaws.com", "<Cutover/StackUpdated>.Arn"),
            },
        ),
        *((name, set()) for name in FUNCTIONS if name not in ("Rollback", "Reconciler")),
    ],
)
def test_no_service_calls_a_function_but_for_its_topic_and_its_rules(
    prod: Synthesis, name: str, callers: set[tuple[str, str]]
) -> None:
    """The state machine calls by the permission of its own role."""
    assert invokers(prod, name) == callers


def test_an_execution_that_ends_otherwise_than_well_is_noticed(prod: Synthesis) -> None:
    assert rule(prod, "EndedBadly")["EventPattern"] == {
        "source": ["aws.states"],
        "detail-type": ["Step Functions Execution Status Change"],
        "detail": {
            "stateMachineArn": ["<Cutover/Workflow/StateMachine>"],
            "status": ["FAILED", "TIMED_OUT", "ABORTED"],
        },
    }


def test_an_execution_that_ended_badly_takes_its_cutover_back(prod: Synthesis) -> None:
    """The input as EventBridge makes it of an event, which the rollback then reads."""
    [target] = rule(prod, "EndedBadly")["Targets"]
    event = {"detail": {"name": "20261124T184500-blue-green-1a2b", "status": "ABORTED"}}
    transformer = target["InputTransformer"]
    text = transformer["InputTemplate"]
    for name, path in transformer["InputPathsMap"].items():
        value = event["detail"][path.removeprefix("$.detail.")]
        # Inside a string the bare value, elsewhere as JSON.
        text = text.replace(f": <{name}>", f": {value}").replace(f"<{name}>", json.dumps(value))

    assert target["Arn"] == arn("Rollback")
    assert parse_request(json.loads(text)) == Request(
        cutover_id="20261124T184500-blue-green-1a2b",
        requested_by="state machine",
        reason="the execution ended: ABORTED",
        stop_execution=False,
    )


def test_the_reconciler_runs_every_minute(prod: Synthesis) -> None:
    found = rule(prod, "EveryMinute")

    assert (found["ScheduleExpression"], found["State"]) == ("rate(1 minute)", "ENABLED")
    assert [each["Arn"] for each in found["Targets"]] == [arn("Reconciler")]


STACK = "arn:aws:cloudformation:us-east-1:111122223333:stack"


@pytest.mark.parametrize(
    ("stack_id", "ours"),
    [
        (f"{STACK}/payments-prod/4f9c", True),
        (f"{STACK}/payments-prod-RoutingNestedStackRoutingNestedStackResourceA-1X/4f9c", True),
        (f"{STACK}/payments-prod2/4f9c", False),
        (f"{STACK}/payments-prod-blue/4f9c", False),
        (f"{STACK}/payments-staging/4f9c", False),
    ],
)
@pytest.mark.parametrize("status", ["UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"])
def test_the_reconciler_runs_after_updates_of_this_stage_only(
    prod: Synthesis, stack_id: str, status: str, ours: bool
) -> None:
    found = rule(prod, "StackUpdated")
    pattern = found["EventPattern"]

    assert [each["Arn"] for each in found["Targets"]] == [arn("Reconciler")]
    assert (pattern["source"], pattern["detail-type"]) == (
        ["aws.cloudformation"],
        ["CloudFormation Stack Status Change"],
    )
    prefixes = [each["prefix"] for each in pattern["detail"]["stack-id"]]
    assert status in pattern["detail"]["status-details"]["status"]
    assert any(stack_id.startswith(each) for each in prefixes) is ours


def test_the_nested_stack_of_the_levers_is_called_as_the_rule_expects(prod: Synthesis) -> None:
    """CloudFormation calls a nested stack after its parent and its logical id."""
    prefixes = [each["prefix"] for each in rule(prod, "StackUpdated")["EventPattern"]["detail"]["stack-id"]]
    [nested] = [each.logical_id for each in prod.every("AWS::CloudFormation::Stack") if "Routing" in name_of(each)]

    assert any(f"{STACK}/payments-prod-{nested}-1X2Y/4f9c".startswith(each) for each in prefixes)


@pytest.mark.parametrize("name", ["EndedBadly", "EveryMinute", "StackUpdated"])
def test_what_a_rule_cannot_deliver_is_kept(prod: Synthesis, name: str) -> None:
    assert [each["DeadLetterConfig"] for each in rule(prod, name)["Targets"]] == [{"Arn": DEAD_LETTERS}]


# Alarms on the controllers.


def alarm(synthesis: Synthesis, name: str) -> dict[str, Any]:
    found: dict[str, Any] = plain(
        next(
            each.properties.value
            for each in synthesis.every("AWS::CloudWatch::Alarm", "Cutover")
            if name_of(each) == f"Cutover/{name}"
        )
    )
    return found


@every_function
@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
def test_a_function_that_fails_or_is_throttled_raises_an_alarm(prod: Synthesis, name: str, metric: str) -> None:
    found = alarm(prod, f"{name}{metric}")

    assert (found["Namespace"], found["MetricName"], found["Statistic"]) == ("AWS/Lambda", metric, "Sum")
    assert found["Dimensions"] == [{"Name": "FunctionName", "Value": f"<Cutover/Functions/{name}/Function>"}]
    assert (found["ComparisonOperator"], found["Threshold"]) == ("GreaterThanThreshold", 0)
    # No call is no failure.
    assert found["TreatMissingData"] == "notBreaching"
    assert found["Period"] == 60
    assert found["EvaluationPeriods"] == (3 if name in ("Controller", "Reconciler") else 1)


def test_a_reconciler_that_does_not_run_raises_an_alarm(prod: Synthesis) -> None:
    found = alarm(prod, "ReconcilerSilent")

    assert (found["MetricName"], found["Statistic"], found["Period"]) == ("Invocations", "Sum", 300)
    assert found["Dimensions"] == [{"Name": "FunctionName", "Value": "<Cutover/Functions/Reconciler/Function>"}]
    assert (found["ComparisonOperator"], found["Threshold"]) == ("LessThanThreshold", 1)
    # It runs every minute: no data means that it does not.
    assert found["TreatMissingData"] == "breaching"


@pytest.mark.parametrize(
    ("name", "namespace", "metric"),
    [
        ("ExecutionsFailed", "AWS/States", "ExecutionsFailed"),
        ("ExecutionsTimedOut", "AWS/States", "ExecutionsTimedOut"),
        ("CutoverStuck", "payments-prod/cutover", "CutoverStuck"),
        ("DriftCorrected", "payments-prod/cutover", "DriftCorrected"),
        ("DeadLetters", "AWS/SQS", "ApproximateNumberOfMessagesVisible"),
    ],
)
def test_one_bad_end_stuck_cutover_drift_or_dead_letter_raises_an_alarm(
    prod: Synthesis, name: str, namespace: str, metric: str
) -> None:
    found = alarm(prod, name)

    assert (found["Namespace"], found["MetricName"]) == (namespace, metric)
    assert (found["ComparisonOperator"], found["Threshold"], found["EvaluationPeriods"]) == (
        "GreaterThanThreshold",
        0,
        1,
    )
    assert found["TreatMissingData"] == "notBreaching"


def test_the_alarms_of_executions_look_at_this_state_machine(prod: Synthesis) -> None:
    for name in ("ExecutionsFailed", "ExecutionsTimedOut"):
        assert alarm(prod, name)["Dimensions"] == [
            {"Name": "StateMachineArn", "Value": "<Cutover/Workflow/StateMachine>"}
        ]


def test_the_metrics_of_the_alarms_are_those_that_the_reconciler_sends(prod: Synthesis) -> None:
    variables = plain(function(prod, "Reconciler")["Environment.Variables"])
    source = (SOURCE_ROOT / "reconciler" / "handler.py").read_text()
    # One without a dimension is what the alarms watch.
    sent = set(re.findall(r'\("(\w+)", "", ""\):', source))

    assert variables["METRIC_NAMESPACE"] == alarm(prod, "CutoverStuck")["Namespace"]
    assert {"DriftCorrected", "CutoverStuck"} <= sent


def test_every_alarm_of_the_controllers_tells_people_and_says_where_to_read_on(prod: Synthesis) -> None:
    alarms = prod.every("AWS::CloudWatch::Alarm", "Cutover")

    assert len(alarms) == 2 * len(FUNCTIONS) + 6
    for each in alarms:
        assert plain(each["AlarmActions"]) == ["<Observability/Alarms/Topic>"], name_of(each)
        assert plain(each["AlarmDescription"]).endswith("Runbook: docs/runbook.md#controllers"), name_of(each)


def test_people_are_told_of_cutovers_by_an_encrypted_topic(prod: Synthesis) -> None:
    topic = prod.the("AWS::SNS::Topic", stack="Cutover")
    told = [
        plain(each["Endpoint"])
        for each in prod.every("AWS::SNS::Subscription")
        if plain(each["TopicArn"]) == f"<{name_of(topic)}>"
    ]

    assert plain(topic["KmsMasterKeyId"]) == "<Security/Logs>.Arn"
    assert told == list(prod.config.alarms.emails)


# What operators' programs find.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cutover-state-machine-arn", "<Cutover/Workflow/StateMachine>"),
        *(
            (f"{name}-function-name", f"<Cutover/Functions/{''.join(map(str.capitalize, name.split('-')))}/Function>")
            for name in ("preflight", "writer-switch", "rollback", "reconciler", "replication-control")
        ),
    ],
)
def test_what_people_and_programs_call_is_in_parameter_store(prod: Synthesis, name: str, value: str) -> None:
    [found] = [
        each
        for each in prod.every("AWS::SSM::Parameter", "Configuration")
        if str(plain(each["Name"])) == f"/payments/prod/shared/{name}"
    ]

    assert plain(found["Value"]) == value
