"""The promised probabilities, on simulated traffic.

The seeds are fixed, so that a run repeats exactly. The numbers of runs are such that the bounds would hold for any
seed but one in a million: with a probability p of at most 1.03e-4 in a run, more than 5 of 2,000 runs have a
probability below 1e-6.
"""

from __future__ import annotations

import random

import pytest

from verdict import Counts, Evidence, Observation, Sample, Settings

pytestmark = pytest.mark.slow

SETTINGS = Settings()
SAMPLES = 30
REQUESTS = 83


def draw(chance: random.Random, requests: int, rate: float) -> Counts:
    return Counts(requests, sum(chance.random() < rate for _ in range(requests)))


def blamed_after(chance: random.Random, rate: float, other_rates: list[float] | None) -> int | None:
    """Samples until one half-hour is rolled back; None when it is not."""
    other = None if other_rates is None else "blue"
    evidence = Evidence.begin(SETTINGS, environment="green", other=other, since_seconds=0)
    for number in range(SAMPLES):
        compared = None if other_rates is None else draw(chance, REQUESTS, other_rates[number])
        own = draw(chance, REQUESTS, other_rates[number] if other_rates and rate < 0 else rate)
        end = 60 * (number + 1)
        observation = Observation(
            now_seconds=end, settled_until_seconds=end, samples=(Sample(60 * number, own, compared),)
        )
        evidence = evidence.after(SETTINGS, observation)
        if evidence.blamed:
            return number + 1
    return None


def test_an_environment_at_the_tolerated_rate_is_hardly_ever_rolled_back() -> None:
    chance = random.Random(1)  # noqa: S311 - a simulation that must be repeatable
    blamed = sum(blamed_after(chance, 0.002, None) is not None for _ in range(2000))

    assert blamed <= 5


def test_an_environment_that_suffers_like_the_other_one_is_hardly_ever_rolled_back() -> None:
    """The common cause comes and goes: a rate of its own in every sample, from none to half of the requests."""
    chance = random.Random(2)  # noqa: S311 - a simulation that must be repeatable
    rates = [0.0, 0.05, 0.5, 0.002, 0.2]
    blamed = sum(
        blamed_after(chance, -1, [chance.choice(rates) for _ in range(SAMPLES)]) is not None for _ in range(2000)
    )

    assert blamed <= 5


def test_an_environment_at_the_bad_rate_hardly_ever_shows_health() -> None:
    """With a probability of at most 1.001e-3 in a run, more than 14 of 2,000 runs have a probability below 1e-6."""
    chance = random.Random(3)  # noqa: S311 - a simulation that must be repeatable
    proved = 0
    for _ in range(2000):
        evidence = Evidence.begin(SETTINGS, environment="green", since_seconds=0)
        for number in range(SAMPLES):
            end = 60 * (number + 1)
            sample = Sample(60 * number, draw(chance, REQUESTS, 0.02))
            observation = Observation(now_seconds=end, settled_until_seconds=end, samples=(sample,))
            evidence = evidence.after(SETTINGS, observation)
            if evidence.proved:
                proved += 1
                break
            if evidence.blamed:
                break

    assert proved <= 14


@pytest.mark.parametrize(("rate", "within"), [(0.05, 12), (0.5, 1)])
def test_a_bad_environment_beside_a_healthy_one_is_always_found_in_time(rate: float, within: int) -> None:
    chance = random.Random(4)  # noqa: S311 - a simulation that must be repeatable
    found = [blamed_after(chance, rate, [0.001] * SAMPLES) for _ in range(300)]

    assert max(SAMPLES if each is None else each for each in found) <= within
