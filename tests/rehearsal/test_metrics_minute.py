"""When an environment's alarm fires, by what was counted in a minute; and how long nobody was answered."""

from __future__ import annotations

import pytest

from rehearsal.balancer import GroupCounters
from rehearsal.client_process import Paid
from rehearsal.metrics import AlarmRule, Minute
from rehearsal.scenarios.comparison import longest_silence_ms

RULE = AlarmRule(errors_percent=2.0, latency_p99_seconds=1.0, healthy_minimum=2)


@pytest.mark.parametrize(
    ("minute", "breaches"),
    [
        (Minute(), set()),
        (Minute(requests=100, target_5xx=2, healthy=2), set()),
        (Minute(requests=100, target_5xx=3, healthy=2), {"errors"}),
        (Minute(requests=100, healthy=1), {"healthy hosts"}),
        (Minute(requests=100, healthy=2, times=[0.1] * 98 + [1.1] * 2), {"latency"}),
        (Minute(requests=100, healthy=2, times=[0.1] * 99 + [9.0]), set()),
    ],
)
def test_what_of_the_rule_a_minute_breaks(minute: Minute, breaches: set[str]) -> None:
    assert minute.breaches(RULE) == breaches


def test_a_minute_has_the_fewest_healthy_targets_that_were_seen() -> None:
    minute = Minute()
    for healthy in (2, 1, 2):
        minute.add(GroupCounters(requests=5, target_5xx=1, healthy=healthy))
    assert (minute.requests, minute.target_5xx, minute.healthy) == (15, 3, 1)


def test_a_balancer_that_was_restarted_counts_from_zero() -> None:
    assert GroupCounters(requests=3).minus(GroupCounters(requests=100)).requests == 3


def paid(done: float, status: int = 201) -> Paid:
    return Paid(key="k", due=done, done=done, status=status, side="blue", replayed=False, failures=(), order={})


def test_the_longest_silence_counts_acknowledged_payments_only() -> None:
    assert longest_silence_ms([paid(1.0), paid(1.5, status=503), paid(2.25), paid(2.5)]) == 1250.0
    assert longest_silence_ms([]) == 0.0
