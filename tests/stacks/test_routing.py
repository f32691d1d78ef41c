"""The levers of the cutover."""

from __future__ import annotations

from collections import Counter

import pytest

from policy.templates import Resource
from tests.support.synthesized import Synthesis, plain

DNS_NAME = "<FrontDoor/LoadBalancer>.DNSName"
ZONE = "<FrontDoor/LoadBalancer>.CanonicalHostedZoneID"


def record(synthesis: Synthesis, name: str) -> Resource:
    return synthesis.the("AWS::Route53::RecordSet", f"Routing/{name}Record")


def test_nothing_stands_here_but_the_rule_the_records_and_their_health_checks(either: Synthesis) -> None:
    kinds = Counter(each.type for each in either.stacks["Routing"].resources.values())

    assert set(kinds) == {
        "AWS::ElasticLoadBalancingV2::ListenerRule",
        "AWS::Route53::RecordSet",
        "AWS::Route53::HealthCheck",
    }
    assert kinds["AWS::ElasticLoadBalancingV2::ListenerRule"] == 1
    assert kinds["AWS::Route53::RecordSet"] == 4


def test_blue_has_everything_and_green_nothing_at_creation(prod: Synthesis) -> None:
    [action] = plain(prod.the("AWS::ElasticLoadBalancingV2::ListenerRule", "Routing/")["Actions"])

    assert action["Type"] == "forward"
    assert action["ForwardConfig"]["TargetGroups"] == [
        {"TargetGroupArn": "<FrontDoor/BlueTargets>", "Weight": 100},
        {"TargetGroupArn": "<FrontDoor/GreenTargets>", "Weight": 0},
    ]


def test_no_client_sticks_to_an_environment(prod: Synthesis) -> None:
    [action] = plain(prod.the("AWS::ElasticLoadBalancingV2::ListenerRule", "Routing/")["Actions"])

    assert action["ForwardConfig"]["TargetGroupStickinessConfig"] == {"Enabled": False}


def test_the_rule_serves_clients_and_the_health_check_of_route_53(prod: Synthesis) -> None:
    rule = prod.the("AWS::ElasticLoadBalancingV2::ListenerRule", "Routing/")

    assert plain(rule["Conditions"]) == [
        {"Field": "host-header", "HostHeaderConfig": {"Values": ["api.payments.example.com", DNS_NAME]}}
    ]
    assert plain(rule["ListenerArn"]) == "<FrontDoor/LoadBalancer/Https>"


def test_the_weighted_records_share_a_name_and_lead_to_different_places(prod: Synthesis) -> None:
    legacy, aws = record(prod, "Legacy"), record(prod, "Aws")

    assert plain(legacy["Name"]) == plain(aws["Name"]) == "api.payments.example.com."
    assert plain(legacy["ResourceRecords"]) == ["198.51.100.10", "198.51.100.11"]
    assert plain(aws["AliasTarget"])["DNSName"] == DNS_NAME


@pytest.mark.parametrize(("name", "identifier", "weight"), [("Legacy", "legacy", 100), ("Aws", "aws", 0)])
def test_everything_goes_to_the_legacy_system_at_creation(
    prod: Synthesis, name: str, identifier: str, weight: int
) -> None:
    found = record(prod, name)

    assert (found["SetIdentifier"].value, found["Weight"].value) == (identifier, weight)
    assert found["Type"].value == "A"


def test_a_shift_of_dns_arrives_within_a_minute(prod: Synthesis) -> None:
    assert plain(record(prod, "Legacy")["TTL"]) == "60"


@pytest.mark.parametrize("name", ["Aws", "Blue", "Green"])
def test_an_alias_leads_to_the_load_balancer_without_evaluating_idle_targets(prod: Synthesis, name: str) -> None:
    """An alias whose load balancer has a target group without healthy targets would count as failed as a whole."""
    assert plain(record(prod, name)["AliasTarget"]) == {
        "DNSName": DNS_NAME,
        "HostedZoneId": ZONE,
        "EvaluateTargetHealth": False,
    }


@pytest.mark.parametrize("name", ["Blue", "Green"])
def test_an_environment_has_a_name_of_its_own_without_a_weight(prod: Synthesis, name: str) -> None:
    found = record(prod, name)

    assert plain(found["Name"]) == f"{name.lower()}.payments.example.com."
    assert found["Weight"].missing
    assert found["SetIdentifier"].missing


def health(synthesis: Synthesis, name: str) -> dict[str, object]:
    found: dict[str, object] = plain(synthesis.the("AWS::Route53::HealthCheck", f"Routing/{name}")["HealthCheckConfig"])
    return found


def test_aws_is_healthy_when_the_live_weights_lead_to_a_container_that_answers(prod: Synthesis) -> None:
    assert plain(record(prod, "Aws")["HealthCheckId"]) == "<Routing/AwsHealth>.HealthCheckId"
    assert health(prod, "AwsHealth") == {
        "Type": "HTTPS",
        "FullyQualifiedDomainName": DNS_NAME,
        "Port": 443,
        "ResourcePath": "/health/ready",
        "EnableSNI": True,
        "RequestInterval": 10,
        "FailureThreshold": 3,
    }


def test_legacy_is_healthy_when_one_of_its_addresses_answers(prod: Synthesis) -> None:
    calculated = prod.every("AWS::Route53::HealthCheck")
    [parent] = [each for each in calculated if each["HealthCheckConfig.Type"].value == "CALCULATED"]

    assert plain(record(prod, "Legacy")["HealthCheckId"]) == "<Routing/LegacyHealth>.HealthCheckId"
    assert plain(parent["HealthCheckConfig"]) == {
        "Type": "CALCULATED",
        "HealthThreshold": 1,
        "ChildHealthChecks": [f"<Routing/LegacyHealth{number}>.HealthCheckId" for number in (1, 2)],
    }


def test_a_legacy_address_is_asked_under_the_name_that_clients_use(prod: Synthesis) -> None:
    assert health(prod, "LegacyHealth1") == {
        "Type": "HTTPS",
        "IPAddress": "198.51.100.10",
        "FullyQualifiedDomainName": "api.payments.example.com",
        "Port": 443,
        "ResourcePath": "/health",
        "EnableSNI": True,
        "RequestInterval": 10,
        "FailureThreshold": 3,
    }


def test_a_single_legacy_address_needs_no_calculated_check(staging: Synthesis) -> None:
    assert plain(record(staging, "Legacy")["HealthCheckId"]) == "<Routing/LegacyHealth1>.HealthCheckId"
