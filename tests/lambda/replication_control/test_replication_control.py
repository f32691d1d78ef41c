"""Starting and stopping the replication tasks: every state, the shell against moto, and what moto does not have.

moto's tasks stay in creation until they are started by hand, then start and stop at once, never fail and are always
loaded, and its connection tests always succeed. What DMS says otherwise comes from botocore's Stubber here, which
refuses any call that is not the expected one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from botocore.stub import Stubber

from replication_control.control import (
    NOTHING_AGAIN,
    Connection,
    Control,
    Direction,
    Found,
    ReplicationControlError,
    Retry,
    Step,
    next_to_start,
    next_to_stop,
)
from tests.support.local_aws import LocalAws

LOAD = Direction(identifier="LOAD", source="blue", target="green", loads=True)
REVERSE = Direction(identifier="REVERSE", source="green", target="blue", loads=False)
BOTH = (LOAD, REVERSE)
AGAIN = Retry.of(BOTH)
# ReplicationTask and Connection of the AWS DMS API reference.
PASSING = ("creating", "starting", "stopping", "deleting", "modifying", "moving", "testing")
AT_REST = ("ready", "stopped")
FAILED = ("failed", "failed-move")
STATUSES = (*PASSING, *AT_REST, *FAILED, "running", "absent")
OK, TESTING, NO_TEST = Connection(status="successful"), Connection(status="testing"), Connection(status="")
BAD = Connection(status="failed", failure="Access denied for user dms_a")


def found(status: str, **changes: Any) -> Found:
    values: dict[str, Any] = {"loaded": True, "started_before": True, "connections": {"s": OK, "t": OK}, **changes}
    return Found(status=status, **values)


RUNNING = found("running")


@pytest.mark.parametrize("status", PASSING)
@pytest.mark.parametrize("direction", BOTH)
def test_a_state_that_passes_is_waited_for(direction: Direction, status: str) -> None:
    assert next_to_start(direction, found(status), RUNNING) is Step.WAIT


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize(("loaded", "step"), [(True, Step.DONE), (False, Step.WAIT)])
def test_a_task_that_runs_is_done_when_it_is_loaded(direction: Direction, loaded: bool, step: Step) -> None:
    assert next_to_start(direction, found("running", loaded=loaded), RUNNING) is step


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize("status", AT_REST)
def test_a_task_that_ran_before_is_resumed(direction: Direction, status: str) -> None:
    leader = None if direction.loads else RUNNING
    assert next_to_start(direction, found(status), leader) is Step.RESUME


@pytest.mark.parametrize("status", AT_REST)
def test_a_task_that_loads_starts_from_the_beginning(status: str) -> None:
    assert next_to_start(LOAD, found(status, started_before=False), None) is Step.START


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("loaded", [True, False])
def test_a_reverse_task_starts_first_when_the_other_runs_and_is_loaded(status: str, loaded: bool) -> None:
    leader = found(status, loaded=loaded)
    expected = Step.START_AT if status == "running" and loaded else Step.WAIT
    assert next_to_start(REVERSE, found("ready", started_before=False), leader) is expected


@pytest.mark.parametrize("status", STATUSES)
def test_a_reverse_task_that_ran_before_does_not_wait_for_the_other(status: str) -> None:
    assert next_to_start(REVERSE, found("stopped"), found(status)) is Step.RESUME


@pytest.mark.parametrize("one", [OK, TESTING, NO_TEST])
@pytest.mark.parametrize("other", [OK, TESTING, NO_TEST])
@pytest.mark.parametrize("retry", [NOTHING_AGAIN, AGAIN])
def test_connections_are_tested_once_before_the_first_start(one: Connection, other: Connection, retry: Retry) -> None:
    step = next_to_start(
        LOAD, found("ready", started_before=False, connections={"s": one, "t": other}), None, retry=retry
    )
    pair = (one, other)
    assert step is (Step.TEST if NO_TEST in pair else Step.WAIT if TESTING in pair else Step.START)


@pytest.mark.parametrize("status", AT_REST)
@pytest.mark.parametrize("other", [OK, TESTING, NO_TEST, BAD])
def test_a_failed_test_is_said_in_the_words_of_dms_and_not_repeated(status: str, other: Connection) -> None:
    with pytest.raises(
        ReplicationControlError,
        match=r"^replication LOAD cannot connect to t: Access denied for user dms_a; mend it, then try again$",
    ):
        next_to_start(LOAD, found(status, connections={"z": other, "t": BAD}), None)


def test_a_failed_test_is_repeated_when_a_person_asks() -> None:
    assert next_to_start(LOAD, found("stopped", connections={"t": BAD}), None, retry=AGAIN) is Step.TEST


def test_a_failed_test_of_another_task_is_not_repeated() -> None:
    retry = Retry(tests=frozenset({"REVERSE"}))
    with pytest.raises(ReplicationControlError, match="cannot connect"):
        next_to_start(LOAD, found("stopped", connections={"t": BAD}), None, retry=retry)


@pytest.mark.parametrize("status", FAILED)
def test_a_failed_task_is_said_in_the_words_of_dms_and_not_resumed(status: str) -> None:
    with pytest.raises(ReplicationControlError, match=f"^replication LOAD is {status}: disk full; mend it"):
        next_to_start(LOAD, found(status, failure="disk full"), None)


@pytest.mark.parametrize("status", FAILED)
def test_a_failed_task_is_resumed_when_a_person_asks(status: str) -> None:
    assert next_to_start(LOAD, found(status), None, retry=AGAIN) is Step.RESUME


@pytest.mark.parametrize("status", STATUSES)
def test_tables_that_could_not_be_loaded_are_never_taken_for_loaded(status: str) -> None:
    if status == "absent":
        return
    with pytest.raises(ReplicationControlError, match="replication LOAD could not load 2 tables"):
        next_to_start(LOAD, found(status, tables_failed=2), None, retry=AGAIN)


def test_a_task_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ReplicationControlError, match="replication LOAD does not exist: deploy the stack first"):
        next_to_start(LOAD, found("absent"), None)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("reverse", [*STATUSES, None])
def test_a_task_is_stopped_once_its_reverse_rests(status: str, reverse: str | None) -> None:
    rests = {*AT_REST, *FAILED, "absent"}
    step = next_to_stop(found(status), found(reverse) if reverse else None)
    if status in rests:
        assert step is Step.DONE
    elif status == "running" and (reverse is None or reverse in rests):
        assert step is Step.STOP
    else:
        assert step is Step.WAIT


def test_a_retry_is_used_up_by_what_was_tried() -> None:
    after = AGAIN.after({"LOAD": Step.TEST, "REVERSE": Step.WAIT})
    assert (after.tests, after.tasks) == (frozenset({"REVERSE"}), frozenset({"LOAD", "REVERSE"}))
    assert after.after({"LOAD": Step.RESUME, "REVERSE": Step.START_AT}) == NOTHING_AGAIN


class InMoto:
    """A replication instance, endpoints and the pair of tasks in moto; they ran before and rest."""

    def __init__(self, aws: LocalAws) -> None:
        self.dms = aws.client("dms")
        instance = self.dms.create_replication_instance(
            ReplicationInstanceIdentifier=f"i-{uuid4().hex[:12]}", ReplicationInstanceClass="dms.t3.medium"
        )["ReplicationInstance"]["ReplicationInstanceArn"]
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.directions = []
        for source, target, kind in (("blue", "green", "full-load-and-cdc"), ("green", "blue", "cdc")):
            arn = self.dms.create_replication_task(
                ReplicationTaskIdentifier=f"t-{uuid4().hex[:12]}",
                SourceEndpointArn=self._endpoint("source"),
                TargetEndpointArn=self._endpoint("target"),
                ReplicationInstanceArn=instance,
                MigrationType=kind,
                TableMappings="{}",
            )["ReplicationTask"]["ReplicationTaskArn"]
            self.dms.start_replication_task(ReplicationTaskArn=arn, StartReplicationTaskType="start-replication")
            self.dms.stop_replication_task(ReplicationTaskArn=arn)
            self.directions.append(
                Direction(identifier=arn.rsplit(":", 1)[-1], source=source, target=target, loads=source == "blue")
            )
        self.control = Control(
            dms=self.dms, directions=self.directions, binlog_position=lambda database: f"{database}-bin.000007:1234"
        )
        self.dms.meta.events.register("provide-client-params.dms.*", self._note)

    def _endpoint(self, kind: str) -> str:
        return str(
            self.dms.create_endpoint(
                EndpointIdentifier=f"e-{uuid4().hex[:12]}", EndpointType=kind, EngineName="aurora"
            )["Endpoint"]["EndpointArn"]
        )

    def _note(self, *, params: dict[str, Any], model: Any, **_: Any) -> None:
        if not model.name.startswith("Describe"):
            self.calls.append((model.name, dict(params)))

    def until_done(self, act: Callable[[], Mapping[str, Step]]) -> list[list[Step]]:
        steps = []
        for _ in range(10):
            steps.append(list(act().values()))
            if set(steps[-1]) == {Step.DONE}:
                return steps
        raise AssertionError(steps)


@pytest.fixture
def in_moto(aws: LocalAws) -> InMoto:
    return InMoto(aws)


def test_every_connection_is_tested_before_a_task_starts(in_moto: InMoto) -> None:
    in_moto.until_done(in_moto.control.start)
    names = [name for name, _ in in_moto.calls]
    assert names.count("TestConnection") == 4
    tested = {params["EndpointArn"] for name, params in in_moto.calls if name == "TestConnection"}
    assert len(tested) == 4


def test_tasks_that_run_are_left_alone(in_moto: InMoto) -> None:
    in_moto.until_done(in_moto.control.start)
    in_moto.calls.clear()
    assert set(in_moto.control.start().values()) == {Step.DONE}
    assert in_moto.calls == []


def test_the_reverse_task_stops_first(in_moto: InMoto) -> None:
    in_moto.until_done(in_moto.control.start)
    in_moto.calls.clear()
    steps = in_moto.until_done(in_moto.control.stop)
    stopped = [params["ReplicationTaskArn"].rsplit(":", 1)[-1] for name, params in in_moto.calls]
    assert stopped == [each.identifier for each in reversed(in_moto.directions)]
    assert steps[0] == [Step.STOP, Step.WAIT]


def test_stopped_tasks_are_resumed_where_they_were(in_moto: InMoto) -> None:
    in_moto.until_done(in_moto.control.start)
    started = [params["StartReplicationTaskType"] for name, params in in_moto.calls if name == "StartReplicationTask"]
    assert started == ["resume-processing"] * 2


def test_a_task_without_its_counterpart_is_a_mistake_of_the_configuration(in_moto: InMoto) -> None:
    with pytest.raises(ReplicationControlError, match="has no task from blue to green beside it that loads"):
        replace(in_moto.control, directions=in_moto.directions[1:]).start()


class Dms:
    """DMS's answers in order."""

    def __init__(self, aws: LocalAws) -> None:
        self.client = aws.client("dms")
        self.stub = Stubber(self.client)
        self.control = Control(
            dms=self.client, directions=BOTH, binlog_position=lambda database: f"{database}-bin.000007:1234"
        )

    def tasks(self, *, load: Mapping[str, Any], reverse: Mapping[str, Any]) -> None:
        tasks = [
            {
                "ReplicationTaskArn": f"arn:task:{name}",
                "SourceEndpointArn": f"arn:{name}:source",
                "TargetEndpointArn": f"arn:{name}:target",
                "ReplicationInstanceArn": "arn:instance",
                **task,
            }
            for name, task in (("LOAD", load), ("REVERSE", reverse))
        ]
        self.stub.add_response("describe_replication_tasks", {"ReplicationTasks": tasks}, {"WithoutSettings": True})

    def connections(self, name: str, *connections: Mapping[str, Any], absent: bool = False) -> None:
        parameters = {
            "Filters": [
                {"Name": "endpoint-arn", "Values": [f"arn:{name}:source", f"arn:{name}:target"]},
                {"Name": "replication-instance-arn", "Values": ["arn:instance"]},
            ]
        }
        if absent:
            self.stub.add_client_error("describe_connections", "ResourceNotFoundFault", expected_params=parameters)
        else:
            self.stub.add_response("describe_connections", {"Connections": list(connections)}, parameters)

    def connected(self, name: str) -> None:
        self.connections(
            name, *({"EndpointArn": f"arn:{name}:{side}", "Status": "successful"} for side in ("source", "target"))
        )

    def start(self, retry: Retry = NOTHING_AGAIN) -> Mapping[str, Step]:
        with self.stub:
            try:
                return self.control.start(retry=retry)
            finally:
                self.stub.assert_no_pending_responses()


