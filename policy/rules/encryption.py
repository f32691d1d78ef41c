"""Stored account data is unreadable without a key that the customer holds."""

from collections.abc import Iterator

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
from policy.templates import App, Resource, View

CUSTOMER_KEY = "a customer-managed KMS key"

KEY = {"Key": resource("AWS::KMS::Key", EnableKeyRotation=True)}
"""A key for the examples of this pack."""


def expect_customer_key(view: View) -> Iterator[Objection]:
    """Object to a missing key and to one that AWS manages; a key from elsewhere is the customer's."""
    if view.unknown and not view.references():
        yield undecided(view, CUSTOMER_KEY)
    elif view.missing or "alias/aws/" in view.text:
        yield objection(view, CUSTOMER_KEY)


CLUSTER = {
    **KEY,
    "Cluster": resource(
        "AWS::RDS::DBCluster",
        Engine="aurora-mysql",
        StorageEncrypted=True,
        KmsKeyId=get_att("Key", "Arn"),
        PerformanceInsightsEnabled=True,
        PerformanceInsightsKmsKeyId=get_att("Key", "Arn"),
    ),
}


def _stores_for_itself(database: Resource, _app: App) -> bool:
    # An instance of a cluster, a replica and a restored copy take their encryption from there.
    return database.type == "AWS::RDS::DBCluster" or all(
        database[key].missing for key in ("DBClusterIdentifier", "SourceDBInstanceIdentifier")
    )


