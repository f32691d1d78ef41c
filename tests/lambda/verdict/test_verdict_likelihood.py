"""The likelihood ratios: what they are, and the bounds on false alarms that rest on them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict import Counts, Settings, expected_requests
from verdict.likelihood import comparison_ratio, mean_ratio, tolerance_ratio

counts = st.integers(0, 10**6).flatmap(lambda requests: st.integers(0, requests).map(lambda bad: Counts(requests, bad)))


def test_the_tolerance_ratio_is_that_of_two_binomials() -> None:
    found = tolerance_ratio(Counts(620, 14), tolerated=0.002, bad=0.02)

    assert math.exp(found) == pytest.approx((0.02**14 * 0.98**606) / (0.002**14 * 0.998**606))


def test_the_comparison_ratio_is_that_of_the_split_of_the_bad_requests() -> None:
    found = comparison_ratio(Counts(100, 5), Counts(900, 4), factor=10)

    # 10 % of the requests: of the bad ones 1/10 are expected when equal, 10/19 when the odds are ten times.
    share = 10 / 19
    assert math.exp(found) == pytest.approx((share**5 * (1 - share) ** 4) / (0.1**5 * 0.9**4))


@pytest.mark.parametrize("requests", [(40, 360), (200, 200), (300, 100), (1, 30)])
@pytest.mark.parametrize("bad", [1, 3, 17, 31])
@pytest.mark.parametrize("factor", [1.5, 3, 20, 1000])
def test_a_common_cause_is_never_expected_to_look_like_blame(
    requests: tuple[int, int], bad: int, factor: float
) -> None:
    """Whatever both suffer from, given how many are bad the split is hypergeometric, and the mean ratio at most 1."""
    own, other = requests
    mean = sum(
        math.comb(own, k)
        * math.comb(other, bad - k)
        / math.comb(own + other, bad)
        * math.exp(comparison_ratio(Counts(own, k), Counts(other, bad - k), factor=factor))
        for k in range(max(0, bad - other), min(own, bad) + 1)
    )

    assert mean <= 1 + 1e-12


@pytest.mark.parametrize("rate", [0.0, 0.0005, 0.001, 0.002])
@pytest.mark.parametrize("requests", [1, 8, 83])
def test_a_healthy_environment_is_never_expected_to_look_bad(rate: float, requests: int) -> None:
    mean = sum(
        math.comb(requests, k)
        * rate**k
        * (1 - rate) ** (requests - k)
        * math.exp(tolerance_ratio(Counts(requests, k), tolerated=0.002, bad=0.02))
        for k in range(requests + 1)
    )

    assert mean <= 1 + 1e-12


@given(counts)
def test_a_good_request_turned_bad_raises_the_tolerance_ratio(value: Counts) -> None:
    if value.bad < value.requests:
        worse = Counts(value.requests, value.bad + 1)

        assert tolerance_ratio(worse, tolerated=0.002, bad=0.02) > tolerance_ratio(value, tolerated=0.002, bad=0.02)


@given(counts, counts, st.floats(1.01, 1e6))
def test_a_good_request_turned_bad_raises_the_comparison_ratio_and_one_of_the_other_lowers_it(
    value: Counts, other: Counts, factor: float
) -> None:
    if value.bad < value.requests and other.bad < other.requests:
        now = comparison_ratio(value, other, factor=factor)
        tolerance = 1e-9 * max(1, abs(now))

        assert comparison_ratio(Counts(value.requests, value.bad + 1), other, factor=factor) >= now - tolerance
        assert comparison_ratio(value, Counts(other.requests, other.bad + 1), factor=factor) <= now + tolerance


@given(st.lists(counts, min_size=1, max_size=5))
def test_the_tolerance_ratio_does_not_depend_on_how_requests_are_batched(values: list[Counts]) -> None:
    together = Counts(sum(each.requests for each in values), sum(each.bad for each in values))
    apart = sum(tolerance_ratio(each, tolerated=0.002, bad=0.02) for each in values)

    assert tolerance_ratio(together, tolerated=0.002, bad=0.02) == pytest.approx(apart, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("ratios", [(0.0,), (-7.0, 3.0), (1e16, 1e16 - 4), (-1e16, 5.0)])
def test_the_mean_of_ratios_lies_between_them_without_overflow(ratios: tuple[float, ...]) -> None:
    assert min(ratios) <= mean_ratio(ratios) <= max(ratios)


def test_health_takes_about_430_requests_to_show_at_a_tenth_of_a_percent() -> None:
    assert expected_requests(Settings(), rate=0.001) == pytest.approx(432, abs=5)


def test_an_environment_that_is_bad_is_not_expected_to_show_health() -> None:
    assert expected_requests(Settings(), rate=0.02) == math.inf
