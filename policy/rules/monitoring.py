"""When a control fails, somebody is told."""

from collections.abc import Iterator
from typing import Any

from policy.engine import (
    Objection,
    expect,
    get_att,
    objection,
    ref,
    resource,
    rule,
    varied,
    without,
)
from policy.rules.transit import standalone
from policy.templates import App, Resource

ALARMS = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")

_ALARMED: dict[str, Any] = {
    "Topic": resource("AWS::SNS::Topic"),
    "Subscription": resource(
        "AWS::SNS::Subscription", TopicArn=ref("Topic"), Protocol="email", Endpoint="security@example.com"
    ),
    "Alarm": resource("AWS::CloudWatch::Alarm", AlarmName="errors", AlarmActions=[ref("Topic")], ActionsEnabled=True),
    "Part": resource("AWS::CloudWatch::Alarm", AlarmName="part"),
    "Whole": resource(
        "AWS::CloudWatch::CompositeAlarm",
        AlarmRule={"Fn::Sub": "ALARM(${Part.Arn})"},
        AlarmActions=[ref("Topic")],
    ),
}


def _feeds_something(alarm: Resource, app: App) -> bool:
    """Whether something else looks at the alarm: a composite alarm, a deployment, a health check, scaling."""
    if any(other is not alarm for other in app.referrers(alarm)):
        return True
    name = alarm["AlarmName"].text
    return bool(name) and any(
        name in composite["AlarmRule"].text for composite in app.of_type("AWS::CloudWatch::CompositeAlarm")
    )


@rule(
    id="AlarmActs",
    requirements=["10.7.2", "12.10.5"],
    title="An alarm tells somebody, or feeds an alarm that does.",
    why="An alarm that only changes its colour is found out about after the incident.",
    fix="Set AlarmActions, leave ActionsEnabled on, or name the alarm in a composite alarm.",
    types=ALARMS,
    complies=[_ALARMED],
    violates=[
        without(_ALARMED, "Alarm.AlarmActions"),
        varied(_ALARMED, "Alarm.ActionsEnabled", False),
        without(_ALARMED, "Whole"),
    ],
)
def alarm_acts(alarm: Resource, app: App) -> Iterator[Objection]:
    if _feeds_something(alarm, app):
        return
    yield from expect(alarm["AlarmActions"], "at least one action", lambda v: bool(v.items()))
    yield from expect(alarm["ActionsEnabled"], "true", lambda v: v.flag is not False)


def _alerting(topic: Resource, app: App) -> bool:
    return bool(app.referrers(topic, *ALARMS, "AWS::Backup::BackupVault", "AWS::DMS::EventSubscription"))


@rule(
    id="AlertTopicHasSubscriber",
    requirements=["12.10.5", "10.7.3"],
    title="A topic for alerts has a subscriber.",
    why="Otherwise alerts are published to nobody.",
    fix="Add an AWS::SNS::Subscription for the people or the function that respond.",
    types=["AWS::SNS::Topic"],
    applies=_alerting,
    complies=[_ALARMED],
    violates=[without(_ALARMED, "Subscription")],
)
def alert_topic_has_subscriber(topic: Resource, app: App) -> Iterator[Objection]:
    if not app.referrers(topic, "AWS::SNS::Subscription") and not topic["Subscription"].items():
        yield objection(topic.properties, "at least one subscription", seen="none in any stack")


_ROTATION = {
    "Rotation": resource("AWS::Lambda::Function", Handler="rotation.handler"),
    "Schedule": resource(
        "AWS::SecretsManager::RotationSchedule", SecretId="secret", RotationLambdaARN=get_att("Rotation", "Arn")
    ),
    "Alarm": resource(
        "AWS::CloudWatch::Alarm",
        Namespace="AWS/Lambda",
        MetricName="Errors",
        Dimensions=[{"Name": "FunctionName", "Value": ref("Rotation")}],
    ),
}


@rule(
    id="RotationFailureAlarmed",
    requirements=["10.7.2", "8.6.3"],
    title="A failing rotation of a secret raises an alarm.",
    why="Rotation fails silently: the old password goes on working, and on.",
    fix="Add an alarm on the Errors metric of the function that rotates.",
    types=["AWS::Lambda::Function"],
    applies=lambda function, app: bool(app.referrers(function, "AWS::SecretsManager::RotationSchedule")),
    complies=[_ROTATION],
    violates=[without(_ROTATION, "Alarm"), varied(_ROTATION, "Alarm.MetricName", "Duration")],
)
def rotation_failure_alarmed(function: Resource, app: App) -> Iterator[Objection]:
    if not any(_watches(alarm, "Errors") for alarm in app.referrers(function, "AWS::CloudWatch::Alarm")):
        yield objection(function.properties, "an alarm on its errors", seen="none in any stack")


