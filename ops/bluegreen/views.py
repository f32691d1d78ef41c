"""What a stored cutover means to an operator now: pure functions of the run, the plan and the clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from cutover_plan import Direction, OrderKind, Plan, Position, describe, parse_plan, rollback_plan
from cutover_plan import Phase as StepPhase
from cutover_state.journal import Entry as JournalEntry
from cutover_state.run import Phase, Run
from ops.bluegreen import documents as d
from traffic.weights import shown
from verdict import Settings, expected_requests
from verdict.wording import duration

LEGACY: Final = "legacy"
HEALTHY_RATE: Final = 0.001
"""Share of bad requests that is assumed for the expected duration, as the plan's defaults assume it."""

PAUSE: Final = "while it switches, payments wait for about as long as replication lags, and none is refused"

CHECKS_BEFORE: Final = (
    "no other cutover is under way, and the source serves everything, without drift",
    "exactly one database admits writers, and it is the expected one; all databases answer and their schemas agree",
    "no watched alarm fires or lacks data",
    "target and source run all their tasks, nothing is being deployed, and every target is healthy",
    "all replication tasks run, lag less than 5 s, and found no row that differs",
    "no rotation of a secret is under way, due within a day, or still owes a restart",
)
"""What the preflight looks at (``cutover_preflight.checks``)."""


def at(seconds: float) -> datetime:
    """Epoch seconds as a time."""
    return datetime.fromtimestamp(seconds, UTC)


def plan_of(run: Run) -> Plan:
    """The plan of a cutover."""
    return parse_plan(run.plan)


def cutover_now(run: Run, *, now: float) -> d.Cutover:
    """The cutover as an operator sees it."""
    plan, position = plan_of(run), Position.from_json(run.position)
    forward = run.phase in (Phase.PREPARING, Phase.SHIFTING)
    step = plan.steps[min(position.step, len(plan.steps) - 1)]
    reached = position.phase in (StepPhase.SWITCH, StepPhase.WATCH, StepPhase.COMPLETE)
    weight = step.weight_percent if reached else (plan.steps[position.step - 1].weight_percent if position.step else 0)
    waiting = forward and position.phase is StepPhase.GATE
    return d.Cutover(
        cutover_id=run.cutover_id,
        source=run.source,
        target=run.target,
        kind=run.kind,
        returning=run.returning,
        phase=run.phase.value,
        over=run.phase.is_over,
        step=position.step + 1,
        steps=len(plan.steps),
        step_phase=position.phase.value,
        weight_percent=weight,
        question=step.gate.question if waiting and step.gate else None,
        held=position.held_since_seconds is not None,
        order=f"{run.order.get('kind')} by {run.order.get('actor')}" if run.order else None,
        left=time_left(plan, position, now=int(now)) if forward else None,
        requested_by=run.requested_by,
        started_at=at(run.started_at),
        looked_at=at(run.looked_at) if run.looked_at else None,
        writer_before=str(run.before.get("writer", "")),
        writer_after=run.writer_after,
        reason=run.reason,
        next_step=_next_step(run, position, forward=forward),
    )


def _next_step(run: Run, position: Position, *, forward: bool) -> str:
    if run.phase is Phase.STUCK:
        return "bluegreen rollback, once the database can be reached again (runbook: Controllers)"
    if run.phase is Phase.ROLLING_BACK:
        return "wait, or call bluegreen rollback again: done twice it is done once"
    if not forward:
        return ""
    if position.held_since_seconds is not None:
        return "bluegreen resume goes on; bluegreen rollback takes it back"
    if position.phase is StepPhase.GATE:
        return f"bluegreen approve --step {position.step + 1} goes on; bluegreen rollback takes it back"
    return "bluegreen pause holds it; bluegreen rollback takes it back"


