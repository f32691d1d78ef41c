"""Plans: the defaults, the document they are read from, and every rule with its message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutover_plan import Direction, Dns, Gate, Plan, PlanError, Pointer, Step, default_plan, describe, parse_plan

DIRECTIONS = list(Direction)
ANY_DIRECTION = st.sampled_from(Direction)


@st.composite
def plans(draw: st.DrawFn, directions: st.SearchStrategy[Direction] = ANY_DIRECTION) -> Plan:
    """Any plan that keeps the rules."""
    direction = draw(directions)
    dns = Dns(ttl_seconds=draw(st.integers(1, 300)), insync_seconds=draw(st.integers(1, 300)))
    if direction.pointer is Pointer.ENVIRONMENT:
        dns = Dns()
    weights = [*sorted(draw(st.sets(st.integers(1, 99), max_size=6))), 100]
    writer_at = {Direction.LEGACY_TO_AWS: 100, Direction.AWS_TO_LEGACY: 0}.get(direction)
    if writer_at is None:
        writer_at = draw(st.sampled_from([0, *weights]))
    writer = [(writer_at, True)] if draw(st.booleans()) else []
    shortest = dns.shortest_watch_seconds if direction.pointer is Pointer.FRONT_DOOR else 1
    steps = []
    for weight, switches in sorted([*((weight, False) for weight in weights), *writer]):
        watch = draw(st.integers(shortest, 7200))
        gate = st.builds(
            Gate,
            question=st.text("Go on? é", min_size=1, max_size=200).filter(str.strip),
            timeout_seconds=st.integers(1, 36_000),
        )
        steps.append(
            Step(
                weight_percent=weight,
                watch_seconds=watch,
                deadline_seconds=watch + draw(st.integers(1, 7200)),
                gate=draw(st.none() | gate),
                switch_writer=switches,
            )
        )
    return Plan(direction=direction, steps=tuple(steps), dns=dns)


def mistakes_of(document: Any, direction: Direction | None = None) -> tuple[str, ...]:
    with pytest.raises(PlanError) as caught:
        parse_plan(document if isinstance(document, str) else json.dumps(document), direction=direction)
    return caught.value.mistakes


def step(weight: int, **more: Any) -> dict[str, Any]:
    return {"weight_percent": weight, **more}


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_an_empty_document_gives_the_default_plan(direction: Direction) -> None:
    assert parse_plan("{}", direction=direction) == default_plan(direction)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        (Direction.BLUE_TO_GREEN, [1, 5, 10, 25, 50, "writer at 50", 100]),
        (Direction.GREEN_TO_BLUE, [1, 5, 10, 25, 50, "writer at 50", 100]),
        (Direction.LEGACY_TO_AWS, [1, 5, 10, 25, 50, 100, "writer at 100"]),
        (Direction.AWS_TO_LEGACY, ["writer at 0", 1, 5, 10, 25, 50, 100]),
    ],
    ids=str,
)
def test_the_default_plan_switches_the_writer_where_both_sides_can_write(
    direction: Direction, expected: list[object]
) -> None:
    steps = default_plan(direction).steps

    assert [f"writer at {s.weight_percent}" if s.switch_writer else s.weight_percent for s in steps] == expected


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_the_default_plan_asks_a_person_before_the_writer_switches_and_only_then(direction: Direction) -> None:
    assert [s.gate is not None for s in default_plan(direction).steps] == [
        s.switch_writer for s in default_plan(direction).steps
    ]


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_without_the_databases_the_default_plan_only_shifts_traffic(direction: Direction) -> None:
    assert [s.weight_percent for s in default_plan(direction, switch_writer=False).steps] == [1, 5, 10, 25, 50, 100]


@given(plans())
def test_a_plan_reads_the_same_after_it_was_written(plan: Plan) -> None:
    assert parse_plan(json.dumps(plan.to_json())) == plan


def test_an_object_that_was_read_already_is_a_document_too() -> None:
    plan = default_plan(Direction.BLUE_TO_GREEN)

    assert parse_plan(plan.to_json()) == plan


def test_what_a_step_leaves_out_has_the_default_of_its_weight() -> None:
    plan = parse_plan('{"steps": [{"weight_percent": 7}, {"weight_percent": 100}]}', direction=Direction.BLUE_TO_GREEN)

    assert plan.steps == (
        Step(weight_percent=7, watch_seconds=900, deadline_seconds=3600),
        Step(weight_percent=100, watch_seconds=1800, deadline_seconds=7200),
    )


def test_an_empty_gate_asks_the_default_question() -> None:
    plan = parse_plan('{"steps": [{"weight_percent": 100, "gate": {}}]}', direction=Direction.BLUE_TO_GREEN)

    assert plan.steps[0].gate == Gate(question="Give green 100 % of the requests?", timeout_seconds=7200)


def test_all_mistakes_are_reported_at_once() -> None:
    document = {
        "from": "blue",
        "to": "legacy",
        "steps": [
            step(5, watch_seconds=9, deadline_seconds=9),
            step(4, switch_writer=True),
            step("x", gate={"question": "a\nb", "ask": 1}),  # type: ignore[arg-type]
            7,
            step(50, switch_writer=True),
        ],
        "dns": {"ttl_seconds": 0},
        "more": 1,
    }

    assert [line.split(", allowed: ")[0] for line in mistakes_of(document)] == [
        'to: "legacy"',
        'dns: {"ttl_seconds": 0}',
        "steps[3]: 7",
        'steps[2].weight_percent: "x"',
        'steps[2].gate.question: "a\\nb"',
        "steps[2].gate.ask: unknown key",
        "more: unknown key",
        "steps[0].deadline_seconds: 9",
        "steps[1].weight_percent: 4",
        "steps[4].weight_percent: 50",
        "steps[4].switch_writer: true",
    ]


@pytest.mark.parametrize(
    ("document", "direction", "mistake"),
    [
        ("{", Direction.BLUE_TO_GREEN, "plan: no JSON at line 1, column 2"),
        ("[]", Direction.BLUE_TO_GREEN, "plan: [], allowed: a JSON object"),
        ({}, None, "from: missing, allowed: aws or blue or green or legacy"),
        ({"from": "blue", "to": "aws"}, None, 'to: "aws", allowed: green, the neighbour of blue'),
        (
            {"from": "blue", "to": "green"},
            Direction.GREEN_TO_BLUE,
            "from, to: blue to green, allowed: green to blue, which was asked for",
        ),
        ({"steps": []}, Direction.BLUE_TO_GREEN, "steps: [], allowed: a list of 1 to 50 JSON objects"),
        (
            {"steps": [step(101)]},
            Direction.BLUE_TO_GREEN,
            "steps[0].weight_percent: 101, allowed: a whole number from 0",
        ),
        (
            {"steps": [step(0), step(100)]},
            Direction.BLUE_TO_GREEN,
            "steps[0].weight_percent: 0, allowed: a whole number",
        ),
        (
            {"steps": [step(5), step(5), step(100)]},
            Direction.BLUE_TO_GREEN,
            "steps[1].weight_percent: 5, allowed: a whole number from 6 to 100, because the weights rise",
        ),
        (
            {"steps": [step(100), step(100)]},
            Direction.BLUE_TO_GREEN,
            "steps[1].weight_percent: 100, allowed: 100, because the weights rise",
        ),
        ({"steps": [step(99)]}, Direction.BLUE_TO_GREEN, "steps[0].weight_percent: 99, allowed: 100, in the last step"),
        (
            {"steps": [step(100, watch_seconds=60, deadline_seconds=60)]},
            Direction.BLUE_TO_GREEN,
            "steps[0].deadline_seconds: 60, allowed: a whole number from 61 (longer than watch_seconds) to 432,000",
        ),
        (
            {"steps": [step(50, switch_writer=True), step(100, switch_writer=True)]},
            Direction.BLUE_TO_GREEN,
            "steps[1].switch_writer: true, allowed: false, because steps[0] switches it",
        ),
        (
            {"steps": [step(100, watch_seconds=179)]},
            Direction.LEGACY_TO_AWS,
            "steps[0].watch_seconds: 179, allowed: a whole number from 180 to 432,000, because old DNS answers live "
            "for 2 x 60 s TTL + 60 s INSYNC",
        ),
        (
            {"steps": [step(50, switch_writer=True), step(100)]},
            Direction.LEGACY_TO_AWS,
            "steps[0].switch_writer: true at the weight 50, allowed: at the weight 100 from legacy to aws, because the "
            "legacy system cannot write to another database",
        ),
        (
            {"steps": [step(100), step(100, switch_writer=True)]},
            Direction.AWS_TO_LEGACY,
            "steps[1].switch_writer: true at the weight 100, allowed: at the weight 0 from aws to legacy",
        ),
        ({"dns": {"ttl_seconds": 0}}, Direction.LEGACY_TO_AWS, "dns.ttl_seconds: 0, allowed: a whole number from 1"),
        ({"dns": {}}, Direction.BLUE_TO_GREEN, "dns: {}, allowed: nothing, because the weights of environments"),
        (
            {"steps": [step(100, gate={"timeout_seconds": 0})]},
            Direction.BLUE_TO_GREEN,
            "steps[0].gate.timeout_seconds: 0, allowed: a whole number from 1 to 432,000",
        ),
    ],
)
def test_a_broken_rule_is_reported_with_key_value_and_what_is_allowed(
    document: Any, direction: Direction | None, mistake: str
) -> None:
    assert any(line.startswith(mistake) for line in mistakes_of(document, direction)), mistakes_of(document, direction)


def test_a_plan_made_in_code_keeps_the_same_rules() -> None:
    bad = Step(weight_percent=120, watch_seconds=0, deadline_seconds=0, gate=Gate(question=" ", timeout_seconds=0))

    with pytest.raises(PlanError) as caught:
        Plan(direction=Direction.BLUE_TO_GREEN, steps=(bad,), dns=Dns(ttl_seconds=0))

    assert [line.split(":")[0] for line in caught.value.mistakes] == [
        "dns.ttl_seconds",
        "steps[0].weight_percent",
        "steps[0].watch_seconds",
        "steps[0].deadline_seconds",
        "steps[0].gate.question",
        "steps[0].gate.timeout_seconds",
        "steps[0].weight_percent",
    ]


@given(
    st.dictionaries(
        st.sampled_from(["from", "to", "steps", "dns", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["weight_percent", "watch_seconds", "gate", "switch_writer", "ttl_seconds"]), inner
                )
            ),
            max_leaves=8,
        ),
    ),
    st.none() | st.sampled_from(Direction),
)
def test_any_document_is_a_plan_or_refused_with_single_lines(
    document: dict[str, Any], direction: Direction | None
) -> None:
    mistakes: tuple[str, ...] = ("none, allowed: that",)
    try:
        parse_plan(json.dumps(document), direction=direction)
    except PlanError as error:
        mistakes = error.mistakes

    assert mistakes
    assert all(len(line.splitlines()) == 1 and ", allowed: " in line for line in mistakes)


@given(plans(st.sampled_from([Direction.LEGACY_TO_AWS, Direction.AWS_TO_LEGACY])))
def test_no_dns_step_is_shorter_than_two_lives_of_an_answer_and_the_change(plan: Plan) -> None:
    assert all(s.watch_seconds >= 2 * plan.dns.ttl_seconds + plan.dns.insync_seconds for s in plan.steps)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_the_way_back_has_the_roles_exchanged(direction: Direction) -> None:
    back = direction.exchanged

    assert (back.source, back.target, back.writer_source, back.writer_target, back.exchanged) == (
        direction.target,
        direction.source,
        direction.writer_target,
        direction.writer_source,
        direction,
    )


def test_the_writer_goes_from_the_legacy_database_to_its_neighbour_blue() -> None:
    assert (Direction.LEGACY_TO_AWS.writer_source, Direction.LEGACY_TO_AWS.writer_target) == ("legacy", "blue")


def test_the_durations_of_the_default_plan() -> None:
    plan = default_plan(Direction.BLUE_TO_GREEN)

    assert (plan.shortest_seconds, plan.longest_seconds) == (3 * 3600, 14 * 3600)


def test_little_traffic_makes_the_expected_duration_longer() -> None:
    plan = default_plan(Direction.BLUE_TO_GREEN)

    # A request a second: 432 of them take 43,200 s at 1 %, 8,640 at 5 %, 4,320 at 10 %, and no longer than the
    # watch of the steps after that, but for 1,728 s at 25 %.
    assert plan.expected_seconds(requests_per_second=1, requests_to_show_health=432) == (
        43_200 + 8_640 + 4_320 + 1_728 + 1_800 + 900 + 1_800
    )


def test_the_plan_is_described_in_words() -> None:
    plan = parse_plan(
        {
            "steps": [
                step(10, watch_seconds=600),
                step(10, switch_writer=True, watch_seconds=60, gate={"question": "Go?", "timeout_seconds": 600}),
                step(100, watch_seconds=90),
            ]
        },
        direction=Direction.BLUE_TO_GREEN,
    )

    assert describe(plan, requests_per_second=14, requests_to_show_health=430).splitlines() == [
        "From blue to green: 3 steps, at least 12 min 30 s, at most 1 h.",
        "At 14 requests a second about 16 min 37 s are expected, besides the time that approvals take.",
        "1. 10 % of the requests to green; watch for 10 min, deadline 40 min.",
        '2. Ask "Go?" and roll back without an answer in 10 min; the writer switches from blue to green; watch for '
        "1 min, deadline 4 min.",
        "3. 100 % of the requests to green; watch for 1 min 30 s, deadline 6 min.",
        "A step ends when its time is over and health is shown. Whatever is not known holds; at the deadline, beyond "
        "a hard limit, or when green is shown to be bad, everything goes back to blue.",
    ]


def test_a_front_door_plan_is_described_with_its_dns_and_without_a_switch_of_the_writer() -> None:
    plan = default_plan(Direction.LEGACY_TO_AWS, switch_writer=False)

    assert describe(plan).splitlines()[-3:-1] == [
        "The writer stays where it is.",
        "DNS answers live for 60 s, so that each step is watched for at least 3 min.",
    ]


@given(plans())
def test_any_plan_is_described_step_by_step(plan: Plan) -> None:
    lines = describe(plan).splitlines()

    assert sum(line.lstrip()[0].isdigit() for line in lines) == len(plan.steps)


def test_a_plan_that_outlasts_the_history_of_an_execution_is_refused() -> None:
    step = {"watch_seconds": 3600, "deadline_seconds": 150_000}
    with pytest.raises(PlanError) as refused:
        parse_plan(
            {"steps": [{"weight_percent": weight, **step} for weight in (1, 10, 100)]},
            direction=Direction.BLUE_TO_GREEN,
        )
    assert refused.value.mistakes == (
        "steps: 450,000 s with every deadline_seconds and gate.timeout_seconds used up, allowed: 432,000 s, because an "
        "execution of the state machine has room for so many looks",
    )
