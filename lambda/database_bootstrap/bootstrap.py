"""The bootstrap itself: statements that can each be repeated, in an order that can break off anywhere.

The one thing that must happen only once is the unlocking of the application accounts on the first writer. Its
intention is recorded before any account exists and struck off after the accounts are unlocked; see
docs/decisions/bootstrap-first-creation.md for why each order in here is as it is.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial

from database_access import accounts
from database_access.accounts import AccountState
from database_access.controller_lock import controller_lock
from database_access.credentials import DatabaseSecret
from database_access.deadline import Deadline
from database_access.errors import AccessDeniedError, AccountLockedError
from database_access.grants import Grant
from database_access.names import identifier
from database_access.server import SET_CONFIGURATION, Server, identify
from database_access.session import Connect, Session, connect_patiently
from database_access.structured_log import fields
from database_bootstrap.account_grants import application_grants, replication_grants
from database_bootstrap.properties import BootstrapProperties
from database_bootstrap.schema_files import CONTROL, PAYMENTS, SchemaFile

log = logging.getLogger(__name__)

_CONTROLLER_LOCK_WAIT_SECONDS = 20.0


class BootstrapError(Exception):
    """The database cannot be made ready; the message says what is in the way."""


class Phase(Enum):
    """How far the first creation of a database came.

    CREATING: accounts are being made; the writer's are unlocked at the end. COMPLETE: the accounts are in service,
    and their locks belong to the writer switch alone.
    """

    CREATING = "creating"
    COMPLETE = "complete"


@dataclass(frozen=True, kw_only=True)
class FirstCreation:
    """Attributes: writer_at_creation: as the first run had it."""

    phase: Phase
    writer_at_creation: bool


@dataclass(frozen=True, kw_only=True)
class DatabaseSecrets:
    """The secrets of one database."""

    admin: DatabaseSecret
    application: DatabaseSecret
    replication: DatabaseSecret

    @property
    def application_usernames(self) -> tuple[str, str]:
        return usernames(self.application)


def usernames(secret: DatabaseSecret) -> tuple[str, str]:
    """Both accounts of a pair, the current one first."""
    if secret.alternate_username is None:
        raise ValueError(f"secret {secret.name} is not one of a pair")
    return secret.username, secret.alternate_username


def check_secrets(found: DatabaseSecrets) -> None:
    """The three secrets name one database and five accounts.

    Raises:
        BootstrapError: They do not.
    """
    for secret in (found.application, found.replication):
        if not secret.same_database_as(found.admin):
            raise BootstrapError(
                f"secret {secret.name}: host and port must be those of the admin secret, "
                f"{found.admin.host}:{found.admin.port}, got {secret.host}:{secret.port}"
            )
    names = [found.admin.username, *usernames(found.application), *usernames(found.replication)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BootstrapError(
            f"username and alternate_username of the admin, application and replication secrets must all differ, "
            f"{', '.join(twice)} is there twice"
        )


def bootstrap(
    properties: BootstrapProperties,
    *,
    found: DatabaseSecrets,
    schema_files: Sequence[SchemaFile],
    connect: Connect,
    deadline: Deadline,
    make_password: Callable[[], str] = lambda: secrets.token_urlsafe(30),
) -> Mapping[str, str]:
    """Make the database ready and return what was found and done.

    Raises:
        BootstrapError: The secrets contradict each other.
        DatabaseAccessError: The database is out of reach, refuses the admin account, or refuses a statement.
        DeadlineExceededError: The time was over.
    """
    check_secrets(found)
    session = connect_patiently(connect, found.admin, deadline=deadline)
    try:
        server = identify(session)
        log.info("connected", extra=fields(host=found.admin.host, engine=server.engine.value, version=server.version))
        _create_schemas(session, properties, schema_files)
        with controller_lock(session, wait_seconds=min(_CONTROLLER_LOCK_WAIT_SECONDS, deadline.remaining_seconds())):
            first_creation = _begin_first_creation(session, server, properties, found)
            make_pair = partial(_make_pair, session, server, make_password=make_password)
            make_pair(found.application, grants=application_grants(properties), locked=True)
            make_pair(found.replication, grants=replication_grants(properties), locked=False)
            for secret in (found.application, found.replication):
                _ensure_password(session, secret, connect=connect, deadline=deadline)
            adapter = _set_binlog_retention(session, server, hours=properties.binlog_retention_hours)
            done = _end_first_creation(session, properties, found, first_creation)
            states = accounts.account_states(session, server, found.application_usernames)
    finally:
        session.close()
    return {
        "Engine": server.engine.value,
        "Version": server.version,
        "BinlogRetentionAdapter": adapter,
        "FirstCreation": done,
        "ApplicationAccounts": ", ".join(f"{name} {state.value}" for name, state in states.items()),
    }


def _create_schemas(session: Session, properties: BootstrapProperties, schema_files: Sequence[SchemaFile]) -> None:
    for schema in properties.schemas:
        session.execute(f"CREATE DATABASE IF NOT EXISTS {identifier(schema)} DEFAULT CHARACTER SET utf8mb4")
    schema_of = {CONTROL: properties.control_schema, PAYMENTS: properties.payment_schema}
    for file in schema_files:
        session.execute(f"USE {identifier(schema_of[file.purpose])}")
        for statement in file.statements:
            session.execute(statement.replace("%", "%%"))
    # The statements about the record and the markers name their tables alone.
    session.execute(f"USE {identifier(properties.control_schema)}")


def _begin_first_creation(
    session: Session, server: Server, properties: BootstrapProperties, found: DatabaseSecrets
) -> FirstCreation:
    """What is recorded, or a new record made before any account is; a later run finds the record.

    Application accounts without a record were made by somebody else and may be in service: their locks are
    never touched, so the creation counts as complete.
    """
    recorded = _recorded(session, properties)
    if recorded is not None:
        return recorded
    states = accounts.account_states(session, server, found.application_usernames)
    absent = all(state is AccountState.ABSENT for state in states.values())
    phase = Phase.CREATING if absent else Phase.COMPLETE
    session.execute(
        "INSERT INTO bootstrap (environment, phase, writer_at_creation) VALUES (%s, %s, %s)",
        properties.environment,
        phase.value,
        properties.writer_at_creation,
    )
    return FirstCreation(phase=phase, writer_at_creation=properties.writer_at_creation)


def _make_pair(
    session: Session,
    server: Server,
    secret: DatabaseSecret,
    *,
    grants: Sequence[Grant],
    locked: bool,
    make_password: Callable[[], str],
) -> None:
    """Create what is missing, and grant. The other account gets a password that nobody knows: the first rotation
    gives it one that the secret holds.
    """
    states = accounts.account_states(session, server, usernames(secret))
    for username, state in states.items():
        if state is AccountState.ABSENT:
            password = secret.password if username == secret.username else make_password()
            accounts.create_account(session, username, password, locked=locked)
            log.info("account created", extra=fields(account=username, locked=locked))
        accounts.give(session, username, grants)


def _ensure_password(session: Session, secret: DatabaseSecret, *, connect: Connect, deadline: Deadline) -> None:
    """The current account admits the secret's password, also when the secret was made anew meanwhile."""
    try:
        connect(secret, deadline=deadline).close()
    except AccountLockedError:
        # The password was right: the engines look at the lock after it.
        pass
    except AccessDeniedError:
        log.warning("the secret's password was refused and is set", extra=fields(account=secret.username))
        accounts.set_password(session, secret.username, secret.password)


