"""Whether a rotation of the databases' secrets is due or under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

CURRENT: Final = "AWSCURRENT"
PENDING: Final = "AWSPENDING"


class RotationUnreadableError(Exception):
    """Secrets Manager could not be asked; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """Rotation of one secret.

    Attributes:
        secret: its ARN.
        under_way: a new version waits to become the current one.
        next_at: when it is due, epoch seconds; None when it is not scheduled.
    """

    secret: str
    under_way: bool
    next_at: float | None


def read_rotations(secrets_manager: SecretsManagerClient, secrets: Sequence[str]) -> tuple[Rotation, ...]:
    """The rotations of ``secrets`` (ARNs).

    Raises:
        RotationUnreadableError: see there.
    """
    found = []
    for arn in secrets:
        try:
            secret = secrets_manager.describe_secret(SecretId=arn)
        except (ClientError, BotoCoreError) as error:
            raise RotationUnreadableError(f"secret {arn} cannot be described: {error}") from None
        stages = secret.get("VersionIdsToStages", {}).values()
        due = secret.get("NextRotationDate")
        found.append(
            Rotation(
                secret=arn,
                under_way=any(PENDING in labels and CURRENT not in labels for labels in stages),
                next_at=due.timestamp() if due else None,
            )
        )
    return tuple(found)