STARTED = {"ReplicationTaskStartDate": "2026-11-24T12:00:00Z"}
LOADED: dict[str, Any] = {
    "Status": "running",
    "ReplicationTaskStats": {"FullLoadProgressPercent": 100, "TablesErrored": 0},
    **STARTED,
}


@pytest.fixture
def dms(aws: LocalAws) -> Dms:
    return Dms(aws)


def test_the_task_that_loads_starts_from_the_beginning_and_its_reverse_waits(dms: Dms) -> None:
    dms.tasks(load={"Status": "ready"}, reverse={"Status": "ready"})
    dms.connected("LOAD")
    dms.connected("REVERSE")
    dms.stub.add_response(
        "start_replication_task",
        {"ReplicationTask": {}},
        {"ReplicationTaskArn": "arn:task:LOAD", "StartReplicationTaskType": "start-replication"},
    )
    assert dms.start() == {"LOAD": Step.START, "REVERSE": Step.WAIT}


def test_the_reverse_task_begins_where_the_binary_log_of_its_source_ended_after_the_load(dms: Dms) -> None:
    dms.tasks(load=LOADED, reverse={"Status": "ready"})
    dms.connected("LOAD")
    dms.connected("REVERSE")
    dms.stub.add_response(
        "start_replication_task",
        {"ReplicationTask": {}},
        {
            "ReplicationTaskArn": "arn:task:REVERSE",
            "StartReplicationTaskType": "start-replication",
            "CdcStartPosition": "green-bin.000007:1234",
        },
    )
    assert dms.start() == {"LOAD": Step.DONE, "REVERSE": Step.START_AT}


