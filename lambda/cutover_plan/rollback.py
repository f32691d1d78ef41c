"""Rolling back is moving forward with the roles exchanged: gradually by a plan, or at once in the fewest changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cutover_plan.direction import Direction
from cutover_plan.plan import Plan, Step
from cutover_plan.position import Phase, Position
from cutover_plan.progress import SetWeights, SwitchWriter


@dataclass(frozen=True, kw_only=True)
class WaitForDns:
    """Let resolvers forget the old weights before the next change."""

    seconds: int


def rollback_plan(plan: Plan, position: Position) -> Plan:
    """The plan back to where the cutover began.

    Every change that was made, or may have been made, is taken back, the last one first. Nobody is asked on the way:
    it is as urgent as it is gradual. A weight is watched as long as the plan watches the first step with as much.
    """
    taken_back = list(_taken_back(plan, position))
    if not taken_back:
        taken_back = [(100, False)]
    steps = tuple(_step(plan, weight, switch_writer=switches) for weight, switches in taken_back)
    return Plan(direction=plan.direction.exchanged, steps=steps, dns=plan.dns)


def immediate_rollback(plan: Plan, position: Position) -> tuple[SetWeights | SwitchWriter | WaitForDns, ...]:
    """The changes that put everything back at once, in this order; the weights are the target's.

    Between environments the weights come first, because that ends the harm, and both environments write to whichever
    database is the writer. The legacy system writes to its own database only: that is the writer again before the
    legacy system gets a request, and as long as resolvers still send it some.
    """
    switched = any(switches for _, switches in _taken_back(plan, position))
    weights = SetWeights(weight_percent=0)
    if not switched:
        return (weights,)
    writer = SwitchWriter(source=plan.direction.writer_target, target=plan.direction.writer_source)
    if plan.direction is Direction.LEGACY_TO_AWS:
        return writer, weights
    if plan.direction is Direction.AWS_TO_LEGACY:
        return weights, WaitForDns(seconds=plan.dns.shortest_watch_seconds), writer
    return weights, writer


def _taken_back(plan: Plan, position: Position) -> Iterator[tuple[int, bool]]:
    """Weight of the side that gets the traffic back, and whether the writer switches there."""
    for number in range(position.step, -1, -1):
        step = plan.steps[number]
        here = number == position.step
        # A change that is under way may have been made.
        if step.switch_writer and not (here and position.phase in (Phase.GATE, Phase.SHIFT)):
            yield 100 - step.weight_percent, True
        before = plan.steps[number - 1].weight_percent if number else 0
        if step.weight_percent != before and not (here and position.phase is Phase.GATE):
            yield 100 - before, False


def _step(plan: Plan, weight_percent: int, *, switch_writer: bool) -> Step:
    alike = next(
        (
            each
            for each in plan.steps
            if each.weight_percent >= weight_percent and (each.switch_writer or not switch_writer)
        ),
        plan.steps[-1],
    )
    return Step(
        weight_percent=weight_percent,
        watch_seconds=alike.watch_seconds,
        deadline_seconds=alike.deadline_seconds,
        switch_writer=switch_writer,
    )
