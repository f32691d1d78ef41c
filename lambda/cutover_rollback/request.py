"""What asks for a rollback: an alarm through its topic, the state machine, or a person."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

ALARM = "ALARM"


class RequestError(ValueError):
    """The event asks for nothing that we know; the message says what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A rollback that somebody asks for.

    Attributes:
        cutover_id: the cutover that is meant; None means the one that is under way.
        requested_by: who asks.
        reason: why, in words.
        details: values behind it, such as the alarm's.
        alarm: name of the alarm that asks; None when a person or the state machine does.
        alarmed_at: when the alarm fired, epoch seconds; None when nobody but a person or the state machine asks.
        after_the_end: take back a cutover that has succeeded already. Only a person may ask for that.
        accept_data_loss: go on although the database of the writer cannot be reached. Only a person may.
        gradual: step by step, as its plan went, by the execution that is under way.
        stop_execution: end the execution of the state machine; false when the state machine itself asks.
    """

    requested_by: str
    reason: str
    cutover_id: str | None = None
    details: Mapping[str, Any] | None = None
    alarm: str | None = None
    alarmed_at: float | None = None
    after_the_end: bool = False
    accept_data_loss: bool = False
    gradual: bool = False
    stop_execution: bool = True


def parse(event: Mapping[str, Any]) -> Request | None:
    """The request that ``event`` carries, or None when it carries a notification that asks for nothing.

    Raises:
        RequestError: see there.
    """
    if "Records" in event:
        return _from_topic(event)
    allowed = {
        "cutover_id",
        "requested_by",
        "reason",
        "after_the_end",
        "accept_data_loss",
        "gradual",
        "from_state_machine",
    }
    unknown = sorted(set(event) - allowed)
    if unknown:
        raise RequestError(f"{unknown[0]}: is not known (allowed: {', '.join(sorted(allowed))})")
    for name in ("requested_by", "reason"):
        if not isinstance(event.get(name), str) or not event[name].strip():
            raise RequestError(f"{name}: must say {'who asks' if name == 'requested_by' else 'why'}")
    cutover_id = event.get("cutover_id")
    if cutover_id is not None and (not isinstance(cutover_id, str) or not cutover_id.strip()):
        raise RequestError(f"cutover_id: must be the id of a cutover, or absent for the one under way, {cutover_id!r}")
    for name in ("after_the_end", "accept_data_loss", "gradual", "from_state_machine"):
        if not isinstance(event.get(name, False), bool):
            raise RequestError(f"{name}: must be true or false, got {event[name]!r}")
    by_itself = bool(event.get("from_state_machine", False))
    if by_itself and (event.get("after_the_end") or event.get("accept_data_loss")):
        raise RequestError("after_the_end, accept_data_loss: only a person may ask for these")
    if event.get("gradual") and (by_itself or event.get("accept_data_loss")):
        raise RequestError("gradual: for a person only, and not with accept_data_loss: what cannot wait goes at once")
    return Request(
        cutover_id=cutover_id,
        requested_by=event["requested_by"],
        reason=event["reason"],
        after_the_end=bool(event.get("after_the_end", False)),
        accept_data_loss=bool(event.get("accept_data_loss", False)),
        gradual=bool(event.get("gradual", False)),
        stop_execution=not by_itself,
    )


def _from_topic(event: Mapping[str, Any]) -> Request | None:
    try:
        alarms = [_alarm(record) for record in event["Records"]]
    except (KeyError, TypeError, ValueError):
        raise RequestError("Records: must be notifications of CloudWatch alarms") from None
    return next((request for request in alarms if request is not None), None)


def _alarm(record: Mapping[str, Any]) -> Request | None:
    alarm = json.loads(record["Sns"]["Message"])
    name, state, reason = alarm["AlarmName"], alarm["NewStateValue"], alarm["NewStateReason"]
    if state != ALARM:
        return None
    changed_at = alarm.get("StateChangeTime", "")
    return Request(
        requested_by=f"alarm {name}",
        reason=f"alarm {name} fired: {reason}",
        details={"alarm": name, "alarm_arn": alarm.get("AlarmArn", ""), "changed_at": changed_at},
        alarm=name,
        alarmed_at=_epoch_seconds(changed_at),
    )


def _epoch_seconds(text: str) -> float | None:
    """CloudWatch's ``2026-11-24T18:43:23.123+0000``; a time that cannot be read does not excuse the alarm."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
