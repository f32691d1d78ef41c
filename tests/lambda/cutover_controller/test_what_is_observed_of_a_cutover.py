"""The observation put together from minutes, targets, tasks and alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from cutover_controller.observe import assemble
from cutover_state.run import Phase, Run
from observation.environments import Targets
from observation.replication import Task
from observation.traffic_metrics import MinuteCounts
from verdict import AlarmState, Counts, Evidence, Observation, Settings, evaluate

BEGAN = 1_800_000_000 // 60 * 60
TARGETS = {"blue": Targets(healthy=3, registered=3), "green": Targets(healthy=2, registered=3)}
RUNNING = Task(identifier="blue-to-green", status="running", lag_seconds=0.5, validation_failures=0)


def minute(
    number: int, requests: int | None, errors: int | None = 0, slow: int | None = 0, healthy: int | None = 3
) -> MinuteCounts:
    return MinuteCounts(minute=BEGAN + 60 * number, requests=requests, errors=errors, slow=slow, healthy_hosts=healthy)


def observe(
    environment: str = "green",
    *,
    other: str | None = None,
    minutes: Mapping[str, Sequence[MinuteCounts]] | None = None,
    now: float = BEGAN + 300,
    kind: str = "environment",
    tasks: Sequence[Task] = (RUNNING,),
    alarms: Mapping[str, str] | None = None,
    settled_after_seconds: int = 120,
) -> Observation:
    series = minutes or {}
    run = Run(
        cutover_id="cutover-7",
        kind=kind,
        source="blue",
        target="green",
        plan={},
        phase=Phase.SHIFTING,
        requested_by="ada",
        started_at=BEGAN,
        before={},
        writer_after="green",
        position={},
    )
    return assemble(
        run,
        Evidence(environment=environment, other=other, alarms=tuple(alarms or ()), next_sample_seconds=BEGAN),
        now=now,
        minutes=lambda start, end: {
            name: [each for each in every if start <= each.minute < end] for name, every in series.items()
        },
        targets=lambda: TARGETS,
        tasks=lambda: tasks,
        alarms=lambda names: {name: (alarms or {})[name] for name in names},
        settled_after_seconds=settled_after_seconds,
    )


def counts(observation: Observation) -> list[tuple[int, Any, Any]]:
    return [((s.start_seconds - BEGAN) // 60, s.environment, s.other) for s in observation.samples]


def test_only_minutes_that_are_complete_are_counted() -> None:
    found = observe(minutes={"green": [minute(n, 10 + n) for n in range(5)]}, now=BEGAN + 300)
    assert counts(found) == [(n, Counts(10 + n), None) for n in range(3)]
    assert found.settled_until_seconds == BEGAN + 180


def test_before_the_first_minute_is_complete_there_is_no_sample() -> None:
    found = observe(minutes={"green": [minute(0, 10)]}, now=BEGAN + 179)
    assert (found.samples, found.settled_until_seconds) == ((), BEGAN)


def test_evidence_that_begins_with_a_minute_to_come_is_waited_for() -> None:
    found = observe(now=BEGAN - 20)
    assert (found.samples, found.settled_until_seconds, found.now_seconds) == ((), BEGAN, BEGAN)


def test_both_sides_are_compared_minute_by_minute() -> None:
    found = observe(other="blue", minutes={"green": [minute(0, 10, 1)], "blue": [minute(0, 90, 2)]}, now=BEGAN + 180)
    assert counts(found) == [(0, Counts(10, 1), Counts(90, 2))]


def test_a_minute_of_which_nothing_is_known_is_missing_and_not_empty() -> None:
    unknown = minute(1, None, None, None, None)
    found = observe(minutes={"green": [minute(0, 10), unknown, minute(2, 0)]})
    assert counts(found) == [(0, Counts(10), None), (1, None, None), (2, Counts(0), None)]


def test_a_side_that_is_not_measured_has_no_sample_and_so_misses_all() -> None:
    found = observe(minutes={"blue": [minute(n, 10) for n in range(3)]})
    assert found.samples == ()
    _, kept = evaluate(Settings(), Evidence(environment="green", next_sample_seconds=BEGAN), found)
    assert kept.missing == 3


@pytest.mark.parametrize(
    ("requests", "errors", "slow", "expected"),
    [
        (100, 3, 5, Counts(100, errors=3, slow=2)),
        (100, 5, 3, Counts(100, errors=5, slow=0)),
        (2, 3, 0, Counts(3, errors=3, slow=0)),
        (2, 1, 9, Counts(2, errors=1, slow=1)),
        (7, None, None, Counts(7)),
    ],
)
def test_no_request_is_bad_twice_and_none_is_bad_that_was_not_there(
    requests: int, errors: int | None, slow: int | None, expected: Counts
) -> None:
    found = observe(minutes={"green": [minute(0, requests, errors, slow)]}, now=BEGAN + 180)
    assert counts(found) == [(0, expected, None)]


def test_aws_is_the_sum_of_its_environments() -> None:
    minutes = {"blue": [minute(0, 90, 4, 6)], "green": [minute(0, 10, 1, 0)]}
    found = observe("aws", minutes=minutes, now=BEGAN + 180, kind="front door")
    assert counts(found) == [(0, Counts(100, errors=5, slow=2), None)]


@pytest.mark.parametrize("unknown", ["blue", "green"])
def test_aws_is_unknown_when_one_of_its_environments_is(unknown: str) -> None:
    minutes = {name: [minute(0, None if name == unknown else 10)] for name in ("blue", "green")}
    found = observe("aws", minutes=minutes, now=BEGAN + 180, kind="front door")
    assert counts(found) == [(0, None, None)]


def test_the_legacy_system_has_no_counts_and_no_targets() -> None:
    found = observe("legacy", minutes={"blue": [minute(0, 10)]}, kind="front door")
    assert (found.samples, found.signals.healthy_hosts) == ((), None)


@pytest.mark.parametrize(
    ("environment", "kind", "healthy"),
    [("blue", "environment", 3), ("green", "environment", 2), ("aws", "front door", 3), ("aws", "environment", None)],
)
def test_the_healthy_targets_are_those_of_the_side(environment: str, kind: str, healthy: int | None) -> None:
    assert observe(environment, kind=kind).signals.healthy_hosts == healthy


def task(status: str = "running", lag: float | None = 1.0, failures: int | None = 0) -> Task:
    return Task(identifier="task", status=status, lag_seconds=lag, validation_failures=failures)


@pytest.mark.parametrize(
    ("tasks", "lag", "failures"),
    [
        ([task(lag=0.5), task(lag=3.0, failures=2)], 3.0, 2),
        ([task(), task(lag=None)], None, 0),
        ([task(), task(status="stopped")], None, 0),
        ([task(), task(failures=None)], 1.0, None),
        ([], None, None),
    ],
)
def test_of_the_tasks_the_slowest_counts_and_one_that_is_not_known_makes_all_unknown(
    tasks: list[Task], lag: float | None, failures: int | None
) -> None:
    signals = observe(tasks=tasks).signals
    assert (signals.replication_lag_seconds, signals.validation_failures) == (lag, failures)


def test_an_alarm_that_does_not_exist_has_no_data() -> None:
    signals = observe(alarms={"one": "OK", "two": "ALARM", "three": "ABSENT"}).signals
    assert signals.alarms == {
        "one": AlarmState.OK,
        "two": AlarmState.ALARM,
        "three": AlarmState.INSUFFICIENT_DATA,
    }


def test_without_alarms_nobody_is_asked_for_them() -> None:
    assert observe().signals.alarms is None
