"""The load generator measures what a client would have seen, a stall included."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from hypothesis import given
from hypothesis import strategies as st

from payment_service.listener import make_server_context
from rehearsal.load import Answer, count_statuses, open_loop, percentile

Respond = Callable[[], Awaitable[bytes | None]]


@asynccontextmanager
async def small_server(respond: Respond) -> AsyncIterator[int]:
    """An HTTPS server that answers every request with what `respond` gives, or hangs up on None; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
                if (answer := await respond()) is None:
                    break
                writer.write(answer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=make_server_context())
    async with server:
        yield server.sockets[0].getsockname()[1]


def load(respond: Respond, *, rate: float = 100, seconds: float = 1.0, timeout_seconds: float = 5.0) -> list[Answer]:
    async def run() -> list[Answer]:
        async with small_server(respond) as port:
            return await open_loop(
                port=port, requests_per_second=rate, seconds=seconds, seed=3, timeout_seconds=timeout_seconds
            )

    return asyncio.run(run())


async def created() -> bytes:
    return b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"


def test_every_due_request_is_sent_once_and_answered() -> None:
    answers = load(created)

    assert count_statuses(answers) == {201: len(answers)}
    # Poisson with a mean of 100: outside of this once in 100,000 seeds.
    assert 60 < len(answers) < 145
    assert len({answer.key for answer in answers}) == len(answers)
    assert [answer.due_at for answer in answers] == sorted(answer.due_at for answer in answers)


def test_a_seed_gives_the_same_requests_again() -> None:
    first, second = (load(created, seconds=0.3) for _ in range(2))

    assert [(a.key, a.order, a.due_at) for a in first] == [(a.key, a.order, a.due_at) for a in second]


def test_a_stall_shows_in_every_request_that_was_due_in_it() -> None:
    begin = 0.0

    async def stalls_at_first() -> bytes:
        nonlocal begin
        now = asyncio.get_running_loop().time()
        begin = begin or now
        await asyncio.sleep(max(0.0, begin + 0.6 - now))
        return await created()

    answers = load(stalls_at_first)

    during = [answer for answer in answers if answer.due_at < 0.4]
    assert len(during) > 20
    assert all(answer.latency_seconds > 0.55 - answer.due_at for answer in during)


def test_a_connection_that_is_hung_up_is_a_failure_and_not_repeated() -> None:
    calls = 0

    async def hangs_up() -> None:
        nonlocal calls
        calls += 1

    answers = load(hangs_up, seconds=0.3)

    assert count_statuses(answers) == {0: len(answers)}
    assert calls == len(answers)


def test_an_answer_that_comes_too_late_is_a_failure() -> None:
    async def never() -> bytes:
        await asyncio.sleep(60)
        return b""

    answers = load(never, rate=20, seconds=0.3, timeout_seconds=0.5)

    assert count_statuses(answers) == {0: len(answers)}
    assert all(0.4 < answer.latency_seconds < 3 for answer in answers)


def test_a_repeated_payment_is_recognized() -> None:
    async def replayed() -> bytes:
        return b"HTTP/1.1 200 OK\r\nIdempotent-Replayed: true\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"

    answers = load(replayed, seconds=0.2)

    assert {(answer.status, answer.replayed) for answer in answers} == {(200, True)}


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0.1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], percent: float) -> None:
    found = percentile(values, percent)

    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-9
    assert sum(value < found for value in values) < len(values) * percent / 100 + 1e-9


def test_a_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(percentile([], 99))
