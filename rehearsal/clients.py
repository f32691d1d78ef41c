"""The clients of a rehearsal, as a process of their own: payments at Poisson-distributed moments, open-loop.

Each client asks DNS where to go and keeps the answer for the TTL, as resolvers do, so that a change of the records
reaches it within a TTL. What was promised to a client stands in a log of the clients' own, from which the rehearsal
is judged afterwards.

    python -m rehearsal.clients '{"rate": 14, ...}'     (see Settings)

Orders come as lines of JSON on standard input: `{"dns": {"legacy": 100, "aws": 0}}`, `{"rate": 140}`,
`{"retries": 3}`, `{"stop": true}`. A summary of each interval goes to standard output, as a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from uuid import UUID

import uvloop

from rehearsal.load import Connections, Order, percentile, random_order

CLIENTS = 200
SUMMARY_SECONDS = 0.25
TIMEOUT_SECONDS = 70.0
FIRST_PAUSE_SECONDS = 0.2
_REPEATED = (0, 500, 502, 503, 504)
_SIDE = b"\r\nx-served-by: "
_COOKIE = b"\r\nset-cookie: "


@dataclass(kw_only=True)
class Settings:
    """Attributes:
    ports: where `legacy` and `aws` listen.
    dns: the weights that name servers answer by.
    ttl_seconds: how long a client keeps an answer.
    retries: how often a client repeats a failed payment with the same key.
    log: where each payment's end is written, a line of JSON for each.
    """

    ports: Mapping[str, int]
    log: str
    rate: float = 14.0
    seed: int = 0
    dns: Mapping[str, int] = field(default_factory=lambda: {"legacy": 0, "aws": 100})
    ttl_seconds: float = 3.0
    retries: int = 0


@dataclass
class _Client:
    side: str = ""
    until: float = 0.0
    cookie: str = ""


class Clients:
    """Everything that is sent, and what became of it."""

    def __init__(self, settings: Settings, out: TextIO) -> None:
        self._settings = settings
        self._out = out
        self._source = random.Random(settings.seed)  # noqa: S311 (a load, not a secret)
        self._chance = random.Random(settings.seed + 1)  # noqa: S311
        self._clients = [_Client() for _ in range(CLIENTS)]
        self._connections = {side: Connections(host="127.0.0.1", port=port) for side, port in settings.ports.items()}
        self._stopped = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()
        self._latencies: list[float] = []
        self._counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Send until told to stop, then wait for what is open."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop,), daemon=True).start()
        summaries = asyncio.create_task(self._summarize())
        with Path(self._settings.log).open("a", buffering=1) as log:
            due_at = time.time()
            while not self._stopped.is_set():
                due_at += self._source.expovariate(self._settings.rate)
                delay = due_at - time.time()
                if delay > 0:
                    try:
                        async with asyncio.timeout(delay):
                            await self._stopped.wait()
                    except TimeoutError:
                        pass
                    if self._stopped.is_set():
                        break
                key = str(UUID(int=self._source.getrandbits(128), version=4))
                task = asyncio.create_task(self._pay(key, random_order(self._source), due_at, log))
                self._open.add(task)
                task.add_done_callback(self._open.discard)
            while self._open:
                await asyncio.wait(set(self._open))
        summaries.cancel()
        self._tell(last=True)
        for connections in self._connections.values():
            connections.close()

    async def _pay(self, key: str, order: Order, due_at: float, log: TextIO) -> None:
        client = self._chance.choice(self._clients)
        body = json.dumps(order).encode()
        failures: list[str] = []
        pause = FIRST_PAUSE_SECONDS
        while True:
            status, side, replayed, problem = await self._attempt(client, key, body)
            if status not in _REPEATED:
                break
            failures.append(f"{round(time.time(), 3)} {side} {status or problem}")
            if len(failures) > self._settings.retries:
                break
            await asyncio.sleep(pause)
            pause *= 2
        done_at = time.time()
        good = status in (200, 201)
        self._latencies.append((done_at - due_at) * 1000)
        self._counts["requests"] += 1
        self._counts[side] += 1
        self._counts["errors"] += not good
        self._counts["raw errors"] += len(failures)
        log.write(
            json.dumps(
                {
                    "key": key,
                    "due": round(due_at, 4),
                    "done": round(done_at, 4),
                    "status": status,
                    "side": side,
                    "replayed": replayed,
                    "failures": failures,
                    "order": order,
                }
            )
            + "\n"
        )

    async def _attempt(self, client: _Client, key: str, body: bytes) -> tuple[int, str, bool, str]:
        where = self._resolve(client)
        headers = f"cookie: {client.cookie}\r\n" if client.cookie and where == "aws" else ""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, head = await self._connections[where].post("/payments", key, body, headers=headers)
        except (OSError, TimeoutError, RuntimeError, ValueError, asyncio.IncompleteReadError) as error:
            return 0, where, False, type(error).__name__
        side = _after(head, _SIDE) or where
        if cookie := _after(head, _COOKIE):
            client.cookie = cookie.partition(";")[0].replace("awsalbtg", "AWSALBTG")
        return status, side, b"idempotent-replayed: true" in head, ""

    def _resolve(self, client: _Client) -> str:
        now = time.time()
        if now >= client.until:
            weights = self._settings.dns
            client.side = self._chance.choices(list(weights), weights=list(weights.values()))[0]
            client.until = now + self._settings.ttl_seconds * self._chance.uniform(0.9, 1.0)
        return client.side

    async def _summarize(self) -> None:
        while True:
            await asyncio.sleep(SUMMARY_SECONDS)
            self._tell()

    def _tell(self, *, last: bool = False) -> None:
        values, self._latencies = self._latencies, []
        counts, self._counts = self._counts, Counter()
        summary = {
            "at": time.time(),
            "requests": counts["requests"],
            "errors": counts["errors"],
            "raw_errors": counts["raw errors"],
            "by_side": {side: counts[side] for side in ("legacy", "blue", "green")},
            "open": len(self._open),
            "last": last,
            **{f"p{p}_ms": percentile(values, p) if values else None for p in (50, 95, 99)},
        }
        self._out.write(json.dumps(summary) + "\n")
        self._out.flush()

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(self._obey, json.loads(line))
        loop.call_soon_threadsafe(self._stopped.set)

    def _obey(self, order: Mapping[str, Any]) -> None:
        if order.get("stop"):
            self._stopped.set()
        for name in ("dns", "rate", "retries"):
            if name in order:
                setattr(self._settings, name, order[name])


def _after(head: bytes, name: bytes) -> str:
    at = head.find(name)
    return "" if at < 0 else head[at + len(name) : head.index(b"\r\n", at + 2)].decode()


if __name__ == "__main__":
    uvloop.run(Clients(Settings(**json.loads(sys.argv[1])), sys.stdout).run())
