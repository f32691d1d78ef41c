"""The rollback itself. It can be run again from any point, twice at once, and when there is nothing to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from cutover_rollback.request import Request
from cutover_state.desired import DesiredStore, desire
from cutover_state.journal import Journal
from cutover_state.lease import LeaseTakenError
from cutover_state.levers import Kind, Lever
from cutover_state.run import STUCK_AFTER_SECONDS, Phase, Run, RunConflictError, RunStore
from traffic.weights import TrafficError, WeightsError, shown

LEGACY = "legacy"
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
        alarms: names of the alarms that are watched, by side.
        lease: takes or extends the lease for a cutover; raises LeaseTakenError.
        release: gives it up.
        let_dns_settle: waits until no resolver answers with the weights before.
        stop: ends an execution of the state machine; one that has ended is left alone.
        tell: notifies people of a subject and a text.
        journal: the journal of a cutover.
        now: epoch seconds.
    """

    runs: RunStore
    desired: DesiredStore
    levers: Mapping[Kind, Lever]
    alarms: Mapping[str, Collection[str]]
    now: Callable[[], float]
    writer: Writer
    lease: Callable[[str], None]
    release: Callable[[str], None]
    let_dns_settle: Callable[[], None]
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
    """Restore what was before the cutover, stop its execution and say why.

    Weights come first, because that ends the harm, and environments write to whichever database is the writer. The
    legacy system writes to its own database only: that is the writer again before the legacy system gets a request,
    and as long as resolvers still send it some.

    Whatever has to be told is told before the run is marked as over: a call that dies in between is made again by
    whoever sees that it is not over.

    Raises:
        RollbackIncompleteError: something could not be restored; the caller tries again.
        WriterStuckError: the writer could not be moved back; the cutover waits for a person.
    """
    if request.gradual:
        ordered = order_return(world.runs, world.alarms, request, now=world.now())
        if ordered is not None:
            return ordered
    entered = _enter(world, request)
    if isinstance(entered, Result):
        return entered
    run, begun_before = entered
    try:
        world.lease(run.cutover_id)
    except LeaseTakenError as error:
        raise RollbackIncompleteError(f"cutover {run.cutover_id} is not rolled back: {error}") from error
    if _is_over(world, run):
        return _done_by_another(world, run)
    journal = world.journal(run.cutover_id)
    journal.append("roll back", request.reason, after=run.before, details=request.details, who=request.requested_by)
    # No step that has read the desired state before the run was marked can replace it after this.
    desire(world.desired, by=run.cutover_id, anew=True)
    stuck: WriterStuckError | None = None
    if _writer_first(run):
        stuck = _restore_writer(world, run, journal, request)
    if stuck is None:
        # An attempt before this one may have died before its write had reached every server.
        _restore_traffic(world, run, journal, request, surely=begun_before)
        if _is_over(world, run):
            return _done_by_another(world, run)
        if not _writer_first(run):
            stuck = _restore_writer(world, run, journal, request)
    if request.stop_execution and run.execution_arn:
        world.stop(run.execution_arn, request.reason)
    if _is_over(world, run):
        return _done_by_another(world, run)
    if stuck is None or not _writer_first(run):
        # The execution may have written once more before it ended.
        _restore_traffic(world, run, journal, request)
    if stuck is not None:
        journal.append("writer not switched back", str(stuck), who=request.requested_by)
        world.tell(f"A person is needed: {run.source} to {run.target}", f"{stuck}\n\n{_story(run, request)}")
        _leave(world, run, Phase.STUCK, str(stuck))
        raise stuck
    journal.append("rolled back", request.reason, after=run.before, who=request.requested_by)
    world.tell(
        f"Rolled back: {run.source} to {run.target}",
        f"Cutover {run.cutover_id} from {run.source} to {run.target} was taken back.\n{_story(run, request)}",
    )
    world.release(run.cutover_id)
    _leave(world, run, Phase.ROLLED_BACK, request.reason)
    return Result(rolled_back=True, cutover_id=run.cutover_id, explanation=request.reason)


