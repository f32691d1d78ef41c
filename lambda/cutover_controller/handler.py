"""Entry point of the function that the state machine calls for every look at a cutover."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import boto3

from cutover_controller.advance import World, advance
from cutover_controller.observe import assemble
from cutover_settings import Settings
from cutover_settings.pace import Pace
from cutover_state.run import Run
from cutover_wiring import Wiring
from database_access import structured_log
from observation.alarms import read_alarms
from observation.environments import read_targets
from observation.replication import read_tasks
from observation.traffic_metrics import MinuteCounts, read_minutes
from verdict import Evidence, Observation

log = logging.getLogger(__name__)


class EventError(ValueError):
    """The event lacks a member or has a wrong one."""


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Take the cutover ``cutover_id`` as far as it goes without waiting; the answer as JSON.

    The event may carry ``switched``, the outcome of the writer switch, and ``request``, the input of the execution:
    its ``poll_seconds`` and ``settle_seconds`` spare a rehearsal the wait for real minutes.
    """
    structured_log.configure()
    cutover_id = event.get("cutover_id")
    if not isinstance(cutover_id, str) or not cutover_id:
        raise EventError(f"cutover_id: must name the cutover, got {cutover_id!r}")
    switched = event.get("switched")
    if switched is not None and not isinstance(switched, Mapping):
        raise EventError(f"switched: must be the outcome of the writer switch, got {type(switched).__name__}")
    request = event.get("request", {})
    if not isinstance(request, Mapping):
        raise EventError(f"request: must be the input of the execution, got {type(request).__name__}")
    pace = Pace.of(request)
    wiring = Wiring(settings=Settings(os.environ), client=boto3.client, who="controller")
    answer = advance(_world(wiring, pace), cutover_id=cutover_id, switched=switched)
    document = answer.document()
    log.info("looked", extra=structured_log.fields(cutover_id=cutover_id, **document))
    return document


def _world(wiring: Wiring, pace: Pace) -> World:
    settings = wiring.settings
    cloudwatch, elbv2, dms = wiring.aws("cloudwatch"), wiring.aws("elbv2"), wiring.aws("dms")
    groups: Mapping[str, str] = settings.mapping("TARGET_GROUP_ARNS")

    def minutes(start: int, end: int) -> Mapping[str, Sequence[MinuteCounts]]:
        return read_minutes(
            cloudwatch,
            load_balancer=settings.text("LOAD_BALANCER_NAME"),
            target_groups=settings.mapping("TARGET_GROUP_NAMES"),
            first_minute=start,
            end=end,
            slower_than_seconds=float(settings.text("SLOWER_THAN_SECONDS")),
        )

    def observe(run: Run, evidence: Evidence) -> Observation:
        now = time.time()
        return assemble(
            run,
            evidence,
            now=now,
            minutes=minutes,
            targets=lambda: read_targets(elbv2, groups),
            tasks=lambda: read_tasks(
                dms,
                cloudwatch,
                instance=settings.text("REPLICATION_INSTANCE"),
                identifiers=[str(task["identifier"]) for task in settings.listing("REPLICATION_TASKS")],
                now=now,
            ),
            alarms=lambda names: read_alarms(cloudwatch, names),
            settled_after_seconds=pace.settle_seconds,
        )

    return World(
        runs=wiring.runs(),
        desired=wiring.desired(),
        levers=wiring.levers(),
        observe=observe,
        alarms=wiring.alarms(),
        lease=wiring.lease,
        release=wiring.release,
        tell=wiring.tell,
        journal=wiring.journal,
        now=time.time,
        poll_seconds=pace.poll_seconds,
    )
