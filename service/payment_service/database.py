"""Connections to one database, and what its errors mean for a payment."""

from __future__ import annotations

import asyncio
import random
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import asyncmy
from asyncmy.errors import MySQLError

from payment_service.credentials import Credentials, CredentialsError, SecretCredentials

CONNECT_SECONDS = 1.0
# A session outlives neither the account's rotation by much, nor the idle limits of what lies between.
SESSION_SECONDS = 1800.0
LOCK_WAIT_SECONDS = 3


class Failure(Enum):
    """What an error of the database says."""

    LOCKED = "the account is locked: this database is not the writer"
    READ_ONLY = "the server takes no writes: it is a reader, or has just become one"
    CREDENTIALS = "the credentials are refused"
    NO_SECRET = "the credentials cannot be read"  # noqa: S105 (a sentence)
    UNTRUSTED = "the server's certificate is not trusted"
    CONNECTION = "the server cannot be reached, or the connection broke"
    CONFLICT = "another transaction was in the way"
    DUPLICATE = "the key exists"
    OTHER = "the server refused the statement"


# Codes of the MySQL error reference (8.0) and MariaDB's (10.11). What was seen where is in
# docs/decisions/service-database-errors.md.
_FAILURES = {
    4151: Failure.LOCKED,  # MariaDB: ER_ACCOUNT_HAS_BEEN_LOCKED
    3118: Failure.LOCKED,  # MySQL, Aurora: ER_ACCOUNT_HAS_BEEN_LOCKED
    1290: Failure.READ_ONLY,  # ER_OPTION_PREVENTS_STATEMENT, --read-only
    1792: Failure.READ_ONLY,  # ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
    1836: Failure.READ_ONLY,  # ER_READ_ONLY_MODE
    1045: Failure.CREDENTIALS,  # ER_ACCESS_DENIED_ERROR
    1698: Failure.CREDENTIALS,  # ER_ACCESS_DENIED_NO_PASSWORD_ERROR
    1205: Failure.CONFLICT,  # ER_LOCK_WAIT_TIMEOUT
    1213: Failure.CONFLICT,  # ER_LOCK_DEADLOCK
    1062: Failure.DUPLICATE,  # ER_DUP_ENTRY
    0: Failure.CONNECTION,  # InterfaceError: not connected
    1040: Failure.CONNECTION,  # ER_CON_COUNT_ERROR
    1053: Failure.CONNECTION,  # ER_SERVER_SHUTDOWN
    1077: Failure.CONNECTION,  # ER_NORMAL_SHUTDOWN
    1129: Failure.CONNECTION,  # ER_HOST_IS_BLOCKED
    1152: Failure.CONNECTION,  # ER_ABORTING_CONNECTION
    1158: Failure.CONNECTION,  # ER_NET_READ_ERROR
    1159: Failure.CONNECTION,  # ER_NET_READ_INTERRUPTED
    1160: Failure.CONNECTION,  # ER_NET_ERROR_ON_WRITE
    1161: Failure.CONNECTION,  # ER_NET_WRITE_INTERRUPTED
    1184: Failure.CONNECTION,  # ER_NEW_ABORTING_CONNECTION
    1203: Failure.CONNECTION,  # ER_TOO_MANY_USER_CONNECTIONS
    1317: Failure.CONNECTION,  # ER_QUERY_INTERRUPTED: the session is being killed
    1927: Failure.CONNECTION,  # MariaDB: ER_CONNECTION_KILLED
    2003: Failure.CONNECTION,  # CR_CONN_HOST_ERROR
    2006: Failure.CONNECTION,  # CR_SERVER_GONE_ERROR
    2013: Failure.CONNECTION,  # CR_SERVER_LOST
    2014: Failure.CONNECTION,  # CR_COMMANDS_OUT_OF_SYNC: the answers no longer fit the questions
    3169: Failure.CONNECTION,  # MySQL: ER_SESSION_WAS_KILLED
    4031: Failure.CONNECTION,  # MySQL: ER_CLIENT_INTERACTION_TIMEOUT
}


class DatabaseError(Exception):
    """An error of the database, classified. The message holds no value of a statement and no secret.

    Attributes:
        failure: What it means.
        code: The server's or the client library's error code, None where there is none.
    """

    def __init__(self, failure: Failure, *, code: int | None = None, reason: str | None = None) -> None:
        super().__init__(reason or (failure.value if code is None else f"{failure.value} ({code})"))
        self.failure = failure
        self.code = code


