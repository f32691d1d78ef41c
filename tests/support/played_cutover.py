"""A cutover in memory, fast enough for trying thousands of crashes and interleavings.

The stores, the journal and the lease are the real ones on a table that is played; the same tests run against moto's
DynamoDB, ELBv2 and Route 53 in fewer variants.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from botocore.exceptions import ClientError
from mypy_boto3_dynamodb import DynamoDBClient

from cutover_rollback.rollback import World
from cutover_state.desired import Desired, DesiredStore
from cutover_state.journal import Entry, Journal
from cutover_state.lease import Lease, read_lease, release_lease, take_lease
from cutover_state.levers import Kind
from cutover_state.run import Phase, Run, RunStore
from reconciler.reconcile import Drift, reconcile
from tests.support.cutover_world import ALARMS, CUTOVER, STARTED_AT, Databases, PlayedWriter
from tests.support.effects import Process
from traffic.weights import check

STANDING = "standing"
SIDES = {Kind.ENVIRONMENT: ("blue", "green"), Kind.FRONT_DOOR: ("legacy", "aws")}


class PlayedTable:
    """The calls of a DynamoDB client that the stores make, with their conditions; shared by all processes."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict[str, Any]] = {}

    def client(self, process: Process) -> DynamoDBClient:
        return cast(DynamoDBClient, _Client(self, process))


@dataclass
class _Client:
    table: PlayedTable
    process: Process

    def get_item(self, *, TableName: str, Key: Mapping[str, Any], ConsistentRead: bool) -> dict[str, Any]:  # noqa: N803
        assert ConsistentRead, "controllers read consistently"
        self.process.live()
        item = self.table.items.get((Key["pk"]["S"], Key["sk"]["S"]))
        return {} if item is None else {"Item": dict(item)}

    def put_item(self, *, TableName: str, Item: Mapping[str, Any], **condition: Any) -> None:  # noqa: N803
        key = (Item["pk"]["S"], Item["sk"]["S"])
        with self.process.effect(f"put {key[0].partition('#')[0]}{_what(Item)}"):
            self._require(key, "PutItem", **condition)
            self.table.items[key] = dict(Item)

    def delete_item(self, *, TableName: str, Key: Mapping[str, Any], **condition: Any) -> None:  # noqa: N803
        key = (Key["pk"]["S"], Key["sk"]["S"])
        with self.process.effect(f"delete {key[0]}"):
            self._require(key, "DeleteItem", **condition)
            self.table.items.pop(key, None)

    def get_paginator(self, operation: str) -> _Client:
        assert operation == "query"
        return self

    def paginate(self, *, ExpressionAttributeValues: Mapping[str, Any], **_: Any) -> Iterator[dict[str, Any]]:  # noqa: N803
        self.process.live()
        partition = ExpressionAttributeValues[":pk"]["S"]
        yield {"Items": [item for (pk, _), item in sorted(self.table.items.items()) if pk == partition]}

    def _require(
        self,
        key: tuple[str, str],
        operation: str,
        *,
        ConditionExpression: str,  # noqa: N803
        ExpressionAttributeValues: Mapping[str, Any] | None = None,  # noqa: N803
        ExpressionAttributeNames: Mapping[str, str] | None = None,  # noqa: N803
    ) -> None:
        item = self.table.items.get(key)
        for term in ConditionExpression.split(" OR "):
            if term == "attribute_not_exists(pk)":
                if item is None:
                    return
                continue
            name, operator, placeholder = term.split(" ")
            name = (ExpressionAttributeNames or {}).get(name, name)
            if item is None or name not in item:
                continue
            [(kind, expected)] = (ExpressionAttributeValues or {})[placeholder].items()
            found = item[name][kind]
            if found == expected if operator == "=" else int(found) <= int(expected):
                return
        raise ClientError({"Error": {"Code": "ConditionalCheckFailedException", "Message": "refused"}}, operation)


def _what(item: Mapping[str, Any]) -> str:
    return f" {item['what']['S']}" if "what" in item else ""


class PlayedLever:
    """Weights of one lever. It refuses what the real ones refuse, and remembers everything that was ever set."""

    def __init__(self, sides: tuple[str, ...]) -> None:
        self.sides = sides
        self.weights = {sides[0]: 100, sides[1]: 0}
        self.history: list[dict[str, int]] = []

    def set(self, weights: Mapping[str, int]) -> None:
        self.weights = dict(weights)
        self.history.append(self.weights)

    def of(self, process: Process) -> _LeverOfProcess:
        return _LeverOfProcess(self, process)


@dataclass
class _LeverOfProcess:
    lever: PlayedLever
    process: Process

    @property
    def sides(self) -> tuple[str, ...]:
        return self.lever.sides

    def read(self) -> dict[str, int]:
        self.process.live()
        return dict(self.lever.weights)

    def write(self, wanted: Mapping[str, int]) -> None:
        check(wanted, sides=self.sides)
        with self.process.effect(f"weights of {self.sides[1]}"):
            self.lever.set(wanted)


