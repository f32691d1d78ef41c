"""Data can be brought back, and sessions end when nobody uses them."""

from collections.abc import Iterator
from typing import Any

from policy.engine import (
    Objection,
    expect,
    expect_at_least,
    expect_true,
    objection,
    ref,
    resource,
    rule,
    undecided,
    varied,
    without,
)
from policy.rules.network import attribute
from policy.rules.transit import engine_family, parameter_group, parameter_place, standalone
from policy.templates import App, Resource

MIN_BACKUP_DAYS = 7
MAX_IDLE_SECONDS = 900
"""Requirement 8.2.8: after 15 minutes without use, a session asks again who is there."""

_PROTECTED: dict[str, Any] = {
    "Cluster": {
        **resource(
            "AWS::RDS::DBCluster",
            Engine="aurora-mysql",
            BackupRetentionPeriod=7,
            DeletionProtection=True,
            Tags=[{"Key": "Backup", "Value": "daily"}],
        ),
        "DeletionPolicy": "Snapshot",
    },
    "Plan": resource(
        "AWS::Backup::BackupPlan",
        BackupPlan={
            "BackupPlanName": "daily",
            "BackupPlanRule": [
                {
                    "RuleName": "daily",
                    "ScheduleExpression": "cron(0 5 * * ? *)",
                    "Lifecycle": {"DeleteAfterDays": 7},
                    "TargetBackupVault": "vault",
                }
            ],
        },
    ),
    "Selection": resource(
        "AWS::Backup::BackupSelection",
        BackupPlanId=ref("Plan"),
        BackupSelection={
            "SelectionName": "databases",
            "IamRoleArn": "arn:aws:iam::111122223333:role/backup",
            "Resources": [{"Fn::Sub": "arn:aws:rds:us-east-1:111122223333:cluster:${Cluster}"}],
        },
    ),
}
_BY_TAG = varied(
    _PROTECTED,
    "Selection.BackupSelection",
    {"ListOfTags": [{"ConditionType": "STRINGEQUALS", "ConditionKey": "Backup", "ConditionValue": "daily"}]},
)


def _is_store(database: Resource, _app: App) -> bool:
    return database.type == "AWS::RDS::DBCluster" or all(
        database[key].missing for key in ("DBClusterIdentifier", "SourceDBInstanceIdentifier")
    )


def tags_of(place: Resource) -> dict[str, str]:
    """The tags of a resource, whether a list of keys and values or a map."""
    for key in ("Tags", "BackupVaultTags", "BackupPlanTags", "HostedZoneTags", "HealthCheckTags"):
        tags = place[key]
        if isinstance(tags.value, dict):
            return {name: entry.text for name, entry in tags.entries()}
        if not tags.missing:
            return {tag["Key"].text: tag["Value"].text for tag in tags.items()}
    return {}


def _selected(place: Resource, app: App) -> bool:
    if app.referrers(place, "AWS::Backup::BackupSelection"):
        return True
    tags = tags_of(place)
    for selection in app.of_type("AWS::Backup::BackupSelection"):
        chosen = selection["BackupSelection"]
        if any(item.text == "*" for item in chosen["Resources"].items()) and chosen["Conditions"].missing:
            return True
        for tag in chosen["ListOfTags"].items():
            if tags.get(tag["ConditionKey"].text) == tag["ConditionValue"].text:
                return True
    return False


@rule(
    id="DatabaseInBackupPlan",
    requirements=["12.10.1"],
    title="A database is in a backup plan.",
    why="After an incident the business goes on from a copy that the attacker could not reach.",
    fix="Name the database, or one of its tags, in an AWS::Backup::BackupSelection.",
    types=["AWS::RDS::DBCluster", "AWS::RDS::DBInstance"],
    applies=_is_store,
    complies=[_PROTECTED, _BY_TAG],
    violates=[
        without(_PROTECTED, "Selection"),
        varied(_BY_TAG, "Cluster.Tags.0.Value", "none"),
    ],
)
def database_in_backup_plan(database: Resource, app: App) -> Iterator[Objection]:
    if not _selected(database, app):
        yield objection(database.properties, "a backup selection that covers it", seen="none in any stack")


@rule(
    id="BackupPlanFrequentAndKept",
    requirements=["12.10.1", "3.2.1"],
    title="A backup plan runs daily or continuously, keeps its points for seven days or more, and deletes them.",
    why="A backup must be recent to be worth something, and must not be kept longer than the data may be.",
    fix="Set ScheduleExpression to every day or more often, and Lifecycle.DeleteAfterDays to 7 or more.",
    types=["AWS::Backup::BackupPlan"],
    complies=[_PROTECTED, varied(_PROTECTED, "Plan.BackupPlan.BackupPlanRule.0.ScheduleExpression", "rate(6 hours)")],
    violates=[
        varied(_PROTECTED, "Plan.BackupPlan.BackupPlanRule.0.Lifecycle.DeleteAfterDays", 1),
        without(_PROTECTED, "Plan.BackupPlan.BackupPlanRule.0.Lifecycle"),
        varied(_PROTECTED, "Plan.BackupPlan.BackupPlanRule.0.ScheduleExpression", "cron(0 5 ? * 1 *)"),
        varied(_PROTECTED, "Plan.BackupPlan.BackupPlanRule", []),
    ],
)
def backup_plan_frequent_and_kept(plan: Resource, _app: App) -> Iterator[Objection]:
    rules = plan["BackupPlan.BackupPlanRule"]
    frequent = False
    for entry in rules.items():
        yield from expect_at_least(entry["Lifecycle.DeleteAfterDays"], MIN_BACKUP_DAYS, "days")
        schedule = entry["ScheduleExpression"].text
        daily = schedule == "" or _every_day(schedule) or entry["EnableContinuousBackup"].flag is True
        frequent = frequent or daily
    if not frequent:
        yield objection(rules, "a rule that runs every day, or continuously")


