"""One look after the other: what follows from each, and that a look can be made again from any point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from cutover_controller.pace import LOOKS_AT_FULL_PACE, MOST_LOOKS, SLOWER_SECONDS
from cutover_state.desired import desire
from cutover_state.lease import Lease, LeaseTakenError, take_lease
from cutover_state.levers import Kind
from cutover_state.run import Phase
from tests.support.effects import CrashError, Interrupted, Process
from tests.support.whole_cutover import PLAN, InMemory, WholeCutover

SWITCHED = {"result": "switched", "reason": "the new one is the only one that admits the application", "page": False}


@pytest.fixture
def cutover() -> WholeCutover:
    """Begun, and not looked at yet."""
    begun = WholeCutover(definition={}, stage=InMemory())
    assert begun.begin()["begun"]
    return begun


def at_the_switch(cutover: WholeCutover) -> Mapping[str, Any]:
    answer = cutover.look_until("switch")
    cutover.stage.played.databases.admit("green")
    return answer


# What comes next.


def test_the_first_look_sets_the_first_weights_and_waits(cutover: WholeCutover) -> None:
    answer = cutover.look()
    assert (answer["next"], answer["seconds"]) == ("wait", 30)
    assert cutover.weights() == {"blue": 99, "green": 1}
    assert (cutover.found().phase, cutover.found().position["phase"]) == (Phase.SHIFTING, "watch")


def test_the_clocks_of_the_plan_begin_with_the_first_look(cutover: WholeCutover) -> None:
    cutover.stage.now += 3600
    cutover.look()
    assert cutover.found().position["since_seconds"] == int(cutover.stage.now)


def test_a_healthy_step_is_followed_by_the_next(cutover: WholeCutover) -> None:
    cutover.look_until("watch", step=1)
    assert cutover.weights() == {"blue": 50, "green": 50}


def test_the_writer_is_switched_by_the_function_for_that(cutover: WholeCutover) -> None:
    answer = at_the_switch(cutover)
    assert answer["next"] == "switch writer"
    assert answer["switch"] == {"cutover_id": "cutover-7", "from": "blue", "to": "green"}


def test_a_bad_green_is_rolled_back_for_what_was_seen(cutover: WholeCutover) -> None:
    cutover.sick.add("green")
    cutover.look()
    cutover.stage.now += 60
    answer = cutover.look()
    assert answer["next"] == "roll back"
    assert answer["reason"].startswith("green: 50 bad of 1,000, tolerated 0.2 %")
    assert cutover.weights() == {"blue": 99, "green": 1}, "only the rollback moves anything back"


def test_the_end_is_written_before_it_is_told(cutover: WholeCutover) -> None:
    cutover.look_until("watch", step=3)
    cutover.stage.now += 60
    answer = cutover.look()
    assert (answer["next"], answer["reason"]) == ("done", "green has everything")
    assert cutover.found().phase is Phase.SUCCEEDED
    assert cutover.stage.told[-1] == "Complete: blue to green"
    assert cutover.stage.played.lease_holder() is None


def test_a_call_that_is_made_again_after_the_end_says_that_it_is_done(cutover: WholeCutover) -> None:
    cutover.look_until("complete")
    before = cutover.whats()
    assert cutover.look()["next"] == "done"
    assert cutover.whats() == before


@pytest.mark.parametrize("phase", [Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.REFUSED, Phase.STUCK])
def test_what_does_not_go_forward_is_ended_for_the_state_machine(cutover: WholeCutover, phase: Phase) -> None:
    cutover.look()
    cutover.stage.played.runs.write(replace(cutover.found(), phase=phase))
    before = dict(cutover.stage.played.table.items)
    assert cutover.look()["next"] == "ended"
    assert cutover.stage.played.table.items == before


def test_another_cutover_is_none_of_its_business(cutover: WholeCutover) -> None:
    cutover.cutover_id = "cutover-6"
    before = dict(cutover.stage.played.table.items)
    assert cutover.look()["next"] == "ended"
    assert cutover.stage.played.table.items == before


# The writer switch.


def test_a_switch_that_succeeded_is_noted_with_its_outcome(cutover: WholeCutover) -> None:
    at_the_switch(cutover)
    assert cutover.look(switched=SWITCHED)["next"] == "wait"
    [entry] = [entry for entry in cutover.journal() if entry.what == "writer switched"]
    assert (entry.before, entry.after, entry.details) == ({"writer": "blue"}, {"writer": "green"}, SWITCHED)
    desired = cutover.stage.played.desired.read()
    assert desired is not None
    assert desired.writer == "green"


def test_the_outcome_once_more_changes_nothing(cutover: WholeCutover) -> None:
    at_the_switch(cutover)
    cutover.look(switched=SWITCHED)
    before, position = cutover.whats(), cutover.found().position
    cutover.look(switched=SWITCHED)
    assert (cutover.whats(), cutover.found().position) == (before, position)


@pytest.mark.parametrize("result", ["reverted", "refused", "busy", "unreachable", "fenced", "two writers"])
def test_a_switch_that_failed_rolls_back(cutover: WholeCutover, result: str) -> None:
    cutover.look_until("switch")
    answer = cutover.look(switched={"result": result, "reason": "the drain did not end"})
    assert answer["next"] == "roll back"
    assert answer["reason"] == f"the writer was not switched ({result}): the drain did not end"
    assert "writer not switched" in cutover.whats()


@pytest.mark.parametrize("result", ["old committed", "switched"])
def test_an_outcome_that_calls_a_person_does(cutover: WholeCutover, result: str) -> None:
    cutover.look_until("switch")
    cutover.look(switched={**SWITCHED, "result": result, "page": True, "next_step": "Compare the payments."})
    assert "A person must look at the writer: blue to green" in cutover.stage.told


def test_a_look_without_the_outcome_asks_for_the_switch_once_more(cutover: WholeCutover) -> None:
    """The outcome got lost; the switch says then that it was made already."""
    answer = at_the_switch(cutover)
    assert cutover.look()["switch"] == answer["switch"]
    assert cutover.look(switched={**SWITCHED, "result": "already switched"})["next"] == "wait"


# Orders.


def orders(cutover: WholeCutover, what: str) -> list[tuple[str, str]]:
    return [(entry.who, entry.why) for entry in cutover.journal() if entry.what == what]


def test_an_approval_passes_the_gate(cutover: WholeCutover) -> None:
    cutover.look_until("gate")
    cutover.order("approve", actor="grace")
    assert cutover.look()["next"] == "switch writer"
    [(who, why)] = orders(cutover, "follow an order")
    assert (who, why.startswith("approved by grace; step 3")) == ("grace", True)


def test_a_hold_stops_the_clocks_until_it_is_resumed(cutover: WholeCutover) -> None:
    cutover.look()
    cutover.order("hold")
    for _ in range(100):
        assert cutover.look()["next"] == "wait"
        cutover.stage.now += 30
    assert cutover.found().position["step"] == 0
    cutover.order("resume")
    cutover.look_until("watch", step=1)


def test_a_promotion_ends_the_watch(cutover: WholeCutover) -> None:
    cutover.look()
    cutover.order("promote")
    cutover.look()
    assert cutover.weights() == {"blue": 50, "green": 50}


def test_an_abort_rolls_back(cutover: WholeCutover) -> None:
    cutover.look()
    cutover.order("abort", actor="grace")
    answer = cutover.look()
    assert (answer["next"], answer["reason"]) == ("roll back", "grace asked to roll back")


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ({"kind": "approve"}, "approve: in the phase watch, allowed: in gate"),
        ({"kind": "promote", "step": 3}, "promote: for step 4, allowed: for step 1, which is due"),
        ({"kind": "promote", "automatic": True}, "promote: asked for by ada, allowed: a person; a program may hold"),
        ({"kind": "dance"}, "no order: ValueError: 'dance' is not a valid OrderKind"),
        ({"kind": "promote", "actor": " "}, "actor: ' ', allowed: the name of who gives the order"),
    ],
)
def test_an_order_that_cannot_be_followed_is_refused_once_and_harms_nothing(
    cutover: WholeCutover, order: dict[str, Any], why: str
) -> None:
    cutover.look()
    cutover.order(**order)
    assert cutover.look()["next"] == "wait"
    cutover.look()
    [(_, refusal)] = orders(cutover, "refuse an order")
    assert refusal.startswith(why)
    assert orders(cutover, "follow an order") == []
    assert cutover.found().order is None


def test_an_order_that_comes_during_a_look_is_followed_by_the_next(cutover: WholeCutover) -> None:
    cutover.look()
    calls = 0
    for call in range(100):
        cutover.order("hold")
        process = Interrupted(at=call, by=lambda: cutover.order("abort"))
        answers = [cutover.look(process=process)["next"]]
        if process.calls <= call:
            break
        calls += 1
        while answers[-1] == "wait" and len(answers) < 4:
            answers.append(cutover.look()["next"])
        assert "roll back" in answers, call
    assert calls >= 5


# Going back step by step.


def returning(cutover: WholeCutover, *, step: int = 1) -> None:
    """Ordered to go back step by step while step ``step`` is watched."""
    cutover.look_until("watch", step=step)
    answer = cutover.roll_back(gradual=True)
    assert not answer["rolled_back"]
    assert "goes back step by step from its next look on" in answer["explanation"]


def to_the_end(cutover: WholeCutover, *, most: int = 60) -> list[dict[str, int]]:
    """Look until it is done; the weights that there were."""
    seen = [dict(cutover.weights())]
    answer: Mapping[str, Any] = {}
    for _ in range(most):
        switched = cutover.stage.switch(answer["switch"], Process()) if answer.get("switch") else None
        answer = cutover.look(switched=switched)
        if dict(cutover.weights()) != seen[-1]:
            seen.append(dict(cutover.weights()))
        if answer["next"] not in ("wait", "switch writer"):
            assert answer["next"] == "done", answer
            return seen
        cutover.stage.now += answer["seconds"]
    raise AssertionError(f"not over after {most} looks: {cutover.found().position}")


def test_a_gradual_rollback_takes_the_steps_back_one_by_one(cutover: WholeCutover) -> None:
    returning(cutover, step=2)
    assert cutover.stage.admitting() == ["green"]
    assert to_the_end(cutover) == [
        {"blue": 50, "green": 50},
        {"blue": 99, "green": 1},
        {"blue": 100, "green": 0},
    ]
    assert cutover.stage.admitting() == ["blue"]
    assert cutover.found().phase is Phase.ROLLED_BACK
    assert cutover.stage.told[-2:] == ["Rolling back gradually: blue to green", "Rolled back: blue to green"]
    assert cutover.stage.played.lease_holder() is None
    desired = cutover.stage.played.desired.read()
    assert desired is not None
    assert (dict(desired.weights), desired.writer) == ({"blue": 100, "green": 0}, "blue")


def test_a_gradual_rollback_ends_at_once_when_the_mistrusted_side_turns_bad(cutover: WholeCutover) -> None:
    returning(cutover)
    cutover.look()
    cutover.sick.add("green")
    cutover.stage.now += 60
    answer = cutover.look()
    assert answer["next"] == "roll back"
    assert answer["reason"].startswith("green: ")
    cutover.roll_back()
    assert cutover.weights() == {"blue": 100, "green": 0}


def test_an_alarm_takes_back_at_once_what_a_gradual_rollback_has_left(cutover: WholeCutover) -> None:
    returning(cutover)
    cutover.look()
    assert cutover.weights() == {"blue": 99, "green": 1}
    assert cutover.alarm("green-unhealthy")["rolled_back"]
    assert cutover.weights() == {"blue": 100, "green": 0}
    assert cutover.look()["next"] == "ended"


def test_a_gradual_rollback_that_is_asked_for_again_is_under_way_already(cutover: WholeCutover) -> None:
    returning(cutover)
    cutover.look()
    assert cutover.roll_back(gradual=True)["explanation"] == "cutover cutover-7 goes back step by step already"
    cutover.order("roll back gradually")
    cutover.look()
    [(_, why)] = orders(cutover, "refuse an order")
    assert why == "roll back gradually: the cutover goes back already"


def test_a_gradual_rollback_while_nobody_drives_the_cutover_says_to_go_back_at_once(cutover: WholeCutover) -> None:
    cutover.look()
    cutover.stage.now += 3600
    explanation = cutover.roll_back(gradual=True)["explanation"]
    assert "nobody has looked at cutover cutover-7 for 60 minutes" in explanation
    assert explanation.endswith("take it back at once, without gradual")
    assert cutover.found().order is None


def test_a_gradual_rollback_before_anything_moved_is_an_immediate_one(cutover: WholeCutover) -> None:
    assert cutover.roll_back(gradual=True)["rolled_back"]
    assert cutover.found().phase is Phase.ROLLED_BACK


def test_a_gradual_rollback_of_a_cutover_that_is_over_says_how(cutover: WholeCutover) -> None:
    cutover.look_until("watch", step=3)
    cutover.stage.now += 60
    assert cutover.look()["next"] == "done"
    assert cutover.roll_back(gradual=True)["explanation"] == (
        "cutover cutover-7 is over: begin one from green to blue, or take it back at once, without gradual"
    )
    assert cutover.found().phase is Phase.SUCCEEDED


def test_turning_back_loses_nothing_when_the_call_dies_anywhere() -> None:
    """The order is taken off with the write that exchanges the plan."""
    died = 0
    for moment in range(100):
        cutover = WholeCutover(definition={}, stage=InMemory())
        cutover.begin()
        returning(cutover)
        with suppress(CrashError):
            cutover.look(process=Process(dies_at=moment))
            break
        died += 1
        assert to_the_end(cutover)[-1] == {"blue": 100, "green": 0}
        assert cutover.found().phase is Phase.ROLLED_BACK
    assert died >= 5


# A history has an end.


def test_looks_come_less_often_when_a_cutover_lasts_long(cutover: WholeCutover) -> None:
    cutover.look()
    cutover.stage.played.runs.write(replace(cutover.found(), looks=LOOKS_AT_FULL_PACE))
    assert cutover.look()["seconds"] == SLOWER_SECONDS


def test_a_cutover_ends_before_the_history_of_its_execution_is_full(cutover: WholeCutover) -> None:
    cutover.look()
    cutover.stage.played.runs.write(replace(cutover.found(), looks=MOST_LOOKS))
    answer = cutover.look()
    assert (answer["next"], answer["reason"]) == (
        "roll back",
        "it was looked at 2,400 times, and its execution has no room for more",
    )


# Gates.


def test_people_are_asked_once_what_and_until_when(cutover: WholeCutover) -> None:
    texts: list[str] = []
    world = cutover.stage.world

    def listening(process: Process) -> Any:
        return replace(world(process), tell=lambda subject, text: texts.append(f"{subject}\n{text}"))

    cutover.stage.world = listening
    cutover.look_until("gate")
    for _ in range(5):
        cutover.stage.now += 30
        cutover.look()
    [asked] = texts
    assert asked == (
        "Approval wanted: blue to green\nSwitch the writer?\nWithout an answer the cutover rolls back in 10 min.\n"
        "Approve with: bluegreen approve --cutover cutover-7 --step 3"
    )


def test_a_first_look_that_comes_late_asks_all_the_same() -> None:
    gate = {"question": "Begin?", "timeout_seconds": 600}
    cutover = WholeCutover(definition={}, stage=InMemory())
    cutover.begin(plan={"steps": [{**PLAN["steps"][0], "gate": gate}, *PLAN["steps"][1:]]})
    cutover.stage.now += 1800
    assert cutover.look()["next"] == "wait"
    assert "Approval wanted: blue to green" in cutover.stage.told


def test_health_is_watched_at_a_gate(cutover: WholeCutover) -> None:
    cutover.look_until("gate")
    cutover.firing.add("green-unhealthy")
    answer = cutover.look()
    assert (answer["next"], answer["reason"]) == ("roll back", "green: alarm green-unhealthy is in ALARM")


# What one look leaves to the next.


def test_evidence_is_kept_while_a_step_is_watched_and_begun_anew_with_the_next(cutover: WholeCutover) -> None:
    cutover.look()
    cutover.order("hold")
    for _ in range(3):
        cutover.stage.now += 60
        cutover.look()
    kept = cutover.found().evidence
    assert kept is not None
    assert kept["step"][:2] == [3, 3000]
    cutover.order("resume")
    cutover.look_until("watch", step=1)
    fresh = cutover.found().evidence
    assert fresh is not None
    assert (fresh["environment"], fresh["other"], fresh["step"]) == ("green", "blue", [0] * 5)


def test_only_alarms_of_the_target_are_watched(cutover: WholeCutover) -> None:
    cutover.look()
    evidence = cutover.found().evidence
    assert evidence is not None
    assert evidence["alarms"] == ["green-unhealthy"]


def test_every_look_notes_its_time_and_extends_the_lease(cutover: WholeCutover) -> None:
    for _ in range(60):
        cutover.stage.now += 30
        cutover.order("hold") if cutover.found().position["phase"] == "watch" else None
        cutover.look()
        assert cutover.found().looked_at == cutover.stage.now
        assert cutover.stage.played.lease_holder() == "cutover-7"


def test_going_on_waiting_is_no_entry_in_the_journal(cutover: WholeCutover) -> None:
    cutover.look()
    cutover.look()
    before = len(cutover.journal())
    cutover.look()
    assert len(cutover.journal()) == before


# Others at the same time.


def test_a_look_without_the_lease_changes_nothing(cutover: WholeCutover) -> None:
    cutover.stage.now += 16 * 60
    client = cutover.stage.played.table.client(Process())
    other = Lease(holder="rotation", cutover_id="other", expires_at=int(cutover.stage.now) + 60)
    take_lease(client, table_name="state", lease=other, now=cutover.stage.now)
    before = dict(cutover.stage.played.table.items)
    with pytest.raises(LeaseTakenError, match="held by other"):
        cutover.look()
    assert cutover.stage.played.table.items == before
    assert cutover.weights() == {"blue": 100, "green": 0}


def interleave(cutover: Callable[[], tuple[WholeCutover, Mapping[str, Any] | None]]) -> list[WholeCutover]:
    """A rollback at each call of one look, then looks until the state machine would stop."""
    ends: list[WholeCutover] = []
    for call in range(1000):
        prepared, switched = cutover()
        process = Interrupted(at=call, by=lambda prepared=prepared: prepared.roll_back())  # type: ignore[misc]
        answer = prepared.look(switched=switched, process=process)
        if process.calls <= call:
            return ends
        assert answer["next"] in ("wait", "ended", "switch writer", "roll back", "done"), call
        if answer["next"] == "switch writer":
            outcome = prepared.stage.switch(answer["switch"], Process())
            assert outcome["result"] == "refused", call
        if answer["next"] != "done":
            assert prepared.look()["next"] in ("ended", "done"), call
        ends.append(prepared)
    raise AssertionError("it never ends")


def is_back(cutover: WholeCutover) -> bool:
    desired = cutover.stage.played.desired.read()
    assert desired is not None
    back = ({"blue": 100, "green": 0}, ["blue"], "blue")
    return (cutover.weights(), cutover.stage.admitting(), desired.writer) == back


def begun() -> WholeCutover:
    cutover = WholeCutover(definition={}, stage=InMemory())
    cutover.begin()
    return cutover


def test_a_rollback_during_a_step_has_the_last_word() -> None:
    ends: list[WholeCutover] = interleave(lambda: (begun(), None))
    assert len(ends) >= 20
    assert all(is_back(end) for end in ends)


def test_a_rollback_during_the_note_of_a_switch_has_the_last_word() -> None:
    def prepared() -> tuple[WholeCutover, Mapping[str, Any]]:
        cutover = begun()
        at_the_switch(cutover)
        return cutover, SWITCHED

    ends = interleave(prepared)
    assert len(ends) >= 10
    assert all(is_back(end) for end in ends)


def test_a_rollback_before_the_switch_that_was_asked_for_makes_it_too_late() -> None:
    def prepared() -> tuple[WholeCutover, None]:
        cutover = begun()
        cutover.look_until("gate")
        cutover.order("approve")
        return cutover, None

    assert all(is_back(end) for end in interleave(prepared))


def test_a_rollback_at_the_end_comes_before_it_or_after_it() -> None:
    """Once people were told that it is complete, no rollback by itself takes it back."""

    def prepared() -> tuple[WholeCutover, None]:
        cutover = begun()
        cutover.look_until("watch", step=3)
        cutover.stage.now += 60
        return cutover, None

    for end in interleave(prepared):
        complete = "Complete: blue to green" in end.stage.told
        assert end.found().phase is (Phase.SUCCEEDED if complete else Phase.ROLLED_BACK)
        assert complete is not is_back(end)


def test_others_may_change_the_other_lever_meanwhile(cutover: WholeCutover) -> None:
    desire(cutover.stage.played.desired, by="another", records={"legacy": 0, "aws": 100})
    cutover.look()
    desired = cutover.stage.played.desired.read()
    assert desired is not None
    assert (desired.records, desired.weights) == ({"legacy": 0, "aws": 100}, {"blue": 99, "green": 1})
    assert cutover.weights(Kind.FRONT_DOOR) == {"legacy": 100, "aws": 0}
