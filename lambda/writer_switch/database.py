"""One database of the chain as the switch sees it: its secrets, and an admin session opened before the fence."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

from database_access import accounts
from database_access.accounts import AccountState
from database_access.controller_lock import CONTROLLER_LOCK
from database_access.credentials import DatabaseSecret
from database_access.deadline import Deadline
from database_access.errors import (
    DatabaseAccessError,
    DatabaseUnreachableError,
    LockNotAvailableError,
    SessionLostError,
)
from database_access.names import account
from database_access.server import Server, identify
from database_access.session import Connect, Session
from database_access.sessions import kill_session
from writer_switch.decision import Locks

CONTROL_SCHEMA: Final = "blue_green_control"
PAYMENT_SCHEMA: Final = "payments"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ChainDatabase:
    """A database of the chain.

    Attributes:
        admin: None where the secrets cannot be had; ``unavailable`` then says why.
        application: The pair of accounts that the fence locks.
        open_admin: Opens an admin session, where ``connect`` with ``admin`` is not all there is to it: while the
            admin secret's own rotation waits for the end of a cutover, the database may have its next password.
    """

    name: str
    admin: DatabaseSecret | None
    application: DatabaseSecret | None
    unavailable: str = ""
    open_admin: Callable[[Connect, Deadline], Session] | None = field(default=None, compare=False)

    @property
    def usernames(self) -> tuple[str, ...]:
        """Every application account, the one in use first."""
        if self.application is None:
            return ()
        return tuple(name for name in (self.application.username, self.application.alternate_username) if name)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Bounds, in seconds. The defaults hold a client's request for less than 15 s, whatever happens.

    Attributes:
        statement_seconds: For a connection, and for one statement; at least 1.
        lock_wait_seconds: For the lock that admits one controller: a dead one's session ends within it.
        lag_bound_seconds: A heartbeat must arrive on the new database within it, or the old one is not fenced.
        low_lag_seconds: A beat that takes longer than this is followed by another one, until a quick one or the bound:
            the lag at the moment of the fence is a part of the pause.
        end_sessions_seconds: For the old writer's sessions to end, rolling back long transactions included.
        poll_seconds: Between two looks for the marker.
    """

    statement_seconds: float = 3.0
    lock_wait_seconds: float = 2.0
    lag_bound_seconds: float = 2.0
    low_lag_seconds: float = 0.05
    end_sessions_seconds: float = 4.0
    poll_seconds: float = 0.001


