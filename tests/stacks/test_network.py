"""The VPC, who may talk to whom in it, and the ways out."""

from __future__ import annotations

import ipaddress
import json

import pytest

from policy.templates import Resource
from tests.support.synthesized import Synthesis, name_of, plain

ZONES = ["us-east-1a", "us-east-1b", "us-east-1c"]
TIERS = ("Public", "Compute", "Database")

# What anything in the VPC calls (issue: interface endpoints with private DNS).
SERVICES = {
    "com.amazonaws.us-east-1.backup",
    "com.amazonaws.us-east-1.dms",
    "com.amazonaws.us-east-1.ec2",
    "com.amazonaws.us-east-1.ecr.api",
    "com.amazonaws.us-east-1.ecr.dkr",
    "com.amazonaws.us-east-1.ecs",
    "com.amazonaws.us-east-1.elasticloadbalancing",
    "com.amazonaws.us-east-1.events",
    "com.amazonaws.us-east-1.kms",
    "com.amazonaws.us-east-1.lambda",
    "com.amazonaws.us-east-1.logs",
    "com.amazonaws.us-east-1.monitoring",
    "com.amazonaws.us-east-1.rds",
    "com.amazonaws.us-east-1.secretsmanager",
    "com.amazonaws.us-east-1.sns",
    "com.amazonaws.us-east-1.ssm",
    "com.amazonaws.us-east-1.states",
    "com.amazonaws.us-east-1.sts",
    "com.amazonaws.us-east-1.xray",
    # The global service: its name has no region, and it is offered in us-east-1.
    "com.amazonaws.route53",
}


def subnets(synthesis: Synthesis, tier: str) -> list[Resource]:
    return [each for each in synthesis.every("AWS::EC2::Subnet") if f"Vpc/{tier}Subnet" in name_of(each)]


def routes(synthesis: Synthesis, tier: str) -> dict[str, list[tuple[str, str]]]:
    """Destination and target of every route by the subnet that follows it."""
    found: dict[str, list[tuple[str, str]]] = {name_of(each): [] for each in subnets(synthesis, tier)}
    tables = {
        plain(each["RouteTableId"]): plain(each["SubnetId"])[1:-1].removesuffix("/Subnet")
        for each in synthesis.every("AWS::EC2::SubnetRouteTableAssociation")
    }
    for route in synthesis.every("AWS::EC2::Route"):
        subnet = f"{tables[plain(route['RouteTableId'])]}/Subnet"
        if subnet in found:
            target = next(
                plain(route[key]) for key in ("GatewayId", "NatGatewayId", "TransitGatewayId") if not route[key].missing
            )
            found[subnet].append((plain(route["DestinationCidrBlock"]), target))
    return found


@pytest.mark.parametrize("tier", TIERS)
def test_each_tier_has_a_subnet_in_each_of_the_three_zones(prod: Synthesis, tier: str) -> None:
    assert [plain(subnet["AvailabilityZone"]) for subnet in subnets(prod, tier)] == ZONES


def test_the_subnets_lie_in_the_vpc_and_do_not_overlap(either: Synthesis) -> None:
    vpc = ipaddress.ip_network(plain(either.the("AWS::EC2::VPC")["CidrBlock"]))
    blocks = [ipaddress.ip_network(plain(each["CidrBlock"])) for each in either.every("AWS::EC2::Subnet")]

    assert len(blocks) == 9
    assert str(vpc) == either.config.network.cidr
    assert all(block.subnet_of(vpc) for block in blocks)  # type: ignore[arg-type]
    assert not [(a, b) for a in blocks for b in blocks if a is not b and a.overlaps(b)]


def test_no_subnet_gives_public_addresses_by_itself(either: Synthesis) -> None:
    assert [each for each in either.every("AWS::EC2::Subnet") if each["MapPublicIpOnLaunch"].value is not False] == []


def test_names_resolve_inside_the_vpc(prod: Synthesis) -> None:
    vpc = prod.the("AWS::EC2::VPC")

    assert vpc["EnableDnsHostnames"].value is True
    assert vpc["EnableDnsSupport"].value is True


def test_only_public_subnets_lead_to_the_internet_gateway(either: Synthesis) -> None:
    assert set(map(tuple, routes(either, "Public").values())) == {(("0.0.0.0/0", "<Network/Vpc/IGW>"),)}
    for tier in ("Compute", "Database"):
        assert "<Network/Vpc/IGW>" not in json.dumps(routes(either, tier))


def test_each_compute_subnet_goes_out_through_the_nat_gateway_of_its_own_zone(prod: Synthesis) -> None:
    zones = {f"<{name_of(each)}>": plain(each["AvailabilityZone"]) for each in prod.every("AWS::EC2::Subnet")}
    gateways = {f"<{name_of(each)}>": zones[plain(each["SubnetId"])] for each in prod.every("AWS::EC2::NatGateway")}

    assert sorted(gateways.values()) == ZONES
    for subnet, leads in routes(prod, "Compute").items():
        [(destination, gateway)] = leads
        assert destination == "0.0.0.0/0"
        assert gateways[gateway] == zones[f"<{subnet}>"]