def _watches(alarm: Resource, *metrics: str) -> bool:
    if alarm["MetricName"].text in metrics:
        return True
    return any(
        query["MetricStat.Metric.MetricName"].text in metrics
        for query in alarm["Metrics"].items()
        if not query["MetricStat"].missing
    )


_VAULT = {
    "Topic": resource("AWS::SNS::Topic"),
    "Vault": resource(
        "AWS::Backup::BackupVault",
        Notifications={"BackupVaultEvents": ["BACKUP_JOB_FAILED"], "SNSTopicArn": ref("Topic")},
    ),
}
_FAILURES = ("BACKUP_JOB_FAILED", "BACKUP_JOB_COMPLETED", "BACKUP_JOB_EXPIRED")


@rule(
    id="BackupFailureReported",
    requirements=["12.10.1", "12.10.5"],
    title="A backup that fails is reported.",
    why="Backups that stopped months ago are found out about on the day they are needed.",
    fix="Set Notifications with BACKUP_JOB_FAILED (or BACKUP_JOB_COMPLETED, which carries failures too) and a "
    "topic, or add a rule of EventBridge for aws.backup.",
    types=["AWS::Backup::BackupVault"],
    complies=[
        _VAULT,
        {
            "Vault": resource("AWS::Backup::BackupVault", BackupVaultName="v"),
            "Rule": resource("AWS::Events::Rule", EventPattern={"source": ["aws.backup"]}, Targets=[{"Arn": "x"}]),
        },
    ],
    violates=[
        without(_VAULT, "Vault.Notifications"),
        varied(_VAULT, "Vault.Notifications.BackupVaultEvents", ["RESTORE_JOB_STARTED"]),
    ],
)
def backup_failure_reported(vault: Resource, app: App) -> Iterator[Objection]:
    for event_rule in app.of_type("AWS::Events::Rule"):
        sources = [item.text for item in event_rule["EventPattern"].document()["source"].items()]
        if "aws.backup" in sources and event_rule["Targets"].items():
            return
    events = vault["Notifications.BackupVaultEvents"]
    yield from expect(events, "BACKUP_JOB_FAILED", lambda v: any(item.text in _FAILURES for item in v.items()))


_WAF = {
    "Acl": resource(
        "AWS::WAFv2::WebACL",
        Name="front",
        Scope="REGIONAL",
        VisibilityConfig={"MetricName": "front", "CloudWatchMetricsEnabled": True},
    ),
    "Alarm": resource(
        "AWS::CloudWatch::Alarm",
        Namespace="AWS/WAFV2",
        MetricName="BlockedRequests",
        Dimensions=[{"Name": "WebACL", "Value": "front"}],
    ),
}


@rule(
    id="WafAlarmed",
    requirements=["10.7.2", "11.5.1"],
    title="Attacks that a web ACL blocks raise an alarm.",
    why="A wave of blocked requests is the warning before the one that gets through.",
    fix="Add an alarm on the metric BlockedRequests in the namespace AWS/WAFV2 for the ACL.",
    types=["AWS::WAFv2::WebACL"],
    complies=[_WAF],
    violates=[without(_WAF, "Alarm"), varied(_WAF, "Alarm.Dimensions.0.Value", "another")],
)
def waf_alarmed(acl: Resource, app: App) -> Iterator[Objection]:
    names = {acl["Name"].text, acl["VisibilityConfig.MetricName"].text} - {""}
    for alarm in app.of_type("AWS::CloudWatch::Alarm"):
        if alarm["Namespace"].text != "AWS/WAFV2":
            continue
        for dimension in alarm["Dimensions"].items():
            value = dimension["Value"]
            ours = value.text in names or any(r.resource is acl for r in value.references())
            if dimension["Name"].text == "WebACL" and ours:
                return
    yield objection(acl.properties, "an alarm on its blocked requests", seen="none in any stack")


_MACHINE = {
    "Machine": resource("AWS::StepFunctions::StateMachine", DefinitionString="{}"),
    "Alarm": resource(
        "AWS::CloudWatch::Alarm",
        Namespace="AWS/States",
        MetricName="ExecutionsFailed",
        Dimensions=[{"Name": "StateMachineArn", "Value": ref("Machine")}],
    ),
}


