"""What is misconfigured in the account and in the stage; each check reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from botocore.exceptions import ClientError

from cutover_state.layout import RUN_PARTITION, RUN_SORT, key
from cutover_state.lease import read_lease
from cutover_state.levers import Kind
from observation.alarms import OK, read_alarms
from ops.bluegreen import documents as d
from ops.bluegreen.errors import Exit, explained
from ops.bluegreen.reading import find_writer, replication_tasks, restarts_owed
from ops.bluegreen.stage import Stage
from ops.bluegreen.views import drift
from reconciler.handler import why_stuck
from verdict.wording import duration

DMS_ROLES: Final = ("dms-vpc-role", "dms-cloudwatch-logs-role")
"""Roles that DMS looks for by name, once in an account."""

QUOTAS: Final[Mapping[str, tuple[str, str]]] = {
    "Fargate vCPUs": ("fargate", "L-3032A538"),
    "elastic IP addresses": ("ec2", "L-0263D0A3"),
    "interface endpoints in a VPC": ("vpc", "L-29B6F2EB"),
}
"""Quotas that a stage comes close to in a new account, as service and quota code (Service Quotas)."""

ZONES: Final = 3
"""Zones of a stage, each with a NAT gateway and its elastic IP address."""

FUNCTIONS: Final = ("preflight", "writer-switch", "rollback", "replication-control")
"""Functions that the command line calls."""

Found = tuple[str, str]
"""What was found, and the next step; an empty step says that all is well."""


def examine(stage: Stage) -> d.Doctor:
    """Every check, each by itself: one that cannot look does not keep the others from looking."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        futures = [(name, pool.submit(check, stage)) for name, check in _CHECKS]
        checks = [each for name, future in futures for each in _result(name, future.result)]
    return d.Doctor(
        stage=stage.target.name,
        caller=stage.aws.caller,
        healthy=all(each.result == "ok" for each in checks),
        checks=checks,
    )


def _result(name: str, result: Callable[[], Sequence[Found]]) -> Iterator[d.Check]:
    try:
        found = result()
    except Exception as error:
        why = explained(error)
        yield d.Check(
            name=name,
            result="problem" if why.exit_code is Exit.NOT_ALLOWED else "unknown",
            found=why.message,
            next_step=why.next_step,
            missing_permission=d.MissingPermission(**vars(why.missing)) if why.missing else None,
        )
        return
    for text, next_step in found:
        yield d.Check(name=name, result="problem" if next_step else "ok", found=text, next_step=next_step)


def _weights(stage: Stage) -> Sequence[Found]:
    desired = stage.wiring.desired().read()
    if desired is None:
        return [("nobody has said yet what should be", "wait a minute for the reconciler; see ReconcilerSilent")]
    levers = stage.wiring.levers()
    lines = [
        *drift(levers[Kind.ENVIRONMENT].read(), desired.weights, "the weights of the listener rule"),
        *drift(levers[Kind.FRONT_DOOR].read(), desired.records, "the weights of the DNS records"),
    ]
    if not lines:
        return [("weights and records are as they should be", "")]
    return [(line, "the reconciler puts it right within a minute; if it does not, read its log") for line in lines]


def _writer(stage: Stage) -> Sequence[Found]:
    run = stage.wiring.runs().read()
    if run is not None and not run.phase.is_over:
        return [("not asked while a cutover is under way", "")]
    answer, desired = find_writer(stage), stage.wiring.desired().read()
    found = []
    if answer["verdict"] == "several":
        found.append(("several databases admit writers", "fence one of them at once (runbook: Controllers)"))
    elif answer["verdict"] == "none" and not answer["failures"]:
        found.append(("no database admits writers", "call bluegreen rollback; see the runbook, Controllers"))
    elif answer["writer"] and desired is not None and answer["writer"] != desired.writer:
        found.append(
            (
                f"{answer['writer']} is the writer, and {desired.writer} should be",
                "look into the journal: bluegreen history",
            )
        )
    found += [(f"{name} does not answer: {why}", "bring it back") for name, why in answer["failures"].items()]
    return found or [(f"{answer['writer']} is the writer, as it should be", "")]


