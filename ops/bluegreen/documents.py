"""What ``--json`` prints: one model for each command, from which its schema and its documentation are made."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Document(BaseModel):
    """Members are never taken away or renamed within a major version; new ones may come."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MissingPermission(Document):
    action: str = Field(description="IAM action that the caller lacks")
    resource: str = Field(description="ARN that it is lacking on, or * where AWS does not say")


class Unread(Document):
    """Something that could not be read; the rest of the document holds all the same."""

    what: str
    why: str
    next_step: str
    missing_permission: MissingPermission | None = None


class ErrorBody(Document):
    message: str
    next_step: str
    exit_code: int
    missing_permission: MissingPermission | None = None


class Error(Document):
    """What any command prints when it does not end well."""

    error: ErrorBody


class Serving(Document):
    """Who serves."""

    weights: dict[str, int] = Field(description="of the listener rule, by environment, in percent")
    records: dict[str, int] = Field(description="of the DNS records, by side, in percent")
    shares: dict[str, float] = Field(description="of all payments, by legacy, blue and green, in percent")
    desired_weights: dict[str, int] | None = Field(description="what should be; null when nobody has said yet")
    desired_records: dict[str, int] | None
    drift: list[str] = Field(description="differences between what is set and what should be")


class Writer(Document):
    """Which database takes writes."""

    recorded: str | None = Field(description="the database that should be the writer, by the state table")
    verdict: Literal["one", "none", "several", "not asked"] = Field(
        description="what the databases themselves say; they are the truth"
    )
    admitting: list[str] = Field(description="databases that admit the application accounts")
    unreachable: dict[str, str] = Field(description="databases that do not answer, with the reason")
    remark: str = Field(description="why the databases were not asked, or what is wrong; empty when all is well")


class Environment(Document):
    healthy_targets: int | None
    registered_targets: int | None
    running_tasks: int | None
    desired_tasks: int | None
    deploying: bool | None


class ReplicationTask(Document):
    identifier: str
    status: str = Field(description="of DMS: running, stopped, failed, ready and others; absent when there is none")
    lag_seconds: float | None = Field(description="null when nothing was reported in the last five minutes")
    validation_failures: int | None = Field(description="rows that differ; null when nothing was reported")


class Alarm(Document):
    name: str
    state: str = Field(description="OK, ALARM, INSUFFICIENT_DATA, or ABSENT when it does not exist")
    concerns: list[str] = Field(description="what it is about: blue, green, legacy, replication, controllers")


class Rotation(Document):
    secret: str
    under_way: bool
    next_at: datetime | None


class TimeLeft(Document):
    """Seconds; least is when all goes well and people answer at once, most is when every limit is used up."""

    phase_least_seconds: int
    phase_most_seconds: int
    cutover_least_seconds: int
    cutover_most_seconds: int


class Cutover(Document):
    """The cutover that runs, or ran last."""

    cutover_id: str
    source: str
    target: str
    kind: str
    returning: bool = Field(description="it is on its way back, step by step; its plan leads from target to source")
    phase: str = Field(description="preparing, shifting, rolling back, succeeded, rolled back, refused or stuck")
    over: bool
    step: int = Field(description="step of the plan, from 1")
    steps: int
    step_phase: str = Field(description="gate, shift, switch, watch or complete")
    weight_percent: int = Field(description="share that the side has which the plan leads to, at this point")
    question: str | None = Field(description="what a person is asked, while the cutover waits for an approval")
    held: bool
    order: str | None = Field(description="an order that the controller has not looked at yet")
    left: TimeLeft | None = Field(description="null when it is over or on its way back")
    requested_by: str
    started_at: datetime
    looked_at: datetime | None = Field(description="when the controller looked last")
    writer_before: str
    writer_after: str
    reason: str
    next_step: str = Field(description="what an operator can do now; empty when there is nothing to do")


class Entry(Document):
    """An entry of the journal."""

    at: datetime
    cutover_id: str
    who: str
    what: str
    why: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    details: dict[str, Any] = Field(default_factory=dict)


class Status(Document):
    """``bluegreen status``."""

    stage: str
    at: datetime
    serving: Serving | None
    writer: Writer | None
    environments: dict[str, Environment]
    replication: list[ReplicationTask]
    alarms: list[Alarm]
    rotations: list[Rotation]
    restarts_owed: bool | None = Field(description="a rotation still has to restart replication tasks")
    cutover: Cutover | None
    decisions: list[Entry] = Field(description="the last entries of the journal, the newest last")
    unread: list[Unread]