def test_the_reverse_task_waits_for_the_end_of_the_load(dms: Dms) -> None:
    loading = {**LOADED, "ReplicationTaskStats": {"FullLoadProgressPercent": 99}}
    dms.tasks(load=loading, reverse={"Status": "ready"})
    dms.connected("LOAD")
    dms.connected("REVERSE")
    assert dms.start() == {"LOAD": Step.WAIT, "REVERSE": Step.WAIT}


def test_a_failed_connection_is_reported_and_only_it_is_tested_again_on_request(dms: Dms) -> None:
    def state() -> None:
        dms.tasks(load={"Status": "ready"}, reverse={"Status": "ready"})
        dms.connections(
            "LOAD",
            {"EndpointArn": "arn:LOAD:source", "Status": "successful"},
            {"EndpointArn": "arn:LOAD:target", "Status": "failed", "LastFailureMessage": "Access denied"},
        )
        dms.connected("REVERSE")

    state()
    with pytest.raises(ReplicationControlError, match="cannot connect to arn:LOAD:target: Access denied"):
        dms.start()
    state()
    dms.stub.add_response(
        "test_connection", {}, {"ReplicationInstanceArn": "arn:instance", "EndpointArn": "arn:LOAD:target"}
    )
    steps = dms.start(AGAIN)
    assert steps == {"LOAD": Step.TEST, "REVERSE": Step.WAIT}
    # It fails again: the call after that says so instead of testing for ever.
    state()
    with pytest.raises(ReplicationControlError, match="Access denied"):
        dms.start(AGAIN.after(steps))


