"""What asks for a rollback: notifications as CloudWatch's alarms send them through SNS, the state machine, people."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cutover_rollback.request import Request, RequestError, parse

# As CloudWatch publishes it for a composite alarm (CloudWatch user guide, "Alarm events and EventBridge", SNS format).
ALARM: dict[str, Any] = {
    "AlarmName": "payments-green-harm",
    "AlarmDescription": "Green harms payments. Runbook: docs/runbook.md",
    "AWSAccountId": "123456789012",
    "AlarmConfigurationUpdatedTimestamp": "2026-11-20T10:00:00.000+0000",
    "NewStateValue": "ALARM",
    "NewStateReason": "arn:…:alarm:green-5xx transitioned to ALARM at Tuesday 24 November, 2026 12:01:00 UTC",
    "StateChangeTime": "2026-11-24T12:01:00.500+0000",
    "Region": "US East (N. Virginia)",
    "AlarmArn": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:payments-green-harm",
    "OldStateValue": "OK",
    "OKActions": [],
    "AlarmActions": ["arn:aws:sns:us-east-1:123456789012:rollback"],
    "InsufficientDataActions": [],
    "AlarmRule": "ALARM(green-5xx) OR ALARM(green-slow)",
    "TriggeringChildren": [],
}


def notification(*alarms: object) -> dict[str, Any]:
    """The event of a function that is subscribed to the topic."""
    return {
        "Records": [
            {
                "EventSource": "aws:sns",
                "EventVersion": "1.0",
                "EventSubscriptionArn": "arn:aws:sns:us-east-1:123456789012:rollback:1",
                "Sns": {
                    "Type": "Notification",
                    "Subject": "ALARM",
                    "Message": alarm if isinstance(alarm, str) else json.dumps(alarm),
                },
            }
            for alarm in alarms
        ]
    }


def test_an_alarm_asks_for_the_cutover_under_way_with_its_reason_and_time() -> None:
    assert parse(notification(ALARM)) == Request(
        requested_by="alarm payments-green-harm",
        reason=f"alarm payments-green-harm fired: {ALARM['NewStateReason']}",
        details={
            "alarm": "payments-green-harm",
            "alarm_arn": ALARM["AlarmArn"],
            "changed_at": "2026-11-24T12:01:00.500+0000",
        },
        alarm="payments-green-harm",
        alarmed_at=1795521660.5,
    )


@pytest.mark.parametrize("state", ["OK", "INSUFFICIENT_DATA"])
def test_other_states_ask_for_nothing(state: str) -> None:
    assert parse(notification({**ALARM, "NewStateValue": state})) is None


def test_of_several_notifications_the_one_that_fires_counts() -> None:
    request = parse(notification({**ALARM, "NewStateValue": "OK"}, {**ALARM, "AlarmName": "other"}))
    assert request is not None
    assert request.requested_by == "alarm other"


@pytest.mark.parametrize("time", ["", "yesterday"])
def test_an_alarm_whose_time_cannot_be_read_counts_all_the_same(time: str) -> None:
    request = parse(notification({**ALARM, "StateChangeTime": time}))
    assert request is not None
    assert request.alarmed_at is None


@pytest.mark.parametrize("field", ["AlarmName", "NewStateValue", "NewStateReason"])
def test_a_notification_without_what_an_alarm_has_is_refused(field: str) -> None:
    with pytest.raises(RequestError, match="Records: must be notifications of CloudWatch alarms"):
        parse(notification({name: value for name, value in ALARM.items() if name != field}))


@pytest.mark.parametrize("message", ["hello", "[]", '"ALARM"', "null", "3"])
def test_other_messages_are_refused(message: str) -> None:
    with pytest.raises(RequestError, match="Records: must be notifications"):
        parse(notification(message))


@pytest.mark.parametrize("records", [None, 3, {"Sns": {}}, [None], [{}], [{"Sns": {}}]])
def test_other_records_are_refused(records: object) -> None:
    with pytest.raises(RequestError, match="Records: must be notifications"):
        parse({"Records": records})


def test_a_person_may_ask_for_more() -> None:
    event = {
        "cutover_id": "cutover-7",
        "requested_by": "ada",
        "reason": "complaints",
        "after_the_end": True,
        "accept_data_loss": True,
    }
    assert parse(event) == Request(
        cutover_id="cutover-7", requested_by="ada", reason="complaints", after_the_end=True, accept_data_loss=True
    )


def test_the_state_machine_does_not_stop_itself() -> None:
    request = parse({"requested_by": "state machine", "reason": "deadline", "from_state_machine": True})
    assert request is not None
    assert not request.stop_execution


@pytest.mark.parametrize("wish", ["after_the_end", "accept_data_loss"])
def test_the_state_machine_may_not_ask_for_what_only_a_person_may(wish: str) -> None:
    with pytest.raises(RequestError, match="only a person may ask for these"):
        parse({"requested_by": "state machine", "reason": "deadline", "from_state_machine": True, wish: True})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"requested_by": None}, "requested_by: must say who asks"),
        ({"requested_by": " "}, "requested_by: must say who asks"),
        ({"reason": ""}, "reason: must say why"),
        ({"reason": 3}, "reason: must say why"),
        ({"after_the_end": "yes"}, "after_the_end: must be true or false, got 'yes'"),
        ({"accept_data_loss": 1}, "accept_data_loss: must be true or false, got 1"),
        ({"from_state_machine": None}, "from_state_machine: must be true or false, got None"),
        ({"cutover_id": ""}, "cutover_id: must be the id of a cutover"),
        ({"cutover_id": 7}, "cutover_id: must be the id of a cutover"),
        ({"force": True}, "force: is not known"),
    ],
)
def test_a_mistake_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=f"^{message}"):
        parse({"requested_by": "ada", "reason": "complaints", **change})
