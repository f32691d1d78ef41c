"""The process of a switch dies before and after each of its side effects, and another one takes over.

Enumerated, not sampled: a run that gets through names the side effects.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest

from tests.support.crash_points import CrashError
from tests.support.interrupted_sessions import Interruptions, Moment, Point, points
from tests.support.writer_world import PATIENT, Watcher, World, Writers
from writer_switch import Result, SwitchOutcome

pytestmark = pytest.mark.slow

IMPATIENT = replace(PATIENT, lag_bound_seconds=0.3)


@dataclass
class Campaign:
    """Crashes one switch at every point, and lets another run recover.

    Attributes:
        points: The side effects at which a run died, with the result of the recovery.
    """

    world: World
    writers: Writers
    recover: Callable[[str, str], SwitchOutcome]
    prepare: Callable[[Interruptions], None] = lambda run: None
    drain_timeout_seconds: float = 10.0
    points: list[tuple[str, Result]] = field(default_factory=list)

    def run(self, directions: Sequence[tuple[str, str]], moment: Moment) -> None:
        """Every point once, in the directions by turns."""
        turns = itertools.cycle(directions)
        old, new = next(turns)
        trial = Interruptions(self.world.connect)
        self.prepare(trial)
        self.world.switch(old, new, connect=trial, drain_timeout_seconds=self.drain_timeout_seconds)
        self.world.chain.start_replication()
        for point in points(trial.effects, moment):
            self._crash(*next(turns), point)

    def _crash(self, old: str, new: str, point: Point) -> None:
        self._bring_writer_to(old)
        run = Interruptions(self.world.connect, crash_at=point)
        self.prepare(run)
        watcher = Watcher(self.world)
        begun = len(self.writers.commits)
        where = f"{point} from {old} to {new}"
        with watcher.watching((old, new)):
            with suppress(CrashError):
                self.world.switch(old, new, connect=run, drain_timeout_seconds=self.drain_timeout_seconds)
            run.bury()
            # In this run there may have been fewer sessions to kill; every other point is reached always.
            assert run.has_died or point.words.startswith("KILL"), where
            assert len(self.world.admitting()) <= 1, where
            outcome = self.recover(old, new)
        assert outcome.result in (Result.SWITCHED, Result.ALREADY_SWITCHED, Result.REVERTED), f"{where}: {outcome}"
        assert self.world.admitting() == [outcome.writer], where
        assert watcher.violations == [], where
        self.writers.wait_for_payments(3, database=str(outcome.writer))
        since = Writers(self.world, count=0, pause_seconds=1)
        since.commits = self.writers.commits[begun:]
        if outcome.writer == new:
            assert since.overlaps((old, new)) == [], where
        if run.has_died:
            self.points.append((where, outcome.result))

    def _bring_writer_to(self, name: str) -> None:
        [writer] = self.world.admitting()
        if writer != name:
            assert self.world.switch(writer, name).result is Result.SWITCHED


def finish(campaign: Campaign, record_testsuite_property: Callable[[str, object], None], name: str) -> None:
    assert campaign.world.faults(campaign.writers) == []
    assert campaign.writers.unexpected == []
    assert len(campaign.points) >= 12
    record_testsuite_property(f"crash points, {name}", len(campaign.points))
    print(f"crash points, {name}: {len(campaign.points)}")


@pytest.mark.parametrize("moment", list(Moment))
@pytest.mark.parametrize(("old", "new"), [("blue", "green"), ("green", "blue")])
def test_a_run_that_died_is_finished_by_the_same_call(
    make_world: Callable[[str], World],
    old: str,
    new: str,
    moment: Moment,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    world = make_world(old)
    with world.writers(3) as writers:
        campaign = Campaign(world, writers, recover=world.switch)
        campaign.run([(old, new)], moment)
    assert {result for _, result in campaign.points} == {Result.SWITCHED, Result.ALREADY_SWITCHED}
    finish(campaign, record_testsuite_property, f"finished, {old} to {new}, {moment.value}")


@pytest.mark.parametrize("moment", list(Moment))
def test_a_run_that_died_is_undone_by_the_opposite_call(
    world: World, moment: Moment, record_testsuite_property: Callable[[str, object], None]
) -> None:
    def go_back(old: str, new: str) -> SwitchOutcome:
        outcome = world.switch(new, old)
        # Before the fence there is nothing to undo.
        if outcome.result is Result.ALREADY_SWITCHED:
            assert outcome.writer == old
        return outcome

    with world.writers(3) as writers:
        campaign = Campaign(world, writers, recover=go_back)
        campaign.run([("blue", "green"), ("green", "blue")], moment)
    finish(campaign, record_testsuite_property, f"undone, {moment.value}")


@pytest.mark.parametrize("moment", list(Moment))
def test_a_run_that_died_while_replication_was_broken_is_taken_back(
    world: World, moment: Moment, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Replication stops after the gate and stays so: the first run reverts, or its successor does."""

    def prepare(run: Interruptions) -> None:
        def stop(words: str) -> None:
            if words.startswith("INSERT INTO blue_green_control.marker"):
                for replication in world.chain.replications:
                    replication.stop()

        run.hook = stop

    def try_again(old: str, new: str) -> SwitchOutcome:
        outcome = world.switch(old, new, drain_timeout_seconds=0.3, settings=IMPATIENT)
        if outcome.result is Result.REFUSED:  # the gate saw it: the old one is the writer, as it was
            assert outcome.writer == old
            world.chain.start_replication()
            return world.switch(old, new)
        assert outcome.result in (Result.REVERTED, Result.SWITCHED)
        world.chain.start_replication()
        return outcome

    with world.writers(3) as writers:
        campaign = Campaign(world, writers, recover=try_again, prepare=prepare, drain_timeout_seconds=0.3)
        campaign.run([("blue", "green"), ("green", "blue")], moment)
        world.chain.start_replication()
    assert Result.REVERTED in {result for _, result in campaign.points}
    finish(campaign, record_testsuite_property, f"reverted, {moment.value}")


@pytest.mark.parametrize("moment", list(Moment))
def test_a_run_between_legacy_and_blue_that_died_is_finished(
    long_chain: World, moment: Moment, record_testsuite_property: Callable[[str, object], None]
) -> None:
    with long_chain.writers(3) as writers:
        campaign = Campaign(long_chain, writers, recover=long_chain.switch)
        campaign.run([("legacy", "blue"), ("blue", "legacy")], moment)
    finish(campaign, record_testsuite_property, f"legacy and blue, {moment.value}")
