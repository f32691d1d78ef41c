"""A record is the same after it was written and read, and what is no record is refused with one line a mistake."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.record import ComparisonRow, Event, FaultResult, Promise, Record, RecordError, Sample

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


def a_sample(**changes: Any) -> Sample:
    values: dict[str, Any] = {
        "at": 1.5,
        "weights": {"blue": 90, "green": 10},
        "dns": {"legacy": 0, "aws": 100},
        "writer": "blue",
        "requests": 14,
        "errors": 1,
        "p50_ms": 4.5,
        "p95_ms": 9.0,
        "p99_ms": 12.0,
        "by_side": {"legacy": 0, "blue": 13, "green": 1},
        "lag_ms": {"blue-green": 480.0, "green-blue": None},
        "phase": "watching",
        "verdict": "healthy",
    }
    return Sample(**{**values, **changes})


def a_record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "title": "A rehearsal",
        "scenario": "migration",
        "started_at": "2026-11-24T21:40:00+00:00",
        "seed": 7,
        "rate": 14.0,
        "delay_seconds": 1.0,
        "versions": {"MariaDB": "10.11.19"},
        "samples": [a_sample(), a_sample(at=2.5, writer=None)],
        "events": [Event(at=2.0, kind="writer", text="The writer moves to green.", details={"pause_ms": 312})],
        "promises": [Promise(name="Nothing is lost", kept=True, measured="0", allowed="0")],
        "decisions": [Event(at=1.0, kind="decision", text="Go on.", details={})],
        "faults": [
            FaultResult(
                scenario="Green answers 500",
                group="fault",
                must_happen="Rolled back.",
                happened="Rolled back after 0.4 s.",
                passed=True,
                promises=[Promise(name="Nothing is lost", kept=True, measured="0", allowed="0")],
                seconds=12.5,
            )
        ],
        "comparison": [
            ComparisonRow(
                method="DNS weights alone",
                sent=100,
                failed=0,
                lost=3,
                diverged=2,
                duplicated=1,
                pause_ms=None,
                rollback_ms=61_000,
                remark="",
            )
        ],
        "simulated": ["AWS::WAFv2::WebACL"],
    }
    return Record(**{**values, **changes})


def test_a_record_is_the_same_after_it_was_written_and_read() -> None:
    record = a_record()

    assert Record.from_json(record.to_json()) == record


@given(
    at=NUMBERS,
    latency=st.none() | NUMBERS,
    lag=st.dictionaries(st.text(), st.none() | NUMBERS),
    counts=st.dictionaries(st.text(), st.integers(min_value=0)),
    words=st.text(),
)
def test_any_sample_is_the_same_after_it_was_written_and_read(
    at: float, latency: float | None, lag: dict[str, float | None], counts: dict[str, int], words: str
) -> None:
    sample = a_sample(at=at, p99_ms=latency, lag_ms=lag, by_side=counts, phase=words, verdict=words, writer=words)

    assert Sample.from_json(sample.to_json()) == sample


@pytest.mark.parametrize("nothing", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_kept_as_not_measured(nothing: float) -> None:
    sample = a_sample(p50_ms=nothing, lag_ms={"blue-green": nothing})

    assert (sample.p50_ms, sample.lag_ms) == (None, {"blue-green": None})
    assert "NaN" not in sample.to_json()
    assert Sample.from_json(sample.to_json()) == sample


def test_details_that_json_has_no_word_for_become_text() -> None:
    event = Event(at=0, kind="alarm", text="An alarm.", details={"since": datetime(2026, 11, 24, tzinfo=UTC)})

    assert Event.from_json(event.to_json()).details["since"].startswith("2026-11-24")


def test_a_caller_cannot_change_a_record_through_a_list_that_it_gave() -> None:
    samples = [a_sample()]
    record = a_record(samples=samples)

    samples.append(a_sample())

    assert len(record.samples) == 1


def test_each_mistake_is_told_in_a_line_with_key_value_and_what_is_allowed() -> None:
    wrong = json.loads(a_record().to_json())
    wrong["samples"][1]["requests"] = "many"
    wrong["events"][0]["kind"] = "surprise"
    wrong["colour"] = "teal"
    del wrong["seed"]

    with pytest.raises(RecordError) as caught:
        Record.from_json(json.dumps(wrong))

    first, *mistakes = str(caught.value).splitlines()
    assert first == "This is no record of a rehearsal:"
    assert sorted(line.split(":")[0] for line in mistakes) == ["colour", "events.0.kind", "samples.1.requests", "seed"]
    told = "\n".join(mistakes)
    assert "'surprise'" in told
    assert "'rollback'" in told
    assert "'many'" in told
    assert "seed: is missing" in told


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(RecordError, match=r"^This is no record of a rehearsal:\nthe text: "):
        Record.from_json(text)
