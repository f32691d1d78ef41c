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

from cutover_controller.pace import MOST_LOOKS, pause_seconds
from cutover_plan import (
    AskApproval,
    Complete,
    Decision,
    Order,
    OrderError,
    OrderKind,
    Plan,
    Position,
    ReturnGradually,
    RollBack,
    SetWeights,
    SwitchWriter,
    completed,
    deadline_over,
    decide,
    parse_plan,
    rollback_plan,
    start,
)
from cutover_plan import Phase as StepPhase
from cutover_state.desired import DesiredStore
from cutover_state.forward import OvertakenError, desire_forward, shift
from cutover_state.journal import Journal
from cutover_state.levers import Kind, Lever
from cutover_state.run import Phase, Run, RunConflictError, RunStore
from traffic.weights import HUNDRED, split
from verdict import Evidence, Finding, Observation, Outcome, Settings, Verdict, combine, evaluate
from verdict.wording import duration

LEGACY = "legacy"

REQUESTS = frozenset({"requests", "data of requests"})
"""Checks of the verdict that need counted requests."""

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
    if run is not None and run.cutover_id == cutover_id and _ended_here(run):
        # The call that completed it died before its answer arrived.
        return _finish(world, run)
    if run is None or run.cutover_id != cutover_id or run.phase not in (Phase.PREPARING, Phase.SHIFTING):
        return Answer(next=Next.ENDED, reason=f"cutover {cutover_id} does not go forward any more")
    world.lease(cutover_id)
    journal = world.journal(cutover_id)
    try:
        if switched is not None:
            answer, run = _note_switch(world, run, parse_plan(run.plan), journal, switched)
            if answer is not None:
                return answer
        while True:
            answer, run = _look(world, run, parse_plan(run.plan), journal)
            if answer is not None:
                return answer
    except (OvertakenError, RunConflictError) as error:
        # A rollback, or an operator's order, came in between: the next look sees it.
        return Answer(next=Next.WAIT, reason=str(error), seconds=1)


def _ended_here(run: Run) -> bool:
    """Whether the last step of its plan ended it, on the way there or back."""
    return run.phase is Phase.SUCCEEDED or (run.returning and run.phase is Phase.ROLLED_BACK)


def _look(world: World, run: Run, plan: Plan, journal: Journal) -> tuple[Answer | None, Run]:
    if run.looks >= MOST_LOOKS:
        why = f"it was looked at {run.looks:,} times, and its execution has no room for more"
        journal.append("decide", why, before=dict(run.position))
        return Answer(next=Next.ROLL_BACK, reason=why), run
    now = int(world.now())
    # Recovery points may have taken long since the preflight: the clocks of the plan start with the first look.
    first = run.phase is Phase.PREPARING
    position = start(plan, now_seconds=now) if first else Position.from_json(run.position)
    evidence = Evidence.from_json(run.evidence) if run.evidence else _begin(world, run, plan, position, now)
    verdict, kept = _judge(world, run, plan, position, evidence, now)
    order, wrong = _order(run)
    if order is not None and order.kind is OrderKind.RETURN and run.returning:
        wrong = f"{order.kind.value}: the cutover goes back already"
        order = None
    decision = decide(plan, position, now_seconds=now, outcome=verdict.outcome, order=order)
    decision = replace(decision, refused=wrong or decision.refused)
    _note(journal, run, decision, verdict)
    seen = replace(
        run,
        phase=Phase.SHIFTING,
        position=decision.position.to_json(),
        evidence=kept.to_json(),
        order=None,
        looks=run.looks + 1,
        looked_at=world.now(),
        reason=decision.reason,
    )
    if isinstance(decision.action, ReturnGradually):
        # With the same write that takes the order off: a call that dies then has lost nothing.
        return None, _turn_back(world, seen, plan, journal, decision)
    run = world.runs.write(seen)
    return _act(world, run, plan, journal, decision, verdict)


def _judge(
    world: World, run: Run, plan: Plan, position: Position, evidence: Evidence, now: int
) -> tuple[Verdict, Evidence]:
    observation = world.observe(run, evidence)
    settings = Settings.from_json(run.verdict)
    late = deadline_over(plan, position, now_seconds=now)
    if evidence.environment != LEGACY:
        return evaluate(settings, evidence, observation, deadline_over=late)
    # It has no targets of ours and counts no requests for us.
    settings = replace(settings, limits=replace(settings.limits, healthy_hosts_minimum=None))
    verdict, kept = evaluate(settings, evidence, observation)
    found = [each for each in verdict.findings if each.check not in REQUESTS]
    if all(each.outcome is Outcome.PASS for each in found) and evidence.alarms:
        why = f"{LEGACY}: its health check is well, and nothing else speaks against it"
        found.append(Finding(check="health check", outcome=Outcome.PASS, reason=why))
    return combine(found), kept


