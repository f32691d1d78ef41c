"""The sessions of clients: listing and ending them, which a lock does not do.

KILL is asynchronous and a client may be half-way through its authentication when the account is locked, so
``end_sessions`` goes on until several listings in a row are empty.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from database_access.deadline import Deadline
from database_access.errors import StatementError
from database_access.server import KILL, Server
from database_access.session import Session

NO_SUCH_THREAD: Final = 1094
# How both engines call a session that has not said yet whose it is.
UNAUTHENTICATED: Final = "unauthenticated user"


@dataclass(frozen=True, kw_only=True)
class ClientSession:
    """Attributes: connection_id: the server's number for it; seconds: how long it has been in its present state."""

    connection_id: int
    username: str
    command: str
    seconds: int


def list_sessions(session: Session, usernames: Iterable[str]) -> tuple[ClientSession, ...]:
    """The sessions of these accounts, and those that may yet become theirs."""
    names = (*usernames, UNAUTHENTICATED)
    rows = session.query(
        "SELECT ID, USER, COMMAND, COALESCE(TIME, 0) FROM information_schema.PROCESSLIST"
        " WHERE USER IN %s AND ID <> CONNECTION_ID() ORDER BY ID",
        names,
    )
    return tuple(
        ClientSession(connection_id=int(number), username=str(user), command=str(command), seconds=int(seconds))
        for number, user, command, seconds in rows
    )


def kill_session(session: Session, server: Server, connection_id: int) -> None:
    """End one session; that it is gone already is as good.

    On RDS the stored procedure is the documented way and needs no CONNECTION_ADMIN.
    """
    statement = f"CALL mysql.{KILL}(%s)" if KILL in server.procedures else "KILL CONNECTION %s"
    try:
        session.execute(statement, connection_id)
    except StatementError as error:
        if error.code != NO_SUCH_THREAD:
            raise


def end_sessions(
    session: Session,
    server: Server,
    usernames: Iterable[str],
    *,
    deadline: Deadline,
    empty_listings: int = 3,
    pause_seconds: float = 0.002,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Kill the sessions of locked accounts until ``empty_listings`` listings in a row are empty; how many were killed.

    Raises:
        DeadlineExceededError: Sessions were left at the deadline.
    """
    names = tuple(usernames)
    killed: set[int] = set()
    empty = 0
    while True:
        found = list_sessions(session, names)
        empty = 0 if found else empty + 1
        if empty >= empty_listings:
            return len(killed)
        for client in found:
            kill_session(session, server, client.connection_id)
            killed.add(client.connection_id)
        deadline.check(f"{len(found)} sessions of {', '.join(names)} were being ended")
        sleep(pause_seconds)
