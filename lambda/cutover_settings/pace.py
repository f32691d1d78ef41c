"""How often a cutover is looked at, and how late metrics may come: a rehearsal shortens both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

LONGEST_SECONDS: Final = 300
"""A longer pause would use up the lease, and the patience of those who watch the controller."""


class PaceError(ValueError):
    """The pace is wrong; one clause for each mistake."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Attributes:
    poll_seconds: between two looks.
    settle_seconds: after which a minute of metrics is complete. CloudWatch completes one of the load balancer one to
        two minutes later.
    """

    poll_seconds: int = 60
    settle_seconds: int = 120

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Self:
        """The pace that the input of an execution asks for, or the usual one.

        Raises:
            PaceError: see there.
        """
        mistakes, values = [], {}
        for key, least in (("poll_seconds", 1), ("settle_seconds", 0)):
            value = values[key] = request.get(key, getattr(cls, key))
            if type(value) is not int or not least <= value <= LONGEST_SECONDS:
                mistakes.append(f"{key}: must be a whole number from {least} to {LONGEST_SECONDS}, got {value!r}")
        if mistakes:
            raise PaceError("; ".join(mistakes))
        return cls(**values)
