"""Orders to a cutover that runs: approve, promote, pause, resume, abort; the real controller follows them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cutover_plan import OrderKind
from cutover_plan import Phase as StepPhase
from cutover_state.journal import Entry
from cutover_state.run import Phase
from ops.bluegreen import documents as d
from ops.bluegreen import orders
from ops.bluegreen.errors import CommandError, Exit
from tests.support.operator_stage import CUTOVER, OperatorStage

ORDERS = ("approve", "promote", "pause", "resume", "abort")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller of a test looks at once."""
    monkeypatch.setattr(orders, "LOOK_SECONDS", 0.1)


def followed(stage: OperatorStage) -> Entry:
    [entry] = [each for each in stage.entries() if each.what == "follow an order"]
    return entry


class TestFollowed:
    def test_an_approval_lets_the_cutover_pass_its_gate(self, stage: OperatorStage) -> None:
        stage.begin(step=5, step_phase=StepPhase.GATE)
        with stage.looking():
            ended = stage.run("approve", "--yes", "--json", "--cutover", CUTOVER, "--step", "6")
        assert ended.code == Exit.DONE, ended.out
        found = d.Ordered.model_validate(ended.document)
        assert (found.outcome, found.order, found.step) == ("followed", "approve", 6)
        assert found.reason.startswith("approved by arn:aws:sts::")
        assert followed(stage).who.startswith("arn:aws:sts::123456789012:")
        assert stage.found.position["phase"] == "switch"

    def test_its_effect_is_named_before(self, stage: OperatorStage) -> None:
        stage.begin(step=5, step_phase=StepPhase.GATE)
        ended = stage.run("approve", "--dry-run")
        assert "the writing database switches from blue to green" in ended.out
        assert "Nothing was asked for." in ended.out

    def test_a_pause_and_its_end(self, stage: OperatorStage) -> None:
        stage.begin(step=2)
        with stage.looking():
            assert stage.run("pause", "--yes").code == Exit.DONE
            assert stage.found.position["held_since_seconds"] is not None
            assert stage.run("resume", "--yes").code == Exit.DONE
            assert stage.found.position["held_since_seconds"] is None

    def test_a_promotion_ends_the_watch(self, stage: OperatorStage) -> None:
        stage.begin(step=0)
        with stage.looking():
            ended = stage.run("promote", "--yes")
        assert ended.code == Exit.DONE, ended.err
        assert stage.found.position["step"] == 1

    def test_an_abort_is_followed_by_the_state_machine(self, stage: OperatorStage) -> None:
        stage.begin(step=2)
        with stage.looking():
            ended = stage.run("abort", "--yes", "--json")
        assert d.Ordered.model_validate(ended.document).outcome == "followed"
        assert "asked to roll back" in followed(stage).why

    def test_without_waiting_it_is_written_and_nothing_else(self, stage: OperatorStage) -> None:
        stage.begin(step=2)
        ended = stage.run("pause", "--yes", "--no-wait", "--json")
        assert d.Ordered.model_validate(ended.document).outcome == "asked for"
        order = stage.found.order
        assert order is not None
        assert {name: order[name] for name in ("kind", "step", "automatic")} == {
            "kind": "hold",
            "step": 2,
            "automatic": False,
        }
        assert stage.entries() == []


