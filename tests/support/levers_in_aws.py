"""The listener rule and the pair of records of a cutover, in moto's server, as the stack ``routing`` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import uuid4

from cutover_state.levers import Kind, Lever
from tests.support.local_aws import LocalAws
from traffic.listener_rule import ListenerRule
from traffic.weighted_records import WeightedRecords

HOST = "pay.example.com"


@dataclass(frozen=True, kw_only=True)
class LeversInAws:
    """Attributes: target_groups: ARN by environment."""

    aws: LocalAws
    load_balancer_arn: str
    listener_arn: str
    rule_arn: str
    target_groups: Mapping[str, str]
    hosted_zone_id: str

    @classmethod
    def create(cls, aws: LocalAws) -> LeversInAws:
        """Blue and legacy have everything."""
        elbv2, ec2, route53 = (aws.shared_client(name) for name in ("elbv2", "ec2", "route53"))
        subnets = ec2.describe_subnets()["Subnets"][:2]
        load_balancer = elbv2.create_load_balancer(
            Name=f"lb-{uuid4().hex[:20]}", Subnets=[subnet["SubnetId"] for subnet in subnets]
        )["LoadBalancers"][0]["LoadBalancerArn"]
        groups = {side: create_target_group(aws, subnets[0]["VpcId"]) for side in ("blue", "green")}
        listener = elbv2.create_listener(
            LoadBalancerArn=load_balancer,
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
        )["Listeners"][0]["ListenerArn"]
        rule = elbv2.create_rule(
            ListenerArn=listener,
            Priority=100,
            Conditions=[{"Field": "host-header", "HostHeaderConfig": {"Values": [HOST]}}],
            Actions=[forward({groups["blue"]: 100, groups["green"]: 0})],
        )["Rules"][0]["RuleArn"]
        zone = route53.create_hosted_zone(Name=f"{HOST.partition('.')[2]}.", CallerReference=str(uuid4()))
        created = cls(
            aws=aws,
            load_balancer_arn=load_balancer,
            listener_arn=listener,
            rule_arn=rule,
            target_groups=groups,
            hosted_zone_id=zone["HostedZone"]["Id"],
        )
        check = route53.create_health_check(
            CallerReference=str(uuid4()),
            HealthCheckConfig={"IPAddress": "192.0.2.10", "Port": 443, "Type": "HTTPS", "ResourcePath": "/health"},
        )["HealthCheck"]["Id"]
        created.upsert(
            {
                "SetIdentifier": "legacy",
                "Weight": 100,
                "TTL": 60,
                "ResourceRecords": [{"Value": "192.0.2.10"}],
                "HealthCheckId": check,
            },
            {
                "SetIdentifier": "aws",
                "Weight": 0,
                "AliasTarget": {
                    "HostedZoneId": "Z35SXDOTRQ7X7K",
                    "DNSName": "lb.us-east-1.elb.amazonaws.com.",
                    "EvaluateTargetHealth": True,
                },
            },
            # The neighbours in the zone's order, which must not be taken for the pair.
            {"Name": f"blue.{HOST}.", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.1"}]},
            {"Name": "pay2.example.com.", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.2"}]},
        )
        return created

    def upsert(self, *records: Mapping[str, Any], action: str = "UPSERT", zone: str | None = None) -> None:
        """Change records by hand; those of the pair's name, unless they bring their own."""
        changes = [
            {"Action": action, "ResourceRecordSet": {"Name": f"{HOST}.", "Type": "A", **each}} for each in records
        ]
        self.aws.shared_client("route53").change_resource_record_sets(
            HostedZoneId=zone or self.hosted_zone_id, ChangeBatch={"Changes": changes}
        )

    def record_sets(self) -> dict[str, dict[str, Any]]:
        """The pair as Route 53 has it, without the weights."""
        found = self.aws.shared_client("route53").list_resource_record_sets(HostedZoneId=self.hosted_zone_id)
        pair = [each for each in found["ResourceRecordSets"] if each["Name"] == f"{HOST}." and each["Type"] == "A"]
        return {each["SetIdentifier"]: {k: v for k, v in each.items() if k != "Weight"} for each in pair}

    def set(self, *, green: int = 0, aws: int = 0) -> None:
        """Weights by hand, the other sides getting the rest."""
        self._rule.write({"blue": 100 - green, "green": green})
        self._records.write({"legacy": 100 - aws, "aws": aws})

    def live(self) -> dict[Kind, dict[str, int]]:
        """The weights, asked with clients of nobody else."""
        return {Kind.ENVIRONMENT: self._rule.read(), Kind.FRONT_DOOR: self._records.read()}

    def levers(self, elbv2: Any, route53: Any) -> dict[Kind, Lever]:
        """The levers with these clients."""
        return {
            Kind.ENVIRONMENT: ListenerRule(
                elbv2, rule_arn=self.rule_arn, target_groups=self.target_groups, sleep=lambda _: None
            ),
            Kind.FRONT_DOOR: WeightedRecords(
                route53, hosted_zone_id=self.hosted_zone_id, name=HOST, sleep=lambda _: None
            ),
        }

    @cached_property
    def _own(self) -> dict[Kind, Lever]:
        return self.levers(self.aws.shared_client("elbv2"), self.aws.shared_client("route53"))

    @property
    def _rule(self) -> Lever:
        return self._own[Kind.ENVIRONMENT]

    @property
    def _records(self) -> Lever:
        return self._own[Kind.FRONT_DOOR]


def create_target_group(aws: LocalAws, vpc_id: str) -> str:
    """A target group that nothing forwards to yet, and its ARN."""
    group = aws.shared_client("elbv2").create_target_group(
        Name=f"tg-{uuid4().hex[:20]}", Protocol="HTTPS", Port=8443, VpcId=vpc_id, TargetType="ip"
    )
    return str(group["TargetGroups"][0]["TargetGroupArn"])


def forward(weights: Mapping[str, int], *, sticky: bool = False) -> dict[str, Any]:
    """A forward action with the weights by ARN."""
    return {
        "Type": "forward",
        "ForwardConfig": {
            "TargetGroups": [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()],
            "TargetGroupStickinessConfig": {"Enabled": sticky, **({"DurationSeconds": 60} if sticky else {})},
        },
    }