def _set_binlog_retention(session: Session, server: Server, *, hours: int) -> str:
    """Keep the binary log long enough for DMS to resume; which way the server offers."""
    if SET_CONFIGURATION in server.procedures:
        adapter = f"mysql.{SET_CONFIGURATION}"
        session.execute(f"CALL mysql.{SET_CONFIGURATION}('binlog retention hours', %s)", hours)
    else:
        # Outside RDS there is no such procedure; the variable lasts until the server restarts.
        adapter = "binlog_expire_logs_seconds"
        session.execute("SET GLOBAL binlog_expire_logs_seconds = %s", hours * 3600)
    log.info("binary log retention set", extra=fields(adapter=adapter, hours=hours))
    return adapter


def _end_first_creation(
    session: Session, properties: BootstrapProperties, found: DatabaseSecrets, first_creation: FirstCreation
) -> str:
    """Unlock the first writer's accounts, once, and record that the creation is complete; what was done."""
    if first_creation.phase is Phase.COMPLETE:
        return "complete before; no lock changed"
    unlock = first_creation.writer_at_creation and not _switched_before(session)
    if unlock:
        for username in found.application_usernames:
            accounts.unlock_account(session, username)
    session.execute(
        "UPDATE bootstrap SET phase = %s, completed_at = UTC_TIMESTAMP(6) WHERE environment = %s",
        Phase.COMPLETE.value,
        properties.environment,
    )
    return "completed; application accounts unlocked" if unlock else "completed; application accounts as created"


def _switched_before(session: Session) -> bool:
    """Whether the writer was ever switched: then the locks are not ours, even if our record is not complete."""
    return bool(session.query("SELECT 1 FROM marker LIMIT 1"))


def _recorded(session: Session, properties: BootstrapProperties) -> FirstCreation | None:
    rows = session.query(
        "SELECT phase, writer_at_creation FROM bootstrap WHERE environment = %s",
        properties.environment,
    )
    if not rows:
        return None
    [(phase, writer)] = rows
    return FirstCreation(phase=Phase(phase), writer_at_creation=bool(writer))
