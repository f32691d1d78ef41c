"""Reading database secrets from Secrets Manager, with what went wrong said in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from database_access.credentials import DatabaseSecret
from database_access.errors import DatabaseAccessError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

CURRENT: Final = "AWSCURRENT"
PENDING: Final = "AWSPENDING"
PREVIOUS: Final = "AWSPREVIOUS"


class SecretUnavailableError(DatabaseAccessError):
    """Secrets Manager does not give the value out; the message names the secret, the version and the reason."""


class SecretVersionMissingError(SecretUnavailableError):
    """The secret has no version with that stage or id, or the version has no value yet."""


def read_secret(
    secrets_manager: SecretsManagerClient, arn: str, *, pair: bool, stage: str = CURRENT, version_id: str = ""
) -> DatabaseSecret:
    """The value of the version with the stage, and with the id when one is given.

    Raises:
        SecretVersionMissingError: There is no such version, or it has no value yet.
        SecretUnavailableError: Secrets Manager refuses or does not answer.
        SecretFormatError: The value is not what a database secret must be.
    """
    which = f"{arn} ({stage}{f' {version_id}' if version_id else ''})"
    try:
        if version_id:
            response = secrets_manager.get_secret_value(SecretId=arn, VersionStage=stage, VersionId=version_id)
        else:
            response = secrets_manager.get_secret_value(SecretId=arn, VersionStage=stage)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            raise SecretVersionMissingError(f"secret {which}: {error.response['Error']['Message']}") from None
        raise SecretUnavailableError(f"secret {which}: cannot be read: {error}") from None
    except BotoCoreError as error:
        raise SecretUnavailableError(f"secret {which}: cannot be read: {error}") from None
    return DatabaseSecret.parse(response.get("SecretString", ""), name=which, pair=pair)
