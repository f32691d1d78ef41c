"""Who committed payments in a database since a position of its binary log.

That is the proof that nothing is committed on the old writer after the fence. It needs what the admin account of
Aurora MySQL and of MariaDB has (REPLICATION CLIENT or BINLOG MONITOR, and REPLICATION SLAVE), no counter in a table
and no scan. What replication applied is told apart in two ways: native replication keeps the server id of the first
writer; DMS writes as an ordinary client, but marks each transaction by a table in a loopback schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from database_access.server import Engine, Server
from database_access.session import Session

LOOPBACK_PREFIX: Final = "loopback_"
# One second of 1,400 transactions; more than that is not looked through.
LARGEST_EVENTS: Final = 20_000
_TABLE: Final = re.compile(r"table_id: \d+ \((?P<schema>[^.]+)\.(?P<table>.+)\)")
_FIRST_VERSION_WITH_NEW_NAME: Final = (8, 2)


@dataclass(frozen=True, kw_only=True)
class Position:
    """A place in the binary log of one server."""

    file: str
    offset: int


@dataclass(frozen=True, kw_only=True)
class Event:
    """Attributes: kind: for example Table_map; server_id: of the server on which it was first committed."""

    kind: str
    server_id: int
    info: str


class BinaryLogError(Exception):
    """The binary log does not tell; the message says why."""


def position(session: Session, server: Server) -> Position:
    """The end of the binary log.

    Raises:
        BinaryLogError: The server writes none.
    """
    rows = session.query(_status_statement(server))
    if not rows:
        raise BinaryLogError("the server writes no binary log")
    return Position(file=str(rows[0][0]), offset=int(rows[0][1]))


def events_since(session: Session, start: Position) -> tuple[Event, ...]:
    """Every event from the position to the end.

    Raises:
        BinaryLogError: The file is gone, or there are too many events.
    """
    files = [str(row[0]) for row in session.query("SHOW BINARY LOGS")]
    if start.file not in files:
        raise BinaryLogError(f"the binary log {start.file} has been purged")
    events: list[Event] = []
    for file in files[files.index(start.file) :]:
        offset = start.offset if file == start.file else 4  # after the magic number
        rows: Sequence[tuple[Any, ...]] = session.query(
            "SHOW BINLOG EVENTS IN %s FROM %s LIMIT %s", file, offset, LARGEST_EVENTS
        )
        if len(events) + len(rows) >= LARGEST_EVENTS:
            raise BinaryLogError(f"there are {LARGEST_EVENTS:,} events or more")
        events.extend(Event(kind=str(row[2]), server_id=int(row[3]), info=str(row[5])) for row in rows)
    return tuple(events)


def own_commits(events: Iterable[Event], *, server_id: int, payment_schema: str) -> int:
    """How many transactions changed the payment schema and were not applied by replication."""
    commits = 0
    tables: set[str] = set()
    ours = True
    for event in events:
        if _begins(event):
            tables, ours = set(), event.server_id == server_id
        elif match := _TABLE.match(event.info):
            tables.add(match["schema"])
        elif _commits(event):
            replicated = not ours or any(schema.startswith(LOOPBACK_PREFIX) for schema in tables)
            if payment_schema in tables and not replicated:
                commits += 1
            tables = set()
    return commits


def _begins(event: Event) -> bool:
    return event.kind.lower() in ("gtid", "anonymous_gtid") or event.info == "BEGIN"


def _commits(event: Event) -> bool:
    return event.kind == "Xid" or event.info == "COMMIT"


def _status_statement(server: Server) -> str:
    if server.engine is Engine.MYSQL:
        numbers = re.match(r"(\d+)\.(\d+)", server.version)
        if numbers and (int(numbers[1]), int(numbers[2])) >= _FIRST_VERSION_WITH_NEW_NAME:
            return "SHOW BINARY LOG STATUS"
    return "SHOW MASTER STATUS"
