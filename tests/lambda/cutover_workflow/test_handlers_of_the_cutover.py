"""The functions as Lambda calls them: an event, a context and an environment, against moto and two real databases."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cutover_controller.handler import EventError as ControllerEventError
from cutover_controller.handler import lambda_handler as controller
from cutover_plan import PlanError
from cutover_preflight.handler import EventError as PreflightEventError
from cutover_preflight.handler import lambda_handler as preflight
from cutover_rollback.handler import lambda_handler as rollback
from cutover_rollback.request import RequestError
from cutover_settings import SettingsError
from cutover_settings.pace import PaceError
from cutover_state.desired import Desired, DesiredStore
from cutover_state.journal import Journal
from cutover_state.lease import read_lease
from cutover_state.levers import Kind
from cutover_state.run import Phase, Run, RunStore
from reconciler.handler import lambda_handler as reconciler
from recovery_point.handler import EventError as RecoveryEventError
from recovery_point.handler import RecoveryPointError
from recovery_point.handler import lambda_handler as recovery_point
from replication_control.handler import EventError as ReplicationEventError
from replication_control.handler import lambda_handler as replication_control
from tests.support.canned_aws import CannedAws, canned_aws
from tests.support.levers_in_aws import HOST, LeversInAws
from tests.support.local_aws import LocalAws
from tests.support.whole_cutover import PLAN
from tests.support.writer_world import World
from writer_switch.handler import lambda_handler as writer_switch
from writer_switch.request import SwitchRequestError

pytestmark = pytest.mark.slow

ALARMS = {"blue": ["blue-unhealthy"], "green": ["green-unhealthy"], "aws": ["blue-unhealthy"], "legacy": []}
CLUSTERS = [f"arn:aws:rds:us-east-1:123456789012:cluster:{name}" for name in ("blue", "green")]
LOAD_BALANCER = "app/payments/1"
BEGIN = {
    "cutover_id": "cutover-7",
    "execution_arn": "arn:aws:states:us-east-1:123456789012:execution:cutover:cutover-7",
    "request": {"from": "blue", "to": "green", "requested_by": "ada", "plan": PLAN, "settle_seconds": 0},
}


class Context:
    """What Lambda hands over."""

    def get_remaining_time_in_millis(self) -> int:
        return 100_000


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """Everything that the functions reach."""

    aws: LocalAws
    levers: LeversInAws
    canned: CannedAws
    databases: World
    table: str
    environment: Mapping[str, str]

    @property
    def runs(self) -> RunStore:
        return RunStore(self.aws.dynamodb(), table_name=self.table)

    @property
    def run(self) -> Run:
        run = self.runs.read()
        assert run is not None
        return run

    def whats(self, cutover_id: str = "cutover-7") -> list[str]:
        journal = Journal(self.aws.dynamodb(), table_name=self.table, cutover_id=cutover_id, who="reader")
        return [entry.what for entry in journal.entries()]

    def weights(self) -> Mapping[str, int]:
        return self.levers.live()[Kind.ENVIRONMENT]

    def alarm(self, name: str, state: str = "OK") -> None:
        self.aws.set_alarm(name, state)

    def lags(self) -> None:
        """DMS reports lags and no differing row."""
        metrics = {"CDCLatencySource": 0.3, "CDCLatencyTarget": 0.5, "ValidationFailedOverallCount": 0}
        self.aws.report_replication(json.loads(self.environment["REPLICATION_TASKS"]), metrics)


@pytest.fixture(scope="module")
def levers(aws: LocalAws) -> LeversInAws:
    return LeversInAws.create(aws)


@pytest.fixture
def canned() -> Iterator[CannedAws]:
    with canned_aws() as running:
        yield running


@pytest.fixture
def deployed(
    aws: LocalAws,
    levers: LeversInAws,
    canned: CannedAws,
    fresh_databases: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Deployed:
    """Healthy blue and green, blue with all of the traffic and the writer, and the functions' environment."""
    databases = World(fresh_databases, writer="blue")
    table = aws.create_state_table()
    levers.set(green=0, aws=100)
    DesiredStore(aws.dynamodb(), table_name=table).write(
        Desired(weights={"blue": 100, "green": 0}, records={"legacy": 0, "aws": 100}, writer="blue", by="reconciler")
    )
    elbv2, ssm = aws.shared_client("elbv2"), aws.shared_client("ssm")
    for number, arn in enumerate(levers.target_groups.values()):
        targets = [{"Id": f"10.0.{number}.{host}", "Port": 8443} for host in (1, 2, 3)]
        elbv2.register_targets(TargetGroupArn=arn, Targets=targets)
    canned.tasks.update(blue=(3, 3), green=(3, 3))
    tasks = []
    for source, target in (("blue", "green"), ("green", "blue")):
        identifier = aws.create_replication_task().rpartition(":")[2]
        tasks.append({"identifier": identifier, "source": source, "target": target, "loads": source == "blue"})
    secrets = {
        name: {f"{role}_secret_arn": aws.create_secret(document) for role, document in pair.items()}
        for name, pair in databases.documents.items()
    }
    for name, value in {"/plan": "{}", "/verdict": json.dumps({"limits": {"healthy_hosts_minimum": 2}})}.items():
        ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)
    environment = {
        "STATE_TABLE_NAME": table,
        "NOTIFICATION_TOPIC_ARN": aws.shared_client("sns").create_topic(Name="cutovers")["TopicArn"],
        "LISTENER_RULE_ARN": levers.rule_arn,
        "TARGET_GROUP_ARNS": json.dumps(dict(levers.target_groups)),
        "TARGET_GROUP_NAMES": json.dumps({"blue": "targetgroup/blue/1", "green": "targetgroup/green/1"}),
        "LOAD_BALANCER_NAME": LOAD_BALANCER,
        "HOSTED_ZONE_ID": levers.hosted_zone_id,
        "PAYMENTS_HOST": HOST,
        "CHAIN": json.dumps(["blue", "green"]),
        "WRITER_SWITCH_DATABASES": json.dumps(secrets),
        "DATABASE_CA_PATH": str(databases.chain.ca_path),
        "PAYMENT_SCHEMA": "payments",
        "REPLICATION_INSTANCE": "instance",
        "REPLICATION_TASKS": json.dumps(tasks),
        "ALARMS": json.dumps(ALARMS),
        "ECS_CLUSTER": "payments",
        "ECS_SERVICES": json.dumps({"blue": "blue", "green": "green"}),
        "ROTATED_SECRET_ARNS": json.dumps([arn for pair in secrets.values() for arn in pair.values()]),
        "VERDICT_PARAMETER": "/verdict",
        "PLAN_PARAMETERS": json.dumps(dict.fromkeys(("blue-green", "green-blue", "legacy-aws", "aws-legacy"), "/plan")),
        "SLOWER_THAN_SECONDS": "2",
        "FIRST_WRITER": "blue",
        "METRIC_NAMESPACE": "payments/cutover",
        "BACKUP_VAULT": "vault",
        "BACKUP_ROLE_ARN": "arn:aws:iam::123456789012:role/backup",
        "CLUSTER_ARNS": json.dumps(CLUSTERS),
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_ENDPOINT_URL_ECS": canned.endpoint_url,
        "AWS_ENDPOINT_URL_BACKUP": canned.endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    deployed = Deployed(
        aws=aws, levers=levers, canned=canned, databases=databases, table=table, environment=environment
    )
    for name in ("blue-unhealthy", "green-unhealthy"):
        deployed.alarm(name)
    deployed.lags()
    return deployed


def begin() -> dict[str, Any]:
    answer = preflight(BEGIN, Context())
    assert answer["begun"], answer["reasons"]
    return answer


class TestPreflight:
    def test_it_begins_where_all_is_well(self, deployed: Deployed) -> None:
        assert begin() == {"begun": True, "cutover_id": "cutover-7", "reasons": [], "recovery_point": False}
        assert (deployed.run.phase, deployed.whats()) == (Phase.PREPARING, ["begin"])

    def test_without_a_plan_it_takes_that_of_the_parameter(self, deployed: Deployed) -> None:
        deployed.aws.shared_client("ssm").put_parameter(
            Name="/plan", Value=json.dumps({"steps": [{"weight_percent": 100}]}), Type="String", Overwrite=True
        )
        answer = preflight({"from": "blue", "to": "green", "requested_by": "ada", "dry_run": True}, Context())
        assert (answer["reasons"], [step["weight_percent"] for step in answer["plan"]["steps"]]) == ([], [100])
        assert deployed.runs.read() is None

    def test_it_says_everything_that_is_against_it(self, deployed: Deployed) -> None:
        deployed.canned.tasks["green"] = (1, 3)
        deployed.alarm("green-unhealthy", "ALARM")
        deployed.databases.chain["green"].execute_unlogged(["CREATE TABLE payments.extra (id INT PRIMARY KEY)"])
        reasons = preflight(BEGIN, Context())["reasons"]
        for part in ("green alone has column extra.id", "alarm green-unhealthy is firing", "green runs 1 of 3 tasks"):
            assert any(part in reason for reason in reasons), part
        assert read_lease(deployed.aws.dynamodb(), table_name=deployed.table) is None

    def test_a_sick_side_can_be_left_when_a_person_says_so(self, deployed: Deployed) -> None:
        deployed.alarm("blue-unhealthy", "ALARM")
        event = {**BEGIN, "request": {**BEGIN["request"], "leave_sick_source": True}}  # type: ignore[dict-item]
        assert preflight(BEGIN, Context())["reasons"] == ["alarm blue-unhealthy is firing already"]
        assert preflight(event, Context())["begun"]
        journal = Journal(deployed.aws.dynamodb(), table_name=deployed.table, cutover_id="cutover-7", who="reader")
        assert list(journal.entries())[-1].details == {"recovery_point": False, "leave_sick_source": True}

    def test_the_default_plan_leaves_a_database_alone_that_is_not_in_the_chain(self, deployed: Deployed) -> None:
        event = {"from": "aws", "to": "legacy", "requested_by": "ada", "dry_run": True}
        plan = preflight(event, Context())["plan"]
        assert [step["weight_percent"] for step in plan["steps"]] == [1, 5, 10, 25, 50, 100]
        assert not any(step["switch_writer"] for step in plan["steps"])

    @pytest.mark.parametrize(
        ("event", "error", "message"),
        [
            ({"from": "blue", "to": "legacy"}, PreflightEventError, "requested_by: must say who asks; from, to:"),
            ({**BEGIN, "execution_arn": ""}, PreflightEventError, "execution_arn: must be that of the execution"),
            ({**BEGIN, "request": []}, PreflightEventError, "request: must be the input of the execution, got list"),
            ({**BEGIN, "request": {**BEGIN["request"], "poll_seconds": 0}}, PaceError, "poll_seconds: must be"),  # type: ignore[dict-item]
            ({**BEGIN, "request": {**BEGIN["request"], "dry": 1}}, PreflightEventError, "dry is not known"),  # type: ignore[dict-item]
            (
                {"from": "blue", "to": "green", "requested_by": "ada", "dry_run": "no"},
                PreflightEventError,
                "dry_run: must be true or false",
            ),
            (
                {"from": "blue", "to": "green", "requested_by": "ada", "plan": {"steps": [{"weight_percent": 50}]}},
                PlanError,
                "weight_percent",
            ),
            (
                {
                    "from": "legacy",
                    "to": "aws",
                    "requested_by": "ada",
                    "plan": {"steps": [{"weight_percent": 100, "switch_writer": True}]},
                },
                PreflightEventError,
                "plan: switches the writer, but database legacy is not in the chain blue, green",
            ),
        ],
    )
    def test_a_wrong_event_is_refused(
        self, deployed: Deployed, event: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            preflight(event, Context())
        assert deployed.runs.read() is None


class TestController:
    LOOK: Mapping[str, Any] = {"cutover_id": "cutover-7", "request": BEGIN["request"]}

    def counts(self, deployed: Deployed, minute: int, *, errors: int) -> None:
        def datum(metric: str, value: float) -> dict[str, Any]:
            return {
                "MetricName": metric,
                "Dimensions": [
                    {"Name": "LoadBalancer", "Value": LOAD_BALANCER},
                    {"Name": "TargetGroup", "Value": "targetgroup/green/1"},
                ],
                "Timestamp": datetime.fromtimestamp(minute, UTC),
                "Value": value,
            }

        deployed.aws.shared_client("cloudwatch").put_metric_data(
            Namespace="AWS/ApplicationELB",
            MetricData=[
                datum("RequestCount", 2000),
                datum("HTTPCode_Target_5XX_Count", errors),
                datum("HealthyHostCount", 3),
            ],
        )

    def test_a_look_moves_the_weights(self, deployed: Deployed) -> None:
        begin()
        answer = controller(self.LOOK, Context())
        assert (answer["next"], answer["seconds"], deployed.weights()) == ("wait", 60, {"blue": 99, "green": 1})

    @pytest.mark.parametrize(("errors", "following"), [(0, "wait"), (200, "roll back")])
    def test_a_look_judges_what_cloudwatch_counted(self, deployed: Deployed, errors: int, following: str) -> None:
        begin()
        controller(self.LOOK, Context())
        run, minute = deployed.run, int(time.time()) // 60 * 60 - 120
        assert run.evidence is not None
        evidence = {**run.evidence, "next_sample_seconds": minute}
        since = {**run.position, "since_seconds": minute}
        deployed.runs.write(replace(run, evidence=evidence, position=since))
        self.counts(deployed, minute, errors=errors)
        self.counts(deployed, minute + 60, errors=errors)
        answer = controller(self.LOOK, Context())
        assert answer["next"] == following, answer
        if following == "wait":
            assert deployed.weights() == {"blue": 50, "green": 50}

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"cutover_id": None}, ControllerEventError, "cutover_id: must name the cutover"),
            ({"switched": "yes"}, ControllerEventError, "switched: must be the outcome of the writer switch, got str"),
            ({"request": "x"}, ControllerEventError, "request: must be the input of the execution, got str"),
            ({"request": {"settle_seconds": -1}}, PaceError, "settle_seconds: must be a whole number from 0 to 300"),
        ],
    )
    def test_a_wrong_event_is_refused(
        self, deployed: Deployed, change: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        begin()
        with pytest.raises(error, match=message):
            controller({**self.LOOK, **change}, Context())
        assert deployed.weights() == {"blue": 100, "green": 0}

    def test_a_variable_that_is_missing_is_named(self, deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("ALARMS")
        with pytest.raises(SettingsError, match="ALARMS: the function's environment must have it"):
            controller(self.LOOK, Context())


class TestWriterSwitch:
    EVENT: Mapping[str, Any] = {"cutover_id": "cutover-7", "from": "blue", "to": "green"}

    def test_the_writer_is_switched_for_the_cutover_under_way(self, deployed: Deployed) -> None:
        begin()
        assert writer_switch(self.EVENT, Context())["result"] == "switched"
        assert deployed.databases.admitting() == ["green"]

    @pytest.mark.parametrize("phase", [Phase.ROLLING_BACK, Phase.ROLLED_BACK])
    def test_it_comes_too_late_for_a_cutover_that_is_taken_back(self, deployed: Deployed, phase: Phase) -> None:
        begin()
        deployed.runs.write(replace(deployed.run, phase=phase))
        answer = writer_switch(self.EVENT, Context())
        assert answer["result"] == "refused"
        assert answer["reason"] == f"cutover cutover-7 is {phase.value}: the writer does not go to green any more"
        assert deployed.databases.admitting() == ["blue"]

    def test_the_way_back_is_open_to_a_cutover_that_is_taken_back(self, deployed: Deployed) -> None:
        begin()
        writer_switch(self.EVENT, Context())
        deployed.runs.write(replace(deployed.run, phase=Phase.ROLLING_BACK))
        back = {**self.EVENT, "from": "green", "to": "blue"}
        assert writer_switch(back, Context())["result"] == "switched"

    def test_a_wrong_event_is_refused(self, deployed: Deployed) -> None:
        with pytest.raises(SwitchRequestError, match="cutover_id is missing"):
            writer_switch({"from": "blue", "to": "green"}, Context())


class TestRollback:
    EVENT: Mapping[str, Any] = {"requested_by": "grace", "reason": "complaints"}

    def notification(self, name: str) -> dict[str, Any]:
        alarm = {"AlarmName": name, "NewStateValue": "ALARM", "NewStateReason": "5 bad of 100"}
        return {"Records": [{"Sns": {"Message": json.dumps(alarm)}}]}

    def test_weights_and_writer_are_restored(self, deployed: Deployed) -> None:
        begin()
        controller(TestController.LOOK, Context())
        writer_switch(TestWriterSwitch.EVENT, Context())
        answer = rollback({**self.EVENT, "from_state_machine": True}, Context())
        assert answer["rolled_back"], answer
        assert (deployed.weights(), deployed.databases.admitting()) == ({"blue": 100, "green": 0}, ["blue"])
        assert (deployed.run.phase, deployed.whats()[-1]) == (Phase.ROLLED_BACK, "rolled back")

    @pytest.mark.parametrize(("alarm", "rolled_back"), [("green-unhealthy", True), ("blue-unhealthy", False)])
    def test_only_an_alarm_of_green_takes_a_cutover_to_green_back(
        self, deployed: Deployed, alarm: str, rolled_back: bool
    ) -> None:
        begin()
        deployed.runs.write(replace(deployed.run, execution_arn=""))
        controller(TestController.LOOK, Context())
        answer = rollback(self.notification(alarm), Context())
        assert answer["rolled_back"] is rolled_back, answer
        assert deployed.weights() == ({"blue": 100, "green": 0} if rolled_back else {"blue": 99, "green": 1})

    def test_an_execution_that_is_gone_is_no_obstacle(self, deployed: Deployed) -> None:
        begin()
        assert rollback(self.EVENT, Context())["rolled_back"]

    def test_when_idle_it_does_nothing(self, deployed: Deployed) -> None:
        answer = rollback(self.EVENT, Context())
        assert (answer["rolled_back"], answer["explanation"]) == (False, "no cutover ever ran")

    def test_a_database_that_does_not_answer_needs_a_person(
        self, deployed: Deployed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begin()
        writer_switch(TestWriterSwitch.EVENT, Context())
        secrets = json.loads(deployed.environment["WRITER_SWITCH_DATABASES"])
        gone = {**deployed.databases.documents["green"]["admin"], "port": 1}
        secrets["green"]["admin_secret_arn"] = deployed.aws.create_secret(gone)
        monkeypatch.setenv("WRITER_SWITCH_DATABASES", json.dumps(secrets))
        answer = rollback({**self.EVENT, "from_state_machine": True}, Context())
        assert (answer["rolled_back"], answer["stuck"]) == (False, True)
        assert deployed.run.phase is Phase.STUCK

    def test_a_wrong_event_is_refused(self, deployed: Deployed) -> None:
        with pytest.raises(RequestError, match="reason: must say why"):
            rollback({"requested_by": "grace"}, Context())


class TestReconciler:
    def test_what_drifted_is_put_right_and_counted(self, deployed: Deployed) -> None:
        deployed.levers.set(green=30, aws=100)
        answer = reconciler({}, Context())
        assert answer["drifts"] == ["environment: found blue 70, green 30, restored blue 100, green 0"]
        assert deployed.weights() == {"blue": 100, "green": 0}
        assert deployed.whats("standing")[-1] == "drift put right"

    def test_a_cutover_that_nobody_drives_is_told_of(self, deployed: Deployed) -> None:
        begin()
        deployed.runs.write(replace(deployed.run, looked_at=time.time() - 3600))
        stuck = reconciler({}, Context())["stuck"]
        assert stuck.startswith("Cutover cutover-7 is preparing and nobody has looked at it for 60 minutes")

    def test_it_tells_where_the_pointers_stand(self, deployed: Deployed) -> None:
        begin()
        reconciler({}, Context())
        found = deployed.aws.shared_client("cloudwatch").list_metrics(
            Namespace=deployed.environment["METRIC_NAMESPACE"]
        )
        named = {(each["MetricName"], *(pair["Value"] for pair in each["Dimensions"])) for each in found["Metrics"]}
        assert named == {
            ("DriftCorrected",),
            ("CutoverStuck",),
            ("CutoverUnderWay",),
            *(("WeightPercent", side) for side in ("blue", "green", "legacy", "aws")),
            *(("Writer", name) for name in json.loads(deployed.environment["CHAIN"])),
        }

    def test_with_nothing_to_do_it_says_nothing(self, deployed: Deployed) -> None:
        assert reconciler({}, Context()) == {"drifts": [], "stuck": None}

    def test_a_variable_that_is_missing_is_named(self, deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("FIRST_WRITER")
        with pytest.raises(SettingsError, match="FIRST_WRITER"):
            reconciler({}, Context())


class TestRecoveryPoint:
    def test_a_job_for_each_database_is_started_once_and_waited_for(self, deployed: Deployed) -> None:
        begin()
        first = recovery_point({"cutover_id": "cutover-7"}, Context())
        assert first == recovery_point({"cutover_id": "cutover-7"}, Context())
        assert (first["complete"], len(first["jobs"])) == (False, 2)
        assert [each["ResourceArn"] for each in deployed.canned.started] == CLUSTERS
        deployed.canned.jobs.update(dict.fromkeys(first["jobs"], "COMPLETED"))
        assert recovery_point({"cutover_id": "cutover-7", "jobs": first["jobs"]}, Context())["complete"]

    @pytest.mark.parametrize("state", ["ABORTED", "FAILED", "EXPIRED", "PARTIAL"])
    def test_a_job_that_fails_is_named(self, deployed: Deployed, state: str) -> None:
        begin()
        jobs = recovery_point({"cutover_id": "cutover-7"}, Context())["jobs"]
        deployed.canned.jobs[jobs[1]] = state
        with pytest.raises(RecoveryPointError, match=f"{jobs[1]} is {state}: as the test has it"):
            recovery_point({"cutover_id": "cutover-7", "jobs": jobs}, Context())

    def test_each_call_counts_as_a_look_and_extends_the_lease(self, deployed: Deployed) -> None:
        begin()
        deployed.runs.write(replace(deployed.run, looked_at=0.0))
        deployed.aws.release_lease(deployed.table)
        recovery_point({"cutover_id": "cutover-7"}, Context())
        lease = read_lease(deployed.aws.dynamodb(), table_name=deployed.table)
        assert lease is not None
        assert lease.cutover_id == "cutover-7"
        assert deployed.run.looked_at > time.time() - 60

    def test_for_a_cutover_that_was_taken_back_none_is_made(self, deployed: Deployed) -> None:
        begin()
        deployed.runs.write(replace(deployed.run, phase=Phase.ROLLED_BACK))
        with pytest.raises(RecoveryPointError, match="does not wait for a recovery point"):
            recovery_point({"cutover_id": "cutover-7"}, Context())
        assert deployed.canned.started == []

    @pytest.mark.parametrize("event", [{}, {"cutover_id": "cutover-7", "jobs": []}])
    def test_a_wrong_event_is_refused(self, deployed: Deployed, event: dict[str, Any]) -> None:
        with pytest.raises(RecoveryEventError, match=r"must (name the cutover|be the list of an earlier call)"):
            recovery_point(event, Context())


class TestReplicationControl:
    def test_tasks_that_run_need_nothing(self, deployed: Deployed) -> None:
        answer = replication_control({"action": "start"}, Context())
        assert (answer["done"], set(answer["tasks"].values())) == (True, {"done"})

    def test_the_reverse_task_is_stopped_first(self, deployed: Deployed) -> None:
        loads, reverse = (task["identifier"] for task in json.loads(deployed.environment["REPLICATION_TASKS"]))
        first = replication_control({"action": "stop"}, Context())
        assert (first["tasks"], first["done"]) == ({reverse: "stop", loads: "wait"}, False)
        assert replication_control({"action": "stop"}, Context())["tasks"][loads] == "stop"
        assert replication_control({"action": "stop"}, Context())["done"]

    @pytest.mark.parametrize("event", [{}, {"action": "dance"}])
    def test_a_wrong_event_is_refused(self, deployed: Deployed, event: dict[str, Any]) -> None:
        with pytest.raises(ReplicationEventError, match="action: must be one of start, stop"):
            replication_control(event, Context())
