"""The databases of the chain as the functions of the cutover reach them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cutover_preflight.look import Databases
from cutover_rollback.rollback import RollbackIncompleteError, WriterStuckError
from database_access.deadline import Deadline
from database_access.errors import DatabaseAccessError, LockNotAvailableError
from database_access.server import identify
from database_access.session import Connect
from observation.schemas import differences, read_schema
from writer_switch import ChainDatabase, Result, Settings, SwitchRequest, find_writer, switch
from writer_switch.binary_log import position
from writer_switch.database import AdminLink
from writer_switch.decision import Locks

if TYPE_CHECKING:
    from database_access.credentials import DatabaseSecret

SWITCHED: Final = (Result.SWITCHED, Result.ALREADY_SWITCHED)
NEEDS_A_PERSON: Final = (Result.UNREACHABLE, Result.FENCED, Result.TWO_WRITERS, Result.OLD_COMMITTED)
_LONGEST_LOOK_SECONDS: Final = 20.0
_BUSY_ATTEMPTS: Final = 5
_BUSY_PAUSE_SECONDS: Final = 3.0


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The databases, and the switch between neighbours.

    Attributes:
        databases: in the order of the chain.
        schema: the payment schema.
        authorize: why a cutover may not switch the writer, or None; its lease is asked.
        deadline: until when this invocation works.
    """

    databases: Sequence[ChainDatabase]
    connect: Connect
    schema: str
    authorize: Callable[[str], str | None]
    deadline: Deadline
    sleep: Callable[[float], None] = time.sleep

    def current(self) -> str | None:
        """The database that admits the application; None while none, several, or one of its two accounts only, do.

        It is asked under the lock that admits one controller: without it, a switch under way could move the writer
        right after the answer.

        Raises:
            RollbackIncompleteError: a switch is at work all the time.
        """
        for attempt in range(_BUSY_ATTEMPTS):
            try:
                return self._current()
            except LockNotAvailableError as error:
                if attempt == _BUSY_ATTEMPTS - 1:
                    raise RollbackIncompleteError(f"who the writer is cannot be said: {error}") from None
                self.sleep(_BUSY_PAUSE_SECONDS)
        raise AssertionError("unreachable")

    def _current(self) -> str | None:
        links = [
            AdminLink(each, connect=self.connect, settings=Settings(), lifetime_seconds=_LONGEST_LOOK_SECONDS)
            for each in self.databases
        ]
        try:
            # In the order of the chain, as the switch takes them.
            for link in links:
                link.open(with_controller_lock=True)
            states = {link.name: link.locks() for link in links}
        finally:
            for link in links:
                link.close()
        admitting = [name for name, state in states.items() if state.admits]
        return admitting[0] if len(admitting) == 1 and states[admitting[0]] is Locks.UNLOCKED else None

    def move(self, *, source: str, target: str, cutover_id: str, accept_data_loss: bool) -> Mapping[str, Any]:
        """Make ``target`` the writer, whatever point a switch from ``source`` had come to.

        Raises:
            WriterStuckError: a person is needed.
            RollbackIncompleteError: another attempt may help.
        """
        request = SwitchRequest(cutover_id=cutover_id, old=source, new=target, accept_data_loss=accept_data_loss)
        for attempt in range(_BUSY_ATTEMPTS):
            outcome = switch(
                request,
                chain=self.databases,
                connect=self.connect,
                deadline=self.deadline,
                authorize=lambda: self.authorize(cutover_id),
            )
            if outcome.result in SWITCHED:
                return outcome.document()
            if outcome.result in NEEDS_A_PERSON:
                raise WriterStuckError(f"{outcome.reason} {outcome.next_step}")
            if outcome.result is not Result.BUSY:
                break
            if attempt < _BUSY_ATTEMPTS - 1:
                # The switch that is being taken back may still be at work in another invocation.
                self.sleep(_BUSY_PAUSE_SECONDS)
        raise RollbackIncompleteError(f"the writer is not switched back: {outcome.reason}")

    def look(self) -> Databases:
        """Who admits the application, who does not answer, and whether the schemas differ."""
        report = find_writer(self.databases, connect=self.connect)
        schemas = {}
        for database in self.databases:
            if database.admin is None or database.name in report.failures:
                continue
            try:
                schemas[database.name] = self._with_session(
                    database.admin, lambda session: read_schema(session, self.schema)
                )
            except DatabaseAccessError as error:
                return Databases(
                    admitting=report.admitting,
                    unreachable=(*report.failures, database.name),
                    differences=(f"the schema of {database.name} cannot be read: {error}",),
                )
        return Databases(
            admitting=report.admitting, unreachable=tuple(report.failures), differences=differences(schemas)
        )

    def binlog_position(self, name: str) -> str:
        """Where the binary log of a database ends, as DMS takes it: ``file:offset``.

        Raises:
            DatabaseAccessError: it cannot be reached.
            BinaryLogError: it writes none.
        """
        database = next(each for each in self.databases if each.name == name)
        if database.admin is None:
            raise DatabaseAccessError(f"{name}: {database.unavailable}")
        end = self._with_session(database.admin, lambda session: position(session, identify(session)))
        return f"{end.file}:{end.offset}"

    def _with_session(self, secret: DatabaseSecret, work: Callable[[Any], Any]) -> Any:
        session = self.connect(secret, deadline=Deadline.after(_LONGEST_LOOK_SECONDS))
        try:
            return work(session)
        finally:
            session.close()
