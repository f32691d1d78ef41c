"""What the function is asked and how it is configured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from writer_switch.request import HandlerSettings, SettingsError, SwitchRequest, SwitchRequestError

CHAIN = ("legacy", "blue", "green")
EVENT: dict[str, Any] = {"cutover_id": "cutover-7", "from": "blue", "to": "green"}


def arn(name: str) -> str:
    return f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}"


ENVIRONMENT = {
    "WRITER_SWITCH_DATABASES": json.dumps(
        {name: {"admin_secret_arn": arn("admin"), "application_secret_arn": arn("app")} for name in CHAIN}
    ),
    "CHAIN": json.dumps(CHAIN),
    "STATE_TABLE_NAME": "state",
    "DATABASE_CA_PATH": "/opt/certificates/rds-us-east-1.pem",
}


def test_an_event_with_the_least_has_safe_defaults() -> None:
    request = SwitchRequest.parse(EVENT, chain=CHAIN)
    assert (request.drain_timeout_seconds, request.accept_data_loss, request.dry_run) == (5.0, False, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"from": "red"}, "from must be one of legacy, blue, green, got 'red'"),
        ({"from": "legacy"}, "from and to must be neighbours in the chain legacy – blue – green, got legacy and green"),
        ({"to": "blue"}, "from and to must be neighbours in the chain legacy – blue – green, got blue and blue"),
        ({"from": ["blue"]}, "from must be one of"),
        ({"cutover_id": ""}, "cutover_id must be a text of 1 to 128 characters, got ''"),
        ({"cutover_id": 7}, "cutover_id must be a text"),
        ({"drain_timeout_seconds": 31}, "drain_timeout_seconds must be a number from 0.1 to 30, got 31"),
        ({"drain_timeout_seconds": "5"}, "drain_timeout_seconds must be a number from 0.1 to 30, got '5'"),
        ({"drain_timeout_seconds": float("nan")}, "drain_timeout_seconds must be a number"),
        ({"drain_timeout_seconds": True}, "drain_timeout_seconds must be a number"),
        ({"accept_data_loss": "true"}, "accept_data_loss must be true or false, got 'true'"),
        ({"dry_run": 1}, "dry_run must be true or false, got 1"),
        ({"force": True}, "force is not known; known are cutover_id, from, to"),
    ],
)
def test_a_wrong_member_is_named_with_its_value_and_what_is_allowed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SwitchRequestError) as raised:
        SwitchRequest.parse({**EVENT, **changes}, chain=CHAIN)
    assert message in str(raised.value)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SwitchRequestError, match=r"cutover_id is missing; from is missing; to is missing; .*dry_run"):
        SwitchRequest.parse({"dry_run": 1}, chain=CHAIN)


def test_the_environment_is_read() -> None:
    settings = HandlerSettings.parse(ENVIRONMENT)
    assert settings.chain == CHAIN
    assert settings.secret_arns["green"].application == arn("app")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"CHAIN": ""}, "CHAIN is not set"),
        ({"STATE_TABLE_NAME": ""}, "STATE_TABLE_NAME is not set"),
        ({"CHAIN": '["blue", "blue"]'}, "CHAIN must be a JSON list of two or three different names of legacy, blue"),
        ({"CHAIN": "blue,green"}, "CHAIN must be a JSON list"),
        ({"CHAIN": '["blue", "green"]'}, "must name the databases of CHAIN, blue, green, got blue, green, legacy"),
        ({"WRITER_SWITCH_DATABASES": "[]"}, "WRITER_SWITCH_DATABASES must be a JSON object"),
        ({"WRITER_SWITCH_DATABASES": '{"blue": {"admin_secret_arn": "x"}}'}, "WRITER_SWITCH_DATABASES must be"),
    ],
)
def test_a_wrong_environment_is_named(changes: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        HandlerSettings.parse({**ENVIRONMENT, **changes})
    assert message in str(raised.value)
