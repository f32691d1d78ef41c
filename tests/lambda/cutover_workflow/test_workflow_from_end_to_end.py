"""The state machine as it is deployed, with the functions' own code, from its beginning to each of its ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cutover_state.levers import Kind
from cutover_state.run import Phase
from tests.support.whole_cutover import PLAN, InMemory, WholeCutover, approving

pytestmark = pytest.mark.slow

BLUE_HAS_ALL = {"blue": 100, "green": 0}
GREEN_HAS_ALL = {"blue": 0, "green": 100}


@pytest.fixture
def cutover(definition: Mapping[str, Any]) -> WholeCutover:
    return WholeCutover(definition=definition, stage=InMemory(), at_wait=approving)


def is_back(cutover: WholeCutover) -> bool:
    run = cutover.found()
    assert run.phase is Phase.ROLLED_BACK, run.reason
    found = (cutover.weights(), cutover.stage.admitting(), cutover.stage.played.lease_holder())
    return found == (BLUE_HAS_ALL, ["blue"], None)


def test_a_healthy_green_gets_everything_and_the_writer(cutover: WholeCutover) -> None:
    end = cutover.run()
    assert (end.status, cutover.found().phase) == ("SUCCEEDED", Phase.SUCCEEDED)
    assert (cutover.weights(), cutover.stage.admitting()) == (GREEN_HAS_ALL, ["green"])
    assert [w["green"] for w in cutover.stage.played.levers[Kind.ENVIRONMENT].history] == [1, 50, 50, 100]
    assert cutover.stage.told == ["Begun: blue to green", "Approval wanted: blue to green", "Complete: blue to green"]
    assert cutover.stage.played.lease_holder() is None
    desired = cutover.stage.played.desired.read()
    assert desired is not None
    assert (desired.weights, desired.writer) == (GREEN_HAS_ALL, "green")


def test_the_way_back_is_the_same_cutover_with_the_roles_exchanged(cutover: WholeCutover) -> None:
    cutover.run()
    cutover.cutover_id = "cutover-8"
    assert cutover.run(**{"from": "green", "to": "blue"}).status == "SUCCEEDED"
    assert (cutover.weights(), cutover.stage.admitting()) == (BLUE_HAS_ALL, ["blue"])


def test_a_green_that_answers_badly_is_taken_back(cutover: WholeCutover) -> None:
    cutover.sick.add("green")
    end = cutover.run()
    assert (end.status, end.error) == ("FAILED", "RolledBack")
    assert is_back(cutover)
    assert max(w["green"] for w in cutover.stage.played.levers[Kind.ENVIRONMENT].history) == 1
    why = next(entry.why for entry in cutover.journal() if entry.what == "roll back")
    assert why.startswith("green: 50 bad of 1,000, tolerated 0.2 %")


def test_a_green_that_turns_bad_after_the_switch_is_taken_back_with_the_writer(cutover: WholeCutover) -> None:
    def turn_bad(cutover: WholeCutover, waits: int) -> None:
        approving(cutover, waits)
        if cutover.stage.admitting() == ["green"]:
            cutover.sick.add("green")

    cutover.at_wait = turn_bad
    assert cutover.run().error == "RolledBack"
    assert is_back(cutover)
    assert "writer switched back" in cutover.whats()


def test_a_blue_that_is_bad_does_not_hinder_the_cutover_away_from_it(cutover: WholeCutover) -> None:
    cutover.sick.add("blue")
    cutover.firing.add("blue-unhealthy")
    assert cutover.run().status == "SUCCEEDED"


def test_nobody_approves_in_time(cutover: WholeCutover) -> None:
    cutover.at_wait = None
    end = cutover.run()
    assert end.error == "RolledBack"
    assert is_back(cutover)
    assert "nobody approved step 3 in time" in [entry.why for entry in cutover.journal()]
    assert cutover.stage.told.count("Approval wanted: blue to green") == 1


def test_what_speaks_against_it_ends_it_before_anything_moves(cutover: WholeCutover) -> None:
    cutover.refuse = ("another-alarm",)
    end = cutover.run()
    assert end.error == "NotBegun"
    assert end.data["preflight"]["reasons"] == ["alarm another-alarm is firing already"]
    assert cutover.whats() == ["refuse to begin"]
    assert cutover.stage.told == ["Not begun: blue to green"]
    assert cutover.stage.played.lease_holder() is None
    assert cutover.stage.played.levers[Kind.ENVIRONMENT].history == []


def test_recovery_points_are_waited_for_longer_than_a_lease_lasts(cutover: WholeCutover) -> None:
    """Forty minutes: the lease is extended, nobody takes the cutover for stuck, and the plan's clocks do not run."""
    cutover.jobs_after = 40
    silences: list[float] = []

    def look(cutover: WholeCutover, waits: int) -> None:
        approving(cutover, waits)
        run = cutover.found()
        if run.phase is Phase.PREPARING:
            silences.append(cutover.stage.now - run.looked_at)
            assert cutover.stage.played.lease_holder() == "cutover-7"

    cutover.at_wait = look
    gated = {
        "steps": [{**PLAN["steps"][0], "gate": {"question": "Begin?", "timeout_seconds": 120}}, *PLAN["steps"][1:]]
    }
    end = cutover.run(recovery_point=True, plan=gated)
    assert end.status == "SUCCEEDED"
    assert cutover.entered.count("WaitForRecoveryPoints") == 40
    assert max(silences) <= 60


