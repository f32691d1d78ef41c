"""A clock that runs faster than ours."""

from __future__ import annotations

import time

import pytest

from rehearsal.clock import MINUTE, VARIABLE, Clock


def test_it_begins_with_a_whole_minute_and_runs_by_its_scale() -> None:
    clock = Clock.start(20)
    assert clock.origin % MINUTE == 0
    assert clock.at(clock.started) == clock.origin
    assert clock.at(clock.started + 3) == clock.origin + MINUTE
    assert clock.ours(MINUTE) == 3


def test_it_is_never_slower_than_ours() -> None:
    with pytest.raises(ValueError, match="scale: must be a number from 1, got 0"):
        Clock.start(0.5)


def test_another_process_has_the_same_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock.start(7)
    assert Clock.of_environment() is None
    monkeypatch.setenv(VARIABLE, clock.variable())
    assert Clock.of_environment() == clock


def test_it_waits_in_its_own_seconds() -> None:
    clock = Clock.start(100)
    began = time.monotonic()
    clock.wait(10)
    assert 0.1 <= time.monotonic() - began < 5
