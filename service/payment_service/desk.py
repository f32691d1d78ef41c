"""Takes payments: waits for a session and for a writer, writes, and repeats what broke, until a deadline.

Repeating is safe because the payment's key is the primary key: what was committed without our knowing is
found again, and answered from the stored row.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

import structlog

from payment_service import ledger
from payment_service.database import Connection, DatabaseError, Failure
from payment_service.payments import Payment, PaymentOrder
from payment_service.problems import Problem
from payment_service.telemetry import Telemetry
from payment_service.writer import NoWriterError, Writer, WriterLocator

# A transaction takes a few milliseconds; one that takes this long hangs on a connection that is dead.
TRANSACTION_SECONDS = 5.0
RETRY_AFTER_SECONDS = 1
# With a writer, a queue that takes longer than this only turns requests into time-outs of clients. Without one,
# waiting is the point, and the queue is bounded by its length alone.
PATIENCE_SECONDS = 5.0
# How much the last attempt counts in the mean time that an attempt takes.
_MEAN_WEIGHT = 0.1
# Between repetitions, doubled each time: a conflict or a broken session is usually over at once.
_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.2

_Result = TypeVar("_Result")
log = structlog.get_logger()


class Outcome(Enum):
    """What became of a request for a payment."""

    CREATED = "created"
    REPLAYED = "replayed"


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A payment that is committed.

    Attributes:
        attempts: Transactions that were begun for it by this request.
        writer: The database that answered.
    """

    payment: Payment
    outcome: Outcome
    attempts: int
    writer: str