@rule(
    id="StateMachineFailureAlarmed",
    requirements=["12.10.5"],
    title="A state machine that fails raises an alarm.",
    why="What runs by itself must say when it no longer does.",
    fix="Add an alarm on ExecutionsFailed of the state machine, or a rule of EventBridge for aws.states.",
    types=["AWS::StepFunctions::StateMachine"],
    complies=[_MACHINE],
    violates=[without(_MACHINE, "Alarm")],
)
def state_machine_failure_alarmed(machine: Resource, app: App) -> Iterator[Objection]:
    failures = ("ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted")
    if any(_watches(alarm, *failures) for alarm in app.referrers(machine, "AWS::CloudWatch::Alarm")):
        return
    for event_rule in app.of_type("AWS::Events::Rule"):
        sources = [item.text for item in event_rule["EventPattern"].document()["source"].items()]
        if "aws.states" in sources and event_rule["Targets"].items():
            return
    yield objection(machine.properties, "an alarm on its failures", seen="none in any stack")


_DEAD_LETTERS: dict[str, Any] = {
    "Letters": resource("AWS::SQS::Queue"),
    "Function": resource("AWS::Lambda::Function", DeadLetterConfig={"TargetArn": get_att("Letters", "Arn")}),
    "Alarm": resource(
        "AWS::CloudWatch::Alarm",
        Namespace="AWS/SQS",
        MetricName="ApproximateNumberOfMessagesVisible",
        Dimensions=[{"Name": "QueueName", "Value": get_att("Letters", "QueueName")}],
    ),
}


def _is_dead_letter_queue(queue: Resource, app: App) -> bool:
    for other in app.referrers(queue):
        places = (
            other["DeadLetterConfig.TargetArn"],
            other["RedrivePolicy"].document()["deadLetterTargetArn"],
            other["DestinationConfig.OnFailure.Destination"],
            other["EventInvokeConfig.DestinationConfig.OnFailure.Destination"],
        )
        if any(r.resource is queue for place in places for r in place.references()):
            return True
        for target in other["Targets"].items() if other.type == "AWS::Events::Rule" else []:
            if any(r.resource is queue for r in target["DeadLetterConfig.Arn"].references()):
                return True
    return False


@rule(
    id="DeadLettersAlarmed",
    requirements=["12.10.5", "10.7.2"],
    title="A message in a dead-letter queue raises an alarm.",
    why="What lies there did not happen; somebody has to know.",
    fix="Add an alarm on ApproximateNumberOfMessagesVisible of the queue.",
    types=["AWS::SQS::Queue"],
    applies=_is_dead_letter_queue,
    complies=[_DEAD_LETTERS],
    violates=[without(_DEAD_LETTERS, "Alarm")],
)
def dead_letters_alarmed(queue: Resource, app: App) -> Iterator[Objection]:
    metrics = ("ApproximateNumberOfMessagesVisible", "NumberOfMessagesSent", "ApproximateAgeOfOldestMessage")
    if not any(_watches(alarm, *metrics) for alarm in app.referrers(queue, "AWS::CloudWatch::Alarm")):
        yield objection(queue.properties, "an alarm on its messages", seen="none in any stack")


_MONITORED = {
    "Instance": resource("AWS::RDS::DBInstance", Engine="postgres", MonitoringInterval=60, MonitoringRoleArn="role")
}


@rule(
    id="DatabaseEnhancedMonitoring",
    requirements=["10.4.1.1", "10.7.2"],
    title="A database reports what its operating system does.",
    why="A process or a load that does not belong there shows in the figures of the operating system first.",
    fix="Set MonitoringInterval to 1-60 seconds and MonitoringRoleArn.",
    types=["AWS::RDS::DBInstance", "AWS::RDS::DBCluster"],
    applies=lambda database, app: (
        database.type == "AWS::RDS::DBInstance"
        or (standalone(database, app) and not database["MonitoringInterval"].missing)
    ),
    complies=[_MONITORED],
    violates=[varied(_MONITORED, "Instance.MonitoringInterval", 0), without(_MONITORED, "Instance.MonitoringInterval")],
)
def database_enhanced_monitoring(database: Resource, app: App) -> Iterator[Objection]:
    place = database["MonitoringInterval"]
    if place.missing:
        cluster = app.target(database["DBClusterIdentifier"], "AWS::RDS::DBCluster")
        if cluster is not None and (cluster["MonitoringInterval"].number or 0) > 0:
            return
    yield from expect(place, "1 to 60 seconds", lambda v: (v.number or 0) > 0)


