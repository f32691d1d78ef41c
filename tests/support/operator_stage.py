"""A stage that the operators' command line finds in moto: its parameters, its table, its levers, its functions.

The functions are the real handlers. Without databases they find none that answers; a test that has real ones hands
them over.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from cutover_controller.handler import lambda_handler as controller
from cutover_plan import Direction, Plan, default_plan, start
from cutover_plan import Phase as StepPhase
from cutover_preflight.handler import lambda_handler as preflight
from cutover_rollback.handler import lambda_handler as rollback
from cutover_state.desired import Desired, DesiredStore
from cutover_state.journal import Entry, Journal
from cutover_state.levers import Kind
from cutover_state.run import Phase, Run, RunStore
from ops.bluegreen.cli import main
from replication_control.handler import lambda_handler as replication_control
from tests.support.canned_aws import CannedAws
from tests.support.function_host import Context, FunctionHost
from tests.support.levers_in_aws import HOST, LeversInAws
from tests.support.local_aws import LocalAws
from verdict import Settings
from writer_switch.handler import lambda_handler as writer_switch

CUTOVER = "20261124T120000-blue-green-1a2b"
DIRECTIONS = ("blue-green", "green-blue", "legacy-aws", "aws-legacy")
ALARMS = {
    "blue": ["blue-unhealthy"],
    "green": ["green-unhealthy"],
    "legacy": ["legacy-unhealthy"],
    "replication": ["lag"],
    "controllers": ["rollback-errors", "dead-letters"],
}
NOBODY_ANSWERS = 9
"""A port on which nothing listens."""

SEEN_BY_OBSERVERS = "arn:aws:sts::123456789012:assumed-role/observer/grace"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of AWS that the command line made."""

    service: str
    operation: str
    parameters: Mapping[str, Any]


