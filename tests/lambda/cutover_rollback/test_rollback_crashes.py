"""The rollback dies before and after each of its side effects, and is made again: all of them, enumerated.

Against moto the cutover with a writer; in memory every kind of cutover, also with a second crash in the next attempt.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import Any

import pytest

from cutover_rollback.request import Request
from cutover_rollback.rollback import WriterStuckError, roll_back
from cutover_state.levers import Kind
from tests.support.cutover_world import CutoverWorld
from tests.support.effects import CrashError, Process
from tests.support.played_cutover import PlayedCutover

ALARM = Request(requested_by="alarm green-unhealthy", reason="alarm green-unhealthy fired")
CUTOVERS: dict[str, dict[str, Any]] = {
    "environment with writer": {},
    "environment, traffic only": {"writer": ("blue", "blue")},
    "legacy to AWS with writer": {
        "kind": Kind.FRONT_DOOR,
        "source": "legacy",
        "target": "aws",
        "writer": ("legacy", "blue"),
    },
    "AWS to legacy with writer": {
        "kind": Kind.FRONT_DOOR,
        "source": "aws",
        "target": "legacy",
        "writer": ("blue", "legacy"),
    },
    "nothing moved yet": {"percent": 0, "writer": ("blue", "blue")},
}


def prepared(name: str, *, reachable: bool = True) -> PlayedCutover:
    cutover = PlayedCutover()
    cutover.begin(**CUTOVERS[name])
    cutover.databases.reachable = reachable
    return cutover


def dies(cutover: PlayedCutover, moment: int) -> None:
    with suppress(CrashError, WriterStuckError):
        roll_back(cutover.world(Process(dies_at=moment)), ALARM)


def moments(name: str, *, reachable: bool = True) -> int:
    process = Process()
    with suppress(WriterStuckError):
        roll_back(prepared(name, reachable=reachable).world(process), ALARM)
    return process.moments


def journal_is_true(whats: list[str]) -> bool:
    """The intention stands before what it led to, and the end is the end."""
    first = {what: whats.index(what) for what in reversed(whats)}
    pairs = [("set weights", "weights set"), ("switch the writer back", "writer switched back")]
    return (
        whats[0] == "roll back"
        and whats[-1] == "rolled back"
        and all(first.get(intention, -1) < first[result] for intention, result in pairs if result in first)
    )


@pytest.mark.parametrize("name", CUTOVERS)
def test_a_crash_anywhere_is_made_good_by_the_next_attempt(name: str) -> None:
    for moment in range(moments(name)):
        cutover = prepared(name)
        dies(cutover, moment)
        roll_back(cutover.world(), ALARM)
        assert cutover.faults() == [], moment
        assert journal_is_true([entry.what for entry in cutover.entries()]), moment
        assert [subject for subject in cutover.told if subject.startswith("Rolled back")], moment


@pytest.mark.slow
@pytest.mark.parametrize("name", ["environment with writer", "legacy to AWS with writer"])
def test_a_second_crash_anywhere_in_the_next_attempt_is_made_good_too(name: str) -> None:
    total = moments(name)
    for first, second in itertools.product(range(total), repeat=2):
        cutover = prepared(name)
        dies(cutover, first)
        dies(cutover, second)
        roll_back(cutover.world(), ALARM)
        assert cutover.faults() == [], (first, second)
        assert cutover.told, (first, second)


@pytest.mark.parametrize("name", [name for name in CUTOVERS if name.endswith("writer")])
def test_a_crash_anywhere_on_the_way_to_being_stuck_still_calls_a_person(name: str) -> None:
    for moment in range(moments(name, reachable=False)):
        cutover = prepared(name, reachable=False)
        dies(cutover, moment)
        with suppress(WriterStuckError):
            roll_back(cutover.world(), ALARM)
        assert any(subject.startswith("A person is needed") for subject in cutover.told), moment
        cutover.databases.reachable = True
        roll_back(cutover.world(), ALARM)
        assert cutover.faults() == [], moment


@pytest.mark.parametrize("name", CUTOVERS)
def test_the_side_effects_are_the_known_ones(name: str) -> None:
    """A new side effect is a new place to die: it shows up here."""
    process = Process()
    roll_back(prepared(name).world(process), ALARM)
    traffic = ["put JOURNAL set weights", "weights of aws" if "AWS" in name else "weights of green"]
    traffic = [*traffic, "put JOURNAL weights set"]
    writer = ["put JOURNAL switch the writer back", "move", "put JOURNAL writer switched back"]
    kinds = [traffic if name != "nothing moved yet" else [], writer if name.endswith("with writer") else []]
    if name.startswith("legacy"):
        kinds.reverse()
    changes = [effect for effect in process.effects if effect not in ("put DESIRED",)]
    assert changes == [
        "put RUN",
        "put LEASE",
        "put JOURNAL roll back",
        *kinds[0],
        *kinds[1],
        "stop the execution",
        "put JOURNAL rolled back",
        "tell",
        "delete LEASE",
        "put RUN",
    ]


@pytest.mark.slow
def test_a_crash_before_or_after_any_call_of_aws_is_made_good_by_the_next_attempt(cutover: CutoverWorld) -> None:
    clients = cutover.clients()
    watching = _Watching()
    watching.watch(*clients.values())

    def attempt(moment: int | None) -> Process:
        cutover.begin()
        cutover.told()
        watching.process = Process(dies_at=moment)
        with suppress(CrashError):
            roll_back(cutover.world(clients, process=watching.process), ALARM)
        return watching.process

    total = attempt(None).moments
    assert total >= 30
    for moment in range(total):
        attempt(moment)
        roll_back(cutover.world(), ALARM)
        assert cutover.faults() == [], moment
        assert cutover.execution_status() == "ABORTED", moment
        assert [subject for subject, _ in cutover.told() if subject.startswith("Rolled back")], moment


class _Watching(Process):
    """The process that uses the clients now: clients are slow to make, so all attempts share them."""

    process: Process

    def moment(self, name: str) -> None:
        self.process.moment(name)

    def live(self) -> None:
        self.process.live()
