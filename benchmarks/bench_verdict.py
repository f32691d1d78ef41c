"""False rollbacks, misses and delay of our verdict and of the rules that others use, on the same simulated traffic.

Run by ``make bench-verdict``. Ours is the code that is deployed (``verdict.Evidence``), not a copy of its formulas.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import json
import math
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

# lambda/ is a source root; the benchmark is started without the configuration of pytest.
sys.path.append(str(Path(__file__).resolve().parents[1] / "lambda"))

from verdict import Counts, Evidence, Observation, Sample, Settings

REQUESTS_PER_HOUR: Final = 50_000
SAMPLES: Final = 30
PERIOD_SECONDS: Final = 60
HEALTHY_RATE: Final = 0.001
SHARES: Final = (0.01, 0.05, 0.10)
BAD_RATES: Final = (0.02, 0.05, 0.5)
OURS: Final = "sequential test (ours)"
STANDARD_ERRORS: Final = 3.0


class Rule(Protocol):
    """A rule that sees one sample after the other."""

    def rolls_back(self, new: Counts, other: Counts) -> bool:
        """Whether it rolls back now."""


class Ours:
    """The deployed verdict."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.evidence = Evidence.begin(settings, environment="green", other="blue", since_seconds=0)

    def rolls_back(self, new: Counts, other: Counts) -> bool:
        start = self.evidence.next_sample_seconds
        end = start + PERIOD_SECONDS
        observation = Observation(now_seconds=end, settled_until_seconds=end, samples=(Sample(start, new, other),))
        self.evidence = self.evidence.after(self._settings, observation)
        return self.evidence.blamed


class Flagger:
    """Success rate at least 99 %, threshold 5: the failed checks are counted and never forgotten, and a check without
    data is a failed one (pkg/controller/scheduler.go). It would act one interval later; that is not counted.
    """

    def __init__(self) -> None:
        self._failed = 0

    def rolls_back(self, new: Counts, other: Counts) -> bool:
        self._failed += not new.requests or new.bad > 0.01 * new.requests
        return self._failed >= 5


class ArgoRollouts:
    """Success condition ``error rate <= 5 %``. More failed measurements than failureLimit (default 0; 3 in the
    examples) abort; a measurement without data is an error, and more than consecutiveErrorLimit (default 4) of these
    in a row abort.
    """

    def __init__(self, failure_limit: int) -> None:
        self._failure_limit = failure_limit
        self._failed = self._errors = 0

    def rolls_back(self, new: Counts, other: Counts) -> bool:
        self._errors = 0 if new.requests else self._errors + 1
        self._failed += new.bad > 0.05 * new.requests
        return self._failed > self._failure_limit or self._errors > 4


class Alarm:
    """A CloudWatch alarm on the error rate: M of the last N periods above the threshold, missing data not breaching."""

    def __init__(self, percent: float, of: int, periods: int) -> None:
        self._share = percent / 100
        self._of = of
        self._last: deque[bool] = deque(maxlen=periods)

    def rolls_back(self, new: Counts, other: Counts) -> bool:
        self._last.append(new.bad > self._share * new.requests)
        return sum(self._last) >= self._of


