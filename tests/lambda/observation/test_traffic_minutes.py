"""Requests, errors and slow answers, minute by minute.

moto's get_metric_data knows no trimmed count (TC) and refuses the whole call, so what CloudWatch answers comes from
botocore's Stubber here, which refuses any call that is not the expected one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from observation.traffic_metrics import MetricsUnreadableError, MinuteCounts, read_minutes
from tests.support.local_aws import LocalAws

START = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp())
GROUPS = {"blue": "targetgroup/blue/1", "green": "targetgroup/green/2"}
METRICS = {
    "requests": ("RequestCount", "Sum"),
    "errors0": ("HTTPCode_Target_5XX_Count", "Sum"),
    "errors1": ("TargetConnectionErrorCount", "Sum"),
    "slow": ("TargetResponseTime", "TC(0.75:)"),
    "healthy": ("HealthyHostCount", "Minimum"),
}


class CloudWatch:
    """CloudWatch's pages in order."""

    def __init__(self, aws: LocalAws) -> None:
        self.client = aws.client("cloudwatch")
        self.stub = Stubber(self.client)
        self.pages = 0

    def answers(
        self, values: Mapping[str, Mapping[int, float]], *, status: str = "Complete", more: bool = False
    ) -> None:
        """Args: values: by query and number of the minute."""
        results = [
            {
                "Id": name,
                "Label": name,
                "StatusCode": status,
                "Timestamps": [datetime.fromtimestamp(START + 60 * minute, UTC) for minute in found],
                "Values": list(found.values()),
            }
            for name, found in values.items()
        ]
        response: dict[str, Any] = {"MetricDataResults": results}
        parameters = self._parameters()
        if self.pages:
            parameters["NextToken"] = f"page {self.pages}"
        self.pages += 1
        if more:
            response["NextToken"] = f"page {self.pages}"
        self.stub.add_response("get_metric_data", response, parameters)

    def read(self, minutes: int = 2) -> Mapping[str, Sequence[MinuteCounts]]:
        with self.stub:
            found = read_minutes(
                self.client,
                load_balancer="app/payments/3",
                target_groups=GROUPS,
                first_minute=START,
                end=START + 60 * minutes,
                slower_than_seconds=0.75,
            )
            self.stub.assert_no_pending_responses()
        return found

    @staticmethod
    def _parameters() -> dict[str, Any]:
        return {
            "MetricDataQueries": [
                {
                    "Id": f"{name}_{number}",
                    "ReturnData": True,
                    "MetricStat": {
                        "Metric": {
                            "Namespace": "AWS/ApplicationELB",
                            "MetricName": metric,
                            "Dimensions": [
                                {"Name": "LoadBalancer", "Value": "app/payments/3"},
                                {"Name": "TargetGroup", "Value": group},
                            ],
                        },
                        "Period": 60,
                        "Stat": statistic,
                    },
                }
                for number, group in enumerate(GROUPS.values())
                for name, (metric, statistic) in METRICS.items()
            ],
            "StartTime": datetime.fromtimestamp(START, UTC),
            "EndTime": datetime.fromtimestamp(START + 120, UTC),
            "ScanBy": "TimestampAscending",
        }


def every(**found: Mapping[int, float]) -> dict[str, Mapping[int, float]]:
    """Blue's values; everything else has none."""
    return {f"{name}_{number}": found.get(name, {}) if number == 0 else {} for number in (0, 1) for name in METRICS}


@pytest.fixture
def cloudwatch(aws: LocalAws) -> CloudWatch:
    return CloudWatch(aws)


def minute(number: int, **values: int | None) -> MinuteCounts:
    return MinuteCounts(minute=START + 60 * number, **{**NONE, **values})


NONE: dict[str, int | None] = {"requests": None, "errors": None, "slow": None, "healthy_hosts": None}


