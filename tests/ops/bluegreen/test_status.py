"""``bluegreen status``: what serves, what writes, how the cutover stands, and what could not be read."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from cutover_plan import Phase as StepPhase
from cutover_state.run import Phase
from ops.bluegreen import documents as d
from ops.bluegreen.errors import Exit
from tests.support.operator_stage import CUTOVER, OperatorStage


def status(stage: OperatorStage, *words: str) -> d.Status:
    ended = stage.run("status", "--json", *words)
    assert ended.code in (Exit.DONE, Exit.PERSON_NEEDED), ended.out
    return d.Status.model_validate_json(ended.out)


def admits(stage: OperatorStage, *names: str, unreachable: dict[str, str] | None = None) -> None:
    """The databases answer, and these admit the application."""
    states = {each: "unlocked" if each in names else "locked" for each in ("blue", "green")}
    verdict = {0: "none", 1: "one"}.get(len(names), "several")
    writer = names[0] if verdict == "one" else None
    answer = {"verdict": verdict, "writer": writer, "databases": states, "failures": unreachable or {}}
    stage.host.handlers["writer-switch"] = lambda event, context: answer


class TestQuietStage:
    def test_it_says_who_serves_and_who_writes(self, stage: OperatorStage) -> None:
        admits(stage, "blue")
        shown = stage.run("status")
        assert shown.code == Exit.DONE, shown.err
        for line in (
            "payments       legacy 0 %   blue 100 %   green 0 %",
            "writer         blue (the databases say so)",
            "none ever ran",
            "3 of 3 running",
            "all 6 are OK",
        ):
            assert line in shown.out

    def test_its_document_is_of_the_schema(self, stage: OperatorStage) -> None:
        admits(stage, "blue")
        found = status(stage)
        assert found.serving is not None
        assert found.serving.shares == {"legacy": 0.0, "blue": 100.0, "green": 0.0}
        assert found.writer is not None
        assert (found.writer.verdict, found.writer.admitting, found.writer.recorded) == ("one", ["blue"], "blue")
        assert [each.status for each in found.replication] == ["running", "running"]
        assert (found.cutover, found.unread, found.restarts_owed) == (None, [], False)

    def test_shares_of_payments_follow_from_records_and_weights(self, stage: OperatorStage) -> None:
        stage.levers.set(green=10, aws=40)
        found = status(stage)
        assert found.serving is not None
        assert found.serving.shares == {"legacy": 60.0, "blue": 36.0, "green": 4.0}

    def test_drift_is_named(self, stage: OperatorStage) -> None:
        stage.levers.set(green=30, aws=100)
        assert "the weights of the listener rule are blue 70, green 30 and should be blue 100, green 0" in (
            stage.run("status").out
        )

    def test_what_fires_and_what_lacks_data_is_named(self, stage: OperatorStage) -> None:
        stage.alarm("green-unhealthy", "ALARM")
        stage.alarm("lag", "INSUFFICIENT_DATA")
        shown = stage.run("status").out
        assert "green-unhealthy" in shown
        assert "4 others are OK" in shown

    def test_replication_that_lags_or_differs_is_shown(self, stage: OperatorStage) -> None:
        stage.lags(seconds=12.5, differing=3)
        shown = stage.run("status").out
        assert "12.5 s" in shown

    def test_an_owed_restart_is_shown(self, stage: OperatorStage) -> None:
        stage.aws.dynamodb().put_item(TableName=stage.table, Item={"pk": {"S": "RESTART"}, "sk": {"S": "arn"}})
        assert status(stage).restarts_owed


class TestWriter:
    def test_databases_that_do_not_answer_are_named(self, stage: OperatorStage) -> None:
        found = status(stage).writer
        assert found is not None
        assert (found.verdict, set(found.unreachable)) == ("none", {"blue", "green"})
        assert found.remark == "blue, green cannot be reached, so who writes is not known"

    def test_two_writers_need_a_person(self, stage: OperatorStage) -> None:
        admits(stage, "blue", "green")
        ended = stage.run("status")
        assert ended.code == Exit.PERSON_NEEDED
        assert "blue and green both admit writers" in ended.out

    def test_a_writer_that_should_not_be_is_named(self, stage: OperatorStage) -> None:
        admits(stage, "green")
        assert "green is the writer, and blue should be" in stage.run("status").out

    def test_during_a_cutover_the_databases_are_not_asked_unless_that_is_wanted(self, stage: OperatorStage) -> None:
        admits(stage, "blue")
        stage.begin()
        found = status(stage).writer
        assert found is not None
        assert (found.verdict, found.recorded, stage.host.calls) == ("not asked", "blue", [])
        asked = status(stage, "--ask-databases").writer
        assert asked is not None
        assert asked.verdict == "one"


class TestCutover:
    def test_a_step_that_is_watched_says_how_long(self, stage: OperatorStage) -> None:
        stage.begin(step=2, since=time.time() - 300)
        found = status(stage).cutover
        assert found is not None
        assert (found.step, found.steps, found.step_phase, found.weight_percent) == (3, 7, "watch", 10)
        assert found.left is not None
        # 10 % is watched for 15 minutes, and has an hour.
        assert 590 <= found.left.phase_least_seconds <= 600
        assert 3290 <= found.left.phase_most_seconds <= 3300
        assert found.left.cutover_least_seconds == found.left.phase_least_seconds + (15 + 30 + 15 + 30) * 60
        shown = stage.run("status").out
        assert "step 3 of 7 (watch), 10 % to green" in shown
        assert "bluegreen pause holds it" in shown

    def test_a_gate_says_what_it_asks_and_how_to_answer(self, stage: OperatorStage) -> None:
        stage.begin(step=5, step_phase=StepPhase.GATE)
        found = status(stage).cutover
        assert found is not None
        assert found.question == "Switch the writing database from blue to green?"
        assert found.left is not None
        assert 7190 <= found.left.phase_most_seconds <= 7200
        assert "bluegreen approve --step 6" in stage.run("status").out

    def test_a_hold_stops_the_clock(self, stage: OperatorStage) -> None:
        run = stage.begin(step=2)
        held = {**run.position, "since_seconds": int(time.time()) - 500, "held_since_seconds": int(time.time()) - 400}
        stage.runs.write(replace(stage.found, position=held))
        found = status(stage).cutover
        assert found is not None
        assert (found.held, found.left and found.left.phase_least_seconds) == (True, 800)
        assert "bluegreen resume goes on" in stage.run("status").out

    def test_one_that_is_stuck_needs_a_person(self, stage: OperatorStage) -> None:
        stage.begin(phase=Phase.STUCK, reason="green does not answer")
        ended = stage.run("status")
        assert ended.code == Exit.PERSON_NEEDED
        assert "green does not answer" in ended.out

    def test_one_on_its_way_back_says_so(self, stage: OperatorStage) -> None:
        from cutover_plan import Direction, default_plan

        back = default_plan(Direction.GREEN_TO_BLUE)
        stage.begin(step=1, plan=back, source="blue", target="green", returning=True)
        shown = stage.run("status").out
        assert "step 2 of 7 (watch), 5 % to blue, on its way back" in shown

    def test_the_last_decisions_are_those_of_the_journal(self, stage: OperatorStage) -> None:
        stage.begin()
        journal = stage.journal()
        for number in range(7):
            journal.append("decide", f"reason {number}")
        stage.journal("standing", who="reconciler").append("put drift right", "somebody was here")
        assert [each.why for each in status(stage).decisions] == [
            *(f"reason {number}" for number in range(3, 7)),
            "somebody was here",
        ]

    def test_a_run_that_cannot_be_read_leaves_the_rest_readable(self, stage: OperatorStage) -> None:
        stage.begin(plan=None)
        stage.runs.write(replace(stage.found, plan={"steps": "none"}))
        found = status(stage)
        assert found.serving is not None
        assert [each.what for each in found.unread] == ["the cutover"]


class TestWatching:
    def test_it_draws_until_the_cutover_is_over(self, stage: OperatorStage) -> None:
        stage.begin()
        stage.host.handlers["writer-switch"] = lambda event, context: (
            stage.runs.write(replace(stage.found, phase=Phase.SUCCEEDED))
            and {"verdict": "one", "writer": "blue", "databases": {}, "failures": {}}
        )
        ended = stage.run("status", "--json", "--until-over", "--interval", "0.5", "--ask-databases")
        lines = [json.loads(line) for line in ended.out.splitlines()]
        assert [line["cutover"]["phase"] for line in lines] == ["shifting", "succeeded"]
        assert ended.code == Exit.DONE

    @pytest.mark.parametrize(
        ("phase", "code"),
        [(Phase.SUCCEEDED, Exit.DONE), (Phase.ROLLED_BACK, Exit.REFUSED), (Phase.STUCK, Exit.PERSON_NEEDED)],
    )
    def test_its_code_says_how_the_cutover_ended(self, stage: OperatorStage, phase: Phase, code: Exit) -> None:
        stage.begin(phase=phase)
        assert stage.run("status", "--until-over").code == code


class TestMissingPermissions:
    def test_a_part_that_may_not_be_read_is_named_and_the_rest_is_shown(self, stage: OperatorStage) -> None:
        resource = "arn:aws:dms:us-east-1:123456789012:*:*"
        stage.denied["dms:DescribeReplicationTasks"] = resource
        found = status(stage)
        assert found.serving is not None
        [unread] = found.unread
        assert unread.what == "the replication tasks"
        assert unread.missing_permission == d.MissingPermission(
            action="dms:DescribeReplicationTasks", resource=resource
        )
        assert "not allowed: dms:DescribeReplicationTasks on" in stage.run("status").out

    @pytest.mark.parametrize(
        "action",
        [
            "dynamodb:GetItem",
            "elasticloadbalancing:DescribeRules",
            "elasticloadbalancing:DescribeTargetHealth",
            "route53:ListResourceRecordSets",
            "cloudwatch:DescribeAlarms",
            "ecs:DescribeServices",
            "secretsmanager:DescribeSecret",
            "lambda:InvokeFunction",
            "dynamodb:Query",
        ],
    )
    def test_every_permission_is_named_with_its_resource(self, stage: OperatorStage, action: str) -> None:
        stage.denied[action] = f"arn:aws:x:us-east-1:123456789012:{action.partition(':')[2]}"
        missing = [each.missing_permission for each in status(stage).unread]
        assert d.MissingPermission(action=action, resource=stage.denied[action]) in missing

    def test_without_the_parameters_nothing_can_be_done(self, stage: OperatorStage) -> None:
        stage.denied["ssm:GetParametersByPath"] = f"arn:aws:ssm:us-east-1:123456789012:parameter{stage.path}"
        ended = stage.run("status", "--json")
        assert ended.code == Exit.NOT_ALLOWED
        error = d.Error.model_validate(ended.document).error
        assert error.missing_permission == d.MissingPermission(
            action="ssm:GetParametersByPath", resource=stage.denied["ssm:GetParametersByPath"]
        )
        assert "operator role" in error.next_step


class TestTerminals:
    def test_a_pipe_gets_no_colour_and_whole_lines(self, stage: OperatorStage, monkeypatch: Any) -> None:
        monkeypatch.delenv("COLUMNS")
        stage.begin()
        stage.journal().append("decide", "x" * 90)
        shown = stage.run("status").out
        assert "\x1b" not in shown
        assert "x" * 90 in shown

    def test_brackets_and_colons_of_a_reason_stay_as_they_are(self, stage: OperatorStage) -> None:
        stage.begin(reason="[red]odd[/red] :smile: text")
        assert "[red]odd[/red] :smile: text" in stage.run("status").out

    def test_the_id_of_the_cutover_is_shown(self, stage: OperatorStage) -> None:
        stage.begin()
        assert CUTOVER in stage.run("status").out
