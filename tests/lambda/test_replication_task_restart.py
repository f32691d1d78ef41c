"""The restart of replication tasks: what to do in each state, and the waits that moto does not have.

moto's tasks stop and start at once and never fail, so what DMS says in between comes from botocore's Stubber here,
which refuses any call that is not the expected one. The whole path runs against moto in test_rotation_on_a_server.py.
"""

from __future__ import annotations

import itertools

import pytest
from botocore.stub import Stubber

from cutover_state.restart import RestartRecordError, RestartStore, TaskPhase
from database_access.deadline import Deadline
from secret_rotation.errors import ReplicationTaskError
from secret_rotation.replication_tasks import Action, ReplicationTasks, next_action
from tests.support.local_aws import LocalAws

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:replication"
TASK = "arn:aws:dms:us-east-1:123456789012:task:ONE"
STATUSES = (
    "creating",
    "ready",
    "starting",
    "running",
    "stopping",
    "stopped",
    "failed",
    "modifying",
    "moving",
    "testing",
    "deleting",
    "missing",
)


@pytest.mark.parametrize(("phase", "status"), list(itertools.product([TaskPhase.DONE, TaskPhase.LEFT], STATUSES)))
def test_a_task_that_is_finished_or_not_ours_is_left_in_every_state(phase: TaskPhase, status: str) -> None:
    assert next_action(phase, status) is Action.LEAVE


@pytest.mark.parametrize("phase", [TaskPhase.RUNNING, TaskPhase.STOPPING, TaskPhase.STARTING])
@pytest.mark.parametrize("status", ["creating", "starting", "stopping", "modifying", "moving", "testing"])
def test_a_state_that_passes_is_waited_for(phase: TaskPhase, status: str) -> None:
    assert next_action(phase, status) is Action.WAIT


@pytest.mark.parametrize(
    ("phase", "status", "action"),
    [
        (TaskPhase.RUNNING, "running", Action.STOP),
        # Somebody else stopped it after we had looked.
        (TaskPhase.RUNNING, "stopped", Action.LEAVE),
        (TaskPhase.RUNNING, "failed", Action.LEAVE),
        (TaskPhase.RUNNING, "ready", Action.LEAVE),
        # Our process died before it had called StopReplicationTask.
        (TaskPhase.STOPPING, "running", Action.STOP),
        (TaskPhase.STOPPING, "stopped", Action.START),
        (TaskPhase.STOPPING, "failed", Action.START),
        # Our process died before or after it had called StartReplicationTask.
        (TaskPhase.STARTING, "stopped", Action.START),
        (TaskPhase.STARTING, "failed", Action.START),
        (TaskPhase.STARTING, "running", Action.FINISH),
    ],
)
def test_a_task_is_stopped_only_if_it_runs_and_started_only_if_we_stopped_it(
    phase: TaskPhase, status: str, action: Action
) -> None:
    assert next_action(phase, status) is action


@pytest.mark.parametrize("phase", [TaskPhase.RUNNING, TaskPhase.STOPPING, TaskPhase.STARTING])
@pytest.mark.parametrize("status", ["deleting", "missing"])
def test_a_task_that_is_gone_is_left(phase: TaskPhase, status: str) -> None:
    assert next_action(phase, status) is Action.LEAVE


class Restart:
    """One restart with DMS's answers in order."""

    def __init__(self, aws: LocalAws) -> None:
        self.dms = aws.client("dms")
        self.stub = Stubber(self.dms)
        self.store = RestartStore(aws.dynamodb(), table_name=aws.create_state_table())
        self.slept: list[float] = []

    def says(self, *statuses: str, failure: str = "") -> None:
        """What the next looks find."""
        for status in statuses:
            task = {
                "ReplicationTaskArn": TASK,
                "Status": status,
                **({"LastFailureMessage": failure} if failure else {}),
            }
            self.stub.add_response(
                "describe_replication_tasks",
                {"ReplicationTasks": [task]},
                {"Filters": [{"Name": "replication-task-arn", "Values": [TASK]}], "WithoutSettings": True},
            )

    def stops(self, *, refused: bool = False) -> None:
        self._call("stop_replication_task", {"ReplicationTaskArn": TASK}, refused=refused)

    def starts(self, *, refused: bool = False) -> None:
        parameters = {"ReplicationTaskArn": TASK, "StartReplicationTaskType": "resume-processing"}
        self._call("start_replication_task", parameters, refused=refused)

    def run(self, *, longest_step_seconds: float = 30) -> dict[str, TaskPhase]:
        self.store.request(SECRET, "v1", now=1000)
        tasks = ReplicationTasks(
            dms=self.dms,
            store=self.store,
            task_arns=[TASK],
            owner="me",
            deadline=Deadline.after(60),
            now=lambda: 1000.0,
            sleep=self.slept.append,
            poll_seconds=3,
            longest_step_seconds=longest_step_seconds,
        )
        with self.stub:
            ended = dict(tasks.restart(SECRET))
            self.stub.assert_no_pending_responses()
        return ended

    def _call(self, operation: str, parameters: dict[str, str], *, refused: bool) -> None:
        if refused:
            self.stub.add_client_error(operation, "InvalidResourceStateFault", expected_params=parameters)
        else:
            self.stub.add_response(operation, {"ReplicationTask": {}}, parameters)


