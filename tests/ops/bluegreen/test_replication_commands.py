"""``bluegreen replication``: the real replication control, called until all is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cutover_state.run import Phase
from ops.bluegreen import documents as d
from ops.bluegreen import replication
from ops.bluegreen.errors import Exit
from tests.support.operator_stage import OperatorStage


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "POLL_SECONDS", 0.0)


def statuses(stage: OperatorStage) -> set[str]:
    return {each["Status"] for each in stage.aws.dms().describe_replication_tasks()["ReplicationTasks"]}


def test_its_status_is_that_of_dms_and_cloudwatch(stage: OperatorStage) -> None:
    ended = stage.run("replication", "status", "--json")
    found = d.Replication.model_validate(ended.document)
    assert [(each.status, each.lag_seconds, each.validation_failures) for each in found.tasks] == [
        ("running", 0.5, 0),
        ("running", 0.5, 0),
    ]


def test_tasks_that_run_are_left_alone_and_stopped_when_asked(stage: OperatorStage) -> None:
    started = stage.run("replication", "start", "--yes")
    assert (started.code, statuses(stage)) == (Exit.DONE, {"running"}), started.err
    stopped = stage.run("replication", "stop", "--yes", "--json")
    assert (stopped.code, statuses(stage)) == (Exit.DONE, {"stopped"}), stopped.err
    found = d.Replication.model_validate(stopped.document)
    assert (found.outcome, {each.status for each in found.tasks}) == ("done", {"stopped"})


def test_what_failed_is_carried_from_call_to_call(stage: OperatorStage) -> None:
    events: list[Mapping[str, Any]] = []

    def answer(event: Mapping[str, Any], context: object) -> dict[str, Any]:
        events.append(event)
        left = {"tests": ["a"], "tasks": []}
        return {"tasks": {"a": "wait"}, "done": len(events) == 3, "retry": left}

    stage.host.handlers["replication-control"] = answer
    assert stage.run("replication", "start", "--retry", "--yes").code == Exit.DONE
    assert [event["retry"] for event in events] == [True, {"tests": ["a"], "tasks": []}, {"tests": ["a"], "tasks": []}]


def test_what_is_not_done_in_time_says_how_to_go_on(stage: OperatorStage) -> None:
    stage.host.handlers["replication-control"] = lambda event, context: {"tasks": {"a": "wait"}, "done": False}
    ended = stage.run("replication", "start", "--yes", "--wait-minutes", "0")
    assert ended.code == Exit.FAILED
    assert "call bluegreen replication start again" in ended.err


def test_what_needs_a_person_is_told_with_the_next_step(stage: OperatorStage) -> None:
    def fail(event: object, context: object) -> None:
        raise ReplicationControlError("payments-blue-to-green: the connection test failed: timeout")

    stage.host.handlers["replication-control"] = fail
    ended = stage.run("replication", "start", "--yes")
    assert ended.code == Exit.FAILED
    assert "the connection test failed: timeout" in " ".join(ended.err.split())
    assert "bluegreen replication start --retry" in ended.err


class ReplicationControlError(Exception):
    """Named like the one of the function, whose name is all that comes through Lambda."""


@pytest.mark.parametrize("phase", [Phase.SHIFTING, Phase.STUCK, Phase.ROLLING_BACK])
def test_it_is_not_stopped_while_a_cutover_needs_it(stage: OperatorStage, phase: Phase) -> None:
    stage.begin(phase=phase)
    ended = stage.run("replication", "stop", "--yes")
    assert ended.code == Exit.REFUSED
    assert "neither it nor its way back can switch the writer" in " ".join(ended.err.split())
    assert statuses(stage) == {"running"}


@pytest.mark.parametrize("action", ["start", "stop"])
def test_a_dry_run_and_a_missing_yes_change_nothing(stage: OperatorStage, action: str) -> None:
    before = stage.snapshot()
    dry = stage.run("replication", action, "--dry-run", "--json")
    assert d.Replication.model_validate(dry.document).outcome == "dry run"
    refused = stage.run("replication", action)
    assert (refused.code, "not confirmed" in refused.err) == (Exit.REFUSED, True)
    assert (stage.snapshot(), stage.host.calls) == (before, [])