_DELIVERY = {
    "Topic": resource(
        "AWS::SNS::Topic",
        DeliveryStatusLogging=[
            {"Protocol": "lambda", "FailureFeedbackRoleArn": "arn:aws:iam::111122223333:role/sns-feedback"}
        ],
    ),
    "Subscription": resource("AWS::SNS::Subscription", TopicArn=ref("Topic"), Protocol="lambda", Endpoint="arn:x"),
    "Alarm": resource("AWS::CloudWatch::Alarm", AlarmActions=[ref("Topic")]),
}
_LOGGED_PROTOCOLS = {"http": "http/s", "https": "http/s", "lambda": "lambda", "sqs": "sqs",
                     "firehose": "firehose", "application": "application"}  # fmt: skip


@rule(
    id="AlertDeliveryLogged",
    requirements=["10.7.2", "10.2.1"],
    title="A topic for alerts logs deliveries that fail.",
    why="An alert that never arrived is a control that failed; only the delivery log shows it.",
    fix="Set DeliveryStatusLogging with a FailureFeedbackRoleArn for every protocol that is subscribed (e-mail has "
    "none).",
    types=["AWS::SNS::Topic"],
    applies=lambda topic, app: _alerting(topic, app) and bool(_protocols(topic, app)),
    complies=[_DELIVERY],
    violates=[without(_DELIVERY, "Topic.DeliveryStatusLogging")],
)
def alert_delivery_logged(topic: Resource, app: App) -> Iterator[Objection]:
    logged = {
        entry["Protocol"].text
        for entry in topic["DeliveryStatusLogging"].items()
        if not entry["FailureFeedbackRoleArn"].missing
    }
    for protocol in sorted(_protocols(topic, app) - logged):
        yield objection(
            topic["DeliveryStatusLogging"], f"a feedback role for {protocol}", seen="not set", detail=protocol
        )


def _protocols(topic: Resource, app: App) -> set[str]:
    used = {s["Protocol"].text for s in app.referrers(topic, "AWS::SNS::Subscription")}
    used |= {entry["Protocol"].text for entry in topic["Subscription"].items()}
    return {_LOGGED_PROTOCOLS[protocol] for protocol in used if protocol in _LOGGED_PROTOCOLS}


