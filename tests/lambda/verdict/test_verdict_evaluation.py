"""The verdict: what passes, what holds, what rolls back, and why in words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from verdict import (
    AlarmState,
    Counts,
    Evidence,
    Limits,
    Observation,
    ObservationError,
    Outcome,
    Sample,
    Settings,
    Signals,
    Verdict,
    evaluate,
)

SETTINGS = Settings()
ALARM = "green-health"
WELL = Signals(healthy_hosts=3, replication_lag_seconds=0.4, validation_failures=0, alarms={ALARM: AlarmState.OK})
GOOD = Counts(83)
OTHER = Counts(750, 1)

Row = tuple[Counts | None, Counts | None]


def begin(*, other: str | None = "blue") -> Evidence:
    return Evidence.begin(SETTINGS, environment="green", other=other, alarms=(ALARM,), since_seconds=590)


def observe(
    evidence: Evidence,
    rows: Sequence[Row],
    *,
    signals: Signals = WELL,
    settings: Settings = SETTINGS,
    deadline_over: bool = False,
) -> tuple[Verdict, Evidence]:
    start = evidence.next_sample_seconds
    period = settings.period_seconds
    until = start + period * len(rows)
    samples = tuple(Sample(start + period * n, own, other) for n, (own, other) in enumerate(rows))
    observation = Observation(now_seconds=until, settled_until_seconds=until, samples=samples, signals=signals)
    return evaluate(settings, evidence, observation, deadline_over=deadline_over)


def outcome(rows: Sequence[Row], **more: Any) -> Outcome:
    return observe(begin(), rows, **more)[0].outcome


def test_enough_good_requests_pass() -> None:
    assert outcome([(GOOD, OTHER)] * 5) is Outcome.PASS


def test_too_few_good_requests_hold() -> None:
    assert outcome([(GOOD, OTHER)] * 4) is Outcome.HOLD


def test_no_requests_hold_however_long() -> None:
    assert outcome([(Counts(0), Counts(0))] * 1000) is Outcome.HOLD


def test_nothing_observed_yet_holds() -> None:
    assert outcome([]) is Outcome.HOLD


def test_a_bad_environment_is_rolled_back() -> None:
    assert outcome([(Counts(83, 4), OTHER)] * 3) is Outcome.ROLL_BACK


def test_slow_answers_are_bad_too() -> None:
    assert outcome([(Counts(83, 0, 4), OTHER)] * 3) is Outcome.ROLL_BACK


def test_half_of_the_answers_bad_are_rolled_back_after_one_sample() -> None:
    assert outcome([(Counts(83, 41), OTHER)]) is Outcome.ROLL_BACK


def test_trouble_that_both_environments_share_holds() -> None:
    assert outcome([(Counts(83, 20), Counts(750, 180))] * 10) is Outcome.HOLD


def test_the_worse_one_is_rolled_back_although_both_have_trouble() -> None:
    assert outcome([(Counts(83, 12), Counts(750, 15))] * 10) is Outcome.ROLL_BACK


def test_without_another_environment_the_tolerated_rate_decides() -> None:
    verdict, _ = observe(begin(other=None), [(Counts(83, 20), None)])

    assert verdict.outcome is Outcome.ROLL_BACK


def test_another_environment_without_data_protects_nobody() -> None:
    assert outcome([(Counts(83, 20), None)]) is Outcome.ROLL_BACK


def test_another_environment_without_requests_protects_nobody() -> None:
    assert outcome([(Counts(83, 20), Counts(0))]) is Outcome.ROLL_BACK


def test_another_environment_without_data_does_not_keep_a_healthy_one_from_passing() -> None:
    assert outcome([(GOOD, None)] * 5) is Outcome.PASS


def test_trouble_that_begins_late_is_found() -> None:
    assert outcome([(GOOD, OTHER)] * 500 + [(Counts(83, 10), OTHER)] * 3) is Outcome.ROLL_BACK


def test_a_verdict_to_roll_back_stays() -> None:
    _, evidence = observe(begin(), [(Counts(83, 41), OTHER)])

    assert observe(evidence, [(GOOD, OTHER)] * 100)[0].outcome is Outcome.ROLL_BACK


def test_health_that_was_shown_and_is_in_doubt_again_holds() -> None:
    _, evidence = observe(begin(), [(GOOD, OTHER)] * 5)

    assert observe(evidence, [(Counts(83, 4), Counts(750, 36))])[0].outcome is Outcome.HOLD


def test_an_environment_passes_after_a_common_cause_is_over() -> None:
    _, evidence = observe(begin(), [(Counts(83, 20), Counts(750, 180))] * 30)

    assert observe(evidence, [(GOOD, OTHER)] * 12)[0].outcome is Outcome.PASS


def test_a_sample_without_counts_holds_even_after_health_was_shown() -> None:
    assert outcome([(GOOD, OTHER)] * 9 + [(None, OTHER)]) is Outcome.HOLD


def test_after_a_gap_health_must_be_shown_anew() -> None:
    assert outcome([(GOOD, OTHER)] * 9 + [(None, OTHER)] + [(GOOD, OTHER)] * 4) is Outcome.HOLD


def test_after_a_gap_health_can_be_shown_anew() -> None:
    assert outcome([(GOOD, OTHER)] * 9 + [(None, OTHER)] + [(GOOD, OTHER)] * 5) is Outcome.PASS


def test_a_sample_that_nobody_delivers_counts_as_missing() -> None:
    evidence = begin()
    start = evidence.next_sample_seconds
    samples = tuple(Sample(start + 60 * n, GOOD, OTHER) for n in range(9))
    observation = Observation(now_seconds=start + 660, settled_until_seconds=start + 600, samples=samples, signals=WELL)

    verdict, kept = evaluate(SETTINGS, evidence, observation)

    assert (verdict.outcome, kept.missing) == (Outcome.HOLD, 1)


@pytest.mark.parametrize(("missing", "expected"), [(4, Outcome.HOLD), (5, Outcome.ROLL_BACK)])
def test_requests_without_data_for_too_long_roll_back(missing: int, expected: Outcome) -> None:
    assert outcome([(GOOD, OTHER)] * 9 + [(None, None)] * missing) is expected


@pytest.mark.parametrize(
    ("signals", "reason"),
    [
        ({"healthy_hosts": 1}, "green: 1 healthy hosts, at least 2 are needed"),
        ({"healthy_hosts": 0}, "green: 0 healthy hosts, at least 2 are needed"),
        ({"replication_lag_seconds": 60.5}, "green: replication lags by 60.5 s, at most 60 s are allowed"),
        ({"validation_failures": 1200}, "green: 1,200 rows differ between the databases, at most 0 are allowed"),
        ({"alarms": {ALARM: AlarmState.ALARM}}, f"green: alarm {ALARM} is in ALARM"),
        ({"alarms": {ALARM: AlarmState.OK, "more": AlarmState.ALARM}}, "green: alarm more is in ALARM"),
    ],
)
def test_a_value_beyond_a_hard_limit_rolls_back_and_says_so(signals: dict[str, Any], reason: str) -> None:
    verdict, _ = observe(begin(), [(GOOD, OTHER)] * 9, signals=replace(WELL, **signals))

    assert (verdict.outcome, verdict.reasons) == (Outcome.ROLL_BACK, (reason,))


@pytest.mark.parametrize("signals", [{"healthy_hosts": 2}, {"replication_lag_seconds": 60}])
def test_a_value_at_a_hard_limit_is_allowed(signals: dict[str, Any]) -> None:
    assert outcome([(GOOD, OTHER)] * 9, signals=replace(WELL, **signals)) is Outcome.PASS


MISSING_SIGNALS: list[tuple[dict[str, Any], str]] = [
    ({"healthy_hosts": None}, "healthy hosts"),
    ({"replication_lag_seconds": None}, "replication lag"),
    ({"validation_failures": None}, "validation"),
    ({"alarms": None}, f"alarm {ALARM}"),
    ({"alarms": {}}, f"alarm {ALARM}"),
    ({"alarms": {ALARM: AlarmState.INSUFFICIENT_DATA}}, f"alarm {ALARM}"),
]


@pytest.mark.parametrize(("signals", "name"), MISSING_SIGNALS)
def test_a_signal_without_data_holds_a_healthy_environment(signals: dict[str, Any], name: str) -> None:
    verdict, _ = observe(begin(), [(GOOD, OTHER)] * 9, signals=replace(WELL, **signals))

    assert (verdict.outcome, verdict.reasons) == (Outcome.HOLD, (f"green: no data on {name}",))


@pytest.mark.parametrize(("signals", "name"), MISSING_SIGNALS)
def test_a_signal_without_data_for_too_long_rolls_back(signals: dict[str, Any], name: str) -> None:
    without = replace(WELL, **signals)
    _, evidence = observe(begin(), [(GOOD, OTHER)], signals=without)
    verdict, _ = observe(evidence, [(GOOD, OTHER)] * 5, signals=without)

    reason = f"green: no data on {name} for 5 min, at most 5 min are allowed"
    assert (verdict.outcome, verdict.reasons) == (Outcome.ROLL_BACK, (reason,))


def test_a_signal_that_comes_back_is_not_held_against_the_environment() -> None:
    _, evidence = observe(begin(), [(GOOD, OTHER)], signals=replace(WELL, healthy_hosts=None))
    _, evidence = observe(evidence, [(GOOD, OTHER)] * 4)
    verdict, _ = observe(evidence, [(GOOD, OTHER)], signals=replace(WELL, healthy_hosts=None))

    assert verdict.outcome is Outcome.HOLD


def test_a_limit_that_is_switched_off_is_not_watched() -> None:
    settings = Settings(
        limits=Limits(
            healthy_hosts_minimum=None, replication_lag_seconds_maximum=None, validation_failures_maximum=None
        )
    )
    signals = Signals(alarms={ALARM: AlarmState.OK})

    assert observe(begin(), [(GOOD, OTHER)] * 9, signals=signals, settings=settings)[0].outcome is Outcome.PASS


def test_holding_at_the_deadline_rolls_back_and_says_what_was_not_known() -> None:
    verdict, _ = observe(begin(), [(GOOD, OTHER)] * 4, deadline_over=True)

    assert verdict.reasons == (
        "green: not shown to be healthy by the deadline; "
        "green: 0 bad of 332, tolerated 0.2 %; 48 good ones in a row would show health",
    )


def test_health_at_the_deadline_passes() -> None:
    assert outcome([(GOOD, OTHER)] * 9, deadline_over=True) is Outcome.PASS


def test_several_reasons_are_all_given() -> None:
    signals = Signals(
        healthy_hosts=0, replication_lag_seconds=99, validation_failures=None, alarms={ALARM: AlarmState.ALARM}
    )
    verdict, _ = observe(begin(), [(Counts(83, 41), OTHER)], signals=signals)

    assert [finding.check for finding in verdict.findings] == [
        "healthy hosts",
        "replication lag",
        f"alarm {ALARM}",
        "requests",
        "data of validation",
    ]


@pytest.mark.parametrize(
    ("other", "rows", "reason"),
    [
        (
            None,
            [(Counts(620, 9), None)],
            "green: 9 bad of 620, tolerated 0.2 %, bad at 2 % is 14,800 times likelier",
        ),
        (
            "blue",
            [(GOOD, OTHER)],
            "green: 0 bad of 83, tolerated 0.2 %; 297 good ones in a row would show health",
        ),
        (
            "blue",
            [(GOOD, OTHER)] * 5,
            "green: 0 bad of 415, tolerated 0.2 %, that is 1,000 times likelier than bad at 2 %",
        ),
        (
            "blue",
            [(Counts(83, 20), Counts(750, 180))] * 2,
            "green: 40 bad of 166, tolerated 0.2 %; blue meanwhile 360 of 1,500, which points to a common cause; "
            "886 good ones in a row would show health",
        ),
        ("blue", [], "green: no sample of 1 min is complete yet"),
    ],
)
def test_the_reason_is_explained_in_words(other: str | None, rows: Sequence[Row], reason: str) -> None:
    verdict, _ = observe(begin(other=other), rows)

    assert verdict.reasons == (reason,)


def test_blame_is_explained_with_what_the_other_environment_did_meanwhile() -> None:
    _, evidence = observe(begin(), [(GOOD, OTHER)] * 6)
    verdict, _ = observe(evidence, [(Counts(83, 12), OTHER)])

    (reason,) = verdict.reasons
    assert reason.startswith("green: 12 bad of 83, tolerated 0.2 %; blue meanwhile 1 of 750; a fault of green is ")


def test_a_ratio_too_large_to_be_read_is_cut_off() -> None:
    verdict, _ = observe(begin(other=None), [(Counts(10**15, 10**15), None)])

    assert verdict.reasons[0].endswith("bad at 2 % is over 1,000,000,000,000 times likelier")


def test_the_verdict_is_written_for_the_journal_as_json() -> None:
    verdict, _ = observe(begin(), [(GOOD, OTHER)] * 5)

    assert json.loads(json.dumps(verdict.to_json())) == {
        "outcome": "pass",
        "reasons": list(verdict.reasons),
        "findings": [
            {
                "check": "requests",
                "outcome": "pass",
                "reason": verdict.reasons[0],
                "values": {
                    "requests": 415,
                    "bad": 0,
                    "other_requests": 3750,
                    "other_bad": 5,
                    "health": -6.9078,
                    "blame": -6.9078,
                    "missing_samples": 0,
                },
            }
        ],
    }


@pytest.mark.parametrize(
    ("start", "until", "message"),
    [
        (540, 1200, "begins at 540, allowed: 600 or later, because what comes before was counted already"),
        (630, 1200, "begins at 630, allowed: 600 or a multiple of 60 s later"),
        (660, 700, "begins at 660 and lasts 60 s, allowed: ends by settled_until_seconds, which is 700"),
    ],
)
def test_a_sample_that_does_not_follow_is_refused(start: int, until: int, message: str) -> None:
    observation = Observation(
        now_seconds=until, settled_until_seconds=until, samples=(Sample(start, GOOD),), signals=WELL
    )
    with pytest.raises(ObservationError, match=message):
        evaluate(SETTINGS, begin(), observation)


def test_the_first_sample_is_the_first_whole_one_after_the_weights_were_verified() -> None:
    assert [
        Evidence.begin(SETTINGS, environment="green", since_seconds=since).next_sample_seconds
        for since in (600, 600.5, 659)
    ] == [600, 660, 660]
