"""The pack inside a synthesis: relations across nested stacks, acknowledgements, and what the CDK reports."""

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesis as kinesis
from aws_cdk import aws_kms as kms
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from constructs import Construct

from policy.acknowledgement import RENEWAL, acknowledge
from policy.engine import METADATA_KEY
from policy.plugin import PciDss401Checks

REASON = "The stream carries prices that are public anyway."
TODAY = datetime.date(2026, 11, 24)

Build = Callable[[cdk.Stack], object]


def synthesize(folder: Path, build: Build, *, today: datetime.date = TODAY) -> dict[str, Any]:
    """The pack's part of the validation report of an app that `build` filled."""
    context = {
        "aws:cdk:enable-path-metadata": True,
        "aws:cdk:enable-asset-metadata": True,
        "@aws-cdk/core:failSynthOnValidationErrors": False,
    }
    app = cdk.App(context=context, outdir=str(folder))
    build(cdk.Stack(app, "Root"))
    cdk.Validations.of(app).add_plugins(PciDss401Checks(today=lambda: today))
    app.synth()
    report = json.loads((folder / "validation-report.json").read_text())
    return next(part for part in report["pluginReports"] if part["pluginName"] == "PCI401")


def found(report: dict[str, Any], kind: str = "violations") -> set[tuple[str, str]]:
    return {
        (violation["ruleName"], construct["constructPath"])
        for violation in report.get(kind) or []
        for construct in violation["violatingConstructs"]
    }


def stream(scope: Construct) -> kinesis.CfnStream:
    return kinesis.CfnStream(scope, "Prices", shard_count=1)


def test_a_finding_names_the_construct_in_its_nested_stack(tmp_path: Path) -> None:
    report = synthesize(tmp_path, lambda root: stream(cdk.NestedStack(root, "Nested")))

    assert report["conclusion"] == "failure"
    assert ("StreamEncrypted", "Root/Nested/Prices") in found(report)


def test_the_report_says_what_was_seen_what_is_allowed_and_how_to_mend(tmp_path: Path) -> None:
    report = synthesize(tmp_path, stream)

    (violation,) = [v for v in report["violations"] if v["ruleName"] == "StreamEncrypted"]
    assert "not set; allowed: KMS." in violation["description"]
    assert "PCI DSS 4.0.1: 3.5.1." in violation["description"]
    assert violation["suggestedFix"].startswith("Set StreamEncryption")
    assert violation["severity"] == "error"


def rotated_elsewhere(root: cdk.Stack) -> None:
    secret = secretsmanager.CfnSecret(cdk.NestedStack(root, "Secrets"), "Secret")
    secretsmanager.CfnRotationSchedule(
        cdk.NestedStack(root, "Rotation"),
        "Schedule",
        secret_id=secret.ref,
        rotation_rules={"automaticallyAfterDays": 30},
    )


def test_a_secret_whose_rotation_is_in_another_nested_stack_is_rotated(tmp_path: Path) -> None:
    report = synthesize(tmp_path, rotated_elsewhere)

    rules = {rule for rule, _ in found(report)}
    assert "SecretCustomerManagedKey" in rules
    assert "SecretRotated" not in rules


def silenced(root: cdk.Stack) -> None:
    key = kms.Key(cdk.NestedStack(root, "Keys"), "Key")
    topic = sns.Topic(cdk.NestedStack(root, "Topics"), "Topic", master_key=kms.Key.from_key_arn(root, "K", key.key_arn))
    alarms = cdk.NestedStack(root, "Alarms")
    cloudwatch.CfnAlarm(
        alarms,
        "Alarm",
        comparison_operator="GreaterThanThreshold",
        evaluation_periods=1,
        alarm_actions=[topic.topic_arn],
    )


def test_an_alarm_that_a_key_two_stacks_away_would_silence_is_found(tmp_path: Path) -> None:
    report = synthesize(tmp_path, silenced)

    assert ("TopicKeyAdmitsPublishers[cloudwatch.amazonaws.com]", "Root/Topics/Topic/Resource") in found(report)


def accepted(root: cdk.Stack) -> None:
    nested = cdk.NestedStack(root, "Nested", notification_arns=["arn:aws:sns:us-east-1:111122223333:deployments"])
    scope = Construct(nested, "Market")
    acknowledge(scope, "PCI401::StreamEncrypted", reason=REASON)
    stream(scope)


def test_an_acknowledged_finding_stays_in_the_report_with_its_reason(tmp_path: Path) -> None:
    report = synthesize(tmp_path, accepted)

    assert report["conclusion"] == "success"
    (suppressed,) = report["suppressedViolations"]
    assert suppressed["ruleName"] == "StreamEncrypted"
    assert suppressed["reason"] == f"{REASON} (platform-security, until {RENEWAL.isoformat()})"


def test_an_acknowledgement_on_a_construct_holds_for_what_is_added_later(tmp_path: Path) -> None:
    report = synthesize(tmp_path, accepted)

    assert found(report, "suppressedViolations") == {("StreamEncrypted", "Root/Nested/Market/Prices")}


