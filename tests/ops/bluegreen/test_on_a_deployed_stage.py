"""Every command on the whole stage: deployed by the CDK into a local AWS, with the real state machine and databases.

The tests run in order and tell one story: to AWS, to green and back, with refusals on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.bluegreen.errors import Exit
from ops.bluegreen.screen import short_alarm
from rehearsal.databases import Software
from tests.support.deployed_seat import Seat, deployed_seat, plan_file, watched

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def seat(mariadb: Software, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seat]:
    with deployed_seat(mariadb, tmp_path_factory.mktemp("seat")) as seat:
        yield seat


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


def test_an_abort_is_followed_at_the_next_look(seat: Seat, tmp_path: Path) -> None:
    seat.begin("shift", "green", "--plan", plan_file(tmp_path, watched(25, seconds=3600), watched(100)))
    seat.stage.wait_until(lambda: seat.cutover().step_phase == "watch", seat.stage.story)
    assert seat.document("abort", "--dry-run").outcome == "dry run"
    assert seat.document("abort", "--yes").outcome in ("asked for", "followed")
    assert seat.run("status", "--until-over", "--interval", "15").returncode == Exit.REFUSED
    assert seat.stage.cloud.weights() == {"blue": 100, "green": 0}
    assert seat.document("explain").why.endswith("asked to roll back")


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
