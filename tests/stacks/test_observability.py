"""Alarms, who is told, and the dashboard. What metrics mean is compared with what emits them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from policy.templates import Resource
from tests.support.permissions import permissions_of
from tests.support.synthesized import Synthesis, name_of, plain

COLORS = ("Blue", "Green")

# Metrics that AWS documents, by namespace and by the dimensions under which they are sent:
# - AWS/ApplicationELB: Application Load Balancers user guide, "CloudWatch metrics for your Application Load Balancer"
# - AWS/RDS: Aurora user guide, "Amazon CloudWatch metrics for Amazon Aurora"; dimensions DBClusterIdentifier, Role
# - AWS/DMS: DMS user guide, "Monitoring AWS DMS tasks" and "Data validation" (names end in Count)
# - AWS/Events: EventBridge user guide, "Monitoring Amazon EventBridge"
# - AWS/Lambda: Lambda developer guide, "Types of metrics for Lambda functions"
# - AWS/Route53: Route 53 developer guide, "Monitoring health checks using CloudWatch"
# - AWS/SQS: SQS developer guide, "Available CloudWatch metrics for Amazon SQS"
# - AWS/States: Step Functions developer guide, "Monitoring metrics in Step Functions"; execution metrics
# - AWS/WAFV2: WAF developer guide, "AWS WAF metrics and dimensions"
TARGETS = ("LoadBalancer", "TargetGroup")
DOCUMENTED: dict[tuple[str, tuple[str, ...]], set[str]] = {
    ("AWS/ApplicationELB", TARGETS): {
        "HTTPCode_Target_5XX_Count",
        "HealthyHostCount",
        "RequestCount",
        "TargetResponseTime",
        "UnHealthyHostCount",
    },
    ("AWS/ApplicationELB", ("LoadBalancer",)): {
        "HTTPCode_ELB_4XX_Count",
        "HTTPCode_ELB_5XX_Count",
        "RejectedConnectionCount",
    },
    ("AWS/RDS", ("DBClusterIdentifier", "Role")): {
        "CPUUtilization",
        "CommitThroughput",
        "DatabaseConnections",
        "FreeableMemory",
    },
    ("AWS/DMS", ("ReplicationInstanceIdentifier", "ReplicationTaskIdentifier")): {
        "CDCLatencySource",
        "CDCLatencyTarget",
        "ValidationFailedOverallCount",
        "ValidationPendingOverallCount",
        "ValidationSuspendedOverallCount",
    },
    ("AWS/Events", ("RuleName",)): {"MatchedEvents"},
    ("AWS/Lambda", ("FunctionName",)): {"Errors", "Invocations", "Throttles"},
    ("AWS/Route53", ("HealthCheckId",)): {"HealthCheckStatus"},
    ("AWS/SQS", ("QueueName",)): {"ApproximateNumberOfMessagesVisible"},
    ("AWS/States", ("StateMachineArn",)): {"ExecutionsFailed", "ExecutionsTimedOut"},
    ("AWS/WAFV2", ("Region", "Rule", "WebACL")): {"BlockedRequests"},
}


class Metric(NamedTuple):
    """A metric as an alarm or the dashboard names it."""

    place: str
    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str
    period: int


def alarm_metrics(alarm: Resource) -> Iterator[Metric]:
    def one(place: Any, statistic: Any, period: Any) -> Metric:
        dimensions = tuple(sorted((each["Name"], each["Value"]) for each in place.get("Dimensions", [])))
        return Metric(name_of(alarm), place["Namespace"], place["MetricName"], dimensions, statistic, period)

    properties = plain(alarm.properties.value)
    if "MetricName" in properties:
        statistic = properties.get("Statistic", properties.get("ExtendedStatistic"))
        yield one(properties, statistic, properties["Period"])
    for entry in properties.get("Metrics", []):
        if "MetricStat" in entry:
            stat = entry["MetricStat"]
            yield one(stat["Metric"], stat["Stat"], stat["Period"])


def widgets(synthesis: Synthesis) -> list[dict[str, Any]]:
    body = json.loads(plain(synthesis.the("AWS::CloudWatch::Dashboard")["DashboardBody"]))
    found: list[dict[str, Any]] = body["widgets"]
    return found


def dashboard_metrics(synthesis: Synthesis) -> Iterator[Metric]:
    for widget in widgets(synthesis):
        for row in widget["properties"].get("metrics", []):
            values, options = (row[:-1], row[-1]) if isinstance(row[-1], dict) else (row, {})
            if not values:
                continue  # an expression over other rows
            namespace, name, *pairs = values
            yield Metric(
                f"Dashboard/{widget['properties']['title']}",
                namespace,
                name,
                tuple(sorted(zip(pairs[::2], pairs[1::2], strict=True))),
                options.get("stat", "Average"),
                options.get("period", 300),
            )


def metrics(synthesis: Synthesis) -> list[Metric]:
    alarms = [each for alarm in synthesis.every("AWS::CloudWatch::Alarm") for each in alarm_metrics(alarm)]
    return [*alarms, *dashboard_metrics(synthesis)]


def test_every_metric_is_one_that_aws_documents_for_its_dimensions(either: Synthesis) -> None:
    unknown = [
        each
        for each in metrics(either)
        if each.namespace.startswith("AWS/")
        and each.name not in DOCUMENTED.get((each.namespace, tuple(name for name, _ in each.dimensions)), set())
    ]

    assert len(metrics(either)) > 50
    assert unknown == []


def emitted(synthesis: Synthesis) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Namespace and dimensions under which the resources in the templates send metrics."""
    found: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    balancer = name_of(synthesis.the("AWS::ElasticLoadBalancingV2::LoadBalancer"))
    on_balancer = ("LoadBalancer", f"<{balancer}>.LoadBalancerFullName")
    found.add(("AWS/ApplicationELB", (on_balancer,)))
    for group in synthesis.every("AWS::ElasticLoadBalancingV2::TargetGroup"):
        found.add(("AWS/ApplicationELB", (on_balancer, ("TargetGroup", f"<{name_of(group)}>.TargetGroupFullName"))))
    for cluster in synthesis.every("AWS::RDS::DBCluster"):
        for role in ("READER", "WRITER"):
            identifier = str(plain(cluster["DBClusterIdentifier"]))
            found.add(("AWS/RDS", (("DBClusterIdentifier", identifier), ("Role", role))))
    instances = {
        f"<{name_of(each)}>": str(plain(each["ReplicationInstanceIdentifier"]))
        for each in synthesis.every("AWS::DMS::ReplicationInstance")
    }
    for task in synthesis.every("AWS::DMS::ReplicationTask"):
        instance = instances[plain(task["ReplicationInstanceArn"])]
        # The dimension is the last part of the task's ARN, which ResourceIdentifier makes known beforehand.
        identifier = str(plain(task["ResourceIdentifier"]))
        found.add(
            (
                "AWS/DMS",
                (("ReplicationInstanceIdentifier", instance), ("ReplicationTaskIdentifier", identifier)),
            )
        )
    for rule in synthesis.every("AWS::Events::Rule"):
        found.add(("AWS/Events", (("RuleName", f"<{name_of(rule)}>"),)))
    for function in synthesis.every("AWS::Lambda::Function"):
        found.add(("AWS/Lambda", (("FunctionName", f"<{name_of(function)}>"),)))
    for check in synthesis.every("AWS::Route53::HealthCheck"):
        found.add(("AWS/Route53", (("HealthCheckId", f"<{name_of(check)}>.HealthCheckId"),)))
    for queue in synthesis.every("AWS::SQS::Queue"):
        found.add(("AWS/SQS", (("QueueName", f"<{name_of(queue)}>.QueueName"),)))
    for machine in synthesis.every("AWS::StepFunctions::StateMachine"):
        found.add(("AWS/States", (("StateMachineArn", f"<{name_of(machine)}>"),)))
    for holder in synthesis.every("AWS::IAM::Role"):
        # A function sends metrics of its own into the namespace that its policy names.
        for place, actions in permissions_of(synthesis.app, holder).on.items():
            if "cloudwatch:PutMetricData" in actions:
                namespace = place.partition("cloudwatch:namespace=")[2].rstrip("]")
                found.add((namespace, ()))
                # Of the reconciler, whose test says which dimensions it sends.
                found |= {(namespace, (("Side", side),)) for side in ("legacy", "aws", "blue", "green")}
                reconciler = synthesis.the("AWS::Lambda::Function", "Cutover/Functions/Reconciler/")
                chain = plain(reconciler["Environment.Variables.CHAIN"])
                found |= {(namespace, (("Database", name),)) for name in json.loads(chain)}
    for acl in synthesis.every("AWS::WAFv2::WebACL"):
        name = str(plain(acl["VisibilityConfig.MetricName"]))
        found.add(("AWS/WAFV2", (("Region", "us-east-1"), ("Rule", "ALL"), ("WebACL", name))))
    return found


