"""What each role may do, exactly."""

from __future__ import annotations

import pytest

from tests.support.permissions import Permissions, permissions_of
from tests.support.synthesized import Synthesis, name_of, plain

COLORS = ("Blue", "Green")
ACCOUNT = "111122223333"
SECRETS_KEY = "<Security/Secrets>.Arn [StringEquals kms:ViaService=secretsmanager.us-east-1.amazonaws.com]"
STATE_KEY = "<Security/Functions>.Arn [StringEquals kms:ViaService=dynamodb.us-east-1.amazonaws.com]"
LEGACY_KEY = (
    "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab "
    "[StringEquals kms:ViaService=secretsmanager.us-east-1.amazonaws.com]"
)
WRITE_LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}

# What Lambda does to attach a function to a VPC; it requires these on all resources (developer guide, "Giving Lambda
# functions access to resources in an Amazon VPC").
ATTACH_TO_VPC = {
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
}

# What a function sends its traces with; X-Ray knows no resources.
TRACE = {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}


def may(synthesis: Synthesis, role: str) -> Permissions:
    return permissions_of(synthesis.app, synthesis.the("AWS::IAM::Role", role))


def secret(color: str, kind: str) -> str:
    return f"<Database/{color}/Database/Secrets/{kind}>"


def function(path: str) -> dict[str, set[str]]:
    """What every function of ours may do: write its log and its traces, decrypt its environment, be in the VPC."""
    return {
        f"<{path}/Logs>.Arn": WRITE_LOGS,
        "<Security/Functions>.Arn": {"kms:Decrypt"},
        "*": ATTACH_TO_VPC | TRACE,
    }


def task(name: str) -> str:
    return f"arn:aws:dms:us-east-1:{ACCOUNT}:task:{name}"


def test_flow_logs_go_to_their_group_and_nowhere_else(prod: Synthesis) -> None:
    assert may(prod, "Network/FlowLogsWriter/Role") == Permissions(
        {"<Network/FlowLogs>.Arn": {*WRITE_LOGS, "logs:DescribeLogStreams"}}
    )


def test_the_function_that_closes_the_default_group_changes_that_group_only(prod: Synthesis) -> None:
    path = "Network/CloseDefaultGroup"
    group = f"arn:aws:ec2:us-east-1:{ACCOUNT}:security-group/<Network/Vpc>.DefaultSecurityGroup"

    assert may(prod, f"{path}/Execution/Role") == Permissions(
        {
            **function(path),
            "*": {*ATTACH_TO_VPC, *TRACE, "ec2:DescribeSecurityGroupRules"},
            group: {"ec2:RevokeSecurityGroupIngress", "ec2:RevokeSecurityGroupEgress"},
        }
    )


@pytest.mark.parametrize("color", COLORS)
def test_the_bootstrap_reads_the_secrets_of_its_database(prod: Synthesis, color: str) -> None:
    path = f"Database/{color}/Functions/Bootstrap"

    assert may(prod, f"{path}/Execution/Role") == Permissions(
        {
            **function(path),
            **{
                secret(color, kind): {"secretsmanager:GetSecretValue"}
                for kind in ("Admin", "Application", "Replication")
            },
            SECRETS_KEY: {"kms:Decrypt"},
        }
    )


@pytest.mark.parametrize("color", COLORS)
def test_the_rotation_changes_the_secrets_of_its_database_and_restarts_its_tasks(prod: Synthesis, color: str) -> None:
    path = f"Database/{color}/Functions/Rotation"
    rotate = {
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:PutSecretValue",
        "secretsmanager:UpdateSecretVersionStage",
    }

    assert may(prod, f"{path}/Execution/Role") == Permissions(
        {
            **function(path),
            "*": {*ATTACH_TO_VPC, *TRACE, "dms:DescribeReplicationTasks", "secretsmanager:GetRandomPassword"},
            **{secret(color, kind): rotate for kind in ("Admin", "Application", "Replication")},
            SECRETS_KEY: {"kms:Decrypt", "kms:GenerateDataKey"},
            # It reads the lease, and writes only what it has to remember about a restart.
            "<State/State>.Arn": {"dynamodb:ConditionCheckItem", "dynamodb:GetItem"},
            "<State/State>.Arn [ForAllValues:StringEquals dynamodb:LeadingKeys=RESTART]": {
                "dynamodb:DeleteItem",
                "dynamodb:PutItem",
                "dynamodb:UpdateItem",
            },
            STATE_KEY: {"kms:Decrypt", "kms:GenerateDataKey"},
            **{
                task(f"payments-prod-{name}"): {"dms:StartReplicationTask", "dms:StopReplicationTask"}
                for name in ("blue-to-green", "green-to-blue")
            },
        }
    )


def test_the_rotation_of_green_does_not_touch_the_tasks_of_the_legacy_database(staging: Synthesis) -> None:
    tasks = {
        place for place in may(staging, "Database/Green/Functions/Rotation/Execution/Role").on if ":task:" in place
    }

    assert tasks == {task("payments-staging-blue-to-green"), task("payments-staging-green-to-blue")}


@pytest.mark.parametrize("color", COLORS)
def test_enhanced_monitoring_has_the_policy_of_aws_for_it_and_nothing_else(prod: Synthesis, color: str) -> None:
    assert may(prod, f"Database/{color}/Database/Monitoring") == Permissions(
        {}, frozenset({"AmazonRDSEnhancedMonitoringRole"})
    )


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("side", ["Source", "Target"])
def test_an_endpoint_reads_the_replication_secret_of_its_database(prod: Synthesis, color: str, side: str) -> None:
    assert may(prod, f"Replication/{color}{side}Access/Role") == Permissions(
        {
            secret(color, "Replication"): {"secretsmanager:GetSecretValue"},
            "<Security/Secrets>.Arn": {"kms:Decrypt", "kms:DescribeKey"},
        }
    )