def test_connections_that_were_never_tested_are_no_error(dms: Dms) -> None:
    dms.tasks(load={"Status": "ready"}, reverse={"Status": "ready"})
    dms.connections("LOAD", absent=True)
    dms.connected("REVERSE")
    for side in ("source", "target"):
        dms.stub.add_response(
            "test_connection", {}, {"ReplicationInstanceArn": "arn:instance", "EndpointArn": f"arn:LOAD:{side}"}
        )
    assert dms.start()["LOAD"] is Step.TEST


def test_the_failure_of_one_task_does_not_keep_the_other_from_its_step(dms: Dms) -> None:
    dms.tasks(
        load={"Status": "failed", "LastFailureMessage": "disk full", **STARTED},
        reverse={"Status": "stopped", **STARTED},
    )
    dms.connected("LOAD")
    dms.connected("REVERSE")
    dms.stub.add_response(
        "start_replication_task",
        {"ReplicationTask": {}},
        {"ReplicationTaskArn": "arn:task:REVERSE", "StartReplicationTaskType": "resume-processing"},
    )
    with pytest.raises(
        ReplicationControlError, match=r"^replication LOAD is failed: disk full; mend it, then try again$"
    ):
        dms.start()


def test_tables_that_dms_could_not_load_are_reported(dms: Dms) -> None:
    stats = {"FullLoadProgressPercent": 100, "TablesErrored": 1}
    dms.tasks(load={**LOADED, "ReplicationTaskStats": stats}, reverse={"Status": "ready"})
    dms.connected("LOAD")
    dms.connected("REVERSE")
    dms.stub.add_response(
        "start_replication_task",
        {"ReplicationTask": {}},
        {
            "ReplicationTaskArn": "arn:task:REVERSE",
            "StartReplicationTaskType": "start-replication",
            "CdcStartPosition": "green-bin.000007:1234",
        },
    )
    with pytest.raises(ReplicationControlError, match="replication LOAD could not load 1 tables"):
        dms.start()


