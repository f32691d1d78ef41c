"""What is observed, checked when it is made: counts of requests by sample, and the signals behind the hard limits.

None means that something is not known, which is never the same as zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

MOST_REQUESTS: Final = 2**53
"""Up to here every count is exact as a floating-point number."""


class ObservationError(ValueError):
    """An observation that cannot be true; the message names what, the value and what is allowed."""


class AlarmState(Enum):
    """The states of a CloudWatch alarm."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"

    @classmethod
    def parse(cls, text: str) -> AlarmState:
        """Raises: ObservationError: No state of an alarm."""
        try:
            return cls(text)
        except ValueError:
            allowed = ", ".join(state.value for state in cls)
            raise ObservationError(f"alarm state: {text!r}, allowed: {allowed}") from None


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests that one environment answered in one sample.

    A request counts once: of the answers slower than the objective those that are errors besides are left out of
    ``slow``. Where the two cannot be told apart, max(0, slow - errors) counts none of them twice.

    Attributes:
        requests: All of them. A load balancer that reports nothing while nobody asks makes a 0 here, not a None,
            provided that its other metrics of the same minute are there.
        errors: Answers 5xx, and requests without an answer.
        slow: Answers later than the objective that are no errors.
    """

    requests: int
    errors: int = 0
    slow: int = 0

    def __post_init__(self) -> None:
        """Raises: ObservationError: Negative, too large, no whole number, or more bad requests than requests."""
        for name, value in (("requests", self.requests), ("errors", self.errors), ("slow", self.slow)):
            if type(value) is not int or not 0 <= value <= MOST_REQUESTS:
                raise ObservationError(f"{name}: {_shown(value)}, allowed: a whole number from 0 to {MOST_REQUESTS:,}")
        if self.errors + self.slow > self.requests:
            raise ObservationError(
                f"errors and slow: {self.errors:,} + {self.slow:,}, allowed: at most the {self.requests:,} requests"
            )

    @property
    def bad(self) -> int:
        return self.errors + self.slow


@dataclass(frozen=True, slots=True)
class Sample:
    """One period of both environments.

    Attributes:
        start_seconds: When it began, in epoch seconds.
        environment: The environment that is judged; None when its counts are not known.
        other: The environment that it is compared with; None when not known, or when there is none.
    """

    start_seconds: int
    environment: Counts | None
    other: Counts | None = None


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What the hard limits look at, as it is now.

    Attributes:
        healthy_hosts: Healthy targets of the environment that is judged.
        replication_lag_seconds: CDC latency of the slowest task.
        validation_failures: Rows that DMS found to differ.
        alarms: State of each alarm by its name.
    """

    healthy_hosts: int | None = None
    replication_lag_seconds: float | None = None
    validation_failures: int | None = None
    alarms: Mapping[str, AlarmState] | None = None

    def __post_init__(self) -> None:
        """Raises: ObservationError: A negative number, or none at all."""
        for name in ("healthy_hosts", "validation_failures"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 0):
                raise ObservationError(f"{name}: {_shown(value)}, allowed: a whole number from 0, or None when unknown")
        lag = self.replication_lag_seconds
        if lag is not None and (isinstance(lag, bool) or not isinstance(lag, int | float) or not 0 <= lag < math.inf):
            raise ObservationError(
                f"replication_lag_seconds: {_shown(lag)}, allowed: a number from 0, or None when unknown"
            )


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What is known at one moment.

    Attributes:
        now_seconds: The moment, in epoch seconds.
        settled_until_seconds: Samples that ended by then are complete and will not change any more; each of them
            that is not among ``samples`` is missing. CloudWatch completes a minute one to two minutes later.
        samples: The new samples in their order. One that was counted before must not come again.
    """

    now_seconds: int
    settled_until_seconds: int
    samples: tuple[Sample, ...] = ()
    signals: Signals = field(default_factory=Signals)

    def __post_init__(self) -> None:
        """Raises: ObservationError: Samples out of order or not settled, or a future that is settled already."""
        if self.settled_until_seconds > self.now_seconds:
            raise ObservationError(
                f"settled_until_seconds: {self.settled_until_seconds}, allowed: no later than now_seconds, "
                f"which is {self.now_seconds}"
            )
        for earlier, later in zip(self.samples, self.samples[1:], strict=False):
            if later.start_seconds <= earlier.start_seconds:
                raise ObservationError(
                    f"samples: {later.start_seconds} follows {earlier.start_seconds}, allowed: ascending start_seconds"
                )


def _shown(value: object) -> str:
    return f"{value:,}" if type(value) is int else repr(value)[:60]
