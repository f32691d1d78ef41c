"""States of CloudWatch alarms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

OK: Final = "OK"
FIRING: Final = "ALARM"
WITHOUT_DATA: Final = "INSUFFICIENT_DATA"
ABSENT: Final = "ABSENT"
"""Our word for an alarm that does not exist; the others are CloudWatch's."""

_NAMES_IN_ONE_CALL: Final = 100


class AlarmsUnreadableError(Exception):
    """CloudWatch could not be asked; the message says why."""


def read_alarms(cloudwatch: CloudWatchClient, names: Sequence[str]) -> Mapping[str, str]:
    """The state of each alarm, metric or composite; ``ABSENT`` for one that does not exist.

    Raises:
        AlarmsUnreadableError: see there.
    """
    states = dict.fromkeys(names, ABSENT)
    try:
        for some in _parts(names):
            pages = cloudwatch.get_paginator("describe_alarms").paginate(
                AlarmNames=some, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
            )
            for page in pages:
                for alarm in (*page["MetricAlarms"], *page["CompositeAlarms"]):
                    states[alarm["AlarmName"]] = alarm["StateValue"]
    except (ClientError, BotoCoreError) as error:
        raise AlarmsUnreadableError(f"CloudWatch cannot be asked for alarms: {error}") from None
    return states


def _parts(names: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), _NAMES_IN_ONE_CALL):
        yield list(names[start : start + _NAMES_IN_ONE_CALL])