def rules(settings: Settings) -> dict[str, Callable[[], Rule]]:
    return {
        OURS: lambda: Ours(settings),
        "Flagger: 99 %, 5 failed checks": Flagger,
        "Argo: > 5 %, failureLimit 0": lambda: ArgoRollouts(0),
        "Argo: > 5 %, failureLimit 3": lambda: ArgoRollouts(3),
        "alarm: > 1 %, 1 of 1": lambda: Alarm(1, 1, 1),
        "alarm: > 1 %, 2 of 2": lambda: Alarm(1, 2, 2),
        "alarm: > 1 %, 2 of 3": lambda: Alarm(1, 2, 3),
        "alarm: > 1 %, 3 of 5": lambda: Alarm(1, 3, 5),
        "alarm: > 2 %, 3 of 3": lambda: Alarm(2, 3, 3),
        "alarm: > 5 %, 2 of 2": lambda: Alarm(5, 2, 2),
    }


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Traffic and truth.

    Attributes:
        share: Of the requests that the new environment gets.
        new_rate: Share of its requests that are bad, from ``onset`` on.
        other_rate: The same of the other environment.
        onset: Samples at the beginning in which both are healthy.
        blameless: Rolling back is a false rollback.
    """

    share: float
    new_rate: float
    other_rate: float = HEALTHY_RATE
    onset: int = 0
    blameless: bool = False

    def samples(self, chance: random.Random) -> Iterator[tuple[Counts, Counts]]:
        """Poisson traffic: good and bad requests are independent streams."""
        per_sample = REQUESTS_PER_HOUR * PERIOD_SECONDS / 3600
        new, other = per_sample * self.share, per_sample * (1 - self.share)
        for number in range(self.onset + SAMPLES):
            late = number >= self.onset
            yield (
                _counts(chance, new, self.new_rate if late else HEALTHY_RATE),
                _counts(chance, other, self.other_rate if late else HEALTHY_RATE),
            )


def _counts(chance: random.Random, requests: float, rate: float) -> Counts:
    bad = poisson(chance, requests * rate)
    return Counts(poisson(chance, requests * (1 - rate)) + bad, bad)


_TABLES: dict[float, list[float]] = {}


def poisson(chance: random.Random, mean: float) -> int:
    """A Poisson variate by inversion of its distribution, which is tabulated once for each mean."""
    table = _TABLES.get(mean)
    if table is None:
        beyond = math.ceil(mean + 12 * math.sqrt(mean) + 20)
        terms = (math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(beyond))
        table = _TABLES[mean] = list(itertools.accumulate(terms))
    return bisect.bisect(table, chance.random())


@dataclass(kw_only=True)
class Result:
    """What one rule did in the runs of one scenario.

    Attributes:
        delays: Samples from the onset until it rolled back, one for each run in which it did so afterwards.
        early: Runs in which it rolled back before the onset.
        passed: Runs at whose end it had let the new environment pass; otherwise it held.
    """

    runs: int = 0
    delays: list[int] = field(default_factory=list)
    early: int = 0
    passed: int = 0

    @property
    def rolled_back(self) -> float:
        return len(self.delays) / self.runs

    @property
    def missed(self) -> float:
        return 1 - (len(self.delays) + self.early) / self.runs

    @property
    def restricted_delays(self) -> list[int]:
        """Delays, with a run that did not roll back counted as the whole half-hour."""
        return self.delays + [SAMPLES] * (self.runs - self.early - len(self.delays))

    @property
    def mean_delay(self) -> float:
        return statistics.fmean(self.restricted_delays) if self.restricted_delays else math.nan

    @property
    def median_delay(self) -> float:
        return statistics.median(self.delays) if self.delays else math.nan

    @property
    def slowest(self) -> float:
        return max(self.delays) if self.delays else math.nan

    def to_json(self) -> dict[str, Any]:
        return {
            "runs": self.runs,
            "rolled_back": self.rolled_back,
            "missed": self.missed,
            "early": self.early / self.runs,
            "passed": self.passed / self.runs,
            "median_delay": _finite(self.median_delay),
            "mean_delay_restricted": _finite(self.mean_delay),
            "slowest": _finite(self.slowest),
        }


def simulate(scenario: Scenario, makers: dict[str, Callable[[], Rule]], *, runs: int, seed: str) -> dict[str, Result]:
    """Every rule on the same samples."""
    chance = random.Random(seed)  # noqa: S311 - a simulation that must be repeatable
    results = {name: Result(runs=runs) for name in makers}
    for _ in range(runs):
        open_rules = {name: make() for name, make in makers.items()}
        for number, (new, other) in enumerate(scenario.samples(chance), start=1):
            for name in [name for name, rule in open_rules.items() if rule.rolls_back(new, other)]:
                del open_rules[name]
                if number > scenario.onset:
                    results[name].delays.append(number - scenario.onset)
                else:
                    results[name].early += 1
            if not open_rules:
                break
        for name, rule in open_rules.items():
            # The others know only two answers: what was not rolled back goes on.
            results[name].passed += not isinstance(rule, Ours) or rule.evidence.proved
    return results


def grid() -> list[Scenario]:
    """The grid over which rules are compared."""
    return [
        Scenario(share=share, new_rate=rate, blameless=rate == HEALTHY_RATE)
        for share in SHARES
        for rate in (HEALTHY_RATE, *BAD_RATES)
    ]


def further() -> dict[str, Scenario]:
    """Scenarios outside the grid, which it does not show."""
    return {
        "bad at 2 % after 15 healthy minutes": Scenario(share=0.1, new_rate=0.02, onset=15),
        "bad at 5 % after 15 healthy minutes": Scenario(share=0.1, new_rate=0.05, onset=15),
        "bad at 2 % with half of the traffic": Scenario(share=0.5, new_rate=0.02),
        "both at 5 %: a common cause": Scenario(share=0.1, new_rate=0.05, other_rate=0.05, blameless=True),
        "both at 20 %: a common cause": Scenario(share=0.1, new_rate=0.2, other_rate=0.2, blameless=True),
        "both at 5 %, half of the traffic": Scenario(share=0.5, new_rate=0.05, other_rate=0.05, blameless=True),
        "common cause 2 %, and bad at 10 %": Scenario(share=0.1, new_rate=0.1, other_rate=0.02),
    }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One rule against ours in one cell and one measure. Negative: the rule is better."""

    rule: str
    cell: str
    measure: str
    theirs: float
    ours: float
    standard_error: float

    @property
    def verdict(self) -> str:
        difference = self.theirs - self.ours
        if abs(difference) <= STANDARD_ERRORS * self.standard_error:
            return "equal"
        return "worse" if difference > 0 else "better"


