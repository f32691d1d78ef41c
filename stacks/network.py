"""The VPC, who may talk to whom in it, and the ways out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from blue_green.encrypted_log_group import EncryptedLogGroup
from blue_green.interface_endpoints import InterfaceEndpoints
from blue_green.runtime_function import Placement, RuntimeFunction
from blue_green.service_role import ServiceRole
from policy.acknowledgement import acknowledge
from stacks.config import Color, EgressDestination, LegacyDatabase, Network
from stacks.security import Keys

HTTPS = ec2.Port.tcp(443)
SERVICE_PORT = 8443
"""TCP port on which the payment service answers HTTPS."""

# AWS-managed prefix lists of the gateway endpoints in us-east-1 (`aws ec2 describe-prefix-lists`).
S3_PREFIX_LIST = "pl-63a5400a"
DYNAMODB_PREFIX_LIST = "pl-02cd2c6b"


class NetworkStack(cdk.NestedStack):
    """Three zones with public subnets for the load balancer, private ones for compute and isolated ones for data.

    All security groups and their rules stand here, so that the segmentation can be read in one place.

    Attributes:
        vpc: the network.
        compute_subnets: subnets with a way out through NAT gateways.
        database_subnets: subnets without a way out.
        load_balancer_group: security group of the load balancer.
        service_groups: security group of the payment service, by environment.
        database_groups: security group of the database, by environment.
        replication_group: security group of the DMS instance.
        functions_group: security group of all functions.
    """

    vpc: ec2.Vpc
    compute_subnets: ec2.SubnetSelection
    database_subnets: ec2.SubnetSelection
    load_balancer_group: ec2.SecurityGroup
    service_groups: Mapping[Color, ec2.SecurityGroup]
    database_groups: Mapping[Color, ec2.SecurityGroup]
    replication_group: ec2.SecurityGroup
    functions_group: ec2.SecurityGroup

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        network: Network,
        availability_zones: Sequence[str],
        database_port: int,
        http_redirect: bool,
        legacy_database: LegacyDatabase | None,
        keys: Keys,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id, description="VPC, segmentation, PrivateLink and flow logs")
        self._availability_zones = list(availability_zones)
        self.vpc = self._make_vpc(network)
        self.compute_subnets = ec2.SubnetSelection(subnet_group_name="Compute")
        self.database_subnets = ec2.SubnetSelection(subnet_group_name="Database")
        self._log_flows(keys, log_retention_days)
        self._make_groups()
        endpoints_group = self._group("Endpoints", "Interface endpoints: HTTPS from inside the VPC")
        self._admit(network, endpoints_group, database_port, http_redirect)
        if legacy_database:
            self._lead_on_premises(legacy_database)
        endpoints = InterfaceEndpoints(
            self,
            "InterfaceEndpoints",
            vpc=self.vpc,
            services=network.interface_endpoints,
            subnets=self.compute_subnets,
            security_group=endpoints_group,
        )
        self._add_gateways()
        self._close_default_group(keys, log_retention_days, endpoints)

    @property
    def availability_zones(self) -> list[str]:
        """The configured zones; the CDK would ask AWS, and synthesis has no credentials."""
        return self._availability_zones

    def _make_vpc(self, network: Network) -> ec2.Vpc:
        vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(network.cidr),
            availability_zones=self._availability_zones,
            nat_gateways=len(self._availability_zones),
            # Our own function closes the group: the CDK's would stand outside the VPC, untagged and unencrypted.
            restrict_default_security_group=False,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="Public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=26, map_public_ip_on_launch=False
                ),
                ec2.SubnetConfiguration(name="Compute", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, cidr_mask=24),
                ec2.SubnetConfiguration(name="Database", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=26),
            ],
        )
        acknowledge(
            vpc.node.find_child("Resource"),
            "PCI.DSS.321::PCI.DSS.321-VPCDefaultSecurityGroupClosed",
            reason="CloudFormation cannot change the rules of a default security group; the custom resource "
            "DefaultGroup in this stack takes them out at every deployment.",
        )
        for subnet in vpc.public_subnets:
            route = subnet.node.find_child("DefaultRoute")
            acknowledge(
                route,
                "PCI.DSS.321::PCI.DSS.321-VPCNoUnrestrictedRouteToIGW",
                reason="The internet-facing load balancer and the NAT gateways, which alone stand in the public "
                "subnets, need the route to the internet gateway; security groups admit 443 to the load balancer only.",
            )
        return vpc

    def _log_flows(self, keys: Keys, retention_days: int) -> None:
        log_group = EncryptedLogGroup(self, "FlowLogs", key=keys.logs, retention_days=retention_days)
        writer = ServiceRole(
            self,
            "FlowLogsWriter",
            assumed_by=iam.ServicePrincipal(
                "vpc-flow-logs.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": self.account}},
            ),
            description="Delivery of flow logs to CloudWatch Logs",
        )
        writer.allow(
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            "logs:DescribeLogStreams",
            resources=[log_group.log_group_arn],
        )
        self.vpc.add_flow_log(
            "FlowLog",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(log_group, writer.role),
            traffic_type=ec2.FlowLogTrafficType.ALL,
            max_aggregation_interval=ec2.FlowLogMaxAggregationInterval.ONE_MINUTE,
        )

    def _group(self, construct_id: str, description: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            self,
            construct_id,
            vpc=self.vpc,
            description=description,
            allow_all_outbound=False,
            # An outbound rule to the load balancer's targets is by group; without any rule CDK writes a dummy one.
            disable_inline_rules=True,
        )

    def _make_groups(self) -> None:
        self.load_balancer_group = self._group("LoadBalancer", "Load balancer: HTTPS from the internet")
        self.service_groups = {
            color: self._group(f"{color.title}Service", f"Payment service, {color.value} environment")
            for color in Color
        }
        self.database_groups = {
            color: self._group(f"{color.title}Database", f"Aurora MySQL, {color.value} environment") for color in Color
        }
        self.replication_group = self._group("Replication", "DMS replication instance")
        self.functions_group = self._group("Functions", "Functions of the cutover, the rotation and the bootstrap")
        for color in Color:
            for group in (self.service_groups[color], self.database_groups[color]):
                cdk.Tags.of(group).add("Environment", color.value)

    def _admit(
        self, network: Network, endpoints_group: ec2.SecurityGroup, database_port: int, http_redirect: bool
    ) -> None:
        internet = ec2.Peer.any_ipv4()
        self.load_balancer_group.add_ingress_rule(internet, HTTPS, "Payments and previews over TLS")
        if http_redirect:
            self.load_balancer_group.add_ingress_rule(internet, ec2.Port.tcp(80), "Only to be redirected to 443")
        acknowledge(
            self.load_balancer_group,
            "AwsSolutions::AwsSolutions-EC23",
            reason="Clients of the payment API come from anywhere on the internet; the web ACL limits their rate and "
            "inspects their requests, and nothing but the load balancer has this group.",
        )
        database = ec2.Port.tcp(database_port)
        clients = [*self.service_groups.values(), self.replication_group, self.functions_group]
        for service in self.service_groups.values():
            _connect(self.load_balancer_group, service, ec2.Port.tcp(SERVICE_PORT), "HTTPS to the containers")
            for destination in network.egress_destinations:
                _admit_destination(service, destination)
        # Every service reaches both databases: whatever its colour, it writes to the one that is the writer.
        for client in clients:
            for store in self.database_groups.values():
                _connect(client, store, database, "MySQL over TLS")
            _connect(client, endpoints_group, HTTPS, "AWS services over PrivateLink")
        for group in (*self.service_groups.values(), self.functions_group):
            group.add_egress_rule(ec2.Peer.prefix_list(S3_PREFIX_LIST), HTTPS, "S3 through the gateway endpoint")
        self.functions_group.add_egress_rule(
            ec2.Peer.prefix_list(DYNAMODB_PREFIX_LIST), HTTPS, "DynamoDB through the gateway endpoint"
        )

    def _lead_on_premises(self, legacy: LegacyDatabase) -> None:
        """Attach the transit gateway and let those who replicate or write reach the legacy database, and no more."""
        selection = self.vpc.select_subnets(subnet_group_name="Database")
        attachment = ec2.CfnTransitGatewayAttachment(
            self,
            "OnPremises",
            transit_gateway_id=legacy.transit_gateway_id,
            vpc_id=self.vpc.vpc_id,
            subnet_ids=selection.subnet_ids,
        )
        for tier in ("Compute", "Database"):
            for subnet in self.vpc.select_subnets(subnet_group_name=tier).subnets:
                route = ec2.CfnRoute(
                    self,
                    f"OnPremises{subnet.node.id}",
                    route_table_id=subnet.route_table.route_table_id,
                    destination_cidr_block=legacy.cidr,
                    transit_gateway_id=legacy.transit_gateway_id,
                )
                route.add_resource_dependency(attachment)
        for group in (*self.service_groups.values(), self.replication_group, self.functions_group):
            group.add_egress_rule(ec2.Peer.ipv4(legacy.cidr), ec2.Port.tcp(legacy.port), "Legacy MySQL over TLS")

    def _add_gateways(self) -> None:
        subnets = [self.compute_subnets, self.database_subnets]
        s3 = self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3, subnets=subnets)
        s3.add_to_policy(
            iam.PolicyStatement(
                sid="OwnBuckets",
                principals=[iam.AnyPrincipal()],
                actions=["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
                resources=["*"],
                conditions={"StringEquals": {"aws:ResourceAccount": self.account}},
            )
        )
        answers = f"cloudformation-custom-resource-response-{self.region.replace('-', '')}"
        s3.add_to_policy(
            iam.PolicyStatement(
                sid="ImageLayersAndDeploymentAnswers",
                principals=[iam.AnyPrincipal()],
                actions=["s3:GetObject", "s3:PutObject"],
                # AWS owns both: ECR serves layers from one, CloudFormation takes answers of custom resources in the
                # other.
                resources=[
                    f"arn:{self.partition}:s3:::prod-{self.region}-starport-layer-bucket/*",
                    f"arn:{self.partition}:s3:::{answers}/*",
                ],
            )
        )
        dynamodb = self.vpc.add_gateway_endpoint(
            "DynamoDb", service=ec2.GatewayVpcEndpointAwsService.DYNAMODB, subnets=subnets
        )
        dynamodb.add_to_policy(
            iam.PolicyStatement(
                sid="OwnTables",
                principals=[iam.AnyPrincipal()],
                actions=["dynamodb:*Item", "dynamodb:Query", "dynamodb:DescribeTable"],
                resources=[f"arn:{self.partition}:dynamodb:{self.region}:{self.account}:table/*"],
            )
        )

    def _close_default_group(self, keys: Keys, retention_days: int, endpoints: InterfaceEndpoints) -> None:
        closer = RuntimeFunction(
            self,
            "CloseDefaultGroup",
            package="default_security_group",
            description="Takes every rule out of the VPC's default security group",
            placement=Placement(
                vpc=self.vpc,
                subnets=self.compute_subnets,
                security_group=self.functions_group,
                functions_key=keys.functions,
                logs_key=keys.logs,
                secrets_key=keys.secrets,
                log_retention_days=retention_days,
            ),
            timeout=cdk.Duration.minutes(2),
        )
        group = self.vpc.vpc_default_security_group
        closer.permissions.allow(
            "ec2:RevokeSecurityGroupIngress",
            "ec2:RevokeSecurityGroupEgress",
            resources=[f"arn:{self.partition}:ec2:{self.region}:{self.account}:security-group/{group}"],
        )
        closer.permissions.allow("ec2:DescribeSecurityGroupRules", resources=["*"])
        closed = cdk.CustomResource(
            self,
            "DefaultGroup",
            resource_type="Custom::ClosedDefaultSecurityGroup",
            service_token=closer.function.function_arn,
            properties={"SecurityGroupId": group},
        )
        # It answers over the endpoints, so they come first, and go last.
        closed.node.add_dependency(endpoints, *[child for child in self.vpc.node.children if child.node.id == "S3"])


def _connect(source: ec2.SecurityGroup, target: ec2.SecurityGroup, port: ec2.Port, description: str) -> None:
    source.add_egress_rule(target, port, description)
    target.add_ingress_rule(source, port, description)


def _admit_destination(service: ec2.SecurityGroup, destination: EgressDestination) -> None:
    service.add_egress_rule(ec2.Peer.ipv4(destination.cidr), ec2.Port.tcp(destination.port), destination.name)
