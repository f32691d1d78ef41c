"""The page: what a record says, in the order in which a reader asks, filled into `template.html`.

Everything that comes from the record passes through the template's escaping; only our own style sheet and script are
put in as they are. The page forbids itself every request, so that it shows the same wherever it is opened.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rehearsal.record import Event, Record, Sample
from rehearsal.report.figures import figures, thin, worst
from rehearsal.report.words import clock, count, duration, listed, plain

_FOLDER = Path(__file__).parent
_MOST_ROWS = 300


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """A decision, and how often in a row it was taken."""

    event: Event
    until: float
    times: int


@dataclass(frozen=True, kw_only=True)
class PhaseSummary:
    """What the requests met in a phase.

    Attributes:
        worst_p99_ms: Of its intervals; None without requests.
        worst_lag_ms: Of its intervals, in any direction; None when nothing was known.
    """

    phase: str
    begin: float
    end: float
    requests: int
    errors: int
    worst_p99_ms: float | None
    worst_lag_ms: float | None
    writers: str


def write_report(record: Record, path: Path) -> None:
    """Write the report of a record to a file, and make its folder where it is missing. OSError when that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(record), encoding="utf-8")


def render(record: Record) -> str:
    """The report as HTML that needs nothing else."""
    record = _in_order(record)
    script = (_FOLDER / "report.js").read_text("utf-8")
    environment = Environment(
        autoescape=True,
        loader=FileSystemLoader(_FOLDER),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(clock=clock, duration=duration, plain=plain)
    return environment.get_template("template.html").render(
        record=record,
        style=Markup((_FOLDER / "report.css").read_text("utf-8")),  # noqa: S704 (our own file)
        script=Markup(script),  # noqa: S704 (our own file)
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        started=_moment(record.started_at),
        figures=figures(record),
        verdict=verdict(record),
        phases=phases(record.samples),
        decisions=repeated(record.decisions),
        faults=[result for result in record.faults if result.group == "fault"],
        controls=[result for result in record.faults if result.group == "negative control"],
        rows=thin(record.samples, most=_MOST_ROWS),
        joined=-(-len(record.samples) // _MOST_ROWS) if record.samples else 1,
        directions=list(dict.fromkeys(way for sample in record.samples for way in sample.lag_ms)),
        sides=list(dict.fromkeys(side for sample in record.samples for side in sample.by_side)),
        totals=totals(record.samples),
    )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of it: whether everything held, and a sentence for each thing that a reader looks for first."""

    good: bool
    headline: str
    sentences: Sequence[str]


def verdict(record: Record) -> Verdict:
    """All promises kept, all faults met as expected, all breaches noticed; a record without any is no success."""
    sentences = []
    if record.promises:
        sentences.append(_share([promise.kept for promise in record.promises], "promise", "kept", "broken"))
    for group, noun in (("fault", "fault scenario"), ("negative control", "negative control")):
        results = [result for result in record.faults if result.group == group]
        if results:
            sentences.append(_share([result.passed for result in results], noun, "passed", "failed"))
    good = all(promise.kept for promise in record.promises) and all(result.passed for result in record.faults)
    if not sentences:
        nothing = "The record holds neither promises nor faults."
        return Verdict(good=False, headline="Nothing was judged", sentences=[nothing])
    return Verdict(good=good, headline="Everything held" if good else "Not everything held", sentences=sentences)


def totals(samples: Sequence[Sample]) -> str:
    """The load in one sentence."""
    if not samples:
        return "No samples were taken."
    requests, errors = sum(sample.requests for sample in samples), sum(sample.errors for sample in samples)
    return f"{count(requests, 'request')} in {clock(samples[-1].at)}, {errors:,} of them failed."


def phases(samples: Sequence[Sample]) -> list[PhaseSummary]:
    """The phases in their order; one that comes again has a line of its own."""
    summaries: list[PhaseSummary] = []
    begin = 0.0
    for phase, run in itertools.groupby(samples, key=lambda sample: sample.phase):
        group = list(run)
        summaries.append(
            PhaseSummary(
                phase=phase or "none",
                begin=begin,
                end=group[-1].at,
                requests=sum(sample.requests for sample in group),
                errors=sum(sample.errors for sample in group),
                worst_p99_ms=worst(sample.p99_ms for sample in group),
                worst_lag_ms=worst(lag for sample in group for lag in sample.lag_ms.values()),
                writers=listed(writer for writer, _ in itertools.groupby(sample.writer or "none" for sample in group)),
            )
        )
        begin = group[-1].at
    return summaries


def repeated(decisions: Sequence[Event]) -> list[Repeated]:
    """Decisions with the same words in a row become one line."""
    lines = []
    for _, run in itertools.groupby(decisions, key=lambda event: event.text):
        group = list(run)
        # The last has the figures that were true in the end.
        lines.append(
            Repeated(
                event=Event(at=group[0].at, kind=group[0].kind, text=group[0].text, details=group[-1].details),
                until=group[-1].at,
                times=len(group),
            )
        )
    return lines


def _in_order(record: Record) -> Record:
    """By time; several threads note what happens."""
    return replace(
        record,
        samples=sorted(record.samples, key=lambda sample: sample.at),
        events=sorted(record.events, key=lambda event: event.at),
        decisions=sorted(record.decisions, key=lambda event: event.at),
    )


def _share(outcomes: Sequence[bool], noun: str, well: str, badly: str) -> str:
    bad = outcomes.count(False)
    everything = count(len(outcomes), noun)
    if not bad:
        return f"{everything}: {'all ' if len(outcomes) > 1 else ''}{well}."
    return f"{everything}: {bad:,} {badly}."


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment.strftime("%d %B %Y, %H:%M:%S %Z").strip().removeprefix("0")
