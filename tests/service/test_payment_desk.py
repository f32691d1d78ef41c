"""A commit whose answer is lost: the payment is made once, whether or not it had happened."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from payment_service.credentials import SecretCredentials
from payment_service.database import Connection, Database, DatabaseError, Failure
from payment_service.desk import Outcome, PaymentDesk, Taken
from payment_service.payments import PaymentOrder, parse_order
from payment_service.telemetry import Telemetry
from payment_service.writer import WriterLocator
from rehearsal.data_plane import DataPlane

pytestmark = pytest.mark.slow

ORDER: PaymentOrder = parse_order(
    b'{"amount": "12.30", "currency": "EUR", "debtor_account": "DEBTOR", "creditor_account": "CREDITOR",'
    b' "payment_token": "tok_1a2b3c4d"}'
)


class BreakingConnection(Connection):
    """The network fails around one commit: before the server reads it, or before its answer arrives."""

    committed_first: bool
    breaks_left: int

    async def commit(self) -> None:
        if type(self).breaks_left == 0:
            await super().commit()
            return
        type(self).breaks_left -= 1
        if self.committed_first:
            await super().commit()
        raise DatabaseError(Failure.CONNECTION, code=2013)


@asynccontextmanager
async def open_desk(plane: DataPlane) -> AsyncIterator[PaymentDesk]:
    tls = ssl.create_default_context(cafile=str(plane.databases.ca_path))
    databases = [
        Database(
            name=name,
            schema="payments",
            credentials=SecretCredentials(client=plane.secrets_manager.client, secret_arn=arn),
            tls=tls,
        )
        for name, arn in plane.secret_arns.items()
    ]
    telemetry = Telemetry()
    locator = WriterLocator(databases, telemetry)
    search = asyncio.create_task(locator.run())
    try:
        yield PaymentDesk(locator=locator, telemetry=telemetry, sessions=2, queue=10, hold_seconds=10)
    finally:
        search.cancel()
        await asyncio.wait([search])


@pytest.mark.parametrize("committed_first", [True, False], ids=["it had happened", "it had not happened"])
@pytest.mark.parametrize("breaks", [1, 3])
def test_a_commit_with_a_lost_answer_is_one_payment_and_one_creation(
    data_plane: DataPlane, monkeypatch: pytest.MonkeyPatch, committed_first: bool, breaks: int
) -> None:
    connection = type("Breaking", (BreakingConnection,), {"committed_first": committed_first, "breaks_left": breaks})
    monkeypatch.setattr("payment_service.database.Connection", connection)
    key = str(uuid4())

    async def take_twice() -> tuple[Taken, Taken]:
        async with open_desk(data_plane) as desk:
            return await desk.take(key, ORDER), await desk.take(key, ORDER)

    first, second = asyncio.run(take_twice())

    # The client made one request, and is told that its payment was created, although we had to look it up.
    assert first.outcome is Outcome.CREATED
    assert first.attempts == (2 if committed_first else 1 + breaks)
    assert (second.outcome, second.payment) == (Outcome.REPLAYED, first.payment)
    assert data_plane.databases["blue"].query("SELECT amount FROM payments.balances ORDER BY amount") == [
        {"amount": -ORDER.amount},
        {"amount": ORDER.amount},
    ]
    assert data_plane.check_books(["blue"]) == []


def test_a_payment_with_a_lost_answer_is_found_by_the_next_writer(
    data_plane: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SwitchingConnection(Connection):
        """The writer moves between the commit and its answer."""

        has_switched = False

        async def commit(self) -> None:
            await super().commit()
            if not SwitchingConnection.has_switched:
                SwitchingConnection.has_switched = True
                await asyncio.to_thread(data_plane.switch, "blue", "green")
                raise DatabaseError(Failure.CONNECTION, code=2013)

    monkeypatch.setattr("payment_service.database.Connection", SwitchingConnection)

    async def take() -> Taken:
        async with open_desk(data_plane) as desk:
            return await desk.take(str(uuid4()), ORDER)

    taken = asyncio.run(take())

    assert (taken.outcome, taken.attempts) == (Outcome.CREATED, 2)
    assert (taken.payment.recorded_in, taken.writer) == ("blue", "green")
    data_plane.databases.wait_caught_up()
    assert data_plane.check_books() == []


def test_a_request_that_is_cancelled_leaves_no_session_in_the_middle(data_plane: DataPlane) -> None:
    key = str(uuid4())

    async def cancel_then_take() -> Taken:
        async with open_desk(data_plane) as desk:
            await desk.take(str(uuid4()), ORDER)
            for delay in (0, 0.0005, 0.001, 0.002, 0.003):
                attempt = asyncio.create_task(desk.take(key, ORDER))
                await asyncio.sleep(delay)
                attempt.cancel()
                await asyncio.wait([attempt])
            return await desk.take(key, ORDER)

    taken = asyncio.run(cancel_then_take())

    assert taken.payment.order == ORDER
    assert data_plane.check_books(["blue"]) == []
