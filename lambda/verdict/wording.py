"""Numbers as operators read them."""

from __future__ import annotations

import math
from typing import Final

_MOST_SHOWN: Final = 1e12


def percent(value: float) -> str:
    return f"{value:g} %"


def count(value: int) -> str:
    return f"{value:,}"


def times(logarithm: float) -> str:
    """A likelihood ratio, to three digits: ``10,400 times``."""
    if logarithm >= math.log(_MOST_SHOWN):
        return "over 1,000,000,000,000 times"
    value = math.exp(logarithm)
    if value < 100:
        return f"{value:.3g} times"
    digits = 2 - math.floor(math.log10(value))
    return f"{round(value, digits):,.0f} times"


def duration(seconds: float) -> str:
    """A time in at most two units: ``45 s``, ``5 min``, ``2 h 30 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(whole / 60)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
