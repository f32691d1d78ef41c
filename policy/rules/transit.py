"""Account data and credentials travel only over strong cryptography, with certificates that are checked."""

import re
from collections.abc import Iterator

from policy.engine import (
    Objection,
    expect,
    objection,
    ref,
    resource,
    rule,
    undecided,
    varied,
    without,
)
from policy.statements import Statement, policies_of
from policy.templates import App, Resource

STRONG_TLS_POLICIES = (
    "ELBSecurityPolicy-TLS13-1-3-",
    "ELBSecurityPolicy-TLS13-1-2-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Res-",
    "ELBSecurityPolicy-TLS13-1-2-FIPS-",
    "ELBSecurityPolicy-TLS13-1-2-Res-FIPS-",
    "ELBSecurityPolicy-TLS13-1-3-FIPS-",
    "ELBSecurityPolicy-TLS13-1-3-PQ-",
    "ELBSecurityPolicy-TLS13-1-2-PQ-",
    "ELBSecurityPolicy-FS-1-2-Res-",
)
"""Policies of Elastic Load Balancing without TLS 1.0 and 1.1 and with forward secrecy, by their start."""

_BALANCER = {"Balancer": resource("AWS::ElasticLoadBalancingV2::LoadBalancer", Type="application")}
HTTPS = {
    **_BALANCER,
    "Listener": resource(
        "AWS::ElasticLoadBalancingV2::Listener",
        LoadBalancerArn=ref("Balancer"),
        Port=443,
        Protocol="HTTPS",
        SslPolicy="ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09",
        Certificates=[{"CertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/example"}],
        DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
    ),
}
_REDIRECT = {
    **_BALANCER,
    "Listener": resource(
        "AWS::ElasticLoadBalancingV2::Listener",
        LoadBalancerArn=ref("Balancer"),
        Port=80,
        Protocol="HTTP",
        DefaultActions=[{"Type": "redirect", "RedirectConfig": {"Protocol": "HTTPS", "StatusCode": "HTTP_301"}}],
    ),
}


def redirects_to_https(listener: Resource) -> bool:
    """Whether every default action of a listener sends the client to HTTPS."""
    actions = listener["DefaultActions"].items()
    return bool(actions) and all(
        action["Type"].text == "redirect" and action["RedirectConfig.Protocol"].text == "HTTPS" for action in actions
    )


def _encrypts(listener: Resource, _app: App) -> bool:
    return listener["Protocol"].text in ("HTTPS", "TLS")


@rule(
    id="ListenerEncrypted",
    requirements=["4.2.1", "2.2.5"],
    title="A listener speaks TLS, or only redirects to it.",
    why="A request that arrives in the clear has already given its content away.",
    fix="Set Protocol to HTTPS (TLS on a network load balancer), or let the listener redirect to HTTPS.",
    types=["AWS::ElasticLoadBalancingV2::Listener"],
    complies=[HTTPS, _REDIRECT],
    violates=[
        varied(HTTPS, "Listener.Protocol", "HTTP"),
        varied(HTTPS, "Listener.Protocol", "TCP"),
        varied(_REDIRECT, "Listener.DefaultActions.0.RedirectConfig.Protocol", "HTTP"),
    ],
)
def listener_encrypted(listener: Resource, _app: App) -> Iterator[Objection]:
    if not redirects_to_https(listener):
        yield from expect(
            listener["Protocol"],
            "HTTPS or TLS, or a redirect to HTTPS as the only action",
            lambda v: v.text in ("HTTPS", "TLS"),
        )


