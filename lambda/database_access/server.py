"""Which engine answers, and the few things that differ between Aurora MySQL and MariaDB."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from database_access.session import Session

SET_CONFIGURATION: Final = "rds_set_configuration"
KILL: Final = "rds_kill"


class Engine(Enum):
    """MYSQL is Aurora MySQL and MySQL, which share everything that matters here; MARIADB is MariaDB."""

    MYSQL = "mysql"
    MARIADB = "mariadb"


@dataclass(frozen=True, kw_only=True)
class Server:
    """What was found out about a server.

    Attributes:
        version: As the server says it.
        procedures: Which of the stored procedures of RDS it has; none outside RDS.
    """

    engine: Engine
    version: str
    procedures: frozenset[str]

    @property
    def lock_states_query(self) -> str:
        """Rows of account name and 1 for locked, 0 for unlocked; takes the host of the accounts, ``%``."""
        if self.engine is Engine.MARIADB:
            # MariaDB's mysql.user is a view that leaves the lock out; the value is true or absent.
            return (
                "SELECT User, COALESCE(JSON_VALUE(Priv, '$.account_locked'), 0) IN ('1', 'true')"
                " FROM mysql.global_priv WHERE Host = %s"
            )
        return "SELECT User, account_locked = 'Y' FROM mysql.user WHERE Host = %s"


def identify(session: Session) -> Server:
    """Ask the server what it is."""
    [(version,)] = session.query("SELECT VERSION()")
    procedures = session.query(
        "SELECT ROUTINE_NAME FROM information_schema.ROUTINES"
        " WHERE ROUTINE_SCHEMA = 'mysql' AND ROUTINE_NAME IN (%s, %s)",
        SET_CONFIGURATION,
        KILL,
    )
    return Server(
        engine=Engine.MARIADB if "mariadb" in str(version).lower() else Engine.MYSQL,
        version=str(version),
        procedures=frozenset(name for (name,) in procedures),
    )