def time_left(plan: Plan, position: Position, *, now: int) -> d.TimeLeft:
    """How long the phase, and the whole cutover, take at least and at most, counted from now."""
    if position.phase is StepPhase.COMPLETE:
        return d.TimeLeft(phase_least_seconds=0, phase_most_seconds=0, cutover_least_seconds=0, cutover_most_seconds=0)
    step, elapsed = plan.steps[position.step], position.elapsed_seconds(now)
    later = plan.steps[position.step + 1 :]
    least_later = sum(each.watch_seconds for each in later)
    most_later = sum(each.deadline_seconds + (each.gate.timeout_seconds if each.gate else 0) for each in later)
    if position.phase is StepPhase.GATE:
        left = max(0, (step.gate.timeout_seconds if step.gate else 0) - elapsed)
        return d.TimeLeft(
            phase_least_seconds=0,
            phase_most_seconds=left,
            cutover_least_seconds=step.watch_seconds + least_later,
            cutover_most_seconds=left + step.deadline_seconds + most_later,
        )
    if position.phase is StepPhase.WATCH:
        least, most = max(0, step.watch_seconds - elapsed), max(0, step.deadline_seconds - elapsed)
        return d.TimeLeft(
            phase_least_seconds=least,
            phase_most_seconds=most,
            cutover_least_seconds=least + least_later,
            cutover_most_seconds=most + most_later,
        )
    return d.TimeLeft(
        phase_least_seconds=0,
        phase_most_seconds=0,
        cutover_least_seconds=step.watch_seconds + least_later,
        cutover_most_seconds=step.deadline_seconds + most_later,
    )


def shares(weights: Mapping[str, int], records: Mapping[str, int]) -> dict[str, float]:
    """Share of all payments by who serves them, in percent."""
    into_aws = records.get("aws", 0)
    return {
        LEGACY: float(records.get(LEGACY, 0)),
        **{side: round(into_aws * weight / 100, 2) for side, weight in weights.items()},
    }


def drift(found: Mapping[str, int], should: Mapping[str, int] | None, what: str) -> list[str]:
    """The difference between what is set and what should be, in words."""
    if should is None or dict(found) == dict(should):
        return []
    return [f"{what} are {shown(found)} and should be {shown(should)}"]


def entry(found: JournalEntry) -> d.Entry:
    """An entry of the journal as the documents have it."""
    return d.Entry(
        at=found.at,
        cutover_id=found.cutover_id,
        who=found.who,
        what=found.what,
        why=found.why,
        before=dict(found.before) if found.before is not None else None,
        after=dict(found.after) if found.after is not None else None,
        details=dict(found.details),
    )


def plan_document(plan: Plan, settings: Settings, *, requests_per_second: float | None) -> d.Plan:
    """A plan with its duration and with what is checked."""
    needed = expected_requests(settings, rate=HEALTHY_RATE)
    expected = (
        None
        if requests_per_second is None
        else round(plan.expected_seconds(requests_per_second=requests_per_second, requests_to_show_health=needed))
    )
    return d.Plan(
        source=plan.direction.source,
        target=plan.direction.target,
        steps=[
            d.Step(
                weight_percent=each.weight_percent,
                watch_seconds=each.watch_seconds,
                deadline_seconds=each.deadline_seconds,
                switch_writer=each.switch_writer,
                question=each.gate.question if each.gate else None,
                gate_timeout_seconds=each.gate.timeout_seconds if each.gate else None,
            )
            for each in plan.steps
        ],
        least_seconds=plan.shortest_seconds,
        most_seconds=plan.longest_seconds,
        expected_seconds=expected,
        requests_per_second=requests_per_second,
        checks=[
            *(f"before: {each}" for each in CHECKS_BEFORE),
            *(f"during: {each}" for each in _checks_during(settings)),
        ],
        description=describe(
            plan,
            requests_per_second=requests_per_second,
            requests_to_show_health=None if requests_per_second is None else needed,
        ),
    )


def _checks_during(settings: Settings) -> list[str]:
    limits = settings.limits
    found = [
        f"bad requests (errors and slow answers): {settings.tolerated_percent:g} % are tolerated, "
        f"{settings.bad_percent:g} % are found and taken back",
    ]
    if limits.healthy_hosts_minimum is not None:
        found.append(f"at least {limits.healthy_hosts_minimum} healthy targets")
    if limits.replication_lag_seconds_maximum is not None:
        found.append(f"replication lags by at most {limits.replication_lag_seconds_maximum} s")
    if limits.validation_failures_maximum is not None:
        found.append(f"at most {limits.validation_failures_maximum} rows that differ between the databases")
    found.append("no alarm of the target fires")
    found.append(f"nothing that is watched is without data for more than {duration(limits.missing_seconds_maximum)}")
    return found


