"""One Aurora MySQL cluster for payments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_rds as rds
from constructs import Construct

from blue_green.database_secrets import DatabaseSecrets
from blue_green.encrypted_log_group import EncryptedLogGroup
from policy.acknowledgement import acknowledge

ENGINE = rds.DatabaseClusterEngine.aurora_mysql(version=rds.AuroraMysqlEngineVersion.VER_3_12_0)
"""Newest Aurora MySQL 3 (MySQL 8.0) that the CDK knows."""

LOG_EXPORTS = ("audit", "error", "general", "slowquery")


def cluster_parameters(*, auto_increment_offset: int) -> Mapping[str, str]:
    """Parameters of a cluster in the chain of databases.

    ``binlog_row_image`` is not among them: DMS needs FULL, which Aurora has and does not let anybody set; nor are
    the enhanced binlog's, which CloudFormation cannot set in one request.

    Args:
        auto_increment_offset: 1 or 2, different on neighbours, so that generated keys never collide.
    """
    return {
        # Change data capture by DMS (CHAP_Source.MySQL of its user guide).
        "binlog_format": "ROW",
        "binlog_checksum": "NONE",
        "binlog_transaction_compression": "OFF",
        # DMS loads a table that it copies for the first time with LOAD DATA LOCAL.
        "local_infile": "1",
        "auto_increment_increment": "2",
        "auto_increment_offset": str(auto_increment_offset),
        "require_secure_transport": "ON",
        "tls_version": "TLSv1.2,TLSv1.3",
        "server_audit_logging": "1",
        # No statements that touch rows: they would carry cardholder data into the log.
        "server_audit_events": "CONNECT,QUERY_DCL,QUERY_DDL",
        "general_log": "0",
        "slow_query_log": "1",
        "long_query_time": "1",
        "log_output": "FILE",
        # An idle terminal is closed after a quarter of an hour (PCI DSS 8.2.8); wait_timeout, which pools and DMS
        # depend on, stays as it is.
        "interactive_timeout": "900",
        "time_zone": "UTC",
    }


class PaymentDatabase(Construct):
    """A writer and a reader in different zones, encrypted, audited, readable for change data capture.

    Attributes:
        cluster: the cluster.
        identifier: its identifier; log groups need it before the cluster exists.
        secrets: its accounts.
        attachments: host and port are in the secrets when these exist.
    """

    cluster: rds.DatabaseCluster
    identifier: str
    secrets: DatabaseSecrets

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        database: str,
        identifier: str,
        auto_increment_offset: int,
        instance_class: str,
        port: int,
        backup_retention_days: int,
        performance_insights_days: int,
        monitoring_interval_seconds: int,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        availability_zones: Sequence[str],
        security_group: ec2.ISecurityGroup,
        database_key: kms.IKey,
        secrets_key: kms.IKey,
        logs_key: kms.IKey,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id)
        self.identifier = identifier
        self.secrets = DatabaseSecrets(self, "Secrets", database=database, key=secrets_key)
        log_groups = self._log_groups(logs_key, log_retention_days)
        self._instance_class = instance_class
        self._database_key = database_key
        self.cluster = rds.DatabaseCluster(
            self,
            "Cluster",
            cluster_identifier=identifier,
            engine=ENGINE,
            credentials=rds.Credentials.from_secret(self.secrets.admin),
            writer=self._instance("Writer", availability_zones[0]),
            readers=[self._instance("Reader", availability_zones[1])],
            parameter_group=self._parameters(database, auto_increment_offset),
            port=port,
            vpc=vpc,
            subnet_group=rds.SubnetGroup(
                self,
                "Subnets",
                description=f"Isolated subnets of the {database} database",
                vpc=vpc,
                vpc_subnets=subnets,
                removal_policy=cdk.RemovalPolicy.RETAIN,
            ),
            security_groups=[security_group],
            storage_encrypted=True,
            storage_encryption_key=database_key,
            iam_authentication=True,
            deletion_protection=True,
            removal_policy=cdk.RemovalPolicy.SNAPSHOT,
            backup=rds.BackupProps(retention=cdk.Duration.days(backup_retention_days), preferred_window="04:00-04:30"),
            preferred_maintenance_window="sun:05:00-sun:05:30",
            copy_tags_to_snapshot=True,
            cloudwatch_logs_exports=list(LOG_EXPORTS),
            monitoring_interval=cdk.Duration.seconds(monitoring_interval_seconds),
            enable_cluster_level_enhanced_monitoring=True,
            monitoring_role=self._monitoring_role(),
        )
        self._retain_insights(performance_insights_days)
        for group in log_groups:
            self.cluster.node.add_dependency(group)
        self.attachments = self.secrets.attach(self.cluster)
        acknowledge(
            self.cluster,
            "PCI401::DatabaseNoLocalInfile",
            reason="DMS loads a database that joins the chain with LOAD DATA LOCAL, and each database of the chain is "
            "built alike; no account of a client has the privilege FILE.",
        )
        acknowledge(
            self.cluster,
            "AwsSolutions::AwsSolutions-RDS14",
            reason="Backtrack does not work with the binary log, which replication reads; continuous backup and the "
            "other database are the ways back.",
        )

    def _instance(self, name: str, availability_zone: str) -> rds.IClusterInstance:
        return rds.ClusterInstance.provisioned(
            name,
            instance_type=ec2.InstanceType(self._instance_class),
            availability_zone=availability_zone,
            # Both take over at once: the reader is as large as the writer.
            promotion_tier=0,
            auto_minor_version_upgrade=True,
            enable_performance_insights=True,
            performance_insight_encryption_key=self._database_key,
            ca_certificate=rds.CaCertificate.RDS_CA_RSA4096_G1,
            publicly_accessible=False,
        )

    def _log_groups(self, key: kms.IKey, retention_days: int) -> list[logs.LogGroup]:
        """RDS writes to groups of these names, and would make them without a key if they did not exist."""
        return [
            EncryptedLogGroup(
                self,
                f"{export.capitalize()}Logs",
                key=key,
                retention_days=retention_days,
                log_group_name=f"/aws/rds/cluster/{self.identifier}/{export}",
            )
            for export in LOG_EXPORTS
        ]

    def _parameters(self, database: str, auto_increment_offset: int) -> rds.ParameterGroup:
        return rds.ParameterGroup(
            self,
            "Parameters",
            engine=ENGINE,
            description=f"Change data capture, TLS and audit of the {database} database",
            parameters=dict(cluster_parameters(auto_increment_offset=auto_increment_offset)),
        )

    def _monitoring_role(self) -> iam.IRole:
        role = iam.Role(
            self,
            "Monitoring",
            assumed_by=iam.ServicePrincipal(
                "monitoring.rds.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": cdk.Stack.of(self).account}},
            ),
            description="Enhanced monitoring",
            managed_policies=[
                iam.ManagedPolicy.from_aws_managed_policy_name("service-role/AmazonRDSEnhancedMonitoringRole")
            ],
        )
        acknowledge(
            role,
            "AwsSolutions::AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole]",
            reason="RDS documents this managed policy for enhanced monitoring; it writes to the log group RDSOSMetrics "
            "only.",
        )
        return role

    def _retain_insights(self, days: int) -> None:
        for child in self.cluster.node.find_all():
            if isinstance(child, rds.CfnDBInstance):
                child.performance_insights_retention_period = days
