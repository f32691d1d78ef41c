"""What the service counts, for /metrics. Labels come from fixed lists, never from a request."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from payment_service.database import Failure

_LATENCY_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60)


class Telemetry:
    """One registry for one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Histogram(
            "http_request_duration_seconds",
            "Requests, by the time from their first byte to the answer.",
            ("method", "route", "status"),
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._writer = Gauge(
            "payment_writer", "1 for the database that is the writer.", ("database",), registry=self.registry
        )
        self._writer_changes = Counter(
            "payment_writer_found_total", "Times that a writer was found.", ("database",), registry=self.registry
        )
        self._two_writers = Counter(
            "payment_two_writers_total", "Times that more than one database admitted us.", registry=self.registry
        )
        self._refusals = Counter(
            "payment_database_refusals_total",
            "Connections that a database refused while we looked for the writer.",
            ("database", "answer"),
            registry=self.registry,
        )
        self._retries = Counter(
            "payment_retries_total",
            "Transactions that were repeated.",
            ("reason",),
            registry=self.registry,
        )
        self._outcomes = Counter(
            "payments_total",
            "Payments, by what became of the request.",
            ("outcome",),
            registry=self.registry,
        )
        self.waiting = Gauge("payment_queue_waiting", "Requests that wait for a session.", registry=self.registry)
        self.in_use = Gauge("payment_sessions_in_use", "Sessions in use.", registry=self.registry)
        self.holding = Gauge("payment_holding", "Requests that wait for a writer.", registry=self.registry)

    def answered(self, *, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).observe(seconds)

    def writer_found(self, database: str) -> None:
        self._writer.labels(database).set(1)
        self._writer_changes.labels(database).inc()

    def writer_lost(self, database: str) -> None:
        self._writer.labels(database).set(0)

    def two_writers(self) -> None:
        self._two_writers.inc()

    def probed(self, database: str, answer: Failure) -> None:
        self._refusals.labels(database, answer.name.lower()).inc()

    def retried(self, reason: Failure) -> None:
        self._retries.labels(reason.name.lower()).inc()

    def became(self, outcome: str) -> None:
        self._outcomes.labels(outcome).inc()

    def exposition(self) -> tuple[bytes, str]:
        """The text of /metrics and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
