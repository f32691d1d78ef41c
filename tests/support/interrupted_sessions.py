"""Sessions that are interrupted at a chosen side effect: the process dies, the connection breaks, or a hook runs.

A side effect is a statement that goes through ``Session.execute``, or one that takes or gives back a lock. The
statements that only read are not counted: dying at one of them is dying after the side effect before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from database_access.credentials import DatabaseSecret
from database_access.deadline import Deadline
from database_access.errors import SessionLostError
from database_access.session import Connect, DatabaseSession, Session
from tests.support.crash_points import CrashError


class Moment(Enum):
    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True)
class Point:
    """The n-th side effect with these words, from 1. Not the n-th of all: how many sessions are killed varies."""

    moment: Moment
    words: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.moment.value} {self.words} ({self.occurrence})"


def points(effects: Sequence[str], moment: Moment) -> tuple[Point, ...]:
    """Every point of a run that had these side effects."""
    return tuple(Point(moment, words, effects[: place + 1].count(words)) for place, words in enumerate(effects))


@dataclass
class Interruptions:
    """One run of a function.

    Attributes:
        crash_at: The side effect at which the process dies.
        lose_at: The one at which its connection breaks, once; the process lives.
        server_notices: Whether the server learns of it; after a network failure it keeps the session, and its locks.
        hook: Called before each side effect with its words.
        skip: Side effects that are swallowed.
        effects: What was done, in order, without values.
    """

    connect: Connect
    crash_at: Point | None = None
    lose_at: Point | None = None
    server_notices: bool = True
    hook: Callable[[str], None] = lambda words: None
    skip: Callable[[str], bool] = lambda words: False
    effects: list[str] = field(default_factory=list)
    has_died: bool = False
    has_lost: bool = False
    _sessions: list[DatabaseSession] = field(default_factory=list)
    _unnoticed: list[DatabaseSession] = field(default_factory=list)

    def __call__(self, secret: DatabaseSecret, *, deadline: Deadline) -> Session:
        self.live()
        session = self.connect(secret, deadline=deadline)
        assert isinstance(session, DatabaseSession)
        self._sessions.append(session)
        return _InterruptedSession(session, self)

    def live(self) -> None:
        if self.has_died:
            raise CrashError("the process is dead")

    def bury(self) -> None:
        """Close the dead process's connections without a goodbye, as its operating system does."""
        for session in self._sessions:
            cut(session)

    def close(self, session: DatabaseSession) -> None:
        self.live()
        if session not in self._unnoticed:
            session.close()

    def effect(self, session: DatabaseSession, statement: str, do: Callable[[], Any]) -> Any:
        self.live()
        words = " ".join(statement.split()[:3])
        self.hook(words)
        if self.skip(words):
            return 0
        self.effects.append(words)
        occurrence = self.effects.count(words)
        self._interrupt(session, Point(Moment.BEFORE, words, occurrence))
        result = do()
        self._interrupt(session, Point(Moment.AFTER, words, occurrence))
        return result

    def _interrupt(self, session: DatabaseSession, point: Point) -> None:
        if self.crash_at == point:
            self.has_died = True
            raise CrashError(f"died {point}")
        if self.lose_at == point:
            self.has_lost = True
            if self.server_notices:
                cut(session)
            else:
                self._unnoticed.append(session)
            raise SessionLostError(f"lost {point}")


class _InterruptedSession:
    def __init__(self, session: DatabaseSession, run: Interruptions) -> None:
        self._session = session
        self._run = run

    def execute(self, statement: str, *parameters: object) -> int:
        result: int = self._run.effect(self._session, statement, lambda: self._session.execute(statement, *parameters))
        return result

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        self._run.live()
        if "GET_LOCK" in statement or "RELEASE_LOCK" in statement:
            rows: list[tuple[Any, ...]] = self._run.effect(
                self._session, statement, lambda: self._session.query(statement, *parameters)
            )
            return rows
        return self._session.query(statement, *parameters)

    def close(self) -> None:
        self._run.close(self._session)


def cut(session: DatabaseSession) -> None:
    """Close the socket, without the goodbye of ``close``."""
    with suppress(OSError):
        session._connection._force_close()  # type: ignore[attr-defined]
