"""Audit logs: what is recorded, how long it is kept, and that nobody changes it."""

from collections.abc import Iterator
from typing import Any

from policy.engine import (
    Objection,
    Template,
    expect,
    expect_at_least,
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
from policy.rules.network import attribute
from policy.rules.transit import engine_family, parameter_group, parameter_place, standalone
from policy.templates import App, Resource, View

RETENTION_DAYS = 365
"""Requirement 10.5.1: twelve months of history."""

_GROUP = {
    "Group": {**resource("AWS::Logs::LogGroup", RetentionInDays=400), "DeletionPolicy": "Retain"},
}


@rule(
    id="LogGroupRetention",
    requirements=["10.5.1"],
    title="A log group keeps its entries for twelve months.",
    why="An attack is often found months later; what happened must then still be there.",
    fix="Set RetentionInDays to 365 or more; left out, entries stay for ever, and nobody has decided that.",
    types=["AWS::Logs::LogGroup"],
    complies=[_GROUP],
    violates=[varied(_GROUP, "Group.RetentionInDays", 90), without(_GROUP, "Group.RetentionInDays")],
)
def log_group_retention(group: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_at_least(group["RetentionInDays"], RETENTION_DAYS, "days")


@rule(
    id="LogGroupRetained",
    requirements=["10.3.2", "10.5.1"],
    title="Deleting a stack does not delete its logs.",
    why="The history must survive the system that wrote it.",
    fix="Set DeletionPolicy to Retain (removal_policy=RemovalPolicy.RETAIN in the CDK).",
    types=["AWS::Logs::LogGroup"],
    complies=[_GROUP],
    violates=[{"Group": {**_GROUP["Group"], "DeletionPolicy": "Delete"}}],
)
def log_group_retained(group: Resource, _app: App) -> Iterator[Objection]:
    if group.deletion_policy not in ("Retain", "RetainExceptOnCreate"):
        yield objection(group.properties, "DeletionPolicy Retain", seen=f"DeletionPolicy {group.deletion_policy}")


_BALANCER = {
    "Logs": resource(
        "AWS::S3::Bucket",
        VersioningConfiguration={"Status": "Enabled"},
        LifecycleConfiguration={"Rules": [{"Status": "Enabled", "ExpirationInDays": 400}]},
        LoggingConfiguration={"DestinationBucketName": "audit"},
    ),
    "Balancer": resource(
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        Type="application",
        LoadBalancerAttributes=[
            {"Key": "access_logs.s3.enabled", "Value": "true"},
            {"Key": "access_logs.s3.bucket", "Value": ref("Logs")},
        ],
    ),
}


def _takes_server_access_logs(bucket: Resource, app: App) -> bool:
    """Whether S3 itself delivers to the bucket what was asked of another one."""
    return any(
        app.target(other["LoggingConfiguration.DestinationBucketName"], "AWS::S3::Bucket") is bucket
        for other in app.of_type("AWS::S3::Bucket")
    )


_DESTINATIONS = {
    "AWS::ElasticLoadBalancing::LoadBalancer": ("AccessLoggingPolicy.S3BucketName",),
    "AWS::CloudTrail::Trail": ("S3BucketName",),
    "AWS::EC2::FlowLog": ("LogDestination",),
    "AWS::WAFv2::LoggingConfiguration": ("LogDestinationConfigs",),
    "AWS::CloudFront::Distribution": ("DistributionConfig.Logging.Bucket",),
    "AWS::Logs::DeliveryDestination": ("DestinationResourceArn",),
    "AWS::KinesisFirehose::DeliveryStream": (
        "S3DestinationConfiguration.BucketARN",
        "ExtendedS3DestinationConfiguration.BucketARN",
    ),
}
"""Where a resource names the bucket that its log goes to; a distribution names its origin elsewhere."""


def _log_destinations(writer: Resource, app: App) -> Iterator[View]:
    if writer.type == "AWS::ElasticLoadBalancingV2::LoadBalancer":
        for entry in writer["LoadBalancerAttributes"].items():
            if entry["Key"].text.endswith("_logs.s3.bucket"):
                yield entry["Value"]
        return
    carries_logs = ("AWS::WAFv2::LoggingConfiguration", "AWS::Logs::SubscriptionFilter")
    if writer.type == "AWS::KinesisFirehose::DeliveryStream" and not app.referrers(writer, *carries_logs):
        return
    for path in _DESTINATIONS[writer.type]:
        yield from writer[path].items()


def takes_audit_logs(bucket: Resource, app: App) -> bool:
    """Whether a load balancer, a trail, flow logs, a web ACL, a distribution or a log group delivers to the bucket."""
    return any(
        app.target(place, "AWS::S3::Bucket") is bucket
        for writer in app.of_type("AWS::ElasticLoadBalancingV2::LoadBalancer", *_DESTINATIONS)
        for place in _log_destinations(writer, app)
    )


def is_log_bucket(bucket: Resource, app: App) -> bool:
    """Whether logs are delivered to the bucket, those of S3 itself included."""
    return takes_audit_logs(bucket, app) or _takes_server_access_logs(bucket, app)


@rule(
    id="LogBucketRetention",
    requirements=["10.5.1"],
    title="A bucket of logs keeps them for twelve months.",
    why="An attack is often found months later; what happened must then still be there.",
    fix="Let no lifecycle rule expire objects before 365 days.",
    types=["AWS::S3::Bucket"],
    applies=is_log_bucket,
    complies=[_BALANCER, without(_BALANCER, "Logs.LifecycleConfiguration")],
    violates=[
        varied(_BALANCER, "Logs.LifecycleConfiguration.Rules.0.ExpirationInDays", 90),
    ],
)
def log_bucket_retention(bucket: Resource, _app: App) -> Iterator[Objection]:
    for entry in bucket["LifecycleConfiguration.Rules"].items():
        days = entry["ExpirationInDays"]
        if entry["Status"].text == "Enabled" and not days.missing:
            yield from expect_at_least(days, RETENTION_DAYS, "days")


_LOCKED = {
    "Logs": resource(
        "AWS::S3::Bucket",
        BucketName="payments-trail",
        ObjectLockEnabled=True,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 400}},
        },
    ),
    "Trail": resource("AWS::CloudTrail::Trail", S3BucketName=ref("Logs")),
}
_UNLOCKED = without(_LOCKED, "Logs.ObjectLockEnabled")


