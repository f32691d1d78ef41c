"""Which step comes next: forward only on health for long enough, or by a person."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutover_plan import (
    Action,
    AskApproval,
    Complete,
    Direction,
    Gate,
    Order,
    OrderError,
    OrderKind,
    Phase,
    Plan,
    Position,
    PositionError,
    RollBack,
    SetWeights,
    Step,
    SwitchWriter,
    WaitForDns,
    Watch,
    check_order,
    completed,
    deadline_over,
    decide,
    default_plan,
    immediate_rollback,
    rollback_plan,
    start,
)
from verdict import Outcome

PLAN = Plan(
    direction=Direction.BLUE_TO_GREEN,
    steps=(
        Step(weight_percent=10, watch_seconds=100, deadline_seconds=300),
        Step(
            weight_percent=10,
            watch_seconds=50,
            deadline_seconds=200,
            gate=Gate(question="Switch?", timeout_seconds=600),
            switch_writer=True,
        ),
        Step(weight_percent=100, watch_seconds=60, deadline_seconds=240),
    ),
)
PASS, HOLD, ROLL_BACK = Outcome.PASS, Outcome.HOLD, Outcome.ROLL_BACK


def order(kind: OrderKind, step: int, *, automatic: bool = False) -> Order:
    return Order(kind=kind, step=step, actor="alice", automatic=automatic)


def at(step: int, phase: Phase, *, since: int = 1000, held: int | None = None) -> Position:
    return Position(step=step, phase=phase, since_seconds=since, held_since_seconds=held)


positions = st.builds(
    at,
    st.integers(0, 2),
    st.sampled_from(Phase),
    since=st.integers(900, 1100),
    held=st.none() | st.integers(1000, 1100),
).filter(
    lambda each: (
        not (each.phase is Phase.GATE and each.step != 1) and not (each.phase is Phase.SWITCH and each.step != 1)
    )
)


def test_a_whole_cutover_does_one_thing_after_the_other() -> None:
    done: list[Action] = []
    position, now, given_order = start(PLAN, now_seconds=0), 0, None
    while not (done and isinstance(done[-1], Complete)):
        decision = decide(PLAN, position, now_seconds=now, outcome=PASS, order=given_order)
        given_order, position = None, decision.position
        if not done or type(decision.action) is not type(done[-1]):
            done.append(decision.action)
        if isinstance(decision.action, SetWeights | SwitchWriter):
            position = completed(PLAN, position, now_seconds=now)
        if isinstance(decision.action, AskApproval):
            given_order = order(OrderKind.APPROVE, position.step)
        now += 10

    assert [type(action).__name__ for action in done] == [
        "SetWeights",
        "Watch",
        "AskApproval",
        "SetWeights",
        "SwitchWriter",
        "Watch",
        "SetWeights",
        "Watch",
        "Complete",
    ]


@pytest.mark.parametrize(
    ("outcome", "elapsed", "expected"),
    [
        (PASS, 0, Watch(shortest_left_seconds=100, deadline_left_seconds=300)),
        (PASS, 99, Watch(shortest_left_seconds=1, deadline_left_seconds=201)),
        (PASS, 100, AskApproval(question="Switch?", timeout_left_seconds=600)),
        (PASS, 5000, AskApproval(question="Switch?", timeout_left_seconds=600)),
        (HOLD, 100, Watch(shortest_left_seconds=0, deadline_left_seconds=200)),
        (HOLD, 299, Watch(shortest_left_seconds=0, deadline_left_seconds=1)),
        (HOLD, 300, RollBack()),
        (ROLL_BACK, 0, RollBack()),
    ],
)
def test_a_watched_step_goes_on_only_with_health_and_after_its_time(
    outcome: Outcome, elapsed: int, expected: Action
) -> None:
    decision = decide(PLAN, at(0, Phase.WATCH), now_seconds=1000 + elapsed, outcome=outcome)

    assert decision.action == expected


def test_the_last_step_completes_the_cutover() -> None:
    decision = decide(PLAN, at(2, Phase.WATCH), now_seconds=1060, outcome=PASS)

    assert (decision.action, decision.position.phase) == (Complete(), Phase.COMPLETE)


@pytest.mark.parametrize("outcome", [PASS, HOLD])
def test_a_gate_waits_for_a_person_whatever_the_health(outcome: Outcome) -> None:
    decision = decide(PLAN, at(1, Phase.GATE), now_seconds=1599, outcome=outcome)

    assert decision.action == AskApproval(question="Switch?", timeout_left_seconds=1)


def test_a_gate_without_an_answer_rolls_back() -> None:
    assert decide(PLAN, at(1, Phase.GATE), now_seconds=1600, outcome=PASS).action == RollBack()


def test_an_approval_that_comes_too_late_approves_nothing() -> None:
    late = decide(PLAN, at(1, Phase.GATE), now_seconds=1600, outcome=PASS, order=order(OrderKind.APPROVE, 1))

    assert late.action == RollBack()


def test_an_approval_sets_the_weight_of_the_step() -> None:
    approved = decide(PLAN, at(1, Phase.GATE), now_seconds=1100, outcome=HOLD, order=order(OrderKind.APPROVE, 1))

    assert (approved.action, approved.reason) == (
        SetWeights(weight_percent=10),
        "approved by alice; step 2: 10 % to green",
    )


def test_a_person_may_promote_before_the_time_is_over() -> None:
    promoted = decide(PLAN, at(1, Phase.WATCH), now_seconds=1001, outcome=HOLD, order=order(OrderKind.PROMOTE, 1))

    assert (promoted.action, promoted.reason) == (
        SetWeights(weight_percent=100),
        "step 2 promoted by alice; step 3: 100 % to green",
    )


@pytest.mark.parametrize("kind", [OrderKind.APPROVE, OrderKind.PROMOTE, OrderKind.RESUME])
def test_a_program_cannot_give_an_order_that_goes_forward(kind: OrderKind) -> None:
    with pytest.raises(OrderError, match=f"{kind.value}: asked for by alice, allowed: a person; a program may hold"):
        order(kind, 0, automatic=True)


@pytest.mark.parametrize("kind", [OrderKind.HOLD, OrderKind.ABORT])
def test_a_program_may_hold_and_abort(kind: OrderKind) -> None:
    assert order(kind, 0, automatic=True).automatic


def test_an_order_has_a_name_to_it() -> None:
    with pytest.raises(OrderError, match="actor: ' ', allowed: the name of who gives the order"):
        Order(kind=OrderKind.HOLD, step=0, actor=" ", automatic=False)


@pytest.mark.parametrize(
    ("given_order", "position", "message"),
    [
        (order(OrderKind.APPROVE, 0), at(1, Phase.GATE), "approve: for step 1, allowed: for step 2, which is due"),
        (order(OrderKind.APPROVE, 0), at(0, Phase.WATCH), "approve: in the phase watch, allowed: in gate"),
        (order(OrderKind.PROMOTE, 1), at(1, Phase.GATE), "promote: in the phase gate, allowed: in watch"),
        (order(OrderKind.HOLD, 1), at(1, Phase.SWITCH), "hold: in the phase switch, allowed: in gate or watch"),
        (order(OrderKind.RESUME, 0), at(0, Phase.WATCH), "resume: the cutover is not held, allowed: after hold"),
        (order(OrderKind.HOLD, 2), at(2, Phase.COMPLETE), "hold: the cutover is complete, allowed: abort"),
    ],
)
def test_an_order_that_does_not_fit_is_refused_and_changes_nothing(
    given_order: Order, position: Position, message: str
) -> None:
    with pytest.raises(OrderError, match=message):
        check_order(PLAN, position, given_order)
    decision = decide(PLAN, position, now_seconds=1010, outcome=HOLD, order=given_order)
    without = decide(PLAN, position, now_seconds=1010, outcome=HOLD)

    assert decision.refused is not None
    assert (decision.action, decision.position) == (without.action, without.position)


def test_a_hold_stops_the_clocks_until_it_ends() -> None:
    held = decide(PLAN, at(0, Phase.WATCH), now_seconds=1040, outcome=PASS, order=order(OrderKind.HOLD, 0))
    much_later = decide(PLAN, held.position, now_seconds=9000, outcome=PASS)
    resumed = decide(PLAN, much_later.position, now_seconds=9000, outcome=PASS, order=order(OrderKind.RESUME, 0))

    expected = Watch(shortest_left_seconds=60, deadline_left_seconds=260)
    assert [each.action for each in (held, much_later, resumed)] == [expected] * 3


def test_a_held_cutover_still_rolls_back_when_it_is_not_healthy() -> None:
    held = at(0, Phase.WATCH, held=1040)

    assert decide(PLAN, held, now_seconds=2000, outcome=ROLL_BACK).action == RollBack()


@given(positions, st.integers(900, 3000), st.none() | st.sampled_from(OrderKind), st.integers(0, 2))
def test_a_verdict_to_roll_back_wins_over_every_order(
    position: Position, now: int, kind: OrderKind | None, step: int
) -> None:
    given_order = None if kind is None else order(kind, step)
    action = decide(PLAN, position, now_seconds=now, outcome=ROLL_BACK, order=given_order).action

    assert isinstance(action, RollBack) or (position.phase is Phase.COMPLETE and isinstance(action, Complete))


@given(
    positions, st.integers(900, 3000), st.none() | st.sampled_from([OrderKind.HOLD, OrderKind.ABORT]), st.integers(0, 2)
)
def test_without_shown_health_no_program_ever_moves_to_another_step(
    position: Position, now: int, kind: OrderKind | None, step: int
) -> None:
    given_order = None if kind is None else order(kind, step, automatic=True)
    decision = decide(PLAN, position, now_seconds=now, outcome=HOLD, order=given_order)

    assert (decision.position.step, decision.position.phase) == (position.step, position.phase)


@given(positions, st.integers(900, 3000))
def test_health_alone_never_shortens_a_watch(position: Position, now: int) -> None:
    decision = decide(PLAN, position, now_seconds=now, outcome=PASS)

    if position.phase is Phase.WATCH and decision.position != position:
        assert now - position.since_seconds >= PLAN.steps[position.step].watch_seconds


@given(positions)
def test_a_position_reads_the_same_after_it_was_written(position: Position) -> None:
    assert Position.from_json(json.loads(json.dumps(position.to_json()))) == position


def test_a_position_that_is_none_is_refused_with_every_mistake() -> None:
    with pytest.raises(PositionError) as caught:
        Position.from_json({"step": -1, "phase": "x", "since_seconds": None, "held_since_seconds": "y", "more": 1})

    assert [line.split(":")[0] for line in caught.value.mistakes] == [
        "step",
        "phase",
        "since_seconds",
        "held_since_seconds",
        "more",
    ]


@pytest.mark.parametrize("phase", [Phase.GATE, Phase.WATCH, Phase.COMPLETE])
def test_where_nothing_is_changed_nothing_is_completed(phase: Phase) -> None:
    with pytest.raises(ValueError, match=f"phase: {phase.value}, allowed: shift or switch, which change something"):
        completed(PLAN, at(1, phase), now_seconds=1000)


@pytest.mark.parametrize(
    ("position", "now", "over"),
    [
        (at(0, Phase.WATCH), 1299, False),
        (at(0, Phase.WATCH), 1300, True),
        (at(0, Phase.WATCH, held=1010), 9000, False),
        (at(1, Phase.GATE), 9000, False),
    ],
)
def test_the_deadline_is_that_of_the_watch_and_stands_still_while_held(
    position: Position, now: int, over: bool
) -> None:
    assert deadline_over(PLAN, position, now_seconds=now) is over


BACK = [
    # Where the cutover stands, and the weights of the way back; "w" is the switch of the writer.
    (0, Phase.SHIFT, ["100"]),
    (0, Phase.WATCH, ["100"]),
    (1, Phase.SHIFT, ["99", "100"]),
    (3, Phase.WATCH, ["90", "95", "99", "100"]),
    (5, Phase.GATE, ["75", "90", "95", "99", "100"]),
    (5, Phase.SHIFT, ["75", "90", "95", "99", "100"]),
    (5, Phase.SWITCH, ["w50", "75", "90", "95", "99", "100"]),
    (5, Phase.WATCH, ["w50", "75", "90", "95", "99", "100"]),
    (6, Phase.SHIFT, ["50", "w50", "75", "90", "95", "99", "100"]),
    (6, Phase.COMPLETE, ["50", "w50", "75", "90", "95", "99", "100"]),
]


@pytest.mark.parametrize(("step", "phase", "expected"), BACK)
def test_a_gradual_rollback_takes_every_change_back_the_last_one_first(
    step: int, phase: Phase, expected: list[str]
) -> None:
    back = rollback_plan(default_plan(Direction.BLUE_TO_GREEN), at(step, phase))

    assert [f"{'w' * each.switch_writer}{each.weight_percent}" for each in back.steps] == expected


@pytest.mark.parametrize("direction", [Direction.LEGACY_TO_AWS, Direction.AWS_TO_LEGACY], ids=str)
def test_on_the_way_back_the_legacy_system_has_no_traffic_while_it_cannot_write(direction: Direction) -> None:
    plan = default_plan(direction)
    back = rollback_plan(plan, at(len(plan.steps) - 1, Phase.COMPLETE))
    (writer,) = [each for each in back.steps if each.switch_writer]

    assert writer.weight_percent == (0 if back.direction is Direction.AWS_TO_LEGACY else 100)


@pytest.mark.parametrize("direction", list(Direction), ids=str)
def test_every_position_of_every_default_plan_has_a_way_back_that_asks_nobody(direction: Direction) -> None:
    plan = default_plan(direction)
    for step, phase in itertools.product(range(len(plan.steps)), Phase):
        back = rollback_plan(plan, at(step, phase))

        assert (back.direction, back.steps[-1].weight_percent) == (direction.exchanged, 100)
        assert not any(each.gate for each in back.steps)


def test_a_rollback_that_is_rolled_back_arrives_where_the_cutover_was_going() -> None:
    plan = default_plan(Direction.BLUE_TO_GREEN)
    back = rollback_plan(plan, at(6, Phase.COMPLETE))
    forth = rollback_plan(back, at(len(back.steps) - 1, Phase.COMPLETE))

    assert (forth.direction, [(each.weight_percent, each.switch_writer) for each in forth.steps]) == (
        plan.direction,
        [(each.weight_percent, each.switch_writer) for each in plan.steps],
    )


WEIGHTS = SetWeights(weight_percent=0)


@pytest.mark.parametrize(
    ("direction", "step", "phase", "expected"),
    [
        (Direction.BLUE_TO_GREEN, 3, Phase.WATCH, (WEIGHTS,)),
        (Direction.BLUE_TO_GREEN, 5, Phase.SHIFT, (WEIGHTS,)),
        (Direction.BLUE_TO_GREEN, 5, Phase.SWITCH, (WEIGHTS, SwitchWriter(source="green", target="blue"))),
        (Direction.GREEN_TO_BLUE, 6, Phase.WATCH, (WEIGHTS, SwitchWriter(source="blue", target="green"))),
        (Direction.LEGACY_TO_AWS, 5, Phase.WATCH, (WEIGHTS,)),
        (Direction.LEGACY_TO_AWS, 6, Phase.WATCH, (SwitchWriter(source="blue", target="legacy"), WEIGHTS)),
        (
            Direction.AWS_TO_LEGACY,
            2,
            Phase.WATCH,
            (WEIGHTS, WaitForDns(seconds=180), SwitchWriter(source="legacy", target="blue")),
        ),
    ],
)
def test_rolling_back_at_once_keeps_the_order_in_which_every_side_can_write(
    direction: Direction, step: int, phase: Phase, expected: tuple[object, ...]
) -> None:
    assert immediate_rollback(default_plan(direction), at(step, phase)) == expected