class TestRefused:
    @pytest.mark.parametrize(
        ("words", "stands", "message"),
        [
            (["approve"], {"step": 2}, "approve: in the phase watch, allowed: in gate"),
            (["promote"], {"step": 5, "step_phase": StepPhase.GATE}, "promote: in the phase gate, allowed: in watch"),
            (["resume"], {"step": 2}, "resume: the cutover is not held, allowed: after hold"),
            (["pause"], {"step": 1, "step_phase": StepPhase.SHIFT}, "hold: in the phase shift, allowed: in gate or"),
            (
                ["approve", "--step", "2"],
                {"step": 5, "step_phase": StepPhase.GATE},
                "allowed: for step 6, which is due",
            ),
            (["pause", "--cutover", "other"], {"step": 2}, "cutover other is not the last one, which is"),
            (["approve"], {"phase": Phase.SUCCEEDED}, "is succeeded: it takes no orders"),
            (["abort"], {"phase": Phase.ROLLED_BACK}, "is rolled back: it takes no orders"),
        ],
    )
    def test_what_cannot_be_followed_is_not_written(
        self, stage: OperatorStage, words: list[str], stands: dict[str, Any], message: str
    ) -> None:
        stage.begin(**stands)
        before = stage.snapshot()
        ended = stage.run(*words, "--yes")
        assert ended.code == Exit.REFUSED
        assert message in " ".join(ended.err.split())
        assert "Next step: " in ended.err
        assert stage.snapshot() == before

    @pytest.mark.parametrize("name", ORDERS)
    def test_nothing_runs(self, stage: OperatorStage, name: str) -> None:
        ended = stage.run(name, "--yes")
        assert (ended.code, "no cutover ever ran" in ended.err) == (Exit.REFUSED, True)

    @pytest.mark.parametrize("name", ORDERS)
    def test_nobody_confirms(self, stage: OperatorStage, name: str) -> None:
        where = {"approve": StepPhase.GATE}.get(name, StepPhase.WATCH)
        run = stage.begin(step=5, step_phase=where)
        if name == "resume":
            stage.runs.write(replace(run, position={**run.position, "held_since_seconds": 1}))
        before = stage.snapshot()
        ended = stage.run(name)
        assert ended.code == Exit.REFUSED
        assert "not confirmed, so nothing was changed" in ended.err
        assert CUTOVER in ended.err
        assert stage.snapshot() == before

    def test_an_order_that_waits_is_not_overwritten_but_by_an_abort(self, stage: OperatorStage) -> None:
        stage.begin(step=2)
        assert stage.run("pause", "--yes", "--no-wait").code == Exit.DONE
        ended = stage.run("promote", "--yes", "--no-wait")
        assert ended.code == Exit.REFUSED
        assert "has not been looked at yet" in " ".join(ended.err.split())
        assert stage.run("abort", "--yes", "--no-wait").code == Exit.DONE
        assert stage.found.order is not None
        assert stage.found.order["kind"] == "abort"

    def test_a_controller_that_comes_first_is_not_overwritten(self, stage: OperatorStage) -> None:
        run = stage.begin(step=2)
        order = orders.prepare(run, OrderKind.HOLD, step=None, actor="ada")
        stage.runs.write(replace(run, position={**run.position, "step": 3}))
        seat_stage = _open(stage)
        with pytest.raises(CommandError, match="for step 3, allowed: for step 4"):
            orders.give(seat_stage, order, cutover_id=CUTOVER)
        assert stage.found.order is None

    def test_a_missing_permission_is_named(self, stage: OperatorStage) -> None:
        stage.begin(step=2)
        table = f"arn:aws:dynamodb:us-east-1:123456789012:table/{stage.table}"
        stage.denied["dynamodb:PutItem"] = table
        before = stage.snapshot()
        ended = stage.run("pause", "--yes")
        assert ended.code == Exit.NOT_ALLOWED
        assert f"not allowed: dynamodb:PutItem on {table}" in " ".join(ended.err.split())
        assert stage.snapshot() == before


@pytest.mark.parametrize("name", ORDERS)
def test_a_dry_run_changes_nothing(stage: OperatorStage, name: str) -> None:
    where = {"approve": StepPhase.GATE}.get(name, StepPhase.WATCH)
    run = stage.begin(step=5, step_phase=where)
    if name == "resume":
        stage.runs.write(replace(run, position={**run.position, "held_since_seconds": 1}))
    before = stage.snapshot()
    ended = stage.run(name, "--dry-run", "--json")
    assert d.Ordered.model_validate(ended.document).outcome == "dry run"
    assert stage.snapshot() == before


def _open(stage: OperatorStage) -> Any:
    from ops.bluegreen.stage import Stage, Target

    return Stage.open(Target(path=stage.path, region="us-east-1"))
