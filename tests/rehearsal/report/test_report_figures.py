"""What is drawn is what was measured: nothing hidden by joining, gaps where nothing is known."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.record import Event, Sample
from rehearsal.report.figures import Figures, Plot, figures, thin
from rehearsal.report.words import clock, duration, listed
from tests.support.rehearsal_records import migration_record, migration_samples


def plot(drawn: Figures, name: str) -> Plot:
    return next(each for each in drawn.plots if each.name == name)


def points(path: str) -> list[tuple[float, float]]:
    """Where the pen goes; each part that it draws without lifting begins with M."""
    x = y = 0.0
    visited = []
    for command, one, other in re.findall(r"([MHVZ])([\d.-]*)(?: ([\d.-]+))?", path):
        if command == "M":
            x, y = float(one), float(other)
        elif command == "H":
            x = float(one)
        elif command == "V":
            y = float(one)
        visited.append((x, y))
    return visited


@given(
    errors=st.lists(st.integers(0, 3), min_size=1, max_size=200),
    most=st.integers(1, 50),
    slow=st.integers(0, 199),
    closed=st.integers(0, 199),
)
def test_joining_intervals_hides_no_failure_no_slow_answer_and_no_closed_writer(
    errors: list[int], most: int, slow: int, closed: int
) -> None:
    base = migration_samples()[0]
    samples = [
        replace(
            base,
            at=index + 1.0,
            errors=number,
            p99_ms=9_999.0 if index == slow else None,
            writer=None if index == closed else "blue",
        )
        for index, number in enumerate(errors)
    ]

    joined = thin(samples, most=most)

    assert len(joined) <= most
    assert joined[-1].at == samples[-1].at
    assert sum(sample.errors for sample in joined) == sum(errors)
    assert sum(sample.requests for sample in joined) == base.requests * len(errors)
    assert any(sample.p99_ms == 9_999 for sample in joined) == (slow < len(errors))
    assert any(sample.writer is None for sample in joined) == (closed < len(errors))


def test_a_line_has_a_gap_where_nothing_is_known() -> None:
    drawn = figures(migration_record())
    whole, broken = (shape.path for shape in plot(drawn, "lag").shapes)
    assert whole.count("M") == 1
    assert broken.count("M") == 2


def test_weights_are_drawn_at_their_height_from_the_begin_of_their_interval() -> None:
    drawn = figures(migration_record())
    blue, green = plot(drawn, "weights").shapes
    at_110, at_140 = (round(1000 * at / 260, 1) for at in (110, 140))
    # Blue reaches down to 75 % when the interval after 110 s begins.
    assert (at_110, 25.0) in points(blue.path)
    assert (at_140, 75.0) in points(blue.path)
    # Green has nothing before: no line of height 0 is drawn.
    assert min(x for x, _ in points(green.path)) == at_110


def test_no_stroke_leaves_the_drawing() -> None:
    drawn = figures(migration_record(samples=migration_samples(per_second=10)))
    for each in drawn.plots:
        for shape in each.shapes:
            for x, y in points(shape.path):
                assert 0 <= x <= 1000.05, each.name
                assert -0.05 <= y <= 100.05, each.name


def test_a_day_of_samples_stays_a_small_picture() -> None:
    drawn = figures(migration_record(samples=migration_samples(per_second=40)))
    assert sum(len(shape.path) for each in drawn.plots for shape in each.shapes) < 400_000


def test_states_follow_each_other_without_gap_and_name_a_closed_writer() -> None:
    drawn = figures(migration_record())
    writer = next(band for band in drawn.bands if band.name == "writer")
    assert [segment.tip.split(":")[0] for segment in writer.segments] == [
        f"Writer {state}" for state in ("legacy", "none", "blue", "none", "green", "none", "blue")
    ]
    reached = 0.0
    for segment in writer.segments:
        assert segment.left == pytest.approx(reached)
        reached += segment.width
    assert reached == pytest.approx(100)


def test_every_event_is_marked_and_numbers_that_would_cover_each_other_get_lanes() -> None:
    crowd = [Event(at=100 + number / 10, kind="weights", text="A step.", details={}) for number in range(9)]
    drawn = figures(migration_record(events=crowd))
    assert [mark.number for mark in drawn.marks] == list(range(1, 10))
    lanes = [mark.lane for mark in drawn.marks]
    assert lanes[:5] == [0, 1, 2, 3, 4]
    assert set(lanes[5:]) == {None}
    assert drawn.lanes == 5


def test_an_event_after_the_last_sample_is_still_on_the_axis() -> None:
    drawn = figures(migration_record(events=[Event(at=300, kind="rollback", text="Late.", details={})]))
    assert drawn.end == 300
    assert drawn.marks[0].percent == 100


@pytest.mark.parametrize("seconds", [0.4, 1, 7, 59, 61, 600, 3601, 86_400, 500_000])
def test_the_axis_has_a_few_round_times(seconds: float) -> None:
    sample = replace(migration_samples()[0], at=seconds)
    times = figures(migration_record(samples=[sample], events=[])).times
    assert 1 <= len(times) <= 9
    assert all(0 <= tick.percent <= 100 for tick in times)


@given(
    latency=st.none() | st.floats(0, 1e7),
    requests=st.integers(0, 10**6),
    errors=st.integers(0, 10**6),
    at=st.floats(0.01, 1e6),
)
def test_any_sample_can_be_drawn(latency: float | None, requests: int, errors: int, at: float) -> None:
    sample: Sample = replace(
        migration_samples()[0],
        at=at,
        requests=requests,
        errors=errors,
        p50_ms=latency,
        lag_ms={"blue-green": latency},
        by_side={"blue": requests},
    )
    drawn = figures(migration_record(samples=[sample]))
    for each in drawn.plots:
        assert "nan" not in "".join(shape.path for shape in each.shapes)
        assert all(0 <= tick.percent <= 100.001 for tick in each.ticks)
        for shape in each.shapes:
            assert all(-0.05 <= y <= 100.05 for _, y in points(shape.path))


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "not measured"), (0.0, "0 ms"), (4.24, "4.24 ms"), (999.4, "999 ms"), (999.6, "1 s"), (1480.2, "1.48 s"),
     (599_000, "599 s"), (600_000, "10 min")],
)  # fmt: skip
def test_durations_have_three_digits_and_a_unit(value: float | None, text: str) -> None:
    assert duration(value) == text


def test_times_and_lists_read_as_a_person_would_say_them() -> None:
    assert [clock(0), clock(61.9), clock(3_700)] == ["00:00", "01:01", "1:01:40"]
    assert [listed([]), listed(["one"]), listed("abc")] == ["nothing", "one", "a, b and c"]
