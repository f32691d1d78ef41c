"""Entry point of the function that takes a cutover back: called by alarms, by the state machine, and by people."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

import boto3

from cutover_databases.chain import make_chain
from cutover_plan import Dns
from cutover_rollback.request import parse
from cutover_rollback.rollback import World, WriterStuckError, roll_back
from cutover_settings import Settings
from cutover_wiring import Wiring
from database_access import structured_log
from database_access.deadline import Deadline

log = logging.getLogger(__name__)

_RESERVE_SECONDS: Final = 5.0


class LambdaContext(Protocol):
    """What the function needs of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take the cutover back that is under way; the result as JSON.

    A rollback that could not be completed raises, so that Lambda and the topic make the call again; one that needs a
    person has told them, and does not.
    """
    structured_log.configure()
    request = parse(event)
    if request is None:
        return {"rolled_back": False, "explanation": "the notification asks for nothing"}
    wiring = Wiring(settings=Settings(os.environ), client=boto3.client, who="rollback")
    deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)
    world = World(
        runs=wiring.runs(),
        desired=wiring.desired(),
        levers=wiring.levers(),
        now=time.time,
        alarms=wiring.alarms(),
        writer=make_chain(wiring, deadline=deadline),
        lease=wiring.lease,
        release=wiring.release,
        let_dns_settle=lambda: time.sleep(Dns().shortest_watch_seconds),
        stop=wiring.stop,
        tell=wiring.tell,
        journal=wiring.journal,
    )
    try:
        result = roll_back(world, request)
    except WriterStuckError as error:
        log.exception("the writer is stuck", extra=structured_log.fields(reason=request.reason))
        return {"rolled_back": False, "stuck": True, "explanation": str(error)}
    log.info(
        "rollback",
        extra=structured_log.fields(
            cutover_id=result.cutover_id, rolled_back=result.rolled_back, explanation=result.explanation
        ),
    )
    return {
        "rolled_back": result.rolled_back,
        "stuck": False,
        "cutover_id": result.cutover_id,
        "explanation": result.explanation,
    }
