"""Open-loop load of payments: requests start when they are due, whether or not earlier ones have been answered.

Latency counts from the moment at which a request was due, so that a stall shows in every request that it
delayed (no coordinated omission). The client is small on purpose: it shares the machine with what it measures.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

Order = dict[str, Any]
_CREDITORS = 50
_DEBTORS = 5000


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of one request.

    Attributes:
        key: Its idempotency key.
        due_at: Seconds from the beginning of the load.
        late_seconds: How much later than due the client got to send it; when this grows, the client is the limit.
        latency_seconds: From `due_at` to the end of the answer.
        status: HTTP status; 0 when the connection broke or no answer came in time.
        error: Why there is no status, for the person who reads the results.
        replayed: The service answered from a payment that it had stored before.
    """

    key: str
    order: Order
    due_at: float
    late_seconds: float
    latency_seconds: float
    status: int
    error: str | None = None
    replayed: bool = False


def random_order(source: random.Random) -> Order:
    """A payment between two of many accounts, some of which are used often."""
    return {
        "amount": f"{source.randrange(1, 50_000) / 100:.2f}",
        "currency": "EUR",
        "debtor_account": f"D{source.randrange(_DEBTORS)}",
        "creditor_account": f"C{min(int(source.expovariate(0.1)), _CREDITORS)}",
        "payment_token": f"tok_{source.getrandbits(96):024x}",
        "reference": None,
    }


async def open_loop(
    *,
    port: int,
    requests_per_second: float,
    seconds: float,
    seed: int = 0,
    host: str = "127.0.0.1",
    timeout_seconds: float = 70.0,
    make_order: Callable[[random.Random], Order] = random_order,
) -> list[Answer]:
    """Send payments at Poisson-distributed moments, over TLS, without repeating any; the answers in due order."""
    source = random.Random(seed)  # noqa: S311 (a load, not a secret)
    connections = Connections(host=host, port=port)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    requests: list[asyncio.Task[Answer]] = []
    due_at = source.expovariate(requests_per_second)
    while due_at < seconds:
        await asyncio.sleep(max(0.0, begin + due_at - loop.time()))
        key, order = str(UUID(int=source.getrandbits(128), version=4)), make_order(source)
        requests.append(
            asyncio.create_task(_send(connections, key, order, begin=begin, due_at=due_at, timeout=timeout_seconds))
        )
        due_at += source.expovariate(requests_per_second)
    try:
        return await asyncio.gather(*requests)
    finally:
        connections.close()


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least this share of the values does not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def count_statuses(answers: Sequence[Answer]) -> Counter[int]:
    """How often each status was answered."""
    return Counter(answer.status for answer in answers)


async def _send(
    connections: Connections, key: str, order: Order, *, begin: float, due_at: float, timeout: float
) -> Answer:
    status, replayed, problem = 0, False, None
    clock = asyncio.get_running_loop().time
    late = clock() - begin - due_at
    try:
        async with asyncio.timeout(timeout):
            status, head = await connections.post("/payments", key, json.dumps(order).encode())
            replayed = b"idempotent-replayed: true" in head
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        problem = f"{type(error).__name__}: {error}"
    return Answer(
        key=key,
        order=order,
        due_at=due_at,
        late_seconds=late,
        latency_seconds=clock() - begin - due_at,
        status=status,
        error=problem,
        replayed=replayed,
    )


class Connections:
    """Connections that are kept open and used again, as many as are needed at once, as a load balancer has them."""

    def __init__(self, *, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, key: str, body: bytes, *, headers: str = "") -> tuple[int, bytes]:
        """The status and the head of the answer, in lower case. Headers end with a line break each."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                break
            writer.transport.abort()
        else:
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        try:
            writer.write(
                f"POST {path} HTTP/1.1\r\nhost: {self._host}\r\ncontent-type: application/json\r\n"
                f"idempotency-key: {key}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode()
                + body
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = next(
                int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")
            )
            await reader.readexactly(length)
        except BaseException:
            writer.transport.abort()
            raise
        if b"\r\nconnection: close" in head:
            writer.transport.abort()
        else:
            self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1]), head

    def close(self) -> None:
        for _, writer in self._idle:
            writer.transport.abort()
