"""Entry point of the function that begins a cutover, or says why it cannot begin."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol

import boto3

from cutover_databases.chain import make_chain
from cutover_plan import Direction, Plan, default_plan, parse_plan
from cutover_preflight.begin import World, begin, kind_of, rehearse
from cutover_preflight.checks import Facts, Limits
from cutover_preflight.look import Sources, look
from cutover_settings import Settings
from cutover_settings.pace import Pace
from cutover_state.layout import RESTART_PARTITION
from cutover_wiring import Wiring, new_cutover_id
from database_access import structured_log
from database_access.deadline import Deadline
from observation.alarms import read_alarms
from observation.environments import read_services, read_targets
from observation.replication import read_tasks
from observation.rotations import read_rotations
from verdict import parse_settings

log = logging.getLogger(__name__)

_RESERVE_SECONDS: Final = 5.0
PACE: Final = ("poll_seconds", "settle_seconds")
_KNOWN: Final = (
    "cutover_id",
    "from",
    "to",
    "plan",
    "requested_by",
    "execution_arn",
    "dry_run",
    "recovery_point",
    "leave_sick_source",
)


class EventError(ValueError):
    """The event asks for something that cannot be; the message names each mistake."""


class LambdaContext(Protocol):
    """What the function needs of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Begin the cutover that ``event`` describes, or with ``dry_run`` only say what speaks against it.

    The state machine hands the input of its execution over as ``request``, beside ``cutover_id`` and
    ``execution_arn``. That input, or else the event itself: ``from`` and ``to`` (two neighbours), ``requested_by``, and
    as wanted ``plan`` (otherwise the parameter of the direction), ``recovery_point`` (take one first), ``dry_run``,
    ``leave_sick_source`` (what is wrong with the side that is left does not forbid to leave it; a person says so).
    """
    structured_log.configure()
    event = _unpacked(event)
    direction = _direction(event)
    wiring = Wiring(settings=Settings(os.environ), client=boto3.client, who="preflight")
    plan = _plan(wiring, event, direction)
    cutover_id = str(event.get("cutover_id") or new_cutover_id(direction.source, direction.target, now=time.time()))
    leaves_sick = bool(event.get("leave_sick_source", False))
    world = _world(
        wiring,
        cutover_id,
        seconds=context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS,
        source_may_be_sick=leaves_sick,
    )
    if event.get("dry_run"):
        reasons = rehearse(world, plan)
        return {"begun": False, "cutover_id": cutover_id, "reasons": list(reasons), "plan": plan.to_json()}
    answer = begin(
        world,
        plan,
        cutover_id=cutover_id,
        requested_by=str(event["requested_by"]),
        execution_arn=str(event.get("execution_arn", "")),
        details={"recovery_point": bool(event.get("recovery_point", False)), "leave_sick_source": leaves_sick},
    )
    document = {**answer.document(), "recovery_point": bool(event.get("recovery_point", False))}
    log.info("preflight", extra=structured_log.fields(**document))
    return document


def _unpacked(event: Mapping[str, Any]) -> dict[str, Any]:
    request = event.get("request")
    if request is None:
        return dict(event)
    if not isinstance(request, Mapping):
        raise EventError(f"request: must be the input of the execution, got {type(request).__name__}")
    # The pace of a rehearsal concerns the looks only; a wrong one is better noticed before anything begins.
    Pace.of(request)
    members = {key: value for key, value in request.items() if key not in PACE}
    for key in ("cutover_id", "execution_arn"):
        if not isinstance(event.get(key), str) or not event[key]:
            raise EventError(f"{key}: must be that of the execution, got {event.get(key)!r}")
    return {**members, "cutover_id": event["cutover_id"], "execution_arn": event["execution_arn"]}


def _direction(event: Mapping[str, Any]) -> Direction:
    mistakes = [f"{key} is not known (allowed: {', '.join(_KNOWN)})" for key in sorted(set(event) - set(_KNOWN))]
    if not isinstance(event.get("requested_by"), str) or not str(event.get("requested_by", "")).strip():
        mistakes.append("requested_by: must say who asks")
    mistakes += [
        f"{key}: must be true or false, got {event[key]!r}"
        for key in ("dry_run", "recovery_point", "leave_sick_source")
        if not isinstance(event.get(key, False), bool)
    ]
    if not isinstance(event.get("plan", {}), str | Mapping):
        mistakes.append(f"plan: must be a JSON object, got {type(event['plan']).__name__}")
    direction = Direction.of(str(event.get("from")), str(event.get("to")))
    if direction is None:
        allowed = ", ".join(str(each) for each in Direction)
        mistakes.append(f"from, to: {event.get('from')!r} to {event.get('to')!r} is no cutover (allowed: {allowed})")
    if mistakes or direction is None:
        raise EventError("; ".join(mistakes))
    return direction


def _plan(wiring: Wiring, event: Mapping[str, Any], direction: Direction) -> Plan:
    given = event.get("plan")
    if given is None:
        given = _parameter(wiring, wiring.settings.mapping("PLAN_PARAMETERS")[f"{direction.source}-{direction.target}"])
    plan = parse_plan(given, direction=direction)
    chain = wiring.settings.listing("CHAIN")
    missing = [name for name in (direction.writer_source, direction.writer_target) if name not in chain]
    if not missing or not plan.switches_writer:
        return plan
    if plan.steps != default_plan(direction).steps:
        raise EventError(f"plan: switches the writer, but database {missing[0]} is not in the chain {', '.join(chain)}")
    # The default of a front door whose legacy database is not ours to switch.
    return replace(plan, steps=default_plan(direction, switch_writer=False).steps)


def _parameter(wiring: Wiring, name: str) -> str:
    return str(wiring.aws("ssm").get_parameter(Name=name)["Parameter"]["Value"])


def _world(wiring: Wiring, cutover_id: str, *, seconds: float, source_may_be_sick: bool) -> World:
    settings = wiring.settings
    cloudwatch, elbv2 = wiring.aws("cloudwatch"), wiring.aws("elbv2")
    chain = make_chain(wiring, deadline=Deadline.after(seconds))
    alarms = settings.mapping("ALARMS")

    def watched(direction: Direction) -> list[str]:
        sides = (direction.target,) if source_may_be_sick else (direction.source, direction.target)
        return [name for side in sides for name in alarms.get(side, ())]

    sources = Sources(
        levers=wiring.levers(),
        desired=wiring.desired().read,
        run=wiring.runs().read,
        databases=chain.look,
        alarms=lambda direction: read_alarms(cloudwatch, watched(direction)),
        targets=lambda: read_targets(elbv2, settings.mapping("TARGET_GROUP_ARNS")),
        services=lambda: read_services(
            wiring.aws("ecs"), cluster=settings.text("ECS_CLUSTER"), services=settings.mapping("ECS_SERVICES")
        ),
        tasks=lambda: read_tasks(
            wiring.aws("dms"),
            cloudwatch,
            instance=settings.text("REPLICATION_INSTANCE"),
            identifiers=[str(task["identifier"]) for task in settings.listing("REPLICATION_TASKS")],
            now=time.time(),
        ),
        rotations=lambda: read_rotations(wiring.aws("secretsmanager"), settings.listing("ROTATED_SECRET_ARNS")),
        owed_restarts=lambda: _owes_restarts(wiring),
        dns_ttl_seconds=wiring.records().ttl_seconds,
        now=time.time,
    )

    def facts(direction: Direction) -> Facts:
        return look(sources, direction, kind=kind_of(direction), cutover_id=cutover_id)

    return World(
        runs=wiring.runs(),
        look=facts,
        verdict=parse_settings(_parameter(wiring, settings.text("VERDICT_PARAMETER"))),
        limits=Limits(source_may_be_sick=source_may_be_sick),
        lease=wiring.lease,
        release=wiring.release,
        tell=wiring.tell,
        journal=wiring.journal,
        now=time.time,
    )


def _owes_restarts(wiring: Wiring) -> bool:
    found = wiring.dynamodb.query(
        TableName=wiring.table_name,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": RESTART_PARTITION}},
        ConsistentRead=True,
        Limit=1,
    )
    return bool(found["Items"])
