"""Requests, errors and slow answers of the environments, minute by minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef

MINUTE: Final = 60
NAMESPACE: Final = "AWS/ApplicationELB"
ERRORS: Final = ("HTTPCode_Target_5XX_Count", "TargetConnectionErrorCount")
"""What the load balancer attributes to a target group; it has no metric for an answer 502 or 504 of its own there."""


COMPLETE: Final = "Complete"


class MetricsUnreadableError(Exception):
    """CloudWatch could not be asked; the message says why."""


@dataclass(frozen=True, kw_only=True)
class MinuteCounts:
    """What one environment did in one minute.

    Attributes:
        minute: its beginning, epoch seconds.
        requests: answered requests; None when nothing is known of the minute.
        errors: answers 5xx and refused connections; not more than the requests.
        slow: answers slower than the objective, errors among them; not more than the requests.
        healthy_hosts: the fewest healthy targets in the minute.
    """

    minute: int
    requests: int | None
    errors: int | None
    slow: int | None
    healthy_hosts: int | None


def read_minutes(
    cloudwatch: CloudWatchClient,
    *,
    load_balancer: str,
    target_groups: Mapping[str, str],
    first_minute: int,
    end: int,
    slower_than_seconds: float,
) -> Mapping[str, Sequence[MinuteCounts]]:
    """The minutes from ``first_minute`` up to but not including ``end``, by environment.

    The load balancer reports requests only for minutes that had some, and healthy hosts always. So a minute with
    healthy hosts and no requests had none, and one with neither is unknown.

    Args:
        load_balancer: its name as dimension, ``app/name/id``.
        target_groups: their names as dimension, ``targetgroup/name/id``, by environment.
        first_minute: epoch seconds, a whole minute.
        end: epoch seconds, a whole minute.
        slower_than_seconds: the objective; an answer that takes longer is slow.

    Raises:
        MetricsUnreadableError: see there; also when CloudWatch answers only a part, because metrics that are missing
            for that reason look like minutes without errors.
    """
    if end <= first_minute:
        return dict.fromkeys(target_groups, ())
    queries: list[MetricDataQueryTypeDef] = []
    ids: dict[str, tuple[str, str]] = {}
    wanted = {
        "requests": ("RequestCount", "Sum"),
        "errors0": (ERRORS[0], "Sum"),
        "errors1": (ERRORS[1], "Sum"),
        # The trimmed count of CloudWatch: how many samples lie at or above the bound.
        "slow": ("TargetResponseTime", f"TC({slower_than_seconds:g}:)"),
        "healthy": ("HealthyHostCount", "Minimum"),
    }
    for number, (name, group) in enumerate(target_groups.items()):
        for what, (metric, statistic) in wanted.items():
            query_id = f"{what}_{number}"
            ids[query_id] = (name, what)
            queries.append(
                {
                    "Id": query_id,
                    "ReturnData": True,
                    "MetricStat": {
                        "Metric": {
                            "Namespace": NAMESPACE,
                            "MetricName": metric,
                            "Dimensions": [
                                {"Name": "LoadBalancer", "Value": load_balancer},
                                {"Name": "TargetGroup", "Value": group},
                            ],
                        },
                        "Period": MINUTE,
                        "Stat": statistic,
                    },
                }
            )
    found: dict[tuple[str, str], dict[int, float]] = {key: {} for key in ids.values()}
    # "PartialData" says that the rest is on a page to come.
    answered = dict.fromkeys(ids, "no answer")
    try:
        pages = cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries,
            StartTime=datetime.fromtimestamp(first_minute, UTC),
            EndTime=datetime.fromtimestamp(end, UTC),
            ScanBy="TimestampAscending",
        )
        for page in pages:
            for result in page["MetricDataResults"]:
                answered[result["Id"]] = result["StatusCode"]
                values = found[ids[result["Id"]]]
                for at, value in zip(result["Timestamps"], result["Values"], strict=True):
                    values[int(at.timestamp()) // MINUTE * MINUTE] = value
    except (ClientError, BotoCoreError) as error:
        raise MetricsUnreadableError(f"CloudWatch cannot be asked for {NAMESPACE}: {error}") from None
    incomplete = sorted(
        {f"{wanted[what][0]}: {answered[key]}" for key, (_, what) in ids.items() if answered[key] != COMPLETE}
    )
    if incomplete:
        raise MetricsUnreadableError(f"CloudWatch answers only a part of {NAMESPACE}: {', '.join(incomplete)}")
    return {
        name: tuple(
            _minute(minute, {what: found[name, what].get(minute) for what in wanted})
            for minute in range(first_minute, end, MINUTE)
        )
        for name in target_groups
    }


def _minute(minute: int, values: Mapping[str, float | None]) -> MinuteCounts:
    healthy = values["healthy"]
    if all(value is None for value in values.values()):
        return MinuteCounts(minute=minute, requests=None, errors=None, slow=None, healthy_hosts=None)
    errors = round((values["errors0"] or 0) + (values["errors1"] or 0))
    slow = round(values["slow"] or 0)
    return MinuteCounts(
        minute=minute,
        # A refused connection is tried again and may count more than once, and metrics of a minute do not all arrive
        # at the same time: what went wrong was asked for, too.
        requests=max(round(values["requests"] or 0), errors, slow),
        errors=errors,
        slow=slow,
        healthy_hosts=None if healthy is None else round(healthy),
    )
