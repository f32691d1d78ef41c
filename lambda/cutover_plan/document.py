"""Reading a plan from JSON: an SSM parameter, or the input of the state machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checked_json import DocumentError, Reader, parse_object
from cutover_plan.defaults import (
    DEADLINE_IN_WATCHES,
    GATE_TIMEOUT_SECONDS,
    default_plan,
    default_question,
    default_watch_seconds,
)
from cutover_plan.direction import Direction, Pointer
from cutover_plan.plan import (
    LONGEST_DNS_SECONDS,
    LONGEST_QUESTION,
    LONGEST_SECONDS,
    MOST_STEPS,
    Dns,
    Gate,
    Plan,
    PlanError,
    Step,
    plan_mistakes,
)


def parse_plan(document: str | Mapping[str, Any], *, direction: Direction | None = None) -> Plan:
    """The plan in a JSON document; what it leaves out has its default.

    Args:
        document: JSON text, or the object that was read from it.
        direction: The direction that is wanted; without it the document must name ``from`` and ``to``.

    Raises:
        PlanError: One line for each mistake: key, value, what is allowed.
    """
    try:
        members = parse_object(document, name="plan") if isinstance(document, str) else document
    except DocumentError as error:
        raise PlanError(error.mistakes) from None
    reader = Reader(members)
    named = _direction(reader, direction)
    # Everything else is read even when the direction is not known, so that all mistakes are found at once.
    assumed = named or Direction.BLUE_TO_GREEN
    dns = _dns(reader, assumed)
    steps = _steps(reader, assumed)
    reader.finish()
    if steps:
        reader.mistakes.extend(plan_mistakes(assumed, steps, dns))
    if reader.mistakes or named is None:
        raise PlanError(reader.mistakes)
    if not steps:
        default = default_plan(named)
        return Plan(direction=named, steps=default.steps, dns=dns or Dns())
    return Plan(direction=named, steps=tuple(step for step in steps if step is not None), dns=dns or Dns())


def _direction(reader: Reader, wanted: Direction | None) -> Direction | None:
    if wanted is not None and not reader.has("from") and not reader.has("to"):
        return wanted
    sides = sorted({each.source for each in Direction})
    before = len(reader.mistakes)
    source, target = reader.choice("from", allowed=sides), reader.choice("to", allowed=sides)
    if len(reader.mistakes) > before:
        return None
    found = Direction.of(source, target)
    if found is None:
        targets = " or ".join(each.target for each in Direction if each.source == source)
        reader.note("to", f"{targets}, the neighbour of {source}")
    elif wanted is not None and found is not wanted:
        reader.mistakes.append(f"from, to: {found}, allowed: {wanted}, which was asked for")
    return found


def _dns(reader: Reader, direction: Direction) -> Dns | None:
    if direction.pointer is Pointer.ENVIRONMENT and reader.has("dns"):
        reader.note("dns", "nothing, because the weights of environments take effect without DNS")
        reader.object_at("dns")
        return None
    before = len(reader.mistakes)
    inner = reader.object_at("dns")
    default = Dns()
    if inner is None:
        return default if len(reader.mistakes) == before else None
    dns = Dns(
        ttl_seconds=inner.integer("ttl_seconds", default=default.ttl_seconds, minimum=1, maximum=LONGEST_DNS_SECONDS),
        insync_seconds=inner.integer(
            "insync_seconds", default=default.insync_seconds, minimum=1, maximum=LONGEST_DNS_SECONDS
        ),
    )
    inner.finish()
    return dns if len(reader.mistakes) == before else None


def _steps(reader: Reader, direction: Direction) -> list[Step | None]:
    members = reader.objects_at("steps", most=MOST_STEPS)
    return [None if each is None else _step(each, direction) for each in members]


def _step(reader: Reader, direction: Direction) -> Step | None:
    before = len(reader.mistakes)
    weight = reader.integer("weight_percent", minimum=0, maximum=100)
    switch_writer = reader.boolean("switch_writer", default=False)
    watch = reader.integer(
        "watch_seconds",
        default=default_watch_seconds(weight, switch_writer=switch_writer),
        minimum=1,
        maximum=LONGEST_SECONDS,
    )
    deadline = reader.integer(
        "deadline_seconds",
        default=min(DEADLINE_IN_WATCHES * watch, LONGEST_SECONDS),
        minimum=1,
        maximum=LONGEST_SECONDS,
    )
    inner = reader.object_at("gate")
    gate = None
    if inner is not None:
        gate = Gate(
            question=inner.line(
                "question",
                default=default_question(direction, weight, switch_writer=switch_writer),
                longest=LONGEST_QUESTION,
            ),
            timeout_seconds=inner.integer(
                "timeout_seconds", default=GATE_TIMEOUT_SECONDS, minimum=1, maximum=LONGEST_SECONDS
            ),
        )
        inner.finish()
    reader.finish()
    if len(reader.mistakes) > before:
        return None
    return Step(
        weight_percent=weight,
        watch_seconds=watch,
        deadline_seconds=deadline,
        gate=gate,
        switch_writer=switch_writer,
    )
