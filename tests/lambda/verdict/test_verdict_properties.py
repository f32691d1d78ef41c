"""What holds of every verdict, whatever is observed."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verdict import (
    AlarmState,
    Counts,
    Evidence,
    EvidenceError,
    Finding,
    Observation,
    Outcome,
    Sample,
    Settings,
    Signals,
    Verdict,
    combine,
    evaluate,
)

SETTINGS = Settings()
WELL = Signals(healthy_hosts=3, replication_lag_seconds=0, validation_failures=0, alarms={})
Row = tuple[Counts | None, Counts | None]


def _counts(most: int) -> st.SearchStrategy[Counts]:
    """Counts with no, few, or any number of bad requests."""

    def make(requests: int, number: int, kind: int) -> Counts:
        if kind == 0:
            return Counts(requests)
        return (
            Counts(requests, min(requests, number % 6)) if kind == 1 else Counts(requests, 0, number % (requests + 1))
        )

    return st.builds(make, st.integers(0, most), st.integers(0, most), st.integers(0, 2))


known = st.tuples(_counts(1000), st.none() | _counts(10_000))
rows = st.lists(st.tuples(st.none() | _counts(1000), st.none() | _counts(10_000)), max_size=12)
known_rows = st.lists(known, min_size=1, max_size=12)
others = st.sampled_from([None, "blue"])
signals = st.builds(
    Signals,
    healthy_hosts=st.none() | st.integers(0, 5),
    replication_lag_seconds=st.none() | st.floats(0, 200),
    validation_failures=st.none() | st.integers(0, 3),
    alarms=st.none() | st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(AlarmState)),
)


def begin(other: str | None, alarms: tuple[str, ...] = ()) -> Evidence:
    return Evidence.begin(SETTINGS, environment="green", other=other, alarms=alarms, since_seconds=0)


def feed(evidence: Evidence, given_rows: list[Row], given_signals: Signals = WELL) -> tuple[Verdict, Evidence]:
    start = evidence.next_sample_seconds
    until = start + 60 * len(given_rows)
    samples = tuple(Sample(start + 60 * n, *row) for n, row in enumerate(given_rows))
    return evaluate(
        SETTINGS,
        evidence,
        Observation(now_seconds=until, settled_until_seconds=until, samples=samples, signals=given_signals),
    )


@given(rows, others, signals)
def test_nothing_passes_while_anything_that_is_watched_is_missing(
    given_rows: list[Row], other: str | None, given_signals: Signals
) -> None:
    evidence = begin(other, alarms=("a", "b"))
    verdict, _ = feed(evidence, given_rows, given_signals)
    states = given_signals.alarms or {}

    missing = (
        not given_rows
        or given_rows[-1][0] is None
        or None
        in (given_signals.healthy_hosts, given_signals.replication_lag_seconds, given_signals.validation_failures)
        or any(states.get(name) in (None, AlarmState.INSUFFICIENT_DATA) for name in ("a", "b"))
    )
    assert not (missing and verdict.outcome is Outcome.PASS)


@given(known_rows, others, st.integers(0, 11))
def test_a_gap_wipes_out_the_health_that_was_shown_before(given_rows: list[Row], other: str | None, place: int) -> None:
    after = given_rows[place % len(given_rows) :]
    with_gap = [*given_rows, (None, None), *after]

    if feed(begin(other), with_gap)[0].outcome is Outcome.PASS:
        alone = feed(begin(other), after)[1]
        assert alone.proved


@given(known_rows, others, st.data())
def test_more_bad_requests_never_make_the_verdict_better(
    given_rows: list[Row], other: str | None, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(given_rows) - 1))
    counts, compared = given_rows[place]
    assert counts is not None
    more = data.draw(st.integers(0, counts.requests - counts.bad))
    worse = [*given_rows]
    worse[place] = (Counts(counts.requests, counts.errors + more, counts.slow), compared)

    before, after = feed(begin(other), given_rows)[0], feed(begin(other), worse)[0]

    assert after.outcome.severity >= before.outcome.severity


@given(known_rows, st.data())
def test_bad_requests_of_the_other_environment_never_bring_blame(given_rows: list[Row], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(given_rows) - 1))
    counts, compared = given_rows[place]
    if compared is None:
        return
    more = data.draw(st.integers(0, compared.requests - compared.bad))
    shared = [*given_rows]
    shared[place] = (counts, Counts(compared.requests, compared.errors + more, compared.slow))

    before, after = feed(begin("blue"), given_rows)[1], feed(begin("blue"), shared)[1]

    assert not (after.blamed and not before.blamed)


@given(known_rows)
def test_an_environment_that_is_never_worse_than_the_other_one_is_never_blamed(given_rows: list[Row]) -> None:
    alike: list[Row] = [(counts, counts) for counts, _ in given_rows if counts is not None and counts.requests]

    assert not feed(begin("blue"), alike)[1].blamed


@given(rows, others, signals)
def test_a_value_beyond_a_hard_limit_always_rolls_back(
    given_rows: list[Row], other: str | None, given_signals: Signals
) -> None:
    for beyond in (
        replace(given_signals, healthy_hosts=1),
        replace(given_signals, replication_lag_seconds=60.001),
        replace(given_signals, validation_failures=1),
        replace(given_signals, alarms={"any": AlarmState.ALARM}),
    ):
        assert feed(begin(other), given_rows, beyond)[0].outcome is Outcome.ROLL_BACK


@given(rows, rows, others, signals, signals)
def test_evidence_that_went_through_json_goes_on_as_if_it_had_not(
    first: list[Row], second: list[Row], other: str | None, earlier: Signals, later: Signals
) -> None:
    _, evidence = feed(begin(other, alarms=("a",)), first, earlier)
    resumed = Evidence.from_json(json.loads(json.dumps(evidence.to_json())))

    assert resumed == evidence
    assert feed(resumed, second, later) == feed(evidence, second, later)


@given(rows, rows, others)
def test_samples_may_come_in_any_batches(first: list[Row], second: list[Row], other: str | None) -> None:
    _, in_two = feed(feed(begin(other), first)[1], second)

    assert in_two == feed(begin(other), [*first, *second])[1]


@given(st.lists(st.integers(0, 20), min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter_between_the_bounds(requests: list[int], chance: random.Random) -> None:
    # At most 160 requests, one of them bad: neither bound is reached on the way.
    in_order: list[Row] = [(Counts(each + 1, 1 if n == 0 else 0), None) for n, each in enumerate(requests)]
    shuffled = chance.sample(in_order, len(in_order))

    assert feed(begin(None), shuffled)[1].health == pytest.approx(feed(begin(None), in_order)[1].health)


@given(st.lists(st.tuples(_counts(2**53), st.none() | _counts(2**53)), max_size=5), others)
def test_huge_counts_give_finite_numbers(given_rows: list[Row], other: str | None) -> None:
    verdict, evidence = feed(begin(other), given_rows)

    assert json.loads(json.dumps(evidence.to_json(), allow_nan=False))
    assert json.loads(json.dumps(verdict.to_json(), allow_nan=False))


@given(rows, others, signals)
def test_reasons_are_single_lines(given_rows: list[Row], other: str | None, given_signals: Signals) -> None:
    verdict, _ = feed(begin(other), given_rows, given_signals)

    assert all(len(finding.reason.splitlines()) == 1 for finding in verdict.findings)


findings = st.lists(
    st.builds(
        Finding, check=st.sampled_from("abc"), outcome=st.sampled_from(Outcome), reason=st.sampled_from(["x", "y"])
    )
)


@given(findings)
def test_the_worst_finding_decides_in_any_order(given_findings: list[Finding]) -> None:
    worst = max((each.outcome.severity for each in given_findings), default=Outcome.HOLD.severity)

    assert combine(given_findings).outcome.severity == worst == combine(reversed(given_findings)).outcome.severity


@given(findings, findings)
def test_verdicts_combine_from_their_findings(first: list[Finding], second: list[Finding]) -> None:
    assert combine([*combine(first).findings, *combine(second).findings]) == combine([*first, *second])


@settings(max_examples=300)
@given(st.data())
def test_a_state_that_is_damaged_is_refused_with_one_line_or_works(data: st.DataObject) -> None:
    members = feed(begin("blue", alarms=("a",)), [(Counts(83, 2), Counts(700, 1)), (None, None)])[1].to_json()
    key = data.draw(st.sampled_from(sorted(members)))
    value = data.draw(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=3)
        | st.lists(st.integers(), max_size=6)
    )
    message = key
    try:
        Evidence.from_json({**members, key: value})
    except EvidenceError as error:
        message = str(error)

    assert message.startswith(key)
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("key", sorted(begin("blue").to_json().keys() - {"other"}))
def test_a_state_that_lacks_a_member_is_refused(key: str) -> None:
    members = begin("blue").to_json()
    del members[key]

    with pytest.raises(EvidenceError, match=f"{key}: missing"):
        Evidence.from_json(members)


def test_a_state_that_was_begun_with_other_settings_is_refused() -> None:
    observation = Observation(now_seconds=60, settled_until_seconds=60, samples=(Sample(0, Counts(1)),))

    with pytest.raises(EvidenceError, match="blame: 2 numbers, allowed: 3, one for each of worse_factors"):
        begin("blue").after(Settings(worse_factors=(2, 3, 4)), observation)


def test_a_state_with_an_unknown_member_is_refused() -> None:
    with pytest.raises(EvidenceError, match="more: unknown member"):
        Evidence.from_json({**begin("blue").to_json(), "more": 1})
