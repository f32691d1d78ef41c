"""One session with a database: opened over verified TLS only, its errors told apart and free of secrets."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, Self

import pymysql
from pymysql import err

from database_access.credentials import DatabaseSecret
from database_access.deadline import Deadline
from database_access.errors import (
    AccessDeniedError,
    AccountLockedError,
    CertificateRefusedError,
    DatabaseAccessError,
    DatabaseUnreachableError,
    SessionLostError,
    StatementError,
)
from database_access.structured_log import fields, strike_out

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS: Final = 5.0
STATEMENT_TIMEOUT_SECONDS: Final = 30.0
_LOCKED: Final = frozenset({3118, 4151})  # ER_ACCOUNT_HAS_BEEN_LOCKED of MySQL and of MariaDB
_DENIED: Final = frozenset({1045, 1698})  # ER_ACCESS_DENIED_ERROR; MariaDB's ER_ACCESS_DENIED_NO_PASSWORD_ERROR
_LOST: Final = frozenset({0, 1053, 1927, 2006, 2013, 2014, 4031})  # shutdown, killed, gone away, lost, idle too long


class Session(Protocol):
    """What the functions do with a database. In a statement ``%s`` stands for a parameter and ``%%`` for ``%``."""

    def execute(self, statement: str, *parameters: object) -> int:
        """Run a statement and return the number of rows that it changed."""
        ...

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        ...

    def close(self) -> None:
        """End the session; never fails."""
        ...


class Connect(Protocol):
    """Opens a session as the account of a secret."""

    def __call__(self, secret: DatabaseSecret, *, deadline: Deadline) -> Session: ...


class DatabaseSession:
    """A session over PyMySQL, committing every statement by itself."""

    def __init__(self, connection: pymysql.connections.Connection[Any], *, host: str) -> None:
        self._connection = connection
        self._host = host

    def execute(self, statement: str, *parameters: object) -> int:
        return self._run(statement, parameters)[0]

    def query(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._run(statement, parameters)[1]

    def close(self) -> None:
        # A session that the server has already ended cannot say goodbye, and need not.
        with suppress(err.Error, OSError):
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, statement: str, parameters: tuple[object, ...]) -> tuple[int, list[tuple[Any, ...]]]:
        verb = " ".join(statement.split()[:2])
        try:
            with self._connection.cursor() as cursor:
                changed = cursor.execute(statement, parameters)
                return changed, list(cursor.fetchall())
        except err.Error as error:
            failure = _statement_failure(error, verb=verb, host=self._host)
        except OSError as error:
            failure = SessionLostError(f"{self._host}: the session was lost during {verb}: {error}")
        # Raised here and not in the except clause, so that the driver's error, which may quote a statement with a
        # password in it, is not in the chain.
        raise failure


def tls_context(ca_path: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer, trusting only the given authorities, with the host name checked.

    Raises:
        DatabaseAccessError: There is no such file, or it has no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_path))
    except (OSError, ssl.SSLError) as error:
        raise DatabaseAccessError(f"DATABASE_CA_PATH: {ca_path} must be a file of PEM certificates: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python 3.13 also asks for extensions that RFC 5280 demands and that authorities leave out, RDS's perhaps among
    # them. Chain, dates and host name are checked as before.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def connector(*, ca_path: Path) -> Connect:
    """How to open sessions, with the authorities read once."""
    context = tls_context(ca_path)

    def connect(secret: DatabaseSecret, *, deadline: Deadline) -> Session:
        deadline.check(f"connecting to {secret.host}")
        try:
            connection = pymysql.connect(
                host=secret.host,
                port=secret.port,
                user=secret.username,
                password=secret.password,
                ssl=context,
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=deadline.at_most(CONNECT_TIMEOUT_SECONDS),
                read_timeout=deadline.at_most(STATEMENT_TIMEOUT_SECONDS),
                write_timeout=deadline.at_most(STATEMENT_TIMEOUT_SECONDS),
                program_name="blue-green",
            )
        except (err.Error, OSError, UnicodeError) as error:
            failure = _connect_failure(error, secret=secret)
        else:
            return DatabaseSession(connection, host=secret.host)
        raise failure

    return connect


def connect_patiently(
    connect: Connect,
    secret: DatabaseSecret,
    *,
    deadline: Deadline,
    pause_seconds: float = 2.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Session:
    """Try until the deadline: a new cluster accepts no sessions for a while after it is called available.

    Only a database that cannot be reached is tried again; a refusal is final.

    Raises:
        DatabaseUnreachableError: The deadline passed.
    """
    attempts = 0
    while True:
        attempts += 1
        try:
            return connect(secret, deadline=deadline)
        except DatabaseUnreachableError as error:
            if deadline.remaining_seconds() <= pause_seconds:
                raise DatabaseUnreachableError(f"{error} (after {attempts} attempts)") from None
            log.info("database cannot be reached yet", extra=fields(host=secret.host, attempts=attempts))
        sleep(pause_seconds)


def _connect_failure(error: Exception, *, secret: DatabaseSecret) -> DatabaseAccessError:
    where = f"{secret.host}:{secret.port}"
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if code in _LOCKED:
        return AccountLockedError(f"{where}: account {secret.username} is locked ({code})")
    if code in _DENIED:
        return AccessDeniedError(
            f"{where}: account {secret.username} is not admitted with the password of secret {secret.name} ({code})"
        )
    cause = getattr(error, "original_exception", None) or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return CertificateRefusedError(
            f"{where}: the server's certificate is refused: {cause.verify_message}; "
            "the host must be the cluster's endpoint and DATABASE_CA_PATH must hold its authority"
        )
    return DatabaseUnreachableError(strike_out(f"{where}: cannot be reached: {_text(error)}"))


def _statement_failure(error: err.Error, *, verb: str, host: str) -> DatabaseAccessError:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if code in _LOST:
        return SessionLostError(f"{host}: the session was lost during {verb} ({code})")
    return StatementError(strike_out(f"{host}: {verb} was refused: {_text(error)}"), code=code)


def _text(error: Exception) -> str:
    return " ".join(str(argument) for argument in error.args) or type(error).__name__
