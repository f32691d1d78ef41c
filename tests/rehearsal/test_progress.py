"""Progress tells what a rehearsal does, on a terminal and without one, and never fails the run."""

from __future__ import annotations

import io
import os
import pty
import re
import threading
from collections.abc import Callable

import pytest
from rich.console import Console

from rehearsal.progress import Progress
from rehearsal.record import Event, EventKind, Sample

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def a_sample(
    at: float, *, requests: int = 14, errors: int = 0, writer: str | None = "blue", phase: str = "watching"
) -> Sample:
    return Sample(
        at=at,
        weights={"blue": 75, "green": 25},
        dns={"legacy": 0, "aws": 100},
        writer=writer,
        requests=requests,
        errors=errors,
        p50_ms=4.2,
        p95_ms=9.9,
        p99_ms=1250.0,
        by_side={"legacy": 0, "blue": requests, "green": 0},
        lag_ms={"blue-green": 480.0, "green-blue": None},
        phase=phase,
        verdict="insufficient",
    )


def an_event(at: float, text: str, kind: EventKind = "weights") -> Event:
    return Event(at=at, kind=kind, text=text, details={})


def plain(run: Callable[[Progress, list[float]], None], *, encoding: str = "utf-8") -> list[str]:
    """The lines that `run` makes where there is no terminal; the second argument's only item is the time."""
    now = [0.0]
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with Progress("A rehearsal", 60, Console(file=file), clock=lambda: now[0]) as progress:
        run(progress, now)
    file.seek(0)
    return file.read().splitlines()


def every_second(seconds: int) -> Callable[[Progress, list[float]], None]:
    def run(progress: Progress, now: list[float]) -> None:
        for second in range(1, seconds + 1):
            now[0] = float(second)
            progress.sample(a_sample(second, errors=1 if second == 3 else 0))

    return run


def test_a_plain_line_names_every_figure() -> None:
    *_, last = plain(every_second(4))

    for told in ("00:04", "watching", "blue 75 %, green 25 %", "legacy 0 %, aws 100 %", "writer blue", "56 requests"):
        assert told in last
    for told in ("(14.0/s)", "1 errors", "p99 1250 ms", "blue-green 480 ms, green-blue unknown", "insufficient"):
        assert told in last


def test_without_a_terminal_a_minute_of_samples_makes_a_line_every_five_seconds() -> None:
    title, *lines = plain(every_second(60))

    assert title == "A rehearsal"
    assert len(lines) == 13


def test_without_a_terminal_no_event_is_lost_and_they_keep_their_order() -> None:
    def run(progress: Progress, now: list[float]) -> None:
        progress.sample(a_sample(1))
        for number in range(20):
            progress.event(an_event(1 + number / 100, f"Event {number}."))

    told = [line.split("  ")[-1].strip() for line in plain(run) if "Event" in line]

    assert [line.removeprefix("weights ").strip() for line in told] == [f"Event {number}." for number in range(20)]


def test_lines_are_made_of_ascii_where_the_terminal_knows_nothing_else() -> None:
    lines = plain(every_second(6), encoding="ascii")

    assert len(lines) == 4
    assert "weights blue 75 %, green 25 % | DNS" in lines[-1]


def on_a_terminal(run: Callable[[Progress], None], *, columns: int = 100, colour: str | None = "standard") -> str:
    """What `run` writes to a real terminal."""
    main, side = pty.openpty()
    written: list[bytes] = []

    def read() -> None:
        while True:
            try:
                block = os.read(main, 65_536)
            except OSError:  # the other side has been closed
                return
            written.append(block)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(side, "w", encoding="utf-8") as terminal:
        now = iter(range(10_000))
        console = Console(file=terminal, width=columns, height=40, no_color=colour is None, _environ={"TERM": "xterm"})
        with Progress("A rehearsal", 60, console, clock=lambda: float(next(now))) as progress:
            run(progress)
    reader.join()
    os.close(main)
    return b"".join(written).decode()


def test_a_terminal_shows_every_figure_and_keeps_the_events_above() -> None:
    def run(progress: Progress) -> None:
        progress.sample(a_sample(1))
        progress.event(an_event(1.5, "Green gets 25 %."))
        progress.sample(a_sample(2, writer=None, phase="switching the writer"))

    shown = ESCAPES.sub("", on_a_terminal(run))

    assert shown.count("Green gets 25 %.") == 1
    last = shown[shown.rindex("A rehearsal") :]
    for told in ("switching the writer", "verdict: insufficient", "aws 100 %", "green 25 %", "none: payments wait"):
        assert told in last
    for told in ("28 in all, 14.0/s", "p99 1250 ms", "blue-green 480 ms", "00:02", "01:00"):
        assert told in last


@pytest.mark.parametrize("columns", [30, 60, 200])
def test_a_panel_fits_the_terminal(columns: int) -> None:
    shown = ESCAPES.sub("", on_a_terminal(lambda progress: progress.sample(a_sample(1)), columns=columns))

    assert max(len(line) for line in re.split(r"[\r\n]+", shown)) <= columns


def test_the_cursor_is_shown_again_after_an_interruption() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, _environ={"TERM": "xterm"})

    with pytest.raises(KeyboardInterrupt), Progress("A rehearsal", console=console):
        raise KeyboardInterrupt

    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")


class FailingFile(io.StringIO):
    """A terminal that goes away after some output."""

    def __init__(self, allowed_writes: int) -> None:
        super().__init__()
        self._allowed_writes = allowed_writes

    def write(self, text: str) -> int:
        self._allowed_writes -= 1
        if self._allowed_writes < 0:
            raise BrokenPipeError("the terminal has gone")
        return super().write(text)


@pytest.mark.parametrize("allowed_writes", range(6))
@pytest.mark.parametrize("terminal", [True, False])
def test_a_display_that_breaks_never_fails_the_run(
    terminal: bool, allowed_writes: int, caplog: pytest.LogCaptureFixture
) -> None:
    console = Console(file=FailingFile(allowed_writes), force_terminal=terminal, _environ={"TERM": "xterm"})
    now = iter(range(0, 100_000, 10))
    reached = False

    with Progress("A rehearsal", console=console, clock=lambda: float(next(now))) as progress:
        for second in range(10):
            progress.sample(a_sample(second))
            progress.event(an_event(second, "Something."))
        reached = True

    assert reached
    assert [record.message for record in caplog.records] == [
        "The display is off, the rehearsal goes on: BrokenPipeError: the terminal has gone"
    ]


def test_a_text_cannot_move_the_cursor() -> None:
    def run(progress: Progress) -> None:
        progress.event(an_event(1, "Bad\x1b[2Jtext [bold]stays[/bold]"))

    shown = on_a_terminal(run)

    assert "\x1b[2J" not in shown
    assert "[bold]stays[/bold]" in ESCAPES.sub("", shown)


def test_threads_may_report_at_the_same_time() -> None:
    def run(progress: Progress, now: list[float]) -> None:
        def tell() -> None:
            for _ in range(50):
                progress.event(an_event(1, "Told."))

        threads = [threading.Thread(target=tell) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sum("Told." in line for line in plain(run)) == 400
