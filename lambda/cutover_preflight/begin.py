"""Beginning a cutover: look at everything, then say why not, or write down that it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cutover_plan import Direction, Plan, Pointer, start
from cutover_preflight.checks import Facts, Limits, reasons_against
from cutover_state.journal import Journal
from cutover_state.lease import LeaseTakenError
from cutover_state.levers import Kind
from cutover_state.run import Phase, Run, RunConflictError, RunStore
from observation.traffic_metrics import MINUTE
from verdict import Settings


@dataclass(frozen=True, kw_only=True)
class World:
    """What beginning acts on.

    Attributes:
        look: reads the facts for a direction.
        verdict: settings of the verdict.
        lease: takes or extends the lease for a cutover.
        release: gives it up.
        tell: notifies people of a subject and a text.
        journal: the journal of a cutover.
        now: epoch seconds.
    """

    runs: RunStore
    look: Callable[[Direction], Facts]
    verdict: Settings
    limits: Limits
    lease: Callable[[str], None]
    release: Callable[[str], None]
    tell: Callable[[str, str], None]
    journal: Callable[[str], Journal]
    now: Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of it.

    Attributes:
        begun: whether the cutover runs now.
        reasons: why not, all of them.
    """

    begun: bool
    cutover_id: str
    reasons: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"begun": self.begun, "cutover_id": self.cutover_id, "reasons": list(self.reasons)}


def kind_of(direction: Direction) -> Kind:
    """Which lever a direction moves."""
    return Kind.FRONT_DOOR if direction.pointer is Pointer.FRONT_DOOR else Kind.ENVIRONMENT


def rehearse(world: World, plan: Plan) -> tuple[str, ...]:
    """Why a cutover could not begin now; changes nothing."""
    return _reasons(world, plan, world.look(plan.direction))


def _reasons(world: World, plan: Plan, facts: Facts) -> tuple[str, ...]:
    return (*reasons_against(facts, world.limits), *_unfit(world.verdict, plan, facts))


def _unfit(verdict: Settings, plan: Plan, facts: Facts) -> Iterator[str]:
    """What of the plan or of the settings cannot be done as things stand."""
    if verdict.period_seconds != MINUTE:
        yield f"the verdict's period_seconds is {verdict.period_seconds}: the load balancer counts by {MINUTE} s only"
    if facts.dns_ttl_seconds is not None and plan.dns.ttl_seconds < facts.dns_ttl_seconds:
        yield (
            f"the plan's dns.ttl_seconds is {plan.dns.ttl_seconds} and the records have a TTL of "
            f"{facts.dns_ttl_seconds} s: give that to the plan, or lower the TTL and wait until the old one is over"
        )
    direction = plan.direction
    if plan.switches_writer and facts.expected_writer not in (direction.writer_source, direction.writer_target):
        yield (
            f"the plan switches the writer from {direction.writer_source} to {direction.writer_target}, "
            f"but it is {facts.expected_writer}: give a plan that does not switch it"
        )


def begin(
    world: World, plan: Plan, *, cutover_id: str, requested_by: str, execution_arn: str, details: Mapping[str, Any]
) -> Answer:
    """Begin the cutover unless something speaks against it. Calling it again for the same cutover changes nothing.

    The lease comes first: from then on no rotation begins, and what is looked at stays as it is.
    """
    already = world.runs.read()
    if already is not None and already.cutover_id == cutover_id:
        return Answer(begun=not already.phase.is_over, cutover_id=cutover_id, reasons=())
    journal = world.journal(cutover_id)
    try:
        world.lease(cutover_id)
    except LeaseTakenError as error:
        reasons = (str(error), *_reasons(world, plan, world.look(plan.direction)))
        return _refuse(world, journal, plan, cutover_id, requested_by, reasons)
    try:
        facts = world.look(plan.direction)
    except Exception:
        # What cannot even be looked at must not keep rotations waiting.
        world.release(cutover_id)
        raise
    reasons = _reasons(world, plan, facts)
    if reasons:
        world.release(cutover_id)
        return _refuse(world, journal, plan, cutover_id, requested_by, reasons)
    kind, now = kind_of(plan.direction), world.now()
    before = {"weights": dict(facts.weights), "writer": facts.expected_writer}
    run = Run(
        cutover_id=cutover_id,
        kind=kind.value,
        source=plan.direction.source,
        target=plan.direction.target,
        plan=plan.to_json(),
        phase=Phase.PREPARING,
        requested_by=requested_by,
        started_at=now,
        before=before,
        writer_after=plan.direction.writer_target if plan.switches_writer else facts.expected_writer,
        position=start(plan, now_seconds=int(now)).to_json(),
        verdict=world.verdict.to_json(),
        looked_at=now,
        execution_arn=execution_arn,
        reason="nothing speaks against it",
    )
    # An intention: a call that dies after the next line finds the run there, and would not say so any more.
    journal.append(
        "begin", "nothing speaks against it", before=before, after=plan.to_json(), details=details, who=requested_by
    )
    try:
        world.runs.begin(run)
    except RunConflictError as error:
        world.release(cutover_id)
        return _refuse(world, journal, plan, cutover_id, requested_by, (str(error),))
    world.tell(
        f"Begun: {plan.direction.source} to {plan.direction.target}",
        f"Cutover {cutover_id} was begun by {requested_by}.",
    )
    return Answer(begun=True, cutover_id=cutover_id, reasons=())


def _refuse(
    world: World, journal: Journal, plan: Plan, cutover_id: str, requested_by: str, reasons: tuple[str, ...]
) -> Answer:
    journal.append("refuse to begin", "; ".join(reasons), details={"reasons": list(reasons)}, who=requested_by)
    world.tell(
        f"Not begun: {plan.direction.source} to {plan.direction.target}",
        f"Cutover {cutover_id}, asked for by {requested_by}, was not begun:\n"
        + "\n".join(f"- {each}" for each in reasons),
    )
    return Answer(begun=False, cutover_id=cutover_id, reasons=reasons)
