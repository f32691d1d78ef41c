"""The whole migration on this machine, judged in the end.

    python -m rehearsal                          legacy to AWS, the writer to blue, blue to green, back, and forward
    python -m rehearsal --scenario faults        the fault matrix and the negative controls
    python -m rehearsal --scenario comparison    other ways to cut over, under the same load
    python -m rehearsal --list                   what there is

Exit status: 0 when every promise was kept, 1 when one was broken, 2 when the rehearsal could not be held.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from rehearsal.balancer import BalancerError, BalancerUnavailableError
from rehearsal.control_plane.deployed import DeploymentError
from rehearsal.databases import DatabasesUnavailableError, ReplicationError, ServerError
from rehearsal.progress import Progress
from rehearsal.record import Event, FaultResult, Promise, Record, Sample
from rehearsal.report import write_report
from rehearsal.scenarios.comparison import METHODS, compare
from rehearsal.scenarios.controls import CONTROLS
from rehearsal.scenarios.faults import FAULTS
from rehearsal.scenarios.stage import Fault
from rehearsal.scenarios.whole import Outcome, short, whole
from rehearsal.service_process import ServiceProcessError
from rehearsal.world import World, WorldSettings

DEFAULT_REPORT = Path("build") / "rehearsal-report.html"
SIMULATED = (
    "Step Functions: the deployed definition, run by an interpreter of ours",
    "Lambda: each function is a warm process of its own; retries are made as Lambda makes them",
    "ELBv2, Route 53, DynamoDB, CloudWatch, Secrets Manager, SSM, SNS, ECS and DMS interfaces: moto",
    "Application Load Balancer: HAProxy, which follows the listener rule",
    "Aurora MySQL and the on-premises server: MariaDB; DMS: its replication, delayed",
    "CloudWatch alarms: judged by the rehearsal on the balancer's counters",
    "Name servers: the clients draw by the weights of the records and keep the answer for the TTL",
    "Fargate: one process for each task; minutes of AWS pass faster",
)
WIDTH = 160
"""Of the tables, where the output is no terminal."""


class InterruptedByUserError(BaseException):
    """Somebody asked the rehearsal to end. No Exception, which a scenario would take for its own."""


def main(words: Sequence[str] | None = None) -> int:
    """Hold a rehearsal; the exit status."""
    arguments = _arguments(words)
    if arguments.list:
        _list(_output())
        return 0
    console = Console(stderr=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        record = _hold(arguments, console)
    except (InterruptedByUserError, KeyboardInterrupt):
        console.print("Interrupted; everything that was started has been stopped.")
        return 130
    except (
        DatabasesUnavailableError,
        BalancerUnavailableError,
        DeploymentError,
        BalancerError,
        ServerError,
        ServiceProcessError,
        ReplicationError,
        TimeoutError,
        RuntimeError,
    ) as error:
        if arguments.traceback:
            traceback.print_exc()
        console.print(f"The rehearsal could not be held: {error}", soft_wrap=True, markup=False)
        return 2
    if arguments.json:
        print(record.to_json())
    else:
        _show(record, _output())
    if arguments.report != "-":
        path = Path(arguments.report)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_report(record, path)
        console.print(f"Report: {path}", markup=False)
    return 0 if is_good(record) else 1


def is_good(record: Record) -> bool:
    """Every promise was kept, and every scenario went as it must."""
    return all(promise.kept for promise in record.promises) and all(fault.passed for fault in record.faults)


def _hold(arguments: argparse.Namespace, console: Console) -> Record:
    chosen = _faults(arguments.scenario)
    rate = arguments.rate or (30.0 if chosen else 14.0)
    settings = WorldSettings(
        rate=rate,
        delay_seconds=arguments.delay,
        seed=arguments.seed,
        scale=arguments.scale or (30.0 if chosen else 20.0),
        assembly=arguments.assembly,
    )
    started_at = datetime.now(UTC).isoformat(timespec="seconds")

    def tell(text: str) -> None:
        console.print(text, style="dim", markup=False, highlight=False)

    with World.start(settings, tell=tell) as world:
        record = Record(
            title=_title(arguments.scenario),
            scenario=arguments.scenario,
            started_at=started_at,
            seed=arguments.seed,
            rate=rate,
            delay_seconds=arguments.delay,
            versions=world.versions(),
            simulated=SIMULATED,
        )
        with Progress(record.title) as progress:
            world.on_sample, world.on_event = progress.sample, progress.event
            if chosen:
                return replace(record, faults=_play_matrix(world, chosen, progress))
            if arguments.scenario == "comparison":
                rows = compare(world, tell=lambda text: world.note("cutover", text))
                return replace(record, comparison=tuple(rows), samples=tuple(world.samples))
            return _recorded(record, world, {"whole": whole, "short": short}[arguments.scenario])


def _recorded(record: Record, world: World, play: Callable[..., Outcome]) -> Record:
    outcome = play(world, tell=lambda text: world.note("cutover", text))
    events: tuple[Event, ...] = tuple(sorted(world.events, key=lambda event: event.at))
    samples: tuple[Sample, ...] = tuple(world.samples)
    return replace(
        record,
        samples=samples,
        events=events,
        decisions=tuple(event for event in events if event.kind == "decision"),
        promises=tuple(outcome.promises),
    )


def _play_matrix(world: World, chosen: Sequence[Fault], progress: Progress) -> tuple[FaultResult, ...]:
    results = []
    for number, fault in enumerate(chosen, start=1):
        result = fault.run(world)
        results.append(result)
        word = "as it must" if result.passed else "NOT AS IT MUST"
        text = f"{number} of {len(chosen)}: {fault.name}: {word} ({result.seconds:.0f} s)"
        progress.event(Event(at=world.seconds, kind="fault", text=text, details={}))
    return tuple(results)


def _faults(scenario: str) -> Sequence[Fault]:
    match scenario:
        case "faults":
            return (*FAULTS, *CONTROLS)
        case "controls":
            return CONTROLS
        case _:
            return [fault for fault in (*FAULTS, *CONTROLS) if fault.name == scenario]


def _title(scenario: str) -> str:
    return {
        "whole": "The whole migration",
        "short": "Blue to green, and back",
        "faults": "Fault matrix and negative controls",
        "controls": "Negative controls",
        "comparison": "Ways to cut over, side by side",
    }.get(scenario, scenario)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ["whole", "short", "faults", "controls", "comparison", *(fault.name for fault in (*FAULTS, *CONTROLS))]
    parser.add_argument("--scenario", default="whole", metavar="NAME", help="what to play; see --list")
    parser.add_argument("--rate", type=_number(1, 2000), metavar="PER_SECOND", help="payments a second")
    parser.add_argument(
        "--delay", type=_whole(0, 30), default=1, metavar="SECONDS", help="by which replication lags (default 1)"
    )
    parser.add_argument("--seed", type=_whole(0, 2**31), default=0, help="what the payments are drawn from")
    parser.add_argument(
        "--scale", type=_number(1, 60), metavar="TIMES", help="how much faster AWS's minutes pass (default 20 or 30)"
    )
    parser.add_argument("--json", action="store_true", help="print the record as JSON")
    parser.add_argument(
        "--report", default=str(DEFAULT_REPORT), metavar="FILE", help=f"HTML report, - for none ({DEFAULT_REPORT})"
    )
    parser.add_argument("--assembly", type=Path, metavar="FOLDER", help="templates to take instead of new ones")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    parser.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
    found = parser.parse_args(words)
    if found.scenario not in names:
        parser.error(f"argument --scenario: {found.scenario!r} is none; allowed: whole, short, faults, controls, "
                     "comparison, or the name of a fault (--list)")  # fmt: skip
    return found


def _number(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least:g} to {most:g}")
        return value

    return parse


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return parse


def _interrupt(_: int, __: FrameType | None) -> NoReturn:
    # Only once: what is being stopped then shall be stopped in good order.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise InterruptedByUserError


def _output() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def _list(console: Console) -> None:
    table = Table("scenario", "what must happen", box=None, pad_edge=False)
    table.add_row("whole", "every cutover goes through, and every promise is kept")
    table.add_row("short", "blue to green, and back")
    table.add_row("faults", "all of the following")
    table.add_row("controls", "the negative controls alone")
    table.add_row("comparison", ", ".join(METHODS))
    for fault in (*FAULTS, *CONTROLS):
        table.add_row(fault.name, fault.must_happen)
    console.print(table)


def _show(record: Record, console: Console) -> None:
    if record.promises:
        console.print(_promises(record.promises))
    if record.faults:
        table = Table("", "scenario", "what must happen", "what happened", box=None, pad_edge=False)
        for fault in record.faults:
            table.add_row("kept" if fault.passed else "BROKEN", fault.scenario, fault.must_happen, fault.happened)
        console.print(table)
        passed = sum(fault.passed for fault in record.faults)
        seconds = sum(fault.seconds for fault in record.faults)
        console.print(f"{passed} of {len(record.faults)} scenarios as they must, in {seconds:.0f} s")
    if record.comparison:
        columns = ("method", "sent", "failed", "lost", "diverged", "duplicated", "pause ms", "back ms", "remark")
        table = Table(*columns, box=None, pad_edge=False)
        for row in record.comparison:
            values: list[Any] = [row.method, row.sent, row.failed, row.lost, row.diverged, row.duplicated]
            values += [_shown(row.pause_ms), _shown(row.rollback_ms), row.remark]
            table.add_row(*map(str, values))
        console.print(table)
    console.print("Every promise was kept." if is_good(record) else "A promise was broken.")


def _promises(promises: Sequence[Promise]) -> Table:
    table = Table("", "promise", "measured", "allowed", box=None, pad_edge=False)
    for promise in promises:
        table.add_row("kept" if promise.kept else "BROKEN", promise.name, promise.measured, promise.allowed)
    return table


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


if __name__ == "__main__":
    sys.exit(main())
