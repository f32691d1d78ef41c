"""Every command on the whole stage: deployed by the CDK into a local AWS, with the real state machine and databases.

The tests run in order and tell one story: to AWS, to green and back, with refusals on the way. The local AWS runs by a
clock that is twenty times faster than ours; the command line follows it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ops.bluegreen import PROJECT
from ops.bluegreen import documents as d
from ops.bluegreen.errors import Exit
from ops.bluegreen.screen import short_alarm
from rehearsal.clock import VARIABLE
from rehearsal.databases import DatabaseChain, Software
from rehearsal.databases.pytest_plugin import memory_folder
from rehearsal.local_aws import LocalCloud
from tests.support.local_stage import LocalStage

pytestmark = pytest.mark.slow

WAIT_SCALE = 0.05
PACE = ("--poll-seconds", "15", "--settle-seconds", "0")


@dataclass(frozen=True)
class Seat:
    """The command line over the deployed stage."""

    stage: LocalStage
    state_file: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command as an operator calls it, without a terminal."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return subprocess.run(
            [sys.executable, "-m", "ops.bluegreen", "--local", *words],
            cwd=PROJECT,
            env={**environment, "BLUEGREEN_LOCAL_STATE": str(self.state_file), "COLUMNS": "150"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def document(self, *words: str, code: Exit = Exit.DONE) -> Any:
        """What the command prints with --json, of its schema."""
        ended = self.run(*words, "--json")
        assert ended.returncode == code, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        name = "error" if code not in (Exit.DONE, Exit.REFUSED) or '"error"' in ended.stdout[:20] else words[0]
        return d.SCHEMAS[name].model_validate_json(ended.stdout)

    def begin(self, *words: str) -> d.Begun:
        """Begin a cutover, once the alarms have heard enough."""
        target = words[1]
        self.stage.wait_until(
            lambda: self.run("preflight", target).returncode == Exit.DONE, lambda: self.run("preflight", target).stdout
        )
        begun = self.document(*words, "--yes", *PACE)
        assert begun.outcome == "begun"
        return d.Begun.model_validate(begun.model_dump())

    def status(self) -> d.Status:
        found: d.Status = self.document("status")
        assert found.unread == [], found.unread
        return found

    def cutover(self) -> d.Cutover:
        cutover = self.status().cutover
        assert cutover is not None
        return cutover


@pytest.fixture(scope="module")
def seat(mariadb: Software, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seat]:
    folder = tmp_path_factory.mktemp("seat")
    said: list[str] = []
    with (
        DatabaseChain.start(("legacy", "blue", "green"), software=mariadb, folder=memory_folder()) as databases,
        LocalCloud(databases, folder / "aws", said.append, WAIT_SCALE) as cloud,
    ):
        cloud.start()
        assembly = cloud.synthesize()
        assert cloud.deploy(assembly)
        stage = LocalStage(cloud, assembly)
        stage.register_targets()
        state = folder / "cloud.json"
        environment = {**cloud.environment, VARIABLE: cloud.clock.variable()}
        state.write_text(json.dumps({"environment": environment, "outputs": dict(cloud.outputs)}))
        with stage.metrics.flowing():
            yield Seat(stage, state)


def plan_file(folder: Path, *steps: dict[str, Any]) -> str:
    """A plan whose steps are watched for so long as its direction demands."""
    path = folder / "plan.json"
    path.write_text(json.dumps({"steps": list(steps)}))
    return str(path)


def watched(percent: int, *, seconds: int = 60, **more: Any) -> dict[str, Any]:
    return {"weight_percent": percent, "watch_seconds": seconds, "deadline_seconds": seconds + 7200, **more}


UNHEARD = {"ReconcilerSilent"}
"""Alarms on what the local AWS does not count."""


def loud(seat: Seat) -> set[str]:
    return {short_alarm(each.name) for each in seat.status().alarms if each.state != "OK"}


GATE = {"question": "Switch the writer?", "timeout_seconds": 86_400}


def test_replication_is_started_by_the_command_line(seat: Seat) -> None:
    # Stopped and started again, too: the reverse tasks go on from where they were.
    for action in ("start", "stop", "start"):
        found = seat.document("replication", action, "--yes")
        assert found.outcome == "done"
    assert {each.status for each in seat.document("replication", "status").tasks} == {"running"}


def test_at_first_the_legacy_system_serves_and_writes(seat: Seat) -> None:
    seat.stage.wait_until(
        lambda: seat.run("preflight", "aws").returncode == Exit.DONE, lambda: seat.run("doctor").stdout
    )
    found = seat.status()
    assert found.serving is not None
    assert found.serving.shares == {"legacy": 100.0, "blue": 0.0, "green": 0.0}
    assert found.writer is not None
    assert (found.writer.verdict, found.writer.admitting) == ("one", ["legacy"])
    assert {each.lag_seconds for each in found.replication} == {0.0}
    seat.stage.wait_until(lambda: loud(seat) <= UNHEARD, lambda: str(loud(seat)))


def test_the_doctor_names_what_this_account_lacks_and_nothing_else(seat: Seat) -> None:
    found = seat.document("doctor", code=Exit.REFUSED)
    # The local AWS has neither the roles that DMS looks for nor quotas, and does not count how often functions run.
    lacking = {each.name for each in found.checks if each.result != "ok"}
    assert lacking - {"alarms"} == {"DMS roles", "quota of vCPUs", "quota of addresses", "quota of endpoints"}


def test_the_writer_of_legacy_goes_with_the_front_door_only(seat: Seat) -> None:
    refused = seat.run("switch-writer", "blue", "--yes")
    assert refused.returncode == Exit.REFUSED
    assert "bluegreen admit aws" in refused.stderr


def test_a_cutover_whose_writer_is_elsewhere_is_refused(seat: Seat) -> None:
    refused = seat.run("shift", "green", "--yes")
    assert refused.returncode == Exit.REFUSED
    assert "the plan switches the writer from blue to green, but it is legacy" in " ".join(refused.stderr.split())
    assert seat.stage.run is None


def test_the_front_door_admits_the_traffic_and_the_writer_follows(seat: Seat, tmp_path: Path) -> None:
    file = plan_file(
        tmp_path,
        watched(100, seconds=180),
        watched(100, seconds=180, switch_writer=True, gate=GATE),
    )
    begun = seat.begin("admit", "aws", "--plan", file)
    seat.stage.wait_for_gate()
    cutover = seat.cutover()
    assert (cutover.cutover_id, cutover.question, cutover.step) == (begun.cutover_id, "Switch the writer?", 2)
    # The name that the message to people has.
    approved = seat.document("approve", "--cutover", cutover.cutover_id, "--step", "2", "--yes")
    assert approved.outcome == "followed"
    assert seat.run("status", "--until-over", "--interval", "15").returncode == Exit.DONE
    assert (seat.stage.records(), seat.stage.writer) == ({"legacy": 0, "aws": 100}, "blue")


def test_a_shift_is_paused_resumed_promoted_and_taken_back(seat: Seat, tmp_path: Path) -> None:
    file = plan_file(tmp_path, watched(25, seconds=3600), watched(25, switch_writer=True, gate=GATE), watched(100))
    begun = seat.begin("shift", "green", "--plan", file)
    seat.stage.wait_until(lambda: seat.cutover().step_phase == "watch", seat.stage.story)
    assert seat.stage.cloud.weights() == {"blue": 75, "green": 25}
    assert seat.run("replication", "stop", "--yes").returncode == Exit.REFUSED
    assert seat.document("pause", "--yes").outcome == "followed"
    assert seat.cutover().held
    assert seat.document("resume", "--yes").outcome == "followed"
    assert not seat.cutover().held
    assert seat.document("promote", "--yes").outcome == "followed"
    seat.stage.wait_for_gate()
    # While a cutover waits at that step, switching the writer is approving it.
    assert "approve" in seat.run("switch-writer", "green", "--dry-run").stdout
    back = seat.document("rollback", "--yes", "--reason", "complaints")
    assert (back.outcome, back.cutover_id) == ("rolled back", begun.cutover_id)
    assert (seat.stage.cloud.weights(), seat.stage.writer) == ({"blue": 100, "green": 0}, "blue")
    assert seat.document("rollback", "--yes").outcome == "nothing to do"


def test_the_journal_tells_who_did_it_and_why(seat: Seat) -> None:
    entries = seat.document("history", "--last", "200").entries
    orders = [each for each in entries if each.what == "follow an order"]
    assert len(orders) == 4
    assert {each.who for each in orders} == {"arn:aws:iam::000000000000:root"}
    found = seat.document("explain")
    assert (found.phase, found.why) == ("rolled back", "complaints")


def test_the_writer_alone_moves_first_and_goes_back_step_by_step(seat: Seat) -> None:
    begun = seat.begin("switch-writer", "green")
    seat.stage.wait_until(lambda: seat.stage.writer == "green", seat.stage.story)
    assert seat.stage.cloud.weights() == {"blue": 100, "green": 0}
    back = seat.document("rollback", "--gradual", "--yes")
    assert (back.outcome, back.cutover_id) == ("begun", begun.cutover_id)
    seat.stage.wait_until(lambda: seat.stage.writer == "blue", seat.stage.story)
    assert seat.cutover().returning
    # What is left goes back at once.
    assert seat.document("rollback", "--yes").outcome == "rolled back"
    assert seat.cutover().phase == "rolled back"


def test_a_sick_environment_is_explained_with_its_numbers(seat: Seat, tmp_path: Path) -> None:
    file = plan_file(tmp_path, watched(50, seconds=3600), watched(100))
    seat.begin("shift", "green", "--plan", file)
    seat.stage.metrics.sick.add("green")
    try:
        ended = seat.run("status", "--until-over", "--interval", "15", "--no-ask-databases")
    finally:
        seat.stage.metrics.sick.clear()
    assert ended.returncode == Exit.REFUSED, ended.stdout
    found = seat.document("explain")
    assert found.phase == "rolled back"
    assert "green" in found.why


def test_one_that_has_succeeded_is_taken_back_when_that_is_meant(seat: Seat, tmp_path: Path) -> None:
    file = plan_file(tmp_path, watched(100))
    begun = seat.begin("shift", "green", "--plan", file)
    assert seat.run("status", "--until-over", "--interval", "15").returncode == Exit.DONE
    assert seat.stage.cloud.weights() == {"blue": 0, "green": 100}
    refused = seat.run("rollback", "--yes")
    assert (refused.returncode, "--after-the-end" in refused.stderr) == (Exit.REFUSED, True)
    back = seat.document("rollback", "--yes", "--cutover", str(begun.cutover_id), "--after-the-end")
    assert back.outcome == "rolled back"
    assert seat.stage.cloud.weights() == {"blue": 100, "green": 0}
