"""Grants as values: read from SHOW GRANTS of either engine, compared, and given one by one.

Both engines print one line for each scope. MariaDB's lines may also hold the hash of the password and the TLS
requirement, which are no grants and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from database_access.errors import DatabaseAccessError

_LINE: Final = re.compile(r"GRANT (?P<privileges>.+?) ON (?P<scope>\S+(?: \S+)?) TO [`'\"].*", re.DOTALL)
_NO_COMMA_IN_PARENTHESES: Final = re.compile(r",\s*(?![^()]*\))")
# MariaDB's newer names for what MySQL and DMS's documentation call by the older ones; MariaDB takes both.
_MARIADB_NAMES: Final = {"BINLOG MONITOR": "REPLICATION CLIENT"}


@dataclass(frozen=True, order=True)
class Grant:
    """Attributes: scope: ``*.*``, a quoted schema with ``.*``, or a quoted table; privilege: one privilege's name."""

    scope: str
    privilege: str


@dataclass(frozen=True, kw_only=True)
class GrantChanges:
    """What makes one account's grants equal to another's, in an order that is the same each time."""

    to_give: tuple[Grant, ...]
    to_take: tuple[Grant, ...]


def parse_grants(lines: Iterable[str]) -> frozenset[Grant]:
    """The grants in the lines of SHOW GRANTS.

    Raises:
        DatabaseAccessError: A line grants a role or the right to grant, which no account of ours has.
    """
    grants = set()
    for line in lines:
        match = _LINE.match(line)
        if match is None or "WITH GRANT OPTION" in line:
            # Without the line itself: MariaDB's has the hash of the password.
            raise DatabaseAccessError(
                "an account of an application or replication pair has a role or a grant option; "
                "grant privileges only, so that they can be mirrored to the other account of the pair"
            )
        for privilege in _NO_COMMA_IN_PARENTHESES.split(match["privileges"]):
            name = privilege.strip().upper() if "(" not in privilege else privilege.strip()
            if name != "USAGE":
                grants.add(Grant(match["scope"], _MARIADB_NAMES.get(name, name)))
    return frozenset(grants)


def changes(*, wanted: Iterable[Grant], present: Iterable[Grant]) -> GrantChanges:
    """What to give first and what to take then."""
    wanted, present = frozenset(wanted), frozenset(present)
    return GrantChanges(
        to_give=tuple(sorted(wanted - present)),
        to_take=tuple(sorted(present - wanted)),
    )