@rule(
    id="DatabaseStorageEncrypted",
    requirements=["3.5.1"],
    title="The storage of a database is encrypted.",
    why="Account data in database files, snapshots and logs must be unreadable to whoever gets at the medium.",
    fix="Set StorageEncrypted to true. It cannot be changed later without a new cluster.",
    types=["AWS::RDS::DBCluster", "AWS::RDS::DBInstance"],
    applies=_stores_for_itself,
    complies=[CLUSTER],
    violates=[varied(CLUSTER, "Cluster.StorageEncrypted", False), without(CLUSTER, "Cluster.StorageEncrypted")],
)
def database_storage_encrypted(database: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_true(database["StorageEncrypted"])


@rule(
    id="DatabaseCustomerManagedKey",
    requirements=["3.5.1", "3.6.1"],
    title="A database is encrypted under a customer-managed key.",
    why="Only with a key of our own can we say who may use it, rotate it, and take it away.",
    fix="Set KmsKeyId to a key of the app.",
    types=["AWS::RDS::DBCluster", "AWS::RDS::DBInstance"],
    applies=_stores_for_itself,
    complies=[CLUSTER],
    violates=[without(CLUSTER, "Cluster.KmsKeyId"), varied(CLUSTER, "Cluster.KmsKeyId", "alias/aws/rds")],
)
def database_customer_managed_key(database: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_customer_key(database["KmsKeyId"])


def _records_queries(database: Resource, _app: App) -> bool:
    enabled = ("PerformanceInsightsEnabled", "EnablePerformanceInsights")
    return any(database[key].flag is True for key in enabled)


@rule(
    id="PerformanceInsightsCustomerManagedKey",
    requirements=["3.5.1", "3.6.1"],
    title="Performance Insights keeps its records under a customer-managed key.",
    why="It stores the text of statements, which can carry account data.",
    fix="Set PerformanceInsightsKmsKeyId (PerformanceInsightsKMSKeyId on an instance) to a key of the app.",
    types=["AWS::RDS::DBCluster", "AWS::RDS::DBInstance"],
    applies=_records_queries,
    complies=[CLUSTER],
    violates=[without(CLUSTER, "Cluster.PerformanceInsightsKmsKeyId")],
)
def performance_insights_customer_managed_key(database: Resource, app: App) -> Iterator[Objection]:
    key = "PerformanceInsightsKmsKeyId" if database.type.endswith("Cluster") else "PerformanceInsightsKMSKeyId"
    if database[key].missing and database.type.endswith("Instance"):
        cluster = app.target(database["DBClusterIdentifier"], "AWS::RDS::DBCluster")
        if cluster is not None and not cluster["PerformanceInsightsKmsKeyId"].missing:
            return
    yield from expect_customer_key(database[key])


def _encryption_of(bucket: Resource) -> View:
    return bucket["BucketEncryption.ServerSideEncryptionConfiguration.0.ServerSideEncryptionByDefault"]


BUCKET = {
    **KEY,
    "Bucket": resource(
        "AWS::S3::Bucket",
        BucketEncryption={
            "ServerSideEncryptionConfiguration": [
                {
                    "ServerSideEncryptionByDefault": {
                        "SSEAlgorithm": "aws:kms",
                        "KMSMasterKeyID": get_att("Key", "Arn"),
                    }
                }
            ]
        },
    ),
}
_BALANCER_LOGS = {
    "Logs": resource(
        "AWS::S3::Bucket",
        BucketEncryption={
            "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    ),
    "Balancer": resource(
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        LoadBalancerAttributes=[
            {"Key": "access_logs.s3.enabled", "Value": "true"},
            {"Key": "access_logs.s3.bucket", "Value": ref("Logs")},
        ],
    ),
}


def _takes_balancer_logs(bucket: Resource, app: App) -> bool:
    for balancer in app.referrers(bucket, "AWS::ElasticLoadBalancingV2::LoadBalancer"):
        for attribute in balancer["LoadBalancerAttributes"].items():
            names_bucket = any(r.resource is bucket for r in attribute["Value"].references())
            if attribute["Key"].text.endswith("_logs.s3.bucket") and names_bucket:
                return True
    return False


@rule(
    id="BucketEncrypted",
    requirements=["3.5.1", "3.6.1"],
    title="A bucket encrypts under a customer-managed key.",
    why="Objects must be unreadable without a key whose policy is ours. Access logs of a load balancer are the "
    "exception: Elastic Load Balancing writes only to buckets with S3's own keys.",
    fix="Set BucketEncryption to aws:kms with a key of the app; AES256 only where a load balancer writes logs.",
    types=["AWS::S3::Bucket"],
    complies=[BUCKET, _BALANCER_LOGS],
    violates=[
        without(BUCKET, "Bucket.BucketEncryption"),
        without(_BALANCER_LOGS, "Balancer"),
        without(_BALANCER_LOGS, "Logs.BucketEncryption"),
    ],
)
def bucket_encrypted(bucket: Resource, app: App) -> Iterator[Objection]:
    encryption = _encryption_of(bucket)
    if _takes_balancer_logs(bucket, app):
        allowed = "AES256, as Elastic Load Balancing requires"
        yield from expect(encryption["SSEAlgorithm"], allowed, lambda v: v.text in ("AES256", "aws:kms"))
        return
    yield from expect(encryption["SSEAlgorithm"], "aws:kms", lambda v: v.text.startswith("aws:kms"))
    if encryption["SSEAlgorithm"].text.startswith("aws:kms"):
        yield from expect_customer_key(encryption["KMSMasterKeyID"])


TABLE = {
    **KEY,
    "Table": resource(
        "AWS::DynamoDB::Table",
        SSESpecification={"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": get_att("Key", "Arn")},
    ),
}


@rule(
    id="TableCustomerManagedKey",
    requirements=["3.5.1", "3.6.1"],
    title="A DynamoDB table encrypts under a customer-managed key.",
    why="Without one, AWS's own key encrypts it, on which nobody can set a policy.",
    fix="Set SSESpecification with SSEType KMS and KMSMasterKeyId.",
    types=["AWS::DynamoDB::Table"],
    complies=[TABLE],
    violates=[
        without(TABLE, "Table.SSESpecification"),
        varied(TABLE, "Table.SSESpecification.SSEEnabled", False),
        without(TABLE, "Table.SSESpecification.KMSMasterKeyId"),
    ],
)
def table_customer_managed_key(table: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_true(table["SSESpecification.SSEEnabled"])
    yield from expect_customer_key(table["SSESpecification.KMSMasterKeyId"])


LOG_GROUP = {**KEY, "Log": resource("AWS::Logs::LogGroup", KmsKeyId=get_att("Key", "Arn"), RetentionInDays=365)}


@rule(
    id="LogGroupCustomerManagedKey",
    requirements=["3.5.1", "10.3.1"],
    title="A log group encrypts under a customer-managed key.",
    why="Logs can hold what they should not; with a key of our own, reading them needs its permission too.",
    fix="Set KmsKeyId, and admit the service principal of CloudWatch Logs in the key's policy.",
    types=["AWS::Logs::LogGroup"],
    complies=[LOG_GROUP],
    violates=[without(LOG_GROUP, "Log.KmsKeyId")],
)
def log_group_customer_managed_key(group: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_customer_key(group["KmsKeyId"])


SECRET = {**KEY, "Secret": resource("AWS::SecretsManager::Secret", KmsKeyId=get_att("Key", "Arn"))}


@rule(
    id="SecretCustomerManagedKey",
    requirements=["8.3.2", "3.6.1"],
    title="A secret is encrypted under a customer-managed key.",
    why="Stored credentials must be unreadable under strong cryptography, and by nobody whom we did not admit.",
    fix="Set KmsKeyId to a key of the app.",
    types=["AWS::SecretsManager::Secret"],
    complies=[SECRET],
    violates=[without(SECRET, "Secret.KmsKeyId"), varied(SECRET, "Secret.KmsKeyId", "alias/aws/secretsmanager")],
)
def secret_customer_managed_key(secret: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_customer_key(secret["KmsKeyId"])


TOPIC = {**KEY, "Topic": resource("AWS::SNS::Topic", KmsMasterKeyId=get_att("Key", "Arn"))}


@rule(
    id="TopicCustomerManagedKey",
    requirements=["3.5.1", "10.3.1"],
    title="A topic encrypts under a customer-managed key.",
    why="Alerts tell an attacker what is watched. AWS's own key for SNS also locks CloudWatch and AWS Backup out.",
    fix="Set KmsMasterKeyId to a key of the app.",
    types=["AWS::SNS::Topic"],
    complies=[TOPIC],
    violates=[without(TOPIC, "Topic.KmsMasterKeyId"), varied(TOPIC, "Topic.KmsMasterKeyId", "alias/aws/sns")],
)
def topic_customer_managed_key(topic: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_customer_key(topic["KmsMasterKeyId"])


QUEUE = {**KEY, "Queue": resource("AWS::SQS::Queue", KmsMasterKeyId=get_att("Key", "Arn"))}


@rule(
    id="QueueCustomerManagedKey",
    requirements=["3.5.1", "3.6.1"],
    title="A queue encrypts under a customer-managed key.",
    why="Messages wait on disk, and dead letters wait for days.",
    fix="Set KmsMasterKeyId to a key of the app.",
    types=["AWS::SQS::Queue"],
    complies=[QUEUE],
    violates=[
        without(QUEUE, "Queue.KmsMasterKeyId"),
        {"Queue": resource("AWS::SQS::Queue", SqsManagedSseEnabled=True)},
    ],
)
def queue_customer_managed_key(queue: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_customer_key(queue["KmsMasterKeyId"])


VAULT = {**KEY, "Vault": resource("AWS::Backup::BackupVault", EncryptionKeyArn=get_att("Key", "Arn"))}


@rule(
    id="VaultCustomerManagedKey",
    requirements=["3.5.1", "3.6.1"],
    title="A backup vault encrypts under a customer-managed key.",
    why="A backup holds the same account data as the store it was taken from.",
    fix="Set EncryptionKeyArn to a key of the app.",
    types=["AWS::Backup::BackupVault"],
    complies=[VAULT],
    violates=[without(VAULT, "Vault.EncryptionKeyArn")],
)
def vault_customer_managed_key(vault: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_customer_key(vault["EncryptionKeyArn"])


REPLICATION_INSTANCE = {
    **KEY,
    "Instance": resource("AWS::DMS::ReplicationInstance", KmsKeyId=get_att("Key", "Arn")),
}


@rule(
    id="ReplicationCustomerManagedKey",
    requirements=["3.5.1", "3.6.1"],
    title="A DMS replication encrypts its storage, and an endpoint its settings, under a customer-managed key.",
    why="Changes that wait for the target lie on the disk of the replication instance, rows and all.",
    fix="Set KmsKeyId (ComputeConfig.KmsKeyId of a serverless replication). Changing it replaces the instance.",
    types=["AWS::DMS::ReplicationInstance", "AWS::DMS::ReplicationConfig", "AWS::DMS::Endpoint"],
    complies=[REPLICATION_INSTANCE],
    violates=[
        {"Endpoint": resource("AWS::DMS::Endpoint", EngineName="aurora")},
        without(REPLICATION_INSTANCE, "Instance.KmsKeyId"),
        {"Config": resource("AWS::DMS::ReplicationConfig", ComputeConfig={"MaxCapacityUnits": 2})},
    ],
)
def replication_customer_managed_key(instance: Resource, _app: App) -> Iterator[Objection]:
    serverless = instance.type == "AWS::DMS::ReplicationConfig"
    yield from expect_customer_key(instance["ComputeConfig.KmsKeyId" if serverless else "KmsKeyId"])


FARGATE = {
    **KEY,
    "Cluster": resource(
        "AWS::ECS::Cluster",
        Configuration={"ManagedStorageConfiguration": {"FargateEphemeralStorageKmsKeyId": ref("Key")}},
    ),
    "Service": resource("AWS::ECS::Service", Cluster=ref("Cluster"), LaunchType="FARGATE"),
}


def _runs_fargate(cluster: Resource, app: App) -> bool:
    services = app.referrers(cluster, "AWS::ECS::Service")
    return any(service["LaunchType"].text in ("FARGATE", "") for service in services)


@rule(
    id="ContainerStorageCustomerManagedKey",
    requirements=["3.5.1", "3.6.1"],
    title="The storage of Fargate tasks encrypts under a customer-managed key.",
    why="What a container writes to its own disk, core dumps too, is account data as soon as one number is in it.",
    fix="Set Configuration.ManagedStorageConfiguration.FargateEphemeralStorageKmsKeyId on the cluster.",
    types=["AWS::ECS::Cluster"],
    applies=_runs_fargate,
    complies=[FARGATE],
    violates=[without(FARGATE, "Cluster.Configuration")],
)
def container_storage_customer_managed_key(cluster: Resource, _app: App) -> Iterator[Objection]:
    storage = cluster["Configuration.ManagedStorageConfiguration"]
    yield from expect_customer_key(storage["FargateEphemeralStorageKmsKeyId"])


_VOLUMES = {
    "AWS::EC2::Volume": "Encrypted",
    "AWS::EFS::FileSystem": "Encrypted",
    "AWS::Redshift::Cluster": "Encrypted",
    "AWS::ElastiCache::ReplicationGroup": "AtRestEncryptionEnabled",
    "AWS::Neptune::DBCluster": "StorageEncrypted",
    "AWS::DocDB::DBCluster": "StorageEncrypted",
    "AWS::OpenSearchService::Domain": "EncryptionAtRestOptions.Enabled",
}


@rule(
    id="StoreEncrypted",
    requirements=["3.5.1"],
    title="Volumes, file systems, caches, search domains and other stores are encrypted.",
    why="Every place where account data may come to rest counts, not only the database.",
    fix="Turn on the encryption of the store: " + ", ".join(sorted(set(_VOLUMES.values()))) + ".",
    types=list(_VOLUMES),
    complies=[
        {"Volume": resource("AWS::EC2::Volume", Encrypted=True)},
        {"Cache": resource("AWS::ElastiCache::ReplicationGroup", AtRestEncryptionEnabled="true")},
    ],
    violates=[
        {"Volume": resource("AWS::EC2::Volume", Encrypted=False)},
        {"Files": resource("AWS::EFS::FileSystem")},
        {"Search": resource("AWS::OpenSearchService::Domain", EncryptionAtRestOptions={"Enabled": False})},
    ],
)
def store_encrypted(store: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_true(store[_VOLUMES[store.type]])


@rule(
    id="StreamEncrypted",
    requirements=["3.5.1"],
    title="A Kinesis stream is encrypted.",
    why="A stream keeps its records for a day or more.",
    fix="Set StreamEncryption with EncryptionType KMS and a KeyId of the app.",
    types=["AWS::Kinesis::Stream"],
    complies=[
        {
            **KEY,
            "Stream": resource("AWS::Kinesis::Stream", StreamEncryption={"EncryptionType": "KMS", "KeyId": ref("Key")}),
        }
    ],
    violates=[
        {"Stream": resource("AWS::Kinesis::Stream", ShardCount=1)},
        {
            "Stream": resource(
                "AWS::Kinesis::Stream",
                StreamEncryption={"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"},
            )
        },
    ],
)
def stream_encrypted(stream: Resource, _app: App) -> Iterator[Objection]:
    encryption = stream["StreamEncryption"]
    yield from expect(encryption["EncryptionType"], "KMS", lambda v: v.text == "KMS")
    if not encryption.missing:
        yield from expect_customer_key(encryption["KeyId"])


_FUNCTION = {
    **KEY,
    "Function": resource(
        "AWS::Lambda::Function",
        Environment={"Variables": {"STATE_TABLE_NAME": "state"}},
        KmsKeyArn=get_att("Key", "Arn"),
    ),
}


@rule(
    id="FunctionEnvironmentCustomerManagedKey",
    requirements=["3.6.1", "8.3.2"],
    title="The environment of a function is encrypted under a customer-managed key.",
    why="It names stores and secrets; with a key of our own, reading it needs the key's permission too.",
    fix="Set KmsKeyArn to a key of the app.",
    types=["AWS::Lambda::Function"],
    applies=lambda function, _app: bool(function["Environment.Variables"].entries()),
    complies=[_FUNCTION],
    violates=[without(_FUNCTION, "Function.KmsKeyArn")],
)
def function_environment_customer_managed_key(function: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_customer_key(function["KmsKeyArn"])


_MACHINE = {
    **KEY,
    "Machine": resource(
        "AWS::StepFunctions::StateMachine",
        EncryptionConfiguration={"Type": "CUSTOMER_MANAGED_KMS_KEY", "KmsKeyId": get_att("Key", "Arn")},
    ),
}


@rule(
    id="StateMachineCustomerManagedKey",
    requirements=["3.5.1", "3.6.1"],
    title="A state machine keeps its executions under a customer-managed key.",
    why="What goes into and comes out of every step is kept for 90 days and can be read in the console.",
    fix="Set EncryptionConfiguration to CUSTOMER_MANAGED_KMS_KEY with a KmsKeyId of the app.",
    types=["AWS::StepFunctions::StateMachine"],
    complies=[_MACHINE],
    violates=[
        without(_MACHINE, "Machine.EncryptionConfiguration"),
        varied(_MACHINE, "Machine.EncryptionConfiguration.Type", "AWS_OWNED_KEY"),
        without(_MACHINE, "Machine.EncryptionConfiguration.KmsKeyId"),
    ],
)
def state_machine_customer_managed_key(machine: Resource, _app: App) -> Iterator[Objection]:
    encryption = machine["EncryptionConfiguration"]
    kind = encryption["Type"]
    yield from expect(kind, "CUSTOMER_MANAGED_KMS_KEY", lambda v: v.text == "CUSTOMER_MANAGED_KMS_KEY")
    if not encryption.missing:
        yield from expect_customer_key(encryption["KmsKeyId"])