@rule(
    id="DetectorEnabled",
    requirements=["11.5.1", "10.4.1.1"],
    title="A GuardDuty detector is on.",
    why="It watches DNS, flows and calls for signs of a break-in, around the clock.",
    fix="Set Enable to true.",
    types=["AWS::GuardDuty::Detector"],
    complies=[{"Detector": resource("AWS::GuardDuty::Detector", Enable=True)}],
    violates=[{"Detector": resource("AWS::GuardDuty::Detector", Enable=False)}],
)
def detector_enabled(detector: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(detector["Enable"], "true", lambda v: v.flag is True)


_EVENTS = {
    "Subscription": resource(
        "AWS::DMS::EventSubscription", SnsTopicArn="arn:aws:sns:x", Enabled=True, EventCategories=["failure"]
    )
}


@rule(
    id="EventSubscriptionEnabled",
    requirements=["12.10.5"],
    title="A subscription to the events of DMS or RDS is on.",
    why="A subscription that is off tells nobody that the service has failed.",
    fix="Leave Enabled out, or set it to true.",
    types=["AWS::DMS::EventSubscription", "AWS::RDS::EventSubscription"],
    complies=[_EVENTS],
    violates=[varied(_EVENTS, "Subscription.Enabled", False)],
)
def event_subscription_enabled(subscription: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(subscription["Enabled"], "true", lambda v: v.flag is not False)


_RULE = {"Rule": resource("AWS::Events::Rule", State="ENABLED", Targets=[{"Arn": "x", "Id": "t"}])}


@rule(
    id="EventRuleActs",
    requirements=["10.7.2"],
    title="A rule of EventBridge is on and has a target.",
    why="A rule without a target, or one that was switched off for a test, watches nothing.",
    fix="Set State to ENABLED and add a target.",
    types=["AWS::Events::Rule"],
    complies=[_RULE],
    violates=[varied(_RULE, "Rule.State", "DISABLED"), varied(_RULE, "Rule.Targets", [])],
)
def event_rule_acts(event_rule: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(event_rule["State"], "ENABLED", lambda v: v.text in ("", "ENABLED"))
    yield from expect(event_rule["Targets"], "at least one target", lambda v: bool(v.items()))


_STACK_CHANGE = "CloudFormation Stack Status Change"
_STACK_UPDATED = "UPDATE_COMPLETE"

_TOLD: dict[str, Any] = {
    "Topic": resource("AWS::SNS::Topic"),
    "Network": resource(
        "AWS::CloudFormation::Stack", TemplateURL="https://example.com/network.json", NotificationARNs=[ref("Topic")]
    ),
}
_WATCHED: dict[str, Any] = {
    **without(_TOLD, "Network.NotificationARNs"),
    "Rule": resource(
        "AWS::Events::Rule",
        EventPattern={"source": ["aws.cloudformation"], "detail-type": [_STACK_CHANGE]},
        Targets=[{"Arn": ref("Topic"), "Id": "t"}],
    ),
}


def reports_stack_changes(event_rule: Resource) -> bool:
    """Whether a rule of EventBridge is on and hands updates of stacks to a target.

    A filter on stack-id is taken to name the stacks of the app: their ids are known only after deployment. A change
    of a nested stack is one of its root stack, too.
    """
    pattern = event_rule["EventPattern"].document()
    sources = [item.text for item in pattern["source"].items()]
    kinds = [item.text for item in pattern["detail-type"].items()]
    statuses = pattern["detail"]["status-details"]["status"].items()
    # Events of AWS services come on the default bus only.
    bus = event_rule["EventBusName"]
    return (
        (_STACK_CHANGE in kinds or (not kinds and "aws.cloudformation" in sources))
        and (not sources or "aws.cloudformation" in sources)
        and (not statuses or any(item.text == _STACK_UPDATED or item.entries() for item in statuses))
        and (bus.missing or bus.text.rsplit("/", 1)[-1] == "default")
        and event_rule["State"].text != "DISABLED"
        and bool(event_rule["Targets"].items())
    )


@rule(
    id="StackChangeReported",
    requirements=["6.5.1", "11.5.2"],
    title="A change of a stack is reported to a topic, or to the target of a rule of EventBridge.",
    why="A change that nobody ordered is noticed when it happens, not when its consequences are.",
    fix="Set NotificationARNs of the nested stack to a topic, or add a rule of EventBridge for the detail type "
    f'"{_STACK_CHANGE}" that lets {_STACK_UPDATED} through and has a target. Topics of a root stack are named at '
    "deployment and stand in no template.",
    types=["AWS::CloudFormation::Stack"],
    complies=[
        _TOLD,
        _WATCHED,
        varied(_WATCHED, "Rule.EventPattern", {"source": ["aws.cloudformation"]}),
        varied(_WATCHED, "Rule.EventPattern", f'{{"detail-type": ["{_STACK_CHANGE}"]}}'),
        varied(_WATCHED, "Rule.EventPattern.detail", {"status-details": {"status": [{"suffix": "_COMPLETE"}]}}),
        varied(_WATCHED, "Rule.EventBusName", "default"),
    ],
    violates=[
        without(_TOLD, "Network.NotificationARNs"),
        varied(_TOLD, "Network.NotificationARNs", []),
        without(_WATCHED, "Rule"),
        varied(_WATCHED, "Rule.Targets", []),
        varied(_WATCHED, "Rule.State", "DISABLED"),
        varied(_WATCHED, "Rule.EventBusName", "payments"),
        varied(_WATCHED, "Rule.EventPattern.source", ["aws.ecs"]),
        varied(_WATCHED, "Rule.EventPattern.detail-type", ["CloudFormation Drift Detection Status Change"]),
        varied(_WATCHED, "Rule.EventPattern.detail", {"status-details": {"status": ["DELETE_COMPLETE"]}}),
        {
            **without(_WATCHED, "Rule"),
            "Rule": resource("AWS::Events::Rule", ScheduleExpression="rate(1 day)", Targets=[{"Arn": "x", "Id": "t"}]),
        },
    ],
)
def stack_change_reported(stack: Resource, app: App) -> Iterator[Objection]:
    if any(reports_stack_changes(event_rule) for event_rule in app.of_type("AWS::Events::Rule")):
        return
    yield from expect(stack["NotificationARNs"], "a topic, or a rule of EventBridge", lambda v: bool(v.items()))
