"""A clock that runs faster than ours, for what is measured in minutes: metrics, watches, TTLs.

Databases, services and clients live in real time, and so does the protocol of the writer switch. Only what waits for
CloudWatch's minutes, for DNS or for a step's watch runs by this clock.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Final, Self

VARIABLE: Final = "REHEARSAL_CLOCK"
MINUTE: Final = 60
# The real ones: a process that runs by this clock puts its own in their place.
_TIME, _SLEEP = time.time, time.sleep
LONGEST_REAL_SLEEP_SECONDS: Final = 1.0
"""The functions sleep less than this to poll a database, and longer only to wait for AWS."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Attributes:
    origin: epoch seconds of ours and of this clock at which both agreed; a whole minute.
    started: epoch seconds of ours at which it began to run from there.
    scale: its seconds in one of ours.
    """

    origin: float
    started: float
    scale: float

    @classmethod
    def start(cls, scale: float) -> Self:
        """A clock that stands at the beginning of the minute now.

        Raises:
            ValueError: a scale below 1.
        """
        if not scale >= 1:
            raise ValueError(f"scale: must be a number from 1, got {scale!r}")
        now = _TIME()
        return cls(origin=now // MINUTE * MINUTE, started=now, scale=scale)

    def now(self) -> float:
        """Epoch seconds of this clock."""
        return self.at(_TIME())

    def at(self, ours: float) -> float:
        """What it showed, or will show, at a moment of ours."""
        return self.origin + (ours - self.started) * self.scale

    def ours(self, seconds: float) -> float:
        """How many of our seconds so many of its are."""
        return seconds / self.scale

    def wait(self, seconds: float, stop: threading.Event | None = None) -> None:
        """Let so many of its seconds pass, unless ``stop`` is set meanwhile."""
        if stop is None:
            _SLEEP(self.ours(seconds))
        else:
            stop.wait(self.ours(seconds))

    def variable(self) -> str:
        """For the environment of another process."""
        return f"{self.origin!r} {self.started!r} {self.scale!r}"

    @classmethod
    def of_environment(cls) -> Self | None:
        """The clock of the environment, if there is one."""
        words = os.environ.get(VARIABLE, "").split()
        if not words:
            return None
        origin, started, scale = map(float, words)
        return cls(origin=origin, started=started, scale=scale)