@dataclass
class OperatorStage:
    """Attributes:
    path: parameters of the stage begin with it.
    calls: what the command line called, in order.
    denied: actions that AWS refuses the command line, with the resource that it names.
    """

    aws: LocalAws
    levers: LeversInAws
    canned: CannedAws
    host: FunctionHost
    table: str
    path: str
    environment: Mapping[str, str]
    machine: str
    calls: list[Call] = field(default_factory=list)
    denied: dict[str, str] = field(default_factory=dict)
    changed_alarms: list[str] = field(default_factory=list)
    changed_parameters: list[str] = field(default_factory=list)

    # The command line.

    def run(self, *words: str, target: bool = True) -> Ended:
        """The command line in this process; standard input and output are no terminals."""
        project, _, stage = self.path.strip("/").partition("/")
        where = ["--project", project, "--stage", stage] if target else []
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main([*where, *words])
        return Ended(code=int(code), out=out.getvalue(), err=err.getvalue())

    def note(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        self.calls.append(Call(service=model.service_model.service_name, operation=model.name, parameters=dict(params)))

    def deny(self, request: Any, event_name: str, **more: Any) -> AWSResponse | None:
        _, service, operation = event_name.split(".")
        for action, resource in self.denied.items():
            if action.partition(":")[2].removesuffix("Function") == operation:
                return _refusal(service, action, resource, request.url)
        return None

    def reset(self, set_variable: Callable[[str, str], None]) -> None:
        """Healthy again: AWS has all payments, blue all of AWS and the writer, and nothing ever ran."""
        dynamodb = self.aws.dynamodb()
        for item in dynamodb.scan(TableName=self.table)["Items"]:
            dynamodb.delete_item(TableName=self.table, Key={"pk": item["pk"], "sk": item["sk"]})
        weights, records = {"blue": 100, "green": 0}, {"legacy": 0, "aws": 100}
        self.desired.write(Desired(weights=weights, records=records, writer="blue", by="reconciler"))
        if self.levers.live() != {Kind.ENVIRONMENT: weights, Kind.FRONT_DOOR: records}:
            self.levers.set(green=0, aws=100)
        self.canned.tasks.update(blue=(3, 3), green=(3, 3))
        tasks: list[dict[str, Any]] = []
        for source, target in (("blue", "green"), ("green", "blue")):
            identifier = self.aws.create_replication_task().rpartition(":")[2]
            tasks.append({"identifier": identifier, "source": source, "target": target, "loads": source == "blue"})
        self.environment = {**self.environment, "REPLICATION_TASKS": json.dumps(tasks)}
        self.put_parameter("shared/replication-tasks", ",".join(each["identifier"] for each in tasks))
        self.lags()
        self._quieten_alarms()
        for parameter in [*self.changed_parameters]:
            self.put_parameter(parameter, "{}")
        self.changed_parameters.clear()
        self.host.handlers.clear()
        self.host.handlers.update(HANDLERS)
        self.calls.clear()
        self.denied.clear()
        self.host.calls.clear()
        for name, value in self.environment.items():
            set_variable(name, value)

    # What it finds.

    @property
    def runs(self) -> RunStore:
        return RunStore(self.aws.dynamodb(), table_name=self.table)

    @property
    def desired(self) -> DesiredStore:
        return DesiredStore(self.aws.dynamodb(), table_name=self.table)

    @property
    def found(self) -> Run:
        run = self.runs.read()
        assert run is not None
        return run

    def journal(self, cutover_id: str = CUTOVER, who: str = "controller") -> Journal:
        return Journal(self.aws.dynamodb(), table_name=self.table, cutover_id=cutover_id, who=who)

    def entries(self, cutover_id: str = CUTOVER) -> list[Entry]:
        return list(self.journal(cutover_id).entries())

    def snapshot(self) -> dict[str, Any]:
        """Everything that a command could change, for showing that it did not."""
        return {
            "live": self.levers.live(),
            "items": self.aws.dynamodb().scan(TableName=self.table)["Items"],
            "executions": self.executions(),
            "tasks": {
                each["ReplicationTaskArn"]: each["Status"]
                for each in self.aws.dms().describe_replication_tasks()["ReplicationTasks"]
            },
        }

    def executions(self) -> list[dict[str, Any]]:
        """The executions, the newest first, with their input."""
        stepfunctions = self.aws.shared_client("stepfunctions")
        listed = stepfunctions.list_executions(stateMachineArn=self.machine)["executions"]
        described = [stepfunctions.describe_execution(executionArn=each["executionArn"]) for each in listed]
        return [{name: value for name, value in each.items() if name != "ResponseMetadata"} for each in described]

    def put_parameter(self, name: str, value: str) -> None:
        """A parameter of the stage; a plan is empty again after the next reset."""
        if name.startswith("cutover/plan/"):
            self.changed_parameters.append(name)
        self.aws.shared_client("ssm").put_parameter(
            Name=f"{self.path}/{name}", Value=value, Type="String", Overwrite=True
        )

    def alarm(self, name: str, state: str = "OK") -> None:
        """An alarm in a state, until the next reset."""
        self.changed_alarms.append(name)
        self.aws.set_alarm(name, state)

    def _quieten_alarms(self) -> None:
        """Also those that other tests have left firing: moto's alarms are those of all tests."""
        watched = {name for names in ALARMS.values() for name in names} | set(self.changed_alarms)
        found = self.aws.shared_client("cloudwatch").describe_alarms(AlarmNames=sorted(watched))["MetricAlarms"]
        quiet = {each["AlarmName"] for each in found if each["StateValue"] == "OK"}
        for name in sorted(watched - quiet):
            self.alarm(name)
        self.changed_alarms.clear()

    def lags(self, *, seconds: float = 0.5, differing: int = 0) -> None:
        """DMS reports so much."""
        metrics = {"CDCLatencySource": seconds, "CDCLatencyTarget": seconds, "ValidationFailedOverallCount": differing}
        self.aws.report_replication(json.loads(self.environment["REPLICATION_TASKS"]), metrics)

    # A cutover that runs.

    def begin(
        self,
        *,
        step: int = 0,
        step_phase: StepPhase = StepPhase.WATCH,
        plan: Plan | None = None,
        phase: Phase = Phase.SHIFTING,
        since: float | None = None,
        **changes: Any,
    ) -> Run:
        """A cutover from blue to green that stands where the arguments say, whatever was before."""
        now = int(time.time() if since is None else since)
        plan = plan or default_plan(Direction.BLUE_TO_GREEN)
        position = replace(start(plan, now_seconds=now), step=step, phase=step_phase)
        weight = plan.steps[step].weight_percent
        if step_phase in (StepPhase.GATE, StepPhase.SHIFT):
            weight = plan.steps[step - 1].weight_percent if step else 0
        kind = Kind.FRONT_DOOR if plan.direction.source in ("legacy", "aws") else Kind.ENVIRONMENT
        if kind is Kind.ENVIRONMENT and phase is not Phase.ROLLED_BACK:
            self.levers.set(green=weight, aws=100)
            wanted = self.desired.read()
            assert wanted is not None
            self.desired.write(replace(wanted, weights={"blue": 100 - weight, "green": weight}, by=CUTOVER))
        values: dict[str, Any] = {
            "cutover_id": CUTOVER,
            "kind": kind.value,
            "source": plan.direction.source,
            "target": plan.direction.target,
            "plan": plan.to_json(),
            "phase": phase,
            "requested_by": "ada",
            "started_at": time.time() - 600,
            "before": {"weights": {plan.direction.source: 100, plan.direction.target: 0}, "writer": "blue"},
            "writer_after": plan.direction.writer_target if plan.switches_writer else "blue",
            "position": position.to_json(),
            "verdict": Settings().to_json(),
            "looked_at": time.time(),
            "reason": f"step {step + 1} is watched",
            **changes,
        }
        last = self.runs.read()
        run = Run(**values)
        return self.runs.begin(run) if last is None else self.runs.write(replace(run, version=last.version))

    @contextmanager
    def looking(self, *, every: float = 0.1) -> Iterator[None]:
        """The controller looks again and again, as the state machine has it do."""
        over = Event()

        def look() -> None:
            while not over.wait(every):
                controller({"cutover_id": self.found.cutover_id, "request": {"settle_seconds": 0}}, Context())

        thread = Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @contextmanager
    def beginning(self) -> Iterator[None]:
        """The state machine's first state: a new execution is handed to the preflight."""
        over = Event()
        known = {each["executionArn"] for each in self.executions()}

        def watch() -> None:
            while not over.wait(0.1):
                for each in self.executions():
                    if each["executionArn"] not in known:
                        known.add(each["executionArn"])
                        event = {"cutover_id": each["name"], "execution_arn": each["executionArn"]}
                        preflight({**event, "request": json.loads(each["input"])}, Context())

        thread = Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _refusal(service: str, action: str, resource: str, url: str) -> AWSResponse:
    """What AWS answers to a caller without permission, in the service's own protocol."""
    where = f" on resource: {resource}" if resource else ""
    message = (
        f"User: {SEEN_BY_OBSERVERS} is not authorized to perform: {action}{where} because no identity-based policy "
        f"allows the {action} action"
    )
    if service in ("elasticloadbalancing", "elastic-load-balancing-v2", "elbv2", "sts", "sns", "iam"):
        text = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{message}</Message></Error>"
            "<RequestId>1</RequestId></ErrorResponse>"
        )
    elif service == "ec2":
        text = (
            "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized to perform "
            "this operation.</Message></Error></Errors><RequestID>1</RequestID></Response>"
        )
    elif service == "route-53":
        text = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{message}</Message></Error>"
            "</ErrorResponse>"
        )
    else:
        text = json.dumps({"__type": "AccessDeniedException", "message": message, "Message": message})
    headers = HTTPHeaders()
    headers["x-amzn-errortype"] = "AccessDeniedException"
    headers["content-type"] = "application/x-amz-json-1.1"
    return AWSResponse(url, 403, headers, _Raw(text.encode()))


