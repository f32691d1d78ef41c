"""One real server as the functions meet it: an admin with the rights of Aurora's master user, secrets, accounts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pymysql

from database_access.credentials import DatabaseSecret
from rehearsal.databases import DatabaseServer
from tests.support.secrecy import new_password

APPLICATION = ("payments_app_a", "payments_app_b")
REPLICATION = ("dms_a", "dms_b")
# The master user of Aurora MySQL 3 (Aurora user guide, "Master user account privileges"), by MariaDB's names, with
# what MariaDB asks for besides: BINLOG ADMIN for the variable that is RDS's procedure there, DELETE HISTORY as a part
# of ALL PRIVILEGES on a schema. No SUPER.
MASTER_PRIVILEGES = (
    "ALTER, ALTER ROUTINE, CONNECTION ADMIN, CREATE, CREATE ROUTINE, CREATE TEMPORARY TABLES, CREATE USER, "
    "CREATE VIEW, DELETE, DROP, EVENT, EXECUTE, INDEX, INSERT, LOCK TABLES, PROCESS, REFERENCES, RELOAD, "
    "BINLOG MONITOR, REPLICATION SLAVE, SELECT, SHOW DATABASES, SHOW VIEW, TRIGGER, UPDATE, "
    "BINLOG ADMIN, DELETE HISTORY"
)
SCHEMAS = ("payments", "blue_green_control", "loopback_blue_green", "loopback_legacy_blue", "awsdms_control")


@dataclass
class AccountDatabase:
    """Attributes: admin_password: that of the account ``payments_admin`` at the beginning."""

    server: DatabaseServer
    admin_password: str

    @classmethod
    def on(cls, server: DatabaseServer) -> AccountDatabase:
        """The server without our schemas and accounts, and with a new admin."""
        database = cls(server=server, admin_password=new_password())
        database.clean()
        return database

    def clean(self) -> None:
        """Put the server back: none of our schemas, none of our accounts but the admin with its first password."""
        drops = [f"DROP DATABASE IF EXISTS {schema}" for schema in SCHEMAS]
        names = ("payments_admin", *APPLICATION, *REPLICATION)
        drops += [f"DROP USER IF EXISTS '{name}'@'%'" for name in names]
        self.server.execute_unlogged(
            [
                *drops,
                f"CREATE USER 'payments_admin'@'%' IDENTIFIED BY '{self.admin_password}' REQUIRE SSL",
                f"GRANT {MASTER_PRIVILEGES} ON *.* TO 'payments_admin'@'%' WITH GRANT OPTION",
            ]
        )

    def admin_document(self) -> dict[str, Any]:
        return dict(self.server.secret("payments_admin", self.admin_password))

    def pair_document(self, pair: tuple[str, str], password: str | None = None) -> dict[str, Any]:
        return dict(self.server.secret(pair[0], password or new_password(), pair[1]))

    def create_pair(self, document: dict[str, Any], *, locked: bool) -> None:
        """Both accounts as the bootstrap leaves them, with a grant on a table of their own."""
        lock = "LOCK" if locked else "UNLOCK"
        statements = [
            "CREATE DATABASE IF NOT EXISTS payments",
            "CREATE TABLE IF NOT EXISTS payments.payments (id CHAR(36) PRIMARY KEY)",
        ]
        for name, password in (
            (document["username"], document["password"]),
            (document["alternate_username"], new_password()),
        ):
            statements += [
                f"CREATE USER '{name}'@'%' IDENTIFIED BY '{password}' REQUIRE SSL ACCOUNT {lock}",
                f"GRANT SELECT, INSERT ON payments.payments TO '{name}'@'%'",
            ]
        self.server.execute_unlogged(statements)

    def lock_states(self, names: Iterable[str] = APPLICATION) -> dict[str, str]:
        """What the server says, asked independently of the code under test."""
        rows = self.server.query(
            "SELECT user, COALESCE(JSON_VALUE(priv, '$.account_locked'), 0) AS locked FROM mysql.global_priv"
        )
        locks = {row["user"]: "locked" if row["locked"] in ("1", "true") else "unlocked" for row in rows}
        return {name: locks.get(name, "absent") for name in names}

    def login(self, secret: DatabaseSecret | dict[str, Any]) -> str:
        """What a client meets: ``admitted``, ``locked`` (right password) or ``denied``."""
        document = secret.document if isinstance(secret, DatabaseSecret) else secret
        try:
            self.server.connect(user=document["username"], password=document["password"]).close()
        except pymysql.MySQLError as error:
            return {4151: "locked", 3118: "locked", 1045: "denied"}[error.args[0]]
        return "admitted"

    def grants(self, name: str) -> set[str]:
        rows = self.server.query(f"SHOW GRANTS FOR '{name}'@'%'")
        lines = [str(line) for row in rows for line in row.values()]
        return {line.split(" TO ")[0] for line in lines if not line.startswith("GRANT USAGE")}
