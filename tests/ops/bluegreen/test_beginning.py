"""``bluegreen plan``, ``preflight``, ``shift``, ``admit`` and ``switch-writer``, with the real preflight."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from cutover_plan import Direction, default_plan, parse_plan
from cutover_plan import Phase as StepPhase
from cutover_plan.plan import LONGEST_PLAN_SECONDS
from cutover_state.run import Phase
from ops.bluegreen import commands, plans
from ops.bluegreen import documents as d
from ops.bluegreen.errors import CommandError, Exit
from tests.support.operator_stage import OperatorStage


def plan(stage: OperatorStage, *words: str) -> d.Plan:
    ended = stage.run("plan", "--json", *words)
    assert ended.code == Exit.DONE, ended.out
    return d.PlanShown.model_validate(ended.document).plan


def shares(found: d.Plan) -> list[int]:
    return [each.weight_percent for each in found.steps]


class TestPlan:
    def test_the_usual_one_is_that_of_the_runtime(self, stage: OperatorStage) -> None:
        found = plan(stage, "green")
        usual = default_plan(Direction.BLUE_TO_GREEN)
        assert shares(found) == [step.weight_percent for step in usual.steps]
        assert (found.least_seconds, found.most_seconds) == (usual.shortest_seconds, usual.longest_seconds)
        assert found.expected_seconds is not None
        assert found.least_seconds <= found.expected_seconds <= found.most_seconds

    def test_one_in_parameter_store_takes_its_place(self, stage: OperatorStage) -> None:
        stage.put_parameter("cutover/plan/blue-green", json.dumps({"steps": [{"weight_percent": 100}]}))
        assert shares(plan(stage, "green")) == [100]

    def test_one_in_parameter_store_that_is_wrong_is_said_with_each_mistake(self, stage: OperatorStage) -> None:
        stage.put_parameter("cutover/plan/blue-green", json.dumps({"steps": [{"weight_percent": 10}], "x": 1}))
        ended = stage.run("plan", "green")
        assert ended.code == Exit.BAD_INPUT
        assert "steps[0].weight_percent: 10, allowed: 100" in ended.err
        assert "x: " in ended.err

    def test_steps_and_watch_times_can_be_chosen(self, stage: OperatorStage) -> None:
        found = plan(stage, "green", "--steps", "10,50,100", "--watch-minutes", "5")
        assert [(each.weight_percent, each.switch_writer) for each in found.steps] == [
            (10, False),
            (50, False),
            (50, True),
            (100, False),
        ]
        assert {each.watch_seconds for each in found.steps} == {300}
        assert found.steps[2].question == "Switch the writing database from blue to green?"

    def test_the_writer_can_stay(self, stage: OperatorStage) -> None:
        found = plan(stage, "green", "--keep-writer")
        assert not any(each.switch_writer for each in found.steps)
        assert shares(found) == [1, 5, 10, 25, 50, 100]

    def test_beyond_a_share_a_person_is_asked_as_patiently_as_a_plan_can_be(self, stage: OperatorStage) -> None:
        found = plan(stage, "green", "--up-to", "10")
        assert [each.weight_percent for each in found.steps if each.question] == [25, 50, 50, 100]
        assert LONGEST_PLAN_SECONDS - 10 < found.most_seconds <= LONGEST_PLAN_SECONDS
        assert (found.steps[3].gate_timeout_seconds or 0) > 20 * 3600

    def test_one_from_a_file_or_from_standard_input(
        self, stage: OperatorStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = json.dumps({"steps": [{"weight_percent": 30}, {"weight_percent": 100}]})
        (tmp_path / "plan.json").write_text(text)
        assert shares(plan(stage, "green", "--plan", str(tmp_path / "plan.json"))) == [30, 100]
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert shares(plan(stage, "green", "--plan", "-")) == [30, 100]

    def test_that_of_the_front_door_leaves_out_a_database_that_is_not_there(self, stage: OperatorStage) -> None:
        assert not any(each.switch_writer for each in plan(stage, "aws").steps)

    def test_what_is_checked_is_said(self, stage: OperatorStage) -> None:
        checks = plan(stage, "blue").checks
        assert "during: at least 2 healthy targets" in checks
        assert any(each.startswith("before: exactly one database admits writers") for each in checks)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--steps", "10,50"], "steps[2].weight_percent: 50, allowed: 100, in the last step"),
            (["--steps", "50,10,100"], "the weights rise from step to step"),
            (["--steps", "ten"], "--steps: 'ten', allowed: whole percents with commas"),
            (["--plan", "nowhere.json"], "--plan: 'nowhere.json' cannot be read"),
            (["--plan", "x", "--steps", "100"], "allowed is either a plan, or steps and watch times"),
            (["--up-to", "0"], "--up-to: 0, allowed: 1 to 100, because the first step is 1 %"),
            (["--up-to", "101"], "101 is not in the range 0<=x<=100"),
            (["--watch-minutes", "0"], "0 is not in the range x>=1"),
            (["--rate", "0"], "0.0 is not in the range x>0"),
        ],
    )
    def test_what_cannot_be_is_said_with_what_is_allowed(
        self, stage: OperatorStage, words: list[str], message: str
    ) -> None:
        ended = stage.run("plan", "green", *words)
        assert (ended.code, "Traceback" in ended.err) == (Exit.BAD_INPUT, False)
        assert message in " ".join(ended.err.split())

    def test_a_mistake_in_a_file_names_key_value_and_what_is_allowed(
        self, stage: OperatorStage, tmp_path: Path
    ) -> None:
        (tmp_path / "plan.json").write_text('{"steps": [{"weight_percent": "all"}]}')
        ended = stage.run("plan", "green", "--plan", str(tmp_path / "plan.json"))
        assert 'steps[0].weight_percent: "all", allowed: a whole number from 0 to 100' in " ".join(ended.err.split())


class TestPlansOfOptions:
    @pytest.mark.parametrize("direction", list(Direction))
    @pytest.mark.parametrize("percent", [1, 10, 50, 99])
    def test_a_plan_that_asks_is_one_that_the_runtime_takes(self, direction: Direction, percent: int) -> None:
        made = plans.asking_beyond(default_plan(direction), percent)
        assert parse_plan(made.to_json()) == made
        assert made.longest_seconds <= LONGEST_PLAN_SECONDS

    @pytest.mark.parametrize("direction", list(Direction))
    @pytest.mark.parametrize("weights", [[100], [10, 100], [5, 60, 100]])
    def test_chosen_steps_keep_the_writer_s_place(self, direction: Direction, weights: list[int]) -> None:
        made = plans.in_steps(default_plan(direction), weights, watch_seconds=600)
        assert parse_plan(made.to_json()) == made
        assert made.switches_writer

    @pytest.mark.parametrize("direction", [Direction.BLUE_TO_GREEN, Direction.GREEN_TO_BLUE])
    def test_the_writer_alone_goes_first_and_the_traffic_asks(self, direction: Direction) -> None:
        made = plans.writer_first(direction)
        assert [(step.weight_percent, step.switch_writer, step.gate is not None) for step in made.steps[:3]] == [
            (0, True, False),
            (1, False, True),
            (5, False, False),
        ]
        assert parse_plan(made.to_json()) == made

    def test_a_share_below_the_first_step_is_refused(self) -> None:
        with pytest.raises(CommandError, match="allowed: 1 to 100"):
            plans.asking_beyond(default_plan(Direction.BLUE_TO_GREEN), 0)


class TestPreflight:
    def test_every_reason_is_given(self, stage: OperatorStage) -> None:
        stage.alarm("green-unhealthy", "ALARM")
        stage.canned.tasks["green"] = (1, 3)
        ended = stage.run("preflight", "green", "--json")
        found = d.Preflight.model_validate(ended.document)
        assert (ended.code, found.ready) == (Exit.REFUSED, False)
        for part in ("database blue does not answer", "green-unhealthy is firing", "green runs 1 of 3 tasks"):
            assert any(part in reason for reason in found.reasons), part

    def test_it_changes_nothing(self, stage: OperatorStage) -> None:
        before = stage.snapshot()
        stage.run("preflight", "green", "--dry-run")
        assert stage.snapshot() == before
        assert [event["dry_run"] for _, event in stage.host.calls] == [True]


class TestRefusedToBegin:
    @pytest.mark.parametrize("words", [["shift", "green"], ["admit", "aws"], ["switch-writer", "green"]])
    def test_reasons_against_it_are_all_given_and_nothing_begins(self, stage: OperatorStage, words: list[str]) -> None:
        before = stage.snapshot()
        ended = stage.run(*words, "--yes")
        assert ended.code == Exit.REFUSED
        assert "database blue does not answer" in ended.err
        assert "bluegreen preflight" in ended.err
        assert stage.snapshot() == before

    def test_a_writer_that_is_there_already_needs_nothing(self, stage: OperatorStage) -> None:
        ended = stage.run("switch-writer", "blue", "--yes", "--json")
        assert d.Begun.model_validate(ended.document).outcome == "nothing to do"

    def test_a_database_that_the_stage_has_not_is_named(self, stage: OperatorStage) -> None:
        ended = stage.run("switch-writer", "legacy", "--yes")
        assert ended.code == Exit.BAD_INPUT
        assert "DATABASE: 'legacy', allowed: blue, green" in ended.err

    @pytest.mark.parametrize(
        ("stands", "code", "message"),
        [
            ({"step": 2}, Exit.REFUSED, "switches the writer in step 6, and stands at step 3 (watch)"),
            ({"step": 6}, Exit.DONE, "green is the writer already"),
            ({"step": 5, "phase": Phase.ROLLING_BACK, "writer_after": "blue"}, Exit.REFUSED, "is rolling back"),
        ],
    )
    def test_during_a_cutover_its_own_step_switches_the_writer(
        self, stage: OperatorStage, stands: dict[str, Any], code: Exit, message: str
    ) -> None:
        stage.begin(**stands)
        before = stage.snapshot()
        ended = stage.run("switch-writer", "green", "--yes")
        assert ended.code == code
        assert message in " ".join((ended.err + ended.out).split())
        assert stage.snapshot() == before

    def test_at_its_gate_switching_the_writer_is_approving(self, stage: OperatorStage) -> None:
        stage.begin(step=5, step_phase=StepPhase.GATE)
        ended = stage.run("switch-writer", "green", "--yes", "--no-wait", "--json")
        assert d.Ordered.model_validate(ended.document).order == "approve"
        assert stage.found.order is not None
        assert (stage.found.order["kind"], stage.found.order["step"]) == ("approve", 5)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "BEGIN_POLL_SECONDS", 0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("patient")
class TestBegun:
    """With two real databases, where nothing speaks against a cutover."""

    def test_a_ready_stage_is_ready(self, whole_stage: OperatorStage) -> None:
        ended = whole_stage.run("preflight", "green")
        assert (ended.code, "Ready." in ended.out) == (Exit.DONE, True), ended.out

    def test_a_cutover_begins_with_the_plan_that_was_shown(self, whole_stage: OperatorStage) -> None:
        with whole_stage.beginning():
            ended = whole_stage.run("shift", "green", "--yes", "--json", "--steps", "20,100", "--poll-seconds", "5")
        assert ended.code == Exit.DONE, ended.out + ended.err
        found = d.Begun.model_validate(ended.document)
        assert found.outcome == "begun"
        run = whole_stage.found
        assert (run.cutover_id, run.phase) == (found.cutover_id, Phase.PREPARING)
        assert found.plan is not None
        assert [step["weight_percent"] for step in run.plan["steps"]] == shares(found.plan) == [20, 20, 100]
        assert run.requested_by.startswith("arn:aws:sts::123456789012:")
        [execution] = whole_stage.executions()
        assert json.loads(execution["input"])["poll_seconds"] == 5

    def test_a_dry_run_looks_and_begins_nothing(self, whole_stage: OperatorStage) -> None:
        before = whole_stage.snapshot()
        for words in (["shift", "green"], ["switch-writer", "green"]):
            ended = whole_stage.run(*words, "--dry-run", "--json")
            assert d.Begun.model_validate(ended.document).outcome == "dry run", ended.out
        assert whole_stage.snapshot() == before

    def test_without_a_yes_nothing_begins(self, whole_stage: OperatorStage) -> None:
        before = whole_stage.snapshot()
        ended = whole_stage.run("shift", "green")
        assert ended.code == Exit.REFUSED
        assert "begin a cutover from blue to green on payments-" in ended.err
        assert whole_stage.snapshot() == before

    def test_who_may_not_start_it_learns_what_is_missing(self, whole_stage: OperatorStage) -> None:
        whole_stage.denied["states:StartExecution"] = whole_stage.machine
        ended = whole_stage.run("shift", "green", "--yes")
        assert ended.code == Exit.NOT_ALLOWED
        assert "states:StartExecution" in ended.err

    def test_the_writer_alone_begins_with_the_switch(self, whole_stage: OperatorStage) -> None:
        with whole_stage.beginning():
            ended = whole_stage.run("switch-writer", "green", "--yes", "--json")
        assert d.Begun.model_validate(ended.document).outcome == "begun", ended.out
        first = whole_stage.found.plan["steps"][0]
        assert (first["weight_percent"], first["switch_writer"], first["gate"]) == (0, True, None)

    def test_what_speaks_against_it_at_the_last_moment_is_told(self, whole_stage: OperatorStage) -> None:
        asked = []
        usual = whole_stage.host.handlers["preflight"]

        def fire_after(event: Any, context: Any) -> Any:
            answer = usual(event, context)
            asked.append(event)
            whole_stage.alarm("green-unhealthy", "ALARM")
            return answer

        whole_stage.host.handlers["preflight"] = fire_after
        with whole_stage.beginning():
            ended = whole_stage.run("shift", "green", "--yes")
        assert ended.code == Exit.REFUSED
        assert "was not begun: alarm green-unhealthy is firing already" in " ".join(ended.err.split())