class Step(Document):
    weight_percent: int
    watch_seconds: int
    deadline_seconds: int
    switch_writer: bool
    question: str | None
    gate_timeout_seconds: int | None


class Plan(Document):
    """A plan, and how long it takes."""

    source: str
    target: str
    steps: list[Step]
    least_seconds: int
    most_seconds: int
    expected_seconds: int | None = Field(description="at the given traffic, without the time that approvals take")
    requests_per_second: float | None
    checks: list[str] = Field(description="what is checked before and during the cutover")
    description: str


class Preflight(Document):
    """``bluegreen preflight``: whether a cutover could begin now."""

    stage: str
    source: str
    target: str
    ready: bool
    reasons: list[str] = Field(description="everything that speaks against it")
    plan: Plan


class PlanShown(Document):
    """``bluegreen plan``."""

    stage: str
    plan: Plan


class Begun(Document):
    """``bluegreen shift``, ``admit`` and ``switch-writer``."""

    stage: str
    outcome: Literal["begun", "asked for", "dry run", "nothing to do"]
    cutover_id: str | None
    effect: list[str]
    plan: Plan | None


class Ordered(Document):
    """``bluegreen approve``, ``promote``, ``pause``, ``resume`` and ``abort``."""

    stage: str
    outcome: Literal["followed", "asked for", "dry run"]
    order: str
    cutover_id: str
    step: int
    effect: list[str]
    reason: str


class RolledBack(Document):
    """``bluegreen rollback``."""

    stage: str
    outcome: Literal["rolled back", "begun", "nothing to do", "dry run"]
    cutover_id: str | None
    effect: list[str]
    explanation: str
    answer: dict[str, Any] = Field(description="what the rollback function answered")


class History(Document):
    """``bluegreen history``."""

    stage: str
    entries: list[Entry]


class Finding(Document):
    check: str
    outcome: str = Field(description="pass, hold or roll back")
    reason: str
    values: dict[str, Any]


class Evidence(Document):
    """What the verdict has counted in the step that is watched now."""

    environment: str
    other: str | None
    requests: int
    bad: int
    other_requests: int
    other_bad: int
    missing_samples: int
    bad_percent_seen: float | None
    tolerated_percent: float
    bad_percent: float
    health: float = Field(description="natural logarithm of the likelihood ratio, bad against tolerated")
    healthy_at: float = Field(description="at or below it health is shown")
    blame: float = Field(description="the same for a rollback")
    roll_back_at: float = Field(description="at or above it the verdict is to roll back")
    proved: bool
    good_requests_needed: int = Field(description="good ones in a row that would show health now")


class Explanation(Document):
    """``bluegreen explain``."""

    stage: str
    cutover_id: str
    phase: str
    why: str = Field(description="why it is where it is, in a sentence")
    decision: Entry | None = Field(description="the decision that is explained")
    findings: list[Finding] = Field(description="what each check found then, the worst first")
    evidence: Evidence | None
    actions: list[Entry] = Field(description="what was done because of it")


class Replication(Document):
    """``bluegreen replication status``, ``start`` and ``stop``."""

    stage: str
    outcome: Literal["status", "done", "dry run", "not done"]
    tasks: list[ReplicationTask]
    steps: list[dict[str, str]] = Field(description="what each call of the replication control did, by task")
    effect: list[str]


class Check(Document):
    name: str
    result: Literal["ok", "problem", "unknown"]
    found: str
    next_step: str
    missing_permission: MissingPermission | None = None


class Doctor(Document):
    """``bluegreen doctor``."""

    stage: str
    caller: str
    healthy: bool
    checks: list[Check]


SCHEMAS: dict[str, type[Document]] = {
    "status": Status,
    "preflight": Preflight,
    "plan": PlanShown,
    "shift": Begun,
    "admit": Begun,
    "switch-writer": Begun,
    "approve": Ordered,
    "promote": Ordered,
    "pause": Ordered,
    "resume": Ordered,
    "abort": Ordered,
    "rollback": RolledBack,
    "history": History,
    "explain": Explanation,
    "replication": Replication,
    "doctor": Doctor,
    "error": Error,
}
"""The model of each command's document; ``error`` is what any of them prints when it fails."""
