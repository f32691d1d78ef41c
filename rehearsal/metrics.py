"""CloudWatch's metrics of a rehearsal, fed from what was really counted, and the alarms that are judged on them.

Requests, errors, response times and healthy targets are the balancer's, as the load balancer would report them; the
lag is the age of heartbeats that replication carries. Minutes are those of the rehearsal's clock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import pymysql
from botocore.exceptions import BotoCoreError, ClientError

from rehearsal.balancer import Balancer, BalancerError, GroupCounters
from rehearsal.clock import MINUTE, Clock
from rehearsal.control_plane.aws import LOAD_BALANCER, SLOWER_THAN_SECONDS, Resources, target_group_name
from rehearsal.payment_databases import PaymentDatabases

LOOK_SECONDS: Final = 0.1
BEAT_SECONDS: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class AlarmRule:
    """When an environment's health alarm fires, as `EnvironmentAlarms` has it.

    Attributes:
        errors_percent: more answers 5xx than this in every one of the minutes.
        latency_p99_seconds: a 99th percentile above this in every one of them.
        healthy_minimum: fewer healthy targets than this in every one of them.
        minutes: how many minutes are looked at.
    """

    errors_percent: float = 2.0
    latency_p99_seconds: float = SLOWER_THAN_SECONDS
    healthy_minimum: int = 1
    minutes: int = 3


@dataclass(kw_only=True)
class Minute:
    """What one environment did in one minute of the clock."""

    requests: int = 0
    target_5xx: int = 0
    connection_errors: int = 0
    healthy: int | None = None
    times: list[float] = field(default_factory=list)

    def add(self, counters: GroupCounters) -> None:
        self.requests += counters.requests
        self.target_5xx += counters.target_5xx
        self.connection_errors += counters.connection_errors
        self.healthy = counters.healthy if self.healthy is None else min(self.healthy, counters.healthy)

    def breaches(self, rule: AlarmRule) -> set[str]:
        """What of the rule is broken: ``errors``, ``latency``, ``healthy hosts``."""
        found = set()
        if self.requests and 100 * self.target_5xx / self.requests > rule.errors_percent:
            found.add("errors")
        if self.times and sorted(self.times)[max(0, int(len(self.times) * 0.99) - 1)] > rule.latency_p99_seconds:
            found.add("latency")
        if self.healthy is not None and self.healthy < rule.healthy_minimum:
            found.add("healthy hosts")
        return found


class MetricsFeeder:
    """Counts, reports, and judges the alarms, all the time. A context manager.

    Attributes:
        paused: report nothing, as when metrics stop arriving.
        lags: seconds by direction ``blue-green``; None when nothing has arrived.
        differing_rows: what the validation of the tasks says.
        failures: how often reporting failed.
    """

    def __init__(
        self,
        *,
        balancer: Balancer,
        databases: PaymentDatabases,
        resources: Resources,
        clock: Clock,
        rule: AlarmRule,
        fire: Callable[[str, str], object],
    ) -> None:
        """Args: fire: is told the name and the reason of an alarm that goes off."""
        self.paused = False
        self.lags: dict[str, float | None] = {}
        self.differing_rows = 0
        self.failures = 0
        self._balancer = balancer
        self._databases = databases
        self._resources = resources
        self._clock = clock
        self._rule = rule
        self._fire = fire
        self._stop = threading.Event()
        self._minutes = {group: Minute() for group in balancer.groups}
        self._history: dict[str, deque[Minute]] = {group: deque(maxlen=rule.minutes) for group in balancer.groups}
        self._firing: set[str] = set()
        self._unhealthy: dict[str, tuple[int, ...]] = {}
        self._last: dict[str, GroupCounters] = {}
        self._at = self._minute_now()
        self._threads = [
            threading.Thread(target=self._run, args=(work, seconds), name=name, daemon=True)
            for work, seconds, name in (
                (self._count, LOOK_SECONDS, "metrics"),
                (self._beat, BEAT_SECONDS, "heartbeats"),
                (self._report_lags, clock.ours(MINUTE) / 4, "lags"),
            )
        ]
        for thread in self._threads:
            thread.start()

    def forget(self) -> None:
        """Begin anew: no alarm fires, and nothing of before is judged."""
        for history in self._history.values():
            history.clear()
        self._firing.clear()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def _run(self, work: Callable[[], None], seconds: float) -> None:
        while not self._stop.is_set():
            try:
                work()
            except (BalancerError, OSError, ClientError, BotoCoreError, pymysql.MySQLError):
                # The balancer or a database is down, which is a scenario of its own.
                self.failures += 1
            self._stop.wait(seconds)

    def _minute_now(self) -> int:
        return int(self._clock.now()) // MINUTE * MINUTE

    def _count(self) -> None:
        minute = self._minute_now()
        counters = self._balancer.counters()
        late = []
        for answer in self._balancer.take_answers():
            # Those of a switch's pause all come at once, and must not slip into the minute after it.
            if self._clock.at(answer.at) < self._at + MINUTE:
                self._minutes[answer.group].times.append(answer.seconds)
            else:
                late.append(answer)
        if minute > self._at:
            finished, self._minutes = self._minutes, {group: Minute() for group in self._minutes}
            at, self._at = self._at, minute
            self._finish(at, finished)
        for answer in late:
            self._minutes[answer.group].times.append(answer.seconds)
        for group, now in counters.items():
            self._minutes[group].add(now.minus(self._last.get(group, GroupCounters())))
            self._last[group] = now
            known = {int(name.rpartition("-")[2]) for name in now.targets}
            unhealthy = tuple(number for number in range(self._resources.targets) if number not in known)
            if unhealthy != self._unhealthy.get(group, ()):
                self._resources.set_unhealthy(group, unhealthy)
                self._unhealthy[group] = unhealthy

    def _finish(self, minute: int, counted: Mapping[str, Minute]) -> None:
        for group, each in counted.items():
            self._history[group].append(each)
            if not self.paused:
                self._report(group, minute, each)
        self._judge()

    def _report(self, group: str, minute: int, counted: Minute) -> None:
        dimensions = [
            {"Name": "LoadBalancer", "Value": LOAD_BALANCER},
            {"Name": "TargetGroup", "Value": target_group_name(group)},
        ]

        def datum(metric: str, **value: Any) -> dict[str, Any]:
            at = datetime.fromtimestamp(minute, UTC)
            return {"MetricName": metric, "Dimensions": dimensions, "Timestamp": at, **value}

        data = []
        # As the load balancer does: requests and errors only of a minute that had some, healthy targets always.
        if counted.healthy is not None:
            data.append(datum("HealthyHostCount", Value=counted.healthy))
        if counted.requests:
            data.append(datum("RequestCount", Value=counted.requests))
        if counted.target_5xx:
            data.append(datum("HTTPCode_Target_5XX_Count", Value=counted.target_5xx))
        if counted.connection_errors:
            data.append(datum("TargetConnectionErrorCount", Value=counted.connection_errors))
        fast = [seconds for seconds in counted.times if seconds < SLOWER_THAN_SECONDS]
        slow = [seconds for seconds in counted.times if seconds >= SLOWER_THAN_SECONDS]
        if fast:
            statistics = {"SampleCount": len(fast), "Sum": sum(fast), "Minimum": min(fast), "Maximum": max(fast)}
            data.append(datum("TargetResponseTime", StatisticValues=statistics))
        data += [datum("TargetResponseTime", Values=slow[i : i + 150]) for i in range(0, len(slow), 150)]
        if data:
            self._cloudwatch.put_metric_data(Namespace="AWS/ApplicationELB", MetricData=data)

    def _judge(self) -> None:
        """The composite alarms: errors and latency count as far as the other environment is free of them."""
        breached = {}
        for group, history in self._history.items():
            found = [each.breaches(self._rule) for each in history]
            breached[group] = set.intersection(*found) if len(found) == self._rule.minutes else set()
        for group, what in breached.items():
            others = set().union(*(each for name, each in breached.items() if name != group))
            firing = {each for each in what if each == "healthy hosts" or each not in others}
            name = f"{group}-health"
            if firing and name not in self._firing:
                self._firing.add(name)
                self._fire(name, f"{', '.join(sorted(firing))} for {self._rule.minutes} minutes")
            elif not firing and name in self._firing:
                self._firing.discard(name)
                self._resources.set_alarm(name, firing=False, reason="healthy again")

    def _beat(self) -> None:
        for name in self._databases.names:
            with suppress(pymysql.MySQLError, OSError):
                self._databases.beat(name)
        for task in self._resources.tasks:
            direction = f"{task.source}-{task.target}"
            try:
                age = self._databases.newest_beat_age(source=task.source, target=task.target)
            except (pymysql.MySQLError, OSError):
                self.lags[direction] = None
                continue
            self.lags[direction] = None if age is None else max(0.0, age - BEAT_SECONDS)

    def _report_lags(self) -> None:
        if self.paused:
            return
        at = datetime.fromtimestamp(self._clock.now(), UTC)
        data = []
        for task in self._resources.tasks:
            lag = self.lags.get(f"{task.source}-{task.target}")
            if lag is None:
                continue
            values = {"CDCLatencySource": 0.0, "CDCLatencyTarget": lag}
            values["ValidationFailedOverallCount"] = self.differing_rows
            data += [
                {
                    "MetricName": metric,
                    "Dimensions": [
                        {"Name": "ReplicationInstanceIdentifier", "Value": "replication"},
                        {"Name": "ReplicationTaskIdentifier", "Value": task.identifier},
                    ],
                    "Timestamp": at,
                    "Value": value,
                }
                for metric, value in values.items()
            ]
        if data:
            self._cloudwatch.put_metric_data(Namespace="AWS/DMS", MetricData=data)

    @property
    def _cloudwatch(self) -> Any:
        return self._resources.aws.client("cloudwatch")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
