"""The levers of the cutover: the weighted listener rule and the records. Nothing else may stand here.

CloudFormation sends a resource as a whole when any of its properties changes, and so would undo a shift. The
values below are constants, and nothing that changes from deployment to deployment enters this template.
"""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_route53 as route53
from constructs import Construct

from stacks.config import Color, Domain, LegacyEndpoint

INITIAL_WEIGHTS: Mapping[Color, int] = {Color.BLUE: 100, Color.GREEN: 0}
"""Share of the listener rule at creation, in percent; afterwards the runtime owns it."""

INITIAL_RECORD_WEIGHTS: Mapping[str, int] = {"legacy": 100, "aws": 0}
"""Weights of the DNS records at creation, in percent; afterwards the runtime owns them."""

RECORD_TTL_SECONDS = 60
"""TTL of the weighted records; the alias has the load balancer's own, which is 60 s too."""

RULE_PRIORITY = 100


class RoutingStack(cdk.NestedStack):
    """What chooses between legacy and AWS, and between blue and green.

    Attributes:
        rule: the weighted listener rule.
        legacy_health_check_id: health check of the legacy record.
    """

    legacy_health_check_id: str
    rule: elbv2.CfnListenerRule

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        domain: Domain,
        legacy_endpoint: LegacyEndpoint,
        load_balancer: elbv2.IApplicationLoadBalancer,
        listener: elbv2.IApplicationListener,
        target_groups: Mapping[Color, elbv2.IApplicationTargetGroup],
    ) -> None:
        super().__init__(scope, construct_id, description="Weights between environments, and between legacy and AWS")
        self.rule = elbv2.CfnListenerRule(
            self,
            "Weighted",
            listener_arn=listener.listener_arn,
            priority=RULE_PRIORITY,
            conditions=[
                elbv2.CfnListenerRule.RuleConditionProperty(
                    field="host-header",
                    host_header_config=elbv2.CfnListenerRule.HostHeaderConfigProperty(
                        # Route 53's health check asks by the load balancer's own name, and so sees what clients see.
                        values=[domain.payments_host, load_balancer.load_balancer_dns_name]
                    ),
                )
            ],
            actions=[
                elbv2.CfnListenerRule.ActionProperty(
                    type="forward",
                    forward_config=elbv2.CfnListenerRule.ForwardConfigProperty(
                        target_groups=[
                            elbv2.CfnListenerRule.TargetGroupTupleProperty(
                                target_group_arn=target_groups[color].target_group_arn, weight=INITIAL_WEIGHTS[color]
                            )
                            for color in Color
                        ],
                        # A client that is stuck to an environment cannot be shifted, nor rolled back.
                        target_group_stickiness_config=elbv2.CfnListenerRule.TargetGroupStickinessConfigProperty(
                            enabled=False
                        ),
                    ),
                )
            ],
        )
        self._legacy_record(domain, legacy_endpoint)
        self._aws_record(domain, load_balancer)
        for color in Color:
            route53.CfnRecordSet(
                self,
                f"{color.title}Record",
                hosted_zone_id=domain.hosted_zone_id,
                name=f"{domain.environment_host(color)}.",
                type="A",
                alias_target=_alias(load_balancer),
            )

    def _legacy_record(self, domain: Domain, legacy: LegacyEndpoint) -> None:
        checks = [
            self._health_check(
                f"LegacyHealth{number}",
                ip_address=address,
                fully_qualified_domain_name=domain.payments_host,
                port=legacy.port,
                path=legacy.health_path,
            )
            for number, address in enumerate(legacy.addresses, start=1)
        ]
        healthy = (
            checks[0].attr_health_check_id
            if len(checks) == 1
            # One address that answers is enough.
            else route53.CfnHealthCheck(
                self,
                "LegacyHealth",
                health_check_config=route53.CfnHealthCheck.HealthCheckConfigProperty(
                    type="CALCULATED",
                    child_health_checks=[check.attr_health_check_id for check in checks],
                    health_threshold=1,
                ),
            ).attr_health_check_id
        )
        self.legacy_health_check_id = healthy
        route53.CfnRecordSet(
            self,
            "LegacyRecord",
            hosted_zone_id=domain.hosted_zone_id,
            name=f"{domain.payments_host}.",
            type="A",
            set_identifier="legacy",
            weight=INITIAL_RECORD_WEIGHTS["legacy"],
            ttl=str(RECORD_TTL_SECONDS),
            resource_records=list(legacy.addresses),
            health_check_id=healthy,
        )

    def _aws_record(self, domain: Domain, load_balancer: elbv2.IApplicationLoadBalancer) -> None:
        check = self._health_check(
            "AwsHealth",
            fully_qualified_domain_name=load_balancer.load_balancer_dns_name,
            port=443,
            path="/health/ready",
        )
        route53.CfnRecordSet(
            self,
            "AwsRecord",
            hosted_zone_id=domain.hosted_zone_id,
            name=f"{domain.payments_host}.",
            type="A",
            set_identifier="aws",
            weight=INITIAL_RECORD_WEIGHTS["aws"],
            alias_target=_alias(load_balancer),
            health_check_id=check.attr_health_check_id,
        )

    def _health_check(
        self,
        construct_id: str,
        *,
        fully_qualified_domain_name: str,
        port: int,
        path: str,
        ip_address: str | None = None,
    ) -> route53.CfnHealthCheck:
        return route53.CfnHealthCheck(
            self,
            construct_id,
            health_check_config=route53.CfnHealthCheck.HealthCheckConfigProperty(
                type="HTTPS",
                ip_address=ip_address,
                fully_qualified_domain_name=fully_qualified_domain_name,
                port=port,
                resource_path=path,
                enable_sni=True,
                request_interval=10,
                failure_threshold=3,
            ),
        )


def _alias(load_balancer: elbv2.IApplicationLoadBalancer) -> route53.CfnRecordSet.AliasTargetProperty:
    return route53.CfnRecordSet.AliasTargetProperty(
        dns_name=load_balancer.load_balancer_dns_name,
        hosted_zone_id=load_balancer.load_balancer_canonical_hosted_zone_id,
        # Evaluating the targets would count an idle environment without healthy targets as a failed load balancer;
        # the health check above asks through the live weights instead.
        evaluate_target_health=False,
    )
