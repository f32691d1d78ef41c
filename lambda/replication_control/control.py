"""Starting and stopping the replication tasks in the right order, as far as one invocation comes.

Of each pair of neighbours the task that loads goes first. The reverse task begins at the position that the target's
binary log has when the load is complete, and before clients write there: earlier it would send the load back,
later it would miss payments. Whoever calls, calls again until everything is done; each call finds out anew where
things stand, so that it can be broken off at any point.

What has failed, a connection test or a task, is not tried again by itself: the call says what DMS says, and a person
who has mended it asks for one more attempt with :class:`Retry`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Self

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient
    from mypy_boto3_dms.type_defs import ReplicationTaskTypeDef

log = logging.getLogger(__name__)

# Statuses of DescribeReplicationTasks and DescribeConnections (AWS DMS API reference, ReplicationTask, Connection).
READY: Final = "ready"
RUNNING: Final = "running"
STOPPED: Final = "stopped"
FAILED: Final = frozenset({"failed", "failed-move"})
CONNECTED: Final = "successful"
TEST_FAILED: Final = "failed"
UNTESTED: Final = ""

_WRONG_MOMENT: Final = "InvalidResourceStateFault"


class ReplicationControlError(Exception):
    """A task or a connection needs a person; the message says which, and what to look at."""


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One task, as the stacks describe it.

    Attributes:
        loads: whether it copies what exists first; the other one of the pair is its reverse.
    """

    identifier: str
    source: str
    target: str
    loads: bool


class Step(Enum):
    """What a task needs next. ``wait``: it, or what it follows, is on its way. ``done``: nothing."""

    TEST = "test the connections"
    START = "start from the beginning"
    START_AT = "start at the position of the load's end"
    RESUME = "resume"
    STOP = "stop"
    WAIT = "wait"
    DONE = "done"


@dataclass(frozen=True, kw_only=True)
class Retry:
    """What may be tried once more although it has failed, by identifier of the task.

    Attributes:
        tests: tasks whose failed connections are tested again.
        tasks: failed tasks that are started again.
    """

    tests: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()

    @classmethod
    def of(cls, directions: Sequence[Direction]) -> Self:
        """One more attempt of everything: for the first call after a person has mended it."""
        every = frozenset(each.identifier for each in directions)
        return cls(tests=every, tasks=every)

    def after(self, steps: Mapping[str, Step]) -> Self:
        """What is left of it for the next call, once ``steps`` were taken."""
        started = {name for name, step in steps.items() if step in (Step.START, Step.START_AT, Step.RESUME)}
        tested = {name for name, step in steps.items() if step is Step.TEST}
        return type(self)(tests=self.tests - tested - started, tasks=self.tasks - started)


NOTHING_AGAIN: Final = Retry()


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The last test of the connection between the replication instance and an endpoint.

    Attributes:
        status: DMS's word: successful, testing, failed, deleting; "" when it was never tested.
        failure: why the test failed, in DMS's words.
    """

    status: str
    failure: str = ""

    def needs_test(self, *, again: bool) -> bool:
        """Whether to test it now; a test that failed is repeated only when a person asks for that."""
        return self.status == UNTESTED or (again and self.status == TEST_FAILED)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What DMS says of a task.

    Attributes:
        status: its status; ``absent`` when there is none.
        loaded: whether its full load is complete; true for a task that loads nothing.
        started_before: whether it ever ran.
        connections: of both its endpoints, by endpoint ARN.
        failure: the last failure, in DMS's words.
        tables_failed: how many tables could not be loaded.
    """

    status: str
    loaded: bool
    started_before: bool
    connections: Mapping[str, Connection]
    failure: str = ""
    tables_failed: int = 0


