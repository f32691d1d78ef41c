"""Figures as a reader wants them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def clock(seconds: float) -> str:
    """Minutes and seconds since the load began; with hours where there are any."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def duration(milliseconds: float | None) -> str:
    """Three digits and a unit; what was not measured is said to be so."""
    if milliseconds is None:
        return "not measured"
    if milliseconds >= 600_000:
        return f"{milliseconds / 60_000:.3g} min"
    return f"{milliseconds / 1000:.3g} s" if milliseconds >= 999.5 else f"{milliseconds:.3g} ms"


def count(number: int, noun: str) -> str:
    """How many of something, in words that agree."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(items: Iterable[str]) -> str:
    """One, two and three."""
    *most, last = [*items] or ["nothing"]
    return f"{', '.join(most)} and {last}" if most else last


def plain(value: Any) -> str:
    """A value of an event's details."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False, default=str)
