"""Whether an environment serves well enough to go on: a pure function of what was observed, explained in words.

It can say pass, hold or roll back, and nothing else; it never shifts traffic itself, and what it does not know makes
it hold.
"""

from verdict.evidence import Evidence, EvidenceError
from verdict.findings import Finding, Outcome, Verdict, combine
from verdict.judgement import evaluate
from verdict.likelihood import expected_requests
from verdict.observation import AlarmState, Counts, Observation, ObservationError, Sample, Signals
from verdict.settings import Limits, Settings, SettingsError, parse_settings

__all__ = [
    "AlarmState",
    "Counts",
    "Evidence",
    "EvidenceError",
    "Finding",
    "Limits",
    "Observation",
    "ObservationError",
    "Outcome",
    "Sample",
    "Settings",
    "SettingsError",
    "Signals",
    "Verdict",
    "combine",
    "evaluate",
    "expected_requests",
    "parse_settings",
]
