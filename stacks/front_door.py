"""The load balancer: TLS, firewall, access logs, and one target group for each environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_s3 as s3
from constructs import Construct

from blue_green.web_acl import WebAcl
from policy.acknowledgement import acknowledge
from stacks.config import ALB_IDLE_TIMEOUT_SECONDS, Color, Domain, FrontDoor
from stacks.network import SERVICE_PORT
from stacks.security import Keys

TLS_POLICY = elbv2.SslPolicy.TLS13_12_RES_PQ
"""TLS 1.3 with post-quantum key exchange, and 1.2 with forward secrecy, which Route 53's health checks need."""

HEALTH_PATH = "/health/ready"


class FrontDoorStack(cdk.NestedStack):
    """Both environments behind one listener. The weighted rule that chooses between them stands in ``routing``.

    Attributes:
        load_balancer: the load balancer.
        listener: its HTTPS listener, which answers 404 to a host that no rule names.
        target_groups: the containers of each environment.
        firewall: what protects the load balancer.
    """

    load_balancer: elbv2.ApplicationLoadBalancer
    listener: elbv2.ApplicationListener
    target_groups: Mapping[Color, elbv2.ApplicationTargetGroup]
    firewall: WebAcl

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        prefix: str,
        front_door: FrontDoor,
        domain: Domain,
        preview_cidrs: Sequence[str],
        vpc: ec2.IVpc,
        security_group: ec2.ISecurityGroup,
        keys: Keys,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id, description="Load balancer, firewall and target groups")
        self.load_balancer = self._balance(vpc, security_group, log_retention_days)
        self.firewall = WebAcl(
            self,
            "Firewall",
            prefix=prefix,
            load_balancer=self.load_balancer,
            rate_limit_per_five_minutes=front_door.rate_limit_per_five_minutes,
            logs_key=keys.logs,
            log_retention_days=log_retention_days,
        )
        self.target_groups = {color: self._target_group(color, front_door, vpc) for color in Color}
        self.listener = self.load_balancer.add_listener(
            "Https",
            port=443,
            protocol=elbv2.ApplicationProtocol.HTTPS,
            open=False,
            certificates=[self._certificate(front_door, domain)],
            ssl_policy=TLS_POLICY,
            default_action=elbv2.ListenerAction.fixed_response(
                404, content_type="application/json", message_body='{"title":"Unknown host","status":404}'
            ),
        )
        for priority, color in enumerate(Color, start=1):
            self._preview(color, priority, domain, preview_cidrs)
        self._hide_internals(domain)
        if front_door.http_redirect:
            self._redirect()

    def _balance(
        self, vpc: ec2.IVpc, security_group: ec2.ISecurityGroup, log_retention_days: int
    ) -> elbv2.ApplicationLoadBalancer:
        load_balancer = elbv2.ApplicationLoadBalancer(
            self,
            "LoadBalancer",
            vpc=vpc,
            internet_facing=True,
            vpc_subnets=ec2.SubnetSelection(subnet_group_name="Public"),
            security_group=security_group,
            deletion_protection=True,
            drop_invalid_header_fields=True,
            desync_mitigation_mode=elbv2.DesyncMitigationMode.STRICTEST,
            idle_timeout=cdk.Duration.seconds(ALB_IDLE_TIMEOUT_SECONDS),
            waf_fail_open=False,
        )
        load_balancer.log_access_logs(self._log_bucket(log_retention_days))
        return load_balancer

    def _log_bucket(self, retention_days: int) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            "AccessLogs",
            # The load balancer delivers to buckets under S3's own key only (user guide, enable-access-logging).
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            versioned=True,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            lifecycle_rules=[
                s3.LifecycleRule(
                    expiration=cdk.Duration.days(retention_days),
                    noncurrent_version_expiration=cdk.Duration.days(90),
                    abort_incomplete_multipart_upload_after=cdk.Duration.days(7),
                )
            ],
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        acknowledge(
            bucket,
            "PCI.DSS.321::PCI.DSS.321-S3DefaultEncryptionKMS",
            reason="Elastic Load Balancing cannot deliver access logs to a bucket under a customer-managed key; S3's "
            "own key encrypts them, and they hold no cardholder data.",
        )
        acknowledge(
            bucket,
            "PCI.DSS.321::PCI.DSS.321-S3BucketReplicationEnabled",
            reason="The log archive of the organisation keeps the copies that the standard asks for; a second bucket "
            "in this account would fall with the first.",
        )
        acknowledge(
            bucket,
            "PCI.DSS.321::PCI.DSS.321-S3BucketLoggingEnabled",
            "AwsSolutions::AwsSolutions-S1",
            "PCI401::BucketAccessLogged",
            reason="This is the log bucket itself: its own access log would have to go to a further log bucket without "
            "end; object-level events are recorded by the account's CloudTrail.",
        )
        acknowledge(
            bucket,
            "PCI401::LogBucketLocked",
            reason="It is not documented that Elastic Load Balancing delivers to a bucket with a default retention: S3 "
            "then refuses an upload without a checksum, a refused test file fails the deployment, and Object Lock "
            "cannot be turned off again. What is deleted stays 90 days as a version; the organisation's log archive "
            "keeps the copies.",
        )
        return bucket

    def _certificate(self, front_door: FrontDoor, domain: Domain) -> acm.ICertificate:
        if front_door.certificate_arn:
            return acm.Certificate.from_certificate_arn(self, "Certificate", front_door.certificate_arn)
        zone = route53.HostedZone.from_hosted_zone_attributes(
            self, "Zone", hosted_zone_id=domain.hosted_zone_id, zone_name=domain.zone_name
        )
        return acm.Certificate(
            self,
            "Certificate",
            domain_name=domain.payments_host,
            subject_alternative_names=[domain.environment_host(color) for color in Color],
            validation=acm.CertificateValidation.from_dns(zone),
            key_algorithm=acm.KeyAlgorithm.RSA_2048,
        )

    def _target_group(self, color: Color, front_door: FrontDoor, vpc: ec2.IVpc) -> elbv2.ApplicationTargetGroup:
        group = elbv2.ApplicationTargetGroup(
            self,
            f"{color.title}Targets",
            vpc=vpc,
            target_type=elbv2.TargetType.IP,
            protocol=elbv2.ApplicationProtocol.HTTPS,
            port=SERVICE_PORT,
            health_check=elbv2.HealthCheck(
                protocol=elbv2.Protocol.HTTPS,
                path=HEALTH_PATH,
                healthy_http_codes="200",
                # A dead task is out after 15 s; two good answers bring a new one in.
                interval=cdk.Duration.seconds(5),
                timeout=cdk.Duration.seconds(3),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
            slow_start=cdk.Duration.seconds(front_door.slow_start_seconds),
            deregistration_delay=cdk.Duration.seconds(front_door.deregistration_delay_seconds),
        )
        # An idle environment without healthy targets must not take the load balancer out of DNS.
        group.set_attribute("target_group_health.dns_failover.minimum_healthy_targets.count", "off")
        group.set_attribute("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off")
        group.set_attribute("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1")
        # With sessions, or a group, stuck to a target, a weight would move new clients only.
        group.set_attribute("stickiness.enabled", "false")
        cdk.Tags.of(group).add("Environment", color.value)
        return group

    def _preview(self, color: Color, priority: int, domain: Domain, networks: Sequence[str]) -> None:
        rule = elbv2.ApplicationListenerRule(
            self,
            f"{color.title}Preview",
            listener=self.listener,
            priority=priority,
            conditions=[
                elbv2.ListenerCondition.host_headers([domain.environment_host(color)]),
                elbv2.ListenerCondition.source_ips(list(networks)),
            ],
            action=elbv2.ListenerAction.forward([self.target_groups[color]]),
        )
        cdk.Tags.of(rule).add("Environment", color.value)

    def _hide_internals(self, domain: Domain) -> None:
        """Metrics, and the health of the parts, are for those who may preview an environment.

        Route 53 asks for the health by the load balancer's own name, which the second rule leaves alone.
        """
        not_found = elbv2.ListenerAction.fixed_response(404)
        elbv2.ApplicationListenerRule(
            self,
            "HiddenMetrics",
            listener=self.listener,
            priority=10,
            conditions=[elbv2.ListenerCondition.path_patterns(["/metrics", "/metrics/*"])],
            action=not_found,
        )
        elbv2.ApplicationListenerRule(
            self,
            "HiddenHealth",
            listener=self.listener,
            priority=11,
            conditions=[
                elbv2.ListenerCondition.host_headers([domain.payments_host]),
                elbv2.ListenerCondition.path_patterns(["/health/*"]),
            ],
            action=not_found,
        )

    def _redirect(self) -> None:
        listener = self.load_balancer.add_listener(
            "Http",
            port=80,
            open=False,
            default_action=elbv2.ListenerAction.redirect(protocol="HTTPS", port="443", permanent=True),
        )
        acknowledge(
            listener,
            "PCI.DSS.321::PCI.DSS.321-ELBv2ACMCertificateRequired",
            reason="The listener on port 80 answers with a redirect to HTTPS and nothing else; it never sees a "
            "payment.",
        )
