"""Credentials come from a real Secrets Manager API, are remembered for a while, and outlive its failure."""

from __future__ import annotations

import asyncio
import socket
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config

from payment_service.credentials import Credentials, CredentialsError, SecretCredentials, parse_secret
from rehearsal.data_plane import LocalSecretsManager

SECRET: dict[str, str | int] = {
    "engine": "mysql",
    "host": "blue.example",
    "port": 3306,
    "username": "payments_app_a",
    "password": "first",
    "alternate_username": "payments_app_b",
    "dbClusterIdentifier": "blue",
}


@pytest.fixture
def name(secrets_manager: LocalSecretsManager) -> str:
    name = f"test/{uuid4()}"
    secrets_manager.put(name, SECRET)
    return name


def test_the_secret_is_read_once_for_a_burst_of_connections(secrets_manager: LocalSecretsManager, name: str) -> None:
    credentials = SecretCredentials(client=secrets_manager.client, secret_arn=name)
    calls = []
    secrets_manager.client.meta.events.register("before-call.*.GetSecretValue", lambda **_: calls.append(1))

    async def burst() -> list[Credentials]:
        return await asyncio.gather(*(credentials.current() for _ in range(20)))

    assert {c.username for c in asyncio.run(burst())} == {"payments_app_a"}
    assert len(calls) == 1


def test_a_new_value_is_seen_by_reading_again(secrets_manager: LocalSecretsManager, name: str) -> None:
    credentials = SecretCredentials(client=secrets_manager.client, secret_arn=name)

    async def rotate() -> tuple[str, str, str]:
        first = await credentials.current()
        secrets_manager.put(name, {**SECRET, "password": "second"})
        remembered = await credentials.current()
        await asyncio.sleep(1.05)  # a secret is read again once in a second at most
        return first.password, remembered.password, (await credentials.reread()).password

    assert asyncio.run(rotate()) == ("first", "first", "second")


def test_remembered_credentials_outlive_a_failure_of_secrets_manager(
    secrets_manager: LocalSecretsManager, name: str
) -> None:
    credentials = SecretCredentials(client=secrets_manager.client, secret_arn=name)

    async def fail() -> str:
        await credentials.current()
        secrets_manager.client.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        await asyncio.sleep(1.05)
        return (await credentials.reread()).password

    assert asyncio.run(fail()) == "first"


def test_a_failure_is_not_repeated_at_the_pace_of_the_prober(secrets_manager: LocalSecretsManager) -> None:
    credentials = SecretCredentials(client=secrets_manager.client, secret_arn="test/nothing")
    calls = []
    secrets_manager.client.meta.events.register("before-call.*.GetSecretValue", lambda **_: calls.append(1))

    async def ask_often() -> None:
        for _ in range(20):
            with pytest.raises(CredentialsError):
                await credentials.current()

    asyncio.run(ask_often())

    assert len(calls) == 1


def test_a_secret_without_a_string_is_told(secrets_manager: LocalSecretsManager) -> None:
    name = f"test/{uuid4()}"
    secrets_manager.client.create_secret(Name=name, SecretBinary=b"{}")

    with pytest.raises(CredentialsError, match=f"the secret {name} holds no string"):
        asyncio.run(SecretCredentials(client=secrets_manager.client, secret_arn=name).current())


def test_a_secret_that_does_not_exist_is_named(secrets_manager: LocalSecretsManager) -> None:
    credentials = SecretCredentials(client=secrets_manager.client, secret_arn="test/nothing")

    with pytest.raises(CredentialsError, match="does not give the secret test/nothing: ResourceNotFoundException"):
        asyncio.run(credentials.current())


def test_an_unreachable_secrets_manager_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        client = boto3.client(
            "secretsmanager",
            endpoint_url=f"http://127.0.0.1:{taken.getsockname()[1]}",
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}),
        )
        credentials = SecretCredentials(client=client, secret_arn="test/blue")

        with pytest.raises(CredentialsError, match="cannot be reached for test/blue: EndpointConnectionError"):
            asyncio.run(credentials.current())


def test_a_port_may_be_a_number_or_its_digits() -> None:
    ports = {
        parse_secret(f'{{"host": "h", "port": {port}, "username": "u", "password": "p"}}', secret_arn="x").port
        for port in ("3306", '"3306"')
    }

    assert ports == {3306}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the secret x is not a JSON object"),
        ("[1]", "the secret x is not a JSON object"),
        ('{"port": 1, "username": "u", "password": "p"}', "the secret x needs the key host: a string"),
        ('{"host": "h", "port": 1, "username": "", "password": "p"}', "the secret x needs the key username"),
        ('{"host": "h", "port": 1, "username": "u", "password": 7}', "the secret x needs the key password"),
        ('{"host": "h", "username": "u", "password": "p"}', "the secret x needs the key port: a number from 1"),
        ('{"host": "h", "port": 0, "username": "u", "password": "p"}', "the secret x needs the key port"),
        ('{"host": "h", "port": 65536, "username": "u", "password": "p"}', "the secret x needs the key port"),
        ('{"host": "h", "port": "٣", "username": "u", "password": "p"}', "the secret x needs the key port"),
    ],
)
def test_a_wrong_secret_is_told_by_its_key(text: str, message: str) -> None:
    with pytest.raises(CredentialsError, match=message):
        parse_secret(text, secret_arn="x")


def test_a_password_is_not_shown() -> None:
    shown = repr(Credentials(host="h", port=1, username="u", password="very-secret"))

    assert "very-secret" not in shown