def _unlocked_for(type_: str, **properties: Any) -> Template:
    return {**without(_UNLOCKED, "Trail"), "Writer": resource(type_, **properties)}


_STREAM = _unlocked_for(
    "AWS::KinesisFirehose::DeliveryStream",
    ExtendedS3DestinationConfiguration={"BucketARN": get_att("Logs", "Arn")},
)


@rule(
    id="LogBucketLocked",
    requirements=["10.3.2", "10.5.1"],
    title="A bucket of audit logs lets nobody change or delete them for twelve months.",
    why="Who breaks in takes the traces away; versions alone do not help against rights to delete versions.",
    fix="Set ObjectLockEnabled, and a default retention of 365 days or more with a mode in ObjectLockConfiguration. S3 "
    "delivers its own access logs to no bucket with a lock; give them a bucket of their own, which is exempt.",
    types=["AWS::S3::Bucket"],
    applies=takes_audit_logs,
    complies=[
        _LOCKED,
        varied(_LOCKED, "Logs.ObjectLockConfiguration.Rule.DefaultRetention", {"Mode": "GOVERNANCE", "Years": 1}),
        # The second bucket takes the access logs of the first, and could have no lock.
        {
            **varied(_LOCKED, "Logs.LoggingConfiguration", {"DestinationBucketName": ref("Access")}),
            "Access": resource("AWS::S3::Bucket"),
        },
        # A distribution serves from one bucket and logs to another; a stream of prices is no log.
        {
            **_LOCKED,
            "Pages": resource("AWS::S3::Bucket"),
            "Prices": resource("AWS::S3::Bucket"),
            "Distribution": resource(
                "AWS::CloudFront::Distribution",
                DistributionConfig={
                    "Origins": [{"DomainName": get_att("Pages", "RegionalDomainName")}],
                    "Logging": {"Bucket": get_att("Logs", "RegionalDomainName")},
                },
            ),
            "Stream": resource(
                "AWS::KinesisFirehose::DeliveryStream",
                S3DestinationConfiguration={"BucketARN": get_att("Prices", "Arn")},
            ),
        },
    ],
    violates=[
        _UNLOCKED,
        without(_LOCKED, "Logs.ObjectLockConfiguration"),
        without(_LOCKED, "Logs.ObjectLockConfiguration.Rule"),
        without(_LOCKED, "Logs.ObjectLockConfiguration.Rule.DefaultRetention.Mode"),
        varied(_LOCKED, "Logs.ObjectLockConfiguration.Rule.DefaultRetention.Days", 30),
        varied(_LOCKED, "Logs.ObjectLockConfiguration.Rule.DefaultRetention", {"Mode": "COMPLIANCE", "Years": 0}),
        varied(_UNLOCKED, "Trail.S3BucketName", "payments-trail"),
        _unlocked_for(
            "AWS::ElasticLoadBalancingV2::LoadBalancer",
            LoadBalancerAttributes=[{"Key": "access_logs.s3.bucket", "Value": ref("Logs")}],
        ),
        _unlocked_for("AWS::ElasticLoadBalancing::LoadBalancer", AccessLoggingPolicy={"S3BucketName": ref("Logs")}),
        _unlocked_for("AWS::EC2::FlowLog", LogDestinationType="s3", LogDestination=get_att("Logs", "Arn")),
        _unlocked_for("AWS::WAFv2::LoggingConfiguration", LogDestinationConfigs=[get_att("Logs", "Arn")]),
        _unlocked_for("AWS::Logs::DeliveryDestination", DestinationResourceArn=get_att("Logs", "Arn")),
        {
            **_STREAM,
            "Filter": resource("AWS::Logs::SubscriptionFilter", DestinationArn=get_att("Writer", "Arn")),
        },
    ],
)
def log_bucket_locked(bucket: Resource, _app: App) -> Iterator[Objection]:
    wanted = f"a default retention of at least {RETENTION_DAYS} days"
    enabled = bucket["ObjectLockEnabled"]
    retention = bucket["ObjectLockConfiguration.Rule.DefaultRetention"]
    if enabled.flag is not True:
        yield from expect(enabled, f"true, with {wanted}", lambda _: False)
        return
    if retention.missing:
        yield objection(retention, wanted)
        return
    yield from expect(retention["Mode"], "COMPLIANCE or GOVERNANCE", lambda v: v.text in ("COMPLIANCE", "GOVERNANCE"))
    if retention["Years"].missing:
        yield from expect_at_least(retention["Days"], RETENTION_DAYS, "days")
    else:
        yield from expect_at_least(retention["Years"], 1, "year")


