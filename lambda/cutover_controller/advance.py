"""One look at a cutover: what is observed, what follows from it, and the doing of it.

The state machine calls this again and again. Everything that one call has to know from the one before is in the run,
so that a call can be made again after it was broken off anywhere: weights that are set are set again, and what was
decided once is not decided twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from cutover_plan import (
    AskApproval,
    Complete,
    Decision,
    Order,
    OrderKind,
    Plan,
    Position,
    RollBack,
    SetWeights,
    SwitchWriter,
    completed,
    deadline_over,
    decide,
    parse_plan,
)
from cutover_plan import Phase as StepPhase
from cutover_state.desired import DesiredStore, desire
from cutover_state.forward import OvertakenError, shift
from cutover_state.journal import Journal
from cutover_state.levers import Kind, Lever
from cutover_state.run import Phase, Run, RunConflictError, RunStore
from traffic.weights import split
from verdict import Evidence, Observation, Outcome, Settings, Verdict, evaluate

LEGACY = "legacy"

SWITCHED = frozenset({"switched", "already switched"})
"""Results of the writer switch after which the new database is the writer (``writer_switch.outcome``)."""


class Next(Enum):
    """What the state machine does next. ``ended``: nothing, somebody else has ended the cutover."""

    WAIT = "wait"
    SWITCH = "switch writer"
    ROLL_BACK = "roll back"
    DONE = "done"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the state machine is told.

    Attributes:
        seconds: how long to wait before the next look.
        reason: in words.
        switch: event for the writer switch.
    """

    next: Next
    reason: str
    seconds: int = 0
    switch: Mapping[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"next": self.next.value, "reason": self.reason, "seconds": self.seconds, "switch": self.switch}


@dataclass(frozen=True, kw_only=True)
class World:
    """What a look acts on.

    Attributes:
        levers: the lever of each kind of cutover.
        observe: what is known now, from the next sample of the evidence on.
        alarms: names of the alarms that are watched, by side.
        lease: takes or extends the lease for a cutover.
        release: gives it up.
        tell: notifies people of a subject and a text.
        journal: the journal of a cutover.
        now: epoch seconds.
        poll_seconds: time between two looks.
    """

    runs: RunStore
    desired: DesiredStore
    levers: Mapping[Kind, Lever]
    observe: Callable[[Run, Evidence], Observation]
    alarms: Mapping[str, tuple[str, ...]]
    lease: Callable[[str], None]
    release: Callable[[str], None]
    tell: Callable[[str, str], None]
    journal: Callable[[str], Journal]
    now: Callable[[], float]
    poll_seconds: int


def advance(world: World, *, cutover_id: str, switched: Mapping[str, Any] | None = None) -> Answer:
    """Look at the cutover and take it as far as it goes without waiting.

    Args:
        switched: the outcome of the writer switch, when the call before asked for one.

    Raises:
        TrafficError, LeaseTakenError, DesiredConflictError, MetricsUnreadableError and its like: the call is made
        again, or the cutover is rolled back, as the state machine has it.
    """
    run = world.runs.read()
    if run is None or run.cutover_id != cutover_id or run.phase not in (Phase.PREPARING, Phase.SHIFTING):
        return Answer(next=Next.ENDED, reason=f"cutover {cutover_id} does not go forward any more")
    world.lease(cutover_id)
    plan, journal = parse_plan(run.plan), world.journal(cutover_id)
    try:
        if switched is not None:
            answer, run = _note_switch(world, run, plan, journal, switched)
            if answer is not None:
                return answer
        while True:
            answer, run = _look(world, run, plan, journal)
            if answer is not None:
                return answer
    except (OvertakenError, RunConflictError) as error:
        # A rollback, or an operator's order, came in between: the next look sees it.
        return Answer(next=Next.WAIT, reason=str(error), seconds=1)


def _look(world: World, run: Run, plan: Plan, journal: Journal) -> tuple[Answer | None, Run]:
    now = int(world.now())
    position = Position.from_json(run.position)
    evidence = Evidence.from_json(run.evidence) if run.evidence else _begin(world, run, plan, position, now)
    verdict, kept = _judge(world, run, plan, position, evidence, now)
    decision = decide(plan, position, now_seconds=now, outcome=verdict.outcome, order=_order(run))
    _note(journal, run, decision, verdict)
    run = world.runs.write(
        replace(
            run,
            phase=Phase.SHIFTING,
            position=decision.position.to_json(),
            evidence=kept.to_json(),
            order=None,
            looked_at=world.now(),
            reason=decision.reason,
        )
    )
    return _act(world, run, plan, journal, decision, verdict)


def _judge(
    world: World, run: Run, plan: Plan, position: Position, evidence: Evidence, now: int
) -> tuple[Verdict, Evidence]:
    observation = world.observe(run, evidence)
    late = deadline_over(plan, position, now_seconds=now)
    return evaluate(Settings.from_json(run.verdict), evidence, observation, deadline_over=late)


def _begin(world: World, run: Run, plan: Plan, position: Position, now: int) -> Evidence:
    """Fresh evidence for the weights that are set in this position."""
    settings = Settings.from_json(run.verdict)
    weight = _weight(plan, position)
    source, target = plan.direction.source, plan.direction.target
    # The legacy system sends no metrics: its health check speaks for it, and AWS is watched for harm.
    judged, other = (target, source) if weight and target != LEGACY else (source, None)
    return Evidence.begin(
        settings,
        environment=judged,
        other=other if other not in (None, LEGACY) and settings.compares(weight) else None,
        alarms=tuple(dict.fromkeys([*world.alarms.get(judged, ()), *world.alarms.get(target, ())])),
        since_seconds=now,
    )


