"""What a rehearsal leaves behind: samples, events and promises, as plain values that JSON keeps.

Whoever runs a rehearsal writes a `Record`; the terminal, the report and the continuous integration only read it.
Times are seconds since the load began, durations are milliseconds where the name says so. A figure that could not
be measured is None: not a number and infinity become None, because JSON has neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

EventKind = Literal["cutover", "weights", "dns", "writer", "fault", "decision", "alarm", "rollback"]
FaultGroup = Literal["fault", "negative control"]


class RecordError(ValueError):
    """A text is no record; the message has one line for each mistake, naming key, value and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class _Value:
    """A frozen value that can be written to JSON and read back, equal to what it was."""

    __pydantic_config__ = ConfigDict(extra="forbid", ser_json_inf_nan="null")

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _settled(getattr(self, field.name)))

    def to_json(self) -> str:
        """As JSON, indented. What JSON has no word for, such as a date in the details of an event, becomes text."""
        return _adapter(type(self)).dump_json(self, indent=1, fallback=str).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The value that was written; RecordError for anything else."""
        try:
            return cast("Self", _adapter(cls).validate_json(text))
        except ValidationError as error:
            mistakes = [f"{_place(mistake['loc'])}: {_complaint(mistake)}" for mistake in error.errors()]
            raise RecordError("\n".join([f"This is no {cls.__name__.lower()} of a rehearsal:", *mistakes])) from None


@dataclass(frozen=True, kw_only=True)
class Sample(_Value):
    """What was seen in one interval, which ends at `at`.

    Attributes:
        at: Seconds since the load began.
        weights: Percent of the requests that the balancer sends to `blue` and to `green`.
        dns: Percent of the clients whose name resolves to `legacy` and to `aws`.
        writer: The one database that takes writes; None while none does.
        requests: Requests answered in the interval, the failed ones too.
        errors: Those of them that failed for the client.
        p50_ms: Latency from the moment at which a request was due; None without requests. So are `p95_ms`, `p99_ms`.
        by_side: Requests in the interval by who answered: `legacy`, `blue`, `green`.
        lag_ms: Replication lag by direction, such as `blue-green`; None when nothing is known of it.
        phase: The phase of the cutover.
        verdict: The last verdict on the environment that takes over.
    """

    at: float
    weights: Mapping[str, float]
    dns: Mapping[str, float]
    writer: str | None
    requests: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    by_side: Mapping[str, int]
    lag_ms: Mapping[str, float | None]
    phase: str
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Event(_Value):
    """Something that happened at a moment: a step, a fault that was injected, a decision and its reason.

    Attributes:
        at: Seconds since the load began.
        text: One sentence for a reader.
        details: The figures behind it, for a reader who wants to know why.
    """

    at: float
    kind: EventKind
    text: str
    details: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Promise(_Value):
    """What the system promises, what was measured, and whether that is within what is allowed; both with units."""

    name: str
    kept: bool
    measured: str
    allowed: str


@dataclass(frozen=True, kw_only=True)
class FaultResult(_Value):
    """One scenario of the fault matrix.

    Attributes:
        group: A `fault` passes when the promises hold, a `negative control` when the checks notice the breach.
        must_happen: What is expected, in a sentence.
        happened: What was seen, in a sentence.
        passed: Whether the one is the other.
        seconds: How long the scenario took.
    """

    scenario: str
    group: FaultGroup
    must_happen: str
    happened: str
    passed: bool
    promises: Sequence[Promise]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ComparisonRow(_Value):
    """One way to cut over, under the same load as the others.

    Attributes:
        sent: Payments that the clients sent.
        failed: Payments that a client was told had failed, or of which it never heard.
        lost: Payments that were acknowledged and are in no database that serves afterwards.
        diverged: Rows that differ between the databases afterwards.
        duplicated: Payments that were booked more than once.
        pause_ms: The longest time without an acknowledged payment; None when not measured. So is `rollback_ms`.
        rollback_ms: From the wish to go back until everything was back.
    """

    method: str
    sent: int
    failed: int
    lost: int
    diverged: int
    duplicated: int
    pause_ms: float | None
    rollback_ms: float | None
    remark: str


@dataclass(frozen=True, kw_only=True)
class Record(_Value):
    """A whole rehearsal.

    Attributes:
        started_at: ISO 8601, with the offset.
        seed: What the load was drawn from; the same seed sends the same payments.
        rate: Requests a second.
        delay_seconds: The configured delay of replication.
        versions: What took part, by name.
        decisions: The events of kind `decision`, with reasons.
        simulated: What was only recorded and not run, such as resource types that the local AWS does not have.
    """

    title: str
    scenario: str
    started_at: str
    seed: int
    rate: float
    delay_seconds: float
    versions: Mapping[str, str]
    samples: Sequence[Sample] = ()
    events: Sequence[Event] = ()
    promises: Sequence[Promise] = ()
    decisions: Sequence[Event] = ()
    faults: Sequence[FaultResult] = ()
    comparison: Sequence[ComparisonRow] = ()
    simulated: Sequence[str] = ()


_ADAPTERS: dict[type[_Value], TypeAdapter[Any]] = {}


def _adapter(cls: type[_Value]) -> TypeAdapter[Any]:
    """Made once for each class: it takes a millisecond, and samples are many."""
    if cls not in _ADAPTERS:
        _ADAPTERS[cls] = TypeAdapter(cls)
    return _ADAPTERS[cls]


def _settled(value: Any) -> Any:
    """The value as JSON will give it back: sequences as tuples, and nothing that is not a number."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case list() | tuple():
            return tuple(_settled(item) for item in value)
        case dict():
            return {str(key): _settled(item) for key, item in value.items()}
    return value


def _place(location: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in location) or "the text"


def _complaint(mistake: Mapping[str, Any]) -> str:
    if mistake["type"] == "missing":
        return "is missing"
    value = repr(mistake["input"])
    return f"{mistake['msg']}, got {value if len(value) <= 60 else value[:57] + '...'}"
