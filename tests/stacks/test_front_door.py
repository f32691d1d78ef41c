"""The load balancer, its firewall and the target groups."""

from __future__ import annotations

import pytest

from policy.templates import Resource
from tests.support.synthesized import Synthesis, Variation, name_of, plain

COLORS = ("Blue", "Green")
ACCOUNT = "111122223333"

# The group of AWS managed rules by name (AWS WAF developer guide, list of managed rule groups).
MANAGED = {
    "AWSManagedRulesAmazonIpReputationList",
    "AWSManagedRulesCommonRuleSet",
    "AWSManagedRulesKnownBadInputsRuleSet",
    "AWSManagedRulesSQLiRuleSet",
}


def attributes(resource: Resource, key: str) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in plain(resource[key])}


def balancer(synthesis: Synthesis) -> Resource:
    return synthesis.the("AWS::ElasticLoadBalancingV2::LoadBalancer")


def listener(synthesis: Synthesis, port: int) -> Resource:
    [found] = [each for each in synthesis.every("AWS::ElasticLoadBalancingV2::Listener") if each["Port"].value == port]
    return found


def target_group(synthesis: Synthesis, color: str) -> Resource:
    return synthesis.the("AWS::ElasticLoadBalancingV2::TargetGroup", f"FrontDoor/{color}")


def test_the_load_balancer_faces_the_internet_from_the_public_subnets(prod: Synthesis) -> None:
    assert balancer(prod)["Scheme"].value == "internet-facing"
    assert balancer(prod)["Type"].value == "application"
    assert plain(balancer(prod)["Subnets"]) == [f"<Network/Vpc/PublicSubnet{number}/Subnet>" for number in (1, 2, 3)]
    assert plain(balancer(prod)["SecurityGroups"]) == ["<Network/LoadBalancer>.GroupId"]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("deletion_protection.enabled", "true"),
        ("routing.http.drop_invalid_header_fields.enabled", "true"),
        ("routing.http.desync_mitigation_mode", "strictest"),
        ("access_logs.s3.enabled", "true"),
        ("access_logs.s3.bucket", "<FrontDoor/AccessLogs>"),
        # Longer than the payment service holds a request.
        ("idle_timeout.timeout_seconds", "60"),
    ],
)
def test_an_attribute_of_the_load_balancer(prod: Synthesis, attribute: str, value: str) -> None:
    assert attributes(balancer(prod), "LoadBalancerAttributes")[attribute] == value


def test_requests_are_not_let_through_when_the_firewall_does_not_answer(either: Synthesis) -> None:
    assert attributes(balancer(either), "LoadBalancerAttributes").get("waf.fail_open.enabled", "false") == "false"


def test_the_only_listener_by_default_is_https(prod: Synthesis) -> None:
    [found] = prod.every("AWS::ElasticLoadBalancingV2::Listener")

    assert (found["Port"].value, found["Protocol"].value) == (443, "HTTPS")


def test_tls_1_2_and_1_3_with_forward_secrecy_are_named_explicitly(prod: Synthesis) -> None:
    """Without a name CloudFormation takes ELBSecurityPolicy-2016-08, which has TLS 1.0."""
    assert listener(prod, 443)["SslPolicy"].value == "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"


def test_a_host_that_no_rule_names_is_answered_404(prod: Synthesis) -> None:
    [action] = plain(listener(prod, 443)["DefaultActions"])

    assert action["Type"] == "fixed-response"
    assert action["FixedResponseConfig"]["StatusCode"] == "404"
    # The others that ELBv2 takes; it refuses application/problem+json (FixedResponseActionConfig, API reference).
    assert action["FixedResponseConfig"]["ContentType"] in {
        "text/plain",
        "text/css",
        "text/html",
        "application/javascript",
        "application/json",
    }


def test_a_certificate_for_the_three_names_is_validated_over_dns(prod: Synthesis) -> None:
    certificate = prod.the("AWS::CertificateManager::Certificate")
    names = ["api.payments.example.com", "blue.payments.example.com", "green.payments.example.com"]

    assert [plain(certificate["DomainName"]), *plain(certificate["SubjectAlternativeNames"])] == names
    assert certificate["ValidationMethod"].value == "DNS"
    assert [each["DomainName"] for each in plain(certificate["DomainValidationOptions"])] == names
    assert {each["HostedZoneId"] for each in plain(certificate["DomainValidationOptions"])} == {"Z0123456789ABCDEFGHIJ"}
    assert plain(listener(prod, 443)["Certificates"]) == [{"CertificateArn": f"<{name_of(certificate)}>"}]


