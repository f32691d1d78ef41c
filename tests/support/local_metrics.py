"""What CloudWatch hears of a local stage that nobody uses: a healthy one, or an environment that answers errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rehearsal.clock import MINUTE
from rehearsal.local_aws import LocalCloud

REQUESTS_A_MINUTE = 100_000
_LOOK_SECONDS = 0.1


class LocalMetrics:
    """Tells CloudWatch every minute of the stage's clock, at its beginning.

    Attributes:
        sick: environments of which 5 in 100 requests fail.
    """

    def __init__(self, cloud: LocalCloud) -> None:
        self.sick: set[str] = set()
        self._cloud = cloud
        self._cloudwatch = cloud.client("cloudwatch")
        self._balancer = self._name_of_balancer()
        self._health_check = self._dimensions_of("HealthCheckStatus")
        self._stop = threading.Event()
        self._told = int(cloud.clock.now()) // MINUTE * MINUTE - 5 * MINUTE
        self._thread = threading.Thread(target=self._run, daemon=True, name="metrics")

    @contextmanager
    def flowing(self) -> Iterator[LocalMetrics]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join()

    def _name_of_balancer(self) -> str:
        [balancer] = self._cloud.client("elbv2").describe_load_balancers()["LoadBalancers"]
        return str(balancer["LoadBalancerArn"]).partition(":loadbalancer/")[2]

    def _dimensions_of(self, metric: str) -> Mapping[str, str]:
        """Dimensions of the metric that an alarm looks at."""
        for page in self._cloudwatch.get_paginator("describe_alarms").paginate():
            for alarm in page["MetricAlarms"]:
                if alarm["MetricName"] == metric:
                    return {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
        raise AssertionError(f"no alarm looks at {metric}")

    def _run(self) -> None:
        while not self._stop.is_set():
            while self._told + MINUTE <= self._cloud.clock.now():
                self._told += MINUTE
                self._tell(self._told)
            self._stop.wait(_LOOK_SECONDS)

    def _tell(self, minute: int) -> None:
        at = datetime.fromtimestamp(minute + 1, UTC)
        for namespace, data in self._of_a_minute().items():
            self._cloudwatch.put_metric_data(
                Namespace=namespace, MetricData=[{**each, "Timestamp": at} for each in data]
            )

    def _of_a_minute(self) -> Mapping[str, list[dict[str, Any]]]:
        return {
            "AWS/ApplicationELB": [each for name in self._cloud.target_groups for each in self._environment(name)],
            "AWS/RDS": [each for name in self._cloud.target_groups for each in self._database(name)],
            "AWS/Route53": [_datum("HealthCheckStatus", 1, **self._health_check)],
            "AWS/DMS": [
                _datum(
                    metric,
                    0,
                    ReplicationInstanceIdentifier=f"{self._cloud.stack_name}-replication",
                    ReplicationTaskIdentifier=task,
                )
                for task in self._cloud.shared["replication-tasks"].split(",")
                for metric in ("CDCLatencySource", "CDCLatencyTarget", "ValidationFailedOverallCount")
            ],
        }

    def _environment(self, name: str) -> Iterator[dict[str, Any]]:
        group = self._cloud.target_groups[name].rpartition(":")[2]
        dimensions = {"LoadBalancer": self._balancer, "TargetGroup": group}
        errors = REQUESTS_A_MINUTE * 5 // 100 if name in self.sick else 0
        yield _datum("RequestCount", REQUESTS_A_MINUTE, **dimensions)
        yield _datum("HTTPCode_Target_5XX_Count", errors, **dimensions)
        yield _datum("HealthyHostCount", 3, **dimensions)
        times = _datum("TargetResponseTime", 0, **dimensions)
        del times["Value"]
        yield {**times, "Values": [0.05], "Counts": [REQUESTS_A_MINUTE]}

    def _database(self, name: str) -> Iterator[dict[str, Any]]:
        dimensions = {"DBClusterIdentifier": f"{self._cloud.stack_name}-{name}", "Role": "WRITER"}
        yield _datum("CPUUtilization", 10, **dimensions)
        yield _datum("DatabaseConnections", 20, **dimensions)
        yield _datum("FreeableMemory", 8 * 2**30, **dimensions)


def _datum(name: str, value: float, **dimensions: str) -> dict[str, Any]:
    return {
        "MetricName": name,
        "Value": value,
        "Dimensions": [{"Name": key, "Value": text} for key, text in dimensions.items()],
    }
