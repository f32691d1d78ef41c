"""Accounts: whether they exist, whether they are locked, and the statements that change them.

Each function is one statement, or one question, and can be repeated. A lock keeps new sessions out and leaves the
open ones alone; ending those is the business of ``sessions``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum

from database_access.grants import Grant, parse_grants
from database_access.names import account
from database_access.server import Server
from database_access.session import Session


class AccountState(Enum):
    """What an account is to a client that has its password."""

    ABSENT = "absent"
    LOCKED = "locked"
    UNLOCKED = "unlocked"


def account_states(session: Session, server: Server, usernames: Iterable[str]) -> Mapping[str, AccountState]:
    """The state of each of the accounts, read in one statement, so that they belong to one moment."""
    rows = dict(session.query(server.lock_states_query, "%"))
    states = {}
    for username in usernames:
        if username not in rows:
            states[username] = AccountState.ABSENT
        else:
            states[username] = AccountState.LOCKED if int(rows[username]) else AccountState.UNLOCKED
    return states


def create_account(session: Session, username: str, password: str, *, locked: bool) -> None:
    """Create an account without rights; in one statement, so that a locked one is never there unlocked."""
    lock = "LOCK" if locked else "UNLOCK"
    session.execute(
        f"CREATE USER IF NOT EXISTS {account(username)} IDENTIFIED BY %s REQUIRE SSL ACCOUNT {lock}", password
    )


def set_password(session: Session, username: str, password: str) -> None:
    """Give an account another password and demand TLS of it; its lock stays as it is."""
    session.execute(f"ALTER USER {account(username)} IDENTIFIED BY %s REQUIRE SSL", password)


def set_own_password(session: Session, password: str) -> None:
    """Give the session's own account another password; open sessions stay open.

    By its name: MariaDB 10.11 answers ``ALTER USER CURRENT_USER() IDENTIFIED BY`` with success and changes nothing.
    """
    [(current_user,)] = session.query("SELECT CURRENT_USER()")
    username, _, host = str(current_user).rpartition("@")
    session.execute("ALTER USER %s@%s IDENTIFIED BY %s", username, host, password)


def lock_account(session: Session, username: str) -> None:
    session.execute(f"ALTER USER {account(username)} ACCOUNT LOCK")


def unlock_account(session: Session, username: str) -> None:
    session.execute(f"ALTER USER {account(username)} ACCOUNT UNLOCK")


def grants_of(session: Session, username: str) -> frozenset[Grant]:
    """What the account is allowed, by its own grants."""
    return parse_grants(line for (line,) in session.query(f"SHOW GRANTS FOR {account(username)}"))


def give(session: Session, username: str, grants: Iterable[Grant]) -> None:
    """Grant, one statement for each scope; what is granted already stays."""
    for scope, privileges in _by_scope(grants):
        session.execute(f"GRANT {privileges} ON {scope} TO {account(username)}")


def take(session: Session, username: str, grants: Iterable[Grant]) -> None:
    """Revoke, one statement for each scope."""
    for scope, privileges in _by_scope(grants):
        session.execute(f"REVOKE {privileges} ON {scope} FROM {account(username)}")


def _by_scope(grants: Iterable[Grant]) -> list[tuple[str, str]]:
    """Each scope with its privileges, both written as a statement wants them."""
    privileges: dict[str, dict[str, None]] = {}
    for grant in grants:
        privileges.setdefault(grant.scope, {})[grant.privilege] = None
    return [(scope.replace("%", "%%"), ", ".join(names)) for scope, names in privileges.items()]