def _every_day(schedule: str) -> bool:
    if schedule.startswith("rate("):
        return schedule.endswith(("hours)", "hour)", "minutes)")) or schedule == "rate(1 day)"
    fields = schedule.removeprefix("cron(").removesuffix(")").split()
    return len(fields) == 6 and all(field in ("*", "?") for field in fields[2:])


@rule(
    id="DatabaseBackupRetention",
    requirements=["12.10.1"],
    title="A database keeps its automatic backups for seven days.",
    why="A fault that is found after the weekend must still be reversible; the default is one day.",
    fix="Set BackupRetentionPeriod to 7 or more.",
    types=["AWS::RDS::DBCluster", "AWS::RDS::DBInstance"],
    applies=_is_store,
    complies=[_PROTECTED],
    violates=[
        varied(_PROTECTED, "Cluster.BackupRetentionPeriod", 1),
        without(_PROTECTED, "Cluster.BackupRetentionPeriod"),
    ],
)
def database_backup_retention(database: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_at_least(database["BackupRetentionPeriod"], MIN_BACKUP_DAYS, "days")


@rule(
    id="DeletionProtected",
    requirements=["6.5.1", "12.10.1"],
    title="A database, table or load balancer is protected against deletion.",
    why="One wrong click or template must not take the payment system away.",
    fix="Set DeletionProtection (DeletionProtectionEnabled of a table, deletion_protection.enabled of a load "
    "balancer) to true.",
    types=[
        "AWS::RDS::DBCluster",
        "AWS::RDS::DBInstance",
        "AWS::DynamoDB::Table",
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
    ],
    applies=lambda place, app: place.type != "AWS::RDS::DBInstance" or _is_store(place, app),
    complies=[
        _PROTECTED,
        {
            "Balancer": resource(
                "AWS::ElasticLoadBalancingV2::LoadBalancer",
                LoadBalancerAttributes=[{"Key": "deletion_protection.enabled", "Value": "true"}],
            )
        },
    ],
    violates=[
        varied(_PROTECTED, "Cluster.DeletionProtection", False),
        {"Table": resource("AWS::DynamoDB::Table")},
        {"Balancer": resource("AWS::ElasticLoadBalancingV2::LoadBalancer")},
    ],
)
def deletion_protected(place: Resource, _app: App) -> Iterator[Objection]:
    if place.type == "AWS::ElasticLoadBalancingV2::LoadBalancer":
        view = attribute(place, "deletion_protection.enabled")
        if view.flag is not True:
            yield objection(view, "deletion_protection.enabled true", seen=view.text or "not set")
        return
    key = "DeletionProtectionEnabled" if place.type == "AWS::DynamoDB::Table" else "DeletionProtection"
    yield from expect_true(place[key])


STORES = ("AWS::RDS::DBCluster", "AWS::RDS::DBInstance", "AWS::DynamoDB::Table", "AWS::S3::Bucket",
          "AWS::EFS::FileSystem", "AWS::SecretsManager::Secret", "AWS::Backup::BackupVault")  # fmt: skip


@rule(
    id="StoreSurvivesStack",
    requirements=["12.10.1", "10.5.1"],
    title="Deleting a stack does not delete what is stored.",
    why="Data has a life of its own; when it goes is decided by retention, not by a deployment.",
    fix="Set DeletionPolicy to Retain, or Snapshot where the type has it.",
    types=STORES,
    applies=lambda place, app: place.type != "AWS::RDS::DBInstance" or _is_store(place, app),
    complies=[_PROTECTED, {"Table": {**resource("AWS::DynamoDB::Table"), "DeletionPolicy": "Retain"}}],
    violates=[
        {"Cluster": {**_PROTECTED["Cluster"], "DeletionPolicy": "Delete"}},
        {"Bucket": resource("AWS::S3::Bucket")},
    ],
)
def store_survives_stack(place: Resource, _app: App) -> Iterator[Objection]:
    if place.deletion_policy not in ("Retain", "Snapshot", "RetainExceptOnCreate"):
        seen = f"DeletionPolicy {place.deletion_policy}"
        yield objection(place.properties, "DeletionPolicy Retain or Snapshot", seen=seen)


_TABLE = {
    "Table": resource("AWS::DynamoDB::Table", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True})
}


