"""Reasons against beginning a cutover: each alone, all at once, and none that hides another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutover_preflight.checks import Facts, Limits, reasons_against
from observation.environments import Service, Targets
from observation.replication import Task
from observation.rotations import Rotation

NOW = 1_000_000.0
TASK = Task(identifier="BLUE-GREEN", status="running", lag_seconds=1.0, validation_failures=0)
HEALTHY = Facts(
    now=NOW,
    source="blue",
    target="green",
    weights={"blue": 100, "green": 0},
    writers=["blue"],
    expected_writer="blue",
    alarms={"green-5xx": "OK"},
    targets={"blue": Targets(healthy=3, registered=3), "green": Targets(healthy=3, registered=3)},
    services={
        "blue": Service(desired=3, running=3, deploying=False),
        "green": Service(desired=3, running=3, deploying=False),
    },
    tasks=[TASK],
    rotations=[Rotation(secret="s", under_way=False, next_at=NOW + 25 * 3600)],
)


def facts(**changes: object) -> Facts:
    return replace(HEALTHY, **changes)  # type: ignore[arg-type]


def service(**changes: object) -> dict[str, Service]:
    return {**HEALTHY.services, "green": replace(HEALTHY.services["green"], **changes)}  # type: ignore[arg-type]


def task(**changes: object) -> list[Task]:
    return [replace(TASK, **changes)]  # type: ignore[arg-type]


def test_healthy_facts_give_no_reason() -> None:
    assert reasons_against(HEALTHY, Limits()) == ()


ALONE: list[tuple[Facts, list[str]]] = [
    (
        facts(unreadable=["CloudWatch does not answer"]),
        ["CloudWatch does not answer; what cannot be seen cannot be judged"],
    ),
    (facts(other_cutover="cutover-6"), ["cutover cutover-6 is not over: let it end, or roll it back"]),
    (
        facts(weights={"blue": 90, "green": 10}),
        [
            "blue must serve everything at the beginning, but the weights are blue 90, green 10: "
            "roll back or finish the last cutover first"
        ],
    ),
    (
        facts(drift=["environment: found blue 0, green 100"]),
        ["environment: found blue 0, green 100: the reconciler has not put it right yet"],
    ),
    (facts(unreachable=["green"]), ["database green does not answer"]),
    (
        facts(writers=["blue", "green"]),
        [
            "blue and green both admit writers: fence one of them at once (runbook: two writers)",
            "green admits writers, and only blue should",
        ],
    ),
    (
        facts(writers=[]),
        ["no database is seen to admit writers: once all of them answer, run the switch that was broken off again"],
    ),
    (facts(writers=["green"]), ["green admits writers, and only blue should"]),
    (facts(schema_differences=["blue alone has column x"]), ["schemas differ: blue alone has column x"]),
    (facts(alarms={"a": "ALARM"}), ["alarm a is firing already"]),
    (facts(alarms={"a": "INSUFFICIENT_DATA"}), ["alarm a has no data, so it could not warn"]),
    (facts(alarms={"a": "ABSENT"}), ["alarm a does not exist"]),
    (facts(alarms={"a": "NEW"}), ["alarm a is in state NEW"]),
    (facts(services=service(deploying=True)), ["a deployment of green is in progress: wait until it ends"]),
    (
        facts(services=service(running=2)),
        [
            "green runs 2 of 3 tasks",
            "green runs 2 tasks and blue 3: scale green out first, or it takes the load cold",
        ],
    ),
    (
        facts(services=service(desired=1, running=1)),
        ["green runs 1 tasks and blue 3: scale green out first, or it takes the load cold"],
    ),
    (facts(targets={"green": Targets(healthy=0, registered=0)}), ["green has no targets"]),
    (facts(targets={"green": Targets(healthy=2, registered=3)}), ["green has 2 healthy targets of 3"]),
    (
        facts(tasks=task(status="stopped", lag_seconds=None)),
        ["replication BLUE-GREEN is stopped: start it (bluegreen replication start)"],
    ),
    (facts(tasks=task(lag_seconds=None)), ["replication BLUE-GREEN reports no lag"]),
    (facts(tasks=task(lag_seconds=5.5)), ["replication BLUE-GREEN lags 5.5 s, tolerated are 5 s"]),
    (facts(tasks=task(validation_failures=4)), ["replication BLUE-GREEN found 4 rows that differ"]),
    (
        facts(rotations=[Rotation(secret="s", under_way=True, next_at=None)]),
        ["the rotation of s is under way: wait until it ends"],
    ),
    (
        facts(rotations=[Rotation(secret="s", under_way=False, next_at=NOW + 1800)]),
        ["the rotation of s is due in 0.5 h: rotate it now, before the cutover"],
    ),
    (
        facts(rotations=[Rotation(secret="s", under_way=False, next_at=NOW - 1)]),
        ["the rotation of s is due in 0.0 h: rotate it now, before the cutover"],
    ),
    (facts(owed_restarts=True), ["a rotation still has to restart replication tasks: wait until it has"]),
]


@pytest.mark.parametrize(("found", "reasons"), ALONE)
def test_each_fact_has_its_reason_and_no_other(found: Facts, reasons: list[str]) -> None:
    assert list(reasons_against(found, Limits())) == reasons


@pytest.mark.parametrize(
    "found",
    [
        facts(tasks=task(lag_seconds=5.0)),
        facts(tasks=task(validation_failures=None)),
        facts(rotations=[Rotation(secret="s", under_way=False, next_at=NOW + 24 * 3600)]),
        facts(rotations=[Rotation(secret="s", under_way=False, next_at=None)]),
        facts(services=service(desired=4, running=4)),
        facts(weights={}),
        facts(targets={}, services={}, tasks=[], rotations=[], alarms={}),
    ],
)
def test_what_is_tolerated_gives_no_reason(found: Facts) -> None:
    assert reasons_against(found, Limits()) == ()


Worse = Callable[[Facts], Facts]

# Each makes one thing worse and leaves everything else as it is. A task that stops while it reports no lag is left
# out: that it reports none says nothing new then.
WORSE: dict[str, Worse] = {
    "unreadable": lambda f: replace(f, unreadable=[*f.unreadable, "x cannot be read"]),
    "other cutover": lambda f: replace(f, other_cutover=f.other_cutover or "cutover-6"),
    "drift": lambda f: replace(f, drift=[*f.drift, "drifted"]),
    "weights": lambda f: replace(f, weights={"blue": 40, "green": 60}),
    "unreachable": lambda f: replace(f, unreachable=[*f.unreachable, "legacy"]),
    "foreign writer": lambda f: replace(f, writers=sorted({*f.writers, "green"}) if f.writers else []),
    "schemas": lambda f: replace(f, schema_differences=[*f.schema_differences, "one more"]),
    "alarm": lambda f: replace(f, alarms={**f.alarms, "another": "ALARM"}),
    "blind alarm": lambda f: replace(f, alarms={**f.alarms, "blind": "INSUFFICIENT_DATA"}),
    "deployment": lambda f: replace(f, services={k: replace(v, deploying=True) for k, v in f.services.items()}),
    "cold service": lambda f: replace(
        f, services={"third": Service(desired=2, running=1, deploying=False), **f.services}
    ),
    "targets": lambda f: replace(f, targets={**f.targets, "third": Targets(healthy=0, registered=0)}),
    "stopped task": lambda f: replace(
        f, tasks=[replace(each, status="stopped") if each.lag_seconds is not None else each for each in f.tasks]
    ),
    "lagging task": lambda f: replace(f, tasks=[*f.tasks, replace(TASK, identifier="SLOW", lag_seconds=60.0)]),
    "silent task": lambda f: replace(f, tasks=[*f.tasks, replace(TASK, identifier="SILENT", lag_seconds=None)]),
    "differing rows": lambda f: replace(f, tasks=[*f.tasks, replace(TASK, identifier="WRONG", validation_failures=3)]),
    "rotation begins": lambda f: replace(f, rotations=[replace(each, under_way=True) for each in f.rotations]),
    "rotation due": lambda f: replace(
        f, rotations=[*f.rotations, Rotation(secret="due", under_way=False, next_at=NOW)]
    ),
    "owed restarts": lambda f: replace(f, owed_restarts=True),
}


@pytest.mark.parametrize("worse", WORSE)
def test_everything_that_gets_worse_is_a_reason(worse: str) -> None:
    assert reasons_against(WORSE[worse](HEALTHY), Limits()) != ()


@given(st.lists(st.sampled_from(sorted(WORSE))), st.sampled_from(sorted(WORSE)), st.sampled_from([(), ("blue",)]))
def test_a_bad_fact_more_takes_no_reason_away(before: list[str], more: str, writers: tuple[str, ...]) -> None:
    found = replace(HEALTHY, writers=list(writers))
    for name in before:
        found = WORSE[name](found)
    assert set(reasons_against(found, Limits())) <= set(reasons_against(WORSE[more](found), Limits()))


def test_all_reasons_are_given_at_once() -> None:
    found = HEALTHY
    for worse in WORSE.values():
        found = worse(found)
    reasons = reasons_against(found, Limits())
    assert len(reasons) == len(set(reasons))
    for worse in WORSE.values():
        assert set(reasons_against(worse(HEALTHY), Limits())) <= set(reasons) | {
            # Of these only the numbers change with what else is wrong.
            *reasons_against(facts(weights={"blue": 40, "green": 60}), Limits()),
        }


SICK_SOURCE = facts(
    targets={**HEALTHY.targets, "blue": Targets(healthy=0, registered=3)},
    services={**HEALTHY.services, "blue": Service(desired=3, running=1, deploying=False)},
)


def test_a_sick_source_keeps_a_cutover_from_beginning() -> None:
    assert reasons_against(SICK_SOURCE, Limits()) == ("blue runs 1 of 3 tasks", "blue has 0 healthy targets of 3")


def test_a_sick_source_can_be_left_on_purpose() -> None:
    assert reasons_against(SICK_SOURCE, Limits(source_may_be_sick=True)) == ()


def test_leaving_a_sick_source_does_not_excuse_a_sick_target() -> None:
    sick = facts(
        targets={**SICK_SOURCE.targets, "green": Targets(healthy=2, registered=3)}, services=service(running=2)
    )
    assert reasons_against(sick, Limits(source_may_be_sick=True)) == (
        "green runs 2 of 3 tasks",
        "green runs 2 tasks and blue 3: scale green out first, or it takes the load cold",
        "green has 2 healthy targets of 3",
    )