CERTIFICATE = "arn:aws:acm:us-east-1:111122223333:certificate/12345678-1234-1234-1234-123456789012"


def with_certificate_and_redirect(variation: Variation) -> Synthesis:
    return variation("front-door-options", front_door__certificate_arn=CERTIFICATE, front_door__http_redirect=True)


def test_a_given_certificate_is_used_and_none_is_made(variation: Variation) -> None:
    synthesis = with_certificate_and_redirect(variation)

    assert plain(listener(synthesis, 443)["Certificates"]) == [{"CertificateArn": CERTIFICATE}]
    assert synthesis.every("AWS::CertificateManager::Certificate") == []


def test_port_80_only_redirects_when_it_is_asked_for(variation: Variation) -> None:
    [action] = plain(listener(with_certificate_and_redirect(variation), 80)["DefaultActions"])

    assert action["Type"] == "redirect"
    assert action["RedirectConfig"] == {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}


def test_with_a_redirect_the_load_balancer_alone_admits_everybody_on_port_80(variation: Variation) -> None:
    synthesis = with_certificate_and_redirect(variation)
    open_ports = {
        (plain(rule["GroupId"]), rule["FromPort"].value)
        for rule in synthesis.every("AWS::EC2::SecurityGroupIngress")
        if plain(rule["CidrIp"]) == "0.0.0.0/0"
    }

    assert open_ports == {("<Network/LoadBalancer>.GroupId", 443), ("<Network/LoadBalancer>.GroupId", 80)}


# The firewall.


def rules(synthesis: Synthesis) -> dict[str, dict[str, object]]:
    return {each["Name"]: each for each in plain(synthesis.the("AWS::WAFv2::WebACL")["Rules"])}


def test_the_firewall_stands_before_the_load_balancer(prod: Synthesis) -> None:
    association = prod.the("AWS::WAFv2::WebACLAssociation")

    assert prod.the("AWS::WAFv2::WebACL")["Scope"].value == "REGIONAL"
    assert plain(association["ResourceArn"]) == "<FrontDoor/LoadBalancer>"
    assert plain(association["WebACLArn"]) == "<FrontDoor/Firewall/Acl>.Arn"


@pytest.mark.parametrize("group", sorted(MANAGED))
def test_the_managed_rules_block_and_do_not_only_count(prod: Synthesis, group: str) -> None:
    rule = rules(prod)[group]

    assert rule["Statement"] == {"ManagedRuleGroupStatement": {"VendorName": "AWS", "Name": group}}
    assert rule["OverrideAction"] == {"None": {}}


def test_an_address_that_sends_too_much_is_blocked(prod: Synthesis) -> None:
    rule = rules(prod)["RateLimit"]

    assert rule["Action"] == {"Block": {}}
    assert rule["Statement"] == {
        "RateBasedStatement": {"Limit": 50_000, "AggregateKeyType": "IP", "EvaluationWindowSec": 300}
    }


