"""A process that dies after a given side effect, for trying every one of them.

A side effect is a statement that changes something in a database, or a call that changes something in AWS. Dying after
one that only reads is the same as dying after the side effect before it.
"""

from __future__ import annotations

from typing import Any

from database_access.credentials import DatabaseSecret
from database_access.deadline import Deadline
from database_access.session import Connect, DatabaseSession, Session

_READING_STATEMENTS = ("SELECT", "SHOW", "USE")
_CHANGING_CALLS = frozenset(
    {
        "PutSecretValue",
        "UpdateSecretVersionStage",
        "PutItem",
        "UpdateItem",
        "DeleteItem",
        "TransactWriteItems",
        "StopReplicationTask",
        "StartReplicationTask",
    }
)


class CrashError(BaseException):
    """The process died. Not an Exception, and once raised every later call raises it: a dead process does nothing."""


class Process:
    """One run of a function: counts its side effects and dies after one of them, given by number or name, or never.

    Attributes:
        effects: What was done, in order, without values.
    """

    def __init__(self, *, dies_after: int | None = None, dies_on: str | None = None) -> None:
        self.effects: list[str] = []
        self._dies_after = dies_after
        self._dies_on = dies_on
        self._dead = False
        self._sessions: list[Session] = []

    def live(self) -> None:
        """Raises: CrashError: The process is dead."""
        if self._dead:
            raise CrashError("the process is dead")

    def done(self, effect: str) -> None:
        """Raises: CrashError: This was the process's last side effect."""
        self.effects.append(effect)
        if len(self.effects) == self._dies_after or effect == self._dies_on:
            self._dead = True
            raise CrashError(f"died after {effect}")

    def watch(self, *clients: Any) -> None:
        """Count the calls of boto3 clients that change something."""
        for client in clients:
            client.meta.events.register("before-call", lambda **_: self.live())
            client.meta.events.register("after-call", self._called)

    def connecting(self, connect: Connect) -> Connect:
        """The same, counting the statements of its sessions that change something."""

        def connect_and_watch(secret: DatabaseSecret, *, deadline: Deadline) -> Session:
            self.live()
            session = connect(secret, deadline=deadline)
            self._sessions.append(session)
            return _WatchedSession(session, self)

        return connect_and_watch

    def bury(self) -> None:
        """Close the dead process's connections, as its operating system does."""
        for session in self._sessions:
            assert isinstance(session, DatabaseSession)
            session._connection._force_close()  # type: ignore[attr-defined]  # without the goodbye of close()

    def _called(self, *, model: Any, http_response: Any, **_: Any) -> None:
        if model.name in _CHANGING_CALLS and http_response.status_code < 300:
            self.done(model.name)


class _WatchedSession:
    def __init__(self, session: Session, process: Process) -> None:
        self._session = session
        self._process = process

    def execute(self, statement: str, *parameters: object) -> int:
        self._process.live()
        changed = self._session.execute(statement, *parameters)
        self._note(statement)
        return changed

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        self._process.live()
        rows = self._session.query(statement, *parameters)
        self._note(statement)
        return rows

    def close(self) -> None:
        self._session.close()

    def _note(self, statement: str) -> None:
        if not statement.startswith(_READING_STATEMENTS):
            self._process.done(" ".join(statement.split()[:3]))
