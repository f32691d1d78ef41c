"""What is in scope is known, and whose it is."""

from collections.abc import Iterator

from policy.engine import Objection, expect, objection, resource, rule, varied, without
from policy.rules.availability import tags_of
from policy.templates import App, Resource

INVENTORIED = (
    "AWS::Backup::BackupVault", "AWS::CertificateManager::Certificate", "AWS::DMS::ReplicationInstance",
    "AWS::DMS::ReplicationTask", "AWS::DMS::Endpoint", "AWS::DynamoDB::Table", "AWS::EC2::Instance",
    "AWS::EC2::NatGateway", "AWS::EC2::SecurityGroup", "AWS::EC2::Subnet", "AWS::EC2::VPC",
    "AWS::EC2::VPCEndpoint", "AWS::ECR::Repository", "AWS::ECS::Cluster", "AWS::ECS::Service",
    "AWS::ECS::TaskDefinition", "AWS::EFS::FileSystem", "AWS::ElasticLoadBalancingV2::LoadBalancer",
    "AWS::ElasticLoadBalancingV2::TargetGroup", "AWS::IAM::Role", "AWS::KMS::Key", "AWS::Lambda::Function",
    "AWS::Logs::LogGroup", "AWS::RDS::DBCluster", "AWS::RDS::DBInstance", "AWS::S3::Bucket",
    "AWS::SNS::Topic", "AWS::SQS::Queue", "AWS::SecretsManager::Secret", "AWS::StepFunctions::StateMachine",
    "AWS::WAFv2::WebACL",
)  # fmt: skip
"""Types that an inventory of system components lists, and that CloudFormation can tag."""

OWNING = ("Owner", "Project", "Application", "Service", "Team", "CostCenter")

_BUCKET = {
    "Bucket": resource(
        "AWS::S3::Bucket", Tags=[{"Key": "Environment", "Value": "blue"}, {"Key": "Project", "Value": "payments"}]
    )
}


@rule(
    id="ComponentTagged",
    requirements=["12.5.1"],
    title="A system component bears tags that say its environment and whose it is.",
    why="The inventory of what is in scope is drawn from the tags; what has none is in nobody's inventory.",
    fix="Tag with Environment and one of " + ", ".join(OWNING) + " (Tags.of(app).add in the CDK).",
    types=INVENTORIED,
    complies=[_BUCKET],
    violates=[
        without(_BUCKET, "Bucket.Tags"),
        without(_BUCKET, "Bucket.Tags.0"),
        without(_BUCKET, "Bucket.Tags.1"),
    ],
)
def component_tagged(place: Resource, _app: App) -> Iterator[Objection]:
    tags = tags_of(place)
    lacking = [] if tags.get("Environment") else ["Environment"]
    if not any(tags.get(key) for key in OWNING):
        lacking.append(" or ".join(OWNING))
    if lacking:
        seen = f"only {', '.join(sorted(tags))}" if tags else "no tags"
        yield objection(place["Tags"], f"the tags {' and '.join(lacking)}", seen=seen)


_SERVICE = {"Service": resource("AWS::ECS::Service", PropagateTags="SERVICE", EnableECSManagedTags=True)}


@rule(
    id="TasksInheritTags",
    requirements=["12.5.1"],
    title="Tasks bear the tags of their service.",
    why="What runs is the task; without tags it is in nobody's inventory.",
    fix="Set PropagateTags to SERVICE or TASK_DEFINITION and EnableECSManagedTags to true.",
    types=["AWS::ECS::Service"],
    complies=[_SERVICE],
    violates=[without(_SERVICE, "Service.PropagateTags"), varied(_SERVICE, "Service.EnableECSManagedTags", False)],
)
def tasks_inherit_tags(service: Resource, _app: App) -> Iterator[Objection]:
    propagate = service["PropagateTags"]
    yield from expect(propagate, "SERVICE or TASK_DEFINITION", lambda v: v.text in ("SERVICE", "TASK_DEFINITION"))
    yield from expect(service["EnableECSManagedTags"], "true", lambda v: v.flag is True)


_CLUSTER = {"Cluster": resource("AWS::RDS::DBCluster", Engine="aurora-mysql", CopyTagsToSnapshot=True)}


@rule(
    id="SnapshotsInheritTags",
    requirements=["12.5.1", "3.2.1"],
    title="Snapshots bear the tags of their database.",
    why="A snapshot is a full copy of the account data; without tags nobody knows whose it is, or when it may go.",
    fix="Set CopyTagsToSnapshot to true.",
    types=["AWS::RDS::DBCluster", "AWS::RDS::DBInstance"],
    applies=lambda database, _app: database["DBClusterIdentifier"].missing or database.type == "AWS::RDS::DBCluster",
    complies=[_CLUSTER],
    violates=[without(_CLUSTER, "Cluster.CopyTagsToSnapshot"), varied(_CLUSTER, "Cluster.CopyTagsToSnapshot", False)],
)
def snapshots_inherit_tags(database: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(database["CopyTagsToSnapshot"], "true", lambda v: v.flag is True)


_GROUP = {"Group": resource("AWS::EC2::SecurityGroup", GroupDescription="Front door of the payment system")}


@rule(
    id="SecurityGroupDescribed",
    requirements=["1.2.5", "12.5.1"],
    title="A security group says what it is for.",
    why="A group that nobody can explain is one that nobody reviews.",
    fix="Set GroupDescription to a few words on whose traffic it governs.",
    types=["AWS::EC2::SecurityGroup"],
    complies=[_GROUP],
    violates=[varied(_GROUP, "Group.GroupDescription", "sg"), without(_GROUP, "Group.GroupDescription")],
)
def security_group_described(group: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(group["GroupDescription"], "a few words", lambda v: len(v.text) >= 8)


_FUNCTION = {"Function": resource("AWS::Lambda::Function", Description="Rotates the secrets of a database.")}


@rule(
    id="FunctionDescribed",
    requirements=["12.5.1", "6.3.2"],
    title="A function says what it does.",
    why="Own software is inventoried with its purpose; a function's name alone does not tell it.",
    fix="Set Description.",
    types=["AWS::Lambda::Function"],
    complies=[_FUNCTION],
    violates=[without(_FUNCTION, "Function.Description")],
)
def function_described(function: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(function["Description"], "one sentence", lambda v: len(v.text) >= 8)
