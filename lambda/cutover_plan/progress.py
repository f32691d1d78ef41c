"""Which step comes next. The only ways forward are health that was shown for long enough, and a person."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from cutover_plan.plan import Plan
from cutover_plan.position import Phase, Position
from verdict import Outcome


class OrderError(ValueError):
    """An order that cannot be followed; the message says why."""


class OrderKind(Enum):
    """What can be asked of a running cutover.

    APPROVE: pass the gate. PROMOTE: leave the watch of this step before its time. HOLD: go no further, with the
    clocks stopped. RESUME: end the hold. ABORT: roll back at once. RETURN: roll back step by step.
    """

    APPROVE = "approve"
    PROMOTE = "promote"
    HOLD = "hold"
    RESUME = "resume"
    ABORT = "abort"
    RETURN = "roll back gradually"

    @property
    def moves_forward(self) -> bool:
        return self in (OrderKind.APPROVE, OrderKind.PROMOTE, OrderKind.RESUME)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What somebody asks for.

    Attributes:
        kind: What.
        step: The step that it is meant for, so that an old approval approves nothing else.
        actor: Who, for the journal.
        automatic: The actor is a program. It may only hold or abort.
    """

    kind: OrderKind
    step: int
    actor: str
    automatic: bool

    def __post_init__(self) -> None:
        """Raises: OrderError: Nobody's order, or one forward by a program."""
        if not self.actor.strip():
            raise OrderError(f"actor: {self.actor!r}, allowed: the name of who gives the order")
        if self.automatic and self.kind.moves_forward:
            raise OrderError(
                f"{self.kind.value}: asked for by {self.actor}, allowed: a person; a program may hold or abort"
            )


@dataclass(frozen=True, kw_only=True)
class AskApproval:
    """Ask a person, and watch health meanwhile.

    Attributes:
        timeout_left_seconds: After that the cutover rolls back.
    """

    question: str
    timeout_left_seconds: int


@dataclass(frozen=True, kw_only=True)
class SetWeights:
    """Give the target this share of the requests, the source the rest, and verify it."""

    weight_percent: int


@dataclass(frozen=True, kw_only=True)
class SwitchWriter:
    """Make the target database the writer."""

    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Change nothing, and look again.

    Attributes:
        shortest_left_seconds: The step is watched for so long at the least.
        deadline_left_seconds: Without health by then the cutover rolls back.
    """

    shortest_left_seconds: int
    deadline_left_seconds: int


@dataclass(frozen=True, kw_only=True)
class Complete:
    """The target has everything; nothing is left to do."""


@dataclass(frozen=True, kw_only=True)
class RollBack:
    """Give the source everything back, at once."""


@dataclass(frozen=True, kw_only=True)
class ReturnGradually:
    """Give the source everything back by ``rollback_plan``."""


Action = AskApproval | SetWeights | SwitchWriter | Watch | Complete | RollBack | ReturnGradually


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do now.

    Attributes:
        action: After SetWeights and SwitchWriter, when done and verified, the position is ``completed`` from here.
        position: The position to keep.
        reason: One line for the journal.
        refused: Why the order was not followed; None when it was, or there was none.
    """

    action: Action
    position: Position
    reason: str
    refused: str | None = None


def start(plan: Plan, *, now_seconds: int) -> Position:
    """The position before anything was done."""
    return _enter(plan, 0, now_seconds)


def deadline_over(plan: Plan, position: Position, *, now_seconds: int) -> bool:
    """Whether holding any longer is not allowed; the verdict is asked with it."""
    if position.phase is not Phase.WATCH or position.held_since_seconds is not None:
        return False
    return position.elapsed_seconds(now_seconds) >= plan.steps[position.step].deadline_seconds


def completed(plan: Plan, position: Position, *, now_seconds: int) -> Position:
    """The position after the weights, or the writer, were changed and verified.

    Raises:
        ValueError: The phase is neither SHIFT nor SWITCH, so that nothing was to be changed.
    """
    if position.phase not in (Phase.SHIFT, Phase.SWITCH):
        raise ValueError(f"phase: {position.phase.value}, allowed: shift or switch, which change something")
    switches = position.phase is Phase.SHIFT and plan.steps[position.step].switch_writer
    phase = Phase.SWITCH if switches else Phase.WATCH
    return Position(step=position.step, phase=phase, since_seconds=now_seconds)


def hold(position: Position, *, now_seconds: int) -> Position:
    """Stop the clocks of the phase; a hold that is in force stays as it is."""
    return position if position.held_since_seconds is not None else replace(position, held_since_seconds=now_seconds)


def resume(position: Position, *, now_seconds: int) -> Position:
    """Let the clocks go on from where they stood."""
    if position.held_since_seconds is None:
        return position
    held = max(0, now_seconds - position.held_since_seconds)
    return replace(position, since_seconds=position.since_seconds + held, held_since_seconds=None)


def check_order(plan: Plan, position: Position, order: Order) -> None:
    """Raises: OrderError: The order does not go with where the cutover stands."""
    if order.kind is OrderKind.ABORT:
        return
    if position.phase is Phase.COMPLETE:
        raise OrderError(f"{order.kind.value}: the cutover is complete, allowed: abort, which rolls back")
    if order.step != position.step:
        raise OrderError(
            f"{order.kind.value}: for step {order.step + 1}, allowed: for step {position.step + 1}, which is due"
        )
    phases = {
        OrderKind.APPROVE: (Phase.GATE,),
        OrderKind.PROMOTE: (Phase.WATCH,),
        # While something is being changed a hold would leave it half changed.
        OrderKind.HOLD: (Phase.GATE, Phase.WATCH),
        OrderKind.RESUME: (Phase.GATE, Phase.WATCH),
        OrderKind.RETURN: (Phase.GATE, Phase.WATCH),
    }[order.kind]
    if position.phase not in phases:
        allowed = " or ".join(phase.value for phase in phases)
        raise OrderError(f"{order.kind.value}: in the phase {position.phase.value}, allowed: in {allowed}")
    if order.kind is OrderKind.RESUME and position.held_since_seconds is None:
        raise OrderError("resume: the cutover is not held, allowed: after hold")