def _begin(world: World, run: Run, plan: Plan, position: Position, now: int) -> Evidence:
    """Fresh evidence for the weights that are set in this position."""
    settings = Settings.from_json(run.verdict)
    weight = _weight(plan, position)
    source, target = plan.direction.source, plan.direction.target
    if run.returning:
        # The side that is left is the one that is mistrusted; once it has nothing, the one that has everything is.
        judged = target if weight == HUNDRED else source
        return Evidence.begin(
            settings, environment=judged, other=None, alarms=world.alarms.get(judged, ()), since_seconds=now
        )
    # The legacy system sends no metrics: while AWS has requests, it is AWS that is watched for harm; once it has
    # none, the health check of the legacy system speaks for it.
    judged, other = (target, source) if weight and (target != LEGACY or weight == HUNDRED) else (source, None)
    return Evidence.begin(
        settings,
        environment=judged,
        other=other if LEGACY not in (judged, other) and settings.compares(weight) else None,
        # Not those of the source: what is wrong there is no reason to send the traffic back.
        alarms=world.alarms.get(target, ()),
        since_seconds=now,
    )


def _weight(plan: Plan, position: Position) -> int:
    """Share of the target in percent, as it is set while the cutover stands at ``position``."""
    reached = position.phase in (StepPhase.SWITCH, StepPhase.WATCH, StepPhase.COMPLETE)
    step = position.step if reached else position.step - 1
    return plan.steps[step].weight_percent if step >= 0 else 0


def _order(run: Run) -> tuple[Order | None, str | None]:
    """The order, or why what was asked for is none; that must not end a cutover."""
    if run.order is None:
        return None, None
    try:
        return Order(
            kind=OrderKind(run.order["kind"]),
            step=int(run.order["step"]),
            actor=str(run.order["actor"]),
            automatic=bool(run.order["automatic"]),
        ), None
    except (KeyError, TypeError, ValueError) as error:
        return None, str(error) if isinstance(error, OrderError) else f"no order: {type(error).__name__}: {error}"


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
        run = _ask(world, run, action, decision)
    seconds = pause_seconds(looks=run.looks, poll_seconds=world.poll_seconds)
    return Answer(next=Next.WAIT, reason=decision.reason, seconds=seconds), run


def _turn_back(world: World, run: Run, plan: Plan, journal: Journal, decision: Decision) -> Run:
    """Exchange the plan for the one that takes back, step by step, what was done."""
    back = rollback_plan(plan, decision.position)
    journal.append("roll back gradually", decision.reason, before=decision.position.to_json(), after=back.to_json())
    world.tell(
        f"Rolling back gradually: {run.source} to {run.target}",
        f"Cutover {run.cutover_id}: {decision.reason}. It takes {duration(back.shortest_seconds)} when all is well; "
        "an alarm, or bluegreen rollback, takes back at once what is left.",
    )
    position = start(back, now_seconds=int(world.now()))
    return world.runs.write(
        replace(run, plan=back.to_json(), position=position.to_json(), evidence=None, asked_step=None, returning=True)
    )


def _shift(world: World, run: Run, plan: Plan, journal: Journal, percent: int, why: str) -> Run:
    kind = Kind(run.kind)
    lever = world.levers[kind]
    wanted = split(source=plan.direction.source, target=plan.direction.target, target_percent=percent)
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
    if outcome.get("page"):
        text = f"Cutover {run.cutover_id}: {result}. {reason}\n{outcome.get('next_step', '')}"
        world.tell(f"A person must look at the writer: {run.source} to {run.target}", text)
    if result not in SWITCHED:
        journal.append("writer not switched", reason, details=dict(outcome))
        return Answer(next=Next.ROLL_BACK, reason=f"the writer was not switched ({result}): {reason}"), run
    desire_forward(world.desired, world.runs, cutover_id=run.cutover_id, writer=plan.direction.writer_target)
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


def _ask(world: World, run: Run, action: AskApproval, decision: Decision) -> Run:
    """Ask once. A call that dies in between asks again: twice is better than never."""
    step = decision.position.step
    if run.asked_step == step:
        return run
    world.tell(
        f"Approval wanted: {run.source} to {run.target}",
        f"{action.question}\nWithout an answer the cutover rolls back in {duration(action.timeout_left_seconds)}.\n"
        f"Approve with: bluegreen approve --cutover {run.cutover_id} --step {step + 1}",
    )
    return world.runs.write(replace(run, asked_step=step))


def _complete(world: World, run: Run, plan: Plan, journal: Journal) -> Answer:
    why = f"{plan.direction.target} has everything"
    if run.returning:
        journal.append("rolled back", f"{why} again", after=dict(run.before))
    else:
        after = {"weights": {run.source: 0, run.target: 100}, "writer": run.writer_after}
        journal.append("complete", why, before=dict(run.before), after=after)
    phase = Phase.ROLLED_BACK if run.returning else Phase.SUCCEEDED
    # Before people are told: a rollback that came in between has the last word.
    return _finish(world, world.runs.write(replace(run, phase=phase, reason=why)))


def _finish(world: World, run: Run) -> Answer:
    if run.returning:
        world.tell(
            f"Rolled back: {run.source} to {run.target}",
            f"Cutover {run.cutover_id} was taken back step by step: {run.reason} again.",
        )
    else:
        text = f"Cutover {run.cutover_id}: {run.reason}. The way back stays open."
        world.tell(f"Complete: {run.source} to {run.target}", text)
    world.release(run.cutover_id)
    return Answer(next=Next.DONE, reason=run.reason)