@dataclass
class PlayedCutover:
    """Attributes: told: subjects; executions: those that run; now: epoch seconds."""

    table: PlayedTable = field(default_factory=PlayedTable)
    databases: Databases = field(default_factory=Databases)
    told: list[str] = field(default_factory=list)
    executions: set[str] = field(default_factory=set)
    now: float = STARTED_AT
    levers: dict[Kind, PlayedLever] = field(
        default_factory=lambda: {kind: PlayedLever(sides) for kind, sides in SIDES.items()}
    )

    def __post_init__(self) -> None:
        self._ticks = itertools.count()
        client = self.table.client(Process())
        self.runs = RunStore(client, table_name="state")
        self.desired = DesiredStore(client, table_name="state")

    def adopt(self) -> None:
        """Let what is set be what should be."""
        self.desired.write(
            Desired(
                weights=self.levers[Kind.ENVIRONMENT].weights,
                records=self.levers[Kind.FRONT_DOOR].weights,
                writer=next(iter(self.databases.admitting)),
                by="reconciler",
            )
        )

    def begin(
        self,
        *,
        kind: Kind = Kind.ENVIRONMENT,
        source: str = "blue",
        target: str = "green",
        writer: tuple[str, str] = ("blue", "green"),
        percent: int = 50,
        phase: Phase = Phase.SHIFTING,
    ) -> Run:
        """A cutover that has come so far; the writer has moved where it moves at all."""
        for other, lever in self.levers.items():
            here = other is kind
            lever.set({source: 100 - percent, target: percent} if here else {lever.sides[0]: 100, lever.sides[1]: 0})
        self.databases.admit(writer[1])
        self.adopt()
        self.executions.add("execution")
        return self.runs.begin(
            Run(
                cutover_id=CUTOVER,
                kind=kind.value,
                source=source,
                target=target,
                plan={},
                phase=phase,
                requested_by="ada",
                started_at=STARTED_AT,
                before={"weights": {source: 100, target: 0}, "writer": writer[0]},
                writer_after=writer[1],
                position={},
                execution_arn="execution",
            )
        )

    def world(self, process: Process | None = None) -> World:
        """What a process acts on."""
        process = process or Process()
        client = self.table.client(process)

        def take(cutover_id: str) -> None:
            lease = Lease(holder="rollback", cutover_id=cutover_id, expires_at=int(self.now) + 900)
            take_lease(client, table_name="state", lease=lease, now=self.now)

        def stop(arn: str, cause: str) -> None:
            with process.effect("stop the execution"):
                self.executions.discard(arn)

        def tell(subject: str, text: str) -> None:
            with process.effect("tell"):
                self.told.append(subject)

        return World(
            runs=RunStore(client, table_name="state"),
            desired=DesiredStore(client, table_name="state"),
            levers={kind: lever.of(process) for kind, lever in self.levers.items()},
            alarms=ALARMS,
            writer=PlayedWriter(self.databases, process),
            lease=take,
            release=lambda cutover_id: release_lease(client, table_name="state", cutover_id=cutover_id),
            now=lambda: self.now,
            let_dns_settle=process.live,
            stop=stop,
            tell=tell,
            journal=lambda cutover_id: self.journal(cutover_id, process),
        )

    def reconcile(
        self, process: Process | None = None, *, sleep: Callable[[float], None] = lambda _: None
    ) -> tuple[Drift, ...]:
        """One run of the reconciler."""
        process = process or Process()
        world = self.world(process)
        return reconcile(
            desired=world.desired,
            levers=world.levers,
            journal=self.journal(STANDING, process),
            initial_writer="blue",
            tell=world.tell,
            sleep=sleep,
        )

    def journal(self, cutover_id: str = CUTOVER, process: Process | None = None) -> Journal:
        def now() -> datetime:
            return datetime.fromtimestamp(self.now, UTC) + timedelta(microseconds=next(self._ticks))

        client = self.table.client(process or Process())
        return Journal(client, table_name="state", cutover_id=cutover_id, who="played", now=now)

    def entries(self, cutover_id: str = CUTOVER) -> list[Entry]:
        return list(self.journal(cutover_id).entries())

    def lease_holder(self) -> str | None:
        lease = read_lease(self.table.client(Process()), table_name="state")
        return lease.cutover_id if lease is not None and lease.is_held(now=self.now) else None

    def faults(self) -> list[str]:
        """What is wrong after a rollback that has succeeded; empty when all is right."""
        run, desired = self.runs.read(), self.desired.read()
        assert run is not None
        assert desired is not None
        expected = {
            "phase": (run.phase, Phase.ROLLED_BACK),
            "live weights": (self.levers[Kind(run.kind)].weights, run.before["weights"]),
            "desired weights": (desired.weights, self.levers[Kind.ENVIRONMENT].weights),
            "desired records": (desired.records, self.levers[Kind.FRONT_DOOR].weights),
            "desired writer": (desired.writer, run.before["writer"]),
            "writer": (self.databases.admitting, {run.before["writer"]}),
            "lease": (self.lease_holder(), None),
            "execution": (self.executions, set()),
        }
        return [f"{name}: {found}, expected {wanted}" for name, (found, wanted) in expected.items() if found != wanted]
