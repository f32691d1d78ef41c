"""Databases of a chain with the payment tables, the control schema and locked accounts; writers; and watchers.

The accounts are those of production: the admin has the rights of Aurora's master user and no more.
"""

from __future__ import annotations

import json
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymysql

from database_access.credentials import DatabaseSecret
from database_access.deadline import Deadline
from database_access.session import Connect, connector
from database_bootstrap.schema_files import split_statements
from rehearsal.databases import DatabaseChain
from tests.support.account_database import MASTER_PRIVILEGES
from writer_switch import ChainDatabase, Settings, SwitchOutcome, SwitchRequest, WriterReport, find_writer, switch

ADMIN = "payments_admin"
APPLICATION = ("payments_app_a", "payments_app_b")
ROOT = Path(__file__).parents[2]
PAYMENTS_SQL = ROOT / "service" / "payment_service" / "schema.sql"
CONTROL_SQL = ROOT / "lambda" / "database_bootstrap" / "schema" / "control.sql"
# One beat of each database in every run, so that all runs have the same side effects.
PATIENT = Settings(
    statement_seconds=10.0,
    lag_bound_seconds=10.0,
    low_lag_seconds=10.0,
    end_sessions_seconds=10.0,
    lock_wait_seconds=5.0,
)


class World:
    """A chain ready for payments.

    Attributes:
        documents: The admin and the application secret of each database.
    """

    def __init__(self, chain: DatabaseChain, *, writer: str) -> None:
        self.chain = chain
        self.names = chain.names
        self.documents = {
            server.name: {
                "admin": server.secret(ADMIN, secrets.token_urlsafe(30)),
                "application": server.secret(APPLICATION[0], secrets.token_urlsafe(30), APPLICATION[1]),
            }
            for server in chain
        }
        chain.execute_everywhere(
            [
                "CREATE DATABASE payments",
                "USE payments",
                *split_statements(PAYMENTS_SQL.read_text("utf-8")),
                "CREATE DATABASE blue_green_control",
                "USE blue_green_control",
                *split_statements(CONTROL_SQL.read_text("utf-8")),
            ]
        )
        for server in chain:
            documents = self.documents[server.name]
            password = documents["application"]["password"]
            server.execute_unlogged(
                [
                    f"CREATE USER '{ADMIN}'@'%' IDENTIFIED BY '{documents['admin']['password']}' REQUIRE SSL",
                    f"GRANT {MASTER_PRIVILEGES} ON *.* TO '{ADMIN}'@'%'",
                    *(
                        statement
                        for username in APPLICATION
                        for statement in (
                            f"CREATE USER '{username}'@'%' IDENTIFIED BY '{password}' REQUIRE SSL ACCOUNT "
                            f"{'UNLOCK' if server.name == writer else 'LOCK'}",
                            f"GRANT SELECT, INSERT, UPDATE ON payments.* TO '{username}'@'%'",
                        )
                    ),
                ]
            )
        self.connect: Connect = connector(ca_path=chain.ca_path)

    def databases(self) -> tuple[ChainDatabase, ...]:
        """What the functions are given."""
        return tuple(
            ChainDatabase(
                name=name,
                admin=DatabaseSecret.parse(json.dumps(self.documents[name]["admin"]), name=name, pair=False),
                application=DatabaseSecret.parse(json.dumps(self.documents[name]["application"]), name=name, pair=True),
            )
            for name in self.names
        )

    def switch(
        self,
        old: str,
        new: str,
        *,
        connect: Connect | None = None,
        settings: Settings = PATIENT,
        drain_timeout_seconds: float = 10.0,
        **changes: Any,
    ) -> SwitchOutcome:
        """One run, patient enough for a busy machine."""
        authorize = changes.pop("authorize", lambda: None)
        return switch(
            SwitchRequest(
                cutover_id="cutover-7", old=old, new=new, drain_timeout_seconds=drain_timeout_seconds, **changes
            ),
            chain=self.databases(),
            connect=connect or self.connect,
            deadline=Deadline.after(200),
            settings=settings,
            authorize=authorize,
        )

    def find(self) -> WriterReport:
        return find_writer(self.databases(), connect=self.connect, settings=PATIENT)

    def locks(self, name: str) -> dict[str, bool]:
        """Whether each application account is locked, asked independently of the code under test."""
        rows = self.chain[name].query(
            "SELECT user, COALESCE(JSON_VALUE(priv, '$.account_locked'), 0) AS locked FROM mysql.global_priv"
            " WHERE user IN %s",
            (APPLICATION,),
        )
        return {row["user"]: row["locked"] in ("1", "true") for row in rows}

    def admitting(self) -> list[str]:
        """The databases that admit an application account."""
        return [name for name in self.names if not all(self.locks(name).values())]

    def set_locked(self, name: str, *, locked: bool, accounts: Sequence[str] = APPLICATION) -> None:
        """By hand, for the state in which a test begins."""
        self.chain[name].execute_unlogged(
            [f"ALTER USER '{account}'@'%' ACCOUNT {'LOCK' if locked else 'UNLOCK'}" for account in accounts]
        )

    def application(self, name: str, **options: Any) -> pymysql.Connection[Any]:
        """A session as a service opens it."""
        document = self.documents[name]["application"]
        options.setdefault("autocommit", False)
        return self.chain[name].connect(
            user=str(document["username"]), password=str(document["password"]), database="payments", **options
        )

    @contextmanager
    def writers(self, count: int = 4, *, pause_seconds: float = 0.004, warm: bool = True) -> Iterator[Writers]:
        """Threads that pay without pause until the block ends; what they were promised is in their log."""
        writers = Writers(self, count=count, pause_seconds=pause_seconds)
        writers.start()
        try:
            if warm:
                writers.wait_for_payments(5 * count)
            yield writers
        finally:
            writers.stop()

    def faults(self, writers: Writers | None = None, *, names: Sequence[str] = ()) -> list[str]:
        """What is wrong with the books of all databases once replication has caught up; empty when all is right."""
        self.chain.wait_caught_up()
        found: list[str] = []
        contents = {}
        for name in names or self.names:
            server = self.chain[name]
            found += [
                f"{name}: {row}"
                for query in (
                    # Each payment has two entries that add up to zero.
                    "SELECT p.id FROM payments.payments p LEFT JOIN payments.ledger_entries e ON e.payment_id = p.id"
                    " GROUP BY p.id HAVING COUNT(e.account) <> 2 OR SUM(e.amount) <> 0",
                    "SELECT e.payment_id FROM payments.ledger_entries e"
                    " LEFT JOIN payments.payments p ON p.id = e.payment_id WHERE p.id IS NULL",
                    # Each balance is the sum of its entries, which finds an update that overtook another one.
                    "SELECT account, b.amount, SUM(e.amount) AS entries FROM payments.balances b"
                    " LEFT JOIN payments.ledger_entries e USING (account, currency)"
                    " GROUP BY account, b.amount HAVING b.amount <> COALESCE(SUM(e.amount), 0)",
                    "SELECT SUM(amount) AS total FROM payments.balances HAVING SUM(amount) <> 0",
                )
                for row in server.query(query)
            ]
            contents[name] = [
                server.query(f"CHECKSUM TABLE payments.{table}")[0]["Checksum"]
                for table in ("payments", "ledger_entries", "balances")
            ]
            ids = [row["id"] for row in server.query("SELECT id FROM payments.payments")]
            if writers is not None:
                promised = {commit.payment_id for commit in writers.commits}
                found += [f"{name}: lost {lost}" for lost in sorted(promised - set(ids))[:5]]
        if len({tuple(checksums) for checksums in contents.values()}) > 1:
            found.append(f"checksums differ: {contents}")
        return found


