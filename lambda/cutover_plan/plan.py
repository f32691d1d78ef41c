"""The plan and the rules that every plan keeps, wherever it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from checked_json import DocumentError, shown
from cutover_plan.direction import Direction, Pointer

MOST_STEPS: Final = 50
LONGEST_SECONDS: Final = 5 * 86_400
LONGEST_PLAN_SECONDS: Final = 5 * 86_400
"""All steps and gates at their limits. The looks that one execution of the state machine has room for last a day more
(``cutover_controller.pace``), which is left for holding."""

LONGEST_QUESTION: Final = 200
LONGEST_DNS_SECONDS: Final = 3600


class PlanError(DocumentError):
    """A plan that cannot be used; ``mistakes`` has one line for each: key, value, what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """An approval by a person, asked for before anything of the step is changed.

    Attributes:
        question: What is asked, on one line.
        timeout_seconds: Without an answer by then the cutover rolls back.
    """

    question: str
    timeout_seconds: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: [approval] -> set and verify the weight -> [switch the writer] -> watch.

    Attributes:
        weight_percent: Share of the requests that the target gets.
        watch_seconds: The shortest time to watch; health must be shown besides.
        deadline_seconds: A step that has not been shown to be healthy so long after it began to be watched is
            rolled back.
        gate: The approval that is asked for before the step.
        switch_writer: The writing database changes in this step, after the weight is verified.
    """

    weight_percent: int
    watch_seconds: int
    deadline_seconds: int
    gate: Gate | None = None
    switch_writer: bool = False

    def to_json(self) -> dict[str, Any]:
        gate = self.gate and {"question": self.gate.question, "timeout_seconds": self.gate.timeout_seconds}
        return {
            "weight_percent": self.weight_percent,
            "watch_seconds": self.watch_seconds,
            "deadline_seconds": self.deadline_seconds,
            "gate": gate,
            "switch_writer": self.switch_writer,
        }


@dataclass(frozen=True, kw_only=True)
class Dns:
    """How long a change of the weighted records takes to arrive.

    Attributes:
        ttl_seconds: TTL of the records; resolvers answer with the old weights for so long.
        insync_seconds: Allowance for Route 53 to reach INSYNC, usually within a minute.
    """

    ttl_seconds: int = 60
    insync_seconds: int = 60

    @property
    def shortest_watch_seconds(self) -> int:
        """The first TTL lets old answers run out, the second shows the new share undiluted."""
        return 2 * self.ttl_seconds + self.insync_seconds

    def to_json(self) -> dict[str, Any]:
        return {"ttl_seconds": self.ttl_seconds, "insync_seconds": self.insync_seconds}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a cutover does, in order.

    Attributes:
        direction: From where to where.
        steps: The steps; the last one gives the target everything.
        dns: Timing of the records, for a plan of the front door.
    """

    direction: Direction
    steps: tuple[Step, ...]
    dns: Dns = field(default_factory=Dns)

    def __post_init__(self) -> None:
        """Raises: PlanError: Every rule that the plan breaks."""
        mistakes = tuple(plan_mistakes(self.direction, self.steps, self.dns))
        if mistakes:
            raise PlanError(mistakes)

    @property
    def switches_writer(self) -> bool:
        return any(step.switch_writer for step in self.steps)

    @property
    def shortest_seconds(self) -> int:
        """With health shown in time and every approval given at once; the changes themselves take seconds more."""
        return sum(step.watch_seconds for step in self.steps)

    @property
    def longest_seconds(self) -> int:
        """With every approval and every step at its limit."""
        gates = sum(step.gate.timeout_seconds for step in self.steps if step.gate)
        return gates + sum(step.deadline_seconds for step in self.steps)

    def expected_seconds(self, *, requests_per_second: float, requests_to_show_health: float) -> float:
        """The duration when all is well, without the time that people take to approve.

        Args:
            requests_per_second: All requests, those of both sides.
            requests_to_show_health: What the verdict needs on average (``verdict.expected_requests``).
        """
        total = 0.0
        for step in self.steps:
            # With the weight at 0 the side that has the traffic is watched.
            share = (step.weight_percent or 100) / 100
            total += max(step.watch_seconds, requests_to_show_health / (requests_per_second * share))
        return total

    def to_json(self) -> dict[str, Any]:
        """The document that ``parse_plan`` reads."""
        document: dict[str, Any] = {
            "from": self.direction.source,
            "to": self.direction.target,
            "steps": [step.to_json() for step in self.steps],
        }
        if self.direction.pointer is Pointer.FRONT_DOOR:
            document["dns"] = self.dns.to_json()
        return document


