"""The rollback itself. It can be run again from any point, twice at once, and when there is nothing to do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cutover_rollback.request import Request
from cutover_state.desired import DesiredStore, desire
from cutover_state.journal import Journal
from cutover_state.levers import Kind, Lever
from cutover_state.run import Phase, Run, RunConflictError, RunStore
from traffic.weights import TrafficError, shown

log = logging.getLogger(__name__)

_CONFLICTS_UNTIL_GIVING_UP = 20


class WriterStuckError(Exception):
    """The writer could not be moved back and a person is needed; the message says what to do."""


class RollbackIncompleteError(Exception):
    """Something failed that a further attempt may mend; raised so that the attempt is made."""


class Writer(Protocol):
    """Moves the writer."""

    def current(self) -> str | None:
        """The database that admits the application accounts; None while none, or more than one, does."""
        ...

    def move(self, *, source: str, target: str, cutover_id: str, accept_data_loss: bool) -> Mapping[str, Any]:
        """Make ``target`` the writer again, whatever point a switch between the two had come to.

        Returns:
            What was done, for the journal.

        Raises:
            WriterStuckError: see there.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class World:
    """What a rollback acts on.

    Attributes:
        levers: the lever of each kind of cutover.
        lease: takes or extends the lease for a cutover.
        release: gives it up.
        stop: ends an execution of the state machine; one that has ended is left alone.
        tell: notifies people of a subject and a text.
        journal: the journal of a cutover.
    """

    runs: RunStore
    desired: DesiredStore
    levers: Mapping[Kind, Lever]
    writer: Writer
    lease: Callable[[str], None]
    release: Callable[[str], None]
    stop: Callable[[str, str], None]
    tell: Callable[[str, str], None]
    journal: Callable[[str], Journal]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of it.

    Attributes:
        rolled_back: whether this call, or one before it, has taken the cutover back.
        explanation: in words.
    """

    rolled_back: bool
    cutover_id: str | None
    explanation: str


def roll_back(world: World, request: Request) -> Result:
    """Restore what was before the cutover: weights, then the writer; then stop its execution and say why.

    Raises:
        RollbackIncompleteError: weights could not be restored; the caller tries again.
        WriterStuckError: traffic is back, the writer is not; the cutover waits for a person.
    """
    run = world.runs.read()
    idle = _nothing_to_do(run, request)
    if idle is not None or run is None:
        return Result(
            rolled_back=run is not None and run.phase is Phase.ROLLED_BACK,
            cutover_id=run.cutover_id if run else None,
            explanation=idle or "no cutover ever ran",
        )
    world.lease(run.cutover_id)
    journal = world.journal(run.cutover_id)
    run = _enter(world, run, request)
    if run.phase is Phase.ROLLED_BACK:
        return Result(rolled_back=True, cutover_id=run.cutover_id, explanation="somebody else has rolled it back")
    journal.append("roll back", request.reason, after=run.before, details=request.details, who=request.requested_by)
    _restore_traffic(world, run, journal, request)
    _restore_writer(world, run, journal, request)
    if request.stop_execution and run.execution_arn:
        world.stop(run.execution_arn, request.reason)
    # The execution may have written once more before it ended.
    _restore_traffic(world, run, journal, request)
    run = _leave(world, run, Phase.ROLLED_BACK, request.reason)
    journal.append("rolled back", request.reason, after=run.before, who=request.requested_by)
    world.release(run.cutover_id)
    world.tell(f"Rolled back: {run.source} to {run.target}", _story(run, request))
    return Result(rolled_back=True, cutover_id=run.cutover_id, explanation=request.reason)


def _nothing_to_do(run: Run | None, request: Request) -> str | None:
    if run is None:
        return "no cutover ever ran"
    if request.cutover_id is not None and request.cutover_id != run.cutover_id:
        return f"cutover {request.cutover_id} is not the last one, which is {run.cutover_id}"
    if run.phase is Phase.SUCCEEDED and request.after_the_end:
        return None
    if run.phase.is_over:
        return f"cutover {run.cutover_id} is {run.phase.value}: nothing is under way"
    return None


def _enter(world: World, run: Run, request: Request) -> Run:
    """Mark the run, so that no step goes forward any more; of several that try, all may go on."""
    for _ in range(_CONFLICTS_UNTIL_GIVING_UP):
        if run.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
            return run
        try:
            return world.runs.write(replace(run, phase=Phase.ROLLING_BACK, reason=request.reason))
        except RunConflictError:
            again = world.runs.read()
            assert again is not None, "a run is never deleted"
            run = again
    raise RollbackIncompleteError(f"cutover {run.cutover_id} changes all the time; run the rollback again")


def _leave(world: World, run: Run, phase: Phase, reason: str) -> Run:
    for _ in range(_CONFLICTS_UNTIL_GIVING_UP):
        try:
            return world.runs.write(replace(run, phase=phase, reason=reason))
        except RunConflictError:
            again = world.runs.read()
            assert again is not None, "a run is never deleted"
            if again.phase is phase:
                return again
            run = again
    raise RollbackIncompleteError(f"cutover {run.cutover_id} changes all the time; run the rollback again")


def _restore_traffic(world: World, run: Run, journal: Journal, request: Request) -> None:
    kind = Kind(run.kind)
    if kind.desired_field is None:
        return
    wanted: dict[str, int] = dict(run.before["weights"])
    # Desired first: from then on the reconciler helps instead of hindering.
    desire(world.desired, by=run.cutover_id, **{kind.desired_field: wanted})
    lever = world.levers[kind]
    try:
        found = lever.read()
        if found != wanted:
            journal.append("set weights", request.reason, before=found, after=wanted, who=request.requested_by)
            lever.write(wanted)
            journal.append("weights set", f"they read back {shown(wanted)}", after=wanted, who=request.requested_by)
    except TrafficError as error:
        journal.append("weights not set", str(error), after=wanted, who=request.requested_by)
        raise RollbackIncompleteError(f"the weights are not restored: {error}") from error


def _restore_writer(world: World, run: Run, journal: Journal, request: Request) -> None:
    if not Kind(run.kind).moves_writer:
        return
    wanted = str(run.before["writer"])
    found = world.writer.current()
    if found == wanted:
        return
    journal.append(
        "switch the writer back",
        request.reason,
        before={"writer": found},
        after={"writer": wanted},
        who=request.requested_by,
    )
    try:
        done = world.writer.move(
            source=run.target if wanted == run.source else run.source,
            target=wanted,
            cutover_id=run.cutover_id,
            accept_data_loss=request.accept_data_loss,
        )
    except WriterStuckError as error:
        journal.append("writer not switched back", str(error), who=request.requested_by)
        _leave(world, run, Phase.STUCK, str(error))
        world.tell(f"A person is needed: {run.source} to {run.target}", f"{error}\n\n{_story(run, request)}")
        raise
    desire(world.desired, by=run.cutover_id, writer=wanted)
    journal.append(
        "writer switched back", request.reason, after={"writer": wanted}, details=done, who=request.requested_by
    )


def _story(run: Run, request: Request) -> str:
    values = "".join(f"\n{name}: {value}" for name, value in sorted((request.details or {}).items()))
    return (
        f"Cutover {run.cutover_id} from {run.source} to {run.target} was taken back.\n"
        f"Why: {request.reason}\nAsked by: {request.requested_by}\n"
        f"Restored: {run.before}{values}\n"
        f"Journal: pk JOURNAL#{run.cutover_id} of the state table"
    )