def _cutover(stage: Stage) -> Sequence[Found]:
    now, run = stage.now(), stage.wiring.runs().read()
    lease = read_lease(stage.aws.client("dynamodb"), table_name=stage.wiring.table_name)
    found: list[Found] = []
    stuck = why_stuck(run, now=now) if run else None
    if stuck:
        found.append((stuck, "take it back: bluegreen rollback"))
    if lease is not None and lease.is_held(now=now) and (run is None or run.phase.is_over):
        left = duration(lease.expires_at - now)
        found.append(
            (
                f"{lease.holder} holds the lease for {lease.cutover_id}, for {left} more, and no cutover is under way",
                "let a deployment end; a lease that was left behind ends by itself",
            )
        )
    if run is None:
        return found or [("none ever ran", "")]
    return found or [(f"{run.cutover_id} is {run.phase.value}", "")]


def _alarms(stage: Stage) -> Sequence[Found]:
    names = [name for side in stage.alarms.values() for name in side]
    states = read_alarms(stage.aws.client("cloudwatch"), list(dict.fromkeys(names)))
    words = {
        "ALARM": ("is firing", "see its section in the runbook"),
        "INSUFFICIENT_DATA": ("has no data, so it could not warn", "see whether what it watches runs"),
        "ABSENT": ("does not exist", "deploy the stage again"),
    }
    found = []
    for name, state in sorted(states.items()):
        if state != OK:
            what, next_step = words.get(state, (f"is in state {state}", "look at it in CloudWatch"))
            found.append((f"alarm {name} {what}", next_step))
    return found or [(f"all {len(states)} alarms are OK", "")]


def _replication(stage: Stage) -> Sequence[Found]:
    found: list[Found] = []
    tasks = replication_tasks(stage)
    for task in tasks:
        if task.status != "running":
            found.append((f"task {task.identifier} is {task.status}", "bluegreen replication start"))
        elif task.lag_seconds is None:
            found.append((f"task {task.identifier} reports no lag", "look at its log in DMS"))
        if task.validation_failures:
            found.append(
                (f"task {task.identifier} found {task.validation_failures} rows that differ", "runbook: Replication")
            )
    return found or [(f"all {len(tasks)} tasks run, and no row differs", "")]


def _connections(stage: Stage) -> Sequence[Found]:
    dms = stage.aws.client("dms")
    pages = dms.get_paginator("describe_replication_tasks").paginate(WithoutSettings=True)
    ours = {
        arn
        for page in pages
        for task in page["ReplicationTasks"]
        if task["ReplicationTaskArn"].rsplit(":", 1)[-1] in stage.task_identifiers
        for arn in (task["SourceEndpointArn"], task["TargetEndpointArn"])
    }
    connections = [
        each
        for page in dms.get_paginator("describe_connections").paginate()
        for each in page["Connections"]
        if each["EndpointArn"] in ours
    ]
    found = [
        (
            f"endpoint {each.get('EndpointIdentifier', each['EndpointArn'])}: its connection test is "
            f"{each['Status']}: {each.get('LastFailureMessage') or 'no reason is given'}",
            "mend it, then bluegreen replication start --retry",
        )
        for each in connections
        if each["Status"] == "failed"
    ]
    untested = len(ours) - len({each["EndpointArn"] for each in connections})
    if untested:
        found.append((f"{untested} endpoints were never tested", "bluegreen replication start tests them"))
    return found or [(f"all {len(ours)} endpoints of DMS answer", "")]


def _endpoints_of(stage: Stage) -> list[dict[str, Any]]:
    pages = (
        stage.aws.client("ec2")
        .get_paginator("describe_vpc_endpoints")
        .paginate(Filters=[{"Name": "vpc-id", "Values": [stage.parameter("cutover/vpc-id")]}])
    )
    return [each for page in pages for each in page["VpcEndpoints"]]


