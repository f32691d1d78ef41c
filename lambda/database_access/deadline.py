"""A point in time until which work may go on, so that every wait inside a function ends before the function does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self


class DeadlineExceededError(Exception):
    """The time that the work was given is over; the message says what was being done."""


@dataclass(frozen=True)
class Deadline:
    """Attributes: at_seconds: the moment on the monotonic clock."""

    at_seconds: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        return cls(time.monotonic() + seconds)

    def remaining_seconds(self) -> float:
        return max(0.0, self.at_seconds - time.monotonic())

    def at_most(self, seconds: float) -> float:
        """That long, or what is left when it is less; never less than a second, the least that a socket is given."""
        return max(1.0, min(seconds, self.remaining_seconds()))

    def earlier_by(self, seconds: float) -> Deadline:
        return Deadline(self.at_seconds - seconds)

    def check(self, doing: str) -> None:
        """Raises: DeadlineExceededError: the time is over."""
        if self.remaining_seconds() <= 0:
            raise DeadlineExceededError(f"the time was over while {doing}")
