"""What the rotation function is asked and how it is configured: every mistake has its own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secret_rotation.errors import RotationRequestError, SettingsError, VersionStageError
from secret_rotation.request import RESUME, RotationRequest, SecretKind, Settings, Step, asks_to_resume
from secret_rotation.versions import SecretVersions

TOKEN = "5f0c0d3e-9d0d-4a53-9a2e-2f0d3a1b7c11"
EVENT = {"Step": "setSecret", "SecretId": "arn:aws:secretsmanager:…:secret:app", "ClientRequestToken": TOKEN}
ENVIRONMENT = {
    "ADMIN_SECRET_ARN": "arn:admin",
    "APPLICATION_SECRET_ARN": "arn:application",
    "REPLICATION_SECRET_ARN": "arn:replication",
    "STATE_TABLE_NAME": "state",
    "REPLICATION_TASK_ARNS": '["arn:aws:dms:us-east-1:1:task:A", "arn:aws:dms:us-east-1:1:task:B"]',
    "DATABASE_CA_PATH": "/opt/certificates/rds-us-east-1.pem",
}


def test_a_step_of_secrets_manager_is_read() -> None:
    assert RotationRequest.parse({**EVENT, "RotationToken": "x"}) == RotationRequest(
        step=Step.SET, secret_arn="arn:aws:secretsmanager:…:secret:app", version_id=TOKEN
    )


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({}, "the event lacks Step, SecretId, ClientRequestToken: not a request of Secrets Manager"),
        ({**EVENT, "SecretId": None}, "the event lacks SecretId"),
        (
            {**EVENT, "Step": "dropSecret"},
            "Step must be createSecret, setSecret, testSecret, finishSecret or resumeUnfinished, got 'dropSecret'",
        ),
        ({**EVENT, "Step": RESUME}, "got 'resumeUnfinished'"),
        ({**EVENT, "ClientRequestToken": "short"}, "ClientRequestToken must be 32 to 64 letters, digits and -"),
    ],
)
def test_another_event_is_refused(event: dict[str, Any], said: str) -> None:
    with pytest.raises(RotationRequestError) as raised:
        RotationRequest.parse(event)
    assert said in str(raised.value)


def test_only_the_schedules_event_asks_to_resume() -> None:
    assert asks_to_resume({"Step": RESUME})
    assert not asks_to_resume({**EVENT, "Step": RESUME})
    assert not asks_to_resume(EVENT)


def test_settings_are_read() -> None:
    settings = Settings.parse(ENVIRONMENT)
    assert settings.replication_task_arns == ("arn:aws:dms:us-east-1:1:task:A", "arn:aws:dms:us-east-1:1:task:B")
    assert settings.database_ca_path == Path("/opt/certificates/rds-us-east-1.pem")
    assert [settings.kind_of(f"arn:{kind.value}") for kind in SecretKind] == list(SecretKind)


def test_there_may_be_no_tasks() -> None:
    assert Settings.parse({**ENVIRONMENT, "REPLICATION_TASK_ARNS": "[]"}).replication_task_arns == ()


@pytest.mark.parametrize("name", sorted(ENVIRONMENT))
@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set_is_named(name: str, value: str | None) -> None:
    environment = {key: text for key, text in ENVIRONMENT.items() if key != name}
    with pytest.raises(SettingsError, match=f"^{name} is not set$"):
        Settings.parse(environment if value is None else {**environment, name: value})


@pytest.mark.parametrize("text", ["arn:aws:dms:us-east-1:1:task:A", "{}", "[1]", '["task"]', "[", "null"])
def test_a_list_of_tasks_that_is_none_is_shown_with_what_is_allowed(text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.parse({**ENVIRONMENT, "REPLICATION_TASK_ARNS": text})
    assert str(raised.value) == (
        f"REPLICATION_TASK_ARNS must be a JSON list of ARNs of replication tasks, got {text!r}"
    )


def versions(stages: dict[str, list[str]], *, enabled: bool = True) -> SecretVersions:
    return SecretVersions.from_description({"ARN": "arn:x", "RotationEnabled": enabled, "VersionIdsToStages": stages})


def test_a_pending_version_may_be_worked_on() -> None:
    found = versions({"new": ["AWSPENDING"], "old": ["AWSCURRENT"]})
    assert found.is_already_current("new") is False
    assert (found.current, found.unfinished) == ("old", "new")


@pytest.mark.parametrize("stages", [["AWSCURRENT"], ["AWSCURRENT", "AWSPENDING"], ["AWSPENDING", "AWSCURRENT"]])
@pytest.mark.parametrize("enabled", [True, False])
def test_a_current_version_has_nothing_left_to_do(stages: list[str], enabled: bool) -> None:
    found = versions({"new": stages, "old": ["AWSPREVIOUS"]}, enabled=enabled)
    assert found.is_already_current("new") is True
    assert found.unfinished is None


@pytest.mark.parametrize(
    ("stages", "enabled", "said"),
    [
        ({"old": ["AWSCURRENT"]}, True, "there is no version new"),
        ({"new": ["AWSPENDING"], "old": ["AWSCURRENT"]}, False, "rotation is not enabled"),
        ({"new": [], "old": ["AWSCURRENT"]}, True, "must have the stage AWSPENDING, no version has it"),
        (
            {"new": ["AWSPREVIOUS"], "other": ["AWSPENDING"]},
            True,
            "version other has it: another rotation is unfinished",
        ),
    ],
)
def test_other_stages_are_refused(stages: dict[str, list[str]], enabled: bool, said: str) -> None:
    with pytest.raises(VersionStageError) as raised:
        versions(stages, enabled=enabled).is_already_current("new")
    assert said in str(raised.value)


def test_a_secret_whose_rotation_was_never_configured_counts_as_enabled() -> None:
    """As in AWS's own functions: DescribeSecret leaves the member out."""
    found = SecretVersions.from_description({"ARN": "arn:x", "VersionIdsToStages": {"new": ["AWSPENDING"]}})
    assert found.is_already_current("new") is False


def test_a_secret_without_a_current_version_is_a_clear_error() -> None:
    with pytest.raises(VersionStageError, match="no version has the stage AWSCURRENT"):
        _ = versions({"new": ["AWSPENDING"]}).current
