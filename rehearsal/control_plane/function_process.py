"""One warm instance of a function, as Lambda keeps one: a process that handles one event after another.

    python -m rehearsal.control_plane.function_process cutover_controller

Events come as lines of JSON on standard input, answers go as lines of JSON to standard output; what the function logs
goes to standard error. The process ends when its standard input does.

What waits for AWS runs by the rehearsal's clock: the time of day, and sleeps of a second and more. The protocol of
the writer switch polls in milliseconds and measures by the monotonic clock, and so runs in real time.

For the fault matrix an event may come with orders: to die at a statement (SIGKILL, as a crash would), or to pause
there. For the negative controls an instance leaves out a step of the protocol. The functions' own code knows nothing
of these.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rehearsal.clock import LONGEST_REAL_SLEEP_SECONDS, Clock

SABOTAGES = ("no drain", "no kill", "two writers")


class Context:
    """What Lambda hands over besides the event."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._until - time.monotonic()) * 1000))


@dataclass
class _Orders:
    """Attributes: remaining: statements that still pass before the one at which something happens."""

    at: str = ""
    when: str = "before"
    remaining: int = 0
    pause_seconds: float | None = None

    def moment(self, when: str, statement: str) -> None:
        if not self.at or when != self.when or self.at not in statement:
            return
        if self.remaining > 0:
            self.remaining -= 1
            return
        self.at = ""
        if self.pause_seconds is None:
            os.kill(os.getpid(), signal.SIGKILL)
        _SLEEP(self.pause_seconds or 0)


_SLEEP = time.sleep
_orders = _Orders()


def _run_by(clock: Clock) -> None:
    def sleep(seconds: float) -> None:
        _SLEEP(seconds if seconds < LONGEST_REAL_SLEEP_SECONDS else clock.ours(seconds))

    time.time = clock.now
    time.sleep = sleep  # type: ignore[assignment]


def _watch_statements() -> None:
    from database_access.session import DatabaseSession

    known = DatabaseSession._run

    def run(self: DatabaseSession, statement: str, parameters: tuple[object, ...]) -> Any:
        words = " ".join(statement.split())
        _orders.moment("before", words)
        result = known(self, statement, parameters)
        _orders.moment("after", words)
        return result

    DatabaseSession._run = run  # type: ignore[method-assign]


def _sabotage(what: str) -> None:
    """Leave out a step of the protocol, for good."""
    from writer_switch import protocol
    from writer_switch.decision import Action, Marker
    from writer_switch.outcome import Check

    run: Any = protocol._Run
    steps: dict[Any, Callable[[Any], None]] = protocol._STEPS

    def no_drain(self: Any) -> None:
        self._marker = Marker.ON_NEW

    def no_kill(self: Any) -> None:
        self._sessions_ended = True

    def no_fence(self: Any) -> None:
        self._begun = True
        self._new.set_locked(locked=False)
        self._closed_since = time.monotonic()
        self._note_opened()
        # Long enough for the services that find both open to write to either of them.
        _SLEEP(3.0)
        self._old.set_locked(locked=True)

    match what:
        case "no drain":
            steps[Action.AWAIT_MARKER] = no_drain
        case "no kill":
            steps[Action.END_SESSIONS] = no_kill
            # Whatever verifies the sessions afterwards would end them as well.
            run._check_old_has_no_session = lambda self, facts: Check(
                name="no session on the old", passed=True, finding="not looked at"
            )
            run._check_nothing_committed = lambda self, facts: Check(
                name="nothing committed on the old", passed=True, finding="not looked at"
            )
        case "two writers":
            steps[Action.FENCE] = no_fence
        case other:
            raise ValueError(f"sabotage: {other!r}, allowed: {', '.join(SABOTAGES)}")


def _handle(handler: Callable[..., Any], call: Mapping[str, Any]) -> dict[str, Any]:
    global _orders
    _orders = _Orders(**call.get("orders", {}))
    try:
        return {"result": handler(call["event"], Context(float(call["seconds"])))}
    except BaseException as error:
        traceback.print_exc()
        return {"error": type(error).__name__, "message": str(error)}


def serve(package: str) -> None:
    """Handle events until standard input ends."""
    clock = Clock.of_environment()
    if clock is not None:
        _run_by(clock)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    handler = importlib.import_module(f"{package}.handler").lambda_handler
    _watch_statements()
    if what := os.environ.get("REHEARSAL_SABOTAGE"):
        _sabotage(what)
    answers.write('{"ready": true}\n')
    for line in sys.stdin:
        answers.write(json.dumps(_handle(handler, json.loads(line))) + "\n")


if __name__ == "__main__":
    serve(sys.argv[1])