class AdminLink:
    """One admin session to one database, held open, and replaced once when it is lost.

    Every statement that changes something goes through ``Session.execute`` of the sessions that ``connect`` gives, so
    whoever gives ``connect`` sees each of them.

    Attributes:
        failure: Why there is no session; empty while there is one.
    """

    def __init__(
        self, database: ChainDatabase, *, connect: Connect, settings: Settings, lifetime_seconds: float
    ) -> None:
        self.database = database
        self.failure = database.unavailable
        self._connect = connect
        self._settings = settings
        self._lifetime_seconds = lifetime_seconds
        self._session: Session | None = None
        self._server: Server | None = None
        self._connection_id = 0
        self._wants_lock = False

    @property
    def name(self) -> str:
        return self.database.name

    @property
    def is_open(self) -> bool:
        return self._session is not None

    def open(self, *, with_controller_lock: bool = False) -> bool:
        """Open a session unless there is one; whether there is one now.

        Args:
            with_controller_lock: From now on every session holds the lock that admits one controller.

        Raises:
            LockNotAvailableError: Another session holds the lock.
        """
        self._wants_lock = self._wants_lock or with_controller_lock
        try:
            self._open()
        except LockNotAvailableError:
            raise
        except DatabaseAccessError as error:
            self._note(error)
        return self.is_open

    def use(self, work: Callable[[Session, Server], T]) -> T:
        """Do the work on the session; once more on a new one when it is lost meanwhile. The work can be repeated.

        Raises:
            DatabaseUnreachableError: No session can be had.
            SessionLostError: The second session was lost as well.
            LockNotAvailableError: A new session could be had, but not the lock.
            StatementError: The server refused a statement.
        """
        session, server = self._open()
        try:
            return work(session, server)
        except SessionLostError:
            self._drop()
        session, server = self._open()
        try:
            return work(session, server)
        except SessionLostError as error:
            self._drop()
            self._note(error)
            raise

    def locks(self) -> Locks:
        """The state of the application accounts; UNREACHABLE, with ``failure`` set, when it cannot be read.

        Raises:
            LockNotAvailableError: The session was lost, and another controller has the lock.
        """
        try:
            states = set(self.use(self._account_states))
        except LockNotAvailableError:
            raise
        except DatabaseAccessError as error:
            self._note(error)
            return Locks.UNREACHABLE
        if AccountState.ABSENT in states:
            return Locks.ABSENT
        if len(states) > 1:
            return Locks.PARTLY
        return Locks.LOCKED if AccountState.LOCKED in states else Locks.UNLOCKED

    def set_locked(self, *, locked: bool) -> None:
        """Lock or unlock every application account, in one statement."""
        names = ", ".join(account(username) for username in self.database.usernames)
        statement = f"ALTER USER {names} ACCOUNT {'LOCK' if locked else 'UNLOCK'}"

        def change(session: Session, _: Server) -> None:
            session.execute(statement)

        self.use(change)

    def close(self) -> None:
        """Give up the lock and the session."""
        if self._session is None:
            return
        if self._wants_lock:
            # A session that is lost has released it.
            with suppress(DatabaseAccessError):
                self._session.query("SELECT RELEASE_LOCK(%s)", CONTROLLER_LOCK)
        self._session.close()
        self._session = None

    def _account_states(self, session: Session, server: Server) -> list[AccountState]:
        return list(accounts.account_states(session, server, self.database.usernames).values())

    def _open(self) -> tuple[Session, Server]:
        if self._session is not None and self._server is not None:
            return self._session, self._server
        if self.database.admin is None:
            raise DatabaseUnreachableError(f"{self.name}: {self.failure}")
        session: Session | None = None
        try:
            session = self._open_as_admin(self.database.admin)
            # A function that was frozen or killed may leave its session behind, and the lock with it: the server ends
            # both when the run must be over.
            session.query("SET SESSION wait_timeout = %s", int(self._lifetime_seconds) + 1)
            server = self._server or identify(session)
            if self._wants_lock:
                self._end_predecessor(session, server)
                self._take_lock(session)
            [(self._connection_id,)] = session.query("SELECT CONNECTION_ID()")
        except SessionLostError as error:
            self._discard(session, error)
            raise DatabaseUnreachableError(str(error)) from None
        except DatabaseAccessError as error:
            self._discard(session, error)
            raise
        self._session, self._server, self.failure = session, server, ""
        return session, server

    def _open_as_admin(self, admin: DatabaseSecret) -> Session:
        deadline = Deadline.after(self._settings.statement_seconds)
        if self.database.open_admin is not None:
            return self.database.open_admin(self._connect, deadline)
        return self._connect(admin, deadline=deadline)

    def _take_lock(self, session: Session) -> None:
        [(taken,)] = session.query("SELECT GET_LOCK(%s, %s)", CONTROLLER_LOCK, self._settings.lock_wait_seconds)
        if taken != 1:
            raise LockNotAvailableError(f"{self.name}: another session holds the lock {CONTROLLER_LOCK}")

    def _end_predecessor(self, session: Session, server: Server) -> None:
        """Where the network broke, the server may not know yet that our last session, with the lock, is over."""
        [(holder,)] = session.query("SELECT IS_USED_LOCK(%s)", CONTROLLER_LOCK)
        if holder == self._connection_id:
            kill_session(session, server, self._connection_id)

    def _drop(self) -> None:
        """The session is lost, and its lock with it; that we want the lock stays known."""
        if self._session is not None:
            self._session.close()
        self._session = None

    def _discard(self, session: Session | None, error: DatabaseAccessError) -> None:
        if session is not None:
            session.close()
        self._note(error)

    def _note(self, error: DatabaseAccessError) -> None:
        self.failure = str(error)