@rule(
    id="BucketVersioned",
    requirements=["10.3.2", "12.10.1"],
    title="A bucket keeps earlier versions of its objects.",
    why="What is overwritten or deleted, by mistake or to hide something, can be brought back.",
    fix="Set VersioningConfiguration.Status to Enabled.",
    types=["AWS::S3::Bucket"],
    complies=[_BALANCER],
    violates=[
        without(_BALANCER, "Logs.VersioningConfiguration"),
        varied(_BALANCER, "Logs.VersioningConfiguration.Status", "Suspended"),
    ],
)
def bucket_versioned(bucket: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(bucket["VersioningConfiguration.Status"], "Enabled", lambda v: v.text == "Enabled")


@rule(
    id="BucketAccessLogged",
    requirements=["10.2.1", "10.2.1.3"],
    title="Access to a bucket is logged.",
    why="Who read or changed stored data, and above all the logs, must be on record.",
    fix="Set LoggingConfiguration with a destination. The bucket that takes these logs is exempt.",
    types=["AWS::S3::Bucket"],
    applies=lambda bucket, app: not _takes_server_access_logs(bucket, app),
    complies=[_BALANCER],
    violates=[without(_BALANCER, "Logs.LoggingConfiguration")],
)
def bucket_access_logged(bucket: Resource, _app: App) -> Iterator[Objection]:
    place = bucket["LoggingConfiguration"]
    yield from expect(place, "a destination bucket or a prefix", lambda v: not v.missing)


@rule(
    id="BalancerAccessLogs",
    requirements=["10.2.1", "10.2.2"],
    title="A load balancer logs its requests.",
    why="The front door's log has the address, the time and the outcome of every request.",
    fix="Set the attributes access_logs.s3.enabled and access_logs.s3.bucket.",
    types=["AWS::ElasticLoadBalancingV2::LoadBalancer"],
    complies=[_BALANCER],
    violates=[
        varied(_BALANCER, "Balancer.LoadBalancerAttributes.0.Value", "false"),
        without(_BALANCER, "Balancer.LoadBalancerAttributes"),
    ],
)
def balancer_access_logs(balancer: Resource, _app: App) -> Iterator[Objection]:
    enabled = attribute(balancer, "access_logs.s3.enabled")
    bucket = attribute(balancer, "access_logs.s3.bucket")
    if enabled.unknown:
        yield undecided(enabled, "access_logs.s3.enabled true")
    elif enabled.flag is not True or bucket.missing:
        yield objection(enabled, "access_logs.s3.enabled true, with a bucket", seen=enabled.text or "not set")


_ACL = {
    "Acl": resource("AWS::WAFv2::WebACL", Scope="REGIONAL"),
    "Logging": resource(
        "AWS::WAFv2::LoggingConfiguration",
        ResourceArn=get_att("Acl", "Arn"),
        LogDestinationConfigs=["arn:aws:logs:us-east-1:111122223333:log-group:aws-waf-logs-front"],
    ),
}


@rule(
    id="WafLogged",
    requirements=["10.2.1", "6.4.2"],
    title="A web ACL logs what it decides.",
    why="Without the log nobody sees attacks that are blocked, nor those that are let through.",
    fix="Add an AWS::WAFv2::LoggingConfiguration, in whichever stack.",
    types=["AWS::WAFv2::WebACL"],
    complies=[_ACL],
    violates=[without(_ACL, "Logging"), varied(_ACL, "Logging.LogDestinationConfigs", [])],
)
def waf_logged(acl: Resource, app: App) -> Iterator[Objection]:
    configurations = app.referrers(acl, "AWS::WAFv2::LoggingConfiguration")
    if not any(configuration["LogDestinationConfigs"].items() for configuration in configurations):
        yield objection(acl.properties, "a logging configuration with a destination", seen="none in any stack")


_AUDITED = {
    "Parameters": resource(
        "AWS::RDS::DBClusterParameterGroup",
        Family="aurora-mysql8.0",
        Parameters={
            "server_audit_logging": "1",
            "server_audit_events": "CONNECT,QUERY_DCL,QUERY_DDL",
            "general_log": "0",
        },
    ),
    "Cluster": resource(
        "AWS::RDS::DBCluster",
        Engine="aurora-mysql",
        DBClusterParameterGroupName=ref("Parameters"),
        EnableCloudwatchLogsExports=["audit", "error"],
    ),
}
AUDIT_EVENTS = ("CONNECT", "QUERY_DCL", "QUERY_DDL")


def is_aurora_mysql(database: Resource, _app: App) -> bool:
    return database["Engine"].text == "aurora-mysql" and database.type == "AWS::RDS::DBCluster"


@rule(
    id="DatabaseAudited",
    requirements=["10.2.1", "10.2.1.2", "10.2.1.4", "10.2.1.5", "10.2.1.7"],
    title="A database records sign-ins, changes of accounts and changes of the schema.",
    why="Who signed in or failed to, who was given rights, and what was created or dropped must be on record.",
    fix="Set server_audit_logging to 1 and server_audit_events to CONNECT,QUERY_DCL,QUERY_DDL in the cluster's "
    "parameter group.",
    types=["AWS::RDS::DBCluster"],
    applies=is_aurora_mysql,
    complies=[_AUDITED],
    violates=[
        varied(_AUDITED, "Parameters.Parameters.server_audit_logging", "0"),
        without(_AUDITED, "Parameters.Parameters.server_audit_logging"),
        varied(_AUDITED, "Parameters.Parameters.server_audit_events", "CONNECT"),
        without(_AUDITED, "Cluster.DBClusterParameterGroupName"),
    ],
)
def database_audited(database: Resource, app: App) -> Iterator[Objection]:
    place = database[parameter_place(database)]
    group = parameter_group(database, app)
    if group is None:
        yield objection(place, "a parameter group with server_audit_logging on")
        return
    enabled = group["Parameters"]["server_audit_logging"]
    if enabled.text.upper() not in ("1", "ON"):
        yield objection(
            place, "server_audit_logging 1", seen=f"server_audit_logging is {enabled.text or 'not set'} in {group.path}"
        )
    events = {event.strip().upper() for event in group["Parameters"]["server_audit_events"].text.split(",")}
    lacking = [event for event in AUDIT_EVENTS if event not in events]
    if lacking:
        yield objection(place, ", ".join(AUDIT_EVENTS), seen=f"server_audit_events lacks {', '.join(lacking)}")


@rule(
    id="DatabaseLogsExported",
    requirements=["10.3.3", "10.2.1"],
    title="A database sends its audit and error logs to CloudWatch Logs.",
    why="Logs on the database's own disk are rotated away, and whoever owns the database owns them.",
    fix="Set EnableCloudwatchLogsExports to audit and error (postgresql for PostgreSQL).",
    types=["AWS::RDS::DBCluster", "AWS::RDS::DBInstance"],
    applies=standalone,
    complies=[_AUDITED],
    violates=[
        without(_AUDITED, "Cluster.EnableCloudwatchLogsExports"),
        varied(_AUDITED, "Cluster.EnableCloudwatchLogsExports", ["error"]),
    ],
)
def database_logs_exported(database: Resource, _app: App) -> Iterator[Objection]:
    place = database["EnableCloudwatchLogsExports"]
    wanted = {"postgresql"} if engine_family(database) == "postgres" else {"audit", "error"}
    exported = {item.text for item in place.items()}
    if place.unknown:
        yield undecided(place, ", ".join(sorted(wanted)))
    elif not wanted <= exported:
        yield objection(place, ", ".join(sorted(wanted)))


@rule(
    id="DatabaseGeneralLogOff",
    requirements=["3.5.1", "3.3.1"],
    title="A database does not log the text of every statement.",
    why="Statements carry the values of their columns: the general log would be a second store of account data, in "
    "the clear.",
    fix="Leave general_log out, or set it to 0.",
    types=["AWS::RDS::DBCluster", "AWS::RDS::DBInstance"],
    applies=lambda database, app: parameter_group(database, app) is not None,
    complies=[_AUDITED, without(_AUDITED, "Parameters.Parameters.general_log")],
    violates=[varied(_AUDITED, "Parameters.Parameters.general_log", "1")],
)
def database_general_log_off(database: Resource, app: App) -> Iterator[Objection]:
    group = parameter_group(database, app)
    if group is not None and group["Parameters"]["general_log"].text.upper() in ("1", "ON"):
        yield objection(database[parameter_place(database)], "general_log 0", seen=f"general_log is on in {group.path}")


_MACHINE = {
    "Log": resource("AWS::Logs::LogGroup", RetentionInDays=400),
    "Machine": resource(
        "AWS::StepFunctions::StateMachine",
        LoggingConfiguration={
            "Level": "ALL",
            "Destinations": [{"CloudWatchLogsLogGroup": {"LogGroupArn": get_att("Log", "Arn")}}],
        },
    ),
}


@rule(
    id="StateMachineLogged",
    requirements=["10.2.1"],
    title="A state machine logs its executions.",
    why="What an automatic process did, and on whose behalf, must be on record like what a person did.",
    fix="Set LoggingConfiguration with Level ALL or ERROR and a log group.",
    types=["AWS::StepFunctions::StateMachine"],
    complies=[_MACHINE],
    violates=[
        without(_MACHINE, "Machine.LoggingConfiguration"),
        varied(_MACHINE, "Machine.LoggingConfiguration.Level", "OFF"),
        varied(_MACHINE, "Machine.LoggingConfiguration.Destinations", []),
    ],
)
def state_machine_logged(machine: Resource, _app: App) -> Iterator[Objection]:
    logging = machine["LoggingConfiguration"]
    yield from expect(logging["Level"], "ALL or ERROR", lambda v: v.text in ("ALL", "ERROR", "FATAL"))
    if not logging.missing:
        yield from expect(logging["Destinations"], "a log group", lambda v: bool(v.items()))


_TASK = {
    "Task": resource(
        "AWS::ECS::TaskDefinition",
        ContainerDefinitions=[
            {"Name": "app", "LogConfiguration": {"LogDriver": "awslogs", "Options": {"awslogs-group": "app"}}}
        ],
    )
}


@rule(
    id="ContainerLogged",
    requirements=["10.2.1", "10.3.3"],
    title="Every container sends its log away.",
    why="What a container writes to its own disk is gone with the task.",
    fix="Set LogConfiguration.",
    types=["AWS::ECS::TaskDefinition"],
    complies=[_TASK],
    violates=[without(_TASK, "Task.ContainerDefinitions.0.LogConfiguration")],
)
def container_logged(task: Resource, _app: App) -> Iterator[Objection]:
    for container in task["ContainerDefinitions"].items():
        name = container["Name"].text
        yield from (
            objection(o.view, o.allowed, detail=name)
            for o in expect(
                container["LogConfiguration.LogDriver"], "a log driver", lambda v: v.text not in ("", "none")
            )
        )


_EXEC = {
    "Cluster": resource(
        "AWS::ECS::Cluster",
        Configuration={
            "ExecuteCommandConfiguration": {
                "Logging": "OVERRIDE",
                "KmsKeyId": "key",
                "LogConfiguration": {"CloudWatchLogGroupName": "exec", "CloudWatchEncryptionEnabled": True},
            }
        },
    ),
    "Service": resource("AWS::ECS::Service", Cluster=ref("Cluster"), EnableExecuteCommand=True),
}


@rule(
    id="ShellIntoContainerLogged",
    requirements=["10.2.1.2", "2.2.7", "8.6.1"],
    title="A shell into a container is off, or encrypted and recorded.",
    why="Interactive use of the application's own account must be the exception, and every command on record.",
    fix="Leave EnableExecuteCommand out, or give the cluster an ExecuteCommandConfiguration with a key and a log.",
    types=["AWS::ECS::Service"],
    complies=[_EXEC, varied(_EXEC, "Service.EnableExecuteCommand", False)],
    violates=[
        without(_EXEC, "Cluster.Configuration"),
        varied(_EXEC, "Cluster.Configuration.ExecuteCommandConfiguration.Logging", "NONE"),
    ],
)
def shell_into_container_logged(service: Resource, app: App) -> Iterator[Objection]:
    if service["EnableExecuteCommand"].flag is not True:
        return
    cluster = app.target(service["Cluster"], "AWS::ECS::Cluster")
    if cluster is not None:
        execute = cluster["Configuration.ExecuteCommandConfiguration"]
        if execute["Logging"].text == "OVERRIDE" and not execute["KmsKeyId"].missing:
            return
    yield objection(service["EnableExecuteCommand"], "false, or a cluster that encrypts and records it")


_TRAIL = {
    "Trail": resource(
        "AWS::CloudTrail::Trail",
        IsLogging=True,
        IsMultiRegionTrail=True,
        IncludeGlobalServiceEvents=True,
        EnableLogFileValidation=True,
        KMSKeyId="arn:aws:kms:us-east-1:111122223333:key/example",
        CloudWatchLogsLogGroupArn="arn:aws:logs:us-east-1:111122223333:log-group:trail",
    )
}


@rule(
    id="TrailComplete",
    requirements=["10.2.1", "10.2.1.2", "10.2.1.7"],
    title="A trail records every region and the global services.",
    why="An attacker works where nobody looks.",
    fix="Set IsLogging, IsMultiRegionTrail and IncludeGlobalServiceEvents to true.",
    types=["AWS::CloudTrail::Trail"],
    complies=[_TRAIL],
    violates=[
        varied(_TRAIL, "Trail.IsMultiRegionTrail", False),
        varied(_TRAIL, "Trail.IsLogging", False),
        without(_TRAIL, "Trail.IncludeGlobalServiceEvents"),
    ],
)
def trail_complete(trail: Resource, _app: App) -> Iterator[Objection]:
    for key in ("IsLogging", "IsMultiRegionTrail", "IncludeGlobalServiceEvents"):
        yield from expect_true(trail[key])


@rule(
    id="TrailTamperEvident",
    requirements=["10.3.2", "10.3.4"],
    title="A trail shows when its files were changed, and is encrypted.",
    why="Signed digests prove that no entry was taken out.",
    fix="Set EnableLogFileValidation to true and KMSKeyId to a key.",
    types=["AWS::CloudTrail::Trail"],
    complies=[_TRAIL],
    violates=[varied(_TRAIL, "Trail.EnableLogFileValidation", False), without(_TRAIL, "Trail.KMSKeyId")],
)
def trail_tamper_evident(trail: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_true(trail["EnableLogFileValidation"])
    yield from expect(trail["KMSKeyId"], "a key", lambda v: not v.missing)


@rule(
    id="ApiAccessLogged",
    requirements=["10.2.1", "10.2.2"],
    title="A stage of an API logs its requests.",
    why="The log has the caller, the time and the outcome of every request.",
    fix="Set AccessLogSetting(s) with a destination.",
    types=["AWS::ApiGateway::Stage", "AWS::ApiGatewayV2::Stage"],
    complies=[{"Stage": resource("AWS::ApiGateway::Stage", AccessLogSetting={"DestinationArn": "arn:aws:logs:x"})}],
    violates=[
        {"Stage": resource("AWS::ApiGateway::Stage", StageName="prod")},
        {"Stage": resource("AWS::ApiGatewayV2::Stage", StageName="prod")},
    ],
)
def api_access_logged(stage: Resource, _app: App) -> Iterator[Objection]:
    key = "AccessLogSetting" if stage.type == "AWS::ApiGateway::Stage" else "AccessLogSettings"
    yield from expect(stage[key]["DestinationArn"], "a log group", lambda v: not v.missing)


_FUNCTION = {
    "Log": resource("AWS::Logs::LogGroup", RetentionInDays=400),
    "Function": resource("AWS::Lambda::Function", LoggingConfig={"LogGroup": ref("Log")}),
}


@rule(
    id="FunctionLogGroupOwned",
    requirements=["10.5.1", "10.3.2"],
    title="A function logs to a log group of the app.",
    why="Otherwise Lambda makes a group by itself: without a key, and without anybody's decision on how long.",
    fix="Set LoggingConfig.LogGroup, or make the group /aws/lambda/<function name>.",
    types=["AWS::Lambda::Function"],
    complies=[_FUNCTION],
    violates=[without(_FUNCTION, "Function.LoggingConfig")],
)
def function_log_group_owned(function: Resource, app: App) -> Iterator[Objection]:
    place = function["LoggingConfig.LogGroup"]
    if place.unknown and not place.references():
        yield undecided(place, "a log group of the app")
    elif place.missing:
        for group in app.referrers(function, "AWS::Logs::LogGroup"):
            if group["LogGroupName"].text.startswith("/aws/lambda/"):
                return
        name = function["FunctionName"].text
        if name and any(g["LogGroupName"].text == f"/aws/lambda/{name}" for g in app.of_type("AWS::Logs::LogGroup")):
            return
        yield objection(place, "a log group of the app")


_REPLICATION = {
    "Task": resource(
        "AWS::DMS::ReplicationTask",
        ReplicationTaskSettings='{"Logging": {"EnableLogging": true, "LogComponents": '
        '[{"Id": "SOURCE_CAPTURE", "Severity": "LOGGER_SEVERITY_DEFAULT"}]}}',
    )
}


@rule(
    id="ReplicationLogged",
    requirements=["10.2.1"],
    title="A DMS task writes a log.",
    why="Errors and conflicts of the replication are found only there, and the validation metrics need it.",
    fix="Set Logging.EnableLogging to true in ReplicationTaskSettings.",
    types=["AWS::DMS::ReplicationTask"],
    complies=[_REPLICATION],
    violates=[
        varied(_REPLICATION, "Task.ReplicationTaskSettings", '{"Logging": {"EnableLogging": false}}'),
        without(_REPLICATION, "Task.ReplicationTaskSettings"),
    ],
)
def replication_logged(task: Resource, _app: App) -> Iterator[Objection]:
    settings = task["ReplicationTaskSettings"].document()
    yield from expect_true(settings["Logging"]["EnableLogging"])


@rule(
    id="ReplicationLogsNoRows",
    requirements=["3.5.1", "3.3.1"],
    title="The log of a DMS task holds no rows.",
    why="At the detailed debug level DMS logs the values of the rows: account data in a log.",
    fix="Set the severity of every log component to LOGGER_SEVERITY_DEFAULT, or LOGGER_SEVERITY_INFO.",
    types=["AWS::DMS::ReplicationTask"],
    complies=[_REPLICATION],
    violates=[
        varied(
            _REPLICATION,
            "Task.ReplicationTaskSettings",
            '{"Logging": {"EnableLogging": true, "LogComponents": '
            '[{"Id": "SOURCE_CAPTURE", "Severity": "LOGGER_SEVERITY_DETAILED_DEBUG"}]}}',
        )
    ],
)
def replication_logs_no_rows(task: Resource, _app: App) -> Iterator[Objection]:
    settings = task["ReplicationTaskSettings"].document()
    for component in settings["Logging"]["LogComponents"].items():
        severity = component["Severity"]
        if severity.text in ("LOGGER_SEVERITY_DEBUG", "LOGGER_SEVERITY_DETAILED_DEBUG"):
            seen = f"{severity.text} for {component['Id'].text}"
            yield objection(severity, "LOGGER_SEVERITY_DEFAULT", seen=seen, detail=component["Id"].text)


_ZONE = {
    "Zone": resource(
        "AWS::Route53::HostedZone",
        Name="pay.example.com",
        QueryLoggingConfig={"CloudWatchLogsLogGroupArn": "arn:aws:logs:us-east-1:111122223333:log-group:dns"},
    )
}


@rule(
    id="ZoneQueriesLogged",
    requirements=["10.2.1"],
    title="A public hosted zone logs its queries.",
    why="Queries for names that should not be known are the first trace of somebody looking around.",
    fix="Set QueryLoggingConfig with a log group in us-east-1. Private zones are exempt.",
    types=["AWS::Route53::HostedZone"],
    applies=lambda zone, _app: not zone["VPCs"].items(),
    complies=[_ZONE],
    violates=[without(_ZONE, "Zone.QueryLoggingConfig")],
)
def zone_queries_logged(zone: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(zone["QueryLoggingConfig.CloudWatchLogsLogGroupArn"], "a log group", lambda v: not v.missing)
