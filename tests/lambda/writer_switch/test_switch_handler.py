"""The function as Lambda calls it: with secrets, the lease, and an event."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from database_access.deadline import Deadline
from tests.support.local_aws import LocalAws
from tests.support.writer_world import ADMIN, World
from writer_switch import handler
from writer_switch.handler import FIND_WRITER, lambda_handler
from writer_switch.request import HandlerSettings, SwitchRequestError

pytestmark = pytest.mark.slow

EVENT = {"cutover_id": "cutover-7", "from": "blue", "to": "green", "drain_timeout_seconds": 3}

Invoke = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def table_name(aws: LocalAws) -> str:
    return aws.create_state_table()


@pytest.fixture
def settings(aws: LocalAws, world: World, table_name: str) -> HandlerSettings:
    databases = {
        name: {f"{role}_secret_arn": aws.create_secret(document) for role, document in documents.items()}
        for name, documents in world.documents.items()
    }
    return HandlerSettings.parse(
        {
            "WRITER_SWITCH_DATABASES": json.dumps(databases),
            "CHAIN": json.dumps(world.names),
            "STATE_TABLE_NAME": table_name,
            "DATABASE_CA_PATH": str(world.chain.ca_path),
        }
    )


@pytest.fixture
def invoke(aws: LocalAws, world: World, settings: HandlerSettings) -> Invoke:
    def invoke(event: dict[str, Any]) -> dict[str, Any]:
        answer = handler.run(
            event,
            settings=settings,
            secrets_manager=aws.secrets_manager(),
            dynamodb=aws.dynamodb(),
            connect=world.connect,
            deadline=Deadline.after(60),
        )
        return dict(json.loads(json.dumps(answer)))

    return invoke


def test_the_cutover_that_holds_the_lease_switches(
    aws: LocalAws, table_name: str, invoke: Invoke, world: World
) -> None:
    aws.hold_lease(table_name, expires_at=time.time() + 300)
    answer = invoke(EVENT)
    assert (answer["result"], answer["writer"], answer["page"]) == ("switched", "green", False)
    assert world.admitting() == ["green"]


def test_without_a_lease_nothing_is_changed(invoke: Invoke, world: World) -> None:
    answer = invoke(EVENT)
    assert answer["result"] == "refused"
    assert "no cutover holds the lease" in answer["reason"]
    assert world.admitting() == ["blue"]


def test_the_lease_of_another_cutover_does_not_count(
    aws: LocalAws, table_name: str, invoke: Invoke, world: World
) -> None:
    aws.hold_lease(table_name, expires_at=time.time() + 300)
    answer = invoke({**EVENT, "cutover_id": "cutover-8"})
    assert "cutover cutover-7 of state machine has the lease, not cutover-8" in answer["reason"]
    assert world.admitting() == ["blue"]


def test_a_lease_that_may_end_before_the_run_does_not_count(
    aws: LocalAws, table_name: str, invoke: Invoke, world: World
) -> None:
    aws.hold_lease(table_name, expires_at=time.time() + 30)
    answer = invoke(EVENT)
    assert "renew it first" in answer["reason"]
    assert world.admitting() == ["blue"]


def test_a_dry_run_needs_no_lease_and_says_that_it_is_missing(invoke: Invoke) -> None:
    answer = invoke({**EVENT, "dry_run": True})
    assert answer["result"] == "would switch", answer["reason"]
    [authorization] = [check for check in answer["checks"] if check["name"] == "authorization"]
    assert (authorization["passed"], "no cutover holds the lease" in authorization["finding"]) == (None, True)


def test_the_writer_is_said(invoke: Invoke) -> None:
    answer = invoke({"operation": FIND_WRITER})
    assert (answer["verdict"], answer["writer"], answer["certain"]) == ("one", "blue", True)
    assert answer["databases"] == {"blue": "unlocked", "green": "locked"}


def test_a_secret_that_cannot_be_read_makes_its_database_unreachable(
    aws: LocalAws, settings: HandlerSettings, table_name: str, invoke: Invoke, world: World
) -> None:
    aws.secrets_manager().delete_secret(
        SecretId=settings.secret_arns["green"].application, ForceDeleteWithoutRecovery=True
    )
    aws.hold_lease(table_name, expires_at=time.time() + 300)
    answer = invoke(EVENT)
    assert (answer["result"], answer["page"]) == ("unreachable", True)
    assert settings.secret_arns["green"].application in answer["reason"]
    assert world.admitting() == ["blue"]


def test_an_admin_rotation_that_waits_for_the_end_of_the_cutover_does_not_hinder_the_switch(
    aws: LocalAws, settings: HandlerSettings, table_name: str, invoke: Invoke, world: World
) -> None:
    pending = {**world.documents["blue"]["admin"], "password": "the-next-password-that-blue-has-already-got"}
    aws.secrets_manager().put_secret_value(
        SecretId=settings.secret_arns["blue"].admin, SecretString=json.dumps(pending), VersionStages=["AWSPENDING"]
    )
    world.chain["blue"].execute_unlogged([f"ALTER USER '{ADMIN}'@'%' IDENTIFIED BY '{pending['password']}'"])
    aws.hold_lease(table_name, expires_at=time.time() + 300)
    answer = invoke(EVENT)
    assert answer["result"] == "switched", answer["reason"]


def test_a_wrong_event_is_refused_in_one_line(invoke: Invoke) -> None:
    with pytest.raises(SwitchRequestError, match="to must be one of blue, green, got 'legacy'"):
        invoke({**EVENT, "to": "legacy"})


def test_no_password_is_in_what_is_logged_or_answered(
    aws: LocalAws,
    world: World,
    settings: HandlerSettings,
    table_name: str,
    invoke: Invoke,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = {**world.documents["green"]["admin"], "password": "a-password-that-green-does-not-know"}
    aws.secrets_manager().put_secret_value(SecretId=settings.secret_arns["green"].admin, SecretString=json.dumps(wrong))
    aws.hold_lease(table_name, expires_at=time.time() + 300)
    caplog.set_level("INFO", logger="writer_switch")
    said = json.dumps(invoke(EVENT))
    said += "".join(str(record.__dict__) for record in caplog.records if record.name.startswith("writer_switch"))
    assert "payments_admin is not admitted" in said
    documents = [wrong, *(document for pair in world.documents.values() for document in pair.values())]
    passwords = {str(document["password"]) for document in documents}
    assert not [password for password in passwords if password in said]


def test_lambda_reads_its_environment_and_answers(
    aws: LocalAws,
    table_name: str,
    settings: HandlerSettings,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Context:
        def get_remaining_time_in_millis(self) -> int:
            return 60_000

    databases = {
        name: {"admin_secret_arn": arns.admin, "application_secret_arn": arns.application}
        for name, arns in settings.secret_arns.items()
    }
    for name, value in {
        "WRITER_SWITCH_DATABASES": json.dumps(databases),
        "CHAIN": json.dumps(settings.chain),
        "STATE_TABLE_NAME": table_name,
        "DATABASE_CA_PATH": str(settings.database_ca_path),
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }.items():
        monkeypatch.setenv(name, value)
    aws.hold_lease(table_name, expires_at=time.time() + 300)
    assert lambda_handler(EVENT, Context())["writer"] == "green"
