"""Networks are segmented, and what may pass between the segments is named."""

import ipaddress
from collections.abc import Iterator
from typing import Any

from policy.engine import (
    Objection,
    expect,
    expect_true,
    get_att,
    objection,
    ref,
    resource,
    rule,
    undecided,
    varied,
    without,
)
from policy.rules.transit import redirects_to_https
from policy.statements import names_everything, statements
from policy.templates import MISSING, App, Resource, View

ADMINISTRATION_PORTS = {22: "SSH", 3389: "RDP", 5985: "WinRM", 5986: "WinRM", 23: "Telnet"}
EVERYWHERE_PREFIX = 8
"""A range of this prefix length or shorter counts as the whole internet, unless it is private."""


def is_everywhere(cidr: str) -> bool:
    """Whether a CIDR range is, for all purposes, the internet."""
    try:
        network = ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return False
    return network.prefixlen < EVERYWHERE_PREFIX or (network.prefixlen == EVERYWHERE_PREFIX and not network.is_private)


def is_public(cidr: str) -> bool:
    """Whether a CIDR range has public addresses; unreadable text has none."""
    try:
        return not ipaddress.ip_network(cidr, strict=False).is_private
    except ValueError:
        return False


def ranges(entry: View) -> Iterator[View]:
    """The places of a security group rule that hold a CIDR range."""
    for key in ("CidrIp", "CidrIpv6"):
        if not entry[key].missing:
            yield entry[key]


def rules_in(place: Resource, direction: str) -> list[View]:
    """The rules for "Ingress" or "Egress" that a security group, or a rule of its own, sets."""
    if place.type == "AWS::EC2::SecurityGroup":
        return place[f"SecurityGroup{direction}"].items()
    return [place.properties]


def group_of(place: Resource, app: App) -> Resource | None:
    if place.type == "AWS::EC2::SecurityGroup":
        return place
    return app.target(place["GroupId"], "AWS::EC2::SecurityGroup")


def covers_port(entry: View, port: int) -> bool:
    if entry["IpProtocol"].text == "-1":
        return True
    first, last = entry["FromPort"].number, entry["ToPort"].number
    return first is not None and last is not None and (first <= port <= last or first == -1)


def public_balancers(group: Resource, app: App) -> list[Resource]:
    return [
        balancer
        for balancer in app.referrers(group, "AWS::ElasticLoadBalancingV2::LoadBalancer")
        if balancer["Scheme"].text != "internal"
    ]


def _serves(balancer: Resource, port: int, app: App) -> bool:
    """Whether the balancer listens on the port, over TLS or to redirect there."""
    for listener in app.referrers(balancer, "AWS::ElasticLoadBalancingV2::Listener"):
        secure = listener["Protocol"].text in ("HTTPS", "TLS") or redirects_to_https(listener)
        if listener["Port"].number == port and secure:
            return True
    return False