def begin_effect(plan: Plan) -> list[str]:
    """What a cutover with this plan changes, in sentences."""
    source, target = plan.direction.source, plan.direction.target
    weights = sorted({step.weight_percent for step in plan.steps if step.weight_percent})
    what = "DNS sends" if "aws" in (source, target) else "the load balancer sends"
    lines = [f"{what} {target} {', '.join(str(each) for each in weights)} % of the payments, and {source} the rest"]
    switch = next((step for step in plan.steps if step.switch_writer), None)
    if switch is None:
        lines.append("the writing database stays where it is")
    else:
        asked = "after an approval, " if switch.gate else ""
        lines.append(
            f"{asked}the writing database switches from {plan.direction.writer_source} to "
            f"{plan.direction.writer_target} at {switch.weight_percent} %; {PAUSE}"
        )
    lines.append(f"it goes back to {source} by itself as soon as {target} is shown to be bad")
    return lines


def rollback_effect(run: Run, *, accept_data_loss: bool = False, gradual: bool = False) -> list[str]:
    """What a rollback of the cutover changes, in the order in which it does, in sentences."""
    moves = run.writer_after != run.before.get("writer")
    weights = f"weights go back to {shown(run.before.get('weights', {}))}"
    writer = (
        f"the writing database goes back from {run.writer_after} to {run.before.get('writer')}, if it was switched; "
        f"{PAUSE}"
    )
    if gradual:
        lines = ["from the next look on, what this cutover has changed is taken back one step after the other"]
        lines += describe(rollback_plan(plan_of(run), Position.from_json(run.position))).splitlines()
    else:
        order = [writer, weights] if run.source == LEGACY else [weights, writer]
        lines = [each for each in order if moves or each == weights]
        if not run.phase.is_over:
            lines.append(f"the execution of cutover {run.cutover_id} is stopped")
    if accept_data_loss:
        lines.append(
            f"if {run.writer_after} cannot be reached, {run.before.get('writer')} becomes the writer all the same: "
            "payments that it had not received are lost"
        )
    return lines


def order_effect(kind: OrderKind, run: Run) -> list[str]:
    """What an order makes a cutover do, in sentences."""
    plan, position = plan_of(run), Position.from_json(run.position)
    source, target = plan.direction.source, plan.direction.target
    step = plan.steps[min(position.step, len(plan.steps) - 1)]
    before = plan.steps[position.step - 1].weight_percent if position.step else 0
    if kind is OrderKind.APPROVE:
        lines = []
        if step.weight_percent != before:
            lines.append(f"{target} gets {step.weight_percent} % of the payments, {source} the rest")
        if step.switch_writer:
            lines.append(
                f"the writing database switches from {plan.direction.writer_source} to {plan.direction.writer_target}; "
                f"{PAUSE}"
            )
        return lines or ["the step is watched"]
    if kind is OrderKind.PROMOTE:
        if position.step + 1 == len(plan.steps):
            return [f"{target} counts as healthy, and the cutover is complete"]
        following = plan.steps[position.step + 1]
        asked = " after the approval that it asks for" if following.gate else ""
        switch = ", and the writing database switches" if following.switch_writer else ""
        return [
            f"the watch of step {position.step + 1} ends before its time, although health may not be shown yet",
            f"step {position.step + 2} follows{asked}: {following.weight_percent} % to {target}{switch}",
        ]
    if kind is OrderKind.HOLD:
        return [f"{target} keeps {before if position.phase is StepPhase.GATE else step.weight_percent} % of the "
                "payments, and the clocks of the step stand still; alarms still take it back"]  # fmt: skip
    if kind is OrderKind.RESUME:
        return ["the clocks of the step go on from where they stood"]
    return [*rollback_effect(run), "it happens at the controller's next look, within a minute"]


def direction_between(source: str, target: str) -> Direction:
    """The direction from source to target, which are neighbours."""
    found = Direction.of(source, target)
    assert found is not None, f"{source} and {target} are neighbours"
    return found
