"""Beginning a cutover: all reasons at once or none, once only, and nothing left behind by a refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from cutover_plan import Direction, parse_plan
from cutover_preflight.begin import Answer, World, begin, kind_of, rehearse
from cutover_preflight.checks import Facts, Limits
from cutover_preflight.look import Databases, Sources, look
from cutover_state.layout import StateUnreadableError
from cutover_state.lease import Lease, take_lease
from cutover_state.levers import Kind
from cutover_state.run import Phase
from database_access.errors import DatabaseUnreachableError
from observation.alarms import AlarmsUnreadableError
from observation.environments import EnvironmentUnreadableError, Service, Targets
from observation.replication import ReplicationUnreadableError, Task
from observation.rotations import Rotation, RotationUnreadableError
from tests.support.effects import Interrupted, Process
from tests.support.played_cutover import PlayedCutover
from tests.support.whole_cutover import PLAN
from traffic.weights import TrafficError
from verdict import Settings

HOUR = 3600.0


@dataclass
class Ground:
    """A cutover in memory, and what the preflight's other sources say.

    Attributes:
        sources: those that a test replaces.
        told: subject and text.
    """

    played: PlayedCutover = field(default_factory=PlayedCutover)
    sources: dict[str, Any] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)
    verdict: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        self.played.adopt()

    def world(self, process: Process | None = None) -> World:
        world = self.played.world(process)

        def facts(direction: Direction) -> Facts:
            targets = Targets(healthy=2, registered=2)
            service = Service(desired=2, running=2, deploying=False)
            sources = Sources(
                levers=world.levers,
                desired=world.desired.read,
                run=world.runs.read,
                databases=lambda: Databases(admitting=("blue",), unreachable=(), differences=()),
                alarms=lambda _: {"green-unhealthy": "OK"},
                targets=lambda: {"blue": targets, "green": targets},
                services=lambda: {"blue": service, "green": service},
                tasks=lambda: (Task(identifier="task", status="running", lag_seconds=1, validation_failures=0),),
                rotations=lambda: (),
                owed_restarts=lambda: False,
                dns_ttl_seconds=lambda: 60,
                now=lambda: self.played.now,
            )
            sources = replace(sources, **self.sources)
            return look(sources, direction, kind=kind_of(direction), cutover_id="cutover-7")

        return World(
            runs=world.runs,
            look=facts,
            verdict=self.verdict,
            limits=Limits(),
            lease=world.lease,
            release=world.release,
            tell=lambda subject, text: self.told.append((subject, text)),
            journal=world.journal,
            now=lambda: self.played.now,
        )

    def begin(self, process: Process | None = None, **changes: Any) -> Answer:
        direction = changes.pop("direction", Direction.BLUE_TO_GREEN)
        return begin(
            self.world(process),
            parse_plan(changes.pop("plan", PLAN), direction=direction),
            **{
                "cutover_id": "cutover-7",
                "requested_by": "ada",
                "execution_arn": "execution",
                "details": {"recovery_point": False},
                **changes,
            },
        )


@pytest.fixture
def ground() -> Ground:
    return Ground()


def raising(error: Exception) -> Callable[..., Any]:
    def read(*_: object) -> Any:
        raise error

    return read


def test_with_nothing_against_it_a_cutover_begins(ground: Ground) -> None:
    assert ground.begin() == Answer(begun=True, cutover_id="cutover-7", reasons=())
    run = ground.played.runs.read()
    assert run is not None
    assert (run.phase, run.source, run.target, run.kind) == (Phase.PREPARING, "blue", "green", "environment")
    assert (run.requested_by, run.execution_arn, run.writer_after) == ("ada", "execution", "green")
    assert run.before == {"weights": {"blue": 100, "green": 0}, "writer": "blue"}
    assert run.verdict == ground.verdict.to_json()
    assert ground.played.lease_holder() == "cutover-7"
    [entry] = ground.played.entries()
    assert (entry.what, entry.who, entry.before) == ("begin", "ada", run.before)
    assert [subject for subject, _ in ground.told] == ["Begun: blue to green"]


def test_a_cutover_of_the_front_door_can_be_taken_back_to_what_was_before(ground: Ground) -> None:
    times = {"watch_seconds": 180, "deadline_seconds": 900}
    plan = {"steps": [{"weight_percent": 100, **times}]}
    assert ground.begin(direction=Direction.LEGACY_TO_AWS, plan=plan).begun
    run = ground.played.runs.read()
    assert run is not None
    assert (run.before["weights"], run.writer_after) == ({"legacy": 100, "aws": 0}, "blue")


def test_a_plan_that_expects_resolvers_to_forget_faster_than_they_do_is_refused(ground: Ground) -> None:
    times = {"watch_seconds": 180, "deadline_seconds": 900}
    plan = {"steps": [{"weight_percent": 100, **times}]}
    ground.sources = {"dns_ttl_seconds": lambda: 300}
    assert ground.begin(direction=Direction.LEGACY_TO_AWS, plan=plan).reasons == (
        "the plan's dns.ttl_seconds is 60 and the records have a TTL of 300 s: give that to the plan, or lower the TTL "
        "and wait until the old one is over",
    )


def test_the_records_do_not_concern_a_cutover_between_environments(ground: Ground) -> None:
    ground.sources = {"dns_ttl_seconds": raising(AssertionError("read"))}
    assert ground.begin().begun


def test_every_reason_is_given_at_once(ground: Ground) -> None:
    ground.sources = {
        "databases": lambda: Databases(admitting=("green",), unreachable=("blue",), differences=("green alone has x",)),
        "alarms": lambda _: {"green-unhealthy": "ALARM", "blue-unhealthy": "INSUFFICIENT_DATA"},
        "targets": raising(EnvironmentUnreadableError("the targets of blue cannot be read: 403")),
        "services": lambda: {
            "blue": Service(desired=3, running=3, deploying=False),
            "green": Service(desired=2, running=1, deploying=True),
        },
        "tasks": lambda: (Task(identifier="task", status="stopped", lag_seconds=None, validation_failures=None),),
        "rotations": lambda: (Rotation(secret="admin", under_way=True, next_at=ground.played.now + HOUR),),
        "owed_restarts": lambda: True,
    }
    ground.verdict = Settings(period_seconds=30)
    answer = ground.begin()
    assert not answer.begun
    expected = [
        "the targets of blue cannot be read: 403",
        "database blue does not answer",
        "green admits writers, and only blue should",
        "schemas differ: green alone has x",
        "alarm blue-unhealthy has no data",
        "alarm green-unhealthy is firing already",
        "a deployment of green is in progress",
        "green runs 1 of 2 tasks",
        "green runs 1 tasks and blue 3",
        "replication task is stopped",
        "the rotation of admin is under way",
        "the rotation of admin is due in 1.0 h",
        "a rotation still has to restart replication tasks",
        "the verdict's period_seconds is 30",
    ]
    assert len(answer.reasons) == len(expected)
    for reason, start in zip(answer.reasons, expected, strict=True):
        assert reason.startswith(start)
    [(subject, text)] = ground.told
    assert subject == "Not begun: blue to green"
    assert all(reason in text for reason in answer.reasons)


def test_a_refusal_leaves_no_run_and_no_lease_behind_but_is_in_the_journal(ground: Ground) -> None:
    ground.sources = {"owed_restarts": lambda: True}
    ground.begin()
    assert (ground.played.runs.read(), ground.played.lease_holder()) == (None, None)
    [entry] = ground.played.entries()
    assert (entry.what, entry.who) == ("refuse to begin", "ada")
    ground.sources = {}
    assert ground.begin(cutover_id="cutover-8").begun


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("alarms", AlarmsUnreadableError("alarms")),
        ("targets", EnvironmentUnreadableError("targets")),
        ("services", EnvironmentUnreadableError("services")),
        ("tasks", ReplicationUnreadableError("tasks")),
        ("rotations", RotationUnreadableError("rotations")),
        ("owed_restarts", EndpointConnectionError(endpoint_url="dynamodb")),
        ("databases", DatabaseUnreachableError("databases")),
        ("desired", StateUnreadableError("desired")),
        ("run", StateUnreadableError("run")),
    ],
)
def test_what_cannot_be_read_is_a_reason(ground: Ground, source: str, error: Exception) -> None:
    ground.sources = {source: raising(error)}
    answer = ground.begin()
    assert not answer.begun
    assert any(reason.startswith(f"{error}; what cannot be seen") for reason in answer.reasons)
    assert ground.played.lease_holder() is None


def test_weights_that_cannot_be_read_are_a_reason(ground: Ground) -> None:
    class Broken:
        sides = ("blue", "green")

        def read(self) -> dict[str, int]:
            raise TrafficError("listener rule cannot be read")

        def write(self, wanted: object) -> None:
            raise AssertionError("a preflight writes nothing")

    ground.sources = {"levers": {Kind.ENVIRONMENT: Broken()}}
    assert ground.begin().reasons == ("listener rule cannot be read; what cannot be seen cannot be judged",)


def test_without_a_desired_state_nothing_begins(ground: Ground) -> None:
    del ground.played.table.items["DESIRED", "current"]
    [reason] = ground.begin().reasons
    assert reason.startswith("the desired state is not known yet")


def test_a_fault_of_ours_does_not_keep_the_lease(ground: Ground) -> None:
    ground.sources = {"tasks": raising(ZeroDivisionError("ours"))}
    with pytest.raises(ZeroDivisionError):
        ground.begin()
    assert ground.played.lease_holder() is None


def test_the_same_cutover_begins_once_however_often_it_is_asked_for(ground: Ground) -> None:
    ground.begin()
    before, told = dict(ground.played.table.items), list(ground.told)
    assert ground.begin() == Answer(begun=True, cutover_id="cutover-7", reasons=())
    assert (ground.played.table.items, ground.told) == (before, told)


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.ROLLED_BACK])
def test_a_cutover_that_is_over_does_not_begin_again(ground: Ground, phase: Phase) -> None:
    ground.begin()
    run = ground.played.runs.read()
    assert run is not None
    ground.played.runs.write(replace(run, phase=phase))
    assert not ground.begin().begun


def test_while_another_is_not_over_none_begins(ground: Ground) -> None:
    ground.begin()
    answer = ground.begin(cutover_id="cutover-8")
    assert not answer.begun
    assert answer.reasons[0].startswith("the lease is held by cutover-7")
    assert ground.played.lease_holder() == "cutover-7"


def test_with_the_lease_taken_the_other_reasons_are_given_all_the_same(ground: Ground) -> None:
    client = ground.played.table.client(Process())
    lease = Lease(holder="rotation", cutover_id="other", expires_at=int(ground.played.now) + 60)
    take_lease(client, table_name="state", lease=lease, now=ground.played.now)
    ground.sources = {"owed_restarts": lambda: True}
    first, second = ground.begin().reasons
    assert (first.startswith("the lease is held"), second.startswith("a rotation still")) == (True, True)
    assert ground.played.lease_holder() == "other"


def test_of_two_that_begin_at_once_one_does(ground: Ground) -> None:
    """Its lease had run out, so that the other one took it, at each call of the first."""
    for call in range(100):
        ground = Ground()
        answers: list[Answer] = []

        def other(ground: Ground = ground, answers: list[Answer] = answers) -> None:
            ground.played.now += 16 * 60
            answers.append(ground.begin(cutover_id="cutover-8"))

        process = Interrupted(at=call, by=other)
        first = ground.begin(process)
        if process.calls <= call:
            break
        run = ground.played.runs.read()
        assert run is not None
        assert [first.begun, answers[0].begun].count(True) == 1, call
        assert run.cutover_id == (first if first.begun else answers[0]).cutover_id, call
    assert call >= 5


def test_a_plan_whose_writer_is_not_where_it_should_be_is_refused(ground: Ground) -> None:
    times = {"watch_seconds": 180, "deadline_seconds": 900}
    plan = {"steps": [{"weight_percent": 100, "switch_writer": True, **times}]}
    ground.sources = {"databases": lambda: Databases(admitting=("green",), unreachable=(), differences=())}
    desired = ground.played.desired.read()
    assert desired is not None
    ground.played.desired.write(replace(desired, writer="green"))
    [reason] = ground.begin(direction=Direction.LEGACY_TO_AWS, plan=plan).reasons
    assert reason.startswith("the plan switches the writer from legacy to blue, but it is green")


def test_a_rehearsal_gives_the_reasons_and_changes_nothing(ground: Ground) -> None:
    ground.sources = {"owed_restarts": lambda: True}
    before = dict(ground.played.table.items)
    [reason] = rehearse(ground.world(), parse_plan(PLAN, direction=Direction.BLUE_TO_GREEN))
    assert reason.startswith("a rotation still has to restart")
    assert (ground.played.table.items, ground.told) == (before, [])


def test_a_rehearsal_finds_nothing_where_nothing_is(ground: Ground) -> None:
    assert rehearse(ground.world(), parse_plan(PLAN, direction=Direction.BLUE_TO_GREEN)) == ()
