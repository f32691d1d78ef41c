"""How long to wait between two looks, so that the history of an execution has room for the whole cutover."""

from __future__ import annotations

from typing import Final

MOST_LOOKS: Final = 2400
"""A Standard execution ends for good at 25,000 events (quotas of Step Functions), and a look adds nine: five of its
task, two of the choice, two of the wait. What is left over is for retries and for waiting on recovery points."""

LOOKS_AT_FULL_PACE: Final = 800
"""Half a day at one a minute."""

SLOWER_SECONDS: Final = 300
"""Afterwards; with these, all looks last six days. The lease, and what counts as stuck, allow for it."""


def pause_seconds(*, looks: int, poll_seconds: int) -> int:
    """The wait before the next look.

    Args:
        looks: how many there were.
        poll_seconds: the wait at full pace.
    """
    return poll_seconds if looks < LOOKS_AT_FULL_PACE else max(poll_seconds, SLOWER_SECONDS)
