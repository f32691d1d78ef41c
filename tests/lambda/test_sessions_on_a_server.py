"""Sessions, locks and errors as a real server has them: what the writer switch builds on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, suppress
from threading import Event, Thread
from typing import Any

import pymysql
import pytest

from database_access import accounts
from database_access.accounts import AccountState
from database_access.controller_lock import controller_lock
from database_access.credentials import DatabaseSecret
from database_access.deadline import Deadline, DeadlineExceededError
from database_access.errors import (
    AccessDeniedError,
    AccountLockedError,
    DatabaseUnreachableError,
    LockNotAvailableError,
    SessionLostError,
    StatementError,
)
from database_access.server import Engine, Server, identify
from database_access.session import Session, connect_patiently, connector
from database_access.sessions import end_sessions, kill_session, list_sessions
from tests.support.account_database import APPLICATION, AccountDatabase
from tests.support.secrecy import new_password, overheard_errors

pytestmark = pytest.mark.slow


@pytest.fixture
def application(blue: AccountDatabase) -> DatabaseSecret:
    """An unlocked pair."""
    document = blue.pair_document(APPLICATION)
    blue.create_pair(document, locked=False)
    return DatabaseSecret.parse(json.dumps(document), name="application", pair=True)


@pytest.fixture
def admin(blue: AccountDatabase) -> Iterator[Session]:
    """A session with the rights of Aurora's master user."""
    secret = DatabaseSecret.parse(json.dumps(blue.admin_document()), name="admin", pair=False)
    with closing(connector(ca_path=blue.server.ca_path)(secret, deadline=Deadline.after(30))) as session:
        yield session


def open_session(blue: AccountDatabase, secret: DatabaseSecret) -> Session:
    with overheard_errors():
        return connector(ca_path=blue.server.ca_path)(secret, deadline=Deadline.after(30))


def test_a_session_is_encrypted(admin: Session) -> None:
    [(_, version)] = admin.query("SHOW SESSION STATUS LIKE 'Ssl_version'")
    assert version in ("TLSv1.2", "TLSv1.3")


def test_the_engine_is_told_apart_and_has_no_procedures_of_rds(admin: Session) -> None:
    server = identify(admin)
    assert (server.engine, server.procedures) == (Engine.MARIADB, frozenset())


def test_states_are_read_in_one_statement(admin: Session, application: DatabaseSecret) -> None:
    accounts.lock_account(admin, "payments_app_b")
    assert accounts.account_states(admin, identify(admin), (*APPLICATION, "nobody")) == {
        "payments_app_a": AccountState.UNLOCKED,
        "payments_app_b": AccountState.LOCKED,
        "nobody": AccountState.ABSENT,
    }


def test_an_unlocked_account_is_unlocked_again(admin: Session, application: DatabaseSecret) -> None:
    accounts.lock_account(admin, "payments_app_a")
    accounts.unlock_account(admin, "payments_app_a")
    states = accounts.account_states(admin, identify(admin), APPLICATION)
    assert states["payments_app_a"] is AccountState.UNLOCKED


def test_a_locked_account_with_the_right_password_is_locked(
    blue: AccountDatabase, admin: Session, application: DatabaseSecret
) -> None:
    accounts.lock_account(admin, application.username)
    with pytest.raises(AccountLockedError, match=r"account payments_app_a is locked \(4151\)"):
        open_session(blue, application)


def test_a_locked_account_with_a_wrong_password_is_denied(
    blue: AccountDatabase, admin: Session, application: DatabaseSecret
) -> None:
    accounts.lock_account(admin, application.username)
    with pytest.raises(AccessDeniedError, match=r"\(1045\)"):
        open_session(blue, application.with_new_password(new_password()))


def test_a_port_where_nobody_listens_is_unreachable(blue: AccountDatabase, application: DatabaseSecret) -> None:
    nowhere = DatabaseSecret.parse(json.dumps({**application.document, "port": 9}), name="x", pair=True)
    with pytest.raises(DatabaseUnreachableError, match=r"127\.0\.0\.1:9: cannot be reached"):
        open_session(blue, nowhere)


def test_a_name_that_does_not_resolve_is_unreachable(blue: AccountDatabase, application: DatabaseSecret) -> None:
    nowhere = DatabaseSecret.parse(json.dumps({**application.document, "host": "no.invalid"}), name="x", pair=True)
    with pytest.raises(DatabaseUnreachableError, match="cannot be reached"):
        open_session(blue, nowhere)


def test_a_database_that_comes_up_late_is_waited_for(blue: AccountDatabase, application: DatabaseSecret) -> None:
    connect = connector(ca_path=blue.server.ca_path)
    blue.server.stop()
    starter = Thread(target=blue.server.start)
    starter.start()
    try:
        session = connect_patiently(connect, application, deadline=Deadline.after(30), pause_seconds=0.05)
        assert session.query("SELECT 1") == [(1,)]
        session.close()
    finally:
        starter.join()


def test_a_lock_leaves_open_sessions_alone_and_ending_them_does_not(
    blue: AccountDatabase, admin: Session, application: DatabaseSecret
) -> None:
    """Lock without kill would leave two writers: the negative control of the fence."""
    client = open_session(blue, application)
    accounts.lock_account(admin, application.username)
    client.execute("INSERT INTO payments.payments VALUES (UUID())")
    assert end_sessions(admin, identify(admin), APPLICATION, deadline=Deadline.after(10)) == 1
    with pytest.raises(SessionLostError):
        client.execute("INSERT INTO payments.payments VALUES (UUID())")


