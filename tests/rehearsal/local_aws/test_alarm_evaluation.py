"""When an alarm of the local CloudWatch fires, by the rules of the real one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.local_aws.alarm_evaluation import (
    ALARM,
    COMPARISONS,
    INSUFFICIENT_DATA,
    OK,
    UnsupportedMathError,
    calculate,
    next_state,
    window,
)

TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")


def state_of(
    values: Sequence[float | None], treatment: str, *, datapoints: int | None = None, state: str = INSUFFICIENT_DATA
) -> str:
    return next_state(
        values,
        comparison="GreaterThanThreshold",
        threshold=10,
        datapoints_to_alarm=datapoints or len(values),
        treat_missing_data=treatment,
        state=state,
    )


def test_a_share_of_requests_is_in_percent_of_the_periods_that_have_both() -> None:
    found = calculate(
        "100 * FILL(errors, 0) / requests",
        {"errors": {60: 5.0}, "requests": {0: 50.0, 60: 100.0}},
        periods=(0, 60, 120),
    )

    assert found == {0: 0.0, 60: 5.0}


def test_a_period_without_requests_has_no_share() -> None:
    assert calculate("errors / requests", {"errors": {0: 1.0}, "requests": {0: 0.0}}, periods=(0,)) == {}


def test_a_number_is_the_value_of_every_period() -> None:
    assert calculate("2 + 3", {}, periods=(0, 60)) == {0: 5.0, 60: 5.0}


@pytest.mark.parametrize(
    "expression", ["RATE(m1)", "m1 > 3", "m2", "FILL(m1, REPEAT)", "__import__('os')", "m1 +", "-m1", "'1'"]
)
def test_what_is_not_evaluated_is_refused(expression: str) -> None:
    with pytest.raises(UnsupportedMathError):
        calculate(expression, {"m1": {0: 1.0}}, periods=(0,))


@pytest.mark.parametrize(
    ("now", "with_current", "expected"),
    [(185.0, False, (60, 120)), (185.0, True, (120, 180)), (180.0, False, (60, 120))],
)
def test_the_newest_periods_count(now: float, with_current: bool, expected: tuple[int, ...]) -> None:
    assert window(now, period=60, count=2, with_current=with_current) == expected


@pytest.mark.parametrize("treatment", TREATMENTS)
@pytest.mark.parametrize(("values", "expected"), [([11, 12, 13], ALARM), ([11, 9, 13], OK), ([1, 2, 3], OK)])
def test_with_all_data_the_treatment_of_missing_data_does_not_matter(
    values: list[float], treatment: str, expected: str
) -> None:
    assert state_of(values, treatment) == expected


@pytest.mark.parametrize(
    ("treatment", "expected"),
    [("missing", INSUFFICIENT_DATA), ("ignore", OK), ("breaching", ALARM), ("notBreaching", OK)],
)
def test_without_any_data_the_treatment_decides(treatment: str, expected: str) -> None:
    assert state_of([None, None, None], treatment, state=OK) == expected


@pytest.mark.parametrize(
    ("treatment", "expected"), [("missing", OK), ("ignore", ALARM), ("breaching", ALARM), ("notBreaching", OK)]
)
def test_a_gap_between_bad_values(treatment: str, expected: str) -> None:
    assert state_of([11, None, 12], treatment, state=ALARM) == expected


def test_two_bad_values_of_three_are_enough_when_two_are_asked_for() -> None:
    assert state_of([11, 9, 12], "notBreaching", datapoints=2) == ALARM


VALUES = st.lists(st.one_of(st.none(), st.floats(min_value=0, max_value=20)), min_size=1, max_size=5)


@given(values=VALUES, treatment=st.sampled_from(TREATMENTS), state=st.sampled_from((OK, ALARM, INSUFFICIENT_DATA)))
def test_a_worse_value_never_ends_an_alarm(values: list[float | None], treatment: str, state: str) -> None:
    worse = [None if each is None else each + 20 for each in values]

    if state_of(values, treatment, state=state) == ALARM:
        assert state_of(worse, treatment, state=state) == ALARM


@given(values=VALUES, state=st.sampled_from((OK, ALARM, INSUFFICIENT_DATA)))
def test_missing_data_that_counts_as_bad_is_never_milder_than_as_good(values: list[float | None], state: str) -> None:
    if state_of(values, "notBreaching", state=state) == ALARM:
        assert state_of(values, "breaching", state=state) == ALARM


def test_every_comparison_of_our_alarms_is_known() -> None:
    assert set(COMPARISONS) == {
        "GreaterThanOrEqualToThreshold",
        "GreaterThanThreshold",
        "LessThanThreshold",
        "LessThanOrEqualToThreshold",
    }