def test_database_subnets_have_no_way_out(prod: Synthesis) -> None:
    assert list(routes(prod, "Database").values()) == [[], [], []]


def test_the_legacy_network_is_reached_through_the_transit_gateway_and_nothing_else_is(staging: Synthesis) -> None:
    legacy = ("172.16.10.0/24", "tgw-0123456789abcdef0")

    assert list(routes(staging, "Database").values()) == [[legacy]] * 3
    assert all(legacy in leads for leads in routes(staging, "Compute").values())
    assert not any(legacy in leads for leads in routes(staging, "Public").values())


def test_a_route_waits_for_the_attachment_that_it_needs(staging: Synthesis) -> None:
    attachment = staging.the("AWS::EC2::TransitGatewayAttachment")
    leading = [each for each in staging.every("AWS::EC2::Route") if not each["TransitGatewayId"].missing]

    assert len(leading) == 6
    assert all(attachment.logical_id in each.definition["DependsOn"] for each in leading)


def test_without_a_legacy_database_nothing_leads_on_premises(prod: Synthesis) -> None:
    assert prod.every("AWS::EC2::TransitGatewayAttachment") == []


def test_all_flows_are_logged_within_a_minute_under_the_key_of_logs(prod: Synthesis) -> None:
    log = prod.the("AWS::EC2::FlowLog")
    group = prod.the("AWS::Logs::LogGroup", "Network/FlowLogs")

    assert plain(log["ResourceId"]) == "<Network/Vpc>"
    assert log["TrafficType"].value == "ALL"
    assert log["MaxAggregationInterval"].value == 60
    assert plain(log["LogGroupName"]) == "<Network/FlowLogs>"
    assert plain(group["KmsKeyId"]) == "<Security/Logs>.Arn"


def test_the_default_security_group_is_closed_by_our_function(prod: Synthesis) -> None:
    closed = prod.the("Custom::ClosedDefaultSecurityGroup")

    assert plain(closed["SecurityGroupId"]) == "<Network/Vpc>.DefaultSecurityGroup"
    assert plain(closed["ServiceToken"]) == "<Network/CloseDefaultGroup/Function>.Arn"


def test_the_function_that_closes_it_can_answer_before_it_is_called(prod: Synthesis) -> None:
    """It answers CloudFormation through the gateway endpoint of S3 and calls EC2 through its interface endpoint."""
    waits = set(prod.the("Custom::ClosedDefaultSecurityGroup").definition["DependsOn"])
    needed = {
        each.logical_id
        for each in prod.every("AWS::EC2::VPCEndpoint")
        if plain(each["ServiceName"]) in ("com.amazonaws.us-east-1.s3", "com.amazonaws.us-east-1.ec2")
    }

    assert len(needed) == 2
    assert needed <= waits


def interface_endpoints(synthesis: Synthesis) -> dict[str, Resource]:
    return {
        plain(each["ServiceName"]): each
        for each in synthesis.every("AWS::EC2::VPCEndpoint")
        if each["VpcEndpointType"].value == "Interface"
    }


def test_every_service_that_workloads_call_has_an_interface_endpoint(either: Synthesis) -> None:
    assert set(interface_endpoints(either)) == SERVICES


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_an_interface_endpoint_answers_to_the_services_own_name_in_every_zone(prod: Synthesis, service: str) -> None:
    endpoint = interface_endpoints(prod)[service]

    assert endpoint["PrivateDnsEnabled"].value is True
    assert plain(endpoint["SubnetIds"]) == [f"<{name_of(each)}>" for each in subnets(prod, "Compute")]
    assert plain(endpoint["SecurityGroupIds"]) == ["<Network/Endpoints>.GroupId"]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_an_interface_endpoint_serves_principals_of_the_account_only(prod: Synthesis, service: str) -> None:
    policy = plain(interface_endpoints(prod)[service]["PolicyDocument"])

    [statement] = policy["Statement"]
    assert statement["Effect"] == "Allow"
    assert statement["Condition"] == {"StringEquals": {"aws:PrincipalAccount": "111122223333"}}


def gateway(synthesis: Synthesis, service: str) -> Resource:
    [found] = [
        each
        for each in synthesis.every("AWS::EC2::VPCEndpoint")
        if plain(each["ServiceName"]) == f"com.amazonaws.us-east-1.{service}"
    ]
    assert found["VpcEndpointType"].value == "Gateway"
    return found


@pytest.mark.parametrize("service", ["s3", "dynamodb"])
def test_gateway_endpoints_serve_compute_and_databases(prod: Synthesis, service: str) -> None:
    tables = set(plain(gateway(prod, service)["RouteTableIds"]))

    assert tables == {
        f"<Network/Vpc/{tier}Subnet{number}/RouteTable>" for tier in ("Compute", "Database") for number in (1, 2, 3)
    }


