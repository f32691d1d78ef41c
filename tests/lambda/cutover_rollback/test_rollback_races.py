"""A rollback and a step, a reconciler or another rollback at the same time: every interleaving of one into the other.

Each call that one of them makes, reading or writing, is a moment at which the other one runs from beginning to end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from cutover_rollback.request import Request
from cutover_rollback.rollback import roll_back
from cutover_state.desired import DesiredConflictError, desire
from cutover_state.forward import OvertakenError, desire_forward, shift
from cutover_state.levers import Kind, Lever
from cutover_state.run import Phase, RunConflictError
from tests.support.cutover_world import CUTOVER, CutoverWorld
from tests.support.effects import Interrupted, Process
from tests.support.played_cutover import PlayedCutover
from traffic.weights import TrafficError, split

ALARM = Request(requested_by="alarm green-unhealthy", reason="alarm green-unhealthy fired")
FORWARD = split(source="blue", target="green", target_percent=75)


def step(cutover: PlayedCutover, process: Process | None = None) -> None:
    """What a step of the state machine does to go forward."""
    world = cutover.world(process)
    lever = world.levers[Kind.ENVIRONMENT]
    with suppress(OvertakenError):
        shift(world.desired, world.runs, lever, cutover_id=CUTOVER, kind=Kind.ENVIRONMENT, wanted=FORWARD)


def switch_noted(cutover: PlayedCutover, process: Process | None = None) -> None:
    """What a step does once the writer has switched."""
    world = cutover.world(process)
    with suppress(OvertakenError):
        desire_forward(world.desired, world.runs, cutover_id=CUTOVER, writer="green")


def rolls_back(cutover: PlayedCutover, process: Process | None = None) -> None:
    roll_back(cutover.world(process), ALARM)


def reconciles(cutover: PlayedCutover, process: Process | None = None) -> None:
    cutover.reconcile(process)


Actor = Callable[..., None]


def interleavings(outer: Actor, inner: Actor, *, percent: int = 50) -> list[PlayedCutover]:
    """The ends of all of them; ``percent`` is what the target has of the traffic."""
    ends: list[PlayedCutover] = []
    for moment in range(10_000):
        cutover = PlayedCutover()
        cutover.begin(percent=percent, writer=("blue", "green") if percent else ("blue", "blue"))
        process = Interrupted(at=moment, by=lambda cutover=cutover: inner(cutover))  # type: ignore[misc]
        outer(cutover, process)
        if process.calls <= moment:
            return ends
        ends.append(cutover)
    raise AssertionError("it never ends")


@pytest.mark.parametrize("inner", [step, switch_noted, reconciles, rolls_back])
def test_whatever_comes_into_a_rollback_it_has_the_last_word(inner: Actor) -> None:
    ends = interleavings(rolls_back, inner)
    assert len(ends) > 30
    assert [end.faults() for end in ends] == [[]] * len(ends)


# At 0 % the desired state is as it was before: a rollback that wrote only what changes would leave its version alone.
@pytest.mark.parametrize(
    ("outer", "percent"), [(step, 50), (step, 0), (switch_noted, 50), (reconciles, 50), (reconciles, 0)]
)
def test_a_rollback_that_comes_into_anything_has_the_last_word(outer: Actor, percent: int) -> None:
    ends = interleavings(outer, rolls_back, percent=percent)
    assert len(ends) >= 3
    assert [end.faults() for end in ends] == [[]] * len(ends)


def test_a_step_that_comes_into_the_reconciler_is_not_undone() -> None:
    ends = interleavings(reconciles, step)
    assert [end.levers[Kind.ENVIRONMENT].weights for end in ends] == [FORWARD] * len(ends)


def test_a_reconciler_that_comes_into_a_step_does_not_undo_it() -> None:
    ends = interleavings(step, reconciles)
    assert [end.levers[Kind.ENVIRONMENT].weights for end in ends] == [FORWARD] * len(ends)


def test_a_step_that_was_overtaken_says_so_and_leaves_what_the_rollback_set() -> None:
    cutover = PlayedCutover()
    cutover.begin()
    rolls_back(cutover)
    world = cutover.world()
    with pytest.raises(OvertakenError, match=r"cutover cutover-7 is rolled back: alarm green-unhealthy fired"):
        shift(
            world.desired,
            world.runs,
            world.levers[Kind.ENVIRONMENT],
            cutover_id=CUTOVER,
            kind=Kind.ENVIRONMENT,
            wanted=FORWARD,
        )
    assert cutover.faults() == []


@pytest.mark.parametrize("phase", [Phase.ROLLING_BACK, Phase.STUCK, Phase.SUCCEEDED, Phase.REFUSED])
def test_no_step_goes_forward_from_a_phase_that_does_not(phase: Phase) -> None:
    cutover = PlayedCutover()
    cutover.begin(phase=phase)
    step(cutover)
    assert cutover.levers[Kind.ENVIRONMENT].weights == {"blue": 50, "green": 50}


def test_the_step_of_another_cutover_moves_nothing() -> None:
    cutover = PlayedCutover()
    cutover.begin()
    with pytest.raises(OvertakenError, match="cutover-6 is not the one that runs"):
        desire_forward(cutover.desired, cutover.runs, cutover_id="cutover-6", writer="green")


def test_a_step_before_anybody_has_said_what_should_be_is_refused() -> None:
    cutover = PlayedCutover()
    cutover.begin()
    del cutover.table.items["DESIRED", "current"]
    with pytest.raises(DesiredConflictError, match="let the reconciler run first"):
        desire_forward(cutover.desired, cutover.runs, cutover_id=CUTOVER, writer="green")


@pytest.mark.slow
def test_a_state_machine_that_writes_forward_all_the_time_has_lost_when_the_rollback_ends(
    cutover: CutoverWorld,
) -> None:
    """Real levers and stores; the steps go on after the execution was stopped, as functions under way do."""
    clients = cutover.clients()
    world = cutover.world(clients, who="state machine")
    shifted = 0
    begun = threading.Event()

    def machine() -> None:
        nonlocal shifted
        percent = 50
        while True:
            percent = 20 + (percent + 7) % 70
            try:
                shift(
                    world.desired,
                    world.runs,
                    world.levers[Kind.ENVIRONMENT],
                    cutover_id=CUTOVER,
                    kind=Kind.ENVIRONMENT,
                    wanted=split(source="blue", target="green", target_percent=percent),
                )
            except OvertakenError:
                return
            except (TrafficError, DesiredConflictError):
                continue
            finally:
                begun.set()
            shifted += 1

    thread = threading.Thread(target=machine)
    thread.start()
    begun.wait()
    roll_back(cutover.world(cutover.clients()), ALARM)
    thread.join()
    assert shifted > 0
    assert cutover.faults() == []


@pytest.mark.slow
def test_a_hand_that_writes_weights_until_the_execution_is_stopped_has_lost(cutover: CutoverWorld) -> None:
    """It keeps no rule: it neither looks at the run nor says first what should be."""
    clients = cutover.clients()
    lever = cutover.levers.levers(clients["elbv2"], clients["route53"])[Kind.ENVIRONMENT]
    stopped, begun = threading.Event(), threading.Event()

    def hand() -> None:
        while not stopped.is_set():
            with suppress(TrafficError):
                lever.write({"blue": 10, "green": 90})
            with suppress(DesiredConflictError):
                desire(cutover.desired, by="hand", weights={"blue": 10, "green": 90})
            begun.set()

    thread = threading.Thread(target=hand)
    world = cutover.world(cutover.clients())

    def stop(arn: str, cause: str) -> None:
        world.stop(arn, cause)
        stopped.set()
        thread.join()

    # Its own write may not read back while the hand is at it; then the call is made again, as Lambda does.
    thread.start()
    begun.wait()
    world_that_stops = replace(world, stop=stop, levers={Kind.ENVIRONMENT: _Persistent(world.levers[Kind.ENVIRONMENT])})
    roll_back(world_that_stops, ALARM)
    assert cutover.faults() == []


@dataclass(frozen=True)
class _Persistent:
    lever: Lever

    @property
    def sides(self) -> tuple[str, ...]:
        return self.lever.sides

    def read(self) -> dict[str, int]:
        return self.lever.read()

    def write(self, wanted: Mapping[str, int]) -> None:
        while True:
            with suppress(TrafficError):
                return self.lever.write(wanted)


@pytest.mark.parametrize("moment", range(40))
def test_of_a_late_rollback_and_the_next_cutover_one_wins_wholly(moment: int) -> None:
    cutover = PlayedCutover()
    run = cutover.begin(phase=Phase.SUCCEEDED, percent=100)
    person = Request(requested_by="ada", reason="complaints", after_the_end=True, cutover_id=CUTOVER)

    def begin_next() -> None:
        with suppress(RunConflictError):
            cutover.runs.begin(replace(run, cutover_id="cutover-8", phase=Phase.PREPARING, version=0))

    roll_back(cutover.world(Interrupted(at=moment, by=begin_next)), person)
    found = cutover.runs.read()
    assert found is not None
    if found.cutover_id == CUTOVER:
        assert cutover.faults() == []
    else:
        assert (found.phase, cutover.levers[Kind.ENVIRONMENT].weights) == (Phase.PREPARING, {"blue": 0, "green": 100})
