"""Plans from options: pure, and held to the runtime's own rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from cutover_plan import Direction, Gate, Plan, PlanError, Step, default_plan, parse_plan
from cutover_plan.plan import LONGEST_PLAN_SECONDS
from ops.bluegreen.errors import bad_input

ENVIRONMENTS: Final = ("blue", "green")


def read_plan(text: str, direction: Direction) -> Plan:
    """The plan in a JSON document.

    Raises:
        CommandError: one line for each mistake.
    """
    try:
        return parse_plan(text, direction=direction)
    except PlanError as error:
        raise bad_input("--plan:\n" + "\n".join(f"  {each}" for each in error.mistakes)) from None


def without_writer(plan: Plan) -> Plan:
    """The plan without the switch of the writer; a step that did nothing else goes."""
    steps: list[Step] = []
    before = 0
    for step in plan.steps:
        if not step.switch_writer:
            steps.append(step)
        elif step.weight_percent != before:
            steps.append(replace(step, switch_writer=False, gate=None))
        before = step.weight_percent
    return replace(plan, steps=tuple(steps))


def asking_beyond(plan: Plan, percent: int) -> Plan:
    """The plan that goes up to ``percent`` by itself, and asks a person before every step beyond.

    The answers may take as long as the runtime can wait for a whole plan, shared evenly among the questions.

    Raises:
        CommandError: the plan has no step at or below the percentage.
    """
    if not any(step.weight_percent <= percent for step in plan.steps):
        first = plan.steps[0].weight_percent
        raise bad_input(f"--up-to: {percent}, allowed: {first} to 100, because the first step is {first} %")
    return _with_gates(plan, [number for number, step in enumerate(plan.steps) if step.weight_percent > percent])


def _with_gates(plan: Plan, numbers: Sequence[int]) -> Plan:
    """The plan with a gate before each of the steps, as patient as a plan may be."""
    others = [step for number, step in enumerate(plan.steps) if number not in numbers]
    taken = sum(step.deadline_seconds for step in plan.steps)
    taken += sum(step.gate.timeout_seconds for step in others if step.gate)
    if not numbers or taken >= LONGEST_PLAN_SECONDS:
        return plan
    patience = (LONGEST_PLAN_SECONDS - taken) // len(numbers)
    return replace(
        plan,
        steps=tuple(
            replace(step, gate=_gate(step, plan.direction.target, patience)) if number in numbers else step
            for number, step in enumerate(plan.steps)
        ),
    )


def _gate(step: Step, target: str, wait_seconds: int) -> Gate:
    question = step.gate.question if step.gate else f"Give {target} {step.weight_percent} % of the requests?"
    return Gate(question=question, timeout_seconds=wait_seconds)


def in_steps(plan: Plan, weights: Sequence[int], *, watch_seconds: int | None) -> Plan:
    """The plan with other weights, and another watch time if one is given; the writer switches where it did.

    Raises:
        CommandError: the weights break a rule of plans.
    """
    document: dict[str, Any] = {"steps": []}
    switch = next((step for step in plan.steps if step.switch_writer), None)
    chosen: list[tuple[int, bool]] = [(weight, False) for weight in weights]
    if switch is not None:
        place = sum(1 for weight in weights if weight <= switch.weight_percent)
        at_weight = switch.weight_percent
        if plan.direction in (Direction.BLUE_TO_GREEN, Direction.GREEN_TO_BLUE):
            # Both environments write to whichever database is the writer: at the weight that is reached by then.
            at_weight = weights[place - 1] if place else 0
        chosen.insert(place, (at_weight, True))
    for weight, switches in chosen:
        step: dict[str, Any] = {"weight_percent": weight, "switch_writer": switches}
        if watch_seconds is not None:
            step["watch_seconds"] = watch_seconds
        if switches and switch is not None and switch.gate is not None:
            step["gate"] = {"question": switch.gate.question, "timeout_seconds": switch.gate.timeout_seconds}
        document["steps"].append(step)
    if plan.direction in (Direction.LEGACY_TO_AWS, Direction.AWS_TO_LEGACY):
        document["dns"] = plan.dns.to_json()
    try:
        return parse_plan(document, direction=plan.direction)
    except PlanError as error:
        raise bad_input("--steps:\n" + "\n".join(f"  {each}" for each in error.mistakes)) from None


def writer_first(direction: Direction) -> Plan:
    """The writer switches while the traffic stays where it is; then a person is asked before the traffic follows.

    The runtime knows no cutover that ends with half of what it moves: until the traffic has followed, or the writer
    was taken back, this one is under way.
    """
    usual = default_plan(direction)
    switch = next(step for step in usual.steps if step.switch_writer)
    rest = [step for step in usual.steps if not step.switch_writer]
    first = replace(switch, weight_percent=0, gate=None)
    return _with_gates(replace(usual, steps=(first, *rest)), [1])


def other(environment: str) -> str:
    """The other environment."""
    return next(each for each in ENVIRONMENTS if each != environment)


def parse_weights(text: str) -> list[int]:
    """``10,50,100`` as numbers.

    Raises:
        CommandError: it is no such list.
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise bad_input(f"--steps: {text!r}, allowed: whole percents with commas, such as 10,50,100") from None
    return found


def usual(parameter: str, direction: Direction, *, chain: Sequence[str]) -> Plan:
    """The plan that the runtime follows when it is given none, as the preflight reads it.

    Args:
        parameter: the plan of the direction in Parameter Store; ``{}`` means the defaults.
        chain: the databases that the stage has.

    Raises:
        CommandError: the parameter holds no plan, or one that cannot be.
    """
    try:
        plan = parse_plan(parameter, direction=direction)
    except PlanError as error:
        raise bad_input(
            f"the plan of {direction} in Parameter Store:\n" + "\n".join(f"  {each}" for each in error.mistakes),
            next_step="correct the parameter, or give a plan with --plan",
        ) from None
    missing = [each for each in (direction.writer_source, direction.writer_target) if each not in chain]
    if not missing or not plan.switches_writer:
        return plan
    if plan.steps != default_plan(direction).steps:
        raise bad_input(
            f"the plan of {direction} switches the writer, but database {missing[0]} is not in the chain "
            f"{', '.join(chain)}",
            next_step="correct the parameter, or give a plan with --plan",
        )
    return replace(plan, steps=default_plan(direction, switch_writer=False).steps)
