"""The decisions of the writer switch, over every combination of facts that there is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from writer_switch.decision import (
    Action,
    Announcement,
    Controller,
    Decision,
    Facts,
    Gate,
    LastWriter,
    Locks,
    Marker,
    decide,
    last_writer,
)

BOTH = (False, True)


def every_combination() -> Iterator[Facts]:
    for old, new, last, gate, marker, controller in itertools.product(
        Locks, Locks, LastWriter, Gate, Marker, Controller
    ):
        for other, announced, begun, ended, time_over, accept in itertools.product(BOTH, repeat=6):
            yield Facts(
                old=old,
                new=new,
                other_writer=other,
                controller=controller,
                last_writer=last,
                gate=gate,
                announced=announced,
                begun=begun,
                sessions_ended=ended,
                marker=marker,
                time_over=time_over,
                accept_data_loss=accept,
            )


DECISIONS: dict[Facts, Decision] = {facts: decide(facts) for facts in every_combination()}

FOUND = Facts(
    old=Locks.UNLOCKED,
    new=Locks.LOCKED,
    other_writer=False,
    controller=Controller.US,
    last_writer=LastWriter.NEW,
    gate=Gate.UNTRIED,
    announced=False,
    begun=False,
    sessions_ended=False,
    marker=Marker.ABSENT,
    time_over=False,
    accept_data_loss=False,
)
FENCED = replace(FOUND, old=Locks.LOCKED, last_writer=LastWriter.OLD, gate=Gate.PASSED, announced=True, begun=True)


def chosen(*actions: Action) -> list[Facts]:
    found = [facts for facts, decision in DECISIONS.items() if decision.action in actions]
    assert found, "no combination leads there, so the test would prove nothing"
    return found


def test_every_combination_is_decided_with_a_reason() -> None:
    assert len(DECISIONS) == 5 * 5 * 2 * 2 * 4 * 3 * 2 * 2 * 2 * 3 * 2 * 2
    assert all(decision.reason for decision in DECISIONS.values())


def test_every_action_is_chosen_somewhere() -> None:
    assert {decision.action for decision in DECISIONS.values()} == set(Action)


def test_nothing_is_done_while_another_controller_is_at_work() -> None:
    found = [decision for facts, decision in DECISIONS.items() if facts.controller is Controller.ANOTHER]
    assert {decision.action for decision in found} == {Action.BUSY}


def test_nothing_is_promoted_while_the_old_one_may_admit() -> None:
    for facts in chosen(Action.PROMOTE):
        drained_and_gone = facts.old is Locks.UNREACHABLE and facts.marker is Marker.ON_NEW
        accepted = facts.old is Locks.UNREACHABLE and facts.accept_data_loss
        assert facts.old is Locks.LOCKED or drained_and_gone or accepted


def test_a_locked_database_is_promoted_only_when_it_has_everything_or_a_person_accepted_the_loss() -> None:
    for facts in chosen(Action.PROMOTE):
        if facts.new is Locks.PARTLY:
            continue  # promoted before, by the rule that is tested here
        drained = facts.marker is Marker.ON_NEW and (facts.sessions_ended or facts.old is Locks.UNREACHABLE)
        has_everything = facts.old is Locks.LOCKED and facts.last_writer is LastWriter.NEW
        assert drained or has_everything or facts.accept_data_loss


def test_a_drain_from_a_database_that_may_not_have_been_the_writer_proves_nothing() -> None:
    for facts in chosen(Action.PROMOTE):
        if facts.old is Locks.LOCKED and facts.new is Locks.LOCKED and not facts.accept_data_loss:
            assert facts.last_writer in (LastWriter.OLD, LastWriter.NEW)


def test_accepted_loss_is_named_as_such_exactly_where_it_decides() -> None:
    for facts, decision in DECISIONS.items():
        without = decide(replace(facts, accept_data_loss=False))
        if decision.forced:
            assert facts.accept_data_loss
            assert decision.action in (Action.PROMOTE, Action.FENCE)
            assert without.action is not decision.action


def test_a_person_cannot_accept_two_writers() -> None:
    for facts in chosen(Action.PROMOTE):
        if facts.old is Locks.LOCKED and facts.last_writer is LastWriter.OLD and facts.new is Locks.LOCKED:
            assert facts.sessions_ended


def test_the_old_one_is_unlocked_only_while_the_new_one_is_proved_to_be_locked() -> None:
    for facts in chosen(Action.REVERT):
        assert facts.new is Locks.LOCKED
        assert facts.old in (Locks.LOCKED, Locks.PARTLY)
        assert not facts.other_writer


def test_the_old_one_is_unlocked_only_when_it_was_the_last_writer() -> None:
    for facts in chosen(Action.REVERT):
        # Accounts that are locked in part belong to the writer: only its own fence or promotion breaks off so.
        assert facts.old is Locks.PARTLY or facts.last_writer is LastWriter.OLD


def test_a_healthy_writer_is_fenced_only_after_the_gate_and_the_announcement() -> None:
    for facts in chosen(Action.FENCE):
        if facts.new is Locks.LOCKED:
            assert facts.gate is Gate.PASSED
            assert facts.announced
        else:
            assert facts.accept_data_loss


def test_the_marker_is_written_only_when_the_old_one_is_locked_and_without_sessions() -> None:
    for facts in chosen(Action.WRITE_MARKER, Action.AWAIT_MARKER):
        assert facts.old is Locks.LOCKED
        assert facts.sessions_ended


def test_no_step_is_taken_on_a_database_that_does_not_answer() -> None:
    on_old = (Action.ANNOUNCE, Action.FENCE, Action.END_SESSIONS, Action.WRITE_MARKER, Action.REVERT)
    assert all(facts.old is not Locks.UNREACHABLE for facts in chosen(*on_old))
    assert all(facts.new is not Locks.UNREACHABLE for facts in chosen(Action.PROMOTE, Action.AWAIT_MARKER))


def test_nothing_more_is_waited_for_once_the_time_is_over() -> None:
    waiting = (Action.WAIT, Action.AWAIT_MARKER, Action.END_SESSIONS, Action.WRITE_MARKER)
    assert not any(facts.time_over for facts in chosen(*waiting))


def test_an_unreachable_new_one_never_reopens_the_old_one() -> None:
    for facts, decision in DECISIONS.items():
        if facts.new is Locks.UNREACHABLE:
            assert decision.action not in (Action.REVERT, Action.PROMOTE, Action.FENCE)


def test_two_databases_that_admit_are_an_alarm_and_left_as_they_are_without_a_persons_word() -> None:
    for facts, decision in DECISIONS.items():
        two = sum([facts.old.admits, facts.new.admits, facts.other_writer]) > 1
        if two and facts.controller is Controller.US and Locks.ABSENT not in (facts.old, facts.new):
            if facts.accept_data_loss and not facts.other_writer:
                assert decision.action is Action.FENCE
            else:
                assert decision.action is Action.TWO_WRITERS


def test_success_is_said_only_when_the_new_one_admits() -> None:
    for facts in chosen(Action.SWITCHED):
        assert facts.new is Locks.UNLOCKED
        assert not facts.old.admits


# Liveness: with steps that succeed, every combination comes to an end.


def promoted(facts: Facts) -> Facts:
    return replace(facts, new=Locks.UNLOCKED, begun=True)


SUCCEEDS: dict[Action, Callable[[Facts], Facts]] = {
    Action.TRY_GATE: lambda facts: replace(facts, gate=Gate.PASSED),
    Action.ANNOUNCE: lambda facts: replace(facts, announced=True, last_writer=LastWriter.OLD),
    Action.FENCE: lambda facts: replace(
        facts, old=Locks.LOCKED, begun=True, sessions_ended=False, marker=Marker.ABSENT
    ),
    Action.END_SESSIONS: lambda facts: replace(facts, sessions_ended=True),
    Action.WRITE_MARKER: lambda facts: replace(facts, marker=Marker.ON_OLD, begun=True),
    Action.AWAIT_MARKER: lambda facts: replace(facts, marker=Marker.ON_NEW),
    Action.PROMOTE: promoted,
    Action.REVERT: lambda facts: replace(facts, old=Locks.UNLOCKED, begun=True),
    Action.WAIT: lambda facts: replace(facts, time_over=True),
}


def run_on(facts: Facts, *, fails_at: Action | None = None) -> tuple[list[Action], Facts]:
    """The actions to the end, each succeeding but one, which uses up the time."""
    actions = []
    for _ in range(20):
        action = decide(facts).action
        actions.append(action)
        if action.is_end:
            return actions, facts
        facts = replace(facts, time_over=True) if action is fails_at else SUCCEEDS[action](facts)
    raise AssertionError(f"no end: {[action.value for action in actions]}")


def test_every_combination_comes_to_an_end() -> None:
    for facts in DECISIONS:
        run_on(facts)


def test_no_way_ever_makes_a_second_writer() -> None:
    for facts in DECISIONS:
        if facts.old.admits and facts.new.admits:
            continue
        while not (action := decide(facts).action).is_end:
            facts = SUCCEEDS[action](facts)
            assert not (facts.old.admits and facts.new.admits)


def test_a_switch_takes_its_steps_in_order() -> None:
    assert run_on(FOUND)[0] == [
        Action.TRY_GATE,
        Action.ANNOUNCE,
        Action.FENCE,
        Action.END_SESSIONS,
        Action.WRITE_MARKER,
        Action.AWAIT_MARKER,
        Action.PROMOTE,
        Action.SWITCHED,
    ]


@pytest.mark.parametrize("failing", [Action.END_SESSIONS, Action.WRITE_MARKER, Action.AWAIT_MARKER, Action.PROMOTE])
def test_a_step_that_fails_after_the_fence_ends_with_the_old_one_as_the_writer(failing: Action) -> None:
    actions, facts = run_on(FOUND, fails_at=failing)
    assert actions[-2:] == [Action.REVERT, Action.OLD_STAYS]
    assert (facts.old, facts.new) == (Locks.UNLOCKED, Locks.LOCKED)


@pytest.mark.parametrize("broken_off", [Locks.PARTLY, Locks.LOCKED])
def test_a_fence_that_broke_off_is_finished_by_the_same_switch(broken_off: Locks) -> None:
    found = replace(FOUND, old=broken_off, last_writer=LastWriter.OLD)
    assert run_on(found)[0][-3:] == [Action.AWAIT_MARKER, Action.PROMOTE, Action.SWITCHED]


def test_a_fence_that_broke_off_is_undone_by_the_opposite_switch_without_a_drain() -> None:
    found = replace(FOUND, old=Locks.LOCKED, last_writer=LastWriter.NEW)
    assert run_on(found)[0] == [Action.PROMOTE, Action.END_SESSIONS, Action.SWITCHED]


def test_a_promotion_that_broke_off_is_finished() -> None:
    found = replace(FOUND, old=Locks.LOCKED, new=Locks.PARTLY, last_writer=LastWriter.OLD)
    assert run_on(found)[0] == [Action.PROMOTE, Action.END_SESSIONS, Action.SWITCHED]


def test_a_fence_that_broke_off_is_undone_when_the_new_one_is_not_fit() -> None:
    found = replace(FOUND, old=Locks.PARTLY, gate=Gate.FAILED)
    assert run_on(found)[0] == [Action.REVERT, Action.REFUSED]


def test_a_fence_between_other_databases_is_left_to_its_own_switch() -> None:
    found = replace(FOUND, old=Locks.LOCKED, last_writer=LastWriter.ANOTHER)
    assert run_on(found)[0] == [Action.FENCED]


def test_the_drain_is_not_waited_for_for_ever_when_the_new_one_stops_answering() -> None:
    found = replace(FENCED, new=Locks.UNREACHABLE, sessions_ended=True, marker=Marker.ON_OLD)
    assert run_on(found)[0] == [Action.WAIT, Action.FENCED]


def test_an_old_one_that_dies_after_the_drain_does_not_keep_the_new_one_from_being_promoted() -> None:
    found = replace(FENCED, old=Locks.UNREACHABLE, sessions_ended=True, marker=Marker.ON_NEW)
    assert run_on(found)[0] == [Action.PROMOTE, Action.SWITCHED]


def test_an_old_one_that_dies_before_the_drain_is_over_leaves_all_fenced() -> None:
    found = replace(FENCED, old=Locks.UNREACHABLE, sessions_ended=True, marker=Marker.ON_OLD)
    assert run_on(found)[0] == [Action.WAIT, Action.FENCED]


def test_a_dead_old_one_is_given_up_only_with_a_persons_word() -> None:
    found = replace(FOUND, old=Locks.UNREACHABLE)
    assert run_on(found)[0] == [Action.UNREACHABLE]
    assert run_on(replace(found, accept_data_loss=True))[0] == [Action.PROMOTE, Action.SWITCHED]


def test_of_two_writers_the_one_that_a_person_chose_stays() -> None:
    actions, facts = run_on(replace(FOUND, new=Locks.UNLOCKED, accept_data_loss=True))
    assert actions == [Action.FENCE, Action.END_SESSIONS, Action.SWITCHED]
    assert (facts.old, facts.new) == (Locks.LOCKED, Locks.UNLOCKED)


# Who was fenced last.


def announcement(old: str, new: str) -> Announcement:
    return Announcement(cutover_id="c", old_writer=old, new_writer=new)


@pytest.mark.parametrize(
    ("newest", "expected"),
    [
        (announcement("blue", "green"), LastWriter.OLD),
        (announcement("green", "blue"), LastWriter.NEW),
        (announcement("legacy", "blue"), LastWriter.ANOTHER),
        (None, LastWriter.UNKNOWN),
    ],
)
def test_the_newest_announcement_names_the_last_writer(newest: Announcement | None, expected: LastWriter) -> None:
    found = last_writer(newest, old="blue", new="green", answering=("legacy", "blue", "green"))
    assert found is expected


def test_an_announcement_of_a_switch_with_a_silent_database_proves_nothing() -> None:
    found = last_writer(announcement("blue", "legacy"), old="blue", new="green", answering=("blue", "green"))
    assert found is LastWriter.UNKNOWN


def test_a_silent_database_that_had_no_part_in_the_newest_switch_does_not_matter() -> None:
    found = last_writer(announcement("blue", "green"), old="blue", new="green", answering=("blue", "green"))
    assert found is LastWriter.OLD
