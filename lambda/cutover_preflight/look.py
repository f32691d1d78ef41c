"""Reading the facts of a preflight: everything at once, and what cannot be read is a fact, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from cutover_plan import Direction
from cutover_preflight.checks import Facts
from cutover_state.desired import Desired
from cutover_state.layout import StateUnreadableError
from cutover_state.levers import Kind, Lever
from cutover_state.run import Run
from database_access.errors import DatabaseAccessError
from observation.alarms import AlarmsUnreadableError
from observation.environments import EnvironmentUnreadableError, Service, Targets
from observation.replication import ReplicationUnreadableError, Task
from observation.rotations import Rotation, RotationUnreadableError
from traffic.weights import TrafficError, shown

T = TypeVar("T")

UNREADABLE = (
    AlarmsUnreadableError,
    EnvironmentUnreadableError,
    ReplicationUnreadableError,
    RotationUnreadableError,
    TrafficError,
    StateUnreadableError,
    DatabaseAccessError,
    ClientError,
    BotoCoreError,
)


@dataclass(frozen=True, kw_only=True)
class Databases:
    """What the databases say.

    Attributes:
        admitting: those that admit the application.
        unreachable: those that do not answer.
        differences: of their schemas, in words.
    """

    admitting: Sequence[str]
    unreachable: Sequence[str]
    differences: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the facts are read.

    Attributes:
        run: the cutover that runs, or ran last.
        owed_restarts: whether a rotation still has to restart replication tasks.
        dns_ttl_seconds: how long resolvers keep an answer.
    """

    levers: Mapping[Kind, Lever]
    desired: Callable[[], Desired | None]
    run: Callable[[], Run | None]
    databases: Callable[[], Databases]
    alarms: Callable[[Direction], Mapping[str, str]]
    targets: Callable[[], Mapping[str, Targets]]
    services: Callable[[], Mapping[str, Service]]
    tasks: Callable[[], Sequence[Task]]
    rotations: Callable[[], Sequence[Rotation]]
    owed_restarts: Callable[[], bool]
    dns_ttl_seconds: Callable[[], int]
    now: Callable[[], float]


@dataclass
class _Reader:
    unreadable: list[str] = field(default_factory=list)

    def read(self, source: Callable[[], T], otherwise: T) -> T:
        """What ``source`` gives; when it fails, that is noted."""
        try:
            return source()
        except UNREADABLE as error:
            self.unreadable.append(str(error))
            return otherwise


def look(sources: Sources, direction: Direction, *, kind: Kind, cutover_id: str | None) -> Facts:
    """The facts for a cutover in ``direction``; nothing is changed.

    Args:
        cutover_id: the cutover that shall begin, so that it does not count as another one.
    """
    reader = _Reader()
    lever = sources.levers[kind]
    weights: Mapping[str, int] = reader.read(lever.read, dict[str, int]())
    desired = reader.read(sources.desired, None)
    databases = reader.read(sources.databases, Databases(admitting=(), unreachable=(), differences=()))
    run = reader.read(sources.run, None)
    other = run.cutover_id if run and not run.phase.is_over and run.cutover_id != cutover_id else None
    if desired is None:
        reader.unreadable.append("the desired state is not known yet (the reconciler adopts it within a minute)")
    sides = {direction.source, direction.target}
    targets: Mapping[str, Targets] = reader.read(sources.targets, dict[str, Targets]())
    services: Mapping[str, Service] = reader.read(sources.services, dict[str, Service]())
    return Facts(
        now=sources.now(),
        source=direction.source,
        target=direction.target,
        weights=weights,
        writers=databases.admitting,
        expected_writer=desired.writer if desired else direction.writer_source,
        unreachable=databases.unreachable,
        schema_differences=databases.differences,
        alarms=reader.read(lambda: sources.alarms(direction), {}),
        targets=_of(targets, sides, kind),
        services=_of(services, sides, kind),
        tasks=reader.read(sources.tasks, ()),
        rotations=reader.read(sources.rotations, ()),
        owed_restarts=reader.read(sources.owed_restarts, False),
        dns_ttl_seconds=reader.read(sources.dns_ttl_seconds, None) if kind is Kind.FRONT_DOOR else None,
        drift=_drift(kind, weights, desired),
        other_cutover=other,
        unreadable=tuple(reader.unreadable),
    )


def _of(found: Mapping[str, T], sides: set[str], kind: Kind) -> dict[str, T]:
    """Only the environments that the cutover concerns; the front door concerns the one that serves, which is judged
    by the alarms."""
    return {name: each for name, each in found.items() if kind is Kind.ENVIRONMENT and name in sides}


def _drift(kind: Kind, weights: Mapping[str, int], desired: Desired | None) -> tuple[str, ...]:
    if desired is None or not weights:
        return ()
    should = getattr(desired, kind.desired_field)
    return () if dict(should) == dict(weights) else (f"the weights are {shown(weights)} and should be {shown(should)}",)