@pytest.fixture
def restart(aws: LocalAws) -> Restart:
    return Restart(aws)


def test_it_waits_until_the_task_has_stopped_and_until_it_runs(restart: Restart) -> None:
    restart.says("running", "running")
    restart.stops()
    restart.says("stopping", "stopping", "stopped")
    restart.starts()
    restart.says("starting", "starting", "running")
    assert restart.run() == {TASK: TaskPhase.DONE}
    assert restart.slept == [3] * 6


def test_a_task_in_passing_is_judged_when_it_has_settled(restart: Restart) -> None:
    restart.says("starting", "running", "running")
    restart.stops()
    restart.says("stopped")
    restart.starts()
    restart.says("running")
    assert restart.run() == {TASK: TaskPhase.DONE}


def test_a_call_in_the_wrong_moment_is_looked_at_again(restart: Restart) -> None:
    """DescribeReplicationTasks may lag behind; DMS then refuses the call with InvalidResourceStateFault."""
    restart.says("running", "running")
    restart.stops()
    restart.says("running")
    restart.stops(refused=True)
    restart.says("stopped")
    restart.starts()
    restart.says("stopped")
    restart.starts(refused=True)
    restart.says("running")
    assert restart.run() == {TASK: TaskPhase.DONE}


def test_a_task_that_fails_after_each_start_is_an_error_with_what_dms_says(restart: Restart) -> None:
    restart.says("running", "running")
    restart.stops()
    restart.says("stopped")
    restart.starts()
    restart.says("failed", failure="cannot log in")
    restart.starts()
    restart.says("failed", "failed", failure="cannot log in")
    with pytest.raises(ReplicationTaskError, match=f"{TASK} is failed after 2 starts: cannot log in"):
        restart.run()
    record = restart.store.read(SECRET)
    assert record is not None
    assert record.tasks == {TASK: TaskPhase.STARTING}


def test_a_task_that_does_not_stop_is_an_error_and_stays_recorded(restart: Restart) -> None:
    restart.says("running", "running")
    restart.stops()
    with pytest.raises(ReplicationTaskError, match="still running while it should be stopping; the restart goes on"):
        restart.run(longest_step_seconds=2)
    record = restart.store.read(SECRET)
    assert record is not None
    assert record.tasks == {TASK: TaskPhase.STOPPING}


def test_a_failed_restart_gives_the_claim_up_for_the_next_one(restart: Restart) -> None:
    restart.says("running", "running")
    restart.stops()
    with pytest.raises(ReplicationTaskError):
        restart.run(longest_step_seconds=2)
    restart.store.claim("another", now=1001, until=2000, lease_must_be_free=True)


def test_a_restart_that_nobody_owes_touches_nothing(restart: Restart) -> None:
    tasks = ReplicationTasks(
        dms=restart.dms, store=restart.store, task_arns=[TASK], owner="me", deadline=Deadline.after(60)
    )
    with restart.stub:
        assert tasks.restart(SECRET) == {}


def test_a_begun_record_is_not_begun_again(restart: Restart) -> None:
    restart.store.request(SECRET, "v1", now=1)
    restart.store.begin(SECRET, {TASK: TaskPhase.STOPPING})
    restart.store.request(SECRET, "v1", now=2)
    restart.store.begin(SECRET, {TASK: TaskPhase.RUNNING})
    record = restart.store.read(SECRET)
    assert record is not None
    assert record.tasks == {TASK: TaskPhase.STOPPING}


def test_a_record_of_an_older_version_is_replaced(restart: Restart) -> None:
    restart.store.request(SECRET, "v1", now=1)
    restart.store.request(SECRET, "v2", now=2)
    record = restart.store.read(SECRET)
    assert record is not None
    assert (record.version_id, record.tasks) == ("v2", None)


def test_a_record_of_another_layout_is_a_clear_error(aws: LocalAws, restart: Restart) -> None:
    aws.dynamodb().put_item(
        TableName=restart.store._table_name,
        Item={"pk": {"S": "RESTART"}, "sk": {"S": SECRET}, "tasks": {"M": {TASK: {"S": "napping"}}}},
    )
    with pytest.raises(RestartRecordError, match="the restart item must have version_id"):
        restart.store.read(SECRET)