def next_to_start(direction: Direction, found: Found, leader: Found | None, *, retry: Retry = NOTHING_AGAIN) -> Step:
    """What has to be done so that the task runs.

    Args:
        leader: the task that loads, when ``direction`` is its reverse; None otherwise.

    Raises:
        ReplicationControlError: the task does not exist, or it or a connection of it has failed.
    """
    name = f"replication {direction.identifier}"
    retest = direction.identifier in retry.tests
    if found.status == "absent":
        raise ReplicationControlError(f"{name} does not exist: deploy the stack first")
    if found.tables_failed:
        raise ReplicationControlError(
            f"{name} could not load {found.tables_failed} tables: look at its log, mend them and reload them"
        )
    if found.status == RUNNING:
        return Step.DONE if found.loaded else Step.WAIT
    if found.status in FAILED and direction.identifier not in retry.tasks:
        raise ReplicationControlError(
            f"{name} is {found.status}: {found.failure or 'look at its log'}; mend it, then try again"
        )
    if found.status not in (READY, STOPPED) and found.status not in FAILED:
        return Step.WAIT
    if leader is not None and not found.started_before and (leader.status != RUNNING or not leader.loaded):
        # Before the load is complete there is no position to begin at.
        return Step.WAIT
    if not retest:
        for endpoint, connection in sorted(found.connections.items()):
            if connection.status == TEST_FAILED:
                raise ReplicationControlError(
                    f"{name} cannot connect to {endpoint}: {connection.failure or 'DMS does not say why'}; "
                    "mend it, then try again"
                )
    if any(connection.needs_test(again=retest) for connection in found.connections.values()):
        return Step.TEST
    if any(connection.status != CONNECTED for connection in found.connections.values()):
        return Step.WAIT
    if found.started_before:
        return Step.RESUME
    return Step.START if leader is None else Step.START_AT


def next_to_stop(found: Found, reverse: Found | None = None) -> Step:
    """What has to be done so that the task rests.

    Args:
        reverse: the reverse of a task that loads: it rests first, so that nothing flows back while the other still
            runs; None for the reverse itself.
    """
    if found.status in (STOPPED, READY, "absent") or found.status in FAILED:
        return Step.DONE
    if reverse is not None and next_to_stop(reverse) is not Step.DONE:
        return Step.WAIT
    return Step.STOP if found.status == RUNNING else Step.WAIT