class PaymentDesk:
    """Bounded in every direction: sessions, requests that wait for one, and the time that each may wait.

    Args:
        sessions: The number of sessions, and so of requests that use the database at once.
        queue: The number of requests that may wait for a session; the next one is refused at once. While there is a
            writer, so is one that would wait longer than PATIENCE_SECONDS.
        hold_seconds: The time that a request may wait, for a session and for a writer together.
    """

    def __init__(
        self,
        *,
        locator: WriterLocator,
        telemetry: Telemetry,
        sessions: int,
        queue: int,
        hold_seconds: float,
    ) -> None:
        self._locator = locator
        self._telemetry = telemetry
        self._sessions = asyncio.Semaphore(sessions)
        self._session_count = sessions
        self._queue = queue
        self._waiting = 0
        self._mean_attempt_seconds = 0.0
        self._hold_seconds = hold_seconds

    async def take(self, payment_id: str, order: PaymentOrder) -> Taken:
        """Record the payment, once, however often this is called with the same key.

        Raises:
            Problem: 409 when the key belongs to a different payment; 503 when there is no room, or no writer
                in time.
        """
        doubtful = False

        async def write(writer: Writer, connection: Connection) -> tuple[Payment, Outcome]:
            nonlocal doubtful
            payment = Payment(payment_id=payment_id, order=order, recorded_in=writer.name, created_at=datetime.now(UTC))
            stored = await ledger.write(connection, payment)
            if stored is None:
                doubtful = True
                await connection.commit()
                return payment, Outcome.CREATED
            if stored.order != order:
                raise Problem(
                    409,
                    "The Idempotency-Key belongs to a different payment.",
                    kind="idempotency-key-reused",
                )
            # Our own commit, whose answer was lost? Then the client has made one request and gets one answer.
            return stored, Outcome.CREATED if doubtful else Outcome.REPLAYED

        (payment, outcome), attempts, writer = await self._with_writer(write)
        self._telemetry.became(outcome.value)
        return Taken(payment=payment, outcome=outcome, attempts=attempts, writer=writer)

    async def find(self, payment_id: str) -> Payment:
        """The payment with this id, from the writer.

        Raises:
            Problem: 404 when there is none; 503 as for `take`.
        """

        async def read(_: Writer, connection: Connection) -> Payment | None:
            return await ledger.find(connection, payment_id)

        payment, _, _ = await self._with_writer(read)
        if payment is None:
            raise Problem(404, "No payment has this id.", kind="payment-not-found")
        return payment

    async def _with_writer(self, work: Callable[[Writer, Connection], Awaitable[_Result]]) -> tuple[_Result, int, str]:
        """Do the work in a session of the writer, again when the session or the writer is lost.

        Returns:
            The result, the number of attempts, and the name of the writer.
        """
        deadline = asyncio.get_running_loop().time() + self._hold_seconds
        async with self._session(deadline):
            attempts, pause = 0, _FIRST_PAUSE_SECONDS
            while True:
                writer = await self._writer(deadline)
                attempts += 1
                try:
                    # What was idle during a pause may have been killed meanwhile, which says nothing of the writer.
                    connection = await writer.acquire(new=attempts > 1)
                    return await self._attempt(writer, connection, work), attempts, writer.name
                except DatabaseError as error:
                    if error.failure is Failure.OTHER:
                        raise
                    self._telemetry.retried(error.failure)
                    if error.failure is not Failure.CONFLICT:
                        self._locator.lose(writer, error)
                    if asyncio.get_running_loop().time() + pause > deadline:
                        raise self._unavailable(f"the last attempt failed: {error}") from None
                # The first repetition is immediate: usually another database has become the writer.
                if attempts > 1:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _attempt(
        self,
        writer: Writer,
        connection: Connection,
        work: Callable[[Writer, Connection], Awaitable[_Result]],
    ) -> _Result:
        usable = False
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(TRANSACTION_SECONDS):
                result = await work(writer, connection)
            usable = True
            return result
        except TimeoutError:
            raise DatabaseError(Failure.CONNECTION, reason="the transaction took too long") from None
        except DatabaseError as error:
            usable = error.failure is Failure.CONFLICT
            raise
        except Problem:
            usable = True
            raise
        finally:
            # A cancelled request leaves its session in the middle of an answer, so it is closed, too.
            if usable:
                # Only these tell how fast the writer is: what broke may have hung on one that was on its way out.
                took = asyncio.get_running_loop().time() - began
                self._mean_attempt_seconds += _MEAN_WEIGHT * (took - self._mean_attempt_seconds)
                writer.release(connection)
            else:
                connection.close()

    @asynccontextmanager
    async def _session(self, deadline: float) -> AsyncIterator[None]:
        """The right to use one session, in the order of arrival."""
        if self._sessions.locked():
            if self._waiting >= self._queue or self._would_wait_too_long():
                self._telemetry.became("refused")
                raise Problem(
                    503,
                    "Too many requests are waiting; repeat this one with the same Idempotency-Key.",
                    kind="overloaded",
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                )
            self._waiting += 1
            self._telemetry.waiting.set(self._waiting)
            try:
                async with asyncio.timeout_at(deadline):
                    await self._sessions.acquire()
            except TimeoutError:
                raise self._unavailable("no session came free") from None
            finally:
                self._waiting -= 1
                self._telemetry.waiting.set(self._waiting)
        else:
            await self._sessions.acquire()
        self._telemetry.in_use.inc()
        try:
            yield
        finally:
            self._telemetry.in_use.dec()
            self._sessions.release()

    def _would_wait_too_long(self) -> bool:
        wait_seconds = self._waiting * self._mean_attempt_seconds / self._session_count
        return self._locator.writer is not None and wait_seconds > PATIENCE_SECONDS

    async def _writer(self, deadline: float) -> Writer:
        if self._locator.writer is not None:
            return self._locator.writer
        with self._telemetry.holding.track_inprogress():
            try:
                return await self._locator.wait(deadline)
            except NoWriterError as error:
                raise self._unavailable(str(error), hopeless=error.hopeless) from None

    def _unavailable(self, reason: str, *, hopeless: bool = False) -> Problem:
        self._telemetry.became("unavailable")
        log.warning("request given up", reason=reason)
        waited = "" if hopeless else f" within {self._hold_seconds:g} s"
        return Problem(
            503,
            f"No database took the request{waited}; repeat it with the same Idempotency-Key.",
            kind="no-writer",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        )


def describe(taken: Taken) -> dict[str, Any]:
    """What the log says about a payment that is committed: nothing of its content."""
    return {
        "payment_id": taken.payment.payment_id,
        "outcome": taken.outcome.value,
        "database": taken.writer,
        "attempts": taken.attempts,
    }
