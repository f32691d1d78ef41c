"""What weights may be set, how they are shown, and how long their reading back is waited for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traffic.weights import TrafficError, WeightsError, check, shown, split, verify

SIDES = ("blue", "green")


@given(st.integers(0, 100))
def test_every_split_of_hundred_may_be_set(percent: int) -> None:
    check(split(source="blue", target="green", target_percent=percent), sides=SIDES)


@given(st.integers(-300, 300), st.integers(-300, 300))
def test_nothing_else_may_be_set(blue: int, green: int) -> None:
    allowed = 0 <= blue <= 100 and 0 <= green <= 100 and blue + green == 100
    try:
        check({"blue": blue, "green": green}, sides=SIDES)
    except WeightsError:
        assert not allowed
    else:
        assert allowed


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"blue": 0, "green": 0}, "weights must sum to 100, got 0: blue 0, green 0"),
        ({"blue": 99, "green": 0}, "weights must sum to 100, got 99: blue 99, green 0"),
        ({"blue": 101, "green": -1}, "weight of blue must be a whole number from 0 to 100, got 101"),
        ({"blue": 50.0, "green": 50.0}, "weight of blue must be a whole number from 0 to 100, got 50.0"),
        ({"blue": 100, "green": False}, "weight of green must be a whole number from 0 to 100, got False"),
        ({"blue": "100", "green": 0}, "weight of blue must be a whole number from 0 to 100, got '100'"),
        ({"blue": 100}, "weights must name blue, green, got blue"),
        ({"blue": 100, "red": 0}, "weights must name blue, green, got blue, red"),
        ({}, "weights must name blue, green, got none"),
    ],
)
def test_a_refusal_names_the_side_the_value_and_what_is_allowed(weights: Mapping[str, int], message: str) -> None:
    with pytest.raises(WeightsError) as refusal:
        check(weights, sides=SIDES)
    assert str(refusal.value) == message


def test_weights_are_shown_in_one_order() -> None:
    assert shown({"green": 10, "blue": 90}) == "blue 90, green 10"


def test_a_read_that_lags_behind_is_waited_for() -> None:
    answers = iter([{"blue": 100, "green": 0}, {"blue": 100, "green": 0}, {"blue": 90, "green": 10}])
    slept: list[float] = []
    verify(lambda: next(answers), {"blue": 90, "green": 10}, what="rule", sleep=slept.append)
    assert len(slept) == 2


def test_weights_that_never_read_back_are_an_error_within_seconds() -> None:
    slept: list[float] = []
    with pytest.raises(
        TrafficError, match=r"^rule: wanted blue 90, green 10, but it reads blue 100, green 0; look who else writes it$"
    ):
        verify(lambda: {"blue": 100, "green": 0}, {"blue": 90, "green": 10}, what="rule", sleep=slept.append)
    assert 2 < sum(slept) < 10
