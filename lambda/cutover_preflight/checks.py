"""Whether a cutover may begin: every reason against it at once, in words, each with what to do.

Pure: the facts are read elsewhere. A fact that could not be read is a reason, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from observation.alarms import ABSENT, FIRING, OK, WITHOUT_DATA
from observation.environments import Service, Targets
from observation.replication import RUNNING, Task
from observation.rotations import Rotation
from traffic.weights import shown


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is tolerated at the beginning.

    Attributes:
        lag_seconds: replication lag, in both directions.
        rotation_margin_seconds: a rotation due within this time would fall into the cutover.
        source_may_be_sick: alarms, targets and tasks of the source say nothing against leaving it.
    """

    lag_seconds: float = 5.0
    rotation_margin_seconds: float = 24 * 3600.0
    source_may_be_sick: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was found.

    Attributes:
        now: epoch seconds.
        source: the side that serves.
        target: the side that shall serve.
        weights: weights as they read now, of the lever that shall be moved.
        writers: databases that admit the application accounts.
        expected_writer: the database that should.
        unreachable: databases that did not answer.
        alarms: state of each alarm that is watched.
        targets: targets by environment, as far as the cutover concerns them.
        services: ECS services by environment, likewise.
        tasks: replication tasks of the pairs that the cutover relies on.
        rotations: of the databases' secrets.
        owed_restarts: whether a rotation still has to restart replication tasks.
        dns_ttl_seconds: how long resolvers keep an answer; None for a cutover that moves no records.
        schema_differences: what one database has and another has not.
        drift: differences between what is set and the desired state.
        other_cutover: a cutover that is not over, if any.
        unreadable: what could not be read at all, in words.
    """

    now: float
    source: str
    target: str
    weights: Mapping[str, int]
    writers: Sequence[str]
    expected_writer: str
    unreachable: Sequence[str] = ()
    alarms: Mapping[str, str] = field(default_factory=dict)
    targets: Mapping[str, Targets] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    tasks: Sequence[Task] = ()
    rotations: Sequence[Rotation] = ()
    owed_restarts: bool = False
    dns_ttl_seconds: int | None = None
    schema_differences: Sequence[str] = ()
    drift: Sequence[str] = ()
    other_cutover: str | None = None
    unreadable: Sequence[str] = ()


def reasons_against(facts: Facts, limits: Limits) -> tuple[str, ...]:
    """Every reason not to begin; empty when nothing speaks against it."""
    return tuple(reason for check in _CHECKS for reason in check(facts, limits))


def _readable(facts: Facts, _: Limits) -> Iterator[str]:
    for what in facts.unreadable:
        yield f"{what}; what cannot be seen cannot be judged"


def _alone(facts: Facts, _: Limits) -> Iterator[str]:
    if facts.other_cutover:
        yield f"cutover {facts.other_cutover} is not over: let it end, or roll it back"


def _source_serves(facts: Facts, _: Limits) -> Iterator[str]:
    if facts.weights and facts.weights.get(facts.source) != 100:
        yield (
            f"{facts.source} must serve everything at the beginning, but the weights are {shown(facts.weights)}: "
            f"roll back or finish the last cutover first"
        )
    for line in facts.drift:
        yield f"{line}: the reconciler has not put it right yet"


def _one_writer(facts: Facts, _: Limits) -> Iterator[str]:
    for database in facts.unreachable:
        yield f"database {database} does not answer"
    if len(facts.writers) > 1:
        yield f"{' and '.join(facts.writers)} both admit writers: fence one of them at once (runbook: two writers)"
    elif not facts.writers:
        yield "no database is seen to admit writers: once all of them answer, run the switch that was broken off again"
    for database in facts.writers:
        if database != facts.expected_writer:
            yield f"{database} admits writers, and only {facts.expected_writer} should"
    for line in facts.schema_differences:
        yield f"schemas differ: {line}"


def _alarms_are_quiet(facts: Facts, _: Limits) -> Iterator[str]:
    words = {
        FIRING: "is firing already",
        WITHOUT_DATA: "has no data, so it could not warn",
        ABSENT: "does not exist",
    }
    for name, state in sorted(facts.alarms.items()):
        if state != OK:
            yield f"alarm {name} {words.get(state, f'is in state {state}')}"


def _excused(name: str, facts: Facts, limits: Limits) -> bool:
    return limits.source_may_be_sick and name == facts.source


def _capacity_is_equal(facts: Facts, limits: Limits) -> Iterator[str]:
    source, target = facts.services.get(facts.source), facts.services.get(facts.target)
    for name, service in sorted(facts.services.items()):
        if service.deploying:
            yield f"a deployment of {name} is in progress: wait until it ends"
        if service.running < service.desired and not _excused(name, facts, limits):
            yield f"{name} runs {service.running} of {service.desired} tasks"
    if source and target and target.running < source.running:
        yield (
            f"{facts.target} runs {target.running} tasks and {facts.source} {source.running}: "
            f"scale {facts.target} out first, or it takes the load cold"
        )


def _targets_are_healthy(facts: Facts, limits: Limits) -> Iterator[str]:
    for name, targets in sorted(facts.targets.items()):
        if _excused(name, facts, limits):
            continue
        if targets.registered == 0:
            yield f"{name} has no targets"
        elif targets.healthy < targets.registered:
            yield f"{name} has {targets.healthy} healthy targets of {targets.registered}"


def _replication_is_sound(facts: Facts, limits: Limits) -> Iterator[str]:
    for task in facts.tasks:
        if task.status != RUNNING:
            yield f"replication {task.identifier} is {task.status}: start it (bluegreen replication start)"
        if task.lag_seconds is None:
            # Of a task that does not run that says nothing new.
            if task.status == RUNNING:
                yield f"replication {task.identifier} reports no lag"
        elif task.lag_seconds > limits.lag_seconds:
            yield f"replication {task.identifier} lags {task.lag_seconds:g} s, tolerated are {limits.lag_seconds:g} s"
        if task.validation_failures:
            yield f"replication {task.identifier} found {task.validation_failures} rows that differ"


def _no_rotation_interferes(facts: Facts, limits: Limits) -> Iterator[str]:
    for rotation in facts.rotations:
        if rotation.under_way:
            yield f"the rotation of {rotation.secret} is under way: wait until it ends"
        if rotation.next_at is not None and rotation.next_at - facts.now < limits.rotation_margin_seconds:
            hours = max(0.0, rotation.next_at - facts.now) / 3600
            yield f"the rotation of {rotation.secret} is due in {hours:.1f} h: rotate it now, before the cutover"
    if facts.owed_restarts:
        yield "a rotation still has to restart replication tasks: wait until it has"


_CHECKS = (
    _readable,
    _alone,
    _source_serves,
    _one_writer,
    _alarms_are_quiet,
    _capacity_is_equal,
    _targets_are_healthy,
    _replication_is_sound,
    _no_rotation_interferes,
)
