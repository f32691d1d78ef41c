"""A cutover with everything that a rollback acts on: real stores and levers, an execution and a topic in moto.

Only the databases are played: who admits writers is in memory, and whoever lets two of them do so at once is noticed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from cutover_rollback.rollback import World, Writer, WriterStuckError
from cutover_state.desired import Desired, DesiredStore
from cutover_state.journal import Entry, Journal
from cutover_state.lease import Lease, read_lease, release_lease, take_lease
from cutover_state.levers import Kind
from cutover_state.run import Phase, Run, RunStore
from tests.support.effects import Process
from tests.support.levers_in_aws import LeversInAws
from tests.support.local_aws import LocalAws

CUTOVER = "cutover-7"
STARTED_AT = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
SERVICES = ("dynamodb", "elbv2", "route53", "stepfunctions", "sns")

ALARMS = {
    "blue": ("blue-unhealthy",),
    "green": ("green-unhealthy",),
    "aws": ("blue-unhealthy", "green-unhealthy"),
    "legacy": ("legacy-unhealthy",),
}
"""Those that are watched, by side."""


@dataclass
class Databases:
    """Attributes:
    admitting: who admits writers.
    reachable: whether a switch can be made.
    moves: how many were.
    history: those that admitted, one after the other.
    """

    admitting: set[str] = field(default_factory=lambda: {"blue"})
    reachable: bool = True
    moves: int = 0
    history: list[str] = field(default_factory=list)

    def admit(self, *names: str) -> None:
        self.admitting = set(names)
        self.history += names
        assert len(self.admitting) <= 1, f"{self.admitting} admit writers at once"


@dataclass
class PlayedWriter:
    """The writer switch, with a moment between fence and promotion."""

    databases: Databases
    process: Process

    def current(self) -> str | None:
        self.process.live()
        if not self.databases.reachable:
            return None
        return next(iter(self.databases.admitting), None)

    def move(self, *, source: str, target: str, cutover_id: str, accept_data_loss: bool) -> Mapping[str, Any]:
        self.process.moment("before the move")
        if not self.databases.reachable and not accept_data_loss:
            raise WriterStuckError(f"{source} does not answer: make it reachable and roll back again")
        self.databases.moves += 1
        self.databases.admit()
        self.process.moment("after the fence")
        self.databases.admit(target)
        self.process.effects.append("move")
        self.process.moment("after the move")
        return {"result": "switched", "from": source, "to": target}


class CutoverWorld:
    """One state table, one run, and the levers that it moves.

    Attributes:
        settled: how often resolvers were waited for.
    """

    def __init__(self, levers: LeversInAws) -> None:
        self.levers = levers
        self.aws = levers.aws
        self.table = self.aws.create_state_table()
        self.databases = Databases()
        self.settled = 0
        self.now = STARTED_AT + 600
        self.runs = RunStore(self.aws.dynamodb(), table_name=self.table)
        self.desired = DesiredStore(self.aws.dynamodb(), table_name=self.table)
        sns, sqs = self.aws.shared_client("sns"), self.aws.shared_client("sqs")
        self.topic = sns.create_topic(Name=f"topic-{uuid4()}")["TopicArn"]
        self._queue = sqs.create_queue(QueueName=f"queue-{uuid4()}")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=arn)
        self._machine = _machine(self.aws)

    def begin(
        self,
        *,
        phase: Phase = Phase.SHIFTING,
        kind: Kind = Kind.ENVIRONMENT,
        source: str = "blue",
        target: str = "green",
        writer: tuple[str, str] = ("blue", "green"),
        percent: int = 50,
        switched: bool = True,
    ) -> Run:
        """A cutover from source to target that has come so far, whatever was before.

        Args:
            writer: before it, and after its plan.
            percent: what the target has of the traffic.
            switched: whether the writer has moved already.
        """
        state: dict[str, int] = {"green": 0, "aws": 0 if kind is Kind.FRONT_DOOR and source == "legacy" else 100}
        before = {source: 100, target: 0}
        moved = {source: 100 - percent, target: percent}
        state |= {side: percent for side, percent in moved.items() if side in state}
        self.levers.set(**state)
        self.databases.reachable = True
        self.databases.admit(writer[1] if switched else writer[0])
        release_lease(self.aws.dynamodb(), table_name=self.table, cutover_id=CUTOVER)
        live = self.levers.live()
        found = self.desired.read()
        self.desired.write(
            Desired(
                weights=live[Kind.ENVIRONMENT],
                records=live[Kind.FRONT_DOOR],
                writer=writer[1] if switched else writer[0],
                by=CUTOVER,
                version=found.version if found else 0,
            )
        )
        self.other_lever = {each: weights for each, weights in live.items() if each is not kind}
        self.execution = self.aws.shared_client("stepfunctions").start_execution(
            stateMachineArn=self._machine, name=str(uuid4()), input="{}"
        )["executionArn"]
        run = Run(
            cutover_id=CUTOVER,
            kind=kind.value,
            source=source,
            target=target,
            plan={},
            phase=phase,
            requested_by="ada",
            started_at=STARTED_AT,
            before={"weights": before, "writer": writer[0]},
            writer_after=writer[1],
            position={"step": 2},
            execution_arn=self.execution,
        )
        last = self.runs.read()
        if last is None:
            return self.runs.begin(run)
        return self.runs.write(replace(run, version=last.version))

    def clients(self) -> dict[str, Any]:
        """Clients of nobody else."""
        return {service: self.aws.client(service) for service in SERVICES}

    def world(
        self,
        clients: Mapping[str, Any] | None = None,
        *,
        process: Process | None = None,
        writer: Writer | None = None,
        who: str = "rollback",
    ) -> World:
        """What a process that uses ``clients`` acts on."""
        clients = clients or {service: self.aws.shared_client(service) for service in SERVICES}
        process = process or Process()
        dynamodb = clients["dynamodb"]

        def settle() -> None:
            process.live()
            self.settled += 1

        def take(cutover_id: str) -> None:
            lease = Lease(holder=who, cutover_id=cutover_id, expires_at=int(self.now) + 900)
            take_lease(dynamodb, table_name=self.table, lease=lease, now=self.now)

        return World(
            runs=RunStore(dynamodb, table_name=self.table),
            desired=DesiredStore(dynamodb, table_name=self.table),
            levers=self.levers.levers(clients["elbv2"], clients["route53"]),
            alarms=ALARMS,
            writer=writer or PlayedWriter(self.databases, process),
            lease=take,
            release=lambda cutover_id: release_lease(dynamodb, table_name=self.table, cutover_id=cutover_id),
            now=lambda: self.now,
            let_dns_settle=settle,
            stop=lambda arn, cause: clients["stepfunctions"].stop_execution(executionArn=arn, cause=cause),
            tell=lambda subject, text: clients["sns"].publish(TopicArn=self.topic, Subject=subject, Message=text),
            journal=lambda cutover_id: Journal(dynamodb, table_name=self.table, cutover_id=cutover_id, who=who),
        )

    def journal(self, cutover_id: str = CUTOVER) -> list[Entry]:
        journal = Journal(self.aws.dynamodb(), table_name=self.table, cutover_id=cutover_id, who="reader")
        return list(journal.entries())

    def told(self) -> list[tuple[str, str]]:
        """Subject and text of what people were told since the last call."""
        found = []
        sqs = self.aws.shared_client("sqs")
        while messages := sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages", []):
            for message in messages:
                body = json.loads(message["Body"])
                found.append((body["Subject"], body["Message"]))
                sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        return found

    def lease_holder(self) -> str | None:
        """Cutover that holds the lease."""
        lease = read_lease(self.aws.dynamodb(), table_name=self.table)
        return lease.cutover_id if lease is not None and lease.is_held(now=self.now) else None

    def execution_status(self) -> str:
        described = self.aws.shared_client("stepfunctions").describe_execution(executionArn=self.execution)
        return str(described["status"])

    def snapshot(self) -> dict[str, Any]:
        """Everything that can be seen, for showing that nothing has changed."""
        return {
            "live": self.levers.live(),
            "desired": self.desired.read(),
            "run": self.runs.read(),
            "admitting": set(self.databases.admitting),
            "lease": self.lease_holder(),
            "journal": len(self.journal()),
            "execution": self.execution_status(),
        }

    def faults(self) -> list[str]:
        """What is wrong after a rollback that has succeeded; empty when all is right."""
        run, desired, live = self.runs.read(), self.desired.read(), self.levers.live()
        assert run is not None
        assert desired is not None
        kind = Kind(run.kind)
        expected = {
            "phase": (run.phase, Phase.ROLLED_BACK),
            "live weights": (live[kind], run.before["weights"]),
            "the other lever": ({each: live[each] for each in live if each is not kind}, self.other_lever),
            "desired weights": (dict(desired.weights), live[Kind.ENVIRONMENT]),
            "desired records": (dict(desired.records), live[Kind.FRONT_DOOR]),
            "desired writer": (desired.writer, run.before["writer"]),
            "writer": (self.databases.admitting, {run.before["writer"]}),
            "lease": (self.lease_holder(), None),
        }
        return [f"{name}: {found}, expected {wanted}" for name, (found, wanted) in expected.items() if found != wanted]


def _machine(aws: LocalAws) -> str:
    stepfunctions = aws.shared_client("stepfunctions")
    machines = stepfunctions.list_state_machines()["stateMachines"]
    if machines:
        return str(machines[0]["stateMachineArn"])
    created = stepfunctions.create_state_machine(
        name=f"cutover-{uuid4()}",
        # moto does not run it unless it is configured to: an execution stays RUNNING until it is stopped.
        definition=json.dumps({"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}),
        roleArn="arn:aws:iam::123456789012:role/cutover",
    )
    return str(created["stateMachineArn"])
