"""What the errors of a real server mean for a payment."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from payment_service.credentials import Credentials, SecretCredentials
from payment_service.database import Connection, Database, DatabaseError, Failure
from rehearsal.data_plane import APPLICATION_USERNAMES, DataPlane
from rehearsal.databases import DatabaseServer

pytestmark = pytest.mark.slow


class FixedCredentials(SecretCredentials):
    """Credentials that no secret holds, to reach what a right secret does not reach."""

    def __init__(self, credentials: Credentials) -> None:
        self._fixed = credentials

    async def current(self) -> Credentials:
        return self._fixed

    async def reread(self) -> Credentials:
        return self._fixed


def database(plane: DataPlane, name: str = "blue", *, schema: str = "payments", **changes: object) -> Database:
    server = plane.databases[name]
    found = Credentials(
        **{  # type: ignore[arg-type]  # the tests change single fields
            "host": server.host,
            "port": server.port,
            "username": APPLICATION_USERNAMES[0],
            "password": plane.passwords[name],
            **changes,
        }
    )
    tls = ssl.create_default_context(cafile=str(plane.databases.ca_path))
    return Database(name=name, schema=schema, credentials=FixedCredentials(found), tls=tls)


def failure_of(found: Database) -> DatabaseError:
    async def connect() -> None:
        (await found.connect()).close()

    with pytest.raises(DatabaseError) as caught:
        asyncio.run(connect())
    return caught.value


def test_a_locked_account_is_told_from_a_wrong_password(data_plane: DataPlane) -> None:
    locked = failure_of(database(data_plane, "green"))
    wrong = failure_of(database(data_plane, "green", password="wrong"))

    assert (locked.failure, locked.code) == (Failure.LOCKED, 4151)
    # The lock is only told to those who know the password.
    assert (wrong.failure, wrong.code) == (Failure.CREDENTIALS, 1045)


def test_a_schema_that_does_not_exist_is_no_fence(data_plane: DataPlane) -> None:
    assert failure_of(database(data_plane, schema="nowhere")).failure is Failure.OTHER


def test_a_port_where_nobody_listens_is_a_broken_connection(data_plane: DataPlane) -> None:
    assert failure_of(database(data_plane, port=9)).failure is Failure.CONNECTION


def test_a_server_under_a_name_that_its_certificate_does_not_hold_is_not_trusted(data_plane: DataPlane) -> None:
    # The whole 127.0.0.0/8 is this machine, and the certificate is for 127.0.0.1.
    with relay("127.0.0.2", data_plane.databases["blue"].port) as port:
        found = failure_of(database(data_plane, host="127.0.0.2", port=port))

    assert found.failure is Failure.UNTRUSTED
    assert "CERTIFICATE_VERIFY_FAILED" in str(found)


@contextmanager
def relay(host: str, target_port: int) -> Iterator[int]:
    """One connection to the host goes on to the target; the port to connect to."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    with socket.create_server((host, 0)) as listener, ThreadPoolExecutor(3) as pool:

        def serve() -> None:
            incoming, _ = listener.accept()
            with incoming, socket.create_connection(("127.0.0.1", target_port)) as outgoing:
                back = pool.submit(copy, outgoing, incoming)
                copy(incoming, outgoing)
                back.result()

        pool.submit(serve)
        yield listener.getsockname()[1]


@contextmanager
def strange_server(greeting: bytes) -> Iterator[int]:
    """A server that greets everybody with these bytes and says no more; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(greeting)
                    connection.recv(1024)

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    "greeting",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05\x00\x00\x00hello", b"\x00" * 64, b"\xff" * 64],
    ids=["silence", "http", "short packet", "zeros", "ones"],
)
def test_a_server_that_does_not_speak_mysql_is_a_broken_connection(data_plane: DataPlane, greeting: bytes) -> None:
    with strange_server(greeting) as port:
        assert failure_of(database(data_plane, port=port)).failure is Failure.CONNECTION


def run_and_break(plane: DataPlane, server: DatabaseServer, statement: str) -> DatabaseError:
    """The error of a statement whose session was killed before, from the service's point of view."""

    async def attempt() -> None:
        connection: Connection = await database(plane).connect()
        try:
            (row,) = await connection.execute("SELECT CONNECTION_ID()")
            await asyncio.to_thread(server.query, statement, (row[0],))
            await connection.execute("SELECT 1")
        finally:
            connection.close()

    with pytest.raises(DatabaseError) as caught:
        asyncio.run(attempt())
    return caught.value


def test_a_killed_session_is_a_broken_connection(data_plane: DataPlane) -> None:
    found = run_and_break(data_plane, data_plane.databases["blue"], "KILL %s")

    assert found.failure is Failure.CONNECTION
    assert found.code in (2006, 2013)


def test_a_session_does_not_wait_longer_than_three_seconds_for_a_lock(data_plane: DataPlane) -> None:
    async def wait_for_lock() -> DatabaseError:
        first, second = await database(data_plane).connect(), await database(data_plane).connect()
        try:
            insert = "INSERT INTO balances (account, currency, amount) VALUES ('A', 'EUR', 1)"
            await first.execute(insert)
            started = asyncio.get_running_loop().time()
            with pytest.raises(DatabaseError) as caught:
                await second.execute(insert)
            assert asyncio.get_running_loop().time() - started < 6
            return caught.value
        finally:
            first.close()
            second.close()

    found = asyncio.run(wait_for_lock())

    assert (found.failure, found.code) == (Failure.CONFLICT, 1205)


def test_values_of_a_statement_are_not_in_the_error(data_plane: DataPlane) -> None:
    async def insert() -> None:
        connection = await database(data_plane).connect()
        try:
            await connection.execute("INSERT INTO balances VALUES ('private-account', 'EUR', 'private-amount')")
        finally:
            connection.close()

    with pytest.raises(DatabaseError) as caught:
        asyncio.run(insert())

    assert "private" not in str(caught.value)
    assert caught.value.failure is Failure.OTHER
