"""What an event may ask to be tried once more."""

from __future__ import annotations

import pytest

from replication_control.control import NOTHING_AGAIN, Direction, Retry
from replication_control.handler import EventError, parse_retry

DIRECTIONS = [Direction(identifier=name, source="blue", target="green", loads=True) for name in ("A", "B")]


def test_true_is_everything_once_more() -> None:
    assert parse_retry(True, DIRECTIONS) == Retry.of(DIRECTIONS)


def test_false_is_nothing() -> None:
    assert parse_retry(False, DIRECTIONS) == NOTHING_AGAIN


def test_what_an_answer_had_goes_into_the_next_event() -> None:
    assert parse_retry({"tests": [], "tasks": ["A"]}, DIRECTIONS) == Retry(tasks=frozenset({"A"}))


@pytest.mark.parametrize(
    "value", [None, "yes", 1, [], {}, {"tests": []}, {"tests": "A", "tasks": []}, {"tests": ["C"], "tasks": []}]
)
def test_anything_else_is_refused_with_what_is_allowed(value: object) -> None:
    with pytest.raises(EventError, match=r"^retry: must be true, false, or tests and tasks with lists of A, B, got"):
        parse_retry(value, DIRECTIONS)