def test_a_call_in_the_wrong_moment_is_looked_at_again(dms: Dms) -> None:
    dms.tasks(load={"Status": "stopped", **STARTED}, reverse=LOADED)
    dms.connected("LOAD")
    dms.connected("REVERSE")
    dms.stub.add_client_error("start_replication_task", "InvalidResourceStateFault", "is starting")
    assert dms.start() == {"LOAD": Step.WAIT, "REVERSE": Step.DONE}


def test_a_refusal_names_the_task_and_the_step(dms: Dms) -> None:
    dms.tasks(load={"Status": "stopped", **STARTED}, reverse=LOADED)
    dms.connected("LOAD")
    dms.connected("REVERSE")
    dms.stub.add_client_error("start_replication_task", "AccessDeniedFault", "not allowed")
    with pytest.raises(ReplicationControlError, match=r"^replication LOAD: cannot resume: .*AccessDeniedFault"):
        dms.start()


def test_tasks_that_cannot_be_read_are_an_error(dms: Dms) -> None:
    dms.stub.add_client_error("describe_replication_tasks", "AccessDeniedFault", "not allowed")
    with pytest.raises(ReplicationControlError, match=r"^replication tasks cannot be read: .*AccessDeniedFault"):
        dms.start()


def test_connections_that_cannot_be_read_are_an_error(dms: Dms) -> None:
    dms.tasks(load=LOADED, reverse=LOADED)
    dms.stub.add_client_error("describe_connections", "AccessDeniedFault", "not allowed")
    with pytest.raises(ReplicationControlError, match=r"^connections cannot be read: .*AccessDeniedFault"):
        dms.start()