def test_sessions_in_every_condition_end(blue: AccountDatabase, admin: Session, application: DatabaseSecret) -> None:
    idle, in_transaction, busy = (open_session(blue, application) for _ in range(3))
    in_transaction.execute("START TRANSACTION")
    in_transaction.execute("INSERT INTO payments.payments VALUES ('half')")
    thread = Thread(target=_sleep, args=[busy])
    thread.start()
    while not any(client.command == "Query" for client in list_sessions(admin, APPLICATION)):
        pass
    for name in APPLICATION:
        accounts.lock_account(admin, name)
    assert end_sessions(admin, identify(admin), APPLICATION, deadline=Deadline.after(10)) == 3
    thread.join()
    assert list_sessions(admin, APPLICATION) == ()
    assert admin.query("SELECT COUNT(*) FROM payments.payments WHERE id = 'half'") == [(0,)]
    idle.close()


def _sleep(session: Session) -> None:
    # A killed SLEEP may return, fail or lose its session, as the engine likes.
    with suppress(SessionLostError, StatementError):
        session.query("SELECT SLEEP(30)")


def test_sessions_that_keep_coming_are_given_up_at_the_deadline(
    blue: AccountDatabase, admin: Session, application: DatabaseSecret
) -> None:
    """The account was not locked: ending sessions alone never ends."""
    enough = Event()
    clients = [Thread(target=_reconnect, args=[blue, application, enough]) for _ in range(6)]
    for client in clients:
        client.start()
    try:
        with pytest.raises(DeadlineExceededError, match="sessions of payments_app_a, payments_app_b were being ended"):
            end_sessions(admin, identify(admin), APPLICATION, deadline=Deadline.after(0.5))
    finally:
        enough.set()
        for client in clients:
            client.join()


def _reconnect(blue: AccountDatabase, secret: DatabaseSecret, enough: Event) -> None:
    kept: list[Any] = []
    while not enough.is_set():
        with suppress(pymysql.MySQLError, OSError):
            kept.append(blue.server.connect(user=secret.username, password=secret.password))
    for connection in kept:
        connection._force_close()


def test_a_session_that_is_gone_already_is_no_error(admin: Session) -> None:
    kill_session(admin, identify(admin), 2**31)


def test_on_rds_sessions_end_through_its_stored_procedure(
    blue: AccountDatabase, admin: Session, application: DatabaseSecret
) -> None:
    """A procedure with RDS's name and argument stands in for it; it notes its calls."""
    blue.server.execute_unlogged(
        [
            "CREATE OR REPLACE TABLE mysql.rds_killed (id BIGINT)",
            "CREATE OR REPLACE PROCEDURE mysql.rds_kill(IN thread BIGINT)"
            " BEGIN INSERT INTO mysql.rds_killed VALUES (thread); KILL CONNECTION thread; END",
        ]
    )
    try:
        client = open_session(blue, application)
        [(number,)] = client.query("SELECT CONNECTION_ID()")
        accounts.lock_account(admin, application.username)
        end_sessions(admin, identify(admin), APPLICATION, deadline=Deadline.after(10))
        assert {"id": number} in blue.server.query("SELECT id FROM mysql.rds_killed")
    finally:
        blue.server.execute_unlogged(["DROP PROCEDURE mysql.rds_kill", "DROP TABLE mysql.rds_killed"])


def test_one_controller_at_a_time(blue: AccountDatabase, admin: Session, application: DatabaseSecret) -> None:
    other = open_session(blue, application)
    with (
        controller_lock(admin),
        pytest.raises(LockNotAvailableError, match="another session holds the lock"),
        controller_lock(other),
    ):
        pass
    with controller_lock(other):
        pass
    other.close()


def test_a_controllers_lock_goes_with_its_session(
    blue: AccountDatabase, admin: Session, application: DatabaseSecret
) -> None:
    other = open_session(blue, application)
    with controller_lock(other):
        other.close()
        with controller_lock(admin, wait_seconds=5):
            pass


def test_a_refused_statement_has_its_number_and_not_its_password(admin: Session) -> None:
    password = DatabaseSecret.parse(
        json.dumps({"engine": "mysql", "host": "h", "port": 1, "username": "u", "password": new_password()}),
        name="x",
        pair=False,
    ).password
    with pytest.raises(StatementError, match="CREATE USER was refused") as raised, overheard_errors():
        admin.execute("CREATE USER u IDENTIFIED BY %s NONSENSE %s", password, password)
    assert raised.value.code == 1064
    assert "[secret]" in str(raised.value)


def test_without_the_rights_a_statement_is_refused_with_its_number(
    blue: AccountDatabase, application: DatabaseSecret
) -> None:
    with closing(open_session(blue, application)) as session, pytest.raises(StatementError) as raised:
        session.execute("DELETE FROM payments.payments")
    assert raised.value.code == 1142


def test_mysql_is_asked_for_its_locks_in_its_own_way() -> None:
    mysql = Server(engine=Engine.MYSQL, version="8.0.44", procedures=frozenset())
    assert mysql.lock_states_query == "SELECT User, account_locked = 'Y' FROM mysql.user WHERE Host = %s"
