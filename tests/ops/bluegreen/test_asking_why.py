"""``bluegreen history`` and ``explain``: the journal, and the numbers behind a decision."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cutover_plan import Direction, default_plan
from cutover_plan import Phase as StepPhase
from cutover_state.run import Phase
from ops.bluegreen import documents as d
from ops.bluegreen import plans
from ops.bluegreen.errors import CommandError, Exit
from ops.bluegreen.history import parse_moment
from tests.support.operator_stage import CUTOVER, OperatorStage
from verdict import Counts, Evidence, Observation, Sample, Settings, Signals, evaluate

EARLIER = "20261120T090000-blue-green-0000"


def history(stage: OperatorStage, *words: str) -> list[d.Entry]:
    ended = stage.run("history", "--json", *words)
    assert ended.code == Exit.DONE, ended.out
    return d.History.model_validate(ended.document).entries


@pytest.fixture
def journal(stage: OperatorStage) -> OperatorStage:
    """Three entries of two cutovers, and one of none."""
    stage.journal(EARLIER, who="preflight").append("begin", "nothing speaks against it")
    stage.journal("standing", who="reconciler").append("put drift right", "environment: found blue 90, green 10")
    running = stage.journal(CUTOVER)
    running.append("set weights", "step 1", before={"blue": 100, "green": 0}, after={"blue": 99, "green": 1})
    running.append("follow an order", "promoted", who="arn:aws:sts::123456789012:assumed-role/operator/grace")
    return stage


class TestHistory:
    def test_all_of_it_in_its_order(self, journal: OperatorStage) -> None:
        assert [(each.cutover_id, each.what) for each in history(journal)] == [
            (EARLIER, "begin"),
            ("standing", "put drift right"),
            (CUTOVER, "set weights"),
            (CUTOVER, "follow an order"),
        ]

    @pytest.mark.parametrize(
        ("words", "whats"),
        [
            (["--cutover", CUTOVER], ["set weights", "follow an order"]),
            (["--who", "GRACE"], ["follow an order"]),
            (["--what", "drift"], ["put drift right"]),
            (["--last", "1"], ["follow an order"]),
            (["--since", "1h"], ["begin", "put drift right", "set weights", "follow an order"]),
            (["--until", "1h"], []),
            (["--since", "2026-01-01", "--what", "weights"], ["set weights"]),
            (["--cutover", "none"], []),
            (["--all"], ["begin", "put drift right", "set weights", "follow an order"]),
        ],
    )
    def test_filters(self, journal: OperatorStage, words: list[str], whats: list[str]) -> None:
        assert [each.what for each in history(journal, *words)] == whats

    def test_more_than_a_page_is_read_wholly(self, stage: OperatorStage) -> None:
        journal = stage.journal()
        # DynamoDB hands over a megabyte at a time.
        for number in range(12):
            journal.append("decide", f"{number}", details={"text": "x" * 100_000})
        assert [each.why for each in history(stage)] == [str(number) for number in range(12)]

    def test_it_is_shown_with_names_and_with_what_changed(self, journal: OperatorStage) -> None:
        shown = journal.run("history").out
        assert "blue 100 -> 99, green 0 -> 1" in shown
        assert " grace " in shown
        assert "assumed-role" not in shown

    @pytest.mark.parametrize("text", ["yesterday", "2h ago", "-1h", "99999999999999w"])
    def test_a_time_that_is_none_is_refused(self, stage: OperatorStage, text: str) -> None:
        ended = stage.run("history", "--since", text)
        assert (ended.code, "allowed: " in ended.err) == (Exit.BAD_INPUT, True)

    def test_a_time_is_ago_or_in_utc(self) -> None:
        now = datetime(2026, 11, 24, 12, tzinfo=UTC)

        def moment(text: str) -> datetime:
            return parse_moment(text, option="--since", now=now.timestamp())

        assert moment("90m") == now - timedelta(minutes=90)
        assert moment("2w") == now - timedelta(weeks=2)
        assert moment("2026-11-24T10:00") == datetime(2026, 11, 24, 10, tzinfo=UTC)
        assert moment("2026-11-24T10:00+02:00") == datetime(2026, 11, 24, 8, tzinfo=UTC)
        with pytest.raises(CommandError, match="allowed: 30m, 2h, 7d"):
            moment("soon")


def judged(bad: int, *, requests: int = 2000) -> tuple[dict[str, Any], Evidence, Settings]:
    """What the verdict says of a minute, and the evidence that it keeps."""
    settings = Settings()
    since = int(time.time()) // 60 * 60 - 120
    evidence = Evidence.begin(settings, environment="green", other="blue", since_seconds=since)
    observation = Observation(
        now_seconds=since + 60,
        settled_until_seconds=since + 60,
        samples=(
            Sample(
                start_seconds=since,
                environment=Counts(requests=requests, errors=bad, slow=0),
                other=Counts(requests=20_000, errors=10, slow=0),
            ),
        ),
        signals=Signals(healthy_hosts=3, replication_lag_seconds=0.5, validation_failures=0, alarms={}),
    )
    verdict, kept = evaluate(settings, evidence, observation)
    return verdict.to_json(), kept, settings


def explain(stage: OperatorStage, *words: str) -> d.Explanation:
    ended = stage.run("explain", "--json", *words)
    assert ended.code == Exit.DONE, ended.out
    return d.Explanation.model_validate(ended.document)


class TestExplanation:
    def test_a_step_that_is_watched_says_what_it_still_takes(self, stage: OperatorStage) -> None:
        verdict, evidence, settings = judged(0, requests=100)
        stage.begin(step=2, evidence=evidence.to_json())
        stage.journal().append("decide", "step 3 is watched", details=verdict)
        found = explain(stage)
        assert found.why == "step 3 is watched"
        assert found.evidence is not None
        assert (found.evidence.requests, found.evidence.bad, found.evidence.proved) == (100, 0, False)
        assert found.evidence.healthy_at == round(settings.healthy_at, 4)
        assert 200 < found.evidence.good_requests_needed < 400
        shown = stage.run("explain").out
        assert "green: 0 bad of 100 (0 %); tolerated are 0.2 %" in shown
        assert f"{found.evidence.good_requests_needed} good requests in a row would show health" in shown

    def test_health_that_is_shown_needs_no_more(self, stage: OperatorStage) -> None:
        verdict, evidence, _ = judged(1, requests=5000)
        stage.begin(step=2, evidence=evidence.to_json())
        stage.journal().append("decide", "step 3 is healthy", details=verdict)
        found = explain(stage).evidence
        assert found is not None
        assert (found.proved, found.good_requests_needed) == (True, 0)

    def test_a_rollback_says_which_check_found_what(self, stage: OperatorStage) -> None:
        verdict, _, _ = judged(200)
        stage.begin(phase=Phase.ROLLED_BACK)
        journal = stage.journal()
        journal.append("decide", "the verdict is to roll back", details=verdict)
        stage.journal(who="rollback").append("roll back", "green: 200 bad of 2,000", who="state machine")
        stage.journal(who="rollback").append("weights set", "they read back")
        found = explain(stage)
        assert found.decision is not None
        assert found.decision.what == "roll back"
        worst = found.findings[0]
        assert (worst.check, worst.outcome, worst.values["bad"]) == ("requests", "roll back", 200)
        assert [each.what for each in found.actions] == ["weights set"]
        assert found.evidence is None
        shown = " ".join(stage.run("explain").out.split())
        assert "likelier" in shown
        assert "bad 200" in shown

    def test_a_rollback_by_an_alarm_does_not_borrow_another_verdict(self, stage: OperatorStage) -> None:
        verdict, _, _ = judged(0)
        stage.begin(phase=Phase.ROLLED_BACK)
        stage.journal().append("decide", "step 3 is healthy", details=verdict)
        stage.journal().append("roll back", "alarm green-unhealthy fired: 5 bad", who="alarm green-unhealthy")
        found = explain(stage)
        assert (found.why, found.findings) == ("alarm green-unhealthy fired: 5 bad", [])

    def test_a_rollback_that_was_made_again_was_decided_by_the_first(self, stage: OperatorStage) -> None:
        stage.begin(phase=Phase.ROLLED_BACK)
        stage.journal().append("decide", "step 3 is watched")
        stage.journal(who="rollback").append("roll back", "complaints", who="ada")
        # The state machine notices that its cutover is being taken back, and ends; that asks for a rollback, too.
        stage.journal(who="rollback").append("roll back", "the execution ended: FAILED", who="state machine")
        stage.journal(who="rollback").append("rolled back", "complaints", who="ada")
        assert explain(stage).why == "complaints"
        assert explain(stage, "--decision", "2").why == "step 3 is watched"

    def test_an_earlier_decision_can_be_asked_for(self, stage: OperatorStage) -> None:
        stage.begin()
        for why in ("first", "second"):
            stage.journal().append("decide", why)
            stage.journal().append("set weights", f"because of the {why}")
        found = explain(stage, "--decision", "2")
        assert (found.why, [each.why for each in found.actions]) == ("first", ["because of the first"])

    def test_one_that_was_not_begun_gives_its_reasons(self, stage: OperatorStage) -> None:
        stage.journal(EARLIER, who="preflight").append(
            "refuse to begin", "a; b", details={"reasons": ["alarm x is firing", "green has no targets"]}
        )
        found = explain(stage, "--cutover", EARLIER)
        assert [each.reason for each in found.findings] == ["alarm x is firing", "green has no targets"]
        assert found.phase == "refused"

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "no cutover ever ran"),
            (["--cutover", "nothing"], "the journal has nothing of cutover nothing"),
            (["--decision", "0"], "0 is not in the range x>=1"),
        ],
    )
    def test_where_there_is_nothing_to_explain(self, stage: OperatorStage, words: list[str], message: str) -> None:
        ended = stage.run("explain", *words)
        assert ended.code in (Exit.REFUSED, Exit.BAD_INPUT)
        assert message in " ".join(ended.err.split())

    def test_a_decision_that_there_was_not_is_refused(self, stage: OperatorStage) -> None:
        stage.begin()
        stage.journal().append("decide", "only one")
        assert "has no decision number 5" in stage.run("explain", "--decision", "5").err


def test_the_real_controller_is_explained(stage: OperatorStage) -> None:
    from cutover_controller.handler import lambda_handler as controller
    from tests.support.function_host import Context

    keeping = plans.without_writer(default_plan(Direction.BLUE_TO_GREEN))
    stage.begin(step=0, step_phase=StepPhase.SHIFT, plan=keeping, phase=Phase.PREPARING)
    stage.runs.write(replace(stage.found, evidence=None))
    controller({"cutover_id": CUTOVER, "request": {"settle_seconds": 0}}, Context())
    found = explain(stage)
    assert found.why == "step 1 is watched"
    assert {each.check for each in found.findings} >= {"requests"}
    assert found.evidence is not None
    assert found.evidence.environment == "green"
