"""Likelihood ratios of counts, as natural logarithms.

``tolerance_ratio``: Wald's sequential probability ratio test of a share of bad requests.

``comparison_ratio``: the test of two shares on the same sample, given how many of the requests of both were bad
(Wald's double dichotomies). What made them bad drops out, however it changes from sample to sample. Given ``m`` bad
requests in all, and a share ``w`` of the requests, an environment that is no worse than the other one has a number of
bad requests that is hypergeometric at the most. The ratio is taken between binomials with the odds factor*w/(1-w)
and w/(1-w). Its expectation is at most 1 under the hypergeometric too: it is a convex function of the count, and
sampling without replacement never has the larger expectation of such a function (Hoeffding 1963, theorem 4). So the
bound on false alarms is exact for any counts, not only for rare errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from verdict.observation import Counts
from verdict.settings import Settings


def tolerance_ratio(counts: Counts, *, tolerated: float, bad: float) -> float:
    """How much likelier the counts are at the rate ``bad`` than at ``tolerated``, both shares of 1."""
    good = counts.requests - counts.bad
    return counts.bad * math.log(bad / tolerated) + good * (math.log1p(-bad) - math.log1p(-tolerated))


def comparison_ratio(counts: Counts, other: Counts, *, factor: float) -> float:
    """How much likelier the split of the bad requests is when the odds are ``factor`` times the other's.

    Both environments answered at least one request.
    """
    share = counts.requests / (counts.requests + other.requests)
    bad_of_both = counts.bad + other.bad
    return counts.bad * math.log(factor) - bad_of_both * math.log1p(share * (factor - 1))


LAST_WEIGHT: Final = 0.9
"""Weight of the largest factor in the mean: nearly all, because a bad release among healthy ones is the usual case."""


def mean_ratio(ratios: Sequence[float]) -> float:
    """Logarithm of the weighted mean of ratios that are given as logarithms, in ascending order of their factors."""
    if len(ratios) == 1:
        return ratios[0]
    rest = (1 - LAST_WEIGHT) / (len(ratios) - 1)
    weights = (*[rest] * (len(ratios) - 1), LAST_WEIGHT)
    largest = max(ratios)
    total = sum(weight * math.exp(each - largest) for weight, each in zip(weights, ratios, strict=True))
    return largest + math.log(total)


def drift(settings: Settings, rate: float) -> float:
    """Expected change of the tolerance ratio with each request at a true share ``rate`` of bad ones."""
    tolerated, bad = settings.tolerated_percent / 100, settings.bad_percent / 100
    return rate * math.log(bad / tolerated) + (1 - rate) * (math.log1p(-bad) - math.log1p(-tolerated))


def expected_requests(settings: Settings, *, rate: float) -> float:
    """Requests until a step is shown to be healthy, on average, at a true share ``rate`` of bad ones; may be inf."""
    change = drift(settings, rate)
    return settings.healthy_at / change if change < 0 else math.inf
