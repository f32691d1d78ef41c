"""A session as the admin account of a database, also in the middle of the admin secret's own rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from database_access.credentials import DatabaseSecret
from database_access.deadline import Deadline
from database_access.errors import AccessDeniedError, DatabaseAccessError
from database_access.secret_store import PENDING, SecretVersionMissingError, read_secret
from database_access.session import Connect, Session

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient


def open_as_admin(
    connect: Connect, secrets_manager: SecretsManagerClient, admin: DatabaseSecret, *, arn: str, deadline: Deadline
) -> Session:
    """Log in with the current version, and with the pending one when that is refused.

    Between the rotation's setSecret and finishSecret the database has the pending password already.

    Args:
        admin: The current version of the secret.
        arn: The secret.

    Raises:
        AccessDeniedError: Neither is admitted.
        DatabaseAccessError: The database cannot be reached.
    """
    try:
        return connect(admin, deadline=deadline)
    except AccessDeniedError as error:
        denied: DatabaseAccessError = error
    try:
        pending = read_secret(secrets_manager, arn, pair=False, stage=PENDING)
        return connect(pending, deadline=deadline)
    except (AccessDeniedError, SecretVersionMissingError):
        raise denied from None