def test_every_metric_is_sent_by_a_resource_in_the_templates(either: Synthesis) -> None:
    sent = emitted(either)

    assert [each for each in metrics(either) if (each.namespace, each.dimensions) not in sent] == []


def test_two_stages_of_an_account_do_not_share_a_metric(prod: Synthesis, staging: Synthesis) -> None:
    def named(synthesis: Synthesis) -> set[object]:
        """Dimensions whose values we choose; CloudFormation makes the others unique."""
        return {each for each in emitted(synthesis) if each[0] in ("AWS/RDS", "AWS/DMS", "AWS/WAFV2")}

    assert named(prod)
    assert named(prod) & named(staging) == set()


# What must be watched, and what silence means.

ENVIRONMENT = {
    "Errors": ("HTTPCode_Target_5XX_Count", "notBreaching"),
    "Latency": ("TargetResponseTime", "notBreaching"),
    "HealthyHosts": ("HealthyHostCount", "breaching"),
    "DatabaseCpu": ("CPUUtilization", "breaching"),
    "DatabaseConnections": ("DatabaseConnections", "breaching"),
    "DatabaseMemory": ("FreeableMemory", "breaching"),
}
"""Alarms of an environment: no requests are no errors; a load balancer or a database that says nothing is broken."""

REPLICATION = {
    "LagSource": ("CDCLatencySource", "breaching"),
    "LagTarget": ("CDCLatencyTarget", "breaching"),
    "State": ("MatchedEvents", "notBreaching"),
    "Validation": ("ValidationFailedOverallCount", "ignore"),
}
"""Alarms of a task: one that does not run reports no lag, and the way back is closed; no event means no trouble;
no report on rows changes nothing about what is known of them."""


