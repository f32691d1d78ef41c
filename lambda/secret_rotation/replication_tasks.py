"""Restarts the replication tasks after their secret was rotated, one after the other, each only if it was running.

A task reads its secret when it starts. Until it is restarted it works on with the account that it has, whose password
is changed by the next rotation only; that one makes sure first that no restart is owed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from cutover_state.restart import LeaseHeldError, RestartClaimedError, RestartRecord, RestartStore, TaskPhase
from database_access.deadline import Deadline
from database_access.structured_log import fields
from secret_rotation.errors import ReplicationTaskError, RotationDeferredError

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient
    from mypy_boto3_dms.type_defs import ReplicationTaskTypeDef

log = logging.getLogger(__name__)

# Statuses of DescribeReplicationTasks (AWS DMS API reference, ReplicationTask).
_RUNNING: Final = "running"
_AT_REST: Final = frozenset({"stopped", "failed", "ready"})
_MISSING: Final = "missing"
# Within these the task comes to rest or to run by itself.
_PASSING: Final = frozenset({"starting", "stopping", "modifying", "testing", "moving", "creating"})
_LONGEST_STEP_SECONDS: Final = 360.0
# A task that fails this often right after we started it needs a person.
_MOST_STARTS: Final = 2


class Action(Enum):
    """What to do with a task next."""

    STOP = "stop"
    START = "start"
    WAIT = "wait"
    FINISH = "finish"
    LEAVE = "leave"


def next_action(phase: TaskPhase, status: str) -> Action:
    """What a task needs, from how far its restart came and what DMS says.

    A task that was not running when the restart began was stopped by somebody else, and is left alone; one that
    stands still after we recorded that we stop it is started, however it came to rest.
    """
    if phase in (TaskPhase.DONE, TaskPhase.LEFT) or status == _MISSING or status == "deleting":
        return Action.LEAVE
    if status in _PASSING:
        return Action.WAIT
    if phase is TaskPhase.RUNNING:
        return Action.STOP if status == _RUNNING else Action.LEAVE
    if phase is TaskPhase.STOPPING:
        return Action.STOP if status == _RUNNING else Action.START
    return Action.FINISH if status == _RUNNING else Action.START


@dataclass(frozen=True, kw_only=True)
class ReplicationTasks:
    """The restart of the tasks that read one replication secret.

    Attributes:
        task_arns: In the order of the restart.
        owner: Names this invocation, so that no other one works on the tasks at the same time.
        deadline: Until when this invocation works.
        now: Epoch seconds.
    """

    dms: DatabaseMigrationServiceClient
    store: RestartStore
    task_arns: Sequence[str]
    owner: str
    deadline: Deadline
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    poll_seconds: float = 3.0
    longest_step_seconds: float = field(default=_LONGEST_STEP_SECONDS)

    def request(self, secret_arn: str, version_id: str) -> None:
        """Record that a restart is owed once the version is current."""
        if self.task_arns:
            self.store.request(secret_arn, version_id, now=self.now())

    def owed(self, secret_arn: str, *, current_version_id: str) -> bool:
        """Whether tasks must be restarted for the current version of the secret."""
        record = self.store.read(secret_arn)
        return record is not None and record.version_id == current_version_id

    def restart(self, secret_arn: str) -> Mapping[str, TaskPhase]:
        """Restart what is owed, or go on with it; how each task ended.

        Raises:
            RotationDeferredError: A cutover holds the lease, or another invocation is at work on the tasks.
            ReplicationTaskError: A task did not come to rest or did not run again; the record remains.
        """
        record = self.store.read(secret_arn)
        if record is None:
            return {}
        self._claim(record)
        try:
            tasks = record.tasks if record.tasks is not None else self._begin(record)
            ended = {arn: self._restart_one(record, arn, tasks.get(arn, TaskPhase.LEFT)) for arn in self.task_arns}
            self.store.finish(secret_arn)
        except LeaseHeldError:
            raise RotationDeferredError("the restart of replication tasks waits: a cutover holds the lease") from None
        finally:
            # The claim ends by itself, too.
            with suppress(ClientError, BotoCoreError):
                self.store.release(self.owner)
        log.info("replication tasks restarted", extra=fields(tasks={arn: p.value for arn, p in ended.items()}))
        return ended

    def _claim(self, record: RestartRecord) -> None:
        now = self.now()
        try:
            self.store.claim(
                self.owner,
                now=now,
                until=now + self.deadline.remaining_seconds() + 60,
                # A task that we stopped is started during a cutover too: standing still it would only do harm.
                lease_must_be_free=not record.has_stopped_tasks,
            )
        except (LeaseHeldError, RestartClaimedError) as error:
            raise RotationDeferredError(f"the restart of replication tasks waits: {error}") from None

    def _begin(self, record: RestartRecord) -> Mapping[str, TaskPhase]:
        """Record which tasks are running, before any of them is touched."""
        statuses = self._settled_statuses()
        tasks = {arn: TaskPhase.RUNNING if status == _RUNNING else TaskPhase.LEFT for arn, status in statuses.items()}
        for arn, status in statuses.items():
            if status != _RUNNING:
                log.warning("replication task is not running and is left alone", extra=fields(task=arn, status=status))
        self.store.begin(record.secret_arn, tasks)
        return tasks

    def _restart_one(self, record: RestartRecord, arn: str, phase: TaskPhase) -> TaskPhase:
        starts = 0
        patience = self._patience()
        while True:
            status = self._statuses([arn])[arn]
            action = next_action(phase, status)
            if action is Action.LEAVE:
                if phase in (TaskPhase.DONE, TaskPhase.LEFT):
                    return phase
                log.warning("replication task is left alone", extra=fields(task=arn, status=status))
                return self._set_phase(record, arn, TaskPhase.LEFT)
            if action is Action.FINISH:
                return self._set_phase(record, arn, TaskPhase.DONE)
            if action is Action.STOP:
                if phase is TaskPhase.RUNNING:
                    phase = self._set_phase(record, arn, TaskPhase.STOPPING)
                self._stop(arn)
            elif action is Action.START:
                if starts == _MOST_STARTS:
                    raise ReplicationTaskError(
                        f"replication task {arn} is {status} after {starts} starts: {self._last_failure(arn)}"
                    )
                if phase is not TaskPhase.STARTING:
                    phase = self._set_phase(record, arn, TaskPhase.STARTING)
                    patience = self._patience()
                self._start(arn)
                starts += 1
            if patience.remaining_seconds() <= self.poll_seconds:
                raise ReplicationTaskError(
                    f"replication task {arn} is still {status} while it should be {phase.value}; "
                    "the restart goes on at the next event"
                )
            self.sleep(self.poll_seconds)

    def _patience(self) -> Deadline:
        return Deadline.after(min(self.longest_step_seconds, self.deadline.remaining_seconds()))

    def _set_phase(self, record: RestartRecord, arn: str, phase: TaskPhase) -> TaskPhase:
        self.store.set_phase(record.secret_arn, arn, phase, now=self.now())
        return phase

    def _stop(self, arn: str) -> None:
        log.info("replication task is being stopped", extra=fields(task=arn))
        with suppress(self.dms.exceptions.InvalidResourceStateFault):
            # The state that it must not be in is one between those that we know; the next look tells.
            self.dms.stop_replication_task(ReplicationTaskArn=arn)

    def _start(self, arn: str) -> None:
        log.info("replication task is being started", extra=fields(task=arn))
        with suppress(self.dms.exceptions.InvalidResourceStateFault):
            self.dms.start_replication_task(ReplicationTaskArn=arn, StartReplicationTaskType="resume-processing")

    def _settled_statuses(self) -> Mapping[str, str]:
        patience = self._patience()
        while True:
            statuses = self._statuses(self.task_arns)
            passing = sorted(arn for arn, status in statuses.items() if status in _PASSING)
            if not passing:
                return statuses
            if patience.remaining_seconds() <= self.poll_seconds:
                raise ReplicationTaskError(f"replication task {passing[0]} stays {statuses[passing[0]]}")
            self.sleep(self.poll_seconds)

    def _statuses(self, arns: Sequence[str]) -> Mapping[str, str]:
        found = {task["ReplicationTaskArn"]: task["Status"] for task in self._describe(arns)}
        return {arn: found.get(arn, _MISSING) for arn in arns}

    def _last_failure(self, arn: str) -> str:
        for task in self._describe([arn]):
            return task.get("LastFailureMessage") or task.get("StopReason") or "DMS says no more"
        return "DMS says no more"

    def _describe(self, arns: Sequence[str]) -> list[ReplicationTaskTypeDef]:
        pages = self.dms.get_paginator("describe_replication_tasks").paginate(
            Filters=[{"Name": "replication-task-arn", "Values": list(arns)}], WithoutSettings=True
        )
        try:
            return [task for page in pages for task in page["ReplicationTasks"]]
        except self.dms.exceptions.ResourceNotFoundFault:
            return []
