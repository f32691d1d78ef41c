"""The master user of a database server that stands in for Aurora or for the on-premises database."""

from __future__ import annotations

import pymysql

PRIVILEGES = (
    "ALTER, ALTER ROUTINE, CONNECTION ADMIN, CREATE, CREATE ROUTINE, CREATE TEMPORARY TABLES, CREATE USER, "
    "CREATE VIEW, DELETE, DROP, EVENT, EXECUTE, INDEX, INSERT, LOCK TABLES, PROCESS, REFERENCES, RELOAD, "
    "BINLOG MONITOR, REPLICATION SLAVE, SELECT, SHOW DATABASES, SHOW VIEW, TRIGGER, UPDATE, "
    "BINLOG ADMIN, DELETE HISTORY"
)
"""Those of Aurora MySQL 3 ("Master user account privileges", Aurora user guide) by MariaDB's names, with what MariaDB
asks for besides: BINLOG ADMIN for the variable that is RDS's procedure there, DELETE HISTORY as a part of ALL
PRIVILEGES on a schema. No SUPER."""


def make_master(connection: pymysql.Connection[pymysql.cursors.Cursor], username: str, password: str) -> None:
    """Create the master user, or give it this password, in this server only."""
    with connection.cursor() as cursor:
        # Accounts must not reach a neighbour.
        cursor.execute("SET SESSION sql_log_bin = 0")
        account = (username, "%")
        cursor.execute("CREATE USER IF NOT EXISTS %s@%s REQUIRE SSL", account)
        # REQUIRE again: the statement sets all that it can.
        cursor.execute("ALTER USER %s@%s IDENTIFIED BY %s REQUIRE SSL", (*account, password))
        cursor.execute(f"GRANT {PRIVILEGES} ON *.* TO %s@%s WITH GRANT OPTION", account)
