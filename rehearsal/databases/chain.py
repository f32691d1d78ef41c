"""A chain of servers, each replicating both ways with its neighbours, as legacy – blue – green do in
production.

Native replication stands in for DMS. It is faster, so `delay` gives it DMS's lag, and it carries commits in
order within one direction, as one DMS task does.
"""

from __future__ import annotations

import atexit
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, Self

from rehearsal.databases import keeper
from rehearsal.databases.certificates import make_server_certificate
from rehearsal.databases.server import ADMIN_USERNAME, REPLICATION_USERNAME, DatabaseServer
from rehearsal.databases.software import Software, cache_folder, data_template, obtain

REPLICATED_SCHEMAS = ("payments", "blue_green_control")
CAUGHT_UP_TIMEOUT_SECONDS = 15.0
_OWN_ACCOUNTS = (ADMIN_USERNAME, REPLICATION_USERNAME, "root", "mariadb.sys")
_SYSTEM_SCHEMAS = ("mysql", "information_schema", "performance_schema", "sys")
_POLL_SECONDS = 0.02


class ReplicationError(Exception):
    """Replication is broken, or did not catch up in time; the message holds what the server says."""


class Replication:
    """One direction between two neighbours: what is committed on `source` arrives on `target`.

    Args:
        ignored_domains: GTID domains that reach the target without this direction: those on its own side of
            the chain. Without this a change of blue would return to blue by way of green once a third server
            exists.
    """

    def __init__(
        self, *, source: DatabaseServer, target: DatabaseServer, ignored_domains: Sequence[int], password: str
    ) -> None:
        self.source = source
        self.target = target
        self._ignored_domains = tuple(ignored_domains)
        self._password = password

    def configure(self) -> None:
        """Point the target to the source, at the beginning of what it has not applied, and start."""
        self.target.query(
            f"CHANGE MASTER '{self.source.name}' TO MASTER_HOST=%s, MASTER_PORT=%s, MASTER_USER=%s, "
            "MASTER_PASSWORD=%s, MASTER_SSL=1, MASTER_SSL_CA=%s, MASTER_SSL_VERIFY_SERVER_CERT=1, "
            "MASTER_CONNECT_RETRY=1, MASTER_DELAY=0, MASTER_USE_GTID=slave_pos, "
            f"IGNORE_DOMAIN_IDS=({', '.join(map(str, self._ignored_domains))})",
            (
                self.source.host,
                self.source.port,
                REPLICATION_USERNAME,
                self._password,
                str(self.source.ca_path),
            ),
        )
        self.start()

    def delay(self, seconds: int) -> None:
        """Apply every change this many whole seconds after its commit, as a lagging DMS task does; 0 ends
        it."""
        self.target.query(f"STOP SLAVE '{self.source.name}'")
        self.target.query(f"CHANGE MASTER '{self.source.name}' TO MASTER_DELAY=%s", (seconds,))
        self.start()

    def stop(self) -> None:
        """Stop reading and applying. What the source commits meanwhile arrives after `start`."""
        self.target.query(f"STOP SLAVE '{self.source.name}'")

    def start(self) -> None:
        """Go on where it stopped. Starting twice changes nothing."""
        self.target.query(f"START SLAVE '{self.source.name}'")

    def status(self) -> dict[str, Any]:
        """The row of SHOW SLAVE STATUS, empty before `configure`."""
        rows = self.target.query(f"SHOW SLAVE '{self.source.name}' STATUS")
        return rows[0] if rows else {}

    def wait_running(self, timeout_seconds: float = CAUGHT_UP_TIMEOUT_SECONDS) -> None:
        """Return once the target is connected to the source and applies.

        Raises:
            ReplicationError: It stopped on an error, or is not connected in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            status = self.status()
            if status.get("Slave_IO_Running") == status.get("Slave_SQL_Running") == "Yes":
                return
            if status.get("Last_SQL_Error") or time.monotonic() > deadline:
                raise ReplicationError(f"{self} does not run: {_reason(status)}")
            time.sleep(_POLL_SECONDS)

    def wait_caught_up(self, timeout_seconds: float = CAUGHT_UP_TIMEOUT_SECONDS) -> None:
        """Return once everything that is committed on the source now has been applied on the target.

        Raises:
            ReplicationError: It did not happen in time.
        """
        positions = self.source.query("SELECT @@GLOBAL.gtid_binlog_pos AS position")[0]["position"].split(",")
        # The target's position has no entry for what reaches it another way.
        carried = [p for p in positions if p and int(p.split("-")[0]) not in self._ignored_domains]
        if not carried:
            return
        waited = self.target.query("SELECT MASTER_GTID_WAIT(%s, %s) AS result", (",".join(carried), timeout_seconds))
        if waited[0]["result"] != 0:
            raise ReplicationError(f"{self} did not catch up within {timeout_seconds:g} s: {_reason(self.status())}")

    def __str__(self) -> str:
        return f"replication from {self.source.name} to {self.target.name}"


class DatabaseChain:
    """Two or more running servers; neighbours in the given order replicate both ways. A context manager.

    `databases["blue"]` is a DatabaseServer; `databases.replication("blue", "green")` is one direction. The
    methods without a direction act on all of them.

    Attributes:
        names: In the order of the chain.
        ca_path: The certificate authority of all servers, PEM.
        software: Which MariaDB runs.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        replicated_schemas: Sequence[str],
        software: Software,
        folder: Path | None = None,
    ) -> None:
        if len(set(names)) != len(names) or len(names) < 2:
            raise ValueError(f"names must be two or more different names, got {list(names)}")
        self.names = tuple(names)
        self.software = software
        template = data_template(software, cache_folder())
        self._folder = Path(mkdtemp(prefix="databases-", dir=folder))
        # Ends everything when this process cannot do it any more: see keeper.py.
        self._keeper = subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-I", "-S", keeper.__file__, str(self._folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        atexit.register(self.close)
        try:
            certificate = make_server_certificate(self._folder)
            self.ca_path = certificate.ca_path
            password = secrets.token_urlsafe(24)
            self._servers = {
                name: DatabaseServer(
                    name=name,
                    server_id=place,
                    auto_increment_increment=len(names),
                    replicated_schemas=replicated_schemas,
                    folder=self._folder / name,
                    data_template=template,
                    software=software,
                    certificate=certificate,
                    replication_password=password,
                )
                for place, name in enumerate(names, start=1)
            }
            self._replications = _replications(list(self._servers.values()), password)
        except BaseException:
            self.close()
            raise

    @classmethod
    def start(
        cls,
        names: Sequence[str] = ("blue", "green"),
        *,
        replicated_schemas: Sequence[str] = REPLICATED_SCHEMAS,
        software: Software | None = None,
        folder: Path | None = None,
    ) -> Self:
        """Start the servers and their replication; returns when all of it runs.

        Args:
            replicated_schemas: What replication carries; everything else stays where it is written.
            folder: Where the servers' own folder is made; the system's temporary folder when absent.

        Raises:
            DatabasesUnavailableError: No MariaDB can be had here.
            ServerError: A server did not start.
        """
        chain = cls(names, replicated_schemas=replicated_schemas, software=software or obtain(), folder=folder)
        try:
            for server in chain:
                server.spawn()
            for server in chain:
                server.wait_until_ready()
            for replication in chain.replications:
                replication.configure()
            for replication in chain.replications:
                replication.wait_running()
        except BaseException:
            chain.close()
            raise
        return chain

    def __getitem__(self, name: str) -> DatabaseServer:
        return self._servers[name]

    def __iter__(self) -> Iterator[DatabaseServer]:
        return iter(self._servers.values())

    @property
    def replications(self) -> tuple[Replication, ...]:
        """Every direction."""
        return tuple(self._replications.values())

    def replication(self, source: str, target: str) -> Replication:
        """The direction from one neighbour to the other; KeyError when they are not neighbours."""
        return self._replications[source, target]

    def delay_replication(self, seconds: int) -> None:
        """Make every direction lag by whole seconds; 0 ends it."""
        for replication in self.replications:
            replication.delay(seconds)

    def stop_replication(self) -> None:
        """Stop every direction."""
        for replication in self.replications:
            replication.stop()

    def start_replication(self) -> None:
        """Start every direction that is stopped."""
        for replication in self.replications:
            replication.start()

    def wait_caught_up(self, timeout_seconds: float = CAUGHT_UP_TIMEOUT_SECONDS) -> None:
        """Return once what is committed anywhere has been applied everywhere.

        Raises:
            ReplicationError: It did not happen in time.
        """
        # There and back again: what a server passes on reaches the far end in the order of the chain.
        for replication in self.replications:
            replication.wait_caught_up(timeout_seconds)

    def execute_everywhere(self, statements: Sequence[str]) -> None:
        """Run the same statements on every server without the binary log, as a schema is made before
        replication."""
        for server in self:
            server.execute_unlogged(statements)

    def reset(self) -> None:
        """Bring every server back to its first state: no schema and no account but our own, replication
        running."""
        for server in self:
            server.start()
            server.query("STOP ALL SLAVES")
        for server in self:
            with server.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SET SESSION sql_log_bin = 0")
                cursor.execute(
                    "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user NOT IN %s",
                    (("system user", "event_scheduler", REPLICATION_USERNAME),),
                )
                for session in cursor.fetchall():
                    cursor.execute("KILL %s", (session["id"],))
                cursor.execute(
                    "SELECT schema_name AS name FROM information_schema.schemata WHERE schema_name NOT IN %s",
                    (_SYSTEM_SCHEMAS,),
                )
                for schema in cursor.fetchall():
                    cursor.execute(f"DROP DATABASE `{schema['name']}`")
                cursor.execute("SELECT user, host FROM mysql.global_priv WHERE user NOT IN %s", (_OWN_ACCOUNTS,))
                for account in cursor.fetchall():
                    cursor.execute("DROP USER %s@%s", (account["user"], account["host"]))
                cursor.execute("RESET MASTER")
                cursor.execute("SET GLOBAL gtid_slave_pos = ''")
        for replication in self.replications:
            replication.configure()
        for replication in self.replications:
            replication.wait_running()

    def close(self) -> None:
        """Kill every server and remove all files. Their data is thrown away, so nothing is gained by
        patience."""
        atexit.unregister(self.close)
        for server in getattr(self, "_servers", {}).values():
            server.kill()
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()
        self._keeper.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _replications(servers: list[DatabaseServer], password: str) -> dict[tuple[str, str], Replication]:
    """Both directions of each pair of neighbours: first all forward, from left to right, then all back."""
    domains = [server.server_id for server in servers]
    forward = [
        Replication(source=left, target=right, ignored_domains=domains[place + 1 :], password=password)
        for place, (left, right) in enumerate(pairwise(servers))
    ]
    back = [
        Replication(source=right, target=left, ignored_domains=domains[: place + 1], password=password)
        for place, (left, right) in enumerate(pairwise(servers))
    ]
    return {(r.source.name, r.target.name): r for r in [*forward, *reversed(back)]}


def _reason(status: dict[str, Any]) -> str:
    """What the status says about why replication stands still."""
    said = [str(status[key]) for key in ("Last_IO_Error", "Last_SQL_Error") if status.get(key)]
    threads = ", ".join(f"{key} {status.get(key)}" for key in ("Slave_IO_Running", "Slave_SQL_Running", "SQL_Delay"))
    return "; ".join([*said, threads])