@rule(
    id="TablePointInTimeRecovery",
    requirements=["12.10.1", "10.3.3"],
    title="A DynamoDB table can be brought back to any second of the last days.",
    why="A journal of decisions that can be lost is no audit log.",
    fix="Set PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled to true.",
    types=["AWS::DynamoDB::Table"],
    complies=[_TABLE],
    violates=[
        varied(_TABLE, "Table.PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled", False),
        without(_TABLE, "Table.PointInTimeRecoverySpecification"),
    ],
)
def table_point_in_time_recovery(table: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_true(table["PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled"])


_SESSIONS = {
    "Parameters": resource(
        "AWS::RDS::DBClusterParameterGroup",
        Family="aurora-mysql8.0",
        Parameters={"interactive_timeout": "900"},
    ),
    "Cluster": resource("AWS::RDS::DBCluster", Engine="aurora-mysql", DBClusterParameterGroupName=ref("Parameters")),
}


@rule(
    id="DatabaseSessionTimeout",
    requirements=["8.2.8"],
    title="A MySQL database ends an interactive session after 15 minutes without use.",
    why="A terminal left open is signed in for whoever sits down next; the default is eight hours.",
    fix="Set interactive_timeout to at most 900 in the parameter group.",
    types=["AWS::RDS::DBCluster", "AWS::RDS::DBInstance"],
    applies=lambda database, app: standalone(database, app) and engine_family(database) in ("mysql", "mariadb"),
    complies=[_SESSIONS],
    violates=[
        varied(_SESSIONS, "Parameters.Parameters.interactive_timeout", "28800"),
        without(_SESSIONS, "Parameters.Parameters.interactive_timeout"),
        without(_SESSIONS, "Cluster.DBClusterParameterGroupName"),
    ],
)
def database_session_timeout(database: Resource, app: App) -> Iterator[Objection]:
    place = database[parameter_place(database)]
    allowed = f"interactive_timeout of at most {MAX_IDLE_SECONDS} seconds"
    group = parameter_group(database, app)
    if group is None:
        yield undecided(place, allowed) if place.unknown else objection(place, allowed)
        return
    value = group["Parameters"]["interactive_timeout"]
    if value.number is None or value.number > MAX_IDLE_SECONDS:
        seen = f"interactive_timeout is {value.text or 'not set'} in {group.path}"
        yield objection(place, allowed, seen=seen)


_BALANCER = {
    "Balancer": resource(
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        Type="application",
        LoadBalancerAttributes=[
            {"Key": "idle_timeout.timeout_seconds", "Value": "60"},
            {"Key": "client_keep_alive.seconds", "Value": "600"},
        ],
    )
}


@rule(
    id="BalancerIdleTimeout",
    requirements=["8.2.8", "2.2.6"],
    title="A load balancer closes a connection that nobody uses within 15 minutes.",
    why="Connections that stay open hold sessions, and what those sessions may do.",
    fix="Leave idle_timeout.timeout_seconds out (60), or set it to at most 900.",
    types=["AWS::ElasticLoadBalancingV2::LoadBalancer"],
    complies=[_BALANCER, without(_BALANCER, "Balancer.LoadBalancerAttributes")],
    violates=[varied(_BALANCER, "Balancer.LoadBalancerAttributes.0.Value", "4000")],
)
def balancer_idle_timeout(balancer: Resource, _app: App) -> Iterator[Objection]:
    place = attribute(balancer, "idle_timeout.timeout_seconds")
    yield from expect(
        place,
        f"at most {MAX_IDLE_SECONDS} seconds",
        lambda v: v.missing or (v.number is not None and v.number <= MAX_IDLE_SECONDS),
    )


_SSM_SESSIONS = {
    "Preferences": resource(
        "AWS::SSM::Document",
        DocumentType="Session",
        Content={"inputs": {"idleSessionTimeout": "15", "kmsKeyId": "key", "cloudWatchLogGroupName": "sessions"}},
    )
}


@rule(
    id="ShellSessionTimeout",
    requirements=["8.2.8", "10.2.1.2"],
    title="A shell session of Systems Manager ends after 15 minutes without use and is recorded.",
    why="A shell left open belongs to whoever sits down next.",
    fix="Set idleSessionTimeout to at most 15, and a log group or bucket, in the session document.",
    types=["AWS::SSM::Document"],
    applies=lambda document, _app: document["DocumentType"].text == "Session",
    complies=[_SSM_SESSIONS],
    violates=[
        varied(_SSM_SESSIONS, "Preferences.Content.inputs.idleSessionTimeout", "60"),
        without(_SSM_SESSIONS, "Preferences.Content.inputs.cloudWatchLogGroupName"),
    ],
)
def shell_session_timeout(document: Resource, _app: App) -> Iterator[Objection]:
    inputs = document["Content"].document()["inputs"]
    timeout = inputs["idleSessionTimeout"]
    yield from expect(timeout, "at most 15 minutes", lambda v: v.number is None or v.number <= 15)
    recorded = [inputs[key] for key in ("cloudWatchLogGroupName", "s3BucketName")]
    if not any(place.text for place in recorded):
        yield objection(recorded[0], "a log group or a bucket")
