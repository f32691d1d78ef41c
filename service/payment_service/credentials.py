"""The credentials of one database, from Secrets Manager, read when a connection is made."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

# Connections are made in bursts, and a rotated pair keeps its old password for a whole rotation period.
CACHE_SECONDS = 30.0
# After a refusal the secret is read again, but a wrong secret must not become a storm of requests.
REREAD_SECONDS = 1.0
ANSWER_SECONDS = 3.0


class CredentialsError(Exception):
    """The secret cannot be read, or is not the secret of a database; the message names it and what is
    wrong."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Where a database is, and the account that the service has in it."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)


class SecretCredentials:
    """Reads one secret, at most once at a time, and remembers it for CACHE_SECONDS.

    When Secrets Manager does not answer, the remembered credentials are used however old they are: a database
    that still takes them is better than no payment.
    """

    def __init__(self, *, client: SecretsManagerClient, secret_arn: str) -> None:
        self._client = client
        self._secret_arn = secret_arn
        self._known: Credentials | None = None
        self._failure: CredentialsError | None = None
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def current(self) -> Credentials:
        """Credentials that are at most CACHE_SECONDS old, if Secrets Manager can be had.

        Raises:
            CredentialsError: There are none.
        """
        return await self._read(older_than_seconds=CACHE_SECONDS)

    async def reread(self) -> Credentials:
        """Credentials read just now (within REREAD_SECONDS), because the database refused the current ones.

        Raises:
            CredentialsError: There are none.
        """
        return await self._read(older_than_seconds=REREAD_SECONDS)

    async def _read(self, *, older_than_seconds: float) -> Credentials:
        async with self._reading:
            age_seconds = time.monotonic() - self._read_at
            if self._known is not None and age_seconds < older_than_seconds:
                return self._known
            # A failure is remembered, too, so that it is not repeated at the pace of the prober.
            if self._failure is None or age_seconds >= REREAD_SECONDS:
                try:
                    self._known, self._failure = await self._fetch(), None
                except CredentialsError as error:
                    self._failure = error
                self._read_at = time.monotonic()
            if self._known is not None:
                return self._known
            assert self._failure is not None
            raise self._failure

    async def _fetch(self) -> Credentials:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await asyncio.to_thread(self._client.get_secret_value, SecretId=self._secret_arn)
        except ClientError as error:
            reason = error.response.get("Error", {}).get("Code", "unknown error")
            raise CredentialsError(f"Secrets Manager does not give the secret {self._secret_arn}: {reason}") from None
        except (BotoCoreError, TimeoutError) as error:
            raise CredentialsError(
                f"Secrets Manager cannot be reached for {self._secret_arn}: {type(error).__name__}"
            ) from None
        if "SecretString" not in answer:
            raise CredentialsError(f"the secret {self._secret_arn} holds no string")
        return parse_secret(answer["SecretString"], secret_arn=self._secret_arn)


def parse_secret(text: str, *, secret_arn: str) -> Credentials:
    """The credentials in the form that RDS attaches to a secret; further keys are ignored.

    Raises:
        CredentialsError: A key is missing or has a wrong value. Values are not repeated.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CredentialsError(f"the secret {secret_arn} is not a JSON object")
    for key in ("host", "username", "password"):
        if not isinstance(found.get(key), str) or not found[key]:
            raise CredentialsError(f"the secret {secret_arn} needs the key {key}: a string that is not empty")
    port = str(found.get("port", ""))
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise CredentialsError(f"the secret {secret_arn} needs the key port: a number from 1 to 65535")
    return Credentials(host=found["host"], port=int(port), username=found["username"], password=found["password"])
