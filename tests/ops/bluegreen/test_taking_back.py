"""``bluegreen rollback``: at once or step by step, by the real function."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cutover_plan import Direction, default_plan
from cutover_plan import Phase as StepPhase
from cutover_state.levers import Kind
from cutover_state.run import Phase
from ops.bluegreen import documents as d
from ops.bluegreen import plans
from ops.bluegreen.errors import Exit
from tests.support.operator_stage import CUTOVER, OperatorStage

KEEPING_WRITER = plans.without_writer(default_plan(Direction.BLUE_TO_GREEN))


def begin(stage: OperatorStage, **changes: Any) -> None:
    """A cutover that does not move the writer, so that no database has to answer."""
    stage.begin(**{"step": 3, "plan": KEEPING_WRITER, **changes})


class TestAtOnce:
    def test_weights_go_back_and_the_journal_says_who_asked(self, stage: OperatorStage) -> None:
        begin(stage)
        ended = stage.run("rollback", "--yes", "--json", "--reason", "complaints")
        assert ended.code == Exit.DONE, ended.out
        found = d.RolledBack.model_validate(ended.document)
        assert (found.outcome, found.cutover_id, found.explanation) == ("rolled back", CUTOVER, "complaints")
        assert stage.levers.live()[Kind.ENVIRONMENT] == {"blue": 100, "green": 0}
        assert stage.found.phase is Phase.ROLLED_BACK
        first = stage.entries()[0]
        assert (first.what, first.why) == ("roll back", "complaints")
        assert first.who.startswith("arn:aws:sts::123456789012:")

    def test_twice_is_once(self, stage: OperatorStage) -> None:
        begin(stage)
        assert stage.run("rollback", "--yes").code == Exit.DONE
        again = stage.run("rollback", "--yes")
        assert (again.code, "Nothing to do" in again.out) == (Exit.DONE, True)

    def test_the_effect_names_the_cutover_the_weights_and_the_writer(self, stage: OperatorStage) -> None:
        stage.begin(step=5)
        ended = stage.run("rollback")
        shown = " ".join(ended.err.split())
        assert ended.code == Exit.REFUSED
        assert f"take cutover {CUTOVER}, blue to green, back at once" in shown
        assert "weights go back to blue 100, green 0" in shown
        assert "the writing database goes back from green to blue, if it was switched" in shown
        assert stage.host.calls == []

    def test_one_that_has_succeeded_goes_back_only_when_that_is_meant(self, stage: OperatorStage) -> None:
        begin(stage, step=5, phase=Phase.SUCCEEDED)
        refused = stage.run("rollback", "--yes")
        assert (refused.code, "--after-the-end" in refused.err) == (Exit.REFUSED, True)
        assert stage.run("rollback", "--yes", "--after-the-end").code == Exit.DONE
        assert stage.levers.live()[Kind.ENVIRONMENT] == {"blue": 100, "green": 0}

    def test_another_cutover_is_left_alone(self, stage: OperatorStage) -> None:
        begin(stage)
        before = stage.snapshot()
        ended = stage.run("rollback", "--yes", "--cutover", "other")
        assert (ended.code, stage.snapshot()) == (Exit.REFUSED, before)

    def test_a_writer_that_cannot_be_moved_needs_a_person(self, stage: OperatorStage) -> None:
        stage.begin(step=5)
        ended = stage.run("rollback", "--yes", "--json")
        assert ended.code == Exit.PERSON_NEEDED, ended.out
        error = d.Error.model_validate(ended.document).error
        assert CUTOVER in error.message
        assert "--accept-data-loss" in error.next_step
        assert stage.found.phase is Phase.STUCK

    def test_a_loss_of_data_is_named_and_handed_on_only_when_it_is_accepted(self, stage: OperatorStage) -> None:
        stage.begin(step=5)
        stage.host.handlers["rollback"] = lambda event, context: {"rolled_back": True, "explanation": str(event)}
        refused = stage.run("rollback", "--accept-data-loss")
        assert refused.code == Exit.REFUSED
        assert "payments that it had not received are lost" in " ".join(refused.err.split())
        ended = stage.run("rollback", "--accept-data-loss", "--yes")
        assert "'accept_data_loss': True" in ended.out

    def test_a_function_that_fails_says_what_to_do(self, stage: OperatorStage) -> None:
        begin(stage)

        def fail(event: object, context: object) -> None:
            raise RuntimeError("the weights are not restored")

        stage.host.handlers["rollback"] = fail
        ended = stage.run("rollback", "--yes", "--json")
        error = d.Error.model_validate(ended.document).error
        assert ended.code == Exit.FAILED
        assert error.message == "function rollback failed: RuntimeError: the weights are not restored"
        assert error.next_step.startswith("call again")

    def test_a_function_that_lacks_a_permission_names_it(self, stage: OperatorStage) -> None:
        begin(stage)

        def fail(event: object, context: object) -> None:
            raise RuntimeError("User: x is not authorized to perform: route53:GetChange on resource: arn:x because")

        stage.host.handlers["rollback"] = fail
        error = d.Error.model_validate(stage.run("rollback", "--yes", "--json").document).error
        assert error.missing_permission == d.MissingPermission(action="route53:GetChange", resource="arn:x")

    def test_who_may_not_call_it_learns_what_is_missing(self, stage: OperatorStage) -> None:
        begin(stage)
        arn = "arn:aws:lambda:us-east-1:123456789012:function:rollback"
        stage.denied["lambda:InvokeFunction"] = arn
        before = stage.snapshot()
        ended = stage.run("rollback", "--yes")
        assert ended.code == Exit.NOT_ALLOWED
        assert f"not allowed: lambda:InvokeFunction on {arn}" in " ".join(ended.err.split())
        assert stage.snapshot() == before


class TestGradual:
    def test_the_way_back_is_ordered_and_its_steps_are_named(self, stage: OperatorStage) -> None:
        begin(stage, step=2)
        ended = stage.run("rollback", "--gradual", "--yes", "--json")
        found = d.RolledBack.model_validate(ended.document)
        assert (ended.code, found.outcome) == (Exit.DONE, "begun")
        assert found.effect[1].startswith("From green to blue: 3 steps")
        assert stage.found.order is not None
        assert stage.found.order["kind"] == "roll back gradually"

    def test_asked_again_it_is_under_way_already(self, stage: OperatorStage) -> None:
        begin(stage, step=2)
        stage.runs.write(replace(stage.found, returning=True))
        ended = stage.run("rollback", "--gradual", "--yes")
        assert (ended.code, "On its way back" in ended.out) == (Exit.DONE, True)

    def test_while_something_is_being_changed_it_has_to_be_asked_again(self, stage: OperatorStage) -> None:
        begin(stage, step=2, step_phase=StepPhase.SHIFT)
        ended = stage.run("rollback", "--gradual", "--yes")
        assert ended.code == Exit.REFUSED
        assert "ask again in a minute" in " ".join(ended.err.split())

    def test_after_the_end_the_opposite_cutover_is_named(self, stage: OperatorStage) -> None:
        begin(stage, step=5, phase=Phase.SUCCEEDED)
        ended = stage.run("rollback", "--gradual", "--yes")
        assert (ended.code, "bluegreen shift blue" in ended.err) == (Exit.REFUSED, True)

    def test_it_cannot_lose_data(self, stage: OperatorStage) -> None:
        begin(stage)
        assert stage.run("rollback", "--gradual", "--accept-data-loss", "--yes").code == Exit.BAD_INPUT


@pytest.mark.parametrize("words", [[], ["--gradual"], ["--accept-data-loss"]])
def test_a_dry_run_changes_nothing(stage: OperatorStage, words: list[str]) -> None:
    begin(stage)
    before = stage.snapshot()
    ended = stage.run("rollback", "--dry-run", "--json", *words)
    assert d.RolledBack.model_validate(ended.document).outcome == "dry run"
    assert (stage.snapshot(), stage.host.calls) == (before, [])


def test_nothing_ever_ran(stage: OperatorStage) -> None:
    assert "no cutover ever ran" in stage.run("rollback", "--yes").err
