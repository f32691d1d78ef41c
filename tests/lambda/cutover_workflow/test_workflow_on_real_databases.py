"""The whole workflow on moto and two real databases, with writers that pay without pause.

What the in-memory runs try with every crash, these try with real statements: no two writers, no payment lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from cutover_rollback.rollback import RollbackIncompleteError
from cutover_state.levers import Kind
from cutover_state.run import Phase
from rehearsal.databases import DatabaseChain
from tests.support.effects import Process
from tests.support.levers_in_aws import LeversInAws
from tests.support.local_aws import LocalAws
from tests.support.real_stage import RealStage
from tests.support.whole_cutover import Moments, WholeCutover, approving
from tests.support.writer_world import Watcher, Writers
from tests.support.writer_world import World as DatabaseWorld

pytestmark = pytest.mark.slow

SHORT: Mapping[str, Any] = {
    "steps": [
        {"weight_percent": 50, "switch_writer": True, "watch_seconds": 60, "deadline_seconds": 600},
        {"weight_percent": 100, "watch_seconds": 60, "deadline_seconds": 600},
    ]
}


@pytest.fixture(scope="module")
def levers(aws: LocalAws) -> LeversInAws:
    return LeversInAws.create(aws)


@pytest.fixture
def stage(levers: LeversInAws, fresh_databases: DatabaseChain) -> RealStage:
    return RealStage(levers, DatabaseWorld(fresh_databases, writer="blue"))


@contextmanager
def paying(stage: RealStage) -> Iterator[Writers]:
    """Writers and a watcher; in the end the books are right and there was no instant with two writers."""
    watcher = Watcher(stage.databases)
    with stage.databases.writers(3, pause_seconds=0.02) as writers, watcher.watching(("blue", "green")):
        yield writers
        writers.wait_for_payments(3)
    assert watcher.samples > 0
    assert watcher.violations == []
    assert writers.unexpected == []
    assert stage.databases.faults(writers) == []


def play(definition: Mapping[str, Any], stage: RealStage, **options: Any) -> WholeCutover:
    options.setdefault("at_wait", approving)
    return WholeCutover(definition=definition, stage=stage, **options)


def test_a_cutover_there_and_back(definition: Mapping[str, Any], stage: RealStage) -> None:
    with paying(stage) as writers:
        stage.reset("blue")
        there = play(definition, stage)
        assert there.run().status == "SUCCEEDED", there.found().reason
        assert (stage.admitting(), there.weights()) == (["green"], {"blue": 0, "green": 100})
        writers.wait_for_payments(5, database="green")
        back = play(definition, stage, cutover_id="cutover-8")
        assert back.run(**{"from": "green", "to": "blue"}).status == "SUCCEEDED", back.found().reason
        writers.wait_for_payments(5, database="blue")
    assert stage.admitting() == ["blue"]
    assert set(writers.databases()) == {"blue", "green"}


def turns_bad(cutover: WholeCutover, waits: int) -> None:
    approving(cutover, waits)
    if cutover.stage.admitting() == ["green"]:
        cutover.sick.add("green")


def test_green_turns_bad_once_it_is_the_writer(definition: Mapping[str, Any], stage: RealStage) -> None:
    with paying(stage):
        stage.reset("blue")
        cutover = play(definition, stage, at_wait=turns_bad)
        assert cutover.run().error == "RolledBack"
    assert (stage.admitting(), cutover.weights()) == (["blue"], {"blue": 100, "green": 0})
    assert "writer switched back" in cutover.whats()


def test_an_alarm_while_the_machine_waits_at_a_gate(definition: Mapping[str, Any], stage: RealStage) -> None:
    def fire(cutover: WholeCutover, _: int) -> None:
        if cutover.is_at_a_gate:
            cutover.alarm("green-unhealthy")

    with paying(stage):
        stage.reset("blue")
        cutover = play(definition, stage, at_wait=fire)
        assert cutover.run().status == "ABORTED"
    assert (cutover.found().phase, cutover.weights()) == (Phase.ROLLED_BACK, {"blue": 100, "green": 0})


def test_replication_that_stops_ends_in_a_rollback_with_blue_as_the_writer(
    definition: Mapping[str, Any], stage: RealStage
) -> None:
    def stop(cutover: WholeCutover, waits: int) -> None:
        if cutover.is_at_a_gate:
            stage.databases.chain.stop_replication()
        approving(cutover, waits)

    with paying(stage):
        stage.reset("blue")
        cutover = play(definition, stage, at_wait=stop)
        assert cutover.run().error == "RolledBack"
        stage.databases.chain.start_replication()
    assert (stage.admitting(), cutover.weights()) == (["blue"], {"blue": 100, "green": 0})
    assert "writer not switched" in cutover.whats()


def test_a_rollback_in_the_middle_of_a_switch_takes_the_writer_back(
    definition: Mapping[str, Any], stage: RealStage
) -> None:
    """It comes after the switch was allowed and before the fence, when blue still looks as if nothing would happen."""
    refused: list[str] = []

    class Hooked(Process):
        def moment(self, name: str) -> None:
            if name.startswith("before ALTER USER") and not refused:
                with pytest.raises(RollbackIncompleteError) as caught:
                    overtaken.roll_back()
                refused.append(str(caught.value))

    stage.reset("blue")
    overtaken = play(definition, stage)
    overtaken.begin(plan=SHORT)
    answer = overtaken.look()
    assert answer["next"] == "switch writer"
    with stage.side_by_side():
        stage.switch(answer["switch"], Hooked())
    assert [reason.partition(":")[0] for reason in refused] == ["who the writer is cannot be said"]
    assert overtaken.roll_back()["rolled_back"]
    assert (stage.admitting(), overtaken.found().phase) == (["blue"], Phase.ROLLED_BACK)


@pytest.mark.parametrize(
    ("dying", "at_wait", "execution_dies"),
    [
        pytest.param("WriterSwitch", approving, False, id="switch, called again"),
        pytest.param("WriterSwitch", approving, True, id="switch, the execution dies"),
        pytest.param("Rollback", turns_bad, False, id="rollback, called again"),
    ],
)
def test_a_crash_around_any_statement_or_call_of_the_switch_loses_nothing(
    definition: Mapping[str, Any],
    stage: RealStage,
    dying: str,
    at_wait: Callable[[WholeCutover, int], None],
    execution_dies: bool,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """Each moment of the writer switch and of the look after it, or of the rollback: the others are tried in memory."""

    def once(moments: Moments) -> WholeCutover:
        stage.reset("blue")
        cutover = play(definition, stage, moments=moments, at_wait=at_wait, execution_dies=execution_dies)
        cutover.run(plan=SHORT)
        return cutover

    with paying(stage):
        undisturbed = Moments()
        assert once(undisturbed).found().phase is (Phase.SUCCEEDED if at_wait is approving else Phase.ROLLED_BACK)
        own = [number for number, name in enumerate(undisturbed.names) if name.startswith(f"{dying}: ")]
        first, last = own[0], min(own[-1] + 8, len(undisturbed.names) - 1)
        assert last - first >= 14
        for moment in range(first, last + 1):
            if stage.admitting() == ["green"]:
                stage.databases.switch("green", "blue")
            moments = Moments(dies_at=moment)
            cutover = once(moments)
            what = undisturbed.names[moment]
            assert moments.died_in is not None, what
            run = cutover.found()
            writer, green = ("green", 100) if run.phase is Phase.SUCCEEDED else ("blue", 0)
            assert run.phase in (Phase.SUCCEEDED, Phase.ROLLED_BACK), f"{what}: {run.phase}, {run.reason}"
            assert stage.admitting() == [writer], what
            assert stage.cutover.levers.live()[Kind.ENVIRONMENT] == {"blue": 100 - green, "green": green}, what
            desired = stage.cutover.desired.read()
            assert desired is not None
            assert (desired.writer, desired.weights["green"]) == (writer, green), what
    mode = f"{dying}, {'the execution dies' if execution_dies else 'called again'}"
    record_testsuite_property(f"crash points of the workflow on real databases, {mode}", last - first + 1)
    print(f"crash points of the workflow on real databases, {mode}: {last - first + 1}")
