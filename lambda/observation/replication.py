"""DMS tasks: whether they run, how far they lag, whether rows differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef
    from mypy_boto3_dms import DatabaseMigrationServiceClient

NAMESPACE: Final = "AWS/DMS"
RUNNING: Final = "running"
_LOOK_BACK: Final = timedelta(minutes=5)
_METRICS: Final = {
    "source_lag": "CDCLatencySource",
    "target_lag": "CDCLatencyTarget",
    "failed": "ValidationFailedOverallCount",
}


class ReplicationUnreadableError(Exception):
    """DMS or CloudWatch could not be asked; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One replication task.

    Attributes:
        identifier: last part of its ARN.
        status: DMS's word: running, stopped, failed, ready, ...; ``absent`` when it does not exist.
        lag_seconds: the larger of the newest lags at source and target; None when none was reported of late.
        validation_failures: rows that differ; None when nothing was reported of late.
    """

    identifier: str
    status: str
    lag_seconds: float | None
    validation_failures: int | None


def read_tasks(
    dms: DatabaseMigrationServiceClient,
    cloudwatch: CloudWatchClient,
    *,
    instance: str,
    identifiers: Sequence[str],
    now: float,
) -> tuple[Task, ...]:
    """The tasks ``identifiers`` of the replication instance ``instance``.

    Raises:
        ReplicationUnreadableError: see there.
    """
    try:
        statuses = {
            task["ReplicationTaskArn"].rsplit(":", 1)[-1]: task["Status"]
            for page in dms.get_paginator("describe_replication_tasks").paginate(WithoutSettings=True)
            for task in page["ReplicationTasks"]
        }
        newest = _newest(cloudwatch, instance, identifiers, now)
    except (ClientError, BotoCoreError) as error:
        raise ReplicationUnreadableError(f"replication tasks cannot be read: {error}") from None
    return tuple(
        Task(
            identifier=identifier,
            status=statuses.get(identifier, "absent"),
            lag_seconds=_larger(newest.get((identifier, "source_lag")), newest.get((identifier, "target_lag"))),
            validation_failures=_whole(newest.get((identifier, "failed"))),
        )
        for identifier in identifiers
    )


def _newest(
    cloudwatch: CloudWatchClient, instance: str, identifiers: Sequence[str], now: float
) -> dict[tuple[str, str], float]:
    queries: list[MetricDataQueryTypeDef] = []
    ids = {}
    for number, identifier in enumerate(identifiers):
        for what, metric in _METRICS.items():
            ids[f"{what}_{number}"] = (identifier, what)
            queries.append(
                {
                    "Id": f"{what}_{number}",
                    "ReturnData": True,
                    "MetricStat": {
                        "Metric": {
                            "Namespace": NAMESPACE,
                            "MetricName": metric,
                            "Dimensions": [
                                {"Name": "ReplicationInstanceIdentifier", "Value": instance},
                                {"Name": "ReplicationTaskIdentifier", "Value": identifier},
                            ],
                        },
                        "Period": 60,
                        "Stat": "Maximum",
                    },
                }
            )
    if not queries:
        return {}
    end = datetime.fromtimestamp(now, UTC)
    newest = {}
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=end - _LOOK_BACK, EndTime=end, ScanBy="TimestampAscending"
    )
    for page in pages:
        for result in page["MetricDataResults"]:
            if result["Values"]:
                newest[ids[result["Id"]]] = result["Values"][-1]
    return newest


def _larger(one: float | None, other: float | None) -> float | None:
    known = [each for each in (one, other) if each is not None]
    return max(known) if len(known) == 2 else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