def alarm(synthesis: Synthesis, path: str) -> Resource:
    return synthesis.the("AWS::CloudWatch::Alarm", f"Observability/{path}")


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize(("name", "expected"), ENVIRONMENT.items())
def test_an_environment_is_watched(prod: Synthesis, color: str, name: str, expected: tuple[str, str]) -> None:
    metric, missing = expected
    found = alarm(prod, f"{color}/{name}")

    assert metric in {each.name for each in alarm_metrics(found)}
    assert found["TreatMissingData"].value == missing


@pytest.mark.parametrize("color", COLORS)
def test_the_alarms_of_an_environment_look_at_that_environment_only(prod: Synthesis, color: str) -> None:
    other = "Green" if color == "Blue" else "Blue"
    values = {
        value
        for name in ENVIRONMENT
        for metric in alarm_metrics(alarm(prod, f"{color}/{name}"))
        for _, value in metric.dimensions
    }

    assert values >= {f"<FrontDoor/{color}Targets>.TargetGroupFullName", f"payments-prod-{color.lower()}"}
    assert not [value for value in values if other.lower() in value.lower()]


@pytest.mark.parametrize("task", ["BlueToGreen", "GreenToBlue", "LegacyToBlue", "BlueToLegacy"])
@pytest.mark.parametrize(("name", "expected"), REPLICATION.items())
def test_a_replication_task_is_watched(staging: Synthesis, task: str, name: str, expected: tuple[str, str]) -> None:
    metric, missing = expected
    found = alarm(staging, f"{task}/{name}")

    assert [each.name for each in alarm_metrics(found)] == [metric]
    assert found["TreatMissingData"].value == missing


def test_no_alarm_leaves_open_what_silence_means(either: Synthesis) -> None:
    assert [name_of(each) for each in either.every("AWS::CloudWatch::Alarm") if each["TreatMissingData"].missing] == []


@pytest.mark.parametrize("task", ["BlueToGreen", "GreenToBlue"])
def test_a_task_that_stops_or_fails_raises_an_alarm(prod: Synthesis, task: str) -> None:
    """DMS has no metric for the state of a task; EventBridge counts the events that tell of it."""
    found = alarm(prod, f"{task}/State")
    rule = prod.the("AWS::Events::Rule", f"Observability/{task}/")

    [metric] = alarm_metrics(found)
    assert metric.dimensions == (("RuleName", f"<{name_of(rule)}>"),)
    assert plain(rule["EventPattern"]) == {
        "source": ["aws.dms"],
        "detail-type": ["DMS Replication Task State Change"],
        "resources": [f"<Replication/{task}>"],
        "detail": {"eventType": ["REPLICATION_TASK_FAILED", "REPLICATION_TASK_STOPPED"]},
    }


