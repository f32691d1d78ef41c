"""Finds the writer: the one database that admits the service's account.

One prober for each process. Requests wait for what it finds; none of them asks the databases by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from payment_service.database import CONNECT_SECONDS, Connection, Database, DatabaseError, Failure
from payment_service.telemetry import Telemetry

# After all databases were tried in vain. A switch takes some ten milliseconds, so the first seconds are
# quick.
QUICK_PAUSE_SECONDS = 0.02
SLOW_PAUSE_SECONDS = 0.2
QUICK_FOR_SECONDS = 5.0
# While the writer is known and nobody uses it, an idle session is asked this often whether it still is.
WATCH_SECONDS = 1.0
# How long a database that admits waits for the others' answers, to be sure that it is alone.
SECOND_WRITER_SECONDS = 0.25
# A refusal of credentials is part of a rotation for a moment; after this long it is a mistake, and waiting
# for a writer would only hide it.
REFUSAL_GRACE_SECONDS = 5.0

_MISCONFIGURED = (Failure.CREDENTIALS, Failure.NO_SECRET, Failure.UNTRUSTED, Failure.OTHER)
_NOT_THE_WRITER = (Failure.LOCKED, Failure.READ_ONLY)

log = structlog.get_logger()


class NoWriterError(Exception):
    """No database admits the service; `hopeless` when waiting longer cannot help."""

    def __init__(self, reason: str, *, hopeless: bool = False) -> None:
        super().__init__(reason)
        self.hopeless = hopeless


@dataclass(eq=False, kw_only=True)
class Writer:
    """A database from the moment it was found to be the writer until one of its sessions fails.

    Attributes:
        generation: Grows with every find, so that a late failure of an old session is not held against a new
            writer.
    """

    database: Database
    generation: int
    _idle: list[Connection] = field(default_factory=list)
    _is_over: bool = False

    @property
    def name(self) -> str:
        return self.database.name

    async def acquire(self, *, new: bool = False) -> Connection:
        """An idle session, or a new one.

        Args:
            new: Make a new one, because an idle one has just failed and the others may be as old.

        Raises:
            DatabaseError: A new one cannot be made.
        """
        while self._idle and not new:
            # The one used last: the others may grow old and go.
            connection = self._idle.pop()
            if not connection.is_worn:
                return connection
            connection.close()
        return await self.database.connect()

    def release(self, connection: Connection) -> None:
        """Give back a session that is outside of a transaction."""
        if self._is_over:
            connection.close()
        else:
            self._idle.append(connection)

    def take_idle(self) -> Connection | None:
        """The session that was idle longest, or None."""
        return self._idle.pop(0) if self._idle else None

    def end(self) -> None:
        """Close what is idle now, and what is in use as it comes back."""
        self._is_over = True
        while self._idle:
            self._idle.pop().close()


class WriterLocator:
    """Knows the writer, or looks for it.

    Attributes:
        writer: None while there is none.
        answers: What each database said last, None being that it admitted us; databases that have not
            answered yet are missing.
    """

    def __init__(self, databases: Sequence[Database], telemetry: Telemetry) -> None:
        self._databases = tuple(databases)
        self._telemetry = telemetry
        self._generation = 0
        self._lost = asyncio.Event()
        self._news = asyncio.Event()
        self._refused_since: dict[str, float] = {}
        # Refused already when the last writer was found: no reason to give up the search for the next.
        self._refused_before: frozenset[str] = frozenset()
        self.writer: Writer | None = None
        self.answers: dict[str, Failure | None] = {}

    async def run(self) -> None:
        """Look for the writer, watch it, and begin anew when it is lost; until cancelled."""
        try:
            while True:
                await self._search()
                await self._watch()
        finally:
            if self.writer is not None:
                self.writer.end()

    async def wait(self, deadline: float) -> Writer:
        """The writer, as soon as there is one.

        Args:
            deadline: Of the event loop's clock, in seconds.

        Raises:
            NoWriterError: None until the deadline, or a misconfiguration that waiting does not mend.
        """
        while self.writer is None:
            if reason := self._hopeless():
                raise NoWriterError(reason, hopeless=True)
            try:
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
            except TimeoutError:
                raise NoWriterError("no database admits the service") from None
        return self.writer

    def lose(self, writer: Writer, error: DatabaseError) -> None:
        """A session of the writer failed in a way that makes it doubtful; look for the writer again."""
        if self.writer is not writer:
            return
        log.info("writer lost", database=writer.name, generation=writer.generation, reason=str(error))
        self.writer = None
        self.answers[writer.name] = error.failure
        writer.end()
        self._telemetry.writer_lost(writer.name)
        self._lost.set()

    async def _search(self) -> None:
        started = time.monotonic()
        while True:
            found = await self._probe_all()
            if len(found) == 1:
                ((database, connection),) = found
                self._generation += 1
                writer = Writer(database=database, generation=self._generation)
                writer.release(connection)
                self._refused_before = frozenset(self._refused_since)
                self._lost.clear()
                self.writer = writer
                self._telemetry.writer_found(writer.name)
                log.info(
                    "writer found",
                    database=writer.name,
                    generation=writer.generation,
                    search_ms=round((time.monotonic() - started) * 1000, 1),
                )
            self._tell()
            if self.writer is not None:
                return
            quick = time.monotonic() - started < QUICK_FOR_SECONDS
            await asyncio.sleep(QUICK_PAUSE_SECONDS if quick else SLOW_PAUSE_SECONDS)

    async def _watch(self) -> None:
        while (writer := self.writer) is not None:
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._lost.wait()
            except TimeoutError:
                await self._check(writer)

    async def _check(self, writer: Writer) -> None:
        if (connection := writer.take_idle()) is None:
            return  # all are in use, and will tell
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.execute("SELECT 1")
                await connection.rollback()
        except (DatabaseError, TimeoutError) as error:
            connection.close()
            late = DatabaseError(Failure.CONNECTION, reason="the server did not answer in time")
            self.lose(writer, error if isinstance(error, DatabaseError) else late)
        else:
            writer.release(connection)

    async def _probe_all(self) -> list[tuple[Database, Connection]]:
        """Ask all databases at once; the ones that admit us, which should be one."""
        probes = {asyncio.create_task(self._probe(database)): database for database in self._databases}
        pending = set(probes)
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if any(probe.result() is not None for probe in done):
                    break
            if pending:
                await asyncio.wait(pending, timeout=SECOND_WRITER_SECONDS)
        finally:
            for probe in probes:
                probe.cancel()
            await asyncio.wait(probes)
        found = [
            (database, connection)
            for probe, database in probes.items()
            if not probe.cancelled() and (connection := probe.result()) is not None
        ]
        if len(found) > 1:
            for _, connection in found:
                connection.close()
            self._telemetry.two_writers()
            log.error("more than one database admits the service", databases=[d.name for d, _ in found])
        return found

    async def _probe(self, database: Database) -> Connection | None:
        try:
            connection = await database.connect()
        except DatabaseError as error:
            self._note(database.name, error)
            return None
        self.answers[database.name] = None
        self._refused_since.pop(database.name, None)
        return connection

    def _note(self, name: str, error: DatabaseError) -> None:
        changed = self.answers.get(name, "none") is not error.failure
        self.answers[name] = error.failure
        if error.failure in _MISCONFIGURED:
            self._refused_since.setdefault(name, time.monotonic())
        else:
            self._refused_since.pop(name, None)
        self._telemetry.probed(name, error.failure)
        if changed:
            level = log.info if error.failure in _NOT_THE_WRITER else log.warning
            level("database does not admit", database=name, answer=error.failure.name, reason=str(error))

    def _hopeless(self) -> str | None:
        now = time.monotonic()
        for name, since in self._refused_since.items():
            if now - since > REFUSAL_GRACE_SECONDS and name not in self._refused_before:
                return f"{name} refuses the service, though not because its account is locked"
        return None

    def _tell(self) -> None:
        """Wake everybody who waits, to look again."""
        self._news.set()
        self._news.clear()

    @property
    def has_been_answered(self) -> bool:
        """Whether there is a writer, or a database that says it is not the writer: so the databases can be
        used.

        It stays true while a cutover has locked all accounts, when no balancer may take the service away.
        """
        return self.writer is not None or any(answer in _NOT_THE_WRITER for answer in self.answers.values())
