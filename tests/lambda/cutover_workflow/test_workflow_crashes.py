"""A function dies before or after any one of its side effects, in a whole cutover: enumerated, not sampled.

Three things may follow: the state machine calls it again; it dies whenever it is called again, until the state machine
gives up; or the execution dies with it, and the rule for executions that end badly calls the rollback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Any

import pytest

from cutover_state.levers import Kind
from cutover_state.run import Phase
from tests.support.effects import Process
from tests.support.whole_cutover import InMemory, Moments, WholeCutover, approving
from traffic.weights import HUNDRED

pytestmark = pytest.mark.slow


class Then(Enum):
    CALLED_AGAIN = "called again"
    DIES_AGAIN = "dies again and again"
    EXECUTION_DIES = "the execution dies"


def turns_bad_at_the_end(cutover: WholeCutover, waits: int) -> None:
    approving(cutover, waits)
    if cutover.stage.admitting() == ["green"]:
        cutover.sick.add("green")


def alarm_at_the_gate(cutover: WholeCutover, waits: int) -> None:
    if cutover.is_at_a_gate:
        # Lambda makes the call of a topic three times.
        for _ in range(3):
            try:
                cutover.alarm("green-unhealthy")
            except BaseException as error:
                if not str(error).startswith("Rollback died"):
                    raise
                continue
            break


def taken_back_step_by_step(cutover: WholeCutover, waits: int) -> None:
    approving(cutover, waits)
    run = cutover.run_now
    if cutover.stage.admitting() == ["green"] and run is not None and not run.returning and not run.phase.is_over:
        cutover.roll_back(gradual=True)


@dataclass(frozen=True)
class Course:
    """Attributes: at_wait: what happens meanwhile; ends: the phases in which a run of it may end."""

    at_wait: Callable[[WholeCutover, int], None]
    request: Mapping[str, Any] = field(default_factory=dict)


COURSES = {
    "healthy": Course(approving),
    "healthy, with recovery points": Course(approving, {"recovery_point": True}),
    "bad after the switch": Course(turns_bad_at_the_end),
    "alarm at the gate": Course(alarm_at_the_gate),
    "taken back step by step": Course(taken_back_step_by_step),
}


def play(definition: Mapping[str, Any], course: Course, moments: Moments, then: Then) -> WholeCutover:
    cutover = WholeCutover(
        definition=definition,
        stage=InMemory(),
        moments=moments,
        at_wait=course.at_wait,
        execution_dies=then is Then.EXECUTION_DIES,
    )
    cutover.run(**course.request)
    return cutover


def faults(cutover: WholeCutover) -> list[str]:
    """What is wrong in the end; empty when all is right. That no two databases admit at once is asserted on the way."""
    played = cutover.stage.played
    run, desired = played.runs.read(), played.desired.read()
    assert desired is not None
    live = {kind: dict(lever.weights) for kind, lever in played.levers.items()}
    ends = {
        None: ({"blue": HUNDRED, "green": 0}, "blue"),
        Phase.ROLLED_BACK: ({"blue": HUNDRED, "green": 0}, "blue"),
        Phase.SUCCEEDED: ({"blue": 0, "green": HUNDRED}, "green"),
    }
    phase = run.phase if run else None
    if phase not in ends:
        return [f"it ended {phase}"]
    weights, writer = ends[phase]
    expected = {
        "weights": (live[Kind.ENVIRONMENT], weights),
        "records": (live[Kind.FRONT_DOOR], {"legacy": HUNDRED, "aws": 0}),
        "desired weights": (dict(desired.weights), weights),
        "desired writer": (desired.writer, writer),
        "writer": (cutover.stage.admitting(), [writer]),
    }
    found = [f"{name}: {is_} instead of {should}" for name, (is_, should) in expected.items() if is_ != should]
    history = played.levers[Kind.ENVIRONMENT].history
    found += [f"weights {each} were set" for each in history if sum(each.values()) != HUNDRED]
    return found + untold(cutover, history)


def untold(cutover: WholeCutover, history: Sequence[Mapping[str, int]]) -> list[str]:
    """What was changed and is not in the journal, in the order in which it was changed."""
    entries = cutover.journal()
    intended = [dict(entry.after or {}) for entry in entries if entry.what == "set weights"]
    found = []
    place = 0
    for weights in history:
        try:
            # Whoever died after the intention is followed by another one of the same.
            place += intended[place:].index(dict(weights)) + 1
        except ValueError:
            found.append(f"the journal does not tell of {weights}")
    moved = [entry.after["writer"] for entry in entries if entry.what.startswith("switch the writer") and entry.after]
    for before, after in pairwise(cutover.stage.played.databases.history):
        if before != after and after not in moved:
            found.append(f"the journal does not tell that {after} became the writer")
    whats = [entry.what for entry in entries]
    run = cutover.stage.played.runs.read()
    if run is not None:
        last = {Phase.SUCCEEDED: "complete", Phase.ROLLED_BACK: "rolled back"}[run.phase]
        if "begin" not in whats or last not in whats:
            found.append(f"the journal does not tell how it began and ended: {whats}")
    return found


@pytest.mark.parametrize("then", list(Then))
@pytest.mark.parametrize("name", COURSES)
def test_a_crash_anywhere_leaves_a_cutover_that_went_through_or_is_back(
    definition: Mapping[str, Any],
    name: str,
    then: Then,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    course = COURSES[name]
    undisturbed = Moments()
    play(definition, course, undisturbed, then)
    played = 0
    wrong = []
    for moment, what in enumerate(undisturbed.names):
        moments = Moments(dies_at=moment, for_good=then is Then.DIES_AGAIN)
        if then is Then.DIES_AGAIN and what.startswith("Rollback"):
            # Then nobody takes it back, and the alarms on the function say so.
            continue
        cutover = play(definition, course, moments, then)
        assert moments.died_in is not None, what
        played += 1
        wrong += [f"died in {what}: {fault}" for fault in faults(cutover)]
        if cutover.run_now is not None and cutover.stage.played.lease_holder() is not None:
            # Nobody is left to give it up: it must end by itself.
            cutover.stage.now += 15 * 60
            assert cutover.stage.played.lease_holder() is None, what
    assert wrong == []
    assert played >= 60
    record_testsuite_property(f"crash points of the workflow, {name}, {then.value}", played)
    print(f"crash points of the workflow, {name}, {then.value}: {played}")


def test_the_checks_notice_a_journal_that_keeps_silent(definition: Mapping[str, Any]) -> None:
    cutover = play(definition, COURSES["healthy"], Moments(), Then.CALLED_AGAIN)
    assert faults(cutover) == []
    items = cutover.stage.played.table.items
    for key in [key for key, item in items.items() if item.get("what") == {"S": "set weights"}][-1:]:
        del items[key]
    assert faults(cutover) == ["the journal does not tell of {'blue': 0, 'green': 100}"]


def test_the_checks_notice_weights_that_nobody_wants(definition: Mapping[str, Any]) -> None:
    cutover = play(definition, COURSES["healthy"], Moments(), Then.CALLED_AGAIN)
    cutover.stage.world(Process()).levers[Kind.ENVIRONMENT].write({"blue": 50, "green": 50})
    assert "weights: {'blue': 50, 'green': 50} instead of {'blue': 0, 'green': 100}" in faults(cutover)
