"""What counts as bad, how sure a decision must be, and the hard limits; every default stands here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Self

from checked_json import DocumentError, Reader, parse_object

MOST_WORSE_FACTORS: Final = 4


class SettingsError(DocumentError):
    """Settings that cannot be used; ``mistakes`` has one line for each."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Hard limits: a value beyond one rolls back at once, whatever the requests say. None: not watched.

    Attributes:
        healthy_hosts_minimum: Targets that the load balancer finds healthy.
        replication_lag_seconds_maximum: CDC latency of the slowest task.
        validation_failures_maximum: Rows that DMS found to differ.
        missing_seconds_maximum: How long anything that is watched may be without data.
    """

    healthy_hosts_minimum: int | None = 2
    replication_lag_seconds_maximum: int | None = 60
    validation_failures_maximum: int | None = 0
    missing_seconds_maximum: int = 300

    def to_json(self) -> dict[str, Any]:
        return {
            "healthy_hosts_minimum": self.healthy_hosts_minimum,
            "replication_lag_seconds_maximum": self.replication_lag_seconds_maximum,
            "validation_failures_maximum": self.validation_failures_maximum,
            "missing_seconds_maximum": self.missing_seconds_maximum,
        }


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The sequential test.

    Attributes:
        tolerated_percent: Share of bad requests (errors, and answers slower than the objective) that is healthy.
        bad_percent: Share of bad requests that must be found.
        false_alarm_probability: Most that a healthy environment is rolled back with, in each step.
        miss_probability: Most that an environment at ``bad_percent`` passes with, in each step.
        worse_factors: How many times worse than the other environment, in odds, is looked for. Several are looked
            for at once: a large factor finds a bad release among healthy ones sooner, a small one finds it while
            both suffer from something else.
        largest_compared_percent: Up to this weight of the new environment is it compared with the other one. Beyond
            it the few requests of the other one would clear the new one only after many more bad answers.
        period_seconds: Length of a sample.
    """

    tolerated_percent: float = 0.2
    bad_percent: float = 2.0
    false_alarm_probability: float = 1e-4
    miss_probability: float = 1e-3
    worse_factors: tuple[float, ...] = (3.0, 10.0)
    largest_compared_percent: int = 75
    period_seconds: int = 60
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Raises: SettingsError: One line for each value that is not allowed."""
        _read(self.to_json())

    @cached_property
    def roll_back_at(self) -> float:
        """Natural logarithm of the likelihood ratio from which on the environment counts as bad.

        While the environment is healthy the ratio is a supermartingale, which ever exceeds c with a probability of
        at most 1/c (Ville's inequality). Wald's (1 - beta) / alpha is smaller by the factor 1 - beta, and only an
        approximation.
        """
        return -math.log(self.false_alarm_probability)

    @cached_property
    def healthy_at(self) -> float:
        """Natural logarithm of the likelihood ratio from which on the environment counts as healthy; likewise."""
        return math.log(self.miss_probability)

    def compares(self, weight_percent: int) -> bool:
        """Whether a new environment with this weight is compared with the other one."""
        return 0 < weight_percent <= self.largest_compared_percent

    def to_json(self) -> dict[str, Any]:
        """The document that ``parse_settings`` reads."""
        return {
            "tolerated_percent": self.tolerated_percent,
            "bad_percent": self.bad_percent,
            "false_alarm_probability": self.false_alarm_probability,
            "miss_probability": self.miss_probability,
            "worse_factors": list(self.worse_factors),
            "largest_compared_percent": self.largest_compared_percent,
            "period_seconds": self.period_seconds,
            "limits": self.limits.to_json(),
        }

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> Self:
        """Raises: SettingsError: One line for each mistake."""
        default = cls().to_json()
        limits = members.get("limits", {})
        if isinstance(limits, Mapping):
            limits = {**default["limits"], **limits}
        return cls(**_read({**default, **members, "limits": limits}))


def parse_settings(text: str) -> Settings:
    """The settings in a JSON document; what it leaves out has its default.

    Raises:
        SettingsError: One line for each mistake: key, value, what is allowed.
    """
    try:
        members = parse_object(text, name="verdict settings")
    except DocumentError as error:
        raise SettingsError(error.mistakes) from None
    return Settings.from_json(members)


def _read(members: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments. Raises: SettingsError: One line for each mistake."""
    reader = Reader(members)
    tolerated = reader.number("tolerated_percent", above=0, below=100)
    bad = reader.number("bad_percent", above=0, below=100)
    if bad <= tolerated and not reader.mistakes:
        reader.note("bad_percent", f"a number above tolerated_percent, which is {tolerated:g}, and below 100")
    values: dict[str, Any] = {
        "tolerated_percent": tolerated,
        "bad_percent": bad,
        "false_alarm_probability": reader.number("false_alarm_probability", above=0, below=0.5),
        "miss_probability": reader.number("miss_probability", above=0, below=0.5),
        "worse_factors": reader.numbers("worse_factors", above=1, below=1e6, most=MOST_WORSE_FACTORS),
        "largest_compared_percent": reader.integer("largest_compared_percent", minimum=0, maximum=99),
        "period_seconds": reader.integer("period_seconds", minimum=1, maximum=3600),
    }
    limits = reader.object_at("limits")
    if limits is not None:
        values["limits"] = _limits(limits)
    reader.finish()
    if reader.mistakes:
        raise SettingsError(reader.mistakes)
    return values


def _limits(reader: Reader) -> Limits:
    def switchable(key: str, *, minimum: int, maximum: int) -> int | None:
        return None if reader.is_null(key) else reader.integer(key, minimum=minimum, maximum=maximum, unit="or null")

    limits = Limits(
        healthy_hosts_minimum=switchable("healthy_hosts_minimum", minimum=1, maximum=1000),
        replication_lag_seconds_maximum=switchable("replication_lag_seconds_maximum", minimum=0, maximum=86_400),
        validation_failures_maximum=switchable("validation_failures_maximum", minimum=0, maximum=1_000_000),
        missing_seconds_maximum=reader.integer("missing_seconds_maximum", minimum=1, maximum=86_400),
    )
    reader.finish()
    return limits