def test_an_expired_acknowledgement_fails_the_synthesis(tmp_path: Path) -> None:
    report = synthesize(tmp_path, accepted, today=RENEWAL + datetime.timedelta(days=1))

    assert report["conclusion"] == "failure"
    assert found(report) == {("AcknowledgementCurrent[PCI401::StreamEncrypted]", "Root/Nested/Market/Prices")}


def accepted_for_another_pack(root: cdk.Stack) -> None:
    role = iam.CfnRole(root, "Role", assume_role_policy_document={"Statement": []}, tags=[])
    acknowledge(
        role,
        "AwsSolutions::AwsSolutions-IAM5[Resource::*]",
        reason="The action knows no resources, so a star is all one can write.",
        expires=datetime.date(2026, 1, 31),
    )


def test_an_expired_acknowledgement_of_another_pack_is_found_too(tmp_path: Path) -> None:
    report = synthesize(tmp_path, accepted_for_another_pack)

    rules = {rule for rule, _ in found(report)}
    assert "AcknowledgementCurrent[AwsSolutions::AwsSolutions-IAM5<Resource::*>]" in rules


def accepted_needlessly(root: cdk.Stack) -> None:
    acknowledge(stream(root), "PCI401::StreamEncrypted", "PCI401::BucketVersioned", reason=REASON)


def test_an_acknowledgement_that_nothing_needs_is_found(tmp_path: Path) -> None:
    report = synthesize(tmp_path, accepted_needlessly)

    assert found(report) == {("AcknowledgementNeeded[PCI401::BucketVersioned]", "Root/Prices")}


def metadata_of_stream(folder: Path) -> list[dict[str, str]]:
    template = json.loads((folder / "Root.template.json").read_text())
    records: list[dict[str, str]] = template["Resources"]["Prices"]["Metadata"][METADATA_KEY]["acknowledged"]
    return records


def test_an_acknowledgement_lies_beside_the_resource_with_reason_owner_and_end(tmp_path: Path) -> None:
    def build(root: cdk.Stack) -> None:
        expires = datetime.date(2027, 3, 1)
        acknowledge(stream(root), "PCI401::StreamEncrypted", reason=REASON, owner="market-data", expires=expires)

    synthesize(tmp_path, build)

    assert metadata_of_stream(tmp_path) == [
        {
            "id": "PCI401::StreamEncrypted",
            "reason": REASON,
            "owner": "market-data",
            "expires": "2027-03-01",
            "at": "Root/Prices",
        }
    ]


def test_acknowledgements_of_one_resource_add_up(tmp_path: Path) -> None:
    def build(root: cdk.Stack) -> None:
        resource = stream(root)
        acknowledge(resource, "PCI401::StreamEncrypted", reason=REASON)
        acknowledge(resource, "AwsSolutions::AwsSolutions-KDS3", reason=REASON)

    synthesize(tmp_path, build)

    assert [entry["id"] for entry in metadata_of_stream(tmp_path)] == [
        "AwsSolutions::AwsSolutions-KDS3",
        "PCI401::StreamEncrypted",
    ]


def test_the_date_changes_findings_and_never_templates(tmp_path: Path) -> None:
    for name, today in (("early", TODAY), ("late", RENEWAL + datetime.timedelta(days=400))):
        synthesize(tmp_path / name, accepted, today=today)

    templates = [
        {file.name: file.read_bytes() for file in (tmp_path / name).glob("*.template.json")}
        for name in ("early", "late")
    ]
    assert templates[0] == templates[1]


@pytest.mark.parametrize(
    ("rule_ids", "reason", "owner", "message"),
    [
        (("StreamEncrypted",), REASON, "a", "rule id 'StreamEncrypted' is not qualified"),
        (("PCI401::StreamEncrypted[",), REASON, "a", "is not qualified"),
        ((), REASON, "a", "name at least one rule"),
        (("PCI401::StreamEncrypted",), "ok", "a", "reason 'ok' says too little"),
        (("PCI401::StreamEncrypted",), "falsepositivefalsepositive", "a", "says too little"),
        (("PCI401::StreamEncrypted",), REASON, " ", "owner must name who answers"),
    ],
)
def test_an_acknowledgement_that_says_nothing_is_refused(
    rule_ids: tuple[str, ...], reason: str, owner: str, message: str
) -> None:
    resource = stream(cdk.Stack(cdk.App(), "Root"))

    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        acknowledge(resource, *rule_ids, reason=reason, owner=owner)


def test_nothing_is_acknowledged_for_a_whole_stack_or_app() -> None:
    app = cdk.App()
    root = cdk.Stack(app, "Root")

    for scope in (app, root, cdk.NestedStack(root, "Nested")):
        with pytest.raises(ValueError, match="not on a whole stack or app"):
            acknowledge(scope, "PCI401::StreamEncrypted", reason=REASON)
