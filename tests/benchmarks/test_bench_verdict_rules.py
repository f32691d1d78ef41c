"""The benchmark of the verdict compares with rules that do what their makers say, on traffic that is Poisson."""

from __future__ import annotations

import random
import statistics

import pytest

from benchmarks.bench_verdict import (
    OURS,
    Alarm,
    ArgoRollouts,
    Flagger,
    Result,
    Rule,
    Scenario,
    compare,
    poisson,
    rules,
    simulate,
)
from verdict import Counts, Settings

OTHER = Counts(750)
GOOD, SILENT = Counts(100), Counts(0)


def percent(errors: int) -> Counts:
    return Counts(100, errors)


def sample_of_rollback(rule: Rule, samples: list[Counts]) -> int | None:
    return next((n for n, sample in enumerate(samples, start=1) if rule.rolls_back(sample, OTHER)), None)


@pytest.mark.parametrize(
    ("rule", "samples", "expected"),
    [
        (Flagger(), [percent(2)] * 5, 5),
        (Flagger(), [percent(1)] * 9, None),
        (Flagger(), [percent(2), GOOD] * 5, 9),
        (Flagger(), [SILENT] * 5, 5),
        (ArgoRollouts(0), [percent(5), percent(6)], 2),
        (ArgoRollouts(3), [percent(6)] * 4, 4),
        (ArgoRollouts(3), [percent(6), GOOD] * 4, 7),
        (ArgoRollouts(0), [SILENT] * 5, 5),
        (ArgoRollouts(0), [SILENT] * 4 + [GOOD] + [SILENT] * 4, None),
        (Alarm(1, 2, 2), [percent(2), GOOD, percent(2), percent(2)], 4),
        (Alarm(1, 2, 3), [percent(2), GOOD, percent(2)], 3),
        (Alarm(1, 3, 5), [percent(2), GOOD, percent(2), GOOD, percent(2)], 5),
        (Alarm(1, 2, 2), [SILENT] * 9, None),
    ],
)
def test_a_rule_rolls_back_when_its_maker_says(rule: Rule, samples: list[Counts], expected: int | None) -> None:
    assert sample_of_rollback(rule, samples) == expected


@pytest.mark.parametrize("mean", [0.008, 0.7, 8.3, 83.0, 750.0])
def test_the_traffic_is_poisson(mean: float) -> None:
    chance = random.Random(7)  # noqa: S311 - a simulation that must be repeatable
    drawn = [poisson(chance, mean) for _ in range(20_000)]

    # Five standard errors of the mean, and of the variance.
    assert statistics.fmean(drawn) == pytest.approx(mean, abs=5 * (mean / 20_000) ** 0.5)
    assert statistics.pvariance(drawn) == pytest.approx(mean, abs=5 * ((mean + 2 * mean**2) / 20_000) ** 0.5)


def test_the_same_seed_gives_the_same_result() -> None:
    scenario = Scenario(share=0.1, new_rate=0.05)
    first, second = (simulate(scenario, rules(Settings()), runs=20, seed="1") for _ in range(2))

    assert first == second


def test_a_rule_that_rolls_back_healthy_releases_is_worse_and_one_that_is_faster_better() -> None:
    healthy, bad = Scenario(share=0.1, new_rate=0.001, blameless=True), Scenario(share=0.1, new_rate=0.02)
    ours_healthy, ours_bad = Result(runs=1000), Result(runs=1000, delays=[5] * 1000)
    eager_healthy, eager_bad = Result(runs=1000, delays=[3] * 500), Result(runs=1000, delays=[1] * 1000)

    found = compare(
        [(healthy, {OURS: ours_healthy, "eager": eager_healthy}), (bad, {OURS: ours_bad, "eager": eager_bad})]
    )

    assert [(each.measure, each.verdict) for each in found] == [
        ("false rollbacks", "worse"),
        ("misses", "equal"),
        ("delay", "better"),
    ]


def test_a_difference_within_chance_is_no_difference() -> None:
    healthy = Scenario(share=0.1, new_rate=0.001, blameless=True)
    (found,) = compare([(healthy, {OURS: Result(runs=1000), "other": Result(runs=1000, delays=[3])})])

    assert found.verdict == "equal"
