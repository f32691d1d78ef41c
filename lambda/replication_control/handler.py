"""Entry point of the function that starts and stops the replication tasks, as far as one call comes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import boto3

from cutover_databases.chain import make_chain
from cutover_settings import Settings
from cutover_wiring import Wiring
from database_access import structured_log
from database_access.deadline import Deadline
from replication_control.control import NOTHING_AGAIN, Control, Direction, Retry, Step

log = logging.getLogger(__name__)

ACTIONS: Final = ("start", "stop")
_RESERVE_SECONDS: Final = 5.0


class EventError(ValueError):
    """The event asks for something that cannot be; the message says what is allowed."""


class LambdaContext(Protocol):
    """What the function needs of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Do the next step of every task; ``done`` says whether the caller has to call again.

    With ``"retry": true`` what has failed is tried once more; the answer's ``retry`` goes into the next call's event.
    """
    structured_log.configure()
    action = event.get("action")
    if action not in ACTIONS:
        raise EventError(f"action: must be one of {', '.join(ACTIONS)}, got {action!r}")
    wiring = Wiring(settings=Settings(os.environ), client=boto3.client, who="replication control")
    deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS)
    directions = [Direction(**task) for task in wiring.settings.listing("REPLICATION_TASKS")]
    retry = parse_retry(event.get("retry", False), directions)
    control = Control(
        dms=wiring.aws("dms"),
        directions=directions,
        # The databases are only asked when a reverse task begins.
        binlog_position=lambda database: make_chain(wiring, deadline=deadline).binlog_position(database),
    )
    steps = control.start(retry=retry) if action == "start" else control.stop()
    document = {
        "tasks": {identifier: step.value for identifier, step in steps.items()},
        "done": all(step is Step.DONE for step in steps.values()),
        "retry": {name: sorted(identifiers) for name, identifiers in vars(retry.after(steps)).items()},
    }
    log.info("replication", extra=structured_log.fields(action=action, **document))
    return document


def parse_retry(value: object, directions: Sequence[Direction]) -> Retry:
    """What ``retry`` of an event allows to be tried once more.

    Raises:
        EventError: it is neither true, false, nor what an answer had.
    """
    if isinstance(value, bool):
        return Retry.of(directions) if value else NOTHING_AGAIN
    known = {each.identifier for each in directions}
    if (
        not isinstance(value, Mapping)
        or set(value) != {"tests", "tasks"}
        or not all(isinstance(names, list) and known.issuperset(map(str, names)) for names in value.values())
    ):
        raise EventError(
            f"retry: must be true, false, or tests and tasks with lists of {', '.join(sorted(known))}, got {value!r}"
        )
    return Retry(tests=frozenset(value["tests"]), tasks=frozenset(value["tasks"]))
