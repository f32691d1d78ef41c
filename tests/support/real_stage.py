"""A stage with moto's stores, levers and topic, and two real databases with concurrent writers.

A moment is before or after each call of AWS that changes something, and each statement that does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

from cutover_databases.databases import Chain
from cutover_rollback.rollback import World
from cutover_state.desired import Desired
from database_access.deadline import Deadline
from database_access.session import Connect, DatabaseSession
from tests.support.cutover_world import SERVICES, CutoverWorld
from tests.support.effects import Process
from tests.support.interrupted_sessions import Interruptions, cut
from tests.support.levers_in_aws import LeversInAws
from tests.support.writer_world import World as Databases
from writer_switch.handler import refusal, run
from writer_switch.request import HandlerSettings


class RealStage:
    """Attributes:
    told: subjects.
    process: of the invocation under way, which every shared client asks.
    """

    def __init__(self, levers: LeversInAws, databases: Databases) -> None:
        self.cutover = CutoverWorld(levers)
        self.databases = databases
        self.aws = levers.aws
        self.process = Process()
        self._told: list[str] = []
        self._clients = {service: self.aws.client(service) for service in SERVICES}
        _Current(self).watch(*self._clients.values())
        secrets = {
            name: {f"{role}_secret_arn": self.aws.create_secret(document) for role, document in pair.items()}
            for name, pair in databases.documents.items()
        }
        self._settings = HandlerSettings.parse(
            {
                "WRITER_SWITCH_DATABASES": json.dumps(secrets),
                "CHAIN": json.dumps(databases.names),
                "STATE_TABLE_NAME": self.cutover.table,
                "DATABASE_CA_PATH": str(databases.chain.ca_path),
            }
        )
        self._sessions: list[DatabaseSession] = []
        self._side_by_side = False
        self._machine = self.cutover._machine

    def reset(self, writer: str) -> None:
        """Blue has all of the traffic, ``writer`` is where the writer is, and no cutover was ever begun."""
        self.cutover.table = self.aws.create_state_table()
        self.cutover.runs._table_name = self.cutover.desired._table_name = self.cutover.table
        self._settings = replace(self._settings, state_table_name=self.cutover.table)
        self.cutover.levers.set(green=0)
        weights = {"blue": 100, "green": 0}
        live = {"legacy": 100, "aws": 0}
        self.cutover.desired.write(Desired(weights=weights, records=live, writer=writer, by="reconciler"))
        self.told.clear()

    @property
    def now(self) -> float:
        return self.cutover.now

    @now.setter
    def now(self, value: float) -> None:
        self.cutover.now = value

    @property
    def told(self) -> list[str]:
        self._told += [subject for subject, _ in self.cutover.told()]
        return self._told

    def world(self, process: Process) -> World:
        self._enter(process)
        deadline = Deadline.after(100)
        chain = Chain(
            databases=self.databases.databases(),
            connect=self._connect(process),
            schema="payments",
            authorize=lambda cutover_id: refusal(
                self._clients["dynamodb"],
                self.cutover.table,
                cutover_id,
                until=self.now + deadline.remaining_seconds(),
            ),
            deadline=deadline,
            sleep=lambda _: None,
        )
        return self.cutover.world(self._clients, process=process, writer=chain)

    def switch(self, event: Mapping[str, Any], process: Process) -> Mapping[str, Any]:
        self._enter(process)
        return run(
            event,
            settings=self._settings,
            secrets_manager=self.aws.secrets_manager(),
            dynamodb=self._clients["dynamodb"],
            connect=self._connect(process),
            deadline=Deadline.after(100),
            now=lambda: self.now,
        )

    def admitting(self) -> list[str]:
        return self.databases.admitting()

    def start_execution(self) -> str:
        stepfunctions = self.aws.shared_client("stepfunctions")
        started = stepfunctions.start_execution(stateMachineArn=self._machine, input="{}", name=str(uuid4()))
        self.cutover.execution = started["executionArn"]
        return str(self.cutover.execution)

    def execution_runs(self) -> bool:
        return self.cutover.execution_status() == "RUNNING"

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """Invocations at the same time: none of them is over because another one begins."""
        self._side_by_side = True
        try:
            yield
        finally:
            self._side_by_side = False

    def _enter(self, process: Process) -> None:
        """Of the invocation before nothing is left: its connections end with it."""
        if process is self.process or self._side_by_side:
            return
        for session in self._sessions:
            with suppress(OSError):
                cut(session)
        self._sessions.clear()
        self.process = process

    def _connect(self, process: Process) -> Connect:
        return _Moments(self.databases.connect, process, self._sessions)


class _Current(Process):
    """The process that uses the shared clients now."""

    def __init__(self, stage: RealStage) -> None:
        super().__init__()
        self._stage = stage

    def live(self) -> None:
        self._stage.process.live()

    def moment(self, name: str) -> None:
        self._stage.process.moment(name)


class _Moments(Interruptions):
    """Sessions whose side effects are moments of a process."""

    def __init__(self, connect: Connect, process: Process, sessions: list[DatabaseSession]) -> None:
        super().__init__(connect)
        self._process = process
        self._sessions = sessions

    def live(self) -> None:
        self._process.live()

    def effect(self, session: DatabaseSession, statement: str, do: Any) -> Any:
        words = " ".join(statement.split()[:3])
        if words.startswith(("KILL", "SELECT GET_LOCK", "SELECT RELEASE_LOCK", "SELECT IS_USED")):
            # How many sessions are killed varies from run to run, so moments would not keep their numbers.
            self._process.live()
            return do()
        self._process.moment(f"before {words}")
        result = do()
        self._process.moment(f"after {words}")
        return result