def _vpc_endpoints(stage: Stage) -> Sequence[Found]:
    endpoints = _endpoints_of(stage)
    if not endpoints:
        return [("the VPC has no endpoints, so no function reaches AWS", "deploy the stage again")]
    found = [
        (f"endpoint of {each['ServiceName']} is {each['State']}", "look at it in the VPC console, or deploy again")
        for each in endpoints
        if str(each["State"]).lower() != "available"
    ]
    return found or [(f"all {len(endpoints)} endpoints of the VPC are available", "")]


def _dms_roles(stage: Stage) -> Sequence[Found]:
    found: list[Found] = []
    for name in DMS_ROLES:
        try:
            stage.aws.client("iam").get_role(RoleName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchEntity":
                raise
            found.append(
                (f"role {name} does not exist", "set replication.create_account_roles in one stage, and deploy it")
            )
    return found or [("the roles that DMS looks for exist", "")]


def _quota(name: str, needed: Callable[[Stage], float]) -> Callable[[Stage], Sequence[Found]]:
    service, code = QUOTAS[name]

    def check(stage: Stage) -> Sequence[Found]:
        need = needed(stage)
        quota = stage.aws.client("service-quotas").get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]
        value = float(quota["Value"])
        if value < need:
            return [
                (f"{value:g} {name} are allowed, and this stage alone needs {need:g}", "ask for more in Service Quotas")
            ]
        return [(f"{value:g} {name} are allowed, and this stage needs {need:g}", "")]

    return check


def _interface_endpoints(stage: Stage) -> float:
    return float(sum(each.get("VpcEndpointType") == "Interface" for each in _endpoints_of(stage)))


def _vcpus(stage: Stage) -> float:
    """What both environments need while a deployment replaces all of their tasks at once."""
    ecs = stage.aws.client("ecs")
    cluster = stage.parameter("shared/ecs-cluster")
    described = ecs.describe_services(cluster=cluster, services=list(stage.services.values()))["services"]
    total = 0.0
    for each in described:
        task = ecs.describe_task_definition(taskDefinition=each["taskDefinition"])["taskDefinition"]
        total += each["desiredCount"] * float(task.get("cpu") or 0) / 1024
    return 2 * total


def _rotation(stage: Stage) -> Sequence[Found]:
    if restarts_owed(stage):
        return [("a rotation still has to restart replication tasks", "wait a quarter of an hour; runbook: Rotation")]
    return [("no rotation owes a restart", "")]


def _calls(stage: Stage) -> Sequence[Found]:
    """Whether the caller may call the functions: Lambda's dry run checks that and runs nothing."""
    for name in FUNCTIONS:
        stage.aws.client("lambda").invoke(FunctionName=stage.function(name), InvocationType="DryRun", Payload=b"{}")
    return [("you may call the functions of the cutover", "")]


def _orders(stage: Stage) -> Sequence[Found]:
    """Whether the caller may write orders: a write under a condition that never holds writes nothing."""
    try:
        stage.aws.client("dynamodb").put_item(
            TableName=stage.wiring.table_name,
            Item=key(RUN_PARTITION, RUN_SORT),
            ConditionExpression="attribute_exists(pk) AND attribute_not_exists(pk)",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
    return [("you may give orders to a cutover", "")]


_CHECKS: Final[Sequence[tuple[str, Callable[[Stage], Sequence[Found]]]]] = (
    ("weights", _weights),
    ("writer", _writer),
    ("cutover", _cutover),
    ("alarms", _alarms),
    ("replication", _replication),
    ("rotation", _rotation),
    ("DMS endpoints", _connections),
    ("DMS roles", _dms_roles),
    ("VPC endpoints", _vpc_endpoints),
    ("quota of vCPUs", _quota("Fargate vCPUs", _vcpus)),
    ("quota of addresses", _quota("elastic IP addresses", lambda _: float(ZONES))),
    ("quota of endpoints", _quota("interface endpoints in a VPC", _interface_endpoints)),
    ("permission to call", _calls),
    ("permission to order", _orders),
)
