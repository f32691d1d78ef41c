"""Live progress of a rehearsal in the terminal; plain lines where the output is no terminal.

A display is never a reason for a run to fail: whatever goes wrong here turns the display off, is logged once, and
the run goes on. It refreshes only when it is told something, so it starts no thread and costs nothing in between.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rehearsal.record import Event, Sample

REFRESH_SECONDS = 0.25
_REMEMBERED = 60
_BLOCKS = "▁▂▃▄▅▆▇█"
_SIDES = {"legacy": "yellow", "aws": "cyan", "blue": "blue", "green": "green"}
_MARKS = {"fault": "red", "alarm": "red", "rollback": "magenta", "decision": "cyan", "writer": "yellow"}
_LOG = logging.getLogger(__name__)


class Progress:
    """Shows the newest sample, and the events as they come. A context manager; any thread may report.

    `title` names the rehearsal and `total_seconds` its expected length, where it is known. The `console` is the
    standard error unless another is given, so that results can be piped. Without a terminal there is a line at most
    every `plain_every_seconds`; events in between wait for it, and none is lost.
    """

    def __init__(
        self,
        title: str,
        total_seconds: float | None = None,
        console: Console | None = None,
        *,
        plain_every_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title = title
        self._total_seconds = total_seconds
        self._plain_every_seconds = plain_every_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._broken = False
        self._live: Live | None = None
        self._sample: Sample | None = None
        self._interval_seconds = 0.0
        self._requests = 0
        self._errors = 0
        self._rates: deque[float] = deque(maxlen=_REMEMBERED)
        self._latencies: deque[float] = deque(maxlen=_REMEMBERED)
        self._waiting: list[Event] = []
        self._told_at = float("-inf")
        self._console = console or Console(stderr=True)
        # Rich would end the process, and send the standard output to nowhere before it does.
        self._console.on_broken_pipe = _reraise  # type: ignore[method-assign]

    def __enter__(self) -> Self:
        self._harmless(self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._harmless(self._stop)

    def sample(self, sample: Sample) -> None:
        """Show the newest figures; counts add up to totals."""
        self._harmless(lambda: self._take_sample(sample))

    def event(self, event: Event) -> None:
        """Show what happened."""
        self._harmless(lambda: self._take_event(event))

    def _start(self) -> None:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(self._view(), console=self._console, auto_refresh=False, vertical_overflow="crop")
            self._live.start()
        else:
            self._console.print(Text(_printable(self._title)), soft_wrap=True)

    def _stop(self) -> None:
        if not self._live:
            self._tell()
            return
        self._live.update(self._view(), refresh=True)
        live, self._live = self._live, None
        live.stop()

    def _take_sample(self, sample: Sample) -> None:
        self._interval_seconds = sample.at - (self._sample.at if self._sample else 0.0)
        self._sample = sample
        self._requests += sample.requests
        self._errors += sample.errors
        self._rates.append(self._rate())
        self._latencies.append(sample.p99_ms or 0.0)
        self._refresh()

    def _take_event(self, event: Event) -> None:
        if self._live:
            self._console.print(_event_line(event), soft_wrap=True)
        else:
            self._waiting.append(event)
        self._refresh()

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._told_at < (REFRESH_SECONDS if self._live else self._plain_every_seconds):
            return
        self._told_at = now
        if self._live:
            self._live.update(self._view(), refresh=True)
        else:
            self._tell()

    def _tell(self) -> None:
        """The waiting events, and one line of figures."""
        while self._waiting:
            self._console.print(_event_line(self._waiting.pop(0)), soft_wrap=True)
        if self._sample:
            self._console.print(Text(self._plain_line(self._sample)), soft_wrap=True)

    def _plain_line(self, sample: Sample) -> str:
        parts = [
            _elapsed(sample.at),
            _printable(sample.phase) or "no phase",
            f"weights {_shares(sample.weights)}",
            f"DNS {_shares(sample.dns)}",
            f"writer {_printable(sample.writer or 'none')}",
            f"{self._requests} requests ({self._rate():.1f}/s)",
            f"{self._errors} errors",
            f"p99 {_milliseconds(sample.p99_ms)}",
            f"lag {_lags(sample.lag_ms)}",
            f"verdict {_printable(sample.verdict) or 'none'}",
        ]
        return " · ".join(parts) if self._unicode() else " | ".join(parts)

    def _view(self) -> RenderableType:
        title = Text(_printable(self._title), style="bold")
        sample = self._sample
        if not sample:
            return Panel(Text("Waiting for the first figures."), title=title, title_align="left")
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        verdict = Text(_printable(sample.phase) or "none")
        if sample.verdict:
            verdict.append(f"   verdict: {_printable(sample.verdict)}")
        grid.add_row("phase", verdict)
        grid.add_row("front door", self._split(sample.dns))
        grid.add_row("environment", self._split(sample.weights))
        grid.add_row("writer", _writer(sample.writer))
        rate = Text(f"{self._requests} in all, {self._rate():.1f}/s  ")
        rate.append(self._spark(self._rates), style="cyan")
        grid.add_row("requests", rate)
        grid.add_row("errors", Text(str(self._errors), style="bold red" if self._errors else ""))
        latency = Text(
            f"p50 {_milliseconds(sample.p50_ms)}  p95 {_milliseconds(sample.p95_ms)}  "
            f"p99 {_milliseconds(sample.p99_ms)}  "
        )
        latency.append(self._spark(self._latencies), style="cyan")
        grid.add_row("latency", latency)
        grid.add_row("lag", Text(_lags(sample.lag_ms)))
        return Panel(Group(self._bar(sample), grid), title=title, title_align="left")

    def _bar(self, sample: Sample) -> RenderableType:
        if not self._total_seconds:
            return Text(_elapsed(sample.at))
        row = Table.grid(padding=(0, 1))
        row.add_row(
            Text(_elapsed(sample.at)),
            ProgressBar(total=self._total_seconds, completed=min(sample.at, self._total_seconds), width=40),
            Text(_elapsed(self._total_seconds)),
        )
        return row

    def _split(self, shares: Mapping[str, float]) -> Text:
        """A bar of who gets which share, with the figures beside it: readable without colour too."""
        width, total = 24, sum(shares.values())
        text = Text()
        if total > 0:
            filled = 0.0
            for side, share in shares.items():
                cells = round((filled + share) / total * width) - round(filled / total * width)
                filled += share
                text.append(("█" if self._unicode() else side[:1]) * cells, style=_SIDES.get(side, ""))
            text.append("  ")
        text.append(_shares(shares))
        return text

    def _spark(self, values: deque[float]) -> str:
        if not self._unicode() or not values:
            return ""
        highest = max(values) or 1.0
        newest = list(values)[-24:]
        return "".join(_BLOCKS[min(len(_BLOCKS) - 1, int(value / highest * len(_BLOCKS)))] for value in newest)

    def _rate(self) -> float:
        return self._sample.requests / self._interval_seconds if self._sample and self._interval_seconds > 0 else 0.0

    def _unicode(self) -> bool:
        return self._console.encoding.lower().startswith("utf")

    def _harmless(self, report: Callable[[], None]) -> None:
        """One report at a time, none after one has failed; what fails in it is logged and not raised."""
        with self._lock:
            if self._broken:
                return
            try:
                report()
            except Exception as error:
                self._broken = True
                _LOG.warning("The display is off, the rehearsal goes on: %s: %s", type(error).__name__, error)
                live, self._live = self._live, None
                if live:
                    # Or the terminal would stay without its cursor.
                    with contextlib.suppress(Exception):
                        live.stop()


def _reraise() -> None:
    """Raise the error that is being handled."""
    raise


def _event_line(event: Event) -> Text:
    line = Text(f"{_elapsed(event.at)}  ")
    line.append(f"{event.kind:<9}", style=_MARKS.get(event.kind, "bold"))
    line.append(f" {_printable(event.text)}")
    return line


def _writer(writer: str | None) -> Text:
    if writer is None:
        return Text("none: payments wait", style="bold yellow")
    return Text(_printable(writer), style=f"bold {_SIDES.get(writer, '')}".strip())


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{_printable(side)} {share:g} %" for side, share in shares.items()) or "unknown"


def _lags(lags: Mapping[str, float | None]) -> str:
    return ", ".join(f"{_printable(way)} {_milliseconds(lag)}" for way, lag in lags.items()) or "unknown"


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value / 1000:.1f} s" if value >= 10_000 else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _elapsed(seconds: float) -> str:
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def _printable(text: str) -> str:
    """Without control characters, which would move the cursor."""
    return "".join(character if character.isprintable() else " " for character in text)
