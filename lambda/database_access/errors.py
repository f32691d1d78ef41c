"""What can go wrong on the way to a database; each message is fit for a log and holds no secret."""

from __future__ import annotations


class DatabaseAccessError(Exception):
    """The common base: a message for the reader of a log, without secrets."""


class SecretFormatError(DatabaseAccessError):
    """A secret that lacks what the functions need; the message names the keys, never the password."""


class InvalidNameError(DatabaseAccessError):
    """A schema or account name that cannot be used as it stands."""


class DatabaseUnreachableError(DatabaseAccessError):
    """No answer, or none that lets a session begin; trying again may help."""


class CertificateRefusedError(DatabaseAccessError):
    """The server's certificate is not of the trusted authorities or names another host; never retried."""


class AccessDeniedError(DatabaseAccessError):
    """The server does not admit this account with this password (1045)."""


class AccountLockedError(DatabaseAccessError):
    """The password was right and the account is locked (MySQL 3118, MariaDB 4151).

    Both engines look at the lock after the authentication, so that a locked account with a wrong password
    is answered 1045, not this.
    """


class StatementError(DatabaseAccessError):
    """The server refused a statement.

    Attributes:
        code: The server's error number.
    """

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


class SessionLostError(DatabaseAccessError):
    """The connection broke during a statement, whose fate is unknown."""


class LockNotAvailableError(DatabaseAccessError):
    """Somebody else holds the lock that admits one controller to a database."""
