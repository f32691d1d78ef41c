"""How long no payment is taken while the writer is switched, between two MariaDB servers on this machine.

Run by ``make bench-switch``. The pause is the time from the last commit on the old writer to the first one on the new,
by the clock of the writers: a process of its own that pays at a given rate, like one instance of the service, with
sessions that are kept open and one search for the writer at a time. At 14 requests a second the gaps between the
requests themselves are part of every pause; the longest wait of a client is the more telling number there.

Native replication stands in for DMS, which is slower: expect its lag in addition. ``--delay`` rehearses that.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import queue
import random
import statistics
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pymysql

# lambda/ is a source root; the benchmark is started without the configuration of pytest.
sys.path.append(str(Path(__file__).resolve().parents[1] / "lambda"))

from rehearsal.databases import DatabaseChain
from tests.support.writer_world import World, Writers
from writer_switch import Result, Settings, SwitchOutcome

RATES: Final = (14.0, 140.0)
# Of what writers and replication reach when they pay without pause.
SUSTAINED_SHARE: Final = 0.7
SESSIONS: Final = 10
SEARCH_PAUSE_SECONDS: Final = 0.02
SETTLE_SECONDS: Final = 1.0
# No further switch begins at a rate once it has had this long; a busy machine makes fewer of them.
CELL_SECONDS: Final = 25.0
CAUGHT_UP_SECONDS: Final = 60.0
MOST_REFUSED: Final = 10
GOAL_MS: Final = 250.0
GOAL_OVER_DELAY_MS: Final = 150.0
GOAL_RATE: Final = 140.0


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the writers find a database."""

    name: str
    host: str
    port: int
    username: str
    password: str
    ca_path: str


@dataclass(frozen=True, kw_only=True)
class Paid:
    """A payment that was acknowledged: when it was due and when COMMIT was answered, in seconds of CLOCK_MONOTONIC."""

    payment_id: str
    database: str
    due: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class Pause:
    """One switch.

    Attributes:
        pause_ms: From the last commit on the old to the first one on the new.
        longest_wait_ms: Of a client around the switch, from the moment its request was due.
        closed_ms: From the controller's lock to its unlock.
    """

    old: str
    new: str
    pause_ms: float
    longest_wait_ms: float
    closed_ms: float
    drain_ms: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """All switches at one rate.

    Attributes:
        refused: How often the gate refused because replication lagged, before the switch went through.
        goal_ms: None where none is set.
    """

    rate: float
    delay_seconds: int
    pauses: tuple[Pause, ...]
    payments: int
    refused: int
    faults: tuple[str, ...]
    goal_ms: float | None

    @property
    def worst_ms(self) -> float:
        return max(pause.pause_ms for pause in self.pauses)

    @property
    def reached(self) -> bool | None:
        return None if self.goal_ms is None else self.worst_ms <= self.goal_ms


