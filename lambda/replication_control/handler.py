"""Entry point of the function that starts and stops the replication tasks, as far as one call comes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Final, Protocol

import boto3

from cutover_databases.chain import make_chain
from cutover_settings import Settings
from cutover_wiring import Wiring
from database_access import structured_log
from database_access.deadline import Deadline
from replication_control.control import Control, Direction, Step

log = logging.getLogger(__name__)

ACTIONS: Final = ("start", "stop")
_RESERVE_SECONDS: Final = 5.0


class EventError(ValueError):
    """The event asks for something that cannot be; the message says what is allowed."""


class LambdaContext(Protocol):
    """What the function needs of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Do the next step of every task; ``done`` says whether the caller has to call again."""
    structured_log.configure()
    action = event.get("action")
    if action not in ACTIONS:
        raise EventError(f"action: must be one of {', '.join(ACTIONS)}, got {action!r}")
    wiring = Wiring(settings=Settings(os.environ), client=boto3.client, who="replication control")
    deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)
    control = Control(
        dms=wiring.aws("dms"),
        directions=[Direction(**task) for task in wiring.settings.listing("REPLICATION_TASKS")],
        # The databases are only asked when a reverse task begins.
        binlog_position=lambda database: make_chain(wiring, deadline=deadline).binlog_position(database),
    )
    steps = control.start() if action == "start" else control.stop()
    document = {
        "tasks": {identifier: step.value for identifier, step in steps.items()},
        "done": all(step is Step.DONE for step in steps.values()),
    }
    log.info("replication", extra=structured_log.fields(action=action, **document))
    return document