def test_the_gateway_of_s3_leads_to_our_buckets_image_layers_and_cloudformation_only(prod: Synthesis) -> None:
    statements = {each["Sid"]: each for each in plain(gateway(prod, "s3")["PolicyDocument"])["Statement"]}

    assert set(statements) == {"OwnBuckets", "ImageLayersAndDeploymentAnswers"}
    assert statements["OwnBuckets"]["Condition"] == {"StringEquals": {"aws:ResourceAccount": "111122223333"}}
    assert statements["ImageLayersAndDeploymentAnswers"]["Resource"] == [
        "arn:aws:s3:::cloudformation-custom-resource-response-useast1/*",
        "arn:aws:s3:::prod-us-east-1-starport-layer-bucket/*",
    ]


def test_the_gateway_of_dynamodb_leads_to_our_tables_only(prod: Synthesis) -> None:
    [statement] = plain(gateway(prod, "dynamodb")["PolicyDocument"])["Statement"]

    assert statement["Resource"] == "arn:aws:dynamodb:us-east-1:111122223333:table/*"
    assert not [action for action in _list(statement["Action"]) if action == "*" or "Delete" in action]


def _list(value: object) -> list[str]:
    return value if isinstance(value, list) else [str(value)]


# Segmentation: who may open a connection to whom, on which port.

LOAD_BALANCER, ENDPOINTS = "Network/LoadBalancer", "Network/Endpoints"
SERVICE_GROUPS = {"Network/BlueService", "Network/GreenService"}
DATABASES = {"Network/BlueDatabase", "Network/GreenDatabase"}
FUNCTIONS, REPLICATION = "Network/Functions", "Network/Replication"
S3, DYNAMODB = "prefix list pl-63a5400a", "prefix list pl-02cd2c6b"

Flow = tuple[str, str, int]

# EC2 lets a group send to everybody until it has an outbound rule; this address belongs to nobody.
NOBODY = {"CidrIp": "255.255.255.255/32", "IpProtocol": "icmp"}


def flows(synthesis: Synthesis, direction: str) -> set[Flow]:
    """Source, target and port of every rule of the security groups, inbound or outbound."""
    found: set[Flow] = set()
    for rule in synthesis.every(f"AWS::EC2::SecurityGroup{direction}"):
        if {key: plain(rule[key]) for key in NOBODY} == NOBODY:
            continue
        assert rule["IpProtocol"].value == "tcp"
        assert rule["FromPort"].value == rule["ToPort"].value
        own = _group(plain(rule["GroupId"]))
        peer = next(
            describe(plain(rule[key]))
            for key, describe in (
                ("SourceSecurityGroupId", _group),
                ("DestinationSecurityGroupId", _group),
                ("CidrIp", str),
                ("SourcePrefixListId", "prefix list {}".format),
                ("DestinationPrefixListId", "prefix list {}".format),
            )
            if not rule[key].missing
        )
        port = int(plain(rule["FromPort"]))
        found.add((peer, own, port) if direction == "Ingress" else (own, peer, port))
    return found


def _group(reference: str) -> str:
    return reference.removeprefix("<").removesuffix(">.GroupId")


def between_groups(port: int) -> set[Flow]:
    clients = {*SERVICE_GROUPS, REPLICATION, FUNCTIONS}
    return {
        *((LOAD_BALANCER, service, 8443) for service in SERVICE_GROUPS),
        *((client, database, port) for client in clients for database in DATABASES),
        *((client, ENDPOINTS, 443) for client in clients),
    }


def test_exactly_these_connections_are_admitted(prod: Synthesis) -> None:
    assert flows(prod, "Ingress") == {("0.0.0.0/0", LOAD_BALANCER, 443), *between_groups(3307)}


def test_exactly_these_connections_may_be_opened(prod: Synthesis) -> None:
    card_network, acquirer = ("192.0.2.0/24", 443), ("198.51.100.64/26", 8443)

    assert flows(prod, "Egress") == {
        *between_groups(3307),
        *((service, *destination) for service in SERVICE_GROUPS for destination in (card_network, acquirer)),
        *((group, S3, 443) for group in (*SERVICE_GROUPS, FUNCTIONS)),
        (FUNCTIONS, DYNAMODB, 443),
    }


def test_a_legacy_database_adds_connections_to_it_and_no_others(staging: Synthesis) -> None:
    others = {flow for flow in flows(staging, "Egress") if not flow[1].startswith("prefix")} - between_groups(3307)

    assert others == {(group, "172.16.10.0/24", 3306) for group in (*SERVICE_GROUPS, REPLICATION, FUNCTIONS)}


def test_no_rule_stands_inside_a_group_where_it_would_escape_these_tests(either: Synthesis) -> None:
    for group in either.every("AWS::EC2::SecurityGroup"):
        assert group["SecurityGroupIngress"].missing, name_of(group)
        assert group["SecurityGroupEgress"].missing, name_of(group)


def test_every_group_has_an_outbound_rule_because_without_one_it_sends_to_everybody(either: Synthesis) -> None:
    bound = {plain(rule["GroupId"]) for rule in either.every("AWS::EC2::SecurityGroupEgress")}

    assert {f"<{name_of(each)}>.GroupId" for each in either.every("AWS::EC2::SecurityGroup")} == bound
