"""One MariaDB server in a private folder, with TLS only, on a port of the loopback interface."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
from pymysql.cursors import DictCursor

from rehearsal.databases.certificates import ServerCertificate, write_private
from rehearsal.databases.software import Software

HOST = "127.0.0.1"
ADMIN_USERNAME = "admin"
REPLICATION_USERNAME = "replicator"
START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 15.0
_POLL_SECONDS = 0.02
# Below Linux's ephemeral range (from 32768), so that no outgoing connection takes the port between two
# starts.
_PORTS = range(20000, 32000)
_START_ATTEMPTS = 5


class ServerError(Exception):
    """A server did not start, or does not run; the message holds the end of its log."""


class DatabaseServer:
    """One server. Made by DatabaseChain; its data survives `kill` and `stop`, not the end of the chain.

    Attributes:
        name: The database's name in the chain, for example ``blue``.
        server_id: Its place in the chain, from 1: the replication server id, GTID domain and auto-increment
            offset.
        folder: Options file, data directory, log. Removed at the end.
        ca_path: The certificate authority (PEM) against which clients verify the server.
        admin_username: An account with every privilege, from any address, over TLS only.
        admin_password: 40 characters of the alphabet that DMS accepts.
        host: 127.0.0.1
        port: Stays the same over restarts.
    """

    def __init__(
        self,
        *,
        name: str,
        server_id: int,
        auto_increment_increment: int,
        replicated_schemas: Sequence[str],
        folder: Path,
        data_template: Path,
        software: Software,
        certificate: ServerCertificate,
        replication_password: str,
    ) -> None:
        self.name = name
        self.server_id = server_id
        self.folder = folder
        self.ca_path = certificate.ca_path
        self.admin_username = ADMIN_USERNAME
        self.admin_password = secrets.token_urlsafe(30)
        self.host = HOST
        self.port = 0
        self._auto_increment_increment = auto_increment_increment
        self._replicated_schemas = tuple(replicated_schemas)
        self._software = software
        self._certificate = certificate
        self._replication_password = replication_password
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(mode=0o700)
        shutil.copytree(data_template, folder / "data")

    @property
    def log_path(self) -> Path:
        """What the server writes about itself, over all of its starts."""
        return self.folder / "mariadbd.log"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int:
        """The id of the running server.

        Raises:
            ServerError: It does not run.
        """
        if self._process is None or self._process.poll() is not None:
            raise ServerError(f"{self.name} does not run")
        return self._process.pid

    @property
    def admin_secret(self) -> dict[str, str | int]:
        """What Secrets Manager would hold for the admin account of this database."""
        return self.secret(self.admin_username, self.admin_password)

    def secret(self, username: str, password: str, alternate_username: str | None = None) -> dict[str, str | int]:
        """A secret in the form that RDS attaches: engine, host, port, username, password,
        dbClusterIdentifier.

        Args:
            alternate_username: The other account of a pair that is rotated by alternation.
        """
        return {
            "engine": "mysql",
            "host": self.host,
            "port": self.port,
            "username": username,
            "password": password,
            "dbClusterIdentifier": self.name,
            **({} if alternate_username is None else {"alternate_username": alternate_username}),
        }

    # Running.

    def start(self) -> None:
        """Start the server and return once it answers. The first start chooses the port and makes the
        accounts.

        Raises:
            ServerError: It ended, or did not answer in time.
        """
        self.spawn()
        self.wait_until_ready()

    def spawn(self) -> None:
        """Start the server without waiting for it, so that several can start at once."""
        if self.is_running:
            return
        first = self.port == 0
        if first:
            self.port = free_port()
        write_private(self.folder / "my.cnf", self._options().encode())
        arguments = []
        if first:
            write_private(self.folder / "accounts.sql", self._accounts().encode())
            arguments = [f"--init-file={self.folder / 'accounts.sql'}"]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own program and options)
                [str(self._software.mariadbd), f"--defaults-file={self.folder / 'my.cnf'}", *arguments],
                env=self._software.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Out of the terminal's process group: an interrupt goes to the program that ends us in good
                # order.
                start_new_session=True,
            )

    def wait_until_ready(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Return once the admin account can connect.

        Raises:
            ServerError: The server ended, or did not answer in time.
        """
        deadline = time.monotonic() + timeout_seconds
        attempts = 1
        while True:
            try:
                self.connect().close()
            except pymysql.MySQLError as error:
                if not self.is_running:
                    # Somebody else may have taken the port between the choice and the start.
                    if attempts < _START_ATTEMPTS and "Address already in use" in self.log_path.read_text("utf-8"):
                        attempts += 1
                        self.log_path.unlink()
                        self.port = 0
                        self.spawn()
                        continue
                    raise ServerError(f"{self.name} ended while it started; its log:\n{self._end_of_log()}") from None
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"{self.name} did not answer within {timeout_seconds:g} s ({error}); its log:\n"
                        f"{self._end_of_log()}"
                    ) from None
                time.sleep(_POLL_SECONDS)
            else:
                return

    def stop(self) -> None:
        """Shut the server down in good order; clients see their connections close."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server at once, as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop in good order, then start."""
        self.stop()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()

    # Talking to it.

    def connect(
        self,
        *,
        user: str | None = None,
        password: str | None = None,
        database: str | None = None,
        autocommit: bool = True,
        timeout_seconds: float = 10.0,
    ) -> pymysql.Connection[DictCursor]:
        """A verified TLS connection whose cursors give dictionaries; as the admin account unless told
        otherwise.

        Raises:
            pymysql.MySQLError: As PyMySQL raises it, for example 4151 for a locked account.
        """
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.admin_username if user is None else user,
            password=self.admin_password if password is None else password,
            database=database,
            autocommit=autocommit,
            charset="utf8mb4",
            cursorclass=DictCursor,
            connect_timeout=int(timeout_seconds),
            read_timeout=timeout_seconds * 6,
            ssl_ca=str(self.ca_path),
            ssl_verify_cert=True,
            ssl_verify_identity=True,
        )

    def query(self, sql: str, arguments: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run one statement as the admin account, on a connection of its own, and give the rows."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            # Without arguments PyMySQL leaves % alone; an empty tuple would make it format.
            cursor.execute(sql, arguments or None)
            return list(cursor.fetchall())

    def execute_unlogged(self, statements: Sequence[str]) -> None:
        """Run statements as the admin account without the binary log: they stay in this server."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION sql_log_bin = 0")
            for statement in statements:
                cursor.execute(statement)

    def _end_of_log(self) -> str:
        try:
            return "\n".join(self.log_path.read_text("utf-8", "replace").splitlines()[-15:])
        except FileNotFoundError:
            return "(empty)"

    def _options(self) -> str:
        filters = "\n".join(f"replicate-wild-do-table={_wild(schema)}.%" for schema in self._replicated_schemas)
        as_root = "user=root" if os.geteuid() == 0 else ""
        return f"""\
[mariadbd]
{as_root}
basedir={self._software.base_folder}
plugin-dir={self._software.base_folder}/lib/mysql/plugin
datadir={self.folder}/data
pid-file={self.folder}/mariadbd.pid
# Relative to the data directory: the path of a socket may have 107 characters at most.
socket=mariadbd.sock
bind-address={self.host}
port={self.port}
skip-name-resolve
character-set-server=utf8mb4
max-connections=400
thread-cache-size=32
innodb-buffer-pool-size=64M
innodb-log-file-size=16M
innodb-lock-wait-timeout=10
performance-schema=OFF
require-secure-transport=ON
tls-version=TLSv1.2,TLSv1.3
ssl-ca={self._certificate.ca_path}
ssl-cert={self._certificate.certificate_path}
ssl-key={self._certificate.key_path}
server-id={self.server_id}
gtid-domain-id={self.server_id}
log-bin=binlog
relay-log=relay
binlog-format=ROW
log-slave-updates=ON
sync-binlog=1
innodb-flush-log-at-trx-commit=1
auto-increment-increment={self._auto_increment_increment}
auto-increment-offset={self.server_id}
slave-net-timeout=6
skip-slave-start
{filters}
"""

    def _accounts(self) -> str:
        admin, replication = f"'{self.admin_username}'@'%'", f"'{REPLICATION_USERNAME}'@'%'"
        statements = [
            # Without the binary log: accounts must not reach a neighbour, whatever its filter.
            "SET SESSION sql_log_bin = 0",
            "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost')",
            "FLUSH PRIVILEGES",
            f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{self.admin_password}'",
            f"CREATE USER {admin} IDENTIFIED BY '{self.admin_password}' REQUIRE SSL",
            f"GRANT ALL PRIVILEGES ON *.* TO {admin} WITH GRANT OPTION",
            f"CREATE USER {replication} IDENTIFIED BY '{self._replication_password}' REQUIRE SSL",
            f"GRANT REPLICATION SLAVE ON *.* TO {replication}",
        ]
        return "".join(f"{statement};\n" for statement in statements)


def _wild(schema: str) -> str:
    """The schema's name as a pattern that means itself: _ would stand for any character."""
    return schema.replace("_", r"\_")


def free_port() -> int:
    """A free port below the ephemeral range."""
    for port in random.sample(_PORTS, k=200):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ServerError(f"no free port among 200 tried between {_PORTS.start} and {_PORTS.stop} on {HOST}")