@pytest.mark.parametrize("task", ["BlueToGreen", "GreenToBlue"])
def test_one_row_that_differs_raises_an_alarm(prod: Synthesis, task: str) -> None:
    found = alarm(prod, f"{task}/Validation")

    assert (found["ComparisonOperator"].value, found["Threshold"].value) == ("GreaterThanThreshold", 0)


@pytest.mark.parametrize("task", ["BlueToGreen", "GreenToBlue"])
@pytest.mark.parametrize("side", ["Source", "Target"])
def test_the_lag_is_compared_with_the_configured_seconds(prod: Synthesis, task: str, side: str) -> None:
    found = alarm(prod, f"{task}/Lag{side}")

    assert (found["ComparisonOperator"].value, found["Threshold"].value) == ("GreaterThanThreshold", 60)
    assert found["EvaluationPeriods"].value == prod.config.alarms.evaluation_minutes
    assert [each.period for each in alarm_metrics(found)] == [60]


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize(
    ("name", "comparison", "threshold"),
    [
        ("Errors", "GreaterThanThreshold", 2),
        ("Latency", "GreaterThanThreshold", 1),
        ("HealthyHosts", "LessThanThreshold", 2),
        ("DatabaseCpu", "GreaterThanThreshold", 80),
        ("DatabaseConnections", "GreaterThanThreshold", 800),
        ("DatabaseMemory", "LessThanThreshold", 1024 * 1024 * 1024),
    ],
)
def test_a_threshold_is_the_configured_one(
    prod: Synthesis, color: str, name: str, comparison: str, threshold: float
) -> None:
    found = alarm(prod, f"{color}/{name}")

    assert (found["ComparisonOperator"].value, found["Threshold"].value) == (comparison, threshold)


@pytest.mark.parametrize("color", COLORS)
def test_errors_are_a_share_of_the_requests_and_none_when_there_are_none(prod: Synthesis, color: str) -> None:
    [expression] = [each for each in plain(alarm(prod, f"{color}/Errors")["Metrics"]) if "Expression" in each]
    errors, requests = f"{color.lower()}Errors", f"{color.lower()}Requests"

    assert expression["Expression"] == f"100 * FILL({errors}, 0) / {requests}"
    assert expression["ReturnData"] is True


@pytest.mark.parametrize("color", COLORS)
def test_the_composite_alarm_of_an_environment_has_all_its_alarms_and_no_other(prod: Synthesis, color: str) -> None:
    composite = prod.the("AWS::CloudWatch::CompositeAlarm", f"Observability/{color}/")
    raising = re.findall(r'(?<!NOT \()ALARM\("<Observability/(\w+/\w+)>\.Arn"\)', plain(composite["AlarmRule"]))

    assert sorted(raising) == sorted(f"{color}/{name}" for name in ENVIRONMENT)


@pytest.mark.parametrize("color", COLORS)
def test_what_clients_see_counts_only_when_the_other_environment_does_better(prod: Synthesis, color: str) -> None:
    """Otherwise it lies at what both share, and going back would help nobody."""
    other = "Green" if color == "Blue" else "Blue"
    composite = prod.the("AWS::CloudWatch::CompositeAlarm", f"Observability/{color}/")
    holding = re.findall(r'NOT \(ALARM\("<Observability/(\w+/\w+)>\.Arn"\)', plain(composite["AlarmRule"]))

    assert sorted(holding) == [f"{other}/Errors", f"{other}/Latency"]


def test_every_alarm_tells_the_topic_when_it_starts_and_when_it_is_over(either: Synthesis) -> None:
    alarms = [
        *either.every("AWS::CloudWatch::Alarm", "Observability"),
        *either.every("AWS::CloudWatch::CompositeAlarm", "Observability"),
    ]

    for each in alarms:
        assert "<Observability/Alarms/Topic>" in plain(each["AlarmActions"]), name_of(each)
        assert plain(each["OKActions"]) == ["<Observability/Alarms/Topic>"], name_of(each)


def test_every_alarm_says_where_to_read_on(either: Synthesis) -> None:
    for each in either.every("AWS::CloudWatch::Alarm", "Observability"):
        assert "Runbook: docs/runbook.md#" in str(plain(each["AlarmDescription"])), name_of(each)