@contextmanager
def classified() -> Iterator[None]:
    """Turn what asyncmy raises into DatabaseError; the server's text, which may repeat values, is left
    behind."""
    try:
        yield
    except MySQLError as error:
        code = error.args[0] if error.args and isinstance(error.args[0], int) else None
        if isinstance(error.__cause__, ssl.SSLError):
            raise DatabaseError(
                Failure.UNTRUSTED, reason=f"{Failure.UNTRUSTED.value}: {error.__cause__.reason}"
            ) from None
        # Without a code: the client library lost its place in the stream of packets.
        failure = Failure.CONNECTION if code is None else _FAILURES.get(code, Failure.OTHER)
        raise DatabaseError(failure, code=code) from None
    except TimeoutError:
        raise DatabaseError(Failure.CONNECTION, reason="the server did not answer in time") from None
    except ssl.SSLError as error:
        raise DatabaseError(Failure.UNTRUSTED, reason=f"{Failure.UNTRUSTED.value}: {error.reason}") from None
    except (OSError, RuntimeError) as error:
        # RuntimeError: asyncmy on a transport that closes under its hands.
        raise DatabaseError(Failure.CONNECTION, reason=f"the connection broke: {type(error).__name__}") from None
    except CredentialsError as error:
        raise DatabaseError(Failure.NO_SECRET, reason=str(error)) from None


class Connection:
    """One session, autocommit off. After an error other than DUPLICATE or CONFLICT it must be closed."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        # Not all at once: sessions that were made in one burst would be replaced in one, too.
        self._expires_at = time.monotonic() + SESSION_SECONDS * random.uniform(0.8, 1)  # noqa: S311

    @property
    def is_worn(self) -> bool:
        """Whether it should be replaced instead of used again."""
        return not self._connection.connected or time.monotonic() > self._expires_at

    async def execute(self, sql: str, arguments: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and give its rows.

        Raises:
            DatabaseError: Any error, classified.
        """
        with classified():
            async with self._connection.cursor() as cursor:
                await cursor.execute(sql, arguments or None)
                return list(await cursor.fetchall())

    async def commit(self) -> None:
        """Commit. When this raises CONNECTION, nobody knows whether it happened."""
        with classified():
            await self._connection.commit()

    async def rollback(self) -> None:
        """Roll back, which also ends a transaction that only read."""
        with classified():
            await self._connection.rollback()

    def close(self) -> None:
        """Close at once, without a word to the server; an open transaction is rolled back by it."""
        self._connection.close()


class Database:
    """One of the databases that the service was given; makes connections to it.

    Args:
        name: Its name: legacy, blue or green.
        schema: The schema of the payments.
        tls: Verifies the server's certificate and name.
    """

    def __init__(self, *, name: str, schema: str, credentials: SecretCredentials, tls: ssl.SSLContext) -> None:
        self.name = name
        self._schema = schema
        self._credentials = credentials
        self._tls = tls

    async def connect(self) -> Connection:
        """A session in which payments can be written, as the account that the secret names now.

        Raises:
            DatabaseError: Any error, classified. LOCKED and READ_ONLY: this is not the writer.
        """
        with classified():
            used = await self._credentials.current()
            try:
                return await self._connect(used)
            except DatabaseError as error:
                if error.failure is not Failure.CREDENTIALS:
                    raise
                refusal = error
            # Rotated since they were read? Then the secret holds others by now.
            fresh = await self._credentials.reread()
            if fresh == used:
                raise refusal
            return await self._connect(fresh)

    async def _connect(self, credentials: Credentials) -> Connection:
        with classified():
            async with asyncio.timeout(CONNECT_SECONDS):
                raw = asyncmy.Connection(  # type: ignore[no-untyped-call]  # the library has no types here
                    host=credentials.host,
                    port=credentials.port,
                    user=credentials.username,
                    password=credentials.password,
                    database=self._schema,
                    charset="utf8mb4",
                    ssl=self._tls,
                    autocommit=None,
                    connect_timeout=CONNECT_SECONDS,
                    program_name="payment-service",
                )
                try:
                    await raw.connect()
                    connection = Connection(raw)
                    rows = await connection.execute("SELECT @@GLOBAL.read_only, @@GLOBAL.innodb_read_only")
                    if any(int(value) for value in rows[0]):
                        raise DatabaseError(Failure.READ_ONLY)
                    await connection.execute(
                        "SET SESSION autocommit = 0, time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES', "
                        f"innodb_lock_wait_timeout = {LOCK_WAIT_SECONDS}"
                    )
                    # Without gap locks, new accounts of two payments do not block each other.
                    await connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                except (struct.error, IndexError, ValueError, TypeError, AssertionError):
                    # The library takes what it reads for MySQL's protocol, and fails in its own ways.
                    raw.close()
                    reason = "the server does not speak MySQL's protocol"
                    raise DatabaseError(Failure.CONNECTION, reason=reason) from None
                except BaseException:
                    raw.close()
                    raise
        return connection