def test_the_firewall_logs_under_the_key_of_logs_and_without_credentials(prod: Synthesis) -> None:
    logging = prod.the("AWS::WAFv2::LoggingConfiguration")
    group = prod.the("AWS::Logs::LogGroup", "FrontDoor/Firewall")

    assert plain(logging["ResourceArn"]) == "<FrontDoor/Firewall/Acl>.Arn"
    assert plain(logging["LogDestinationConfigs"]) == [f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:<{name_of(group)}>"]
    assert str(plain(group["LogGroupName"])).startswith("aws-waf-logs-")
    assert plain(group["KmsKeyId"]) == "<Security/Logs>.Arn"
    assert [each["SingleHeader"]["Name"] for each in plain(logging["RedactedFields"])] == ["authorization", "cookie"]


# Access logs.


def test_the_bucket_of_access_logs_is_private_versioned_and_encrypted(prod: Synthesis) -> None:
    """The load balancer writes to buckets under S3's own key only (user guide, "Enable access logs")."""
    bucket = prod.the("AWS::S3::Bucket")

    assert set(plain(bucket["PublicAccessBlockConfiguration"]).values()) == {True}
    assert bucket["VersioningConfiguration.Status"].value == "Enabled"
    [encryption] = plain(bucket["BucketEncryption.ServerSideEncryptionConfiguration"])
    assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert bucket.deletion_policy == "Retain"


def test_access_logs_are_kept_as_long_as_other_logs(prod: Synthesis) -> None:
    [rule] = plain(prod.the("AWS::S3::Bucket")["LifecycleConfiguration.Rules"])

    assert rule["Status"] == "Enabled"
    assert rule["ExpirationInDays"] == prod.config.log_retention_days


def test_the_bucket_refuses_what_does_not_come_over_tls_1_2(prod: Synthesis) -> None:
    denied = [
        each["Condition"]
        for each in plain(prod.the("AWS::S3::BucketPolicy")["PolicyDocument"])["Statement"]
        if each["Effect"] == "Deny" and each["Principal"] == {"AWS": "*"} and each["Action"] == "s3:*"
    ]

    assert {"Bool": {"aws:SecureTransport": "false"}} in denied
    assert {"NumericLessThan": {"s3:TlsVersion": 1.2}} in denied


def test_only_the_load_balancers_of_the_region_may_write_and_only_their_own_prefix(prod: Synthesis) -> None:
    statements = plain(prod.the("AWS::S3::BucketPolicy")["PolicyDocument"])["Statement"]
    writers = {
        (str(each["Principal"]), each["Resource"])
        for each in statements
        if each["Effect"] == "Allow" and each["Action"] == "s3:PutObject"
    }

    prefix = f"<FrontDoor/AccessLogs>.Arn/AWSLogs/{ACCOUNT}/*"
    # 127311923021 is Elastic Load Balancing in us-east-1.
    assert writers == {
        ("{'AWS': 'arn:aws:iam::127311923021:root'}", prefix),
        ("{'Service': 'delivery.logs.amazonaws.com'}", prefix),
    }


# Target groups and previews.


@pytest.mark.parametrize("color", COLORS)
def test_containers_are_reached_over_https(prod: Synthesis, color: str) -> None:
    group = target_group(prod, color)

    assert (group["Protocol"].value, group["Port"].value, group["TargetType"].value) == ("HTTPS", 8443, "ip")


@pytest.mark.parametrize("color", COLORS)
def test_a_dead_container_is_out_after_fifteen_seconds(prod: Synthesis, color: str) -> None:
    group = target_group(prod, color)

    assert group["HealthCheckProtocol"].value == "HTTPS"
    assert group["HealthCheckPath"].value == "/health/ready"
    assert plain(group["Matcher"]) == {"HttpCode": "200"}
    assert int(plain(group["HealthCheckIntervalSeconds"])) * int(plain(group["UnhealthyThresholdCount"])) == 15


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("stickiness.enabled", "false"),
        ("slow_start.duration_seconds", "30"),
        # Not shorter than a request is held, or it would be cut off.
        ("deregistration_delay.timeout_seconds", "60"),
        # An idle environment without healthy targets must not take the load balancer out of DNS.
        ("target_group_health.dns_failover.minimum_healthy_targets.count", "off"),
        ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"),
    ],
)
def test_an_attribute_of_a_target_group(prod: Synthesis, color: str, attribute: str, value: str) -> None:
    assert attributes(target_group(prod, color), "TargetGroupAttributes")[attribute] == value


@pytest.mark.parametrize("color", COLORS)
def test_slow_start_goes_with_the_algorithm(prod: Synthesis, color: str) -> None:
    """Slow start works with round robin only, which is the default."""
    assert "load_balancing.algorithm.type" not in attributes(target_group(prod, color), "TargetGroupAttributes")


def preview(synthesis: Synthesis, color: str) -> Resource:
    return synthesis.the("AWS::ElasticLoadBalancingV2::ListenerRule", f"FrontDoor/{color}Preview")


@pytest.mark.parametrize("color", COLORS)
def test_a_preview_leads_to_its_environment_always(prod: Synthesis, color: str) -> None:
    [action] = plain(preview(prod, color)["Actions"])

    assert action == {"Type": "forward", "TargetGroupArn": f"<FrontDoor/{color}Targets>"}


@pytest.mark.parametrize("color", COLORS)
def test_a_preview_admits_configured_networks_only(prod: Synthesis, color: str) -> None:
    assert plain(preview(prod, color)["Conditions"]) == [
        {"Field": "host-header", "HostHeaderConfig": {"Values": [f"{color.lower()}.payments.example.com"]}},
        {"Field": "source-ip", "SourceIpConfig": {"Values": ["203.0.113.0/24"]}},
    ]


@pytest.mark.parametrize("color", COLORS)
def test_a_preview_comes_before_the_weighted_rule(prod: Synthesis, color: str) -> None:
    weighted = prod.the("AWS::ElasticLoadBalancingV2::ListenerRule", "Routing/")

    assert int(plain(preview(prod, color)["Priority"])) < int(plain(weighted["Priority"]))