@pytest.mark.parametrize("side", ["Source", "Target"])
def test_an_endpoint_of_the_legacy_database_reads_its_secret_under_its_key(staging: Synthesis, side: str) -> None:
    assert may(staging, f"Replication/Legacy{side}Access/Role") == Permissions(
        {
            "arn:aws:secretsmanager:us-east-1:111122223333:secret:legacy/replication-AbCdEf": {
                "secretsmanager:GetSecretValue"
            },
            "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab": {
                "kms:Decrypt",
                "kms:DescribeKey",
            },
        }
    )


@pytest.mark.parametrize("color", COLORS)
def test_a_payment_task_reads_the_application_secrets_and_nothing_else(prod: Synthesis, color: str) -> None:
    assert may(prod, f"Compute/{color}/Payments/Tasks/Role") == Permissions(
        {
            **{secret(each, "Application"): {"secretsmanager:GetSecretValue"} for each in COLORS},
            SECRETS_KEY: {"kms:Decrypt"},
        }
    )


@pytest.mark.parametrize("color", COLORS)
def test_with_a_legacy_database_a_payment_task_reads_its_secret_too(staging: Synthesis, color: str) -> None:
    assert may(staging, f"Compute/{color}/Payments/Tasks/Role") == Permissions(
        {
            "arn:aws:secretsmanager:us-east-1:111122223333:secret:legacy/application-AbCdEf": {
                "secretsmanager:GetSecretValue"
            },
            **{secret(each, "Application"): {"secretsmanager:GetSecretValue"} for each in COLORS},
            SECRETS_KEY: {"kms:Decrypt"},
            LEGACY_KEY: {"kms:Decrypt"},
        }
    )


@pytest.mark.parametrize("color", COLORS)
def test_starting_a_task_takes_its_image_and_its_log(prod: Synthesis, color: str) -> None:
    repository = f"cdk-hnb659fds-container-assets-{ACCOUNT}-us-east-1"

    assert may(prod, f"Compute/{color}/Payments/Execution/Role") == Permissions(
        {
            f"<Compute/{color}/Payments/Logs>.Arn": WRITE_LOGS,
            f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/{repository}": {
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetDownloadUrlForLayer",
            },
            # The token of the registry belongs to no repository.
            "*": {"ecr:GetAuthorizationToken"},
        }
    )


def test_aws_backup_has_the_policies_of_aws_for_backup_and_restore(prod: Synthesis) -> None:
    assert may(prod, "Backup/Role") == Permissions(
        {}, frozenset({"AWSBackupServiceRolePolicyForBackup", "AWSBackupServiceRolePolicyForRestores"})
    )


# Over all roles.


def every_role(synthesis: Synthesis) -> dict[str, Permissions]:
    return {name_of(each): permissions_of(synthesis.app, each) for each in synthesis.every("AWS::IAM::Role")}


def test_every_role_of_these_stacks_is_told_of_above(either: Synthesis) -> None:
    """A role that is added is noticed here. What belongs to the cutover has tests of its own."""
    told = {
        "Network/FlowLogsWriter/Role",
        "Network/CloseDefaultGroup/Execution/Role",
        "Backup/Role",
        *(
            f"Database/{color}/Functions/{name}/Execution/Role"
            for color in COLORS
            for name in ("Bootstrap", "Rotation")
        ),
        *(f"Database/{color}/Database/Monitoring" for color in COLORS),
        *(f"Replication/{each}{side}Access/Role" for each in (*COLORS, "Legacy") for side in ("Source", "Target")),
        *(f"Compute/{color}/Payments/{name}/Role" for color in COLORS for name in ("Tasks", "Execution")),
    }

    assert {name for name in every_role(either) if name.split("/")[0] not in ("Cutover", "Observability")} <= told


def test_no_role_may_do_a_whole_service(either: Synthesis) -> None:
    wide = {
        (name, action)
        for name, each in every_role(either).items()
        for actions in each.on.values()
        for action in actions
        if "*" in action
    }

    assert wide == set()


def test_no_role_reads_a_secret_that_it_does_not_name(either: Synthesis) -> None:
    reading = {
        place
        for each in every_role(either).values()
        for place, actions in each.on.items()
        if "secretsmanager:GetSecretValue" in actions
    }

    assert reading
    assert [
        place for place in reading if not place.startswith(("<Database/", "arn:aws:secretsmanager:us-east-1:"))
    ] == []


def test_no_role_carries_an_inline_policy(either: Synthesis) -> None:
    assert either.every("AWS::IAM::Policy") == []
    assert [name_of(each) for each in either.every("AWS::IAM::Role") if not each["Policies"].missing] == []


SERVICES_WITHOUT_SOURCE = {
    # Lambda does not say on whose behalf it assumes an execution role.
    "lambda.amazonaws.com",
}


def test_a_role_is_assumed_by_one_service_for_this_account(either: Synthesis) -> None:
    open_ = []
    for role in either.every("AWS::IAM::Role"):
        if name_of(role).startswith("Cutover/Seat/"):
            # Those of people: test_operator_roles.py.
            continue
        [statement] = plain(role["AssumeRolePolicyDocument"])["Statement"]
        service = statement["Principal"]["Service"]
        bound = statement.get("Condition", {}).get("StringEquals", {}).get("aws:SourceAccount") == ACCOUNT
        if not isinstance(service, str) or not (bound or service in SERVICES_WITHOUT_SOURCE):
            open_.append((name_of(role), service))

    assert open_ == []
