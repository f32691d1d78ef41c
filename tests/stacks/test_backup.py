"""Recovery points of both databases."""

from __future__ import annotations

import pytest

from tests.support.synthesized import Synthesis, Variation, name_of, plain


def test_the_vault_has_its_own_key_and_survives_the_stack(prod: Synthesis) -> None:
    vault = prod.the("AWS::Backup::BackupVault")

    assert plain(vault["EncryptionKeyArn"]) == "<Security/Backup>.Arn"
    assert vault.deletion_policy == "Retain"


def test_nobody_may_delete_a_recovery_point_or_shorten_its_life(prod: Synthesis) -> None:
    [statement] = plain(prod.the("AWS::Backup::BackupVault")["AccessPolicy"])["Statement"]

    assert statement["Effect"] == "Deny"
    assert statement["Principal"] == {"AWS": "*"}
    assert set(statement["Action"]) == {"backup:DeleteRecoveryPoint", "backup:UpdateRecoveryPointLifecycle"}
    assert statement["Resource"] == "*"
    assert "Condition" not in statement


def rules(synthesis: Synthesis) -> dict[str, dict[str, object]]:
    plan = synthesis.the("AWS::Backup::BackupPlan")
    return {each["RuleName"]: each for each in plain(plan["BackupPlan"])["BackupPlanRule"]}


@pytest.mark.parametrize("name", ["daily", "continuous"])
def test_a_recovery_point_is_kept_for_seven_days(prod: Synthesis, name: str) -> None:
    rule = rules(prod)[name]

    assert rule["Lifecycle"] == {"DeleteAfterDays": 7}
    assert rule["TargetBackupVault"] == "<Backup/Vault>.BackupVaultName"
    assert rule["ScheduleExpression"] == "cron(0 3 * * ? *)"


def test_one_rule_takes_snapshots_and_the_other_goes_back_to_any_second(prod: Synthesis) -> None:
    assert rules(prod)["continuous"]["EnableContinuousBackup"] is True
    assert not rules(prod)["daily"].get("EnableContinuousBackup", False)


def test_the_plan_covers_both_databases_and_nothing_else(prod: Synthesis) -> None:
    selection = plain(prod.the("AWS::Backup::BackupSelection")["BackupSelection"])
    clusters = [plain(each["DBClusterIdentifier"]) for each in prod.every("AWS::RDS::DBCluster")]

    assert selection["Resources"] == [
        f"arn:aws:rds:us-east-1:111122223333:cluster:<Database/{color}/Database/Cluster>" for color in ("Blue", "Green")
    ]
    assert clusters == ["payments-prod-blue", "payments-prod-green"]


def test_aws_backup_works_with_a_role_of_its_own_for_this_account(prod: Synthesis) -> None:
    role = prod.the("AWS::IAM::Role", stack="Backup")

    assert plain(prod.the("AWS::Backup::BackupSelection")["BackupSelection"])["IamRoleArn"] == f"<{name_of(role)}>.Arn"
    [statement] = plain(role["AssumeRolePolicyDocument"])["Statement"]
    assert statement["Principal"] == {"Service": "backup.amazonaws.com"}
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "111122223333"}}


@pytest.mark.parametrize("event", ["BACKUP_JOB_FAILED", "RESTORE_JOB_FAILED", "BACKUP_JOB_COMPLETED"])
def test_somebody_is_told_of_jobs(prod: Synthesis, event: str) -> None:
    notifications = plain(prod.the("AWS::Backup::BackupVault")["Notifications"])

    assert notifications["SNSTopicArn"] == "<Backup/Events/Topic>"
    assert event in notifications["BackupVaultEvents"]


def test_the_vault_is_not_locked_by_default(prod: Synthesis) -> None:
    assert prod.the("AWS::Backup::BackupVault")["LockConfiguration"].missing


def test_the_vault_can_be_locked_so_that_administrators_can_undo_it(variation: Variation) -> None:
    synthesis = variation("locked", backup__vault_lock={})

    assert plain(synthesis.the("AWS::Backup::BackupVault")["LockConfiguration"]) == {
        "MinRetentionDays": 7,
        "MaxRetentionDays": 35,
    }


def test_the_vault_can_be_locked_for_everybody(variation: Variation) -> None:
    synthesis = variation("locked-for-all", backup__vault_lock={"changeable_for_days": 3})

    assert plain(synthesis.the("AWS::Backup::BackupVault")["LockConfiguration"]) == {
        "MinRetentionDays": 7,
        "MaxRetentionDays": 35,
        "ChangeableForDays": 3,
    }