def _weight(plan: Plan, position: Position) -> int:
    """Share of the target in percent, as it is set while the cutover stands at ``position``."""
    reached = position.phase in (StepPhase.SWITCH, StepPhase.WATCH, StepPhase.COMPLETE)
    step = position.step if reached else position.step - 1
    return plan.steps[step].weight_percent if step >= 0 else 0


def _order(run: Run) -> Order | None:
    if run.order is None:
        return None
    return Order(
        kind=OrderKind(run.order["kind"]),
        step=int(run.order["step"]),
        actor=str(run.order["actor"]),
        automatic=bool(run.order["automatic"]),
    )


def _note(journal: Journal, run: Run, decision: Decision, verdict: Verdict) -> None:
    """Every decision that is not just to go on waiting, with the numbers behind it."""
    if decision.refused is not None and run.order is not None:
        journal.append("refuse an order", decision.refused, details=dict(run.order))
    elif run.order is not None:
        journal.append("follow an order", decision.reason, details=dict(run.order), who=str(run.order["actor"]))
    if decision.reason != run.reason or verdict.outcome is Outcome.ROLL_BACK:
        journal.append(
            "decide",
            decision.reason,
            before=dict(run.position),
            after=decision.position.to_json(),
            details=verdict.to_json(),
        )


def _act(
    world: World, run: Run, plan: Plan, journal: Journal, decision: Decision, verdict: Verdict
) -> tuple[Answer | None, Run]:
    action = decision.action
    if isinstance(action, RollBack):
        why = "; ".join(verdict.reasons) if verdict.outcome is Outcome.ROLL_BACK else decision.reason
        return Answer(next=Next.ROLL_BACK, reason=why), run
    if isinstance(action, Complete):
        return _complete(world, run, plan, journal), run
    if isinstance(action, SwitchWriter):
        event = {"cutover_id": run.cutover_id, "from": action.source, "to": action.target}
        journal.append(
            "switch the writer", decision.reason, before={"writer": action.source}, after={"writer": action.target}
        )
        return Answer(next=Next.SWITCH, reason=decision.reason, switch=event), run
    if isinstance(action, SetWeights):
        return None, _shift(world, run, plan, journal, action.weight_percent, decision.reason)
    if isinstance(action, AskApproval):
        _ask(world, run, plan, action, decision)
        return Answer(next=Next.WAIT, reason=decision.reason, seconds=world.poll_seconds), run
    return Answer(next=Next.WAIT, reason=decision.reason, seconds=world.poll_seconds), run


def _shift(world: World, run: Run, plan: Plan, journal: Journal, percent: int, why: str) -> Run:
    kind = Kind(run.kind)
    lever = world.levers[kind]
    wanted = split(source=run.source, target=run.target, target_percent=percent)
    found = lever.read()
    journal.append("set weights", why, before=found, after=wanted)
    shift(world.desired, world.runs, lever, cutover_id=run.cutover_id, kind=kind, wanted=wanted)
    journal.append("weights set", why, before=found, after=wanted)
    now = int(world.now())
    position = completed(plan, Position.from_json(run.position), now_seconds=now)
    fresh = _begin(world, run, plan, position, now)
    return world.runs.write(replace(run, position=position.to_json(), evidence=fresh.to_json()))


def _note_switch(
    world: World, run: Run, plan: Plan, journal: Journal, outcome: Mapping[str, Any]
) -> tuple[Answer | None, Run]:
    """Take note of what the writer switch came to."""
    position = Position.from_json(run.position)
    if position.phase is not StepPhase.SWITCH:
        # A call that was made again: the switch was noted already.
        return None, run
    result, reason = str(outcome.get("result")), str(outcome.get("reason", ""))
    if result not in SWITCHED:
        journal.append("writer not switched", reason, details=dict(outcome))
        return Answer(next=Next.ROLL_BACK, reason=f"the writer was not switched ({result}): {reason}"), run
    desire(world.desired, by=run.cutover_id, writer=plan.direction.writer_target)
    journal.append(
        "writer switched",
        reason,
        before={"writer": plan.direction.writer_source},
        after={"writer": plan.direction.writer_target},
        details=dict(outcome),
    )
    now = int(world.now())
    following = completed(plan, position, now_seconds=now)
    fresh = _begin(world, run, plan, following, now)
    return None, world.runs.write(replace(run, position=following.to_json(), evidence=fresh.to_json()))


def _ask(world: World, run: Run, plan: Plan, action: AskApproval, decision: Decision) -> None:
    gate = plan.steps[decision.position.step].gate
    if gate is None or action.timeout_left_seconds < gate.timeout_seconds - world.poll_seconds // 2:
        return
    minutes = action.timeout_left_seconds // 60
    world.tell(
        f"Approval wanted: {run.source} to {run.target}",
        f"{action.question}\nWithout an answer the cutover rolls back in {minutes} minutes.\n"
        f"Approve with: bluegreen approve --cutover {run.cutover_id} --step {decision.position.step + 1}",
    )


def _complete(world: World, run: Run, plan: Plan, journal: Journal) -> Answer:
    why = f"{plan.direction.target} has everything"
    journal.append("complete", why, before=dict(run.before), after={"weights": {run.source: 0, run.target: 100}})
    world.tell(f"Complete: {run.source} to {run.target}", f"Cutover {run.cutover_id}: {why}. The way back stays open.")
    world.release(run.cutover_id)
    world.runs.write(replace(run, phase=Phase.SUCCEEDED, reason=why))
    return Answer(next=Next.DONE, reason=why)