def order_return(
    runs: RunStore, alarms: Mapping[str, Collection[str]], request: Request, *, now: float
) -> Result | None:
    """Have the execution that is under way take the cutover back step by step.

    Returns:
        What came of it, or None where there is nothing to go back by: nothing has moved yet, or all goes back at once
        already.

    Raises:
        RollbackIncompleteError: the run changes all the time.
    """
    for _ in range(_CONFLICTS_UNTIL_GIVING_UP):
        run = runs.read()
        if run is None or _nothing_to_do(run, replace(request, after_the_end=True), alarms) is not None:
            return None
        if run.phase not in (Phase.SHIFTING, Phase.SUCCEEDED):
            return None
        answer, ordered = _return_of(run, request, now)
        if ordered is None:
            return Result(rolled_back=False, cutover_id=run.cutover_id, explanation=answer)
        try:
            runs.write(ordered)
        except RunConflictError:
            continue
        return Result(rolled_back=False, cutover_id=run.cutover_id, explanation=answer)
    raise RollbackIncompleteError("the cutover changes all the time; ask again")


def _return_of(run: Run, request: Request, now: float) -> tuple[str, Run | None]:
    """What there is to say, and the run with the order when it can be given."""
    if run.phase is Phase.SUCCEEDED:
        return (
            f"cutover {run.cutover_id} is over: begin one from {run.target} to {run.source}, "
            "or take it back at once, without gradual"
        ), None
    if run.returning:
        return f"cutover {run.cutover_id} goes back step by step already", None
    silence = now - run.looked_at
    if silence > STUCK_AFTER_SECONDS:
        return (
            f"nobody has looked at cutover {run.cutover_id} for {silence / 60:.0f} minutes, so nobody would take it "
            "back step by step: take it back at once, without gradual"
        ), None
    if run.position.get("phase") not in ("gate", "watch"):
        return f"cutover {run.cutover_id} is changing something just now: ask again in a minute", None
    order = {
        "kind": "roll back gradually",
        "step": run.position["step"],
        "actor": request.requested_by,
        "automatic": False,
    }
    return f"cutover {run.cutover_id} goes back step by step from its next look on", replace(run, order=order)


def _nothing_to_do(run: Run | None, request: Request, alarms: Mapping[str, Collection[str]]) -> str | None:
    if run is None:
        return "no cutover ever ran"
    if request.cutover_id is not None and request.cutover_id != run.cutover_id:
        return f"cutover {request.cutover_id} is not the last one, which is {run.cutover_id}"
    if run.phase is Phase.SUCCEEDED and request.after_the_end:
        return None
    if run.phase.is_over:
        return f"cutover {run.cutover_id} is {run.phase.value}: nothing is under way"
    if request.alarmed_at is not None and request.alarmed_at < run.started_at:
        # Notifications are delivered again for days; an alarm that still fires lets no cutover begin.
        return f"the alarm fired before cutover {run.cutover_id} began"
    if request.alarm is not None and request.alarm not in alarms.get(run.target, ()):
        # What is wrong with the side that the traffic leaves is no reason to send it back there.
        return f"alarm {request.alarm} is none of {run.target}, which cutover {run.cutover_id} moves to"
    return None


def _enter(world: World, request: Request) -> tuple[Run, bool] | Result:
    """Mark the run, so that no step goes forward any more; of several that try, all may go on.

    Returns:
        The run and whether it was marked already, or what there is to say when there is nothing to do.
    """
    for _ in range(_CONFLICTS_UNTIL_GIVING_UP):
        # Anew each time: in the meantime the cutover may have ended, and another one begun.
        run = world.runs.read()
        idle = _nothing_to_do(run, request, world.alarms)
        if run is None or idle is not None:
            meant = run is not None and request.cutover_id in (None, run.cutover_id)
            return Result(
                rolled_back=run is not None and meant and run.phase is Phase.ROLLED_BACK,
                cutover_id=run.cutover_id if run else None,
                explanation=idle or "no cutover ever ran",
            )
        if run.phase is Phase.ROLLING_BACK:
            return run, True
        try:
            marked = world.runs.write(replace(run, phase=Phase.ROLLING_BACK, reason=request.reason, returning=False))
        except RunConflictError:
            continue
        return marked, run.phase is Phase.STUCK
    raise RollbackIncompleteError("the cutover changes all the time; run the rollback again")