_FRONT = {
    "Group": resource(
        "AWS::EC2::SecurityGroup",
        GroupDescription="front door",
        SecurityGroupIngress=[
            {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIp": "0.0.0.0/0", "Description": "clients"}
        ],
        SecurityGroupEgress=[
            {
                "IpProtocol": "tcp",
                "FromPort": 8443,
                "ToPort": 8443,
                "DestinationSecurityGroupId": "sg-1",
                "Description": "to the service",
            }
        ],
    ),
    "Balancer": resource(
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        Scheme="internet-facing",
        SecurityGroups=[get_att("Group", "GroupId")],
    ),
    "Listener": resource(
        "AWS::ElasticLoadBalancingV2::Listener",
        LoadBalancerArn=ref("Balancer"),
        Port=443,
        Protocol="HTTPS",
    ),
}


@rule(
    id="InboundNotOpen",
    requirements=["1.3.1", "1.4.2"],
    title="Only a public load balancer, at the ports that it serves over TLS, is open to the internet.",
    why="Traffic from networks that nobody trusts may reach what is meant to be public, and nothing else.",
    fix="Name the security group or the address range of the clients.",
    types=["AWS::EC2::SecurityGroup", "AWS::EC2::SecurityGroupIngress"],
    complies=[_FRONT],
    violates=[
        without(_FRONT, "Balancer"),
        without(_FRONT, "Listener"),
        varied(_FRONT, "Group.SecurityGroupIngress.0.ToPort", 8443),
        varied(_FRONT, "Balancer.Scheme", "internal"),
        {
            "Group": resource("AWS::EC2::SecurityGroup"),
            "Rule": resource(
                "AWS::EC2::SecurityGroupIngress",
                GroupId=get_att("Group", "GroupId"),
                IpProtocol="tcp",
                FromPort=3306,
                ToPort=3306,
                CidrIpv6="::/0",
            ),
        },
    ],
)
def inbound_not_open(place: Resource, app: App) -> Iterator[Objection]:
    group = group_of(place, app)
    balancers = public_balancers(group, app) if group is not None else []
    for entry in rules_in(place, "Ingress"):
        for cidr in ranges(entry):
            first, last = entry["FromPort"].number, entry["ToPort"].number
            served = (
                first is not None
                and first == last
                and any(_serves(balancer, int(first), app) for balancer in balancers)
            )
            if is_everywhere(cidr.text) and not served:
                yield objection(
                    cidr,
                    "security groups or named address ranges; the internet only at the TLS ports of a load balancer",
                    seen=f"{cidr.text} at {port_range(entry)}",
                    detail=f"{cidr.text}:{port_range(entry)}",
                )


def port_range(entry: View) -> str:
    if entry["IpProtocol"].text == "-1":
        return "all"
    first, last = entry["FromPort"].text, entry["ToPort"].text
    return first if first == last else f"{first}-{last}"


@rule(
    id="AdministrationPortsClosed",
    requirements=["1.3.1", "1.2.6", "2.2.7"],
    title="Ports of administration are closed to public addresses.",
    why="SSH and RDP are guessed at all day; administration goes through Systems Manager or a private network.",
    fix="Remove the rule, or name a private range or a security group.",
    types=["AWS::EC2::SecurityGroup", "AWS::EC2::SecurityGroupIngress"],
    complies=[
        _FRONT,
        varied(
            _FRONT,
            "Group.SecurityGroupIngress.0",
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "10.0.0.0/16"},
        ),
    ],
    violates=[
        varied(
            _FRONT,
            "Group.SecurityGroupIngress.0",
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "54.0.0.0/24"},
        ),
        varied(_FRONT, "Group.SecurityGroupIngress.0", {"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}),
    ],
)
def administration_ports_closed(place: Resource, _app: App) -> Iterator[Objection]:
    for entry in rules_in(place, "Ingress"):
        for cidr in ranges(entry):
            named = [name for port, name in ADMINISTRATION_PORTS.items() if covers_port(entry, port)]
            if named and (is_everywhere(cidr.text) or is_public(cidr.text)):
                yield objection(cidr, "private ranges", seen=f"{cidr.text} for {', '.join(dict.fromkeys(named))}")


@rule(
    id="InboundPortsNamed",
    requirements=["1.2.5", "1.3.1"],
    title="A rule for inbound traffic names the ports that are needed.",
    why="Every port that is open and not needed is a service that nobody watches.",
    fix="Name IpProtocol, FromPort and ToPort of the service.",
    types=["AWS::EC2::SecurityGroup", "AWS::EC2::SecurityGroupIngress"],
    complies=[_FRONT],
    violates=[
        varied(_FRONT, "Group.SecurityGroupIngress.0.IpProtocol", "-1"),
        varied(
            varied(_FRONT, "Group.SecurityGroupIngress.0.FromPort", 0), "Group.SecurityGroupIngress.0.ToPort", 65535
        ),
    ],
)
def inbound_ports_named(place: Resource, _app: App) -> Iterator[Objection]:
    for entry in rules_in(place, "Ingress"):
        first, last = entry["FromPort"].number, entry["ToPort"].number
        wide = first is not None and last is not None and last - first > 1000
        if entry["IpProtocol"].text == "-1" or wide:
            yield objection(entry, "the ports of one service", seen=f"ports {port_range(entry)}")


@rule(
    id="InboundPurposeStated",
    requirements=["1.2.5"],
    title="A rule for inbound traffic says what it is for.",
    why="Every allowed service, protocol and port has to be known and approved, with the business need for it.",
    fix="Set Description.",
    types=["AWS::EC2::SecurityGroup", "AWS::EC2::SecurityGroupIngress"],
    complies=[_FRONT],
    violates=[without(_FRONT, "Group.SecurityGroupIngress.0.Description")],
)
def inbound_purpose_stated(place: Resource, _app: App) -> Iterator[Objection]:
    for entry in rules_in(place, "Ingress"):
        yield from expect(entry["Description"], "a few words on the purpose", lambda v: len(v.text) > 3)


@rule(
    id="OutboundRestricted",
    requirements=["1.3.2"],
    title="Outbound traffic goes to named destinations only.",
    why="Whoever gets in wants to send data out. The default of a security group lets everything leave.",
    fix="Set SecurityGroupEgress to the groups, prefix lists or ranges that are needed "
    "(allow_all_outbound=False in the CDK).",
    types=["AWS::EC2::SecurityGroup", "AWS::EC2::SecurityGroupEgress"],
    complies=[_FRONT],
    violates=[
        without(_FRONT, "Group.SecurityGroupEgress"),
        varied(_FRONT, "Group.SecurityGroupEgress.0", {"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}),
        varied(
            _FRONT,
            "Group.SecurityGroupEgress.0",
            {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIpv6": "::/0"},
        ),
    ],
)
def outbound_restricted(place: Resource, app: App) -> Iterator[Objection]:
    if place.type == "AWS::EC2::SecurityGroup" and place["SecurityGroupEgress"].missing:
        # A rule of its own replaces the default that lets everything out.
        if not app.referrers(place, "AWS::EC2::SecurityGroupEgress"):
            yield objection(place["SecurityGroupEgress"], "named destinations", seen="not set: everything may leave")
        return
    for entry in rules_in(place, "Egress"):
        for cidr in ranges(entry):
            if is_everywhere(cidr.text):
                yield objection(
                    cidr,
                    "named destinations",
                    seen=f"{cidr.text} at {port_range(entry)}",
                    detail=f"{cidr.text}:{port_range(entry)}",
                )


_VPC = {
    "Vpc": resource("AWS::EC2::VPC", CidrBlock="10.0.0.0/16"),
    "Subnet": resource("AWS::EC2::Subnet", VpcId=ref("Vpc"), CidrBlock="10.0.0.0/24", MapPublicIpOnLaunch=False),
    "FlowLog": resource(
        "AWS::EC2::FlowLog", ResourceId=ref("Vpc"), ResourceType="VPC", TrafficType="ALL", LogGroupName="flows"
    ),
}


@rule(
    id="SubnetNoPublicAddress",
    requirements=["1.4.2", "1.4.4"],
    title="A subnet gives out no public addresses by itself.",
    why="Whatever is started there would be on the internet without anybody having asked for it.",
    fix="Set MapPublicIpOnLaunch to false; load balancers and NAT gateways bring their own addresses.",
    types=["AWS::EC2::Subnet"],
    complies=[_VPC, without(_VPC, "Subnet.MapPublicIpOnLaunch")],
    violates=[varied(_VPC, "Subnet.MapPublicIpOnLaunch", True)],
)
def subnet_no_public_address(subnet: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(subnet["MapPublicIpOnLaunch"], "false", lambda v: v.flag is not True)


@rule(
    id="FlowLogsComplete",
    requirements=["10.2.1", "1.2.1"],
    title="A VPC logs all of its traffic.",
    why="Without flow logs nobody can say afterwards who talked to whom; accepted traffic matters as much as "
    "what was refused.",
    fix="Add an AWS::EC2::FlowLog with ResourceType VPC and TrafficType ALL.",
    types=["AWS::EC2::VPC"],
    complies=[_VPC],
    violates=[without(_VPC, "FlowLog"), varied(_VPC, "FlowLog.TrafficType", "REJECT")],
)
def flow_logs_complete(vpc: Resource, app: App) -> Iterator[Objection]:
    logs = app.referrers(vpc, "AWS::EC2::FlowLog")
    if not any(log["TrafficType"].text == "ALL" for log in logs):
        seen = ", ".join(f"{log.path}: {log['TrafficType'].text}" for log in logs) or "no flow log"
        yield objection(vpc.properties, "a flow log of ALL traffic", seen=seen)


INTERFACES = {
    "AWS::ECS::Service": "NetworkConfiguration.AwsvpcConfiguration.SecurityGroups",
    "AWS::Lambda::Function": "VpcConfig.SecurityGroupIds",
    "AWS::RDS::DBCluster": "VpcSecurityGroupIds",
    "AWS::RDS::DBInstance": "VPCSecurityGroups",
    "AWS::DMS::ReplicationInstance": "VpcSecurityGroupIds",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "SecurityGroups",
    "AWS::EC2::VPCEndpoint": "SecurityGroupIds",
    "AWS::EC2::Instance": "SecurityGroupIds",
    "AWS::ElastiCache::ReplicationGroup": "SecurityGroupIds",
}


def _has_interface(place: Resource, _app: App) -> bool:
    if place.type == "AWS::Lambda::Function":
        return not place["VpcConfig"].missing
    if place.type == "AWS::EC2::VPCEndpoint":
        return place["VpcEndpointType"].text == "Interface"
    if place.type == "AWS::ElasticLoadBalancingV2::LoadBalancer":
        return place["Type"].text in ("", "application")
    if place.type == "AWS::RDS::DBInstance":
        return place["DBClusterIdentifier"].missing
    return True


_TASK = {
    "Vpc": resource("AWS::EC2::VPC", CidrBlock="10.0.0.0/16"),
    "Group": resource("AWS::EC2::SecurityGroup", VpcId=ref("Vpc")),
    "Service": resource(
        "AWS::ECS::Service",
        NetworkConfiguration={
            "AwsvpcConfiguration": {
                "AssignPublicIp": "DISABLED",
                "SecurityGroups": [get_att("Group", "GroupId")],
                "Subnets": [ref("Subnet")],
            }
        },
    ),
    "Subnet": resource("AWS::EC2::Subnet", VpcId=ref("Vpc")),
    "Table": resource("AWS::EC2::RouteTable", VpcId=ref("Vpc")),
    "Association": resource("AWS::EC2::SubnetRouteTableAssociation", SubnetId=ref("Subnet"), RouteTableId=ref("Table")),
    "Gateway": resource("AWS::EC2::InternetGateway"),
    "Route": resource(
        "AWS::EC2::Route", RouteTableId=ref("Table"), DestinationCidrBlock="0.0.0.0/0", NatGatewayId="nat-1"
    ),
}
_TO_INTERNET = {"RouteTableId": ref("Table"), "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": ref("Gateway")}


@rule(
    id="DefaultSecurityGroupUnused",
    requirements=["1.2.5", "1.3.1"],
    title="Nothing uses the default security group.",
    why="Its members may all talk to each other and to everywhere, without anybody having written that down.",
    fix="Name security groups of the app wherever there is a network interface.",
    types=list(INTERFACES),
    applies=_has_interface,
    complies=[_TASK],
    violates=[
        without(_TASK, "Service.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups"),
        varied(
            _TASK,
            "Service.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups",
            [get_att("Vpc", "DefaultSecurityGroup")],
        ),
    ],
)
def default_security_group_unused(place: Resource, _app: App) -> Iterator[Objection]:
    groups = place[INTERFACES[place.type]]
    if groups.missing or groups.value == []:
        yield objection(groups, "security groups of the app", seen="none: the default security group")
    for reference in groups.references():
        if reference.attribute == "DefaultSecurityGroup":
            yield objection(groups, "security groups of the app", seen=str(reference))


SUBNETS = {
    "AWS::ECS::Service": "NetworkConfiguration.AwsvpcConfiguration.Subnets",
    "AWS::Lambda::Function": "VpcConfig.SubnetIds",
    "AWS::RDS::DBSubnetGroup": "SubnetIds",
    "AWS::DMS::ReplicationSubnetGroup": "SubnetIds",
    "AWS::ElastiCache::SubnetGroup": "SubnetIds",
}


def routes_of(subnet: Resource, app: App) -> Iterator[Resource]:
    """The routes in the table of a subnet, wherever subnet, association and routes are defined."""
    for association in app.referrers(subnet, "AWS::EC2::SubnetRouteTableAssociation"):
        table = app.target(association["RouteTableId"], "AWS::EC2::RouteTable")
        if table is not None:
            yield from app.referrers(table, "AWS::EC2::Route")


def leads_to_internet(route: Resource, app: App) -> bool:
    gateway = route["GatewayId"]
    return app.target(gateway, "AWS::EC2::InternetGateway") is not None or gateway.text.startswith("igw-")


def subnets_of(place: Resource, app: App) -> Iterator[tuple[View, Resource]]:
    for view in place[SUBNETS[place.type]].items():
        subnet = app.target(view, "AWS::EC2::Subnet")
        if subnet is not None:
            yield view, subnet


@rule(
    id="WorkloadInPrivateSubnet",
    requirements=["1.4.2", "1.4.4"],
    title="Containers, functions, databases and replication run in subnets without a way in from the internet.",
    why="Only the load balancer faces the internet; what handles account data lies behind it.",
    fix="Name private or isolated subnets, whose route table has no route to an internet gateway.",
    types=list(SUBNETS),
    applies=lambda place, _app: not place[SUBNETS[place.type]].missing,
    complies=[_TASK],
    violates=[{**_TASK, "Route": resource("AWS::EC2::Route", **_TO_INTERNET)}],
)
def workload_in_private_subnet(place: Resource, app: App) -> Iterator[Objection]:
    for view, subnet in subnets_of(place, app):
        if any(leads_to_internet(route, app) for route in routes_of(subnet, app)):
            yield objection(
                view, "a subnet without a route to an internet gateway", seen=f"public subnet {subnet.path}"
            )


_ISOLATED: dict[str, Any] = {
    "Group": resource("AWS::RDS::DBSubnetGroup", SubnetIds=[ref("Subnet")], DBSubnetGroupDescription="databases"),
    "Subnet": _TASK["Subnet"],
    "Vpc": _TASK["Vpc"],
    "Table": _TASK["Table"],
    "Association": _TASK["Association"],
}


@rule(
    id="DatabaseSubnetIsolated",
    requirements=["1.3.2", "1.4.4"],
    title="A database lies in subnets with no way to the internet at all.",
    why="A store of account data has no business on the internet, not even outbound through a NAT gateway.",
    fix="Name isolated subnets, whose route table has no default route.",
    types=["AWS::RDS::DBSubnetGroup"],
    complies=[_ISOLATED],
    violates=[{**_ISOLATED, "Route": _TASK["Route"]}],
)
def database_subnet_isolated(group: Resource, app: App) -> Iterator[Objection]:
    for view, subnet in subnets_of(group, app):
        for route in routes_of(subnet, app):
            for key in ("DestinationCidrBlock", "DestinationIpv6CidrBlock"):
                if route[key].text in ("0.0.0.0/0", "::/0"):
                    yield objection(view, "a subnet without a default route", seen=f"{route.path} in {subnet.path}")


@rule(
    id="TaskNoPublicAddress",
    requirements=["1.4.2", "1.4.4"],
    title="A container gets no public address.",
    why="An address of its own takes it out from behind the load balancer and the web application firewall.",
    fix="Set AssignPublicIp to DISABLED.",
    types=["AWS::ECS::Service"],
    applies=lambda service, _app: not service["NetworkConfiguration.AwsvpcConfiguration"].missing,
    complies=[_TASK],
    violates=[varied(_TASK, "Service.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp", "ENABLED")],
)
def task_no_public_address(service: Resource, _app: App) -> Iterator[Objection]:
    place = service["NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp"]
    yield from expect(place, "DISABLED", lambda v: v.text in ("", "DISABLED"))


_FUNCTION = {
    "Function": resource(
        "AWS::Lambda::Function",
        Runtime="python3.13",
        VpcConfig={"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
    )
}


@rule(
    id="FunctionInVpc",
    requirements=["1.3.1", "1.3.2", "1.4.4"],
    title="A function runs inside a VPC.",
    why="Outside of one, no security group and no flow log sees where it sends what it has read.",
    fix="Set VpcConfig with private subnets and a security group.",
    types=["AWS::Lambda::Function"],
    complies=[_FUNCTION],
    violates=[without(_FUNCTION, "Function.VpcConfig"), varied(_FUNCTION, "Function.VpcConfig.SubnetIds", [])],
)
def function_in_vpc(function: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(function["VpcConfig.SubnetIds"], "private subnets", lambda v: bool(v.items()))


POLICY_ABLE = (
    "s3",
    "dynamodb",
    "secretsmanager",
    "kms",
    "logs",
    "monitoring",
    "sns",
    "sqs",
    "ssm",
    "sts",
    "states",
    "ecr.api",
    "ecr.dkr",
    "lambda",
    "events",
    "rds-data",
)
"""Services whose VPC endpoints take a policy."""
_ENDPOINT = {
    "Endpoint": resource(
        "AWS::EC2::VPCEndpoint",
        ServiceName="com.amazonaws.us-east-1.secretsmanager",
        VpcEndpointType="Interface",
        PrivateDnsEnabled=True,
        PolicyDocument={
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": "*",
                    "Action": "secretsmanager:*",
                    "Resource": "*",
                    "Condition": {"StringEquals": {"aws:ResourceAccount": "111122223333"}},
                }
            ]
        },
    )
}


def service_of(endpoint: Resource) -> str:
    """The short name of the service behind a VPC endpoint, e.g. "ecr.api"."""
    name = endpoint["ServiceName"].text
    _, found, rest = name.partition("com.amazonaws.")
    if not found:
        return ""
    first, _, last = rest.partition(".")
    return last or first


@rule(
    id="EndpointPolicyRestricted",
    requirements=["1.3.2", "7.2.5"],
    title="A VPC endpoint admits only what the workload needs.",
    why="Without a policy an endpoint is a private road to every bucket, queue and secret of every account in AWS: "
    "the way to take data out that no security group sees.",
    fix="Set PolicyDocument with named resources, or with a condition on aws:ResourceAccount or aws:PrincipalAccount.",
    types=["AWS::EC2::VPCEndpoint"],
    applies=lambda endpoint, _app: service_of(endpoint) in POLICY_ABLE or not endpoint["PolicyDocument"].missing,
    complies=[_ENDPOINT],
    violates=[
        without(_ENDPOINT, "Endpoint.PolicyDocument"),
        without(_ENDPOINT, "Endpoint.PolicyDocument.Statement.0.Condition"),
    ],
)
def endpoint_policy_restricted(endpoint: Resource, _app: App) -> Iterator[Objection]:
    place = endpoint["PolicyDocument"]
    allowed = "named resources or principals, or a condition on their account"
    if place.missing:
        yield objection(place, allowed, seen="no policy: everything is admitted")
    for statement in statements(place):
        everything = any(names_everything(item) for item in statement.resources)
        if statement.allows and statement.for_everyone and everything and not statement.conditions:
            yield objection(statement.view, allowed, seen="everybody may reach everything")


@rule(
    id="EndpointPrivateNames",
    requirements=["1.3.2", "1.4.1"],
    title="An interface endpoint answers at the service's own name.",
    why="Otherwise clients go on resolving the public address, and the traffic leaves through the internet.",
    fix="Set PrivateDnsEnabled to true.",
    types=["AWS::EC2::VPCEndpoint"],
    applies=lambda endpoint, _app: endpoint["VpcEndpointType"].text == "Interface",
    complies=[_ENDPOINT],
    violates=[varied(_ENDPOINT, "Endpoint.PrivateDnsEnabled", False), without(_ENDPOINT, "Endpoint.PrivateDnsEnabled")],
)
def endpoint_private_names(endpoint: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_true(endpoint["PrivateDnsEnabled"])


_NACL = {
    "Entry": resource(
        "AWS::EC2::NetworkAclEntry",
        Egress=False,
        RuleAction="allow",
        Protocol=6,
        CidrBlock="10.0.0.0/16",
        PortRange={"From": 22, "To": 22},
    )
}


@rule(
    id="NetworkAclNoOpenAdministration",
    requirements=["1.3.1", "1.2.6"],
    title="A network ACL does not let the internet at the ports of administration.",
    why="It is the second line behind the security groups.",
    fix="Name a private range, or leave the ports 22 and 3389 out.",
    types=["AWS::EC2::NetworkAclEntry"],
    applies=lambda entry, _app: entry["Egress"].flag is not True and entry["RuleAction"].text == "allow",
    complies=[_NACL],
    violates=[
        varied(_NACL, "Entry.CidrBlock", "0.0.0.0/0"),
        varied(varied(_NACL, "Entry.CidrBlock", "0.0.0.0/0"), "Entry.Protocol", -1),
    ],
)
def network_acl_no_open_administration(entry: Resource, _app: App) -> Iterator[Objection]:
    first, last = entry["PortRange.From"].number, entry["PortRange.To"].number
    everything = entry["Protocol"].text == "-1"
    for key in ("CidrBlock", "Ipv6CidrBlock"):
        if not is_everywhere(entry[key].text):
            continue
        for port in (22, 3389):
            if everything or (first is not None and last is not None and first <= port <= last):
                yield objection(entry[key], "a private range", seen=f"{entry[key].text} at port {port}")


_GATEWAY = {
    "Vpc": resource("AWS::EC2::VPC", CidrBlock="10.0.0.0/16"),
    "Gateway": resource("AWS::EC2::InternetGateway"),
    "Attachment": resource("AWS::EC2::VPCGatewayAttachment", VpcId=ref("Vpc"), InternetGatewayId=ref("Gateway")),
    "Subnet": resource("AWS::EC2::Subnet", VpcId=ref("Vpc")),
    "Balancer": resource(
        "AWS::ElasticLoadBalancingV2::LoadBalancer", Scheme="internet-facing", Subnets=[ref("Subnet")]
    ),
}


@rule(
    id="InternetGatewayNeeded",
    requirements=["1.2.5", "1.4.1"],
    title="An internet gateway belongs to a VPC that serves the internet or goes out through NAT.",
    why="A gateway that nothing needs is a door that nobody watches.",
    fix="Remove the gateway, or name the VPC that holds the load balancer or NAT gateway.",
    types=["AWS::EC2::VPCGatewayAttachment"],
    applies=lambda attachment, _app: not attachment["InternetGatewayId"].missing,
    complies=[_GATEWAY],
    violates=[without(_GATEWAY, "Balancer"), varied(_GATEWAY, "Balancer.Scheme", "internal")],
)
def internet_gateway_needed(attachment: Resource, app: App) -> Iterator[Objection]:
    vpc = app.target(attachment["VpcId"], "AWS::EC2::VPC")
    if vpc is None:
        yield undecided(attachment["VpcId"], "a VPC with a public load balancer or a NAT gateway")
        return
    for subnet in app.referrers(vpc, "AWS::EC2::Subnet"):
        if app.referrers(subnet, "AWS::EC2::NatGateway") or any(
            balancer["Scheme"].text != "internal"
            for balancer in app.referrers(subnet, "AWS::ElasticLoadBalancingV2::LoadBalancer")
        ):
            return
    yield objection(
        attachment["VpcId"], "a VPC with a public load balancer or a NAT gateway", seen=f"{vpc.path} has neither"
    )


_BALANCER = {
    "Balancer": resource(
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        Scheme="internet-facing",
        Type="application",
        LoadBalancerAttributes=[
            {"Key": "routing.http.drop_invalid_header_fields.enabled", "Value": "true"},
            {"Key": "routing.http.desync_mitigation_mode", "Value": "strictest"},
        ],
    )
}


def attribute(place: Resource, key: str, attributes: str = "LoadBalancerAttributes") -> View:
    """The value of one attribute of a load balancer or target group."""
    for entry in place[attributes].items():
        if entry["Key"].text == key:
            return entry["Value"]
    whole = place[attributes]
    return whole if whole.unknown else View(place, whole.path, MISSING)


def is_application(balancer: Resource, _app: App) -> bool:
    return balancer["Type"].text in ("", "application")


@rule(
    id="BalancerDropsInvalidHeaders",
    requirements=["2.2.6", "6.2.4"],
    title="An application load balancer drops headers that are malformed.",
    why="Two programs that read a malformed header differently let a request be smuggled past the first.",
    fix="Set the attribute routing.http.drop_invalid_header_fields.enabled to true.",
    types=["AWS::ElasticLoadBalancingV2::LoadBalancer"],
    applies=is_application,
    complies=[_BALANCER],
    violates=[
        without(_BALANCER, "Balancer.LoadBalancerAttributes.0"),
        varied(_BALANCER, "Balancer.LoadBalancerAttributes.0.Value", "false"),
    ],
)
def balancer_drops_invalid_headers(balancer: Resource, _app: App) -> Iterator[Objection]:
    key = "routing.http.drop_invalid_header_fields.enabled"
    place = attribute(balancer, key)
    if place.flag is not True:
        yield objection(place, f"{key} true", seen=place.text or "not set")


@rule(
    id="BalancerDesyncMitigation",
    requirements=["2.2.6", "6.2.4"],
    title="An application load balancer defends against requests that desynchronize it from its targets.",
    why="In monitor mode it passes on what it has recognized as an attack.",
    fix="Leave routing.http.desync_mitigation_mode out (defensive), or set it to defensive or strictest.",
    types=["AWS::ElasticLoadBalancingV2::LoadBalancer"],
    applies=is_application,
    complies=[_BALANCER, without(_BALANCER, "Balancer.LoadBalancerAttributes.1")],
    violates=[varied(_BALANCER, "Balancer.LoadBalancerAttributes.1.Value", "monitor")],
)
def balancer_desync_mitigation(balancer: Resource, _app: App) -> Iterator[Objection]:
    place = attribute(balancer, "routing.http.desync_mitigation_mode")
    yield from expect(place, "defensive or strictest", lambda v: v.missing or v.text in ("defensive", "strictest"))
