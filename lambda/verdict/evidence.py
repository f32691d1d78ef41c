"""What a step's samples have shown so far: the state between two evaluations, a value that JSON carries.

Two things are followed, both as logarithms of likelihood ratios, and both begin anew with every step, because an
environment may be good at 1 % of the requests and bad at 25 %.

``health``: bad against tolerated, over the environment's own requests. It proves health at its lower bound, and only
from an unbroken series of samples.

``blame``: the same, except that each sample counts no more than its comparison with the other environment does. That
is still a supermartingale while in every sample the environment is within what is tolerated, *or* no worse than the
other one, and so rolls back neither a healthy environment nor one that shares its trouble with the other. There is
one ratio for each factor, and their weighted mean decides.

Both are held at the lower bound once they are there, so that the watch goes on and trouble that begins late is found.
Each sample at the bound is a new start there: it adds at most (false alarm probability) x (miss probability) to the
probability of a false alarm.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Self

from verdict.likelihood import comparison_ratio, mean_ratio, tolerance_ratio
from verdict.observation import Counts, Observation, ObservationError, Sample
from verdict.settings import Settings

VERSION: Final = 1


class EvidenceError(ValueError):
    """A stored state that cannot be resumed; the message names the member, its value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests and bad requests of the environment and, where it was compared, of the other one."""

    samples: int = 0
    requests: int = 0
    bad: int = 0
    other_requests: int = 0
    other_bad: int = 0

    def plus(self, counts: Counts, other: Counts | None) -> Tally:
        return Tally(
            self.samples + 1,
            self.requests + counts.requests,
            self.bad + counts.bad,
            self.other_requests + (0 if other is None else other.requests),
            self.other_bad + (0 if other is None else other.bad),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Evidence of one step.

    Attributes:
        environment: Name of the environment that is judged.
        other: Name of the one that it is compared with; None when there is none.
        alarms: Names of the alarms that are watched. One that is not observed is missing.
        next_sample_seconds: Start of the sample that comes next, in epoch seconds.
        health: Logarithm of the likelihood ratio against the tolerated rate.
        proved: Health was shown, and has not been in doubt since.
        blame: Logarithms of the likelihood ratios that roll back.
        blamed: Their weighted mean has reached the bound. This stays.
        step: All that was counted in this step.
        recent: What was counted since ``blame`` was last at its lower bound.
        missing_in_a_row: Samples without counts up to now.
        missing: All samples without counts.
        silent_since: Since when a signal that is watched has been without data, in epoch seconds.
    """

    environment: str
    other: str | None = None
    alarms: tuple[str, ...] = ()
    next_sample_seconds: int
    health: float = 0.0
    proved: bool = False
    blame: tuple[float, ...] = (0.0,)
    blamed: bool = False
    step: Tally = field(default_factory=Tally)
    recent: Tally = field(default_factory=Tally)
    missing_in_a_row: int = 0
    missing: int = 0
    silent_since: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def begin(
        cls,
        settings: Settings,
        *,
        environment: str,
        other: str | None = None,
        alarms: Sequence[str] = (),
        since_seconds: float,
    ) -> Self:
        """No evidence, for a step whose weights are verified since then. The first sample is the first whole one.

        Args:
            other: The environment to compare with, where ``settings.compares`` the weight.
        """
        period = settings.period_seconds
        return cls(
            environment=environment,
            other=other,
            alarms=tuple(alarms),
            next_sample_seconds=math.ceil(since_seconds / period) * period,
            blame=(0.0,) * (len(settings.worse_factors) if other else 1),
        )

    def after(self, settings: Settings, observation: Observation) -> Self:
        """With the samples of the observation. A sample that is due and not there counts as missing.

        Raises:
            ObservationError: A sample was counted before, is not complete yet, or begins between two samples.
            EvidenceError: The evidence was begun with other settings.
        """
        ratios = len(settings.worse_factors) if self.other else 1
        if len(self.blame) != ratios:
            raise EvidenceError(
                f"blame: {len(self.blame)} numbers, allowed: {ratios}, one for each of worse_factors, "
                "which must stay the same while a step is watched"
            )
        period = settings.period_seconds
        result = self
        for sample in observation.samples:
            late = sample.start_seconds - result.next_sample_seconds
            if late % period:
                raise ObservationError(
                    f"sample: begins at {sample.start_seconds}, allowed: {result.next_sample_seconds} "
                    f"or a multiple of {period} s later"
                )
            if late < 0:
                raise ObservationError(
                    f"sample: begins at {sample.start_seconds}, allowed: {result.next_sample_seconds} or later, "
                    "because what comes before was counted already"
                )
            if sample.start_seconds + period > observation.settled_until_seconds:
                raise ObservationError(
                    f"sample: begins at {sample.start_seconds} and lasts {period} s, allowed: ends by "
                    f"settled_until_seconds, which is {observation.settled_until_seconds}"
                )
            result = result._without_counts(late // period, period)._with_sample(settings, sample)
        due = max(0, (observation.settled_until_seconds - result.next_sample_seconds) // period)
        return result._without_counts(due, period)

    def to_json(self) -> dict[str, Any]:
        """Plain members for the state machine's data; ``from_json`` gives an equal value back."""
        tallies = {name: [getattr(getattr(self, name), f.name) for f in fields(Tally)] for name in ("step", "recent")}
        return {
            "version": VERSION,
            "environment": self.environment,
            "other": self.other,
            "alarms": list(self.alarms),
            "next_sample_seconds": self.next_sample_seconds,
            "health": self.health,
            "proved": self.proved,
            "blame": list(self.blame),
            "blamed": self.blamed,
            **tallies,
            "missing_in_a_row": self.missing_in_a_row,
            "missing": self.missing,
            "silent_since": dict(self.silent_since),
        }

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> Self:
        """Raises: EvidenceError: Not of the form that ``to_json`` writes."""
        check = _Members(members)
        if check.whole("version") != VERSION:
            raise EvidenceError(f"version: {members['version']}, allowed: {VERSION}")
        evidence = cls(
            environment=check.text("environment"),
            other=None if members.get("other") is None else check.text("other"),
            alarms=tuple(check.texts("alarms")),
            next_sample_seconds=check.whole("next_sample_seconds"),
            health=check.real("health"),
            proved=check.truth("proved"),
            blame=tuple(check.reals("blame")),
            blamed=check.truth("blamed"),
            step=check.tally("step"),
            recent=check.tally("recent"),
            missing_in_a_row=check.whole("missing_in_a_row"),
            missing=check.whole("missing"),
            silent_since=check.times("silent_since"),
        )
        check.finish()
        return evidence

    def _with_sample(self, settings: Settings, sample: Sample) -> Self:
        counts = sample.environment
        if counts is None:
            return self._without_counts(1, settings.period_seconds)
        # A sample in which the other environment answered nothing cannot be compared; without the comparison the
        # tolerated rate alone decides, because what is not known must not protect.
        other = sample.other if self.other is not None and sample.other is not None and sample.other.requests else None
        floor, ceiling = settings.healthy_at, settings.roll_back_at
        own = tolerance_ratio(counts, tolerated=settings.tolerated_percent / 100, bad=settings.bad_percent / 100)
        # The ceiling lets an environment that was in trouble prove its health once the trouble is over.
        health = min(ceiling, max(floor, self.health + own))
        blame, recent = self.blame, self.recent
        if not self.blamed:
            if other is None or not counts.requests:
                blame = tuple(max(floor, each + own) for each in blame)
            else:
                blame = tuple(
                    max(floor, each + min(own, comparison_ratio(counts, other, factor=factor)))
                    for each, factor in zip(blame, settings.worse_factors, strict=True)
                )
            recent = Tally() if max(blame) <= floor else recent.plus(counts, other)
        return replace(
            self,
            next_sample_seconds=self.next_sample_seconds + settings.period_seconds,
            health=health,
            proved=health <= floor or (self.proved and health <= 0),
            blame=blame,
            blamed=self.blamed or mean_ratio(blame) >= ceiling,
            step=self.step.plus(counts, other),
            recent=recent,
            missing_in_a_row=0,
        )

    def _without_counts(self, samples: int, period_seconds: int) -> Self:
        if not samples:
            return self
        return replace(
            self,
            next_sample_seconds=self.next_sample_seconds + samples * period_seconds,
            health=max(0.0, self.health),
            proved=False,
            missing_in_a_row=self.missing_in_a_row + samples,
            missing=self.missing + samples,
        )


class _Members:
    """The members of a stored state, each checked when it is taken."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        if not isinstance(members, Mapping):
            raise EvidenceError(f"evidence: {_shown(members)}, allowed: a JSON object")
        self._members = members
        self._taken: set[str] = {"other"}

    def whole(self, key: str) -> int:
        return _whole(key, self._take(key))

    def real(self, key: str) -> float:
        return _real(key, self._take(key))

    def reals(self, key: str) -> list[float]:
        return [_real(key, each) for each in self._list(key, at_least=1)]

    def truth(self, key: str) -> bool:
        value = self._take(key)
        if not isinstance(value, bool):
            raise EvidenceError(f"{key}: {_shown(value)}, allowed: true or false")
        return value

    def text(self, key: str) -> str:
        return _text(key, self._take(key))

    def texts(self, key: str) -> list[str]:
        return [_text(key, each) for each in self._list(key)]

    def tally(self, key: str) -> Tally:
        value = self._list(key)
        if len(value) != len(fields(Tally)):
            raise EvidenceError(f"{key}: {_shown(value)}, allowed: a list of {len(fields(Tally))} whole numbers")
        return Tally(*(_whole(key, each) for each in value))

    def times(self, key: str) -> dict[str, int]:
        value = self._take(key)
        if not isinstance(value, Mapping):
            raise EvidenceError(f"{key}: {_shown(value)}, allowed: a JSON object of epoch seconds")
        return {name: _whole(f"{key}.{name}", each) for name, each in value.items()}

    def finish(self) -> None:
        unknown = sorted(set(self._members) - self._taken)
        if unknown:
            raise EvidenceError(f"{unknown[0]}: unknown member, allowed: {', '.join(sorted(self._taken))}")

    def _take(self, key: str) -> Any:
        self._taken.add(key)
        try:
            return self._members[key]
        except KeyError:
            raise EvidenceError(f"{key}: missing, allowed: what the state of version {VERSION} has") from None

    def _list(self, key: str, *, at_least: int = 0) -> Sequence[Any]:
        value = self._take(key)
        if not isinstance(value, list | tuple) or len(value) < at_least:
            raise EvidenceError(f"{key}: {_shown(value)}, allowed: a list of at least {at_least} members")
        return value


def _whole(key: str, value: Any) -> int:
    # JSON does not tell 60 from 60.0, and what passes through a state machine may come back as either.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value) is not int or value < 0:
        raise EvidenceError(f"{key}: {_shown(value)}, allowed: a whole number from 0")
    return value


def _real(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise EvidenceError(f"{key}: {_shown(value)}, allowed: a finite number")
    return float(value)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise EvidenceError(f"{key}: {_shown(value)}, allowed: text")
    return value


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:60]