def test_a_backup_that_fails_ends_it_before_anything_moves(cutover: WholeCutover) -> None:
    cutover.jobs_after = -1

    def fail(event: Mapping[str, Any], process: object) -> Mapping[str, Any]:
        raise RuntimeError("backup job 1 is FAILED")

    cutover._recovery_point = fail  # type: ignore[method-assign]
    assert cutover.run(recovery_point=True).error == "RolledBack"
    assert is_back(cutover)
    assert [w["green"] for w in cutover.stage.played.levers[Kind.ENVIRONMENT].history if w["green"]] == []


def test_an_operator_aborts(cutover: WholeCutover) -> None:
    def abort(cutover: WholeCutover, waits: int) -> None:
        if waits == 2:
            cutover.order("abort", actor="grace")

    cutover.at_wait = abort
    assert cutover.run().error == "RolledBack"
    assert is_back(cutover)
    [order] = [entry for entry in cutover.journal() if entry.what == "follow an order"]
    assert (order.who, order.why) == ("grace", "grace asked to roll back")


def test_an_alarm_takes_it_back_while_the_machine_waits_at_a_gate(cutover: WholeCutover) -> None:
    def fire(cutover: WholeCutover, waits: int) -> None:
        if cutover.is_at_a_gate:
            assert cutover.alarm("green-unhealthy")["rolled_back"]

    cutover.at_wait = fire
    end = cutover.run()
    assert end.status == "ABORTED"
    assert is_back(cutover)
    assert cutover.stage.told.count("Rolled back: blue to green") == 1


def test_the_first_look_after_a_rollback_ends_the_execution_that_nobody_stopped(cutover: WholeCutover) -> None:
    def fire(cutover: WholeCutover, waits: int) -> None:
        if waits == 3:
            cutover.roll_back(from_state_machine=True)

    cutover.at_wait = fire
    end = cutover.run()
    assert (end.error, end.cause) == ("EndedElsewhere", "cutover cutover-7 does not go forward any more")
    assert is_back(cutover)


def test_an_order_at_the_moment_of_a_look_is_not_lost(cutover: WholeCutover) -> None:
    """Held for ten minutes of waits, and then let go."""

    def hold(cutover: WholeCutover, waits: int) -> None:
        if waits == 2:
            cutover.order("hold")
        if waits == 22:
            cutover.order("resume")
        approving(cutover, waits)

    cutover.at_wait = hold
    assert cutover.run().status == "SUCCEEDED"
    kinds = [entry.details["kind"] for entry in cutover.journal() if entry.what == "follow an order"]
    assert kinds == ["hold", "resume", "approve"]


@pytest.mark.parametrize(("source", "target"), [("legacy", "aws"), ("aws", "legacy")])
def test_the_front_door_moves_both_ways(cutover: WholeCutover, source: str, target: str) -> None:
    played = cutover.stage.played
    played.levers[Kind.FRONT_DOOR].weights = {source: 100, target: 0}
    first, then = ("legacy", "blue") if source == "legacy" else ("blue", "legacy")
    played.databases.admit(first)
    del played.table.items["DESIRED", "current"]
    played.adopt()
    times = {"watch_seconds": 180, "deadline_seconds": 900}
    steps = [{"weight_percent": percent, **times} for percent in (10, 100)]
    at = 100 if source == "legacy" else 0
    switch = {"weight_percent": at, "switch_writer": True, **times}
    plan = {"steps": [*steps, switch] if at else [switch, *steps]}
    end = cutover.run(**{"from": source, "to": target}, plan=plan)
    assert end.status == "SUCCEEDED", cutover.found().reason
    assert (cutover.weights(Kind.FRONT_DOOR), cutover.stage.admitting()) == ({source: 0, target: 100}, [then])


@pytest.mark.parametrize(("source", "target"), [("legacy", "aws"), ("aws", "legacy")])
def test_the_front_door_is_taken_back_both_ways(cutover: WholeCutover, source: str, target: str) -> None:
    played = cutover.stage.played
    played.levers[Kind.FRONT_DOOR].weights = {source: 100, target: 0}
    played.databases.admit("legacy" if source == "legacy" else "blue")
    del played.table.items["DESIRED", "current"]
    played.adopt()
    alarm = "legacy-unhealthy" if target == "legacy" else "green-unhealthy"

    def fire(cutover: WholeCutover, waits: int) -> None:
        if waits == 3:
            cutover.firing.add(alarm)

    cutover.at_wait = fire
    plan = {
        "steps": [{"weight_percent": percent, "watch_seconds": 180, "deadline_seconds": 900} for percent in (10, 100)]
    }
    assert cutover.run(**{"from": source, "to": target}, plan=plan).error == "RolledBack"
    assert cutover.found().phase is Phase.ROLLED_BACK
    assert cutover.weights(Kind.FRONT_DOOR) == {source: 100, target: 0}