class Payers:
    """A process that pays at a rate, from the first `start` to `stop`."""

    def __init__(self, endpoints: Sequence[Endpoint], *, rate: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._over = context.Event()
        self._answers, there = context.Pipe(duplex=False)
        self._process = context.Process(target=_pay, args=(tuple(endpoints), rate, self._over, there), daemon=True)
        self._process.start()
        # Sent once its sessions are open.
        self._answers.recv()

    def stop(self) -> list[Paid]:
        """Every acknowledged payment, in the order of the acknowledgements."""
        self._over.set()
        paid: list[Paid] = self._answers.recv()
        self._process.join(30)
        return sorted(paid, key=lambda each: each.ended)


class _Locator:
    """Finds the writer for all sessions of the process, one search at a time."""

    def __init__(self, endpoints: Sequence[Endpoint], over: Event) -> None:
        self._endpoints = endpoints
        self._over = over
        self._search = threading.Lock()
        self._found: Endpoint | None = None

    def connect(self) -> tuple[str, pymysql.Connection[Any]] | None:
        """A session with the writer; None when there is none before the end."""
        while not self._over.is_set():
            with self._search:
                for endpoint in [self._found] if self._found else self._endpoints:
                    with suppress(pymysql.MySQLError, OSError):
                        connection = _open(endpoint)
                        self._found = endpoint
                        return endpoint.name, connection
                if self._found is not None:
                    self._found = None
                    continue
                time.sleep(SEARCH_PAUSE_SECONDS)
        return None


def _open(endpoint: Endpoint) -> pymysql.Connection[Any]:
    return pymysql.connect(
        host=endpoint.host,
        port=endpoint.port,
        user=endpoint.username,
        password=endpoint.password,
        database="payments",
        ssl_ca=endpoint.ca_path,
        ssl_verify_cert=True,
        ssl_verify_identity=True,
        connect_timeout=5,
    )


def _pay(endpoints: Sequence[Endpoint], rate: float, over: Event, answers: Connection) -> None:
    """Requests fall due at random moments, whether or not earlier ones have been answered (open loop)."""
    due: queue.Queue[float | None] = queue.Queue()
    paid: list[Paid] = []
    locator = _Locator(endpoints, over)
    ready = threading.Barrier(SESSIONS + 1)
    threads = [threading.Thread(target=_work, args=(locator, due, paid, ready)) for _ in range(SESSIONS)]
    for thread in threads:
        thread.start()
    ready.wait(60)
    answers.send(True)
    source = random.Random(7)  # noqa: S311 (a load, not a secret)
    moment = time.monotonic()
    while not over.is_set():
        if math.isinf(rate):
            # As many as the sessions can do: never more waiting than there are sessions.
            if due.qsize() < SESSIONS:
                due.put(time.monotonic())
            else:
                time.sleep(0.001)
            continue
        moment += source.expovariate(rate)
        over.wait(max(0.0, moment - time.monotonic()))
        due.put(moment)
    for _ in threads:
        due.put(None)
    for thread in threads:
        thread.join(30)
    answers.send(paid)


def _work(locator: _Locator, due: queue.Queue[float | None], paid: list[Paid], ready: threading.Barrier) -> None:
    name, connection = locator.connect() or ("", None)
    ready.wait(60)
    while (moment := due.get()) is not None:
        payment_id = str(uuid4())
        while True:
            if connection is None:
                found = locator.connect()
                if found is None:
                    return
                name, connection = found
            try:
                Writers.write(connection, name, payment_id, 1 + int(moment * 1000) % 99)
            except (pymysql.MySQLError, OSError, RuntimeError):
                with suppress(pymysql.MySQLError, OSError):
                    connection.close()
                connection = None
                continue
            paid.append(Paid(payment_id=payment_id, database=name, due=moment, ended=time.monotonic()))
            break
    if connection is not None:
        connection.close()


def capacity(world: World) -> float:
    """Payments a second that writers and replication together keep up with on this machine."""
    payers = Payers(endpoints(world), rate=math.inf)
    time.sleep(3)
    paid = payers.stop()
    world.chain.wait_caught_up(CAUGHT_UP_SECONDS)
    return len(paid) / (time.monotonic() - paid[0].ended)


def endpoints(world: World) -> list[Endpoint]:
    found = []
    for name, documents in world.documents.items():
        application = documents["application"]
        found.append(
            Endpoint(
                name=name,
                host=str(application["host"]),
                port=int(application["port"]),
                username=str(application["username"]),
                password=str(application["password"]),
                ca_path=str(world.chain.ca_path),
            )
        )
    return found


def measure(world: World, *, rate: float, repeat: int, delay_seconds: int) -> Cell:
    """Switch there and back `repeat` times under the rate, or as often as the time allows."""
    # What the run before left behind is not this one's.
    world.chain.wait_caught_up(CAUGHT_UP_SECONDS)
    world.chain.delay_replication(delay_seconds)
    payers = Payers(endpoints(world), rate=rate)
    outcomes: list[tuple[SwitchOutcome, float]] = []
    refused = 0
    began = time.monotonic()
    try:
        for old, new in [("blue", "green"), ("green", "blue")] * repeat:
            if old == "blue" and outcomes and time.monotonic() - began > CELL_SECONDS:
                break
            time.sleep(SETTLE_SECONDS)
            while (outcome := world.switch(old, new, settings=Settings())).result is Result.REFUSED:
                refused += 1
                if refused > MOST_REFUSED:
                    raise SystemExit(f"{rate:.0f} requests/s do not hold on this machine now: {outcome.reason}")
                time.sleep(SETTLE_SECONDS)
            if outcome.result is not Result.SWITCHED:
                raise SystemExit(f"the switch from {old} to {new} ended with {outcome.result.value}: {outcome.reason}")
            outcomes.append((outcome, time.monotonic()))
        time.sleep(SETTLE_SECONDS)
    finally:
        paid = payers.stop()
    world.chain.delay_replication(0)
    world.chain.wait_caught_up(CAUGHT_UP_SECONDS)
    promised = Writers(world, count=0, pause_seconds=1)
    faults = world.faults(promised)
    found = {row["id"] for row in world.chain["blue"].query("SELECT id FROM payments.payments")}
    lost = [each.payment_id for each in paid if each.payment_id not in found]
    goal = None
    if rate == GOAL_RATE:
        goal = delay_seconds * 1000 + GOAL_OVER_DELAY_MS if delay_seconds else GOAL_MS
    return Cell(
        rate=rate,
        delay_seconds=delay_seconds,
        pauses=tuple(_pause(paid, outcome, ended) for outcome, ended in outcomes),
        payments=len(paid),
        refused=refused,
        faults=(*faults, *(f"lost {each}" for each in lost)),
        goal_ms=goal,
    )


def _pause(paid: Sequence[Paid], outcome: SwitchOutcome, ended: float) -> Pause:
    """Around the end of the switch; the run before ended a second earlier, or more."""
    began = ended - (outcome.timings.total_ms or 0) / 1000 - SETTLE_SECONDS / 2
    until = ended + SETTLE_SECONDS / 2
    near = [each for each in paid if began <= each.ended <= until]
    last = max(each.ended for each in near if each.database == outcome.old)
    first = min(each.ended for each in paid if each.ended > began and each.database == outcome.new)
    return Pause(
        old=outcome.old,
        new=outcome.new,
        pause_ms=round((first - last) * 1000, 1),
        longest_wait_ms=round(max(each.ended - each.due for each in near) * 1000, 1),
        closed_ms=outcome.timings.closed_ms or 0.0,
        drain_ms=outcome.timings.drain_ms or 0.0,
    )


def machine() -> str:
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores, load average {load} before the run"


def table(cells: Sequence[Cell]) -> str:
    """As Markdown."""
    lines = [
        "| requests/s | replication delay | switches | pause median / worst | locked median / worst | drain median "
        "| pause beyond the drain, worst | longest client wait | payments | refused first "
        "| lost, doubled or differing | goal |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for cell in cells:
        pauses = [pause.pause_ms for pause in cell.pauses]
        closed = [pause.closed_ms for pause in cell.pauses]
        goal = "" if cell.goal_ms is None else f"≤ {cell.goal_ms:.0f} ms: {'reached' if cell.reached else 'missed'}"
        lines.append(
            f"| {cell.rate:.0f} | {cell.delay_seconds} s | {len(pauses)} "
            f"| {statistics.median(pauses):.0f} / {max(pauses):.0f} ms "
            f"| {statistics.median(closed):.0f} / {max(closed):.0f} ms "
            f"| {statistics.median(pause.drain_ms for pause in cell.pauses):.0f} ms "
            f"| {max(pause.pause_ms - pause.drain_ms for pause in cell.pauses):.0f} ms "
            f"| {max(pause.longest_wait_ms for pause in cell.pauses):.0f} ms "
            f"| {cell.payments} | {cell.refused} | {len(cell.faults)} | {goal} |"
        )
    return "\n".join(lines)


def document(cells: Sequence[Cell], *, software: str, where: str, capacity_per_second: float) -> Mapping[str, Any]:
    return {
        "software": software,
        "machine": where,
        "capacity_per_second": round(capacity_per_second, 1),
        "cells": [{**asdict(cell), "worst_ms": cell.worst_ms, "reached": cell.reached} for cell in cells],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a payment was lost or doubled, whatever the pauses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="switches each way at each rate, 1 to 50 (default 5)")
    parser.add_argument(
        "--delay", type=int, default=1, help="replication delay in whole seconds for the last row, 0 to 5"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    if not 1 <= options.repeat <= 50:
        parser.error(f"--repeat: {options.repeat}, allowed: 1 to 50")
    if not 0 <= options.delay <= 5:
        parser.error(f"--delay: {options.delay}, allowed: 0 to 5")
    where = machine()
    with DatabaseChain.start(("blue", "green")) as chain:
        world = World(chain, writer="blue")
        highest = capacity(world)
        rates = [*RATES, float(math.floor(highest * SUSTAINED_SHARE / 10) * 10)]
        cells = [measure(world, rate=rate, repeat=options.repeat, delay_seconds=0) for rate in rates]
        if options.delay:
            repeat = min(options.repeat, 3)
            cells.append(measure(world, rate=GOAL_RATE, repeat=repeat, delay_seconds=options.delay))
        software = f"MariaDB {chain.software.version}"
    if options.json:
        print(json.dumps(document(cells, software=software, where=where, capacity_per_second=highest), indent=2))
    else:
        print(f"{software}; {where}; replication keeps up with {highest:.0f} payments/s.\n")
        print(table(cells))
        for cell in cells:
            for fault in cell.faults[:5]:
                print(f"at {cell.rate:.0f}/s: {fault}", file=sys.stderr)
    return 1 if any(cell.faults for cell in cells) else 0


if __name__ == "__main__":
    sys.exit(main())
