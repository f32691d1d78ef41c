"""The writer switch on real servers, under writers that keep a log of what they were promised."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pymysql
import pytest

from tests.support.crash_points import CrashError
from tests.support.interrupted_sessions import Interruptions, Moment, Point, points
from tests.support.writer_world import APPLICATION, PATIENT, Watcher, World, Writers, wait_until
from writer_switch import Result, SwitchOutcome, Verdict
from writer_switch.protocol import _Run

pytestmark = pytest.mark.slow

LOCK_OR_UNLOCK = "ALTER USER `payments_app_a`@`%%`,"
MARKER = "INSERT INTO blue_green_control.marker"
BEAT = "INSERT INTO blue_green_control.heartbeat"


def explain(outcome: SwitchOutcome) -> str:
    return f"{outcome.result}: {outcome.reason}; {[check for check in outcome.checks if not check.passed]}"


def assert_switched(outcome: SwitchOutcome) -> None:
    assert outcome.result is Result.SWITCHED, explain(outcome)
    assert not outcome.pages, explain(outcome)
    assert outcome.writer == outcome.new


def check(outcome: SwitchOutcome, name: str) -> bool | None:
    return next(check.passed for check in outcome.checks if check.name == name)


def at(words: str, number: int, do: Callable[[], object]) -> Callable[[str], None]:
    """A hook that runs once, before the side effect of that name and number."""
    seen: Counter[str] = Counter()

    def hook(effect: str) -> None:
        seen[effect] += 1
        if effect == words and seen[words] == number:
            do()

    return hook


def row_count(world: World, name: str) -> int:
    return int(world.chain[name].query("SELECT COUNT(*) AS number FROM payments.payments")[0]["number"])


# A switch that goes through.


def test_the_writer_moves_there_and_back_under_load_and_nothing_is_lost_or_doubled(world: World) -> None:
    with world.writers() as writers:
        assert_switched(world.switch("blue", "green"))
        writers.wait_for_payments(20, database="green")
        assert_switched(world.switch("green", "blue"))
        writers.wait_for_payments(20, database="blue")
    assert world.faults(writers) == []
    assert writers.unexpected == []


@pytest.mark.parametrize(("old", "new"), [("blue", "green"), ("green", "blue")])
def test_there_is_exactly_one_crossover_and_no_instant_with_two_writers(
    make_world: Callable[[str], World], old: str, new: str
) -> None:
    world = make_world(old)
    watcher = Watcher(world)
    with watcher.watching((old, new)), world.writers() as writers:
        assert_switched(world.switch(old, new))
        writers.wait_for_payments(20, database=new)
    assert writers.overlaps((old, new)) == []
    assert set(writers.databases()) == {old, new}
    assert watcher.violations == []
    assert watcher.samples > 20
    assert world.faults(writers) == []


def test_the_writer_moves_along_the_whole_chain_and_back(long_chain: World) -> None:
    with long_chain.writers() as writers:
        for old, new in (("legacy", "blue"), ("blue", "green"), ("green", "blue"), ("blue", "legacy")):
            assert_switched(long_chain.switch(old, new))
            assert long_chain.admitting() == [new]
            writers.wait_for_payments(10, database=new)
    assert long_chain.faults(writers) == []
    assert writers.unexpected == []


def test_a_second_run_finds_the_switch_done_and_changes_nothing(world: World) -> None:
    assert_switched(world.switch("blue", "green"))
    outcome = world.switch("blue", "green")
    assert outcome.result is Result.ALREADY_SWITCHED
    assert outcome.writer == "green"
    assert not outcome.pages


def test_the_services_password_works_on_the_new_writer_and_the_way_back_is_open(world: World) -> None:
    outcome = world.switch("blue", "green")
    assert check(outcome, "first session on the new") is True
    assert check(outcome, "nothing committed on the old") is True
    assert check(outcome, "no session on the old") is True


def test_a_long_transaction_is_rolled_back_and_nothing_of_it_is_left(world: World) -> None:
    with closing(world.application("blue")) as connection, connection.cursor() as cursor:
        rows = [(f"A{number}", "XXX", number) for number in range(20_000)]
        cursor.executemany("INSERT INTO balances (account, currency, amount) VALUES (%s, %s, %s)", rows)
        assert_switched(world.switch("blue", "green"))
        with pytest.raises(pymysql.MySQLError):
            connection.commit()
    for name in world.names:
        assert world.chain[name].query("SELECT COUNT(*) AS number FROM payments.balances")[0]["number"] == 0


def test_both_accounts_of_the_pair_are_fenced(world: World) -> None:
    assert_switched(world.switch("blue", "green"))
    assert world.locks("blue") == dict.fromkeys(APPLICATION, True)
    assert world.locks("green") == dict.fromkeys(APPLICATION, False)


# Replication.


def test_the_old_writer_is_not_fenced_while_replication_is_stopped(world: World) -> None:
    world.chain.replication("blue", "green").stop()
    run = Interruptions(world.connect)
    with world.writers() as writers:
        outcome = world.switch("blue", "green", connect=run, settings=replace(PATIENT, lag_bound_seconds=0.5))
        writers.wait_for_payments(10, database="blue")
    assert outcome.result is Result.REFUSED
    assert "did not arrive" in outcome.reason
    assert outcome.writer == "blue"
    assert LOCK_OR_UNLOCK not in run.effects
    world.chain.start_replication()
    assert world.faults(writers) == []


def test_a_delayed_replication_is_waited_for_and_nothing_is_lost(world: World) -> None:
    world.chain.delay_replication(1)
    with world.writers() as writers:
        outcome = world.switch("blue", "green")
        writers.wait_for_payments(10, database="green")
    world.chain.delay_replication(0)
    assert_switched(outcome)
    assert writers.overlaps(("blue", "green")) == []
    assert world.faults(writers) == []


def test_a_drain_that_does_not_end_gives_the_old_writer_back(world: World) -> None:
    # The first row of the marker table is the announcement, the second one the marker.
    stop = at(MARKER, 2, world.chain.replication("blue", "green").stop)
    watcher = Watcher(world)
    with watcher.watching(("blue", "green")), world.writers() as writers:
        outcome = world.switch(
            "blue", "green", connect=Interruptions(world.connect, hook=stop), drain_timeout_seconds=0.5
        )
        writers.wait_for_payments(10, database="blue")
        assert outcome.result is Result.REVERTED, explain(outcome)
        assert (outcome.writer, outcome.pages) == ("blue", False)
        assert world.admitting() == ["blue"]
        world.chain.start_replication()
        assert_switched(world.switch("blue", "green"))
        writers.wait_for_payments(10, database="green")
    assert watcher.violations == []
    assert world.faults(writers) == []


# Several controllers.


@pytest.mark.parametrize("count", [2, 3])
def test_of_controllers_that_race_exactly_one_wins(world: World, count: int) -> None:
    with world.writers() as writers, ThreadPoolExecutor(count) as pool:
        outcomes = list(pool.map(lambda _: world.switch("blue", "green"), range(count)))
        writers.wait_for_payments(10, database="green")
    results = Counter(outcome.result for outcome in outcomes)
    assert results[Result.SWITCHED] == 1
    assert results[Result.SWITCHED] + results[Result.ALREADY_SWITCHED] + results[Result.BUSY] == count
    assert writers.overlaps(("blue", "green")) == []
    assert world.faults(writers) == []


def test_a_controller_that_will_not_wait_finds_another_one_at_work(world: World) -> None:
    inside: list[SwitchOutcome] = []
    impatient = replace(PATIENT, lock_wait_seconds=0.0)
    for old, new in (("blue", "green"), ("green", "blue")):
        hook = at(MARKER, 2, lambda old=old, new=new: inside.append(world.switch(old, new, settings=impatient)))  # type: ignore[misc]
        assert_switched(world.switch("blue", "green", connect=Interruptions(world.connect, hook=hook)))
        assert_switched(world.switch("green", "blue"))
    assert [outcome.result for outcome in inside] == [Result.BUSY, Result.BUSY]


def test_a_switch_of_the_neighbouring_pair_is_kept_out(long_chain: World) -> None:
    inside: list[SwitchOutcome] = []
    impatient = replace(PATIENT, lock_wait_seconds=0.0)
    hook = at(MARKER, 2, lambda: inside.append(long_chain.switch("blue", "green", settings=impatient)))
    assert_switched(long_chain.switch("legacy", "blue", connect=Interruptions(long_chain.connect, hook=hook)))
    assert [outcome.result for outcome in inside] == [Result.BUSY]


# Sessions.


def test_sessions_that_refuse_to_die_for_a_while_are_waited_for(world: World) -> None:
    refused: list[str] = []

    def refuses(words: str) -> bool:
        if words.startswith("KILL") and len(refused) < 40:
            refused.append(words)
            return True
        return False

    with world.writers() as writers:
        outcome = world.switch("blue", "green", connect=Interruptions(world.connect, skip=refuses))
        writers.wait_for_payments(10, database="green")
    assert len(refused) == 40
    assert_switched(outcome)
    assert writers.overlaps(("blue", "green")) == []
    assert world.faults(writers) == []


@pytest.mark.parametrize("accept_data_loss", [False, True])
def test_sessions_that_never_die_give_the_old_writer_back_whatever_is_accepted(
    world: World, accept_data_loss: bool
) -> None:
    run = Interruptions(world.connect, skip=lambda words: words.startswith("KILL"))
    settings = replace(PATIENT, end_sessions_seconds=0.5)
    with world.writers() as writers:
        outcome = world.switch("blue", "green", connect=run, settings=settings, accept_data_loss=accept_data_loss)
        writers.wait_for_payments(10, database="blue")
    assert outcome.result is Result.REVERTED, explain(outcome)
    assert world.admitting() == ["blue"]
    assert world.faults(writers) == []


# Servers that die.


PHASES = [(BEAT, 1), (MARKER, 1), (LOCK_OR_UNLOCK, 1), (MARKER, 2), (LOCK_OR_UNLOCK, 2)]
NAMES = ["gate", "announcement", "fence", "drain", "promotion"]


@pytest.mark.parametrize(("words", "number"), PHASES, ids=NAMES)
@pytest.mark.parametrize("victim", ["blue", "green"])
def test_a_server_that_dies_at_any_step_loses_nothing_and_makes_no_second_writer(
    world: World, victim: str, words: str, number: int
) -> None:
    kill = at(words, number, world.chain[victim].kill)
    quick = replace(PATIENT, statement_seconds=2.0, lag_bound_seconds=2.0)
    with world.writers() as writers:
        outcome = world.switch(
            "blue",
            "green",
            connect=Interruptions(world.connect, hook=kill),
            settings=quick,
            drain_timeout_seconds=0.5,
        )
        promoted = outcome.result is Result.SWITCHED
        if victim == "green":
            assert outcome.result in (Result.REFUSED, Result.UNREACHABLE, Result.FENCED), explain(outcome)
        # Without blue only what has been drained before may be promoted.
        assert promoted == (victim == "blue" and (words, number) == (LOCK_OR_UNLOCK, 2)), explain(outcome)
        assert outcome.pages == (outcome.result in (Result.UNREACHABLE, Result.FENCED))

        world.chain[victim].start()
        world.chain.start_replication()
        assert len(world.admitting()) <= 1
        again = world.switch("blue", "green")
        assert again.result in (Result.SWITCHED, Result.ALREADY_SWITCHED), explain(again)
        writers.wait_for_payments(10, database="green")
    assert writers.overlaps(("blue", "green")) == []
    assert world.faults(writers) == []


def test_the_new_one_may_come_back_during_the_drain(world: World) -> None:
    green = world.chain["green"]

    def start() -> None:
        green.start()
        world.chain.start_replication()

    def restart() -> None:
        green.kill()
        threading.Thread(target=start).start()

    with world.writers() as writers:
        outcome = world.switch(
            "blue",
            "green",
            connect=Interruptions(world.connect, hook=at(MARKER, 2, restart)),
            drain_timeout_seconds=20.0,
        )
        assert outcome.result is Result.SWITCHED, explain(outcome)
        writers.wait_for_payments(10, database="green")
    assert world.faults(writers) == []


def test_a_dead_writer_is_given_up_only_with_a_persons_word_and_fenced_when_it_is_back(world: World) -> None:
    with world.writers() as writers:
        pass
    world.chain.wait_caught_up()
    world.chain["blue"].kill()
    refused = world.switch("blue", "green", drain_timeout_seconds=0.5)
    assert (refused.result, refused.pages) == (Result.UNREACHABLE, True)
    assert "accept_data_loss" in refused.next_step

    forced = world.switch("blue", "green", drain_timeout_seconds=0.5, accept_data_loss=True)
    assert (forced.result, forced.forced, forced.pages) == (Result.SWITCHED, True, True), explain(forced)
    assert "reconcile" in forced.next_step

    world.chain["blue"].start()
    assert world.find().verdict is Verdict.SEVERAL
    assert world.switch("blue", "green").result is Result.TWO_WRITERS
    assert world.admitting() == ["blue", "green"]
    chosen = world.switch("blue", "green", accept_data_loss=True)
    assert chosen.result is Result.SWITCHED, explain(chosen)
    assert world.admitting() == ["green"]
    world.chain.start_replication()
    assert world.faults(writers) == []


def test_a_drain_that_does_not_end_is_given_up_only_with_a_persons_word(world: World) -> None:
    stop = at(MARKER, 2, world.chain.replication("blue", "green").stop)
    outcome = world.switch(
        "blue",
        "green",
        connect=Interruptions(world.connect, hook=stop),
        drain_timeout_seconds=0.5,
        accept_data_loss=True,
    )
    assert (outcome.result, outcome.forced, outcome.pages) == (Result.SWITCHED, True, True)
    assert world.admitting() == ["green"]


# Connections that break.


def test_a_connection_that_breaks_at_any_side_effect_is_replaced_and_the_switch_goes_on(world: World) -> None:
    directions = itertools.cycle([("green", "blue"), ("blue", "green")])
    broken = 0
    with world.writers(2) as writers:
        trial = Interruptions(world.connect)
        assert_switched(world.switch("blue", "green", connect=trial))
        for point in [point for moment in Moment for point in points(trial.effects, moment)]:
            old, new = next(directions)
            run = Interruptions(world.connect, lose_at=point)
            outcome = world.switch(old, new, connect=run)
            assert outcome.result is Result.SWITCHED, f"{point}: {explain(outcome)}"
            assert run.has_lost or point.words.startswith("KILL"), point
            assert world.admitting() == [new]
            broken += run.has_lost
    assert broken > 20
    assert world.faults(writers) == []


def test_a_controller_takes_its_lock_back_from_its_own_session_that_the_server_still_keeps(world: World) -> None:
    trial = Interruptions(world.connect)
    assert_switched(world.switch("blue", "green", connect=trial))
    assert LOCK_OR_UNLOCK in trial.effects
    run = Interruptions(world.connect, lose_at=Point(Moment.BEFORE, LOCK_OR_UNLOCK, 1), server_notices=False)
    outcome = world.switch("green", "blue", connect=run)
    run.bury()
    assert_switched(outcome)


# What is refused before anything is fenced.


def test_an_application_password_that_the_new_one_does_not_know_is_found_before_the_fence(world: World) -> None:
    world.documents["green"]["application"]["password"] = "another-password-that-nobody-has-ever-set"
    run = Interruptions(world.connect)
    outcome = world.switch("blue", "green", connect=run)
    assert outcome.result is Result.REFUSED
    assert "not admitted" in outcome.reason
    assert LOCK_OR_UNLOCK not in run.effects


def test_a_read_only_new_one_is_found_before_the_fence(world: World) -> None:
    world.chain["green"].query("SET GLOBAL read_only = 1")
    try:
        outcome = world.switch("blue", "green")
    finally:
        world.chain["green"].query("SET GLOBAL read_only = 0")
    assert outcome.result is Result.REFUSED
    assert "read-only" in outcome.reason
    assert world.admitting() == ["blue"]


def test_an_account_that_does_not_exist_is_found_before_the_fence(world: World) -> None:
    world.chain["green"].execute_unlogged([f"DROP USER '{APPLICATION[1]}'@'%'"])
    outcome = world.switch("blue", "green")
    assert outcome.result is Result.REFUSED
    assert world.admitting() == ["blue"]


def test_a_caller_who_may_not_switch_changes_nothing(world: World) -> None:
    run = Interruptions(world.connect)
    outcome = world.switch("blue", "green", connect=run, authorize=lambda: "another cutover has the lease")
    assert (outcome.result, outcome.reason) == (Result.REFUSED, "another cutover has the lease")
    assert run.effects == []


def test_a_lease_that_ends_during_the_gate_is_noticed_before_the_fence(world: World) -> None:
    answers = iter([None, "the lease ended"])
    outcome = world.switch("blue", "green", authorize=lambda: next(answers))
    assert outcome.result is Result.REFUSED
    assert "the lease ended" in outcome.reason
    assert world.admitting() == ["blue"]


def test_a_third_writer_is_an_alarm(long_chain: World) -> None:
    long_chain.set_locked("green", locked=False)
    outcome = long_chain.switch("legacy", "blue")
    assert (outcome.result, outcome.pages) == (Result.TWO_WRITERS, True)
    assert long_chain.admitting() == ["legacy", "green"]


def test_a_switch_away_from_a_database_that_is_not_the_writer_is_refused(long_chain: World) -> None:
    outcome = long_chain.switch("blue", "green")
    assert outcome.result is Result.REFUSED
    assert outcome.writer == "legacy"
    assert "legacy" in outcome.reason


def test_a_third_database_that_does_not_answer_does_not_hinder_the_way_back(long_chain: World) -> None:
    assert_switched(long_chain.switch("legacy", "blue"))
    assert_switched(long_chain.switch("blue", "green"))
    long_chain.chain["legacy"].kill()
    try:
        outcome = long_chain.switch("green", "blue")
    finally:
        long_chain.chain["legacy"].start()
        long_chain.chain.start_replication()
    assert_switched(outcome)


# States that somebody left behind.


@pytest.mark.parametrize("accounts", [APPLICATION[:1], APPLICATION[1:]])
def test_a_fence_that_broke_off_between_the_accounts_is_finished(world: World, accounts: Sequence[str]) -> None:
    world.set_locked("blue", locked=True, accounts=accounts)
    assert_switched(world.switch("blue", "green"))
    assert world.admitting() == ["green"]


def test_accounts_that_were_locked_without_an_announcement_are_left_to_a_person(world: World) -> None:
    world.set_locked("blue", locked=True)
    outcome = world.switch("blue", "green")
    assert (outcome.result, outcome.pages) == (Result.FENCED, True)
    assert "not known" in outcome.reason
    assert world.admitting() == []


def test_an_announcement_is_the_newest_whatever_the_clocks_of_the_servers_say(world: World) -> None:
    world.chain["green"].execute_unlogged(
        [
            "INSERT INTO blue_green_control.marker (marker_id, cutover_id, old_writer, new_writer, written_at)"
            " VALUES ('m', 'c', 'green', 'blue', UTC_TIMESTAMP(6) + INTERVAL 1 HOUR)"
        ]
    )
    dead = Interruptions(world.connect, crash_at=Point(Moment.AFTER, LOCK_OR_UNLOCK, 1))
    with pytest.raises(CrashError):
        world.switch("blue", "green", connect=dead)
    dead.bury()
    # Were green's row taken for the newest one, blue would be opened without a drain, or green never.
    assert_switched(world.switch("blue", "green"))


# The dry run.


def positions(world: World) -> list[str]:
    return [world.chain[name].query("SELECT @@GLOBAL.gtid_binlog_pos AS p")[0]["p"] for name in world.names]


def test_a_dry_run_changes_nothing_and_says_what_it_would_do(world: World) -> None:
    before = positions(world)
    outcome = world.switch("blue", "green", dry_run=True)
    assert outcome.result is Result.WOULD_SWITCH, explain(outcome)
    assert positions(world) == before
    assert world.admitting() == ["blue"]


def test_a_dry_run_finds_what_a_run_would_refuse(world: World) -> None:
    assert_switched(world.switch("blue", "green"))
    world.chain.replication("green", "blue").stop()
    world.chain["green"].query("UPDATE blue_green_control.heartbeat SET beat = beat + 1 WHERE environment = 'green'")
    outcome = world.switch("green", "blue", dry_run=True, settings=replace(PATIENT, lag_bound_seconds=0.3))
    assert outcome.result is Result.REFUSED
    assert "did not arrive" in outcome.reason


def test_a_dry_run_of_a_switch_that_is_done_says_so(world: World) -> None:
    assert_switched(world.switch("blue", "green"))
    assert world.switch("blue", "green", dry_run=True).result is Result.ALREADY_SWITCHED


def test_a_dry_run_finds_another_controller_at_work(world: World) -> None:
    inside: list[SwitchOutcome] = []
    hook = at(MARKER, 2, lambda: inside.append(world.switch("blue", "green", dry_run=True)))
    assert_switched(world.switch("blue", "green", connect=Interruptions(world.connect, hook=hook)))
    assert [outcome.result for outcome in inside] == [Result.BUSY]


# Who is the writer?


def test_the_writer_is_found(long_chain: World) -> None:
    report = long_chain.find()
    assert (report.verdict, report.writer, report.is_certain) == (Verdict.ONE, "legacy", True)


def test_no_writer_is_found_where_none_is(world: World) -> None:
    world.set_locked("blue", locked=True)
    report = world.find()
    assert (report.verdict, report.writer, report.pages) == (Verdict.NONE, None, False)


def test_two_writers_are_an_alarm(world: World) -> None:
    world.set_locked("green", locked=False, accounts=APPLICATION[1:])
    report = world.find()
    assert (report.verdict, report.writer, report.pages) == (Verdict.SEVERAL, None, True)
    assert report.admitting == ("blue", "green")


def test_a_database_that_does_not_answer_makes_the_answer_uncertain(world: World) -> None:
    world.chain["green"].stop()
    report = world.find()
    world.chain["green"].start()
    assert (report.verdict, report.writer, report.is_certain) == (Verdict.ONE, "blue", False)
    assert "cannot be reached" in report.failures["green"]


# Negative controls: the checks above have teeth.


def test_without_ending_sessions_the_commits_on_the_old_one_are_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writer_switch.protocol.end_sessions", lambda *_, **__: 0)
    blue_goes_on: list[int] = []

    def wait_for_commits(run: _Run) -> Any:
        # The verification begins at once after the promotion; the survivors need a moment for a payment.
        before = row_count(world, "blue")
        wait_until(lambda: row_count(world, "blue") > before)
        blue_goes_on.append(row_count(world, "blue") - before)
        return first_session(run)

    first_session = _Run._check_first_session
    monkeypatch.setattr(_Run, "_check_first_session", wait_for_commits)
    with world.writers() as writers:
        outcome = world.switch("blue", "green")
        green = world.writers(2)
        with green as late:
            late.wait_for_payments(5, database="green")
        writers.wait_for_payments(5, database="blue")
    assert blue_goes_on
    assert (outcome.result, outcome.pages) == (Result.OLD_COMMITTED, True)
    assert check(outcome, "nothing committed on the old") is False
    assert check(outcome, "no session on the old") is False
    everybody = Writers(world, count=0, pause_seconds=1)
    everybody.commits = writers.commits + late.commits
    assert everybody.overlaps(("blue", "green")) != []


def test_without_the_drain_the_balances_and_checksums_give_it_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Run, "_marker_has_arrived", lambda *_: True)
    with world.writers() as writers:

        def fall_behind() -> None:
            world.chain.replication("blue", "green").stop()
            writers.wait_for_payments(20, database="blue")

        hook = at(LOCK_OR_UNLOCK, 1, fall_behind)
        outcome = world.switch("blue", "green", connect=Interruptions(world.connect, hook=hook))
        writers.wait_for_payments(20, database="green")
    world.chain.start_replication()
    assert outcome.result is Result.SWITCHED
    faults = world.faults(writers)
    assert any("balance" in fault or "entries" in fault or "total" in fault for fault in faults), faults
    assert any("checksums differ" in fault for fault in faults), faults
