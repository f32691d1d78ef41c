"""The plan that is followed when nobody writes one. Every default of a plan stands here.

The watch times follow from how many requests it takes to show health (about 430 at 0.1 % bad requests): with 50,000
requests an hour and a weight of 1 % that is 52 minutes, with 5 % ten, with 10 % five. Beyond that they leave caches,
pools and scaling time to show themselves. Each deadline leaves room for a quarter of the usual traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cutover_plan.direction import Direction
from cutover_plan.plan import Gate, Plan, Step

MINUTE: Final = 60
HOUR: Final = 3600

WATCH_SECONDS: Final[Mapping[int, int]] = {
    1: HOUR,
    5: 15 * MINUTE,
    10: 15 * MINUTE,
    25: 15 * MINUTE,
    50: 30 * MINUTE,
    100: 30 * MINUTE,
}
"""Watch time by weight; a weight in between has that of the next lower one."""

WRITER_WATCH_SECONDS: Final = 15 * MINUTE
DEADLINE_IN_WATCHES: Final = 4
GATE_TIMEOUT_SECONDS: Final = 2 * HOUR


def default_watch_seconds(weight_percent: int, *, switch_writer: bool) -> int:
    if switch_writer:
        return WRITER_WATCH_SECONDS
    return WATCH_SECONDS[max((each for each in WATCH_SECONDS if each <= weight_percent), default=1)]


def default_question(direction: Direction, weight_percent: int, *, switch_writer: bool) -> str:
    if switch_writer:
        return f"Switch the writing database from {direction.writer_source} to {direction.writer_target}?"
    return f"Give {direction.target} {weight_percent} % of the requests?"


def default_step(direction: Direction, weight_percent: int, *, switch_writer: bool = False) -> Step:
    """A step with its default times; the switch of the writer asks a person first."""
    watch = default_watch_seconds(weight_percent, switch_writer=switch_writer)
    question = default_question(direction, weight_percent, switch_writer=switch_writer)
    return Step(
        weight_percent=weight_percent,
        watch_seconds=watch,
        deadline_seconds=DEADLINE_IN_WATCHES * watch,
        gate=Gate(question=question, timeout_seconds=GATE_TIMEOUT_SECONDS) if switch_writer else None,
        switch_writer=switch_writer,
    )


def default_plan(direction: Direction, *, switch_writer: bool = True) -> Plan:
    """1, 5, 10, 25, 50, writer, 100.

    The legacy system writes to its own database only. So between legacy and AWS the writer switches while legacy has
    no traffic: after everything came to AWS, and before anything goes back.

    Args:
        switch_writer: False for the front door of a system whose legacy database is not in the chain.
    """
    writer_at = {Direction.LEGACY_TO_AWS: 100, Direction.AWS_TO_LEGACY: 0}.get(direction, 50)
    writer = [default_step(direction, writer_at, switch_writer=True)] if switch_writer else []
    weights = [default_step(direction, weight) for weight in WATCH_SECONDS]
    before = [step for step in weights if step.weight_percent <= writer_at]
    after = [step for step in weights if step.weight_percent > writer_at]
    return Plan(direction=direction, steps=(*before, *writer, *after))