def decide(
    plan: Plan, position: Position, *, now_seconds: int, outcome: Outcome, order: Order | None = None
) -> Decision:
    """What to do now. Rolling back wins over every order, and what is due to time over what is asked for.

    Args:
        outcome: Of the verdict on the side that is watched.
        order: What somebody asks for, if anything.
    """
    refused = None
    if order is not None:
        try:
            check_order(plan, position, order)
        except OrderError as error:
            refused, order = str(error), None
    decision = _decide(plan, position, now_seconds, outcome, order)
    return replace(decision, refused=refused)


def _decide(plan: Plan, position: Position, now: int, outcome: Outcome, order: Order | None) -> Decision:
    if order is not None and order.kind is OrderKind.ABORT:
        return _roll_back(position, f"{order.actor} asked to roll back")
    if position.phase is Phase.COMPLETE:
        return Decision(action=Complete(), position=position, reason=f"{plan.direction.target} has everything")
    if outcome is Outcome.ROLL_BACK:
        return _roll_back(position, "the verdict is to roll back")
    step = plan.steps[position.step]
    if position.phase is Phase.SHIFT:
        return Decision(
            action=SetWeights(weight_percent=step.weight_percent),
            position=position,
            reason=f"step {position.step + 1}: {step.weight_percent} % to {plan.direction.target}",
        )
    if position.phase is Phase.SWITCH:
        return Decision(
            action=SwitchWriter(source=plan.direction.writer_source, target=plan.direction.writer_target),
            position=position,
            reason=f"step {position.step + 1}: the writer switches to {plan.direction.writer_target}",
        )
    if order is not None and order.kind is OrderKind.RETURN:
        reason = f"{order.actor} asked to roll back gradually"
        return Decision(action=ReturnGradually(), position=position, reason=reason)
    if order is not None and order.kind is OrderKind.HOLD:
        position = hold(position, now_seconds=now)
    if order is not None and order.kind.moves_forward:
        position = resume(position, now_seconds=now)
    if position.phase is Phase.GATE:
        return _at_the_gate(plan, position, now, outcome, order)
    return _watching(plan, position, now, outcome, order)


def _at_the_gate(plan: Plan, position: Position, now: int, outcome: Outcome, order: Order | None) -> Decision:
    gate = plan.steps[position.step].gate
    left = 0 if gate is None else max(0, gate.timeout_seconds - position.elapsed_seconds(now))
    held = position.held_since_seconds is not None
    if left == 0 and not held:
        return _roll_back(position, f"nobody approved step {position.step + 1} in time")
    if order is not None and order.kind is OrderKind.APPROVE:
        passed = Position(step=position.step, phase=Phase.SHIFT, since_seconds=now)
        decision = _decide(plan, passed, now, outcome, None)
        return replace(decision, reason=f"approved by {order.actor}; {decision.reason}")
    question = "" if gate is None else gate.question
    return Decision(
        action=AskApproval(question=question, timeout_left_seconds=left),
        position=position,
        reason=f"step {position.step + 1} is held" if held else f"step {position.step + 1} waits for approval",
    )


def _watching(plan: Plan, position: Position, now: int, outcome: Outcome, order: Order | None) -> Decision:
    step = plan.steps[position.step]
    elapsed = position.elapsed_seconds(now)
    promoted = order is not None and order.kind is OrderKind.PROMOTE
    if promoted or (position.held_since_seconds is None and outcome is Outcome.PASS and elapsed >= step.watch_seconds):
        why = f"promoted by {order.actor}" if promoted and order is not None else "shown to be healthy"
        decision = _decide(plan, _after_step(plan, position.step, now), now, outcome, None)
        return replace(decision, reason=f"step {position.step + 1} {why}; {decision.reason}")
    if deadline_over(plan, position, now_seconds=now):
        return _roll_back(position, f"step {position.step + 1} was not shown to be healthy by its deadline")
    if position.held_since_seconds is not None:
        why = "is held"
    elif outcome is Outcome.PASS:
        why = "is healthy, and watched until its time is over"
    else:
        why = "is watched"
    return Decision(
        action=Watch(
            shortest_left_seconds=max(0, step.watch_seconds - elapsed),
            deadline_left_seconds=max(0, step.deadline_seconds - elapsed),
        ),
        position=position,
        reason=f"step {position.step + 1} {why}",
    )


def _roll_back(position: Position, reason: str) -> Decision:
    return Decision(action=RollBack(), position=position, reason=reason)


def _after_step(plan: Plan, step: int, now: int) -> Position:
    if step + 1 == len(plan.steps):
        return Position(step=step, phase=Phase.COMPLETE, since_seconds=now)
    return _enter(plan, step + 1, now)


def _enter(plan: Plan, step: int, now: int) -> Position:
    phase = Phase.SHIFT if plan.steps[step].gate is None else Phase.GATE
    return Position(step=step, phase=phase, since_seconds=now)