@rule(
    id="ListenerTlsPolicy",
    requirements=["4.2.1", "12.3.3"],
    title="A listener admits TLS 1.2 and 1.3 with strong cipher suites only.",
    why="Without a policy named, CloudFormation's default still admits TLS 1.0.",
    fix="Set SslPolicy, e.g. to ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09.",
    types=["AWS::ElasticLoadBalancingV2::Listener"],
    applies=_encrypts,
    complies=[HTTPS],
    violates=[
        without(HTTPS, "Listener.SslPolicy"),
        varied(HTTPS, "Listener.SslPolicy", "ELBSecurityPolicy-2016-08"),
        varied(HTTPS, "Listener.SslPolicy", "ELBSecurityPolicy-TLS13-1-1-2021-06"),
        varied(HTTPS, "Listener.SslPolicy", "ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06"),
    ],
)
def listener_tls_policy(listener: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(
        listener["SslPolicy"],
        "a policy of TLS 1.2 or 1.3 with forward secrecy",
        lambda v: v.text.startswith(STRONG_TLS_POLICIES),
    )


@rule(
    id="ListenerCertificate",
    requirements=["4.2.1", "4.2.1.1"],
    title="A TLS listener presents a certificate.",
    why="Clients can trust the endpoint only by a valid certificate, kept in one inventory (ACM).",
    fix="Set Certificates with the ARN of a certificate in ACM.",
    types=["AWS::ElasticLoadBalancingV2::Listener"],
    applies=_encrypts,
    complies=[HTTPS],
    violates=[without(HTTPS, "Listener.Certificates"), varied(HTTPS, "Listener.Certificates", [])],
)
def listener_certificate(listener: Resource, _app: App) -> Iterator[Objection]:
    certificates = listener["Certificates"]
    yield from expect(certificates, "at least one certificate", lambda v: bool(v.items()))


CERTIFICATE = {
    "Certificate": resource(
        "AWS::CertificateManager::Certificate",
        DomainName="pay.example.com",
        KeyAlgorithm="EC_prime256v1",
        ValidationMethod="DNS",
    )
}


@rule(
    id="CertificateKeyStrong",
    requirements=["3.7.1", "4.2.1"],
    title="The key of a certificate is strong.",
    why="1024-bit RSA can be broken with money; strong means RSA of 2048 bits and more, or an elliptic curve.",
    fix="Leave KeyAlgorithm out (RSA_2048), or name a stronger one.",
    types=["AWS::CertificateManager::Certificate"],
    complies=[CERTIFICATE, without(CERTIFICATE, "Certificate.KeyAlgorithm")],
    violates=[varied(CERTIFICATE, "Certificate.KeyAlgorithm", "RSA_1024")],
)
def certificate_key_strong(certificate: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(
        certificate["KeyAlgorithm"],
        "RSA_2048, RSA_3072, RSA_4096 or an elliptic curve",
        lambda v: v.missing or v.text in ("RSA_2048", "RSA_3072", "RSA_4096") or v.text.startswith("EC_"),
    )


@rule(
    id="CertificateRenewsItself",
    requirements=["4.2.1"],
    title="A certificate renews itself.",
    why="A certificate validated by e-mail expires when nobody answers; clients then learn to click warnings away.",
    fix="Set ValidationMethod to DNS.",
    types=["AWS::CertificateManager::Certificate"],
    complies=[CERTIFICATE],
    violates=[
        varied(CERTIFICATE, "Certificate.ValidationMethod", "EMAIL"),
        without(CERTIFICATE, "Certificate.ValidationMethod"),
    ],
)
def certificate_renews_itself(certificate: Resource, _app: App) -> Iterator[Objection]:
    private = not certificate["CertificateAuthorityArn"].missing
    if not private:
        yield from expect(certificate["ValidationMethod"], "DNS", lambda v: v.text == "DNS")


TARGET_GROUP = {
    "Group": resource("AWS::ElasticLoadBalancingV2::TargetGroup", Protocol="HTTPS", Port=8443, TargetType="ip")
}


@rule(
    id="TargetGroupEncrypted",
    requirements=["4.2.1"],
    title="A load balancer speaks TLS to its targets, too.",
    why="Behind the load balancer the same data travels on; inside the network is no reason to send it in the clear.",
    fix="Set Protocol to HTTPS (TLS on a network load balancer).",
    types=["AWS::ElasticLoadBalancingV2::TargetGroup"],
    applies=lambda group, _app: group["TargetType"].text != "lambda",
    complies=[TARGET_GROUP],
    violates=[varied(TARGET_GROUP, "Group.Protocol", "HTTP"), varied(TARGET_GROUP, "Group.Protocol", "TCP")],
)
def target_group_encrypted(group: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(group["Protocol"], "HTTPS or TLS", lambda v: v.text in ("HTTPS", "TLS"))


DATABASE = {
    "Parameters": resource(
        "AWS::RDS::DBClusterParameterGroup",
        Family="aurora-mysql8.0",
        Parameters={"require_secure_transport": "ON", "tls_version": "TLSv1.2,TLSv1.3"},
    ),
    "Cluster": resource("AWS::RDS::DBCluster", Engine="aurora-mysql", DBClusterParameterGroupName=ref("Parameters")),
}
_POSTGRES = {
    "Parameters": resource(
        "AWS::RDS::DBParameterGroup",
        Family="postgres16",
        Parameters={"rds.force_ssl": "1", "ssl_min_protocol_version": "TLSv1.2"},
    ),
    "Instance": resource("AWS::RDS::DBInstance", Engine="postgres", DBParameterGroupName=ref("Parameters")),
}

_FORCES_TLS = {"mysql": "require_secure_transport", "mariadb": "require_secure_transport", "postgres": "rds.force_ssl"}


def engine_family(database: Resource) -> str:
    """One of mysql, mariadb and postgres, or "" for an engine that these rules do not know."""
    engine = database["Engine"].text
    return next((family for family in _FORCES_TLS if family in engine), "")


_TLS_BY_DEFAULT = {"postgres": 15, "aurora-postgresql": 17}
"""Engines that refuse plain connections by themselves, from which major version on."""


def _refuses_by_default(database: Resource) -> bool:
    lowest = _TLS_BY_DEFAULT.get(database["Engine"].text)
    major = re.match(r"\d+", database["EngineVersion"].text)
    return lowest is not None and major is not None and int(major[0]) >= lowest


def parameter_group(database: Resource, app: App) -> Resource | None:
    """The parameter group whose parameters hold for a cluster, or for an instance that is in none."""
    if database.type == "AWS::RDS::DBCluster":
        return app.target(database["DBClusterParameterGroupName"], "AWS::RDS::DBClusterParameterGroup")
    return app.target(database["DBParameterGroupName"], "AWS::RDS::DBParameterGroup")


def standalone(database: Resource, _app: App) -> bool:
    """Whether a database is a cluster or an instance of its own, of an engine known here."""
    in_cluster = database.type == "AWS::RDS::DBInstance" and not database["DBClusterIdentifier"].missing
    return not in_cluster and engine_family(database) != ""


def parameter_place(database: Resource) -> str:
    return "DBClusterParameterGroupName" if database.type == "AWS::RDS::DBCluster" else "DBParameterGroupName"


@rule(
    id="DatabaseRequiresTls",
    requirements=["4.2.1", "8.3.2"],
    title="A database refuses connections without TLS.",
    why="A client that forgets TLS sends its password and rows in the clear, and nothing else would notice.",
    fix="Set require_secure_transport to ON (rds.force_ssl to 1 for PostgreSQL) in the parameter group.",
    types=["AWS::RDS::DBCluster", "AWS::RDS::DBInstance"],
    applies=standalone,
    complies=[
        DATABASE,
        _POSTGRES,
        {"Instance": resource("AWS::RDS::DBInstance", Engine="postgres", EngineVersion="16.4")},
    ],
    violates=[
        varied(DATABASE, "Parameters.Parameters.require_secure_transport", "OFF"),
        without(DATABASE, "Parameters.Parameters.require_secure_transport"),
        without(DATABASE, "Cluster.DBClusterParameterGroupName"),
        varied(_POSTGRES, "Parameters.Parameters", {"rds.force_ssl": "0"}),
        {"Instance": resource("AWS::RDS::DBInstance", Engine="postgres", EngineVersion="14.9")},
    ],
)
def database_requires_tls(database: Resource, app: App) -> Iterator[Objection]:
    place = database[parameter_place(database)]
    name = _FORCES_TLS[engine_family(database)]
    group = parameter_group(database, app)
    if group is None:
        if place.unknown:
            yield undecided(place, f"a parameter group with {name} on")
        elif not _refuses_by_default(database):
            yield objection(place, f"a parameter group with {name} on")
        return
    value = group["Parameters"][name]
    if value.missing and _refuses_by_default(database):
        return
    if value.unknown:
        yield undecided(value, "ON")
    elif value.text.upper() not in ("ON", "1", "TRUE"):
        yield objection(place, f"{name} ON", seen=f"{name} is {value.text or 'not set'} in {group.path}")


@rule(
    id="DatabaseTlsVersion",
    requirements=["4.2.1", "12.3.3"],
    title="A MySQL database offers TLS 1.2 and 1.3 only.",
    why="What the server offers, an old or a tampered client takes.",
    fix="Set tls_version to TLSv1.2,TLSv1.3 in the parameter group.",
    types=["AWS::RDS::DBCluster", "AWS::RDS::DBInstance"],
    applies=lambda database, app: standalone(database, app) and engine_family(database) in ("mysql", "mariadb"),
    complies=[DATABASE],
    violates=[
        varied(DATABASE, "Parameters.Parameters.tls_version", "TLSv1.1,TLSv1.2"),
        without(DATABASE, "Parameters.Parameters.tls_version"),
    ],
)
def database_tls_version(database: Resource, app: App) -> Iterator[Objection]:
    place = database[parameter_place(database)]
    group = parameter_group(database, app)
    value = group["Parameters"]["tls_version"] if group is not None else place
    if value.unknown:
        yield undecided(value, "TLSv1.2 and TLSv1.3")
        return
    offered = {version.strip() for version in value.text.split(",")} if group is not None else set()
    if not offered or not offered <= {"TLSv1.2", "TLSv1.3"}:
        seen = f"tls_version is {', '.join(sorted(filter(None, offered))) or 'not set'}"
        yield objection(place, "TLSv1.2 and TLSv1.3", seen=seen)


ENDPOINT = {
    "Authorities": resource("AWS::DMS::Certificate", CertificatePem="-----BEGIN CERTIFICATE-----"),
    "Endpoint": resource(
        "AWS::DMS::Endpoint",
        EndpointType="source",
        EngineName="aurora",
        SslMode="verify-full",
        CertificateArn=ref("Authorities"),
        MySqlSettings={"SecretsManagerSecretId": "arn:aws:secretsmanager:us-east-1:111122223333:secret:dms"},
    ),
}
_NETWORK_ENGINES = ("s3", "kinesis", "dynamodb", "opensearch", "elasticsearch", "neptune", "timestream")


def _talks_to_database(endpoint: Resource, _app: App) -> bool:
    return endpoint["EngineName"].text not in _NETWORK_ENGINES


@rule(
    id="ReplicationEndpointTls",
    requirements=["4.2.1"],
    title="DMS speaks TLS to a database and checks its certificate.",
    why="The replication carries every row there is. Encryption without a check of the certificate protects from "
    "listeners, not from whoever answers in the database's place.",
    fix="Set SslMode to verify-full or verify-ca.",
    types=["AWS::DMS::Endpoint"],
    applies=_talks_to_database,
    complies=[ENDPOINT, varied(ENDPOINT, "Endpoint.SslMode", "verify-ca")],
    violates=[
        varied(ENDPOINT, "Endpoint.SslMode", "none"),
        varied(ENDPOINT, "Endpoint.SslMode", "require"),
        without(ENDPOINT, "Endpoint.SslMode"),
    ],
)
def replication_endpoint_tls(endpoint: Resource, _app: App) -> Iterator[Objection]:
    allowed = "verify-full or verify-ca"
    yield from expect(endpoint["SslMode"], allowed, lambda v: v.text in ("verify-full", "verify-ca"))


@rule(
    id="ReplicationEndpointCertificate",
    requirements=["4.2.1", "4.2.1.1"],
    title="A DMS endpoint names the certificate authority that it trusts.",
    why="A certificate can be checked only against an authority that is known.",
    fix="Set CertificateArn to an AWS::DMS::Certificate with the authorities of the database.",
    types=["AWS::DMS::Endpoint"],
    applies=lambda endpoint, app: _talks_to_database(endpoint, app) and endpoint["SslMode"].text.startswith("verify"),
    complies=[ENDPOINT],
    violates=[without(ENDPOINT, "Endpoint.CertificateArn")],
)
def replication_endpoint_certificate(endpoint: Resource, _app: App) -> Iterator[Objection]:
    place = endpoint["CertificateArn"]
    if place.missing:
        yield objection(place, "the ARN of a certificate")


def refuses_plain(statement: Statement) -> bool:
    """Whether a statement denies everybody whatever does not come over TLS."""
    return (
        statement.denies
        and statement.for_everyone
        and any(
            operator == "Bool" and key.lower() == "aws:securetransport" and value.lower() == "false"
            for operator, key, value in statement.conditions
        )
    )


def _deny_plain(action: str) -> dict[str, object]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": {"AWS": "*"},
                "Action": action,
                "Resource": "*",
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


BUCKET = {
    "Bucket": resource("AWS::S3::Bucket"),
    "Policy": resource("AWS::S3::BucketPolicy", Bucket=ref("Bucket"), PolicyDocument=_deny_plain("s3:*")),
}


@rule(
    id="BucketRefusesPlainHttp",
    requirements=["4.2.1"],
    title="A bucket refuses requests without TLS.",
    why="S3 answers plain HTTP unless the bucket's policy forbids it.",
    fix="Deny s3:* to everybody when aws:SecureTransport is false (enforce_ssl=True in the CDK).",
    types=["AWS::S3::Bucket"],
    complies=[BUCKET],
    violates=[
        without(BUCKET, "Policy"),
        varied(BUCKET, "Policy.PolicyDocument.Statement.0.Condition", {"Bool": {"aws:SecureTransport": "true"}}),
        varied(BUCKET, "Policy.PolicyDocument.Statement.0.Action", "s3:GetObject"),
    ],
)
def bucket_refuses_plain_http(bucket: Resource, app: App) -> Iterator[Objection]:
    policy = policies_of(app, bucket, "AWS::S3::BucketPolicy", "Bucket")
    if not any(refuses_plain(s) and s.covers("s3:PutObject") and s.covers("s3:GetObject") for s in policy):
        yield objection(bucket.properties, "a bucket policy that denies s3:* without TLS", seen="no such policy")


TOPIC = {
    "Topic": resource("AWS::SNS::Topic"),
    "Policy": resource("AWS::SNS::TopicPolicy", Topics=[ref("Topic")], PolicyDocument=_deny_plain("sns:Publish")),
}


@rule(
    id="TopicRefusesPlainHttp",
    requirements=["4.2.1"],
    title="A topic refuses messages without TLS.",
    why="Alerts and events must not be read or forged on the way.",
    fix="Deny sns:Publish to everybody when aws:SecureTransport is false (enforce_ssl=True in the CDK).",
    types=["AWS::SNS::Topic"],
    complies=[TOPIC],
    violates=[without(TOPIC, "Policy"), varied(TOPIC, "Policy.PolicyDocument.Statement.0.Effect", "Allow")],
)
def topic_refuses_plain_http(topic: Resource, app: App) -> Iterator[Objection]:
    policy = policies_of(app, topic, "AWS::SNS::TopicPolicy", "Topics")
    if not any(refuses_plain(s) and s.covers("sns:Publish") for s in policy):
        yield objection(topic.properties, "a topic policy that denies sns:Publish without TLS", seen="no such policy")


QUEUE = {
    "Queue": resource("AWS::SQS::Queue"),
    "Policy": resource("AWS::SQS::QueuePolicy", Queues=[ref("Queue")], PolicyDocument=_deny_plain("sqs:*")),
}


@rule(
    id="QueueRefusesPlainHttp",
    requirements=["4.2.1"],
    title="A queue refuses requests without TLS.",
    why="Messages must not be read or forged on the way.",
    fix="Deny sqs:* to everybody when aws:SecureTransport is false (enforce_ssl=True in the CDK).",
    types=["AWS::SQS::Queue"],
    complies=[QUEUE],
    violates=[without(QUEUE, "Policy"), varied(QUEUE, "Policy.Queues", ["https://sqs.example/other"])],
)
def queue_refuses_plain_http(queue: Resource, app: App) -> Iterator[Objection]:
    policy = policies_of(app, queue, "AWS::SQS::QueuePolicy", "Queues")
    if not any(refuses_plain(s) and s.covers("sqs:SendMessage") for s in policy):
        yield objection(queue.properties, "a queue policy that denies sqs:* without TLS", seen="no such policy")


SUBSCRIPTION = {
    "Subscription": resource(
        "AWS::SNS::Subscription", Protocol="https", Endpoint="https://alerts.example.com", TopicArn="arn:aws:sns:x"
    )
}


@rule(
    id="SubscriptionEncrypted",
    requirements=["4.2.1"],
    title="A topic delivers over HTTPS, not HTTP.",
    why="A webhook over HTTP sends the alert in the clear across the internet.",
    fix="Set Protocol to https.",
    types=["AWS::SNS::Subscription"],
    complies=[SUBSCRIPTION],
    violates=[varied(SUBSCRIPTION, "Subscription.Protocol", "http")],
)
def subscription_encrypted(subscription: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(subscription["Protocol"], "anything but http", lambda v: v.text != "http")


_TLS_SETTINGS = {
    "AWS::ElastiCache::ReplicationGroup": "TransitEncryptionEnabled",
    "AWS::OpenSearchService::Domain": "DomainEndpointOptions.EnforceHTTPS",
    "AWS::DAX::Cluster": "ClusterEndpointEncryptionType",
}


@rule(
    id="CacheAndSearchTls",
    requirements=["4.2.1"],
    title="Caches and search domains speak TLS only.",
    why="They hold copies of the data that the database protects.",
    fix="Turn on " + ", ".join(sorted(_TLS_SETTINGS.values())) + ".",
    types=list(_TLS_SETTINGS),
    complies=[
        {"Cache": resource("AWS::ElastiCache::ReplicationGroup", TransitEncryptionEnabled=True)},
        {"Dax": resource("AWS::DAX::Cluster", ClusterEndpointEncryptionType="TLS")},
    ],
    violates=[
        {"Cache": resource("AWS::ElastiCache::ReplicationGroup", TransitEncryptionEnabled=False)},
        {"Search": resource("AWS::OpenSearchService::Domain")},
        {"Dax": resource("AWS::DAX::Cluster", ClusterEndpointEncryptionType="NONE")},
    ],
)
def cache_and_search_tls(store: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(store[_TLS_SETTINGS[store.type]], "on", lambda v: v.flag is True or v.text == "TLS")


_EDGE_TLS = {
    "AWS::CloudFront::Distribution": "DistributionConfig.ViewerCertificate.MinimumProtocolVersion",
    "AWS::ApiGateway::DomainName": "SecurityPolicy",
}
_EDGE_STRONG = ("TLSv1.2_2019", "TLSv1.2_2021", "TLSv1.2_2025", "TLSv1.3_2025", "TLS_1_2", "SecurityPolicy_TLS13_")


@rule(
    id="EdgeTlsVersion",
    requirements=["4.2.1"],
    title="A CloudFront distribution or an API's domain admits TLS 1.2 and later only.",
    why="Their defaults still admit TLS 1.0.",
    fix="Set MinimumProtocolVersion to TLSv1.2_2021 or later, SecurityPolicy to TLS_1_2.",
    types=list(_EDGE_TLS),
    complies=[{"Domain": resource("AWS::ApiGateway::DomainName", SecurityPolicy="TLS_1_2")}],
    violates=[
        {"Domain": resource("AWS::ApiGateway::DomainName", SecurityPolicy="TLS_1_0")},
        {"Edge": resource("AWS::CloudFront::Distribution", DistributionConfig={"Enabled": True})},
    ],
)
def edge_tls_version(edge: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(edge[_EDGE_TLS[edge.type]], "TLS 1.2 or later", lambda v: v.text.startswith(_EDGE_STRONG))


_EFS_TASK = {
    "Task": resource(
        "AWS::ECS::TaskDefinition",
        ContainerDefinitions=[],
        Volumes=[{"Name": "files", "EFSVolumeConfiguration": {"FilesystemId": "fs-1", "TransitEncryption": "ENABLED"}}],
    )
}


@rule(
    id="TaskVolumeEncrypted",
    requirements=["4.2.1"],
    title="A task mounts file systems over TLS.",
    why="NFS itself is in the clear.",
    fix="Set EFSVolumeConfiguration.TransitEncryption to ENABLED.",
    types=["AWS::ECS::TaskDefinition"],
    applies=lambda task, _app: any(not v["EFSVolumeConfiguration"].missing for v in task["Volumes"].items()),
    complies=[_EFS_TASK],
    violates=[without(_EFS_TASK, "Task.Volumes.0.EFSVolumeConfiguration.TransitEncryption")],
)
def task_volume_encrypted(task: Resource, _app: App) -> Iterator[Objection]:
    for volume in task["Volumes"].items():
        if not volume["EFSVolumeConfiguration"].missing:
            place = volume["EFSVolumeConfiguration"]["TransitEncryption"]
            yield from expect(place, "ENABLED", lambda v: v.text == "ENABLED")


_HEALTH_CHECK = {
    "Check": resource(
        "AWS::Route53::HealthCheck",
        HealthCheckConfig={"Type": "HTTPS", "FullyQualifiedDomainName": "pay.example.com", "Port": 443},
    ),
}


@rule(
    id="HealthCheckEncrypted",
    requirements=["4.2.1"],
    title="A health check across the internet speaks HTTPS.",
    why="A check in the clear can be answered by whoever stands between, and keeps an insecure port open.",
    fix="Set HealthCheckConfig.Type to HTTPS, or let the check follow an alarm.",
    types=["AWS::Route53::HealthCheck"],
    complies=[_HEALTH_CHECK, varied(_HEALTH_CHECK, "Check.HealthCheckConfig", {"Type": "CLOUDWATCH_METRIC"})],
    violates=[
        varied(_HEALTH_CHECK, "Check.HealthCheckConfig.Type", "HTTP"),
        varied(_HEALTH_CHECK, "Check.HealthCheckConfig.Type", "HTTP_STR_MATCH"),
    ],
)
def health_check_encrypted(check: Resource, _app: App) -> Iterator[Objection]:
    place = check["HealthCheckConfig.Type"]
    yield from expect(place, "HTTPS, or a metric", lambda v: not v.text.startswith("HTTP") or "HTTPS" in v.text)
