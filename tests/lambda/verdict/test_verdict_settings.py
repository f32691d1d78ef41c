"""The settings of the verdict: defaults, the document they are read from, and mistakes."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict import Limits, Settings, SettingsError, parse_settings

percents = st.floats(0.0001, 99)
settings = st.builds(
    lambda rates, **others: Settings(tolerated_percent=min(rates), bad_percent=max(rates), **others),
    st.lists(percents, min_size=2, max_size=2, unique=True),
    false_alarm_probability=st.floats(1e-12, 0.49),
    miss_probability=st.floats(1e-12, 0.49),
    worse_factors=st.lists(st.floats(1.01, 999_999), min_size=1, max_size=4, unique=True).map(sorted).map(tuple),
    largest_compared_percent=st.integers(0, 99),
    period_seconds=st.integers(1, 3600),
    limits=st.builds(
        Limits,
        healthy_hosts_minimum=st.none() | st.integers(1, 1000),
        replication_lag_seconds_maximum=st.none() | st.integers(0, 86_400),
        validation_failures_maximum=st.none() | st.integers(0, 1_000_000),
        missing_seconds_maximum=st.integers(1, 86_400),
    ),
)


def test_an_empty_document_gives_the_defaults() -> None:
    assert parse_settings("{}") == Settings()


def test_what_a_document_leaves_out_of_the_limits_has_its_default() -> None:
    parsed = parse_settings('{"limits": {"healthy_hosts_minimum": null}}')

    assert parsed == Settings(limits=Limits(healthy_hosts_minimum=None))


@given(settings)
def test_settings_read_the_same_after_they_were_written(value: Settings) -> None:
    assert parse_settings(json.dumps(value.to_json())) == value


def test_all_mistakes_are_reported_at_once() -> None:
    document = {
        "tolerated_percent": 0,
        "bad_percent": "x",
        "false_alarm_probability": 0.5,
        "miss_probability": 2,
        "worse_factors": [10, 3],
        "largest_compared_percent": 100,
        "period_seconds": 0.5,
        "limits": {"healthy_hosts_minimum": 0, "missing_seconds_maximum": None, "lag": 1},
        "colour": "green",
    }
    with pytest.raises(SettingsError) as caught:
        parse_settings(json.dumps(document))

    assert [line.split(", allowed: ")[0] for line in caught.value.mistakes] == [
        "tolerated_percent: 0",
        'bad_percent: "x"',
        "false_alarm_probability: 0.5",
        "miss_probability: 2",
        "worse_factors: [10, 3]",
        "largest_compared_percent: 100",
        "period_seconds: 0.5",
        "limits.healthy_hosts_minimum: 0",
        "limits.missing_seconds_maximum: null",
        "limits.lag: unknown key",
        "colour: unknown key",
    ]


@pytest.mark.parametrize("bad", [0.2, 0.1])
def test_the_bad_rate_must_be_above_the_tolerated_one(bad: float) -> None:
    with pytest.raises(SettingsError, match=f"bad_percent: {bad}, allowed: a number above tolerated_percent"):
        Settings(tolerated_percent=0.2, bad_percent=bad)


def test_settings_made_in_code_are_checked_too() -> None:
    with pytest.raises(SettingsError, match="period_seconds: 0, allowed: a whole number from 1 to 3,600"):
        Settings(period_seconds=0)


def test_the_bounds_are_the_inverse_probabilities() -> None:
    value = Settings(false_alarm_probability=1e-4, miss_probability=1e-3)

    assert (math.exp(value.roll_back_at), math.exp(value.healthy_at)) == pytest.approx((1e4, 1e-3))


@pytest.mark.parametrize(("weight", "compared"), [(0, False), (1, True), (75, True), (76, False), (100, False)])
def test_a_weight_is_compared_while_the_other_environment_has_enough_of_the_traffic(
    weight: int, compared: bool
) -> None:
    assert Settings(largest_compared_percent=75).compares(weight) is compared
