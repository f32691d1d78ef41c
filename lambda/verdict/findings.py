"""What the single checks find, and how findings add up to a verdict: the worst one decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Outcome(Enum):
    """PASS: shown to be healthy. HOLD: not known well enough. ROLL_BACK: shown to be unhealthy, or not to be had."""

    PASS = "pass"  # noqa: S105 - an outcome, no password
    HOLD = "hold"
    ROLL_BACK = "roll back"

    @property
    def severity(self) -> int:
        return list(Outcome).index(self)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        check: Which check, such as ``replication lag``.
        reason: One line for the operator.
        values: The numbers behind it, for the journal.
    """

    check: str
    outcome: Outcome
    reason: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "check": self.check,
            "outcome": self.outcome.value,
            "reason": self.reason,
            "values": dict(self.values),
        }


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All findings, the worst first."""

    findings: tuple[Finding, ...]

    @property
    def outcome(self) -> Outcome:
        """The worst that was found; HOLD when nothing was looked at, because nothing is known then."""
        return max((each.outcome for each in self.findings), key=lambda o: o.severity, default=Outcome.HOLD)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons for the outcome, without those of checks that found something better."""
        return tuple(each.reason for each in self.findings if each.outcome is self.outcome)

    def __str__(self) -> str:
        return f"{self.outcome.value}: {'; '.join(self.reasons) or 'nothing was observed'}"

    def to_json(self) -> dict[str, Any]:
        """For the journal and the notification."""
        return {
            "outcome": self.outcome.value,
            "reasons": list(self.reasons),
            "findings": [each.to_json() for each in self.findings],
        }


def combine(findings: Iterable[Finding]) -> Verdict:
    """One verdict from many findings. Findings of equal outcome keep their order."""
    return Verdict(findings=tuple(sorted(findings, key=lambda each: -each.outcome.severity)))
