"""An alarm takes a cutover back only if it is one of the side that the traffic is moved to."""

from __future__ import annotations

import pytest

from cutover_rollback.request import Request
from cutover_rollback.rollback import roll_back
from cutover_state.levers import Kind
from tests.support.played_cutover import PlayedCutover

DIRECTIONS = [
    (Kind.ENVIRONMENT, "blue", "green"),
    (Kind.ENVIRONMENT, "green", "blue"),
    (Kind.FRONT_DOOR, "legacy", "aws"),
    (Kind.FRONT_DOOR, "aws", "legacy"),
]


def fired(alarm: str) -> Request:
    return Request(requested_by=f"alarm {alarm}", reason=f"alarm {alarm} fired", alarm=alarm)


def cutover(kind: Kind, source: str, target: str) -> PlayedCutover:
    played = PlayedCutover()
    writer = {"aws": "blue"}.get(source, source)
    played.begin(kind=kind, source=source, target=target, writer=(writer, writer))
    return played


@pytest.mark.parametrize(("kind", "source", "target"), DIRECTIONS)
def test_an_alarm_of_the_target_takes_the_cutover_back(kind: Kind, source: str, target: str) -> None:
    played = cutover(kind, source, target)
    alarm = f"{'green' if target == 'aws' else target}-unhealthy"
    assert roll_back(played.world(), fired(alarm)).rolled_back
    assert played.faults() == []


@pytest.mark.parametrize(("kind", "source", "target"), DIRECTIONS)
def test_an_alarm_of_the_source_does_not_send_the_traffic_back_to_it(kind: Kind, source: str, target: str) -> None:
    played = cutover(kind, source, target)
    before = dict(played.table.items)
    alarm = f"{'blue' if source == 'aws' else source}-unhealthy"
    result = roll_back(played.world(), fired(alarm))
    assert (result.rolled_back, result.explanation) == (
        False,
        f"alarm {alarm} is none of {target}, which cutover cutover-7 moves to",
    )
    assert (played.table.items, played.told) == (before, [])
    assert played.levers[kind].weights == {source: 50, target: 50}


def test_an_alarm_that_nobody_watches_changes_nothing() -> None:
    played = cutover(*DIRECTIONS[0])
    assert not roll_back(played.world(), fired("another")).rolled_back
    assert played.levers[Kind.ENVIRONMENT].weights == {"blue": 50, "green": 50}