def _is_over(world: World, run: Run) -> bool:
    """Whether somebody else has ended the cutover, so that all this is not ours to set any more."""
    found = world.runs.read()
    return found is None or found.cutover_id != run.cutover_id or found.phase.is_over


def _done_by_another(world: World, run: Run) -> Result:
    # It may have given the lease up before we took it.
    world.release(run.cutover_id)
    return Result(rolled_back=True, cutover_id=run.cutover_id, explanation="somebody else has rolled it back")


def _leave(world: World, run: Run, phase: Phase, reason: str) -> None:
    for _ in range(_CONFLICTS_UNTIL_GIVING_UP):
        try:
            world.runs.write(replace(run, phase=phase, reason=reason))
        except RunConflictError:
            if _is_over(world, run):
                return
            again = world.runs.read()
            assert again is not None, "a run is never deleted"
            run = again
        else:
            return
    raise RollbackIncompleteError(f"cutover {run.cutover_id} changes all the time; run the rollback again")


def _writer_first(run: Run) -> bool:
    """Whether traffic goes back to a system that can write to its own database only."""
    return _moves_writer(run) and run.source == LEGACY


def _moves_writer(run: Run) -> bool:
    return bool(run.writer_after != run.before["writer"])


def _restore_traffic(world: World, run: Run, journal: Journal, request: Request, *, surely: bool = False) -> None:
    """Args: surely: write the weights even when they read so already."""
    kind = Kind(run.kind)
    wanted: dict[str, int] = dict(run.before["weights"])
    # Desired first: from then on the reconciler helps instead of hindering.
    changes: dict[str, Any] = {kind.desired_field: wanted}
    desire(world.desired, by=run.cutover_id, **changes)
    lever = world.levers[kind]
    try:
        found = lever.read()
        if surely or found != wanted:
            journal.append("set weights", request.reason, before=found, after=wanted, who=request.requested_by)
            lever.write(wanted)
            journal.append("weights set", f"they read back {shown(wanted)}", after=wanted, who=request.requested_by)
    except (TrafficError, WeightsError) as error:
        journal.append("weights not set", str(error), after=wanted, who=request.requested_by)
        raise RollbackIncompleteError(f"the weights are not restored: {error}") from error


def _restore_writer(world: World, run: Run, journal: Journal, request: Request) -> WriterStuckError | None:
    """Returns: why the writer is not where it was, when a person is needed."""
    if not _moves_writer(run):
        return None
    wanted = str(run.before["writer"])
    # Whoever dies after the switch leaves this behind already done.
    desire(world.desired, by=run.cutover_id, writer=wanted)
    found = world.writer.current()
    if found == wanted:
        return None
    if run.target == LEGACY:
        world.let_dns_settle()
    journal.append(
        "switch the writer back",
        request.reason,
        before={"writer": found},
        after={"writer": wanted},
        who=request.requested_by,
    )
    try:
        done = world.writer.move(
            source=run.writer_after,
            target=wanted,
            cutover_id=run.cutover_id,
            accept_data_loss=request.accept_data_loss,
        )
    except WriterStuckError as error:
        return error
    journal.append(
        "writer switched back", request.reason, after={"writer": wanted}, details=done, who=request.requested_by
    )
    return None


def _story(run: Run, request: Request) -> str:
    values = "".join(f"\n{name}: {value}" for name, value in sorted((request.details or {}).items()))
    return (
        f"Cutover: {run.cutover_id}, {run.phase.value}\nWhy: {request.reason}\nAsked by: {request.requested_by}\n"
        f"Before the cutover: {run.before}{values}\n"
        f"Journal: pk JOURNAL#{run.cutover_id} of the state table"
    )