def compare(cells: Sequence[tuple[Scenario, dict[str, Result]]]) -> list[Comparison]:
    """Every other rule with ours: false rollbacks where the new environment is healthy, misses and delay where not."""
    found = []
    for scenario, results in cells:
        ours = results[OURS]
        for name, theirs in results.items():
            if name == OURS:
                continue
            if scenario.blameless:
                measures = [("false rollbacks", theirs.rolled_back, ours.rolled_back, _share_error)]
            else:
                measures = [("misses", theirs.missed, ours.missed, _share_error)]
            for measure, their_value, our_value, error in measures:
                found.append(
                    Comparison(
                        rule=name,
                        cell=cell_name(scenario),
                        measure=measure,
                        theirs=their_value,
                        ours=our_value,
                        standard_error=error(their_value, our_value, theirs.runs),
                    )
                )
            if not scenario.blameless:
                found.append(
                    Comparison(
                        rule=name,
                        cell=cell_name(scenario),
                        measure="delay",
                        theirs=theirs.mean_delay,
                        ours=ours.mean_delay,
                        standard_error=math.hypot(_mean_error(theirs), _mean_error(ours)),
                    )
                )
    return found


def _share_error(first: float, second: float, runs: int) -> float:
    """Standard error of the difference of two shares; the pooled share is kept off 0 and 1 by half a run."""
    pooled = min(max((first + second) / 2, 0.5 / runs), 1 - 0.5 / runs)
    return math.sqrt(2 * pooled * (1 - pooled) / runs)


