"""The plan in words, for operators."""

from __future__ import annotations

from cutover_plan.direction import Pointer
from cutover_plan.plan import Plan, Step
from verdict.wording import duration


def describe(
    plan: Plan, *, requests_per_second: float | None = None, requests_to_show_health: float | None = None
) -> str:
    """Several lines: what happens, when, and what ends it.

    Args:
        requests_per_second: All requests, for the expected duration; with ``requests_to_show_health``.
        requests_to_show_health: What the verdict needs on average (``verdict.expected_requests``).
    """
    steps = len(plan.steps)
    lines = [
        f"From {plan.direction}: {steps} {'step' if steps == 1 else 'steps'}, "
        f"at least {duration(plan.shortest_seconds)}, at most {duration(plan.longest_seconds)}."
    ]
    if requests_per_second is not None and requests_to_show_health is not None:
        expected = plan.expected_seconds(
            requests_per_second=requests_per_second, requests_to_show_health=requests_to_show_health
        )
        lines.append(
            f"At {requests_per_second:g} requests a second about {duration(expected)} are expected, besides the time "
            "that approvals take."
        )
    width = len(str(steps))
    before = 0
    for number, step in enumerate(plan.steps, start=1):
        lines.append(f"{number:>{width}}. {_step(plan, step, before=before)}")
        before = step.weight_percent
    if not plan.switches_writer:
        lines.append("The writer stays where it is.")
    if plan.direction.pointer is Pointer.FRONT_DOOR:
        lines.append(
            f"DNS answers live for {plan.dns.ttl_seconds} s, so that each step is watched for at least "
            f"{duration(plan.dns.shortest_watch_seconds)}."
        )
    lines.append(
        "A step ends when its time is over and health is shown. Whatever is not known holds; at the deadline, beyond a "
        "hard limit, or when "
        f"{plan.direction.target} is shown to be bad, everything goes back to {plan.direction.source}."
    )
    return "\n".join(lines)


def _step(plan: Plan, step: Step, *, before: int) -> str:
    parts = []
    if step.gate is not None:
        parts.append(
            f'ask "{step.gate.question}" and roll back without an answer in {duration(step.gate.timeout_seconds)}'
        )
    if step.weight_percent != before:
        parts.append(f"{step.weight_percent} % of the requests to {plan.direction.target}")
    if step.switch_writer:
        parts.append(f"the writer switches from {plan.direction.writer_source} to {plan.direction.writer_target}")
    parts.append(f"watch for {duration(step.watch_seconds)}, deadline {duration(step.deadline_seconds)}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
