"""`python -m policy` on folders that are not ours, and on bad input."""

import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from policy.__main__ import CLEAN, FINDINGS, UNREADABLE, main

PROJECT = Path(__file__).resolve().parents[2]
SARIF_SCHEMA = Path(__file__).parent / "fixtures" / "sarif-schema-2.1.0.json"

LEGACY_SHOP = {
    "AWSTemplateFormatVersion": "2010-09-09",
    "Description": "A shop written by hand, years ago",
    "Parameters": {
        "DatabasePassword": {"Type": "String", "NoEcho": True},
        "Environment": {"Type": "String", "Default": "prod"},
    },
    "Conditions": {"IsProduction": {"Fn::Equals": [{"Ref": "Environment"}, "prod"]}},
    "Resources": {
        "Web": {
            "Type": "AWS::EC2::SecurityGroup",
            "Properties": {
                "GroupDescription": "Web servers of the shop",
                "SecurityGroupIngress": [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"}],
            },
        },
        "Database": {
            "Type": "AWS::RDS::DBInstance",
            "Condition": "IsProduction",
            "Properties": {
                "Engine": "mysql",
                "MasterUserPassword": {"Ref": "DatabasePassword"},
                "StorageEncrypted": False,
                "PubliclyAccessible": True,
            },
        },
        "Uploads": {"Type": "AWS::S3::Bucket", "Properties": {"AccessControl": "PublicRead"}},
    },
}
CLEAN_TEMPLATE = {"Resources": {"Record": {"Type": "AWS::Route53::RecordSet", "Properties": {"Name": "shop.example"}}}}


def folder_with(folder: Path, **files: Any) -> Path:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return folder_with(tmp_path, shop=LEGACY_SHOP)


def findings(capsys: pytest.CaptureFixture[str]) -> set[tuple[str, str]]:
    return {(f["id"], f["logicalId"]) for f in json.loads(capsys.readouterr().out)["findings"]}


def test_an_app_that_is_not_ours_is_checked(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(shop), "--format", "json"]) == FINDINGS

    assert {
        ("PCI401::InboundNotOpen[0.0.0.0/0:22]", "Web"),
        ("PCI401::AdministrationPortsClosed", "Web"),
        ("PCI401::OutboundRestricted", "Web"),
        ("PCI401::DatabaseStorageEncrypted", "Database"),
        ("PCI401::DatabaseNotPublic", "Database"),
        ("PCI401::DatabasePasswordFromSecret", "Database"),
        ("PCI401::DatabaseRequiresTls", "Database"),
        ("PCI401::BucketBlocksPublicAccess", "Uploads"),
        ("PCI401::BucketOwnerEnforced", "Uploads"),
        ("PCI401::StoreSurvivesStack", "Uploads"),
    } <= findings(capsys)


def test_templates_without_findings_give_status_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder_with(tmp_path, clean=CLEAN_TEMPLATE))]) == CLEAN

    assert capsys.readouterr().out.startswith("0 findings, 0 acknowledged, 0 undecided:")


def test_the_text_says_where_what_and_how_to_mend(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(shop), "--rules", "DatabaseNotPublic"])

    text = capsys.readouterr().out
    assert "PCI401::DatabaseNotPublic at shop/Database" in text
    assert "Properties.PubliclyAccessible: true; allowed: false." in text
    assert "Set PubliclyAccessible to false" in text
    assert "PCI DSS 4.0.1: 1.4.4" in text


def test_only_the_chosen_rules_are_applied(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(shop), "--format", "json", "--rules", "DatabaseNotPublic, PCI401::BucketVersioned"])

    assert findings(capsys) == {
        ("PCI401::DatabaseNotPublic", "Database"),
        ("PCI401::BucketVersioned", "Uploads"),
    }


