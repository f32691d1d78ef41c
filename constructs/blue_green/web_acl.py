"""The web application firewall in front of the load balancer."""

from __future__ import annotations

from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from blue_green.encrypted_log_group import EncryptedLogGroup

MANAGED_RULE_GROUPS = (
    "AWSManagedRulesAmazonIpReputationList",
    "AWSManagedRulesCommonRuleSet",
    "AWSManagedRulesKnownBadInputsRuleSet",
    "AWSManagedRulesSQLiRuleSet",
)


class WebAcl(Construct):
    """AWS managed rules and a limit on the rate of each address, logged without credentials.

    Attributes:
        metric_name: name of the ACL in its metrics.
    """

    metric_name: str

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        load_balancer: elbv2.IApplicationLoadBalancer,
        rate_limit_per_five_minutes: int,
        logs_key: kms.IKey,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id)
        # Stages of one account share the namespace of the metrics.
        self.metric_name = f"{prefix}-web-acl"
        acl = wafv2.CfnWebACL(
            self,
            "Acl",
            scope="REGIONAL",
            description="Managed rules and rate limit for the payment API",
            default_action=wafv2.CfnWebACL.DefaultActionProperty(allow={}),
            visibility_config=_visibility(self.metric_name),
            rules=[
                wafv2.CfnWebACL.RuleProperty(
                    name="RateLimit",
                    priority=0,
                    action=wafv2.CfnWebACL.RuleActionProperty(block={}),
                    statement=wafv2.CfnWebACL.StatementProperty(
                        rate_based_statement=wafv2.CfnWebACL.RateBasedStatementProperty(
                            limit=rate_limit_per_five_minutes, aggregate_key_type="IP", evaluation_window_sec=300
                        )
                    ),
                    visibility_config=_visibility("RateLimit"),
                ),
                *(
                    wafv2.CfnWebACL.RuleProperty(
                        name=group,
                        priority=priority,
                        override_action=wafv2.CfnWebACL.OverrideActionProperty(none={}),
                        statement=wafv2.CfnWebACL.StatementProperty(
                            managed_rule_group_statement=wafv2.CfnWebACL.ManagedRuleGroupStatementProperty(
                                vendor_name="AWS", name=group
                            )
                        ),
                        visibility_config=_visibility(group),
                    )
                    for priority, group in enumerate(MANAGED_RULE_GROUPS, start=1)
                ),
            ],
        )
        wafv2.CfnWebACLAssociation(
            self, "Association", resource_arn=load_balancer.load_balancer_arn, web_acl_arn=acl.attr_arn
        )
        log_group = EncryptedLogGroup(
            self,
            "Logs",
            key=logs_key,
            retention_days=log_retention_days,
            # WAF refuses a log group whose name does not start like this.
            log_group_name=f"aws-waf-logs-{prefix}",
        )
        wafv2.CfnLoggingConfiguration(
            self,
            "Logging",
            resource_arn=acl.attr_arn,
            # WAF wants the group itself, without the ":*" of the streams.
            log_destination_configs=[
                f"arn:aws:logs:{log_group.stack.region}:{log_group.stack.account}:log-group:{log_group.log_group_name}"
            ],
            redacted_fields=[
                wafv2.CfnLoggingConfiguration.FieldToMatchProperty(single_header={"Name": header})
                for header in ("authorization", "cookie")
            ],
        )


def _visibility(name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    return wafv2.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=False
    )
