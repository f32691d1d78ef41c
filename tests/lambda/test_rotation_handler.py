"""The rotation function as Lambda runs it: environment, real clients, real server, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from secret_rotation.errors import RotationDeferredError, RotationError
from secret_rotation.handler import lambda_handler
from tests.support.account_database import APPLICATION, REPLICATION, AccountDatabase
from tests.support.local_aws import LocalAws
from tests.support.secrecy import overheard_errors

pytestmark = pytest.mark.slow

STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


@dataclass
class Context:
    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@dataclass
class Deployed:
    aws: LocalAws
    database: AccountDatabase
    arns: dict[str, str]
    table_name: str

    def invoke(self, event: dict[str, Any]) -> dict[str, str]:
        with overheard_errors():
            return dict(lambda_handler(event, Context(str(uuid4()))))

    def event(self, name: str, step: str, version_id: str) -> dict[str, Any]:
        return {"Step": step, "SecretId": self.arns[name], "ClientRequestToken": version_id}

    def passwords(self) -> set[str]:
        """Of every version of every secret."""
        found = set()
        for arn in self.arns.values():
            versions = self.aws.secrets_manager().list_secret_version_ids(SecretId=arn, IncludeDeprecated=True)
            for version in versions["Versions"]:
                value = self.aws.secrets_manager().get_secret_value(SecretId=arn, VersionId=version["VersionId"])
                found.add(str(json.loads(value["SecretString"])["password"]))
        return found


@pytest.fixture
def deployed(blue: AccountDatabase, aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    documents = {
        "admin": blue.admin_document(),
        "application": blue.pair_document(APPLICATION),
        "replication": blue.pair_document(REPLICATION),
    }
    blue.create_pair(documents["application"], locked=False)
    blue.create_pair(documents["replication"], locked=False)
    arns = {name: aws.create_secret(document) for name, document in documents.items()}
    table_name = aws.create_state_table()
    for name, value in {
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        **{f"{kind.upper()}_SECRET_ARN": arn for kind, arn in arns.items()},
        "STATE_TABLE_NAME": table_name,
        "REPLICATION_TASK_ARNS": "[]",
        "DATABASE_CA_PATH": str(blue.server.ca_path),
    }.items():
        monkeypatch.setenv(name, value)
    yield Deployed(aws=aws, database=blue, arns=arns, table_name=table_name)
    aws.dynamodb().delete_table(TableName=table_name)


@pytest.mark.parametrize("name", ["admin", "application", "replication"])
def test_a_rotation_prints_json_lines_without_any_password(
    deployed: Deployed, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    version_id = deployed.aws.begin_rotation(deployed.arns[name])
    capsys.readouterr()
    for step in STEPS:
        deployed.invoke(deployed.event(name, step, version_id))
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line["step"] for line in lines if line["message"] == "rotation step done"] == list(STEPS)
    passwords = deployed.passwords()
    assert len(passwords) == 4
    assert not any(password in printed.out + printed.err for password in passwords)


def test_a_failure_is_one_error_without_a_chain(deployed: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    version_id = deployed.aws.begin_rotation(deployed.arns["application"])
    deployed.invoke(deployed.event("application", "createSecret", version_id))
    with pytest.raises(RotationError, match=r"^AccessDeniedError: .* payments_app_b is not admitted") as raised:
        deployed.invoke(deployed.event("application", "testSecret", version_id))
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    printed = capsys.readouterr()
    assert not any(password in printed.out + printed.err for password in deployed.passwords())


def test_a_deferral_is_an_error_to_secrets_manager_and_a_warning_in_the_log(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    version_id = deployed.aws.begin_rotation(deployed.arns["application"])
    deployed.aws.hold_lease(deployed.table_name, expires_at=2**40)
    capsys.readouterr()
    with pytest.raises(RotationDeferredError, match="cutover cutover-7 holds the lease until"):
        deployed.invoke(deployed.event("application", "createSecret", version_id))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [line] = [line for line in lines if line["logger"] == "secret_rotation.handler"]
    assert (line["level"], line["message"], line["step"]) == ("WARNING", "rotation deferred", "createSecret")


def test_an_unknown_step_is_refused_with_those_that_are_known(deployed: Deployed) -> None:
    with pytest.raises(RotationError, match="Step must be createSecret, setSecret, testSecret, finishSecret or"):
        deployed.invoke(deployed.event("admin", "burnSecret", str(uuid4())))


def test_an_event_of_somebody_else_is_refused(deployed: Deployed) -> None:
    with pytest.raises(RotationError, match="not a request of Secrets Manager"):
        deployed.invoke({"source": "aws.events"})


def test_the_schedule_reports_what_it_found(deployed: Deployed) -> None:
    assert deployed.invoke({"Step": "resumeUnfinished"}) == dict.fromkeys(
        ("admin", "application", "replication"), "nothing unfinished"
    )


def test_the_schedule_fails_with_every_reason(deployed: Deployed) -> None:
    deployed.aws.begin_rotation(deployed.arns["application"])
    deployed.database.server.query("DROP USER 'payments_app_a'@'%'")
    with pytest.raises(RotationError, match=r"ExceptionGroup: AccountMismatchError: .* account payments_app_a"):
        deployed.invoke({"Step": "resumeUnfinished"})