@dataclass(frozen=True)
class Commit:
    """Attributes: began, ended: around COMMIT, on the monotonic clock, in seconds; the commit is in between."""

    payment_id: str
    database: str
    began: float
    ended: float


class Writers:
    """Concurrent services in small: each finds the writer by trying, and repeats a payment under the same key.

    Attributes:
        commits: Every acknowledged payment.
        replayed: How often a payment that was repeated had been committed.
        unexpected: Errors that no switch explains.
    """

    # 4151: locked. 0, 1053, 1927, 2003, 2006, 2013, 2055: killed, shut down, gone. 1205, 1213: repeat the transaction.
    _EXPECTED = frozenset({0, 1053, 1205, 1213, 1317, 1927, 2003, 2006, 2013, 2055, 4151})

    def __init__(self, world: World, *, count: int, pause_seconds: float) -> None:
        self.commits: list[Commit] = []
        self.replayed = 0
        self.unexpected: list[Exception] = []
        self._world = world
        self._pause_seconds = pause_seconds
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._pay, args=(number,), daemon=True) for number in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def wait_for_payments(self, count: int, *, database: str = "", timeout_seconds: float = 60.0) -> None:
        """Until there are that many more, of one database where it is named."""
        wanted = self._count(database) + count
        deadline = time.monotonic() + timeout_seconds
        while self._count(database) < wanted:
            assert time.monotonic() < deadline, f"no payments: {self.unexpected}"
            time.sleep(0.005)

    def databases(self) -> Counter[str]:
        """Payments by database."""
        return Counter(commit.database for commit in self.commits)

    def overlaps(self, order: Sequence[str]) -> list[str]:
        """Where two commits prove that a database wrote after the next one had: none for one crossover each.

        A commit is certain to be later than another only when it began after the other had been acknowledged.
        """
        found = []
        commits = sorted(self.commits, key=lambda commit: commit.began)
        for before, after in pairwise(order):
            first = min((commit.ended for commit in commits if commit.database == after), default=None)
            late = [c for c in commits if c.database == before and first is not None and c.began > first]
            found += [f"{before} committed {c.began - (first or 0):.6f} s after {after} had" for c in late]
        return found

    def _count(self, database: str) -> int:
        return sum(commit.database == database for commit in list(self.commits)) if database else len(self.commits)

    def _pay(self, number: int) -> None:
        source = random.Random(number)  # noqa: S311 (amounts and pauses)
        connection: pymysql.Connection[Any] | None = None
        name = ""
        payment_id, amount = str(uuid4()), 1
        while not self._over.is_set():
            try:
                if connection is None:
                    name, connection = self._find()
                    if connection is None:
                        self._over.wait(0.005)
                        continue
                began = self.write(connection, name, payment_id, amount)
            except pymysql.MySQLError as error:
                if not isinstance(error, pymysql.err.InterfaceError) and error.args[0] not in self._EXPECTED:
                    self.unexpected.append(error)
                self._end(connection)
                connection = None
                continue
            except (OSError, RuntimeError):
                self._end(connection)
                connection = None
                continue
            if began is None:
                self.replayed += 1
            else:
                self.commits.append(Commit(payment_id, name, began, time.monotonic()))
            payment_id, amount = str(uuid4()), source.randrange(1, 100)
            self._over.wait(source.expovariate(1 / self._pause_seconds))
        self._end(connection)

    def _find(self) -> tuple[str, pymysql.Connection[Any] | None]:
        for name in self._world.names:
            with suppress(pymysql.MySQLError):
                return name, self._world.application(name, timeout_seconds=5.0)
        return "", None

    @staticmethod
    def write(connection: pymysql.Connection[Any], name: str, payment_id: str, amount: int) -> float | None:
        """When COMMIT was sent, or None when the payment had been committed before."""
        # Few accounts, so that transactions of before and after a switch meet in the same rows.
        debtor, creditor = f"D{amount % 3}", f"C{amount % 3}"
        with connection.cursor() as cursor:
            try:
                cursor.execute(
                    "INSERT INTO payments (id, amount, currency, debtor_account, creditor_account, payment_token,"
                    " recorded_in, created_at) VALUES (%s, %s, 'EUR', %s, %s, 'tok_12345678', %s, UTC_TIMESTAMP(6))",
                    (payment_id, amount, debtor, creditor, name),
                )
            except pymysql.err.IntegrityError:  # the key
                connection.rollback()
                return None
            cursor.execute(
                "INSERT INTO ledger_entries (payment_id, account, currency, amount)"
                " VALUES (%s, %s, 'EUR', %s), (%s, %s, 'EUR', %s)",
                (payment_id, debtor, -amount, payment_id, creditor, amount),
            )
            cursor.execute(
                "INSERT INTO balances (account, currency, amount) VALUES (%s, 'EUR', %s), (%s, 'EUR', %s)"
                " ON DUPLICATE KEY UPDATE amount = amount + VALUES(amount)",
                (creditor, amount, debtor, -amount),
            )
        began = time.monotonic()
        connection.commit()
        return began

    @staticmethod
    def _end(connection: pymysql.Connection[Any] | None) -> None:
        if connection is not None:
            with suppress(pymysql.MySQLError, OSError):
                connection.close()


