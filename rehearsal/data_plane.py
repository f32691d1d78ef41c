"""What surrounds the payment service on one machine: databases with its tables and accounts, and their secrets.

Secrets Manager is moto's server, on the loopback interface. The accounts are made here with plain SQL, as the
bootstrap function makes them in production: unlocked in the writer, locked everywhere else.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import boto3
import pymysql
from moto.server import ThreadedMotoServer

from rehearsal.databases import DatabaseChain, DatabaseServer

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

PAYMENT_SCHEMA = "payments"
APPLICATION_USERNAMES = ("payments_app_a", "payments_app_b")
REGION = "us-east-1"
SCHEMA_PATH = Path(__file__).parents[1] / "service" / "payment_service" / "schema.sql"
_NO_SUCH_THREAD = 1094
_EMPTY_LISTINGS = 3


def schema_statements(path: Path = SCHEMA_PATH) -> list[str]:
    """The statements of an SQL file that has none with a semicolon inside."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("--")]
    return [statement.strip() for statement in "\n".join(lines).split(";") if statement.strip()]


class LocalSecretsManager:
    """Secrets Manager on the loopback interface. A context manager.

    Attributes:
        environment: What a process needs in its environment to use it.
    """

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # or it prints every request
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.environment = {
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.client: SecretsManagerClient = boto3.client(
            "secretsmanager",
            endpoint_url=self.environment["AWS_ENDPOINT_URL_SECRETS_MANAGER"],
            region_name=REGION,
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 (moto takes any)
        )

    def put(self, name: str, value: dict[str, str | int] | str) -> str:
        """Create the secret or give it a new value; its ARN."""
        text = value if isinstance(value, str) else json.dumps(value)
        try:
            return self.client.create_secret(Name=name, SecretString=text)["ARN"]
        except self.client.exceptions.ResourceExistsException:
            return self.client.put_secret_value(SecretId=name, SecretString=text)["ARN"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()


class DataPlane:
    """The databases of a chain, made ready for the payment service.

    Attributes:
        secret_arns: The application secret of each database.
        passwords: Of both application accounts, by database.
    """

    def __init__(self, databases: DatabaseChain, secrets_manager: LocalSecretsManager, *, writer: str) -> None:
        self.databases = databases
        self.secrets_manager = secrets_manager
        self.passwords = {server.name: secrets.token_urlsafe(30) for server in databases}
        databases.execute_everywhere(
            [f"CREATE DATABASE {PAYMENT_SCHEMA}", f"USE {PAYMENT_SCHEMA}", *schema_statements()]
        )
        for server in databases:
            state = "UNLOCK" if server.name == writer else "LOCK"
            server.execute_unlogged(
                [
                    statement
                    for username in APPLICATION_USERNAMES
                    for statement in (
                        f"CREATE USER '{username}'@'%' IDENTIFIED BY '{self.passwords[server.name]}' "
                        f"REQUIRE SSL ACCOUNT {state}",
                        f"GRANT SELECT, INSERT, UPDATE ON {PAYMENT_SCHEMA}.* TO '{username}'@'%'",
                    )
                ]
            )
        self.secret_arns = {server.name: self.store_secret(server.name) for server in databases}

    def store_secret(self, name: str, *, username: str = APPLICATION_USERNAMES[0], password: str | None = None) -> str:
        """Put the application secret of a database, as it should be or with a wrong value; its ARN."""
        other = next(account for account in APPLICATION_USERNAMES if account != username)
        found = self.databases[name].secret(username, password or self.passwords[name], other)
        return self.secrets_manager.put(f"{name}/application", found)

    def fence(self, name: str) -> None:
        """Lock the application accounts, then kill their sessions until several listings in a row are empty."""
        server = self.databases[name]
        self._set_locked(server, locked=True)
        with server.connect() as connection, connection.cursor() as cursor:
            empty = 0
            while empty < _EMPTY_LISTINGS:
                cursor.execute(
                    "SELECT id FROM information_schema.processlist WHERE user IN %s",
                    ((*APPLICATION_USERNAMES, "unauthenticated user"),),
                )
                sessions = [row["id"] for row in cursor.fetchall()]
                for session in sessions:
                    try:
                        cursor.execute("KILL %s", (session,))
                    except pymysql.OperationalError as error:
                        if error.args[0] != _NO_SUCH_THREAD:
                            raise
                empty = 0 if sessions else empty + 1
                time.sleep(0.001)

    def promote(self, name: str) -> None:
        """Unlock the application accounts."""
        self._set_locked(self.databases[name], locked=False)

    def switch(self, source: str, target: str) -> None:
        """Move the writer between neighbours: fence, drain, promote."""
        self.fence(source)
        self.databases.replication(source, target).wait_caught_up()
        self.promote(target)

    def check_books(self, names: Sequence[str] | None = None) -> list[str]:
        """What is wrong with the books; empty when all is right.

        Every server holds the same rows, each payment has two entries that add up to zero, and each balance is
        the sum of its entries.
        """
        found = []
        contents = {}
        for name in names or self.databases.names:
            server = self.databases[name]
            unbalanced = server.query(
                "SELECT p.id FROM payments.payments p LEFT JOIN payments.ledger_entries e ON e.payment_id = p.id "
                "GROUP BY p.id HAVING COUNT(e.account) <> 2 OR SUM(e.amount) <> 0"
            )
            wrong = server.query(
                "SELECT account, currency, b.amount, SUM(e.amount) AS entries FROM payments.balances b "
                "LEFT JOIN payments.ledger_entries e USING (account, currency) "
                "GROUP BY account, currency, b.amount HAVING b.amount <> COALESCE(SUM(e.amount), 0)"
            )
            orphans = server.query(
                "SELECT e.payment_id FROM payments.ledger_entries e "
                "LEFT JOIN payments.payments p ON p.id = e.payment_id WHERE p.id IS NULL"
            )
            found += [f"{name}: payment {row['id']} has no two entries that add up to zero" for row in unbalanced]
            found += [f"{name}: the balance of {row['account']} is not that of its entries" for row in wrong]
            found += [f"{name}: an entry belongs to no payment: {row['payment_id']}" for row in orphans]
            contents[name] = [
                server.query(f"SELECT * FROM payments.{table} ORDER BY 1, 2")  # noqa: S608
                for table in ("payments", "ledger_entries", "balances")
            ]
        first, *others = contents
        return found + [f"{first} and {name} differ" for name in others if contents[name] != contents[first]]

    @staticmethod
    def _set_locked(server: DatabaseServer, *, locked: bool) -> None:
        accounts = ", ".join(f"'{username}'@'%'" for username in APPLICATION_USERNAMES)
        server.query(f"ALTER USER {accounts} ACCOUNT {'LOCK' if locked else 'UNLOCK'}")
