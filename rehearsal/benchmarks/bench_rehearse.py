"""How long a cutover pauses writes and a rollback takes, at several rates, and the highest rate without a failure.

Each measurement is a whole cutover from blue to green with the writer switched in it, under load, and its rollback by
hand. Client, services, databases and control plane share the machine, so the numbers are a floor, not a ceiling.

    python -m rehearsal.benchmarks.bench_rehearse [--json] [--repeat N] [--delay SECONDS] [--rates 14,140]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rehearsal.balancer import BalancerUnavailableError
from rehearsal.benchmarks.bench_service import positive_numbers
from rehearsal.control_plane.deployed import DeploymentError
from rehearsal.databases import DatabasesUnavailableError
from rehearsal.scenarios.common import drive, judge, step
from rehearsal.world import World, WorldSettings

DEFAULT_RATES = (14.0, 140.0)
LADDER = (50.0, 100.0, 150.0, 200.0, 300.0, 400.0)
PLAN = {"steps": [step(50, switch_writer=True), step(100)]}


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One cutover and its rollback.

    Attributes:
        forward_pause_ms: last commit on blue to first commit on green; back_pause_ms: the other way.
        closed_ms: how long no database admitted the services, by the switch's own clock.
        traffic_back_ms: from asking for the rollback until the balancer sends all to blue.
        rollback_ms: from asking for it until weights and writer are back.
        p99_ms: of all payments, counted from when they were due.
        broken: promises that were not kept.
    """

    rate: float
    sent: int
    failed: int
    forward_pause_ms: float | None
    back_pause_ms: float | None
    closed_ms: float | None
    traffic_back_ms: float | None
    rollback_ms: float
    p99_ms: float
    longest_ms: float
    broken: tuple[str, ...]


def measure(world: World, *, rate: float, seed: int) -> Measurement:
    """Cut over and go back at one rate."""
    world.reset()
    switches = []
    with world.load(rate=rate, seed=seed) as load:
        time.sleep(1.5)
        cutover, end = drive(world, "blue", "green", PLAN)
        if end.status == "SUCCEEDED":
            switches = [("blue", "green"), ("green", "blue")]
        time.sleep(1.0)
        asked, asked_at = time.monotonic(), world.seconds
        world.plane.roll_back(after_the_end=True)
        took = (time.monotonic() - asked) * 1000
        time.sleep(1.0)
        judgement = judge(world, load, switches=switches)
    pauses = {(each.old, each.new): each.pause_ms for each in judgement.crossings}
    closed = [
        entry.details.get("timings", {}).get("closed_ms")
        for entry in world.plane.journal(cutover.cutover_id)
        if entry.what == "writer switched"
    ]
    back = [
        (event.at - asked_at) * 1000
        for event in world.events
        if event.kind == "weights" and event.at > asked_at and event.details.get("blue") == 100
    ]
    return Measurement(
        rate=rate,
        sent=judgement.figures.sent,
        failed=judgement.figures.failed,
        forward_pause_ms=pauses.get(("blue", "green")),
        back_pause_ms=pauses.get(("green", "blue")),
        closed_ms=closed[0] if closed else None,
        traffic_back_ms=round(back[0], 1) if back else None,
        rollback_ms=round(took, 1),
        p99_ms=judgement.figures.p99_ms,
        longest_ms=judgement.figures.longest_ms,
        broken=tuple(judgement.broken) if switches else ("the cutover goes through", *judgement.broken),
    )


def spread(values: Sequence[float | None]) -> str:
    """Median, and the smallest and largest where there are several."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return "-"
    middle = f"{statistics.median(known):.0f}"
    return middle if len(known) == 1 else f"{middle} ({known[0]:.0f}-{known[-1]:.0f})"


def highest_rate(ladder: Sequence[Measurement]) -> float | None:
    """Up to which every cutover went through without a failure; None when the lowest did not."""
    highest = None
    for each in sorted(ladder, key=lambda one: one.rate):
        if each.broken:
            break
        highest = each.rate
    return highest


def main(words: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench-rehearse", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rates", type=positive_numbers, default=list(DEFAULT_RATES), help="requests a second")
    parser.add_argument(
        "--ladder", type=positive_numbers, default=list(LADDER), help="rates to look for the highest in"
    )
    parser.add_argument("--repeat", type=int, default=3, help="cutovers at each rate, 1 to 20 (default 3)")
    parser.add_argument("--delay", type=int, default=0, help="seconds by which replication lags, 0 to 10 (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--assembly", type=Path, metavar="FOLDER", help="templates to take instead of new ones")
    arguments = parser.parse_args(words)
    if not 1 <= arguments.repeat <= 20:
        parser.error(f"argument --repeat: {arguments.repeat} is not from 1 to 20")
    if not 0 <= arguments.delay <= 10:
        parser.error(f"argument --delay: {arguments.delay} is not from 0 to 10")
    console = Console(stderr=True)
    settings = WorldSettings(delay_seconds=arguments.delay, assembly=arguments.assembly)
    try:
        with World.start(settings, tell=lambda text: console.print(text, style="dim")) as world:
            repeated = [
                _told(console, measure(world, rate=rate, seed=seed))
                for rate in arguments.rates
                for seed in range(arguments.repeat)
            ]
            ladder: list[Measurement] = []
            for rate in sorted(arguments.ladder):
                ladder.append(_told(console, measure(world, rate=rate, seed=0)))
                if ladder[-1].broken:
                    break
    except (DatabasesUnavailableError, BalancerUnavailableError, DeploymentError) as error:
        print(f"bench-rehearse: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        document = {
            "delay_seconds": arguments.delay,
            "highest_rate_without_failure": highest_rate(ladder),
            "measurements": [asdict(each) for each in repeated],
            "ladder": [asdict(each) for each in ladder],
        }
        print(json.dumps(document, indent=2))
    else:
        _show(repeated, ladder, delay=arguments.delay)
    return 0


def _told(console: Console, each: Measurement) -> Measurement:
    broken = f"; broken: {', '.join(each.broken)}" if each.broken else ""
    text = f"{each.rate:g}/s: {each.sent} sent, {each.failed} failed, rollback {each.rollback_ms:.0f} ms{broken}"
    console.print(text, style="dim", markup=False, highlight=False)
    return each


def _show(repeated: Sequence[Measurement], ladder: Sequence[Measurement], *, delay: int) -> None:
    output = Console()
    if not output.is_terminal:
        output = Console(width=160)
    table = Table(
        "rate", "cutovers", "sent", "failed", "pause ms", "back ms", "closed ms", "traffic back ms", "rollback ms",
        "p99 ms", "longest ms", box=None, pad_edge=False,
    )  # fmt: skip
    for rate in sorted({each.rate for each in repeated}):
        these = [each for each in repeated if each.rate == rate]
        table.add_row(
            f"{rate:g}",
            str(len(these)),
            str(sum(each.sent for each in these)),
            str(sum(each.failed for each in these)),
            spread([each.forward_pause_ms for each in these]),
            spread([each.back_pause_ms for each in these]),
            spread([each.closed_ms for each in these]),
            spread([each.traffic_back_ms for each in these]),
            spread([each.rollback_ms for each in these]),
            spread([each.p99_ms for each in these]),
            spread([each.longest_ms for each in these]),
        )
    output.print(f"Replication delayed by {delay} s; median (smallest-largest)")
    output.print(table)
    highest = highest_rate(ladder)
    output.print(
        f"Highest rate at which a cutover and its rollback kept every promise: "
        f"{'none of those tried' if highest is None else f'{highest:g}/s'}"
    )


if __name__ == "__main__":
    sys.exit(main())