class _Raw(io.BytesIO):
    """A body as urllib3 hands it over."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


def unreachable() -> dict[str, dict[str, dict[str, Any]]]:
    """Secrets of databases that do not answer."""
    account = {"engine": "mysql", "host": "127.0.0.1", "port": NOBODY_ANSWERS, "password": uuid4().hex}
    return {
        name: {
            "admin": {**account, "username": "payments_admin"},
            "application": {**account, "username": "payments_app_a", "alternate_username": "payments_app_b"},
        }
        for name in ("blue", "green")
    }


HANDLERS: Mapping[str, Any] = {
    "preflight": preflight,
    "writer-switch": writer_switch,
    "rollback": rollback,
    "replication-control": replication_control,
}


def create_stage(
    aws: LocalAws,
    levers: LeversInAws,
    canned: CannedAws,
    host: FunctionHost,
    *,
    secrets: Mapping[str, Mapping[str, Any]],
    ca_path: str,
) -> OperatorStage:
    """A stage that has to be reset before it is used."""
    path = f"/payments/t{uuid4().hex[:10]}"
    table = aws.create_state_table()
    for number, arn in enumerate(levers.target_groups.values()):
        targets = [{"Id": f"10.0.{number}.{each}", "Port": 8443} for each in (1, 2, 3)]
        aws.shared_client("elbv2").register_targets(TargetGroupArn=arn, Targets=targets)
    arns = {
        name: {f"{role}_secret_arn": aws.create_secret(document) for role, document in pair.items()}
        for name, pair in secrets.items()
    }
    machine = create_machine(aws)
    verdict = json.dumps({"limits": {"healthy_hosts_minimum": 2}})
    parameters = {
        "shared/state-table": table,
        "shared/listener-rule-arn": levers.rule_arn,
        "shared/hosted-zone-id": levers.hosted_zone_id,
        "shared/payments-host": HOST,
        "shared/database-chain": "blue,green",
        "shared/ecs-cluster": "payments",
        "shared/cutover-state-machine-arn": machine,
        **{f"shared/{name}-function-name": name for name in (*HANDLERS, "reconciler")},
        "cutover/verdict": verdict,
        **{f"cutover/plan/{name}": "{}" for name in DIRECTIONS},
        **{f"cutover/alarms/{about}": ",".join(names) for about, names in ALARMS.items()},
        "cutover/replication-instance": "instance",
        "cutover/vpc-id": str(aws.shared_client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]),
    }
    for color in ("blue", "green"):
        parameters |= {
            f"{color}/target-group-arn": levers.target_groups[color],
            f"{color}/ecs-service": color,
            f"{color}/admin-secret-arn": arns[color]["admin_secret_arn"],
            f"{color}/application-secret-arn": arns[color]["application_secret_arn"],
            f"{color}/replication-secret-arn": arns[color]["application_secret_arn"],
        }
    environment = {
        "STATE_TABLE_NAME": table,
        "NOTIFICATION_TOPIC_ARN": aws.shared_client("sns").create_topic(Name="cutovers")["TopicArn"],
        "LISTENER_RULE_ARN": levers.rule_arn,
        "TARGET_GROUP_ARNS": json.dumps(dict(levers.target_groups)),
        "TARGET_GROUP_NAMES": json.dumps({"blue": "targetgroup/blue/1", "green": "targetgroup/green/1"}),
        "LOAD_BALANCER_NAME": "app/payments/1",
        "HOSTED_ZONE_ID": levers.hosted_zone_id,
        "PAYMENTS_HOST": HOST,
        "CHAIN": json.dumps(["blue", "green"]),
        "WRITER_SWITCH_DATABASES": json.dumps(arns),
        "DATABASE_CA_PATH": ca_path,
        "PAYMENT_SCHEMA": "payments",
        "REPLICATION_INSTANCE": "instance",
        "ALARMS": json.dumps({**{side: ALARMS[side] for side in ("blue", "green", "legacy")}, "aws": ALARMS["blue"]}),
        "ECS_CLUSTER": "payments",
        "ECS_SERVICES": json.dumps({"blue": "blue", "green": "green"}),
        "ROTATED_SECRET_ARNS": json.dumps([arn for pair in arns.values() for arn in pair.values()]),
        "VERDICT_PARAMETER": f"{path}/cutover/verdict",
        "PLAN_PARAMETERS": json.dumps({name: f"{path}/cutover/plan/{name}" for name in DIRECTIONS}),
        "SLOWER_THAN_SECONDS": "2",
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_ENDPOINT_URL_ECS": canned.endpoint_url,
        "AWS_ENDPOINT_URL_LAMBDA": host.endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }
    stage = OperatorStage(
        aws=aws,
        levers=levers,
        canned=canned,
        host=host,
        table=table,
        path=path,
        environment=environment,
        machine=machine,
    )
    for name, value in parameters.items():
        stage.put_parameter(name, value)
    for names in ALARMS.values():
        for name in names:
            stage.alarm(name)
    stage.changed_alarms.clear()
    stage.changed_parameters.clear()
    return stage


def create_machine(aws: LocalAws) -> str:
    """A state machine whose executions run until somebody ends them."""
    role = "arn:aws:iam::123456789012:role/states"
    definition = json.dumps({"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}})
    created = aws.shared_client("stepfunctions").create_state_machine(
        name=f"cutover-{uuid4().hex[:8]}", definition=definition, roleArn=role
    )
    return str(created["stateMachineArn"])


class Sessions:
    """The command line's session: one for all commands, since making a client takes longer than most commands."""

    def __init__(self) -> None:
        self._session: boto3.Session | None = None
        self._clients: dict[tuple[str, str], Any] = {}
        self._stage: OperatorStage | None = None

    def watch(self, stage: OperatorStage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Note the command line's calls, and refuse what is denied; the functions have clients of their own.

        What the functions log belongs to their own process, not to the command line's output.
        """
        if self._session is None:
            self._session = boto3.Session(region_name="us-east-1")
            self._session.events.register("before-parameter-build", self._note)
            # What a handler of this event returns is taken for the answer.
            self._session.events.register("before-send", self._deny)  # type: ignore[arg-type]
        self._stage = stage
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.setattr("database_access.structured_log.configure", lambda: None)
        monkeypatch.setattr("ops.bluegreen.stage.boto3", SimpleNamespace(Session=lambda **_: self))

    def client(self, service: str, config: Config) -> Any:
        """A client as the session makes it, made once."""
        assert self._session is not None
        # Nothing but the endpoint differs from stage to stage, and all stages have the same ones.
        key = (service, str(vars(config)["read_timeout"]))
        if key not in self._clients:
            self._clients[key] = self._session.client(service, config=config)  # type: ignore[call-overload]
        return self._clients[key]

    def _note(self, **event: Any) -> None:
        if self._stage is not None:
            self._stage.note(**event)

    def _deny(self, **event: Any) -> AWSResponse | None:
        return self._stage.deny(**event) if self._stage is not None else None
