"""Where a cutover stands: a value that JSON carries between two invocations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

from checked_json import DocumentError, Reader

_EPOCH_MAXIMUM = 10**11


class PositionError(DocumentError):
    """A stored position that is none; ``mistakes`` has one line for each."""


class Phase(Enum):
    """The phases of a step, in their order, and the end.

    GATE: a person is asked. SHIFT: the weight is set and verified. SWITCH: the writer switches. WATCH: health is
    watched. COMPLETE: the target has everything.
    """

    GATE = "gate"
    SHIFT = "shift"
    SWITCH = "switch"
    WATCH = "watch"
    COMPLETE = "complete"


@dataclass(frozen=True, kw_only=True)
class Position:
    """Attributes:
    step: Number of the step, from 0.
    phase: Where in the step.
    since_seconds: When the phase began, in epoch seconds; later by the time that it was held.
    held_since_seconds: Since when the clock of the phase stands still, because somebody holds the cutover.
    """

    step: int
    phase: Phase
    since_seconds: int
    held_since_seconds: int | None = None

    def elapsed_seconds(self, now_seconds: int) -> int:
        """Time spent in the phase, without the time that it was held."""
        until = now_seconds if self.held_since_seconds is None else self.held_since_seconds
        return max(0, until - self.since_seconds)

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "phase": self.phase.value,
            "since_seconds": self.since_seconds,
            "held_since_seconds": self.held_since_seconds,
        }

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> Self:
        """Raises: PositionError: Not of the form that ``to_json`` writes."""
        reader = Reader(members)
        step = reader.integer("step", minimum=0, maximum=1000)
        phase = reader.choice("phase", allowed=[each.value for each in Phase])
        since = reader.integer("since_seconds", minimum=0, maximum=_EPOCH_MAXIMUM)
        held = None
        if not reader.is_null("held_since_seconds") and reader.has("held_since_seconds"):
            held = reader.integer("held_since_seconds", minimum=0, maximum=_EPOCH_MAXIMUM)
        reader.finish()
        if reader.mistakes:
            raise PositionError(reader.mistakes)
        return cls(step=step, phase=Phase(phase), since_seconds=since, held_since_seconds=held)
