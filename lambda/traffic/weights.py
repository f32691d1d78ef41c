"""Weights of two or more sides, which never sum to nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from botocore.config import Config

HUNDRED: Final = 100

RETRYING: Final = Config(retries={"mode": "standard", "total_max_attempts": 8}, connect_timeout=3, read_timeout=10)
"""Botocore's standard mode waits ever longer, with jitter, after throttling and passing faults."""

_READ_BACK_ATTEMPTS: Final = 12
_READ_BACK_PAUSE_SECONDS: Final = 0.25


class TrafficError(Exception):
    """Weights could not be read, written or verified; the message says which and what to do."""


class WeightsError(ValueError):
    """Weights that nobody may set; the message names the side, the value and what is allowed."""


def check(weights: Mapping[str, int], *, sides: Iterable[str]) -> None:
    """Refuse weights that are not whole percents of all ``sides``, or that would leave a request without a side.

    Raises:
        WeightsError: see above.
    """
    expected = set(sides)
    if set(weights) != expected:
        raise WeightsError(
            f"weights must name {', '.join(sorted(expected))}, got {', '.join(sorted(weights)) or 'none'}"
        )
    for side, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= HUNDRED:
            raise WeightsError(f"weight of {side} must be a whole number from 0 to {HUNDRED}, got {weight!r}")
    if sum(weights.values()) != HUNDRED:
        raise WeightsError(f"weights must sum to {HUNDRED}, got {sum(weights.values())}: {shown(weights)}")


def split(*, source: str, target: str, target_percent: int) -> dict[str, int]:
    """Weights that give ``target`` its percent and ``source`` the rest."""
    return {source: HUNDRED - target_percent, target: target_percent}


def shown(weights: Mapping[str, int]) -> str:
    """The weights as people read them: ``blue 90, green 10``."""
    return ", ".join(f"{side} {weight}" for side, weight in sorted(weights.items()))


def verify(
    read: Callable[[], Mapping[str, int]],
    wanted: Mapping[str, int],
    *,
    what: str,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Read until the weights are as ``wanted``: the read may lag behind the write for a moment.

    Raises:
        TrafficError: they still differ after some seconds; somebody else writes, or nothing was written.
    """
    for attempt in range(_READ_BACK_ATTEMPTS):
        found = read()
        if found == dict(wanted):
            return
        if attempt < _READ_BACK_ATTEMPTS - 1:
            sleep(_READ_BACK_PAUSE_SECONDS * (1 + random.random()))  # noqa: S311 - jitter, not a secret
    raise TrafficError(f"{what}: wanted {shown(wanted)}, but it reads {shown(found)}; look who else writes it")