def sarif(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    main([str(folder), "--format", "sarif", *arguments])
    log: dict[str, Any] = json.loads(capsys.readouterr().out)
    return log


def test_sarif_follows_its_schema(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = json.loads(SARIF_SCHEMA.read_text())

    jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker()).validate(sarif(shop, capsys))


def test_sarif_points_at_the_line_of_the_resource(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = json.dumps(LEGACY_SHOP, indent=2)
    folder_with(tmp_path, shop=text)

    (result,) = sarif(tmp_path, capsys, "--rules", "BucketVersioned")["runs"][0]["results"]

    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "shop.json"
    assert '"Uploads": {' in text.splitlines()[place["region"]["startLine"] - 1]


def acknowledged(expires: str) -> dict[str, Any]:
    record = {
        "id": "PCI401::BucketVersioned",
        "reason": "The bucket holds files that can be made again.",
        "owner": "platform-security",
        "expires": expires,
        "at": "shop/Uploads",
    }
    bucket = {"Type": "AWS::S3::Bucket", "Metadata": {"PCI401": {"acknowledged": [record]}}}
    return {"Resources": {"Uploads": bucket}}


def test_sarif_shows_an_acknowledged_finding_as_suppressed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder_with(tmp_path, shop=acknowledged("2027-11-30"))

    (result,) = sarif(tmp_path, capsys, "--rules", "BucketVersioned", "--date", "2027-11-30")["runs"][0]["results"]

    assert result["suppressions"] == [
        {
            "kind": "external",
            "status": "accepted",
            "justification": "The bucket holds files that can be made again. (platform-security, until 2027-11-30)",
        }
    ]


def test_an_acknowledgement_holds_on_its_last_day(tmp_path: Path) -> None:
    folder_with(tmp_path, shop=acknowledged("2027-11-30"))

    assert main([str(tmp_path), "--rules", "BucketVersioned", "--date", "2027-11-30"]) == CLEAN


def test_an_acknowledgement_that_has_expired_is_a_finding_beside_the_one_it_was_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_with(tmp_path, shop=acknowledged("2027-11-30"))
    rules = "BucketVersioned,AcknowledgementCurrent"

    assert main([str(tmp_path), "--format", "json", "--rules", rules, "--date", "2027-12-01"]) == FINDINGS

    assert findings(capsys) == {
        ("PCI401::BucketVersioned", "Uploads"),
        ("PCI401::AcknowledgementCurrent[PCI401::BucketVersioned]", "Uploads"),
    }


def test_without_a_date_acknowledgements_must_hold_today(tmp_path: Path) -> None:
    yesterday = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=1)
    folder_with(tmp_path, shop=acknowledged(yesterday.isoformat()))

    assert main([str(tmp_path), "--rules", "AcknowledgementCurrent"]) == FINDINGS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "policy: nowhere: no such file or folder"),
        (["--rules", "NoSuchRule"], "policy: unknown rule 'NoSuchRule'; --list-rules shows"),
        (["--explain", "NoSuchRule"], "policy: unknown rule 'NoSuchRule'"),
        (["--format", "xml"], "policy: argument --format: invalid choice: 'xml'"),
        (["--date", "tomorrow"], "policy: argument --date: 'tomorrow' is no date; write YYYY-MM-DD"),
        (["--no-such-option"], "policy: unrecognized arguments: --no-such-option"),
    ],
)
def test_bad_input_gets_one_line_and_status_two(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(arguments)
    except SystemExit as exit_:
        status = int(str(exit_.code))

    error = capsys.readouterr().err
    assert status == UNREADABLE
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_a_folder_of_broken_json_gets_one_line_and_status_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_with(tmp_path, broken='{"Resources": {')

    assert main([str(tmp_path)]) == UNREADABLE
    assert "broken.json: not JSON" in capsys.readouterr().err


def test_the_command_runs_without_the_cdk(shop: Path) -> None:
    script = (
        "import sys; sys.modules['aws_cdk'] = None; sys.modules['jsii'] = None; "
        f"from policy.__main__ import main; sys.exit(main([{str(shop)!r}]))"
    )

    run = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True)

    assert run.returncode == FINDINGS, run.stderr
    assert "PCI401::DatabaseNotPublic" in run.stdout


def test_the_module_is_a_command(shop: Path) -> None:
    run = subprocess.run([sys.executable, "-m", "policy", str(shop)], cwd=PROJECT, capture_output=True, text=True)

    assert run.returncode == FINDINGS, run.stderr


def test_the_rules_are_listed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-rules"]) == CLEAN
    assert "KeyRotated" in capsys.readouterr().out
    assert main(["--explain", "KeyRotated"]) == CLEAN
    explanation = capsys.readouterr().out
    assert "Does not comply:" in explanation
    assert '"EnableKeyRotation": false' in explanation