def _mean_error(result: Result) -> float:
    delays = result.restricted_delays
    return statistics.pstdev(delays) / math.sqrt(len(delays)) if delays else 0.0


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A goal, what was measured, and whether it is reached."""

    text: str
    measured: str
    reached: bool


def goals(cells: Sequence[tuple[Scenario, dict[str, Result]]], comparisons: Sequence[Comparison]) -> list[Goal]:
    ours = {(scenario.share, scenario.new_rate): results[OURS] for scenario, results in cells}
    healthy, two, five, half = (ours[0.10, rate] for rate in (HEALTHY_RATE, *BAD_RATES))
    false = len(healthy.delays)
    # With no event in n runs the rate is below 3/n at 95 % confidence; with k events Poisson's upper limit is near
    # k + 1.65 sqrt(k + 1) + 1.
    upper = (3 if not false else false + 1.65 * math.sqrt(false + 1) + 1) / healthy.runs
    others = sorted({each.rule for each in comparisons})
    as_good = [name for name in others if not any(c.rule == name and c.verdict == "worse" for c in comparisons)]
    return [
        Goal(
            text="10 % of the traffic, 0.1 % errors: at most 1 false rollback in 1,000 half-hours",
            measured=f"{false} in {healthy.runs:,} (95 %: below {1000 * upper:.2g} in 1,000)",
            reached=false <= healthy.runs / 1000,
        ),
        Goal(
            text="10 % of the traffic, 5 % errors: found in 2 samples in the median, and in every run",
            measured=f"median {five.median_delay:g}, slowest {five.slowest:g}, missed {five.missed:.2%}",
            reached=five.median_delay <= 2 and five.missed == 0,
        ),
        Goal(
            text="10 % of the traffic, 50 % errors: found in the first sample",
            measured=f"median {half.median_delay:g}, slowest {half.slowest:g}",
            reached=half.slowest <= 1 and half.missed == 0,
        ),
        Goal(
            text="10 % of the traffic, 2 % errors: found in every run",
            measured=f"missed {two.missed:.2%}, median {two.median_delay:g}, slowest {two.slowest:g}",
            reached=two.missed == 0,
        ),
        Goal(
            text="no other rule is as good as ours over the whole grid",
            measured=", ".join(as_good) or f"each of the {len(others)} is worse somewhere",
            reached=not as_good,
        ),
    ]


DOMINANCE = (
    "Another rule is as good as ours over the whole grid if in none of its "
    f"{len(SHARES) * (1 + len(BAD_RATES))} cells it is worse: in the share of false rollbacks where the error rate is "
    f"{HEALTHY_RATE:.1%}; in the share of misses (not rolled back within {SAMPLES} samples), or in the mean delay (a "
    f"miss counts as {SAMPLES} samples), where it is higher. Worse and better mean by more than "
    f"{STANDARD_ERRORS:g} standard errors of the difference."
)


def cell_name(scenario: Scenario) -> str:
    return f"{scenario.share:.0%} of the traffic, {_percent(scenario.new_rate)} errors"


def _percent(rate: float) -> str:
    return f"{rate * 100:g} %"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell(scenario: Scenario, result: Result) -> str:
    if scenario.blameless:
        return f"{result.rolled_back:.4f} false"
    found = f"{result.missed:.4f} missed"
    return f"{found}, {result.median_delay:3g} / {result.mean_delay:5.2f}"


def print_report(
    cells: Sequence[tuple[Scenario, dict[str, Result]]],
    others: Sequence[tuple[str, Scenario, dict[str, Result]]],
    comparisons: Sequence[Comparison],
    reached: Sequence[Goal],
    *,
    runs: int,
    seconds: float,
) -> None:
    print(
        f"{runs:,} runs of {SAMPLES} samples of {PERIOD_SECONDS} s in each cell; {REQUESTS_PER_HOUR:,} requests an "
        "hour, Poisson.\nfalse: share of runs that rolled back a healthy release. missed: share of runs that did not "
        "roll back a bad one.\nThen the delay in samples: median of those that did / mean with a miss as "
        f"{SAMPLES}.\n"
    )
    names = list(cells[0][1])
    for scenario, results in cells:
        print(cell_name(scenario))
        for name in names:
            print(f"  {name:<32} {_cell(scenario, results[name])}{_held(scenario, name, results[name])}")
    print("\nBeyond the grid")
    for title, scenario, results in others:
        print(f"{title} ({scenario.share:.0%} of the traffic)")
        for name in names:
            early = f", {results[name].early / runs:.4f} false before" if scenario.onset else ""
            print(f"  {name:<32} {_cell(scenario, results[name])}{early}{_held(scenario, name, results[name])}")
    print(f"\n{DOMINANCE}")
    for name in names:
        if name == OURS:
            continue
        counted = {
            each: sum(c.rule == name and c.verdict == each for c in comparisons)
            for each in ("better", "equal", "worse")
        }
        better = [f"{c.measure} at {c.cell}" for c in comparisons if c.rule == name and c.verdict == "better"]
        print(f"  {name}: better in {counted['better']}, equal in {counted['equal']}, worse in {counted['worse']}")
        for each in better:
            print(f"      better: {each}")
    print()
    for goal in reached:
        print(f"{'reached' if goal.reached else 'NOT REACHED'}: {goal.text}: {goal.measured}")
    print(f"\n{seconds:.0f} s")


def _held(scenario: Scenario, name: str, result: Result) -> str:
    """What became of the runs that ours did not roll back."""
    if name != OURS or result.rolled_back + result.early / result.runs == 1:
        return ""
    passed = result.passed / result.runs
    held = 1 - passed - result.rolled_back - result.early / result.runs
    return f"  (passed {passed:.4f}, held {held:.4f})"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000, help="runs in each cell, at least 100 (default 4000)")
    parser.add_argument("--seed", type=int, default=20_261_124, help="seed of the traffic")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args(arguments)
    if options.runs < 100:
        parser.error(f"--runs: {options.runs}, allowed: at least 100")
    began = time.monotonic()
    makers = rules(Settings())
    cells = [
        (scenario, simulate(scenario, makers, runs=options.runs, seed=f"{options.seed}/{cell_name(scenario)}"))
        for scenario in grid()
    ]
    others = [
        (title, scenario, simulate(scenario, makers, runs=options.runs, seed=f"{options.seed}/{title}"))
        for title, scenario in further().items()
    ]
    comparisons = compare(cells)
    reached = goals(cells, comparisons)
    seconds = time.monotonic() - began
    if options.json:
        document = {
            "runs": options.runs,
            "seed": options.seed,
            "seconds": round(seconds, 1),
            "grid": [
                {"cell": cell_name(s), "rules": {name: result.to_json() for name, result in results.items()}}
                for s, results in cells
            ],
            "further": [
                {"cell": title, "rules": {name: result.to_json() for name, result in results.items()}}
                for title, _, results in others
            ],
            "dominance": DOMINANCE,
            "comparisons": [
                {
                    "rule": c.rule,
                    "cell": c.cell,
                    "measure": c.measure,
                    "theirs": c.theirs,
                    "ours": c.ours,
                    "standard_error": c.standard_error,
                    "verdict": c.verdict,
                }
                for c in comparisons
            ],
            "goals": [{"text": g.text, "measured": g.measured, "reached": g.reached} for g in reached],
        }
        print(json.dumps(document, indent=2))
    else:
        print_report(cells, others, comparisons, reached, runs=options.runs, seconds=seconds)
    return 0 if all(goal.reached for goal in reached) else 1


if __name__ == "__main__":
    sys.exit(main())
