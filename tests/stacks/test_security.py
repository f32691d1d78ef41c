"""The customer-managed keys."""

from __future__ import annotations

import pytest

from tests.support.synthesized import Synthesis, plain

PURPOSES = ("Database", "Secrets", "Logs", "Backup", "Storage", "Functions")
ACCOUNT = "111122223333"


def statements(synthesis: Synthesis, key: str) -> dict[str, dict[str, object]]:
    """The statements of a key's policy by their Sid; the first one of the account has none."""
    policy = plain(synthesis.the("AWS::KMS::Key", f"Security/{key}")["KeyPolicy"])
    return {statement.get("Sid", ""): statement for statement in policy["Statement"]}


def test_there_is_one_key_for_each_purpose_and_no_other(either: Synthesis) -> None:
    keys = [plain(alias["TargetKeyId"]) for alias in either.every("AWS::KMS::Alias")]

    assert sorted(keys) == sorted(f"<Security/{purpose}>.Arn" for purpose in PURPOSES)
    assert len(either.every("AWS::KMS::Key")) == len(PURPOSES)
    assert len(either.every("AWS::KMS::Key", "Security")) == len(PURPOSES)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_key_rotates_and_outlives_its_stack(prod: Synthesis, purpose: str) -> None:
    key = prod.the("AWS::KMS::Key", f"Security/{purpose}")

    assert key["EnableKeyRotation"].value is True
    assert key.deletion_policy == "Retain"
    assert key["PendingWindowInDays"].value == 30


@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_account_decides_through_policies_of_its_identities(prod: Synthesis, purpose: str) -> None:
    account = statements(prod, purpose)[""]

    assert account == {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_key_policy_names_services_and_no_role(prod: Synthesis, purpose: str) -> None:
    for sid, statement in statements(prod, purpose).items():
        if sid:
            assert set(statement["Principal"]) == {"Service"}, sid  # type: ignore[call-overload]


def test_log_groups_of_this_account_may_be_encrypted_under_the_key_of_logs(prod: Synthesis) -> None:
    statement = statements(prod, "Logs")["LogGroups"]

    assert statement["Principal"] == {"Service": "logs.us-east-1.amazonaws.com"}
    assert statement["Condition"] == {
        "ArnLike": {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:us-east-1:{ACCOUNT}:*"}
    }
    assert statement["Action"] == [
        "kms:Decrypt*",
        "kms:Describe*",
        "kms:Encrypt*",
        "kms:GenerateDataKey*",
        "kms:ReEncrypt*",
    ]


def test_alarms_reach_an_encrypted_topic_from_this_account_only(prod: Synthesis) -> None:
    statement = statements(prod, "Logs")["TopicPublishers"]

    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey*"]


def test_a_service_that_sends_no_account_has_no_condition_that_would_silence_it(prod: Synthesis) -> None:
    """EventBridge sends no aws:SourceAccount to KMS when it publishes to a topic (SNS guide, "Key management")."""
    statement = statements(prod, "Logs")["OtherTopicPublishers"]

    assert statement["Principal"] == {"Service": ["backup.amazonaws.com", "dms.amazonaws.com", "events.amazonaws.com"]}
    assert "Condition" not in statement
    assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey*"]


def test_every_service_that_publishes_to_a_topic_may_use_the_topics_key(either: Synthesis) -> None:
    allowed = {
        service
        for statement in statements(either, "Logs").values()
        for service in _services(statement)
        if "kms:GenerateDataKey*" in statement["Action"]  # type: ignore[operator]
    }
    publishers = {
        service
        for policy in either.every("AWS::SNS::TopicPolicy")
        for statement in plain(policy["PolicyDocument"])["Statement"]
        if statement["Effect"] == "Allow"
        for service in _services(statement)
    }

    assert publishers
    assert publishers <= allowed


def test_fargate_may_encrypt_ephemeral_storage_of_clusters_of_this_account(prod: Synthesis) -> None:
    account = {"kms:EncryptionContext:aws:ecs:clusterAccount": ACCOUNT}
    keys, grants = statements(prod, "Storage")["FargateDataKeys"], statements(prod, "Storage")["FargateGrants"]

    assert keys["Principal"] == grants["Principal"] == {"Service": "fargate.amazonaws.com"}
    assert keys["Action"] == "kms:GenerateDataKeyWithoutPlaintext"
    assert keys["Condition"] == {"StringEquals": account}
    assert grants["Action"] == "kms:CreateGrant"
    assert grants["Condition"] == {
        "StringEquals": account,
        "ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt"]},
    }


@pytest.mark.parametrize("purpose", ["Database", "Secrets", "Backup"])
def test_services_that_act_for_their_caller_need_no_statement(prod: Synthesis, purpose: str) -> None:
    """RDS, DMS, Secrets Manager and AWS Backup use the key with the rights of who calls them."""
    assert set(statements(prod, purpose)) == {""}


def _services(statement: dict[str, object]) -> set[str]:
    principal = statement["Principal"]
    services = principal.get("Service", []) if isinstance(principal, dict) else []
    return {services} if isinstance(services, str) else set(services)