@pytest.mark.parametrize("path", ["Observability/Alarms", "Replication/Events", "Backup/Events"])
def test_a_topic_is_encrypted_takes_tls_only_and_tells_the_configured_people(prod: Synthesis, path: str) -> None:
    topic = prod.the("AWS::SNS::Topic", path)
    policy = plain(prod.the("AWS::SNS::TopicPolicy", path)["PolicyDocument"])
    subscription = prod.the("AWS::SNS::Subscription", path)

    assert plain(topic["KmsMasterKeyId"]) == "<Security/Logs>.Arn"
    assert {"Bool": {"aws:SecureTransport": "false"}} in [
        each.get("Condition") for each in policy["Statement"] if each["Effect"] == "Deny"
    ]
    assert plain(subscription["Endpoint"]) == "payments-oncall@example.com"


@pytest.mark.parametrize(
    ("path", "services"),
    [
        ("Observability/Rollback", {"cloudwatch.amazonaws.com"}),
        ("Observability/Alarms", {"cloudwatch.amazonaws.com", "events.amazonaws.com"}),
        ("Replication/Events", {"dms.amazonaws.com"}),
        ("Backup/Events", {"backup.amazonaws.com"}),
    ],
)
def test_only_the_services_that_have_something_to_say_may_publish(
    prod: Synthesis, path: str, services: set[str]
) -> None:
    policy = plain(prod.the("AWS::SNS::TopicPolicy", path)["PolicyDocument"])

    allowed = [each for each in policy["Statement"] if each["Effect"] == "Allow"]
    assert {each["Principal"]["Service"] for each in allowed} == services
    assert {each["Action"] for each in allowed} == {"sns:Publish"}


# The dashboard.


def shown(synthesis: Synthesis) -> set[tuple[str, str]]:
    """Metric names with the value of the dimension that tells environments or tasks apart."""
    return {(each.name, value) for each in dashboard_metrics(synthesis) for _, value in each.dimensions}


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize(
    "name", ["RequestCount", "HTTPCode_Target_5XX_Count", "TargetResponseTime", "HealthyHostCount"]
)
def test_an_operator_sees_what_each_environment_answers(prod: Synthesis, color: str, name: str) -> None:
    assert (name, f"<FrontDoor/{color}Targets>.TargetGroupFullName") in shown(prod)


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("name", ["CommitThroughput", "CPUUtilization", "DatabaseConnections"])
def test_an_operator_sees_which_database_writes_and_how_busy_it_is(prod: Synthesis, color: str, name: str) -> None:
    assert (name, f"payments-prod-{color.lower()}") in shown(prod)


@pytest.mark.parametrize("task", ["blue-to-green", "green-to-blue", "legacy-to-blue", "blue-to-legacy"])
@pytest.mark.parametrize(
    "name", ["CDCLatencySource", "CDCLatencyTarget", "ValidationFailedOverallCount", "ValidationPendingOverallCount"]
)
def test_an_operator_sees_lag_and_validation_of_every_task(staging: Synthesis, task: str, name: str) -> None:
    assert (name, f"payments-staging-{task}") in shown(staging)


@pytest.mark.parametrize("side", ["legacy", "aws", "blue", "green"])
def test_an_operator_sees_who_should_serve(prod: Synthesis, side: str) -> None:
    assert ("WeightPercent", side) in shown(prod)


def test_an_operator_sees_who_should_write(staging: Synthesis) -> None:
    assert {value for name, value in shown(staging) if name == "Writer"} == {"legacy", "blue", "green"}


def test_what_the_reconciler_tells_of_the_cutover_is_on_the_dashboard(prod: Synthesis) -> None:
    named = {each.name for each in dashboard_metrics(prod) if each.namespace == "payments-prod/cutover"}

    assert named == {"WeightPercent", "Writer", "CutoverUnderWay", "CutoverStuck", "DriftCorrected"}


def test_an_operator_sees_every_alarm(either: Synthesis) -> None:
    on_dashboard = {arn for widget in widgets(either) for arn in widget["properties"].get("alarms", [])}
    alarms = [
        *either.every("AWS::CloudWatch::Alarm", "Observability"),
        *either.every("AWS::CloudWatch::CompositeAlarm", "Observability"),
    ]

    assert on_dashboard == {f"<{name_of(each)}>.Arn" for each in alarms}
