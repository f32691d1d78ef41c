"""Observations that cannot be true are refused with one clear message."""

from __future__ import annotations

import pytest

from verdict import AlarmState, Counts, Observation, ObservationError, Sample, Signals
from verdict.observation import MOST_REQUESTS


@pytest.mark.parametrize(
    ("requests", "errors", "slow", "message"),
    [
        (-1, 0, 0, "requests: -1, allowed: a whole number from 0"),
        (10, -2, 0, "errors: -2, allowed: a whole number from 0"),
        (10, 0, -3, "slow: -3, allowed: a whole number from 0"),
        (10, 11, 0, r"errors and slow: 11 \+ 0, allowed: at most the 10 requests"),
        (10, 6, 5, r"errors and slow: 6 \+ 5, allowed: at most the 10 requests"),
        (0, 0, 1, r"errors and slow: 0 \+ 1, allowed: at most the 0 requests"),
        (2**53 + 1, 0, 0, "requests: 9,007,199,254,740,993, allowed: a whole number"),
        (1.5, 0, 0, "requests: 1.5, allowed: a whole number"),
        (True, 0, 0, "requests: True, allowed: a whole number"),
        (float("nan"), 0, 0, "requests: nan, allowed: a whole number"),
    ],
)
def test_counts_that_cannot_be_are_refused(requests: int, errors: int, slow: int, message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        Counts(requests, errors, slow)


def test_the_largest_count_is_accepted() -> None:
    assert Counts(MOST_REQUESTS, MOST_REQUESTS).bad == MOST_REQUESTS


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        ({"healthy_hosts": -1}, "healthy_hosts: -1, allowed: a whole number from 0, or None when unknown"),
        ({"validation_failures": 1.5}, "validation_failures: 1.5, allowed: a whole number from 0"),
        ({"replication_lag_seconds": -0.1}, "replication_lag_seconds: -0.1, allowed: a number from 0"),
        ({"replication_lag_seconds": float("nan")}, "replication_lag_seconds: nan, allowed: a number from 0"),
        ({"replication_lag_seconds": float("inf")}, "replication_lag_seconds: inf, allowed: a number from 0"),
    ],
)
def test_signals_that_cannot_be_are_refused(signal: dict[str, float], message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        Signals(**signal)  # type: ignore[arg-type]


def test_samples_go_forward_in_time() -> None:
    with pytest.raises(ObservationError, match="samples: 60 follows 120, allowed: ascending start_seconds"):
        Observation(now_seconds=600, settled_until_seconds=600, samples=(Sample(120, None), Sample(60, None)))


def test_the_future_is_not_settled() -> None:
    with pytest.raises(ObservationError, match="settled_until_seconds: 601, allowed: no later than now_seconds"):
        Observation(now_seconds=600, settled_until_seconds=601)


def test_an_alarm_has_one_of_the_states_of_cloudwatch() -> None:
    with pytest.raises(ObservationError, match="alarm state: 'FINE', allowed: OK, ALARM, INSUFFICIENT_DATA"):
        AlarmState.parse("FINE")