@dataclass(frozen=True, kw_only=True)
class Control:
    """The tasks of the chain.

    Attributes:
        directions: of each pair the one that loads, and its reverse.
        binlog_position: the position at which the binary log of a database ends, as ``file:offset``.
    """

    dms: DatabaseMigrationServiceClient
    directions: Sequence[Direction]
    binlog_position: Callable[[str], str]

    def start(self, *, retry: Retry = NOTHING_AGAIN) -> Mapping[str, Step]:
        """Do the next step of every task; what each one needed is returned, ``done`` for all at the end.

        Args:
            retry: what may be tried once more; pass ``retry.after(steps)`` to the next call.

        Raises:
            ReplicationControlError: see there, for all tasks at once; the other tasks have taken their step.
        """
        tasks = self._tasks()
        found = {each.identifier: self._found(each, tasks) for each in self.directions}
        steps: dict[str, Step] = {}
        problems: list[str] = []
        for direction in self.directions:
            try:
                leader = None if direction.loads else found[self._counterpart(direction).identifier]
                step = next_to_start(direction, found[direction.identifier], leader, retry=retry)
                steps[direction.identifier] = self._do(
                    step, direction, tasks, found[direction.identifier], retest=direction.identifier in retry.tests
                )
            except ReplicationControlError as error:
                problems.append(str(error))
        if problems:
            raise ReplicationControlError("\n".join(problems))
        return steps

    def stop(self) -> Mapping[str, Step]:
        """Stop every task, the reverse ones first; what each one needed is returned, ``done`` for all at the end.

        Raises:
            ReplicationControlError: DMS refuses.
        """
        tasks = self._tasks()
        found = {each.identifier: self._found(each, tasks, connections=False) for each in self.directions}
        steps: dict[str, Step] = {}
        for direction in sorted(self.directions, key=lambda each: each.loads):
            reverse = found[self._counterpart(direction).identifier] if direction.loads else None
            step = next_to_stop(found[direction.identifier], reverse)
            steps[direction.identifier] = self._do(step, direction, tasks, found[direction.identifier])
        return steps

    def _counterpart(self, direction: Direction) -> Direction:
        for each in self.directions:
            if each.loads != direction.loads and (each.source, each.target) == (direction.target, direction.source):
                return each
        raise ReplicationControlError(
            f"replication {direction.identifier} has no task from {direction.target} to {direction.source} beside it "
            f"that {'does not load' if direction.loads else 'loads'}: look at the configuration"
        )

    def _do(
        self,
        step: Step,
        direction: Direction,
        tasks: Mapping[str, ReplicationTaskTypeDef],
        found: Found,
        *,
        retest: bool = False,
    ) -> Step:
        """Returns: the step, or ``wait`` when DMS was not ready for it."""
        if step in (Step.WAIT, Step.DONE):
            return step
        task = tasks[direction.identifier]
        arn = task["ReplicationTaskArn"]
        try:
            if step is Step.TEST:
                for endpoint, connection in found.connections.items():
                    if connection.needs_test(again=retest):
                        self.dms.test_connection(
                            ReplicationInstanceArn=task["ReplicationInstanceArn"], EndpointArn=endpoint
                        )
            elif step is Step.STOP:
                self.dms.stop_replication_task(ReplicationTaskArn=arn)
            elif step is Step.RESUME:
                self.dms.start_replication_task(ReplicationTaskArn=arn, StartReplicationTaskType="resume-processing")
            elif step is Step.START:
                self.dms.start_replication_task(ReplicationTaskArn=arn, StartReplicationTaskType="start-replication")
            else:
                self.dms.start_replication_task(
                    ReplicationTaskArn=arn,
                    StartReplicationTaskType="start-replication",
                    CdcStartPosition=self.binlog_position(direction.source),
                )
        except ClientError as error:
            if error.response["Error"]["Code"] == _WRONG_MOMENT:
                # What is described lags behind, or another call was faster: the next call looks again.
                log.warning("replication %s: cannot %s now: %s", direction.identifier, step.value, error)
                return Step.WAIT
            raise _refused(direction, step, error) from None
        except BotoCoreError as error:
            raise _refused(direction, step, error) from None
        return step

    def _tasks(self) -> dict[str, ReplicationTaskTypeDef]:
        try:
            return {
                task["ReplicationTaskArn"].rsplit(":", 1)[-1]: task
                for page in self.dms.get_paginator("describe_replication_tasks").paginate(WithoutSettings=True)
                for task in page["ReplicationTasks"]
            }
        except (ClientError, BotoCoreError) as error:
            raise ReplicationControlError(f"replication tasks cannot be read: {error}") from None

    def _found(
        self, direction: Direction, tasks: Mapping[str, ReplicationTaskTypeDef], *, connections: bool = True
    ) -> Found:
        task = tasks.get(direction.identifier)
        if task is None:
            return Found(status="absent", loaded=False, started_before=False, connections={})
        stats: Mapping[str, Any] = task.get("ReplicationTaskStats") or {}
        return Found(
            status=task["Status"],
            loaded=not direction.loads or stats.get("FullLoadProgressPercent") == 100,
            started_before=task.get("ReplicationTaskStartDate") is not None,
            connections=self._connections(task) if connections else {},
            failure=task.get("LastFailureMessage", ""),
            tables_failed=int(stats.get("TablesErrored", 0)) if direction.loads else 0,
        )

    def _connections(self, task: ReplicationTaskTypeDef) -> dict[str, Connection]:
        endpoints = (task["SourceEndpointArn"], task["TargetEndpointArn"])
        found = dict.fromkeys(endpoints, Connection(status=UNTESTED))
        try:
            for page in self.dms.get_paginator("describe_connections").paginate(
                Filters=[
                    {"Name": "endpoint-arn", "Values": list(endpoints)},
                    {"Name": "replication-instance-arn", "Values": [task["ReplicationInstanceArn"]]},
                ]
            ):
                for connection in page["Connections"]:
                    if connection["EndpointArn"] in found:
                        found[connection["EndpointArn"]] = Connection(
                            status=connection["Status"], failure=connection.get("LastFailureMessage", "")
                        )
        except ClientError as error:
            # DMS says so when no connection of the endpoints was ever tested.
            if error.response["Error"]["Code"] != "ResourceNotFoundFault":
                raise ReplicationControlError(f"connections cannot be read: {error}") from None
        except BotoCoreError as error:
            raise ReplicationControlError(f"connections cannot be read: {error}") from None
        return found


def _refused(direction: Direction, step: Step, error: Exception) -> ReplicationControlError:
    return ReplicationControlError(f"replication {direction.identifier}: cannot {step.value}: {error}")
