"""What is drawn: series of a record on one time axis, as shapes in per cent of the drawing's area.

The area is stretched to the width of the page, and every word stands outside of it as text of the page, so that a
narrow window makes the drawing narrower and never the letters smaller.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rehearsal.record import Record, Sample
from rehearsal.report.words import clock, count, duration, listed

WIDTH, HEIGHT = 1000.0, 100.0
MOST_POINTS = 1000
_LOWEST_MS = 1.0
_STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400)
_MOST_TICKS = 8
# How far apart, in per cent, the numbers of two marks have to be on the narrowest window that is cared for.
_APART_PERCENT = 6.0
_LANES = 5
# From which part of the axis on a state has its name written on it; a shorter one has it as a tip and in the tables.
_LABELLED = 0.03


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A line across the area and what is written beside it."""

    percent: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Path data in an area of 1000 by 100, and the classes that say how it looks."""

    path: str
    classes: str


@dataclass(frozen=True, kw_only=True)
class Key:
    """One entry of a legend."""

    label: str
    classes: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Series over time. `summary` says in words what a reader of the picture would see."""

    name: str
    title: str
    summary: str
    ticks: Sequence[Tick]
    shapes: Sequence[Shape]
    keys: Sequence[Key]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """For how long something was so, in per cent of the axis."""

    left: float
    width: float
    label: str
    tip: str
    classes: str


