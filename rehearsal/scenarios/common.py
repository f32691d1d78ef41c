"""What scenarios share: plans, and the judgement at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rehearsal.checks import REPLICATED, Books, Crossing, Figures, figures, promises
from rehearsal.client_process import ClientProcess, Paid
from rehearsal.control_plane.plane import Cutover
from rehearsal.control_plane.state_machine import End
from rehearsal.databases import ReplicationError
from rehearsal.record import Promise
from rehearsal.world import World

WATCH_SECONDS: Final = 60
DEADLINE_SECONDS: Final = 1200
DNS_WATCH_SECONDS: Final = 180
"""Twice the TTL and a minute for Route 53: the least that a plan of the front door may have."""

PAUSE_BEYOND_LAG_MS: Final = 2000.0
"""What a switch may pause writes for beyond the delay of replication. An idle machine needs some 60 ms; this one runs
everything at once, and payments arrive only every 70 ms at 14 a second."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a run came to.

    Attributes:
        crossings: changes of the writer.
        paid: every payment that was sent.
    """

    promises: Sequence[Promise]
    figures: Figures
    crossings: Sequence[Crossing]
    paid: Sequence[Paid]

    @property
    def broken(self) -> list[str]:
        """Names of the promises that were not kept."""
        return [each.name for each in self.promises if not each.kept]


def step(weight: int, *, switch_writer: bool = False, **members: Any) -> dict[str, Any]:
    """A step of a plan of the environment, with the watch of a rehearsal."""
    return {
        "weight_percent": weight,
        "watch_seconds": WATCH_SECONDS,
        "deadline_seconds": DEADLINE_SECONDS,
        **({"switch_writer": True} if switch_writer else {}),
        **members,
    }


def environment_plan(*weights: int, switch_at: int = 50) -> dict[str, Any]:
    """A plan between blue and green: the writer switches after ``switch_at``."""
    steps = []
    for weight in weights or (25, 50, 100):
        steps.append(step(weight))
        if weight == switch_at:
            steps.append(step(weight, switch_writer=True))
    return {"steps": steps}


def front_door_plan(*weights: int, forward: bool = True) -> dict[str, Any]:
    """A plan between legacy and AWS: the writer switches while the legacy system has no traffic."""
    slow: dict[str, Any] = {"watch_seconds": DNS_WATCH_SECONDS, "deadline_seconds": DEADLINE_SECONDS}
    steps = [step(weight, **slow) for weight in weights or (25, 50, 100)]
    switch = step(100 if forward else 0, switch_writer=True, **slow)
    return {"steps": [*steps, switch] if forward else [switch, *steps]}


def longest_seconds(world: World, steps: int) -> float:
    """How long a cutover may take in our seconds before the rehearsal gives up on it."""
    return 30 + steps * world.clock.ours(DEADLINE_SECONDS)


def drive(world: World, source: str, target: str, plan: Mapping[str, Any], **request: Any) -> tuple[Cutover, End]:
    """A cutover from its beginning to its end."""
    world.wait_fit(source, target)
    cutover = world.plane.begin(source, target, plan, **request)
    end = world.plane.wait(cutover, longest_seconds(world, len(plan["steps"])))
    world.read_journal(cutover.cutover_id)
    return cutover, end


def judge(
    world: World,
    load: ClientProcess,
    *,
    switches: Sequence[tuple[str, str]],
    tolerated_failures: int = 0,
    longest_pause_ms: float | None = None,
) -> Judgement:
    """Stop the load, let replication catch up, and judge."""
    paid = load.stop()
    try:
        world.wait_caught_up()
        problem = ""
    except (ReplicationError, TimeoutError) as error:
        problem = str(error)[:200]
    writers = world.databases.admitting() or list(world.databases.names)
    books = Books.read(world.databases, writer=writers[0])
    if longest_pause_ms is None:
        longest_pause_ms = world.settings.delay_seconds * 1000 + PAUSE_BEYOND_LAG_MS
    found = promises(
        paid,
        books,
        switches=switches,
        longest_pause_ms=longest_pause_ms,
        most_writers=world.most_writers,
        events=world.events,
        began=world.began,
        ttl_seconds=world.ttl_seconds,
        tolerated_failures=tolerated_failures,
    )
    found.append(
        Promise(
            name=REPLICATED, kept=not problem, measured=problem or "every direction has caught up", allowed="running"
        )
    )
    return Judgement(promises=found, figures=figures(paid, books), crossings=books.crossings, paid=paid)
