"""cdk-nag's packs, read from the validation report of the CDK."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.synthesized import STACKS, Synthesis

PACKS = ("AwsSolutions", "PCI.DSS.321")


def pack(synthesis: Synthesis, name: str) -> dict[str, Any]:
    [found] = [each for each in synthesis.report["pluginReports"] if each["pluginName"] == name]
    assert isinstance(found, dict)
    return found


def acknowledged(synthesis: Synthesis) -> list[dict[str, Any]]:
    return [each for name in PACKS for each in pack(synthesis, name)["suppressedViolations"]]


@pytest.mark.parametrize("name", PACKS)
def test_the_pack_ran_and_left_no_finding_open(either: Synthesis, name: str) -> None:
    report = pack(either, name)

    assert report["violations"] == []
    assert report["conclusion"] == "success"
    # A pack that looked at nothing would have nothing acknowledged either.
    assert report["suppressedViolations"]


def test_no_other_check_of_the_cdk_has_a_finding(either: Synthesis) -> None:
    findings = [
        (report["pluginName"], each["ruleName"], [at["constructPath"] for at in each["violatingConstructs"]])
        for report in either.report["pluginReports"]
        for each in report["violations"]
    ]

    assert findings == []


def test_every_acknowledgement_says_why_who_and_until_when(either: Synthesis) -> None:
    for each in acknowledged(either):
        reason, _, owner = each["reason"].rpartition(" (")
        assert len(reason.split()) >= 8, each["reason"]
        assert reason.endswith("."), each["reason"]
        assert re.fullmatch(r"[a-z-]+, until 20\d\d-\d\d-\d\d\)", owner), each["reason"]


def test_nothing_is_acknowledged_for_a_whole_stack(either: Synthesis) -> None:
    wholes = {f"payments-{either.config.name}", *(f"payments-{either.config.name}/{name}" for name in STACKS)}

    assert [each["acknowledgedAt"] for each in acknowledged(either) if each["acknowledgedAt"] in wholes] == []


def test_an_acknowledgement_stands_on_what_it_is_about_or_on_the_construct_around_it(either: Synthesis) -> None:
    for each in acknowledged(either):
        for construct in each["violatingConstructs"]:
            assert construct["constructPath"].startswith(each["acknowledgedAt"]), each["ruleName"]


# What an auditor reads: the rules that are not kept, and where. A new one is a decision, made here.
ACCEPTED = {
    ("AwsSolutions-EC23", "Network/LoadBalancer"),
    ("AwsSolutions-IAM4", "Backup/Role"),
    ("AwsSolutions-IAM4", "Database/Blue/Database/Monitoring"),
    ("AwsSolutions-IAM4", "Database/Green/Database/Monitoring"),
    ("AwsSolutions-RDS14", "Database/Blue/Database/Cluster"),
    ("AwsSolutions-RDS14", "Database/Green/Database/Cluster"),
    ("AwsSolutions-S1", "FrontDoor/AccessLogs"),
    ("PCI.DSS.321-S3BucketLoggingEnabled", "FrontDoor/AccessLogs"),
    ("PCI.DSS.321-S3BucketReplicationEnabled", "FrontDoor/AccessLogs"),
    ("PCI.DSS.321-S3DefaultEncryptionKMS", "FrontDoor/AccessLogs"),
    ("PCI.DSS.321-VPCDefaultSecurityGroupClosed", "Network/Vpc/Resource"),
    *(("PCI.DSS.321-VPCNoUnrestrictedRouteToIGW", f"Network/Vpc/PublicSubnet{n}/DefaultRoute") for n in (1, 2, 3)),
}


def test_exactly_these_rules_are_not_kept(prod: Synthesis) -> None:
    """Wildcards in policies (IAM5) are looked at by test_permissions, role by role."""
    found = {
        (re.sub(r"\[.*", "", each["ruleName"]), each["acknowledgedAt"].partition("/")[2])
        for each in acknowledged(prod)
        if "/Cutover/" not in each["acknowledgedAt"]
    }

    assert {each for each in found if each[0] != "AwsSolutions-IAM5"} == ACCEPTED