def test_each_minute_has_its_counts(cloudwatch: CloudWatch) -> None:
    cloudwatch.answers(
        every(requests={0: 84, 1: 90}, errors0={1: 2}, errors1={1: 1}, slow={0: 4}, healthy={0: 3, 1: 2})
    )
    assert cloudwatch.read()["blue"] == (
        minute(0, requests=84, errors=0, slow=4, healthy_hosts=3),
        minute(1, requests=90, errors=3, slow=0, healthy_hosts=2),
    )


def test_a_minute_of_which_nothing_is_known_is_not_a_minute_without_requests(cloudwatch: CloudWatch) -> None:
    cloudwatch.answers(every(requests={0: 84}, healthy={0: 3}))
    assert cloudwatch.read()["blue"][1] == minute(1)


def test_a_minute_with_hosts_and_no_requests_had_none(cloudwatch: CloudWatch) -> None:
    cloudwatch.answers(every(healthy={0: 3, 1: 3}))
    assert cloudwatch.read()["blue"][0] == minute(0, requests=0, errors=0, slow=0, healthy_hosts=3)


def test_requests_without_hosts_are_known_and_the_hosts_are_not(cloudwatch: CloudWatch) -> None:
    cloudwatch.answers(every(requests={0: 84}))
    assert cloudwatch.read()["blue"][0] == minute(0, requests=84, errors=0, slow=0)


def test_errors_are_never_more_than_the_requests(cloudwatch: CloudWatch) -> None:
    """Refused connections are retried and count twice, or the count of requests is not there yet."""
    cloudwatch.answers(every(requests={0: 5}, errors1={0: 9}))
    assert cloudwatch.read()["blue"][0] == minute(0, requests=9, errors=9, slow=0)


def test_errors_of_which_alone_something_is_known_are_not_lost(cloudwatch: CloudWatch) -> None:
    cloudwatch.answers(every(errors0={1: 7}))
    assert cloudwatch.read()["blue"][1] == minute(1, requests=7, errors=7, slow=0)


def test_the_environments_are_kept_apart(cloudwatch: CloudWatch) -> None:
    cloudwatch.answers(every(requests={0: 84}))
    assert cloudwatch.read()["green"] == (minute(0), minute(1))


def test_all_pages_are_read(cloudwatch: CloudWatch) -> None:
    cloudwatch.answers(every(requests={0: 84}), status="PartialData", more=True)
    cloudwatch.answers(every(requests={1: 90}))
    assert [counts.requests for counts in cloudwatch.read()["blue"]] == [84, 90]


@pytest.mark.parametrize("status", ["InternalError", "Forbidden", "PartialData"])
def test_a_part_of_an_answer_is_not_taken_for_minutes_without_errors(cloudwatch: CloudWatch, status: str) -> None:
    cloudwatch.answers(every(requests={0: 84}), status=status)
    with pytest.raises(
        MetricsUnreadableError, match=f"answers only a part of AWS/ApplicationELB: .*RequestCount: {status}"
    ):
        cloudwatch.read()


def test_a_metric_that_is_not_answered_at_all_is_an_error(cloudwatch: CloudWatch) -> None:
    answer = every(requests={0: 84})
    del answer["errors0_1"]
    cloudwatch.answers(answer)
    with pytest.raises(MetricsUnreadableError, match="HTTPCode_Target_5XX_Count: no answer"):
        cloudwatch.read()


def test_a_refusal_is_an_error(cloudwatch: CloudWatch) -> None:
    cloudwatch.stub.add_client_error("get_metric_data", "AccessDenied", "not allowed")
    with pytest.raises(
        MetricsUnreadableError, match=r"CloudWatch cannot be asked for AWS/ApplicationELB: .*AccessDenied"
    ):
        cloudwatch.read()


def test_no_connection_is_an_error() -> None:
    client = boto3.client(
        "cloudwatch",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(MetricsUnreadableError, match="Could not connect"):
        read_minutes(
            client,
            load_balancer="app/payments/3",
            target_groups=GROUPS,
            first_minute=START,
            end=START + 60,
            slower_than_seconds=1,
        )


def test_no_minute_needs_no_call(cloudwatch: CloudWatch) -> None:
    assert cloudwatch.read(minutes=0) == {"blue": (), "green": ()}
