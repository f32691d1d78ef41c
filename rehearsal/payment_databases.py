"""The databases of a rehearsal with everything the runtime and the services expect in them, and what they hold."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pymysql

from database_bootstrap.schema_files import split_statements
from rehearsal.data_plane import APPLICATION_USERNAMES, PAYMENT_SCHEMA, schema_statements
from rehearsal.databases import DatabaseChain

ADMIN: Final = "payments_admin"
CONTROL_SCHEMA: Final = "blue_green_control"
CONTROL_PATH: Final = Path(__file__).parents[1] / "lambda" / "database_bootstrap" / "schema" / "control.sql"
TABLES: Final = ("payments", "ledger_entries", "balances")
# The master user of Aurora MySQL 3 (Aurora user guide, "Master user account privileges"), by MariaDB's names, with
# what MariaDB asks for besides: BINLOG ADMIN for the variable that is RDS's procedure there, DELETE HISTORY as a part
# of ALL PRIVILEGES on a schema. No SUPER.
MASTER_PRIVILEGES: Final = (
    "ALTER, ALTER ROUTINE, CONNECTION ADMIN, CREATE, CREATE ROUTINE, CREATE TEMPORARY TABLES, CREATE USER, "
    "CREATE VIEW, DELETE, DROP, EVENT, EXECUTE, INDEX, INSERT, LOCK TABLES, PROCESS, REFERENCES, RELOAD, "
    "BINLOG MONITOR, REPLICATION SLAVE, SELECT, SHOW DATABASES, SHOW VIEW, TRIGGER, UPDATE, "
    "BINLOG ADMIN, DELETE HISTORY"
)
_LOCKS = (
    "SELECT user, COALESCE(JSON_VALUE(priv, '$.account_locked'), 0) AS locked FROM mysql.global_priv WHERE user IN %s"
)


@dataclass(kw_only=True)
class PaymentDatabases:
    """A chain ready for payments.

    Attributes:
        documents: the ``admin`` and the ``application`` secret of each database.
    """

    chain: DatabaseChain
    documents: Mapping[str, Mapping[str, Mapping[str, str | int]]]
    _own: threading.local = field(default_factory=threading.local)

    @classmethod
    def prepare(cls, chain: DatabaseChain, *, writer: str) -> PaymentDatabases:
        """Make schemas and accounts, unlocked in the writer only; what is there of an earlier rehearsal goes."""
        documents = {
            server.name: {
                "admin": server.secret(ADMIN, secrets.token_urlsafe(30)),
                "application": server.secret(
                    APPLICATION_USERNAMES[0], secrets.token_urlsafe(30), APPLICATION_USERNAMES[1]
                ),
            }
            for server in chain
        }
        chain.execute_everywhere(
            [
                f"CREATE DATABASE {PAYMENT_SCHEMA}",
                f"USE {PAYMENT_SCHEMA}",
                *schema_statements(),
                f"CREATE DATABASE {CONTROL_SCHEMA}",
                f"USE {CONTROL_SCHEMA}",
                *split_statements(CONTROL_PATH.read_text("utf-8")),
            ]
        )
        for server in chain:
            admin, application = documents[server.name]["admin"], documents[server.name]["application"]
            state = "UNLOCK" if server.name == writer else "LOCK"
            statements = [
                f"CREATE USER '{ADMIN}'@'%' IDENTIFIED BY '{admin['password']}' REQUIRE SSL",
                f"GRANT {MASTER_PRIVILEGES} ON *.* TO '{ADMIN}'@'%'",
            ]
            for username in APPLICATION_USERNAMES:
                statements += [
                    f"CREATE USER '{username}'@'%' IDENTIFIED BY '{application['password']}' REQUIRE SSL "
                    f"ACCOUNT {state}",
                    f"GRANT SELECT, INSERT, UPDATE ON {PAYMENT_SCHEMA}.* TO '{username}'@'%'",
                ]
            server.execute_unlogged(statements)
        return cls(chain=chain, documents=documents)

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of the chain."""
        return self.chain.names

    def admitting(self) -> list[str]:
        """The databases that admit an application account, asked as the server's own administrator."""
        found = []
        for name in self.names:
            try:
                rows = self._query(name, _LOCKS, (APPLICATION_USERNAMES,))
            except (pymysql.MySQLError, OSError):
                continue
            if not rows or any(str(row["locked"]) not in ("1", "true") for row in rows):
                found.append(name)
        return found

    def set_writer(self, writer: str | None) -> None:
        """By hand, for the state in which a scenario begins: unlocked in one database, or in none."""
        accounts = ", ".join(f"'{username}'@'%'" for username in APPLICATION_USERNAMES)
        for server in sorted(self.chain, key=lambda each: each.name == writer):
            state = "UNLOCK" if server.name == writer else "LOCK"
            server.execute_unlogged([f"ALTER USER {accounts} ACCOUNT {state}"])
            if server.name != writer:
                self.end_sessions(server.name)

    def end_sessions(self, name: str) -> None:
        """End what the services have open there."""
        with self.chain[name].connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE user IN %s", (APPLICATION_USERNAMES,))
            for session in cursor.fetchall():
                try:
                    cursor.execute("KILL %s", (session["id"],))
                except pymysql.OperationalError:
                    continue

    def clear(self) -> None:
        """Forget all payments, everywhere. Nobody may be paying meanwhile."""
        self.chain.execute_everywhere(
            [
                *(f"TRUNCATE TABLE {PAYMENT_SCHEMA}.{table}" for table in TABLES),
                f"TRUNCATE TABLE {CONTROL_SCHEMA}.marker",
            ]
        )

    # What is in them.

    def payments(self, name: str) -> list[dict[str, Any]]:
        """Every payment, in the order of its moment."""
        return self.chain[name].query(f"SELECT * FROM {PAYMENT_SCHEMA}.payments ORDER BY created_at, id")  # noqa: S608

    def checksums(self, name: str) -> tuple[int, ...]:
        """Of each table."""
        return tuple(
            int(self.chain[name].query(f"CHECKSUM TABLE {PAYMENT_SCHEMA}.{table}")[0]["Checksum"]) for table in TABLES
        )

    def imbalances(self, name: str) -> list[str]:
        """What is wrong with the books of one database."""
        server = self.chain[name]
        found = [
            f"payment {row['id']} has {row['entries']} entries that add up to {row['total']}"
            for row in server.query(
                "SELECT p.id, COUNT(e.account) AS entries, SUM(e.amount) AS total FROM payments.payments p "
                "LEFT JOIN payments.ledger_entries e ON e.payment_id = p.id "
                "GROUP BY p.id HAVING COUNT(e.account) <> 2 OR SUM(e.amount) <> 0"
            )
        ]
        found += [
            f"an entry belongs to no payment: {row['payment_id']}"
            for row in server.query(
                "SELECT e.payment_id FROM payments.ledger_entries e "
                "LEFT JOIN payments.payments p ON p.id = e.payment_id WHERE p.id IS NULL"
            )
        ]
        found += [
            f"the balance of {row['account']} is {row['amount']} and its entries add up to {row['entries']}"
            for row in server.query(
                "SELECT account, b.amount, SUM(e.amount) AS entries FROM payments.balances b "
                "LEFT JOIN payments.ledger_entries e USING (account, currency) "
                "GROUP BY account, currency, b.amount HAVING b.amount <> COALESCE(SUM(e.amount), 0)"
            )
        ]
        return found

    def differing_rows(self, one: str, other: str) -> int:
        """Rows that one of two databases has and the other has not, or has otherwise."""
        count = 0
        for table in TABLES:
            left, right = (
                {
                    tuple(row.values())
                    for row in self.chain[name].query(f"SELECT * FROM {PAYMENT_SCHEMA}.{table}")  # noqa: S608
                }
                for name in (one, other)
            )
            keys = {row[:2] if table != "payments" else row[:1] for row in left ^ right}
            count += len(keys)
        return count

    # Replication.

    def beat(self, name: str) -> None:
        """Write a heartbeat that replication carries to the others."""
        self._query(
            name,
            f"INSERT INTO {CONTROL_SCHEMA}.heartbeat (environment, beat, written_at) VALUES (%s, 1, UTC_TIMESTAMP(6)) "  # noqa: S608
            "ON DUPLICATE KEY UPDATE beat = beat + 1, written_at = UTC_TIMESTAMP(6)",
            (name,),
        )

    def newest_beat_age(self, *, source: str, target: str) -> float | None:
        """How old, in seconds, the newest heartbeat of the source is that has arrived; None when none has."""
        rows = self._query(
            target,
            "SELECT TIMESTAMPDIFF(MICROSECOND, written_at, UTC_TIMESTAMP(6)) AS age "  # noqa: S608
            f"FROM {CONTROL_SCHEMA}.heartbeat WHERE environment = %s",
            (source,),
        )
        return float(rows[0]["age"]) / 1e6 if rows else None

    def _query(self, name: str, sql: str, arguments: Sequence[Any]) -> list[dict[str, Any]]:
        """On a connection that the calling thread keeps; these are asked several times a second."""
        connections: dict[str, Any] = self._own.__dict__
        for attempt in (0, 1):
            try:
                if name not in connections:
                    connections[name] = self.chain[name].connect(timeout_seconds=2)
                with connections[name].cursor() as cursor:
                    cursor.execute(sql, arguments)
                    return list(cursor.fetchall())
            except (pymysql.MySQLError, OSError):
                connections.pop(name, None)
                if attempt:
                    raise
        raise AssertionError("unreachable")

    @contextmanager
    def corrupted(self, name: str) -> Iterator[str]:
        """A row of one database that differs from the others', as when somebody writes there; it is put right after."""
        server = self.chain[name]
        # A debtor's, of whom there are so many that none pays twice soon; replication would put a creditor's right.
        [row] = server.query("SELECT account, amount FROM payments.balances ORDER BY account DESC LIMIT 1")
        change = f"UPDATE payments.balances SET amount = %s WHERE account = '{row['account']}'"  # noqa: S608
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION sql_log_bin = 0")
            cursor.execute(change, (row["amount"] + 1,))
        try:
            yield str(row["account"])
        finally:
            with server.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SET SESSION sql_log_bin = 0")
                cursor.execute(
                    f"UPDATE payments.balances SET amount = amount - 1 WHERE account = '{row['account']}'"  # noqa: S608
                )


def secret_text(document: Mapping[str, str | int]) -> str:
    """As Secrets Manager holds it."""
    return json.dumps(document)
