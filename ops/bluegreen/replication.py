"""Starting and stopping the replication tasks: the runtime's replication control, called until all is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cutover_state.run import Run
from ops.bluegreen.errors import CommandError, Exit, refused
from ops.bluegreen.stage import Stage

POLL_SECONDS: Final = 10.0
LONGEST_SECONDS: Final = 2 * 3600.0
"""A full load takes as long as there is data; who waits longer calls again, or looks with ``status``."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Attributes: steps: what each call did, by task; done: whether nothing is left to do."""

    steps: list[dict[str, str]]
    done: bool


def control(
    stage: Stage, action: str, *, retry: bool, tell: Callable[[str], None], longest_seconds: float = LONGEST_SECONDS
) -> Outcome:
    """``start`` or ``stop`` until all tasks do or rest.

    Raises:
        CommandError: the control cannot be called, or says that a person must look at something.
    """
    event: dict[str, Any] = {"action": action, "retry": retry}
    steps: list[dict[str, str]] = []
    waited = 0.0
    while True:
        try:
            answer = stage.call("replication-control", event)
        except CommandError as error:
            raise _mend(error) from None
        did = {str(name): str(step) for name, step in answer["tasks"].items()}
        if not steps or steps[-1] != did:
            tell("; ".join(f"{name}: {step}" for name, step in sorted(did.items())))
        steps.append(did)
        if answer["done"]:
            return Outcome(steps=steps, done=True)
        if waited >= longest_seconds:
            return Outcome(steps=steps, done=False)
        event = {"action": action, "retry": answer.get("retry", False)}
        stage.sleep(POLL_SECONDS)
        waited += POLL_SECONDS


def require_quiet(run: Run | None, action: str) -> None:
    """Refuse to stop what a cutover, and its way back, rely on.

    Raises:
        CommandError: a cutover is under way.
    """
    if action == "stop" and run is not None and not run.phase.is_over:
        raise refused(
            f"cutover {run.cutover_id} is {run.phase.value}: without replication neither it nor its way back can "
            "switch the writer",
            next_step="let it end, or take it back (bluegreen rollback), and then stop the replication",
        )


def _mend(error: CommandError) -> CommandError:
    if error.exit_code is Exit.FAILED and "ReplicationControlError" in error.message:
        return CommandError(
            error.message,
            next_step="mend what it names, then try that once more: bluegreen replication start --retry",
            exit_code=error.exit_code,
        )
    return error
