"""The whole migration: legacy to AWS, the writer to blue, blue to green, back, and forward again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rehearsal.control_plane.plane import Cutover
from rehearsal.record import Promise
from rehearsal.scenarios.common import Judgement, drive, environment_plan, front_door_plan, judge
from rehearsal.world import World

STAY_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Attributes: judgement: at the end; back_ms: from asking for the rollback until all of it was back."""

    judgement: Judgement
    promises: list[Promise]
    back_ms: float | None = None


def _ended(name: str, status: str, cause: str) -> Promise:
    return Promise(
        name=f"{name} goes through",
        kept=status == "SUCCEEDED",
        measured=f"{status} {cause}".strip(),
        allowed="SUCCEEDED",
    )


def _failure(world: World, cutover: Cutover) -> str:
    """What the journal said last, for a cutover that did not go through."""
    entries = world.plane.journal(cutover.cutover_id)
    return entries[-1].why if entries else ""


def _forward(world: World, source: str, target: str, plan: dict[str, Any], found: list[Promise]) -> bool:
    cutover, end = drive(world, source, target, plan)
    good = end.status == "SUCCEEDED"
    found.append(_ended(f"{source} to {target}", end.status, "" if good else _failure(world, cutover)))
    return good


def go_back(world: World, found: list[Promise], *, weights: dict[str, int], writer: str) -> float:
    """Take the last cutover back by hand; the milliseconds until weights and writer were back."""
    asked = time.monotonic()
    world.note("rollback", "an operator asks to take the cutover back")
    answer = world.plane.roll_back(after_the_end=True)
    took = (time.monotonic() - asked) * 1000
    if world.plane.run is not None:
        world.read_journal(world.plane.run.cutover_id)
    is_back = answer["rolled_back"] and world.resources.weights() == weights and world.databases.admitting() == [writer]
    found.append(
        Promise(
            name="the rollback restores weights and writer",
            kept=is_back,
            measured=f"{took:.0f} ms; {answer['explanation']}",
            allowed=f"{_shown(weights)}, writer {writer}",
        )
    )
    return took


def whole(world: World, *, tell: Callable[[str], None] = lambda _: None) -> Outcome:
    """Play it. Every cutover has to go through, and every promise to hold over all of it."""
    world.reset(writer="legacy", aws=0)
    found: list[Promise] = []
    switches: list[tuple[str, str]] = []
    back_ms = None
    with world.load() as load:
        time.sleep(STAY_SECONDS)
        tell("admission: legacy to AWS")
        going = _forward(world, "legacy", "aws", front_door_plan(), found)
        if going:
            switches.append(("legacy", "blue"))
            time.sleep(STAY_SECONDS)
            tell("cutover: blue to green")
            going = _forward(world, "blue", "green", environment_plan(), found)
        if going:
            switches.append(("blue", "green"))
            time.sleep(STAY_SECONDS)
            tell("rollback: green to blue")
            back_ms = go_back(world, found, weights={"blue": 100, "green": 0}, writer="blue")
            switches.append(("green", "blue"))
            time.sleep(STAY_SECONDS)
            tell("forward again: blue to green")
            if _forward(world, "blue", "green", environment_plan(), found):
                switches.append(("blue", "green"))
            time.sleep(STAY_SECONDS)
        judgement = judge(world, load, switches=switches)
    return Outcome(judgement=judgement, promises=[*found, *judgement.promises], back_ms=back_ms)


def short(world: World, *, tell: Callable[[str], None] = lambda _: None) -> Outcome:
    """Blue to green in two steps, and back: what continuous integration has time for."""
    world.reset()
    found: list[Promise] = []
    switches: list[tuple[str, str]] = []
    back_ms = None
    with world.load() as load:
        time.sleep(1)
        tell("cutover: blue to green")
        if _forward(world, "blue", "green", environment_plan(50, 100), found):
            switches.append(("blue", "green"))
            time.sleep(1)
            tell("rollback: green to blue")
            back_ms = go_back(world, found, weights={"blue": 100, "green": 0}, writer="blue")
            switches.append(("green", "blue"))
            time.sleep(1)
        judgement = judge(world, load, switches=switches)
    return Outcome(judgement=judgement, promises=[*found, *judgement.promises], back_ms=back_ms)


def _shown(weights: dict[str, int]) -> str:
    return ", ".join(f"{side} {weight}" for side, weight in weights.items())
