"""The function behind the custom resource as Lambda runs it: environment, real clients, real server, real answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from database_bootstrap import handler
from database_bootstrap.handler import lambda_handler
from tests.support.account_database import APPLICATION, REPLICATION, AccountDatabase
from tests.support.answer_receiver import Receiver, answer_receiver
from tests.support.local_aws import LocalAws

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Context:
    seconds: float = 60.0

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


@dataclass
class Deployment:
    """A stack that is being deployed."""

    receiver: Receiver
    aws: LocalAws
    database: AccountDatabase
    properties: dict[str, Any]

    def deploy(self, request_type: str = "Create", *, seconds: float = 60.0, **changes: object) -> dict[str, Any]:
        """Invoke the function; the answer that CloudFormation gets."""
        event = self.receiver.event(request_type, **{**self.properties, **changes})
        lambda_handler(event, Context(seconds))
        return self.receiver.answers[-1]

    def secret(self, **changes: object) -> str:
        return self.aws.create_secret({**self.database.pair_document(APPLICATION), **changes})


@pytest.fixture
def deployment(
    blue: AccountDatabase, aws: LocalAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Deployment]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    monkeypatch.setenv("DATABASE_CA_PATH", str(blue.server.ca_path))
    # As the stack stages it.
    for source, name in (
        (PROJECT / "lambda" / "database_bootstrap" / "schema" / "control.sql", "control.sql"),
        (PROJECT / "service" / "payment_service" / "schema.sql", "payments.sql"),
    ):
        (tmp_path / name).write_text(source.read_text())
    monkeypatch.setattr(handler, "SCHEMA_FOLDER", tmp_path)
    with answer_receiver() as receiver:
        yield Deployment(
            receiver=receiver,
            aws=aws,
            database=blue,
            properties={
                "Environment": "blue",
                "AdminSecretArn": aws.create_secret(blue.admin_document()),
                "ApplicationSecretArn": aws.create_secret(blue.pair_document(APPLICATION)),
                "ReplicationSecretArn": aws.create_secret(blue.pair_document(REPLICATION)),
                "WriterAtCreation": "true",
                "BinlogRetentionHours": "168",
                "PaymentSchema": "payments",
                "ControlSchema": "blue_green_control",
                "LoopbackSchemas": ["loopback_blue_green"],
                "Revision": "1",
            },
        )


def test_create_makes_the_database_ready_and_says_how(deployment: Deployment) -> None:
    answer = deployment.deploy()
    assert answer["Status"] == "SUCCESS", answer["Reason"]
    assert answer["PhysicalResourceId"] == "database-bootstrap-Bootstrapped"
    data = dict(answer["Data"])
    assert data.pop("Version").startswith("1")
    assert data == {
        "Engine": "mariadb",
        "BinlogRetentionAdapter": "binlog_expire_logs_seconds",
        "FirstCreation": "completed; application accounts unlocked",
        "ApplicationAccounts": "payments_app_a unlocked, payments_app_b unlocked",
    }


def test_update_runs_again(deployment: Deployment) -> None:
    deployment.deploy()
    answer = deployment.deploy("Update", Revision="2")
    assert (answer["Status"], answer["Data"]["FirstCreation"]) == ("SUCCESS", "complete before; no lock changed")


def test_delete_leaves_data_and_accounts(deployment: Deployment) -> None:
    deployment.deploy()
    deployment.database.server.query("INSERT INTO payments.balances VALUES ('a', 'EUR', 1)")
    answer = deployment.deploy("Delete")
    assert answer["Status"] == "SUCCESS"
    assert deployment.database.server.query("SELECT amount FROM payments.balances")
    assert deployment.database.lock_states() == {"payments_app_a": "unlocked", "payments_app_b": "unlocked"}


def test_delete_succeeds_although_nothing_else_would(deployment: Deployment) -> None:
    """Or a stack that could not be created could not be deleted either."""
    assert deployment.deploy("Delete", WriterAtCreation="maybe")["Status"] == "SUCCESS"


def failure(deployment: Deployment, **changes: object) -> str:
    answer = deployment.deploy(**changes)  # type: ignore[arg-type]
    assert answer["Status"] == "FAILED"
    return str(answer["Reason"])


def test_wrong_properties_are_answered_with_what_is_allowed(deployment: Deployment) -> None:
    assert failure(deployment, WriterAtCreation="maybe", Surprise="x") == (
        "PropertiesError: Surprise is not known; known are AdminSecretArn, ApplicationSecretArn, BinlogRetentionHours, "
        "ControlSchema, Environment, LoopbackSchemas, PaymentSchema, ReplicationSecretArn, Revision, WriterAtCreation; "
        "WriterAtCreation must be true or false, got 'maybe'"
    )


def test_a_secret_that_lacks_a_key_is_answered_with_the_key(deployment: Deployment) -> None:
    document = deployment.database.pair_document(APPLICATION)
    del document["host"], document["port"]
    arn = deployment.aws.create_secret(document)
    assert failure(deployment, ApplicationSecretArn=arn) == (
        f"SecretFormatError: secret {arn} (AWSCURRENT): lacks host, port"
    )


def test_a_secret_that_is_no_json_is_answered_without_its_content(deployment: Deployment) -> None:
    arn = deployment.aws.create_secret("top-secret-password")
    assert failure(deployment, AdminSecretArn=arn) == (
        f"SecretFormatError: secret {arn} (AWSCURRENT): is not a JSON object"
    )


def test_a_secret_that_does_not_exist_is_named(deployment: Deployment) -> None:
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:none-AbCdEf"
    assert failure(deployment, AdminSecretArn=arn).startswith(f"SecretVersionMissingError: secret {arn} (AWSCURRENT)")


def test_a_certificate_of_another_authority_is_not_trusted(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_CA_PATH", str(PROJECT / "service" / "certificates" / "rds-us-east-1.pem"))
    assert "CertificateRefusedError" in failure(deployment)


def test_a_host_name_that_the_certificate_does_not_have_is_not_trusted(deployment: Deployment) -> None:
    """127.0.0.2 reaches the same machine; the server listens on 127.0.0.1 and a listener in between passes it on."""
    with _forwarding_from("127.0.0.2", deployment.database.server.port):
        document = {**deployment.database.admin_document(), "host": "127.0.0.2"}
        arns = {
            "AdminSecretArn": deployment.aws.create_secret(document),
            "ApplicationSecretArn": deployment.secret(host="127.0.0.2"),
            "ReplicationSecretArn": deployment.aws.create_secret(
                {**deployment.database.pair_document(REPLICATION), "host": "127.0.0.2"}
            ),
        }
        assert "the host must be the cluster's endpoint" in failure(deployment, **arns)


def test_a_missing_file_of_authorities_is_named(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_CA_PATH", "/nowhere/ca.pem")
    assert "DATABASE_CA_PATH: /nowhere/ca.pem must be a file of PEM certificates" in failure(deployment)


def test_a_variable_that_is_not_set_is_named(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_CA_PATH")
    assert failure(deployment).startswith("SettingsError: DATABASE_CA_PATH must name")


def test_a_database_that_accepts_and_never_speaks_is_answered_in_time(deployment: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        changes: dict[str, Any] = {"port": silent.getsockname()[1]}
        arns = {
            "AdminSecretArn": deployment.aws.create_secret({**deployment.database.admin_document(), **changes}),
            "ApplicationSecretArn": deployment.secret(**changes),
            "ReplicationSecretArn": deployment.aws.create_secret(
                {**deployment.database.pair_document(REPLICATION), **changes}
            ),
        }
        begun = time.monotonic()
        reason = failure(deployment, seconds=6.0, **arns)
        assert time.monotonic() - begun < 6.0
    assert "cannot be reached" in reason or "time was nearly over" in reason


class _forwarding_from:  # noqa: N801 - a context manager, named as it reads
    """Passes connections to another loopback address on to the server."""

    def __init__(self, host: str, port: int) -> None:
        self._listener = socket.create_server((host, port))
        self._port = port

    def __enter__(self) -> None:
        Thread(target=self._serve, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        from contextlib import suppress

        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                for source, target in ((client, server), (server, client)):
                    Thread(target=self._copy, args=(source, target), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