def plan_mistakes(direction: Direction, steps: Sequence[Step | None], dns: Dns | None) -> Iterator[str]:
    """One line for each broken rule. A step that could not be read is None, and so is such a ``dns``."""
    if not 1 <= len(steps) <= MOST_STEPS:
        yield f"steps: {len(steps)} of them, allowed: 1 to {MOST_STEPS}"
        return
    if dns is not None:
        yield from _dns_mistakes(dns)
    before = 0
    for number, step in enumerate(steps):
        if step is None:
            continue
        yield from _step_mistakes(f"steps[{number}]", step, before=before, direction=direction, dns=dns)
        before = max(before, min(step.weight_percent, 100))
    last = steps[-1]
    if last is not None and last.weight_percent != 100:
        yield f"steps[{len(steps) - 1}].weight_percent: {shown(last.weight_percent)}, allowed: 100, in the last step"
    yield from _writer_mistakes(direction, steps)
    gates = sum(step.gate.timeout_seconds for step in steps if step is not None and step.gate is not None)
    longest = gates + sum(step.deadline_seconds for step in steps if step is not None)
    if longest > LONGEST_PLAN_SECONDS:
        yield (
            f"steps: {longest:,} s with every deadline_seconds and gate.timeout_seconds used up, allowed: "
            f"{LONGEST_PLAN_SECONDS:,} s, because an execution of the state machine has room for so many looks"
        )


def _dns_mistakes(dns: Dns) -> Iterator[str]:
    for key, value in (("ttl_seconds", dns.ttl_seconds), ("insync_seconds", dns.insync_seconds)):
        if not 1 <= value <= LONGEST_DNS_SECONDS:
            yield f"dns.{key}: {shown(value)}, allowed: a whole number from 1 to {LONGEST_DNS_SECONDS:,}"


def _step_mistakes(name: str, step: Step, *, before: int, direction: Direction, dns: Dns | None) -> Iterator[str]:
    # A step that switches the writer may keep the weight; any other one that changes nothing is a mistake.
    least = before if step.switch_writer else min(before + 1, 100)
    if not least <= step.weight_percent <= 100 or (step.weight_percent == before and not step.switch_writer):
        allowed = "100" if least == 100 else f"a whole number from {least} to 100"
        why = "the weights rise from step to step, and only a step that switches the writer may keep the one before"
        yield f"{name}.weight_percent: {shown(step.weight_percent)}, allowed: {allowed}, because {why}"
    shortest = 1
    why = ""
    if direction.pointer is Pointer.FRONT_DOOR and dns is not None:
        shortest = dns.shortest_watch_seconds
        why = f", because old DNS answers live for 2 x {dns.ttl_seconds} s TTL + {dns.insync_seconds} s INSYNC"
    if not shortest <= step.watch_seconds <= LONGEST_SECONDS:
        yield (
            f"{name}.watch_seconds: {shown(step.watch_seconds)}, allowed: a whole number from {shortest} "
            f"to {LONGEST_SECONDS:,}{why}"
        )
    if not step.watch_seconds < step.deadline_seconds <= LONGEST_SECONDS:
        yield (
            f"{name}.deadline_seconds: {shown(step.deadline_seconds)}, allowed: a whole number from "
            f"{step.watch_seconds + 1} (longer than watch_seconds) to {LONGEST_SECONDS:,}"
        )
    if step.gate is not None:
        question = step.gate.question
        if not 1 <= len(question) <= LONGEST_QUESTION or not question.isprintable() or not question.strip():
            yield (
                f"{name}.gate.question: {shown(question)}, allowed: 1 to {LONGEST_QUESTION} printable characters "
                "on one line"
            )
        if not 1 <= step.gate.timeout_seconds <= LONGEST_SECONDS:
            yield (
                f"{name}.gate.timeout_seconds: {shown(step.gate.timeout_seconds)}, allowed: a whole number "
                f"from 1 to {LONGEST_SECONDS:,}"
            )


def _writer_mistakes(direction: Direction, steps: Sequence[Step | None]) -> Iterator[str]:
    switching = [(number, step) for number, step in enumerate(steps) if step is not None and step.switch_writer]
    for number, _ in switching[1:]:
        yield f"steps[{number}].switch_writer: true, allowed: false, because steps[{switching[0][0]}] switches it"
    # The legacy system writes to its own database only: it gets no request while that is not the writer.
    needed = {Direction.LEGACY_TO_AWS: 100, Direction.AWS_TO_LEGACY: 0}.get(direction)
    for number, step in switching[:1]:
        if needed is not None and step.weight_percent != needed:
            yield (
                f"steps[{number}].switch_writer: true at the weight {step.weight_percent}, allowed: at the weight "
                f"{needed} from {direction}, because the legacy system cannot write to another database"
            )