@dataclass
class Watcher:
    """Looks at the locks of two databases again and again.

    Attributes:
        samples: How often it looked.
        violations: Instants at which both admitted an account.
    """

    world: World
    samples: int = 0
    violations: list[str] = field(default_factory=list)

    @contextmanager
    def watching(self, names: Sequence[str]) -> Iterator[Watcher]:
        over = threading.Event()

        def watch() -> None:
            with ExitStack() as stack:
                cursors = {
                    name: stack.enter_context(stack.enter_context(self.world.chain[name].connect()).cursor())
                    for name in names
                }
                first, second = names
                while not over.is_set():
                    # The first one again at the end: it admitted all the time only if it did at both ends.
                    looks = [self._admits(cursors[name]) for name in (first, second, first)]
                    self.samples += 1
                    if all(looks):
                        self.violations.append(f"{first} and {second} admitted at {time.monotonic():.6f}")
                    over.wait(0.001)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join(30)

    @staticmethod
    def _admits(cursor: Any) -> bool:
        cursor.execute(
            "SELECT COUNT(*) AS unlocked FROM mysql.global_priv WHERE user IN %s"
            " AND COALESCE(JSON_VALUE(priv, '$.account_locked'), 0) NOT IN ('1', 'true')",
            (APPLICATION,),
        )
        return bool(cursor.fetchone()["unlocked"])


def wait_until(condition: Callable[[], object], timeout_seconds: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
