"""A short rehearsal and the negative controls, on everything that really runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rehearsal.balancer import HaproxySoftware
from rehearsal.databases import Software
from rehearsal.scenarios.controls import CONTROLS
from rehearsal.scenarios.stage import Fault
from rehearsal.scenarios.whole import short
from rehearsal.world import World, WorldSettings
from tests.support.synthesized import Synthesis

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(mariadb: Software, haproxy: HaproxySoftware, staging: Synthesis) -> Iterator[World]:
    assert mariadb.version
    assert haproxy.version
    with World.start(WorldSettings(rate=14, assembly=staging.folder)) as running:
        yield running


def test_a_cutover_there_and_back_keeps_every_promise(world: World) -> None:
    outcome = short(world)
    assert [promise for promise in outcome.promises if not promise.kept] == []
    assert [(each.old, each.new) for each in outcome.judgement.crossings] == [("blue", "green"), ("green", "blue")]
    assert {side for each in outcome.judgement.paid for side in (each.side,)} == {"blue", "green"}
    assert {event.kind for event in world.events} >= {"cutover", "weights", "writer", "decision", "rollback"}
    assert {sample.writer for sample in world.samples} >= {"blue", "green"}


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_a_cutover_without_a_safeguard_breaks_a_promise(world: World, control: Fault) -> None:
    result = control.run(world)
    assert result.passed, result.happened
    assert {promise.name for promise in result.promises if not promise.kept} & set(control.breaks)