@dataclass(frozen=True, kw_only=True)
class Band:
    """States over time, one after the other."""

    name: str
    title: str
    segments: Sequence[Segment]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """An event on the axis. `lane` is where its number stands; None where there is no room for it."""

    number: int
    percent: float
    lane: int | None
    kind: str
    tip: str


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Everything that shares the time axis."""

    end: float
    times: Sequence[Tick]
    marks: Sequence[Mark]
    lanes: int
    bands: Sequence[Band]
    plots: Sequence[Plot]


def figures(record: Record) -> Figures:
    """The drawings of a record; of one without samples, only the axis and the marks."""
    samples = thin(record.samples, most=MOST_POINTS)
    end = max([*(sample.at for sample in samples), *(event.at for event in record.events)], default=0.0) or 1.0
    axis = _Axis(starts=_starts(samples), ends=[sample.at for sample in samples], end=end)
    marks = _marks(record, end)
    return Figures(
        end=end,
        times=[Tick(percent=100 * at / end, label=clock(at)) for at in _time_ticks(end)],
        marks=marks,
        lanes=1 + max((mark.lane for mark in marks if mark.lane is not None), default=0),
        bands=_bands(axis, samples) if samples else [],
        plots=_plots(axis, samples) if samples else [],
    )


def thin(samples: Sequence[Sample], *, most: int) -> list[Sample]:
    """At most this many samples: neighbours are joined in a way that hides no failure.

    Counts add up, latency and lag keep their worst, an interval in which the writer was closed stays one, and the
    rest is as it was at the end.
    """
    group = max(1, math.ceil(len(samples) / most))
    return [_joined(samples[start : start + group]) for start in range(0, len(samples), group)]


def _joined(group: Sequence[Sample]) -> Sample:
    last = group[-1]
    if len(group) == 1:
        return last
    return Sample(
        at=last.at,
        weights=last.weights,
        dns=last.dns,
        writer=None if any(sample.writer is None for sample in group) else last.writer,
        requests=sum(sample.requests for sample in group),
        errors=sum(sample.errors for sample in group),
        p50_ms=worst(sample.p50_ms for sample in group),
        p95_ms=worst(sample.p95_ms for sample in group),
        p99_ms=worst(sample.p99_ms for sample in group),
        by_side={side: sum(sample.by_side.get(side, 0) for sample in group) for side in _names(group, "by_side")},
        lag_ms={way: worst(sample.lag_ms.get(way) for sample in group) for way in _names(group, "lag_ms")},
        phase=last.phase,
        verdict=last.verdict,
    )


def worst(values: Iterable[float | None]) -> float | None:
    """The highest that is known; None when none is."""
    return max((value for value in values if value is not None), default=None)


def _names(samples: Iterable[Sample], field: str) -> list[str]:
    """The keys of a mapping of the samples, each once, in the order in which they appear."""
    return list(dict.fromkeys(name for sample in samples for name in getattr(sample, field)))


def _starts(samples: Sequence[Sample]) -> list[float]:
    """When the interval of each sample began: at the end of the one before."""
    return [0.0, *(sample.at for sample in samples)][: len(samples)]


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """The intervals on the shared time axis, in seconds."""

    starts: Sequence[float]
    ends: Sequence[float]
    end: float

    def x(self, at: float) -> float:
        return WIDTH * at / self.end

    def line(self, heights: Sequence[float | None]) -> str:
        """A line that is level in each interval, with a gap where nothing is known; heights from 0 to 1."""
        parts: list[str] = []
        before: float | None = None
        for start, end, height in zip(self.starts, self.ends, heights, strict=True):
            if height is None:
                before = None
                continue
            y = _short(HEIGHT * (1 - height))
            parts.append(f"M{_short(self.x(start))} {y}" if before is None else f"V{y}" if height != before else "")
            parts.append(f"H{_short(self.x(end))}")
            before = height
        return "".join(parts)

    def area(self, lower: Sequence[float], upper: Sequence[float]) -> str:
        """What lies between two such lines; nothing where they meet."""
        parts: list[str] = []
        open_intervals = (index for index in range(len(upper)) if upper[index] > lower[index])
        # A run of neighbours keeps the same distance to its position in the list.
        for _, run in itertools.groupby(enumerate(open_intervals), key=lambda item: item[1] - item[0]):
            indices = [index for _, index in run]
            part = slice(indices[0], indices[-1] + 1)
            stretch = _Axis(starts=self.starts[part], ends=self.ends[part], end=self.end)
            parts.append(stretch.line(upper[part]))
            parts += [
                f"V{_short(HEIGHT * (1 - height))}H{_short(self.x(start))}"
                for start, height in zip(reversed(stretch.starts), reversed(lower[part]), strict=True)
            ]
            parts.append("Z")
        return "".join(parts)


def _plots(axis: _Axis, samples: Sequence[Sample]) -> list[Plot]:
    seconds = [max(end - start, 1e-9) for start, end in zip(axis.starts, axis.ends, strict=True)]
    return [
        _shares(axis, samples, name="weights", title="Weights of the load balancer, per cent"),
        _shares(axis, samples, name="dns", title="Weights in DNS, per cent"),
        _throughput(axis, samples, seconds),
        _errors(axis, samples, seconds),
        _latency(axis, samples),
        _lag(axis, samples),
    ]


def _shares(axis: _Axis, samples: Sequence[Sample], *, name: str, title: str) -> Plot:
    sides = _names(samples, name)
    parts = {side: [getattr(sample, name).get(side, 0.0) / 100 for sample in samples] for side in sides}
    highest = max((sum(values) for values in zip(*parts.values(), strict=True)), default=1.0) or 1.0
    changes = sum(
        1 for before, after in itertools.pairwise(getattr(sample, name) for sample in samples) if before != after
    )
    at_the_end = listed(f"{side} {share:g}\u00a0%" for side, share in getattr(samples[-1], name).items())
    return Plot(
        name=name,
        title=title,
        summary=f"{count(changes, 'change')}; at the end {at_the_end}.",
        ticks=[
            Tick(percent=100 * share / highest, label=f"{share:.0%}") for share in (0, 0.5, 1.0) if share <= highest
        ],
        shapes=_stack(axis, {side: [value / highest for value in values] for side, values in parts.items()}),
        keys=[Key(label=side, classes=f"fill {_class(side)}") for side in sides],
    )


def _throughput(axis: _Axis, samples: Sequence[Sample], seconds: Sequence[float]) -> Plot:
    sides = _names(samples, "by_side")
    rates = {
        side: [sample.by_side.get(side, 0) / length for sample, length in zip(samples, seconds, strict=True)]
        for side in sides
    }
    totals = [sum(values) for values in zip(*rates.values(), strict=True)]
    ticks, top = _linear(max(totals, default=0.0))
    answered = listed(f"{side} {sum(sample.by_side.get(side, 0) for sample in samples):,}" for side in sides)
    return Plot(
        name="throughput",
        title="Requests a second, by who answered",
        summary=f"Answered by {answered}; at most {max(totals, default=0):.1f} a second.",
        ticks=ticks,
        shapes=_stack(axis, {side: [value / top for value in values] for side, values in rates.items()}),
        keys=[Key(label=side, classes=f"fill {_class(side)}") for side in sides],
    )


def _errors(axis: _Axis, samples: Sequence[Sample], seconds: Sequence[float]) -> Plot:
    rates = [sample.errors / length for sample, length in zip(samples, seconds, strict=True)]
    ticks, top = _linear(max(rates))
    errors, requests = sum(sample.errors for sample in samples), sum(sample.requests for sample in samples)
    first = next((sample.at for sample in samples if sample.errors), None)
    return Plot(
        name="errors",
        title="Failed requests a second",
        summary=f"{errors:,} of {requests:,} requests failed"
        + (f", the first by {clock(first)}." if first is not None else "."),
        ticks=ticks,
        shapes=[Shape(path=axis.area([0.0] * len(rates), [rate / top for rate in rates]), classes="fill bad")],
        keys=[Key(label="failed", classes="fill bad")],
    )


def _latency(axis: _Axis, samples: Sequence[Sample]) -> Plot:
    series = {name: [getattr(sample, f"{name}_ms") for sample in samples] for name in ("p99", "p95", "p50")}
    return _logarithmic(
        axis, series, name="latency", title="Latency from when a request was due, logarithmic", samples=samples
    )


def _lag(axis: _Axis, samples: Sequence[Sample]) -> Plot:
    series = {way: [sample.lag_ms.get(way) for sample in samples] for way in _names(samples, "lag_ms")}
    return _logarithmic(axis, series, name="lag", title="Replication lag, logarithmic", samples=samples)


def _logarithmic(
    axis: _Axis, series: Mapping[str, Sequence[float | None]], *, name: str, title: str, samples: Sequence[Sample]
) -> Plot:
    known = [value for values in series.values() for value in values if value is not None]
    ticks, height = _decades(known)
    sentences = []
    for label, values in series.items():
        highest = worst(values)
        if highest is None:
            sentences.append(f"{label} not known at any time")
            continue
        moment = next(sample.at for sample, value in zip(samples, values, strict=True) if value == highest)
        gaps = sum(value is None for value in values)
        sentences.append(
            f"{label} {duration(highest)} at {clock(moment)}"
            + (f" (unknown in {gaps} of {len(values)} intervals)" if gaps else "")
        )
    return Plot(
        name=name,
        title=title,
        summary=f"Highest: {'; '.join(sentences)}." if sentences else "Nothing was measured.",
        ticks=ticks,
        shapes=[
            Shape(
                path=axis.line([None if value is None else height(value) for value in values]),
                classes=f"line series-{number}",
            )
            for number, values in enumerate(series.values())
        ],
        keys=[Key(label=label, classes=f"line series-{number}") for number, label in enumerate(series)],
    )


def _stack(axis: _Axis, parts: Mapping[str, Sequence[float]]) -> list[Shape]:
    lower = [0.0] * len(axis.ends)
    shapes = []
    for side, values in parts.items():
        upper = [below + value for below, value in zip(lower, values, strict=True)]
        shapes.append(Shape(path=axis.area(lower, upper), classes=f"fill {_class(side)}"))
        lower = upper
    return shapes


def _bands(axis: _Axis, samples: Sequence[Sample]) -> list[Band]:
    return [
        _band(axis, "writer", "Writer", [sample.writer or "none" for sample in samples], _class),
        _band(axis, "phase", "Phase", [sample.phase or "none" for sample in samples], lambda _: ""),
        _band(axis, "verdict", "Verdict", [sample.verdict or "none" for sample in samples], _verdict_class),
    ]


def _band(axis: _Axis, name: str, title: str, states: Sequence[str], classes: Callable[[str], str]) -> Band:
    segments: list[Segment] = []
    index = 0
    for state, run in itertools.groupby(states):
        length = len(list(run))
        begin, end = axis.starts[index], axis.ends[index + length - 1]
        index += length
        segments.append(
            Segment(
                left=axis.x(begin) / WIDTH * 100,
                width=axis.x(end - begin) / WIDTH * 100,
                label=state if end - begin >= axis.end * _LABELLED else "",
                tip=f"{title} {state}: {clock(begin)} to {clock(end)}",
                classes=classes(state),
            )
        )
    return Band(name=name, title=title, segments=segments)


def _marks(record: Record, end: float) -> list[Mark]:
    taken = [float("-inf")] * _LANES
    marks = []
    for number, event in enumerate(record.events, 1):
        percent = 100 * max(0.0, event.at) / end
        lane = next((lane for lane in range(_LANES) if percent - taken[lane] >= _APART_PERCENT), None)
        if lane is not None:
            taken[lane] = percent
        tip = f"{number}. {clock(event.at)} {event.kind}: {event.text}"
        marks.append(Mark(number=number, percent=percent, lane=lane, kind=event.kind, tip=tip))
    return marks


def _linear(highest: float) -> tuple[list[Tick], float]:
    """Ticks from 0 to a round number that is not below the highest, and that number."""
    if highest <= 0:
        return [Tick(percent=0, label="0")], 1.0
    magnitude = 10.0 ** math.floor(math.log10(highest))
    top = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= highest)
    return [Tick(percent=share * 100, label=f"{top * share:g}") for share in (0, 0.5, 1)], top


def _decades(known: Sequence[float]) -> tuple[list[Tick], Callable[[float], float]]:
    """Ticks at whole powers of ten that enclose the values, in milliseconds, and the height of a value."""
    lowest = math.floor(math.log10(max(_LOWEST_MS, min(known, default=_LOWEST_MS))))
    highest = max(lowest + 1, math.ceil(math.log10(max(_LOWEST_MS, max(known, default=_LOWEST_MS)))))
    span = highest - lowest

    def height(value: float) -> float:
        return (math.log10(max(10.0**lowest, value)) - lowest) / span

    ticks = [
        Tick(percent=100 * (power - lowest) / span, label=duration(10.0**power)) for power in range(lowest, highest + 1)
    ]
    return ticks, height


def _time_ticks(end: float) -> list[float]:
    step = next((step for step in _STEPS if end / step <= _MOST_TICKS), 86_400 * math.ceil(end / 86_400 / _MOST_TICKS))
    return [float(at) for at in range(0, math.floor(end) + 1, step)]


def _class(side: str) -> str:
    return side if side in ("legacy", "blue", "green", "aws", "none") else "other"


def _verdict_class(verdict: str) -> str:
    return {"pass": "kept", "roll back": "broken"}.get(verdict, "")


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
