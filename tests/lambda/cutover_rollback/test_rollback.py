"""The rollback: from every phase, twice, at the same time as others, and when there is nothing to do."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from cutover_rollback.request import Request
from cutover_rollback.rollback import Result, RollbackIncompleteError, WriterStuckError, roll_back
from cutover_state.desired import desire
from cutover_state.lease import Lease, take_lease
from cutover_state.levers import Kind
from cutover_state.run import Phase, Run, RunConflictError, RunStore
from tests.support.cutover_world import CUTOVER, STARTED_AT, CutoverWorld

ALARM = Request(
    requested_by="alarm green-unhealthy",
    reason="alarm green-unhealthy fired: 5 bad of 100",
    details={"alarm": "green-unhealthy"},
    alarmed_at=STARTED_AT + 60,
)
PERSON = Request(requested_by="ada", reason="complaints", after_the_end=True)
UNDER_WAY = [Phase.PREPARING, Phase.SHIFTING, Phase.ROLLING_BACK, Phase.STUCK]
OVER = [Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.REFUSED]


@pytest.mark.parametrize("phase", UNDER_WAY)
def test_an_alarm_takes_a_cutover_back_that_is_under_way(cutover: CutoverWorld, phase: Phase) -> None:
    cutover.begin(phase=phase)
    result = roll_back(cutover.world(), ALARM)
    assert result == Result(rolled_back=True, cutover_id=CUTOVER, explanation=ALARM.reason)
    assert cutover.faults() == []
    assert cutover.execution_status() == "ABORTED"


@pytest.mark.parametrize("phase", OVER)
def test_an_alarm_moves_nothing_of_a_cutover_that_is_over(cutover: CutoverWorld, phase: Phase) -> None:
    cutover.begin(phase=phase)
    before = cutover.snapshot()
    result = roll_back(cutover.world(), ALARM)
    assert (result.rolled_back, result.explanation) == (
        phase is Phase.ROLLED_BACK,
        f"cutover {CUTOVER} is {phase.value}: nothing is under way",
    )
    assert cutover.snapshot() == before
    assert cutover.told() == []


def test_a_person_takes_a_cutover_back_that_has_succeeded(cutover: CutoverWorld) -> None:
    cutover.begin(phase=Phase.SUCCEEDED, percent=100)
    assert roll_back(cutover.world(), PERSON).rolled_back
    assert cutover.faults() == []


@pytest.mark.parametrize("phase", [Phase.ROLLED_BACK, Phase.REFUSED])
def test_not_even_a_person_takes_back_what_moved_nothing(cutover: CutoverWorld, phase: Phase) -> None:
    cutover.begin(phase=phase)
    before = cutover.snapshot()
    roll_back(cutover.world(), PERSON)
    assert cutover.snapshot() == before


def test_without_any_cutover_nothing_happens(cutover: CutoverWorld) -> None:
    cutover.table = cutover.aws.create_state_table()
    result = roll_back(cutover.world(), ALARM)
    assert result == Result(rolled_back=False, cutover_id=None, explanation="no cutover ever ran")
    assert cutover.journal() == []


@pytest.mark.parametrize("phase", [Phase.SHIFTING, Phase.ROLLED_BACK])
def test_another_cutover_than_the_last_one_is_not_touched(cutover: CutoverWorld, phase: Phase) -> None:
    cutover.begin(phase=phase)
    before = cutover.snapshot()
    result = roll_back(cutover.world(), replace(PERSON, cutover_id="cutover-6"))
    assert (result.rolled_back, result.explanation) == (
        False,
        f"cutover cutover-6 is not the last one, which is {CUTOVER}",
    )
    assert cutover.snapshot() == before


def test_an_alarm_that_fired_before_the_cutover_began_does_not_count(cutover: CutoverWorld) -> None:
    """SNS delivers again for days, and a dead-letter queue for longer."""
    before = cutover.snapshot()
    result = roll_back(cutover.world(), replace(ALARM, alarmed_at=STARTED_AT - 1))
    assert (result.rolled_back, result.explanation) == (False, f"the alarm fired before cutover {CUTOVER} began")
    assert cutover.snapshot() == before


def test_twice_is_once(cutover: CutoverWorld) -> None:
    roll_back(cutover.world(), ALARM)
    before = cutover.snapshot()
    assert roll_back(cutover.world(), ALARM).rolled_back
    assert cutover.snapshot() == before
    assert len(cutover.told()) == 1


def test_traffic_goes_back_before_the_writer_because_that_ends_the_harm(cutover: CutoverWorld) -> None:
    roll_back(cutover.world(), ALARM)
    assert [entry.what for entry in cutover.journal()] == [
        "roll back",
        "set weights",
        "weights set",
        "switch the writer back",
        "writer switched back",
        "rolled back",
    ]


def test_the_legacy_system_is_the_writer_before_it_gets_a_request(cutover: CutoverWorld) -> None:
    cutover.begin(kind=Kind.FRONT_DOOR, source="legacy", target="aws", writer=("legacy", "blue"))
    roll_back(cutover.world(), ALARM)
    assert [entry.what for entry in cutover.journal()][1:5] == [
        "switch the writer back",
        "writer switched back",
        "set weights",
        "weights set",
    ]
    assert cutover.faults() == []


def test_the_legacy_system_stays_the_writer_as_long_as_resolvers_send_it_requests(cutover: CutoverWorld) -> None:
    cutover.begin(kind=Kind.FRONT_DOOR, source="aws", target="legacy", writer=("blue", "legacy"))
    roll_back(cutover.world(), ALARM)
    assert [entry.what for entry in cutover.journal()][1:5] == [
        "set weights",
        "weights set",
        "switch the writer back",
        "writer switched back",
    ]
    assert cutover.settled == 1
    assert cutover.faults() == []


def test_a_cutover_that_leaves_the_writer_alone_is_taken_back_without_asking_the_databases(
    cutover: CutoverWorld,
) -> None:
    cutover.begin(writer=("blue", "blue"))
    cutover.databases.reachable = False
    assert roll_back(cutover.world(), ALARM).rolled_back
    assert cutover.databases.moves == 0
    assert cutover.faults() == []


def test_a_writer_that_has_not_moved_yet_is_left(cutover: CutoverWorld) -> None:
    cutover.begin(switched=False)
    roll_back(cutover.world(), ALARM)
    assert cutover.databases.moves == 0
    assert cutover.faults() == []


def test_a_desired_writer_that_ran_ahead_is_taken_back_though_the_writer_did_not_move(cutover: CutoverWorld) -> None:
    cutover.begin(switched=False)
    desire(cutover.desired, by=CUTOVER, writer="green")
    roll_back(cutover.world(), ALARM)
    assert cutover.faults() == []


def test_people_are_told_who_asked_why_and_what_was_before(cutover: CutoverWorld) -> None:
    roll_back(cutover.world(), ALARM)
    [(subject, text)] = cutover.told()
    assert subject == "Rolled back: blue to green"
    for part in ("alarm green-unhealthy", "5 bad of 100", "'blue': 100", f"JOURNAL#{CUTOVER}"):
        assert part in text


def test_the_journal_says_who_asked_and_the_values_behind_it(cutover: CutoverWorld) -> None:
    roll_back(cutover.world(), ALARM)
    first, weights = cutover.journal()[:2]
    assert (first.who, first.details) == ("alarm green-unhealthy", {"alarm": "green-unhealthy"})
    assert (weights.before, weights.after) == ({"blue": 50, "green": 50}, {"blue": 100, "green": 0})


def test_the_state_machine_is_not_stopped_when_it_asks_itself(cutover: CutoverWorld) -> None:
    roll_back(cutover.world(), Request(requested_by="state machine", reason="deadline", stop_execution=False))
    assert cutover.execution_status() == "RUNNING"
    assert cutover.faults() == []


def test_an_execution_that_has_ended_already_is_no_obstacle(cutover: CutoverWorld) -> None:
    cutover.aws.shared_client("stepfunctions").stop_execution(executionArn=cutover.execution)
    assert roll_back(cutover.world(), ALARM).rolled_back


def test_a_weight_that_cannot_be_restored_is_tried_again(cutover: CutoverWorld) -> None:
    cutover.begin()
    broken = cutover.world()
    blue = cutover.levers.target_groups["blue"]
    levers = replace(cutover.levers, target_groups={"blue": blue, "green": blue + "-foreign"})
    broken = replace(broken, levers=levers.levers(cutover.aws.shared_client("elbv2"), None))
    with pytest.raises(RollbackIncompleteError, match="the weights are not restored: listener rule"):
        roll_back(broken, ALARM)
    assert cutover.journal()[-1].what == "weights not set"
    run = cutover.runs.read()
    assert run is not None
    assert run.phase is Phase.ROLLING_BACK
    assert roll_back(cutover.world(), ALARM).rolled_back
    assert cutover.faults() == []


def test_while_another_cutover_has_the_lease_nothing_goes_forward_and_the_call_is_made_again(
    cutover: CutoverWorld,
) -> None:
    other = Lease(holder="start", cutover_id="cutover-8", expires_at=int(cutover.now) + 60)
    take_lease(cutover.aws.dynamodb(), table_name=cutover.table, lease=other, now=cutover.now)
    with pytest.raises(RollbackIncompleteError, match=r"not rolled back: the lease is held by cutover-8"):
        roll_back(cutover.world(), ALARM)
    run = cutover.runs.read()
    assert run is not None
    assert run.phase is Phase.ROLLING_BACK
    cutover.now += 61
    assert roll_back(cutover.world(), ALARM).rolled_back
    assert cutover.faults() == []


class TestStuck:
    """The database of the writer does not answer."""

    def test_traffic_is_back_people_are_told_and_the_run_waits(self, cutover: CutoverWorld) -> None:
        cutover.databases.reachable = False
        with pytest.raises(WriterStuckError, match="green does not answer"):
            roll_back(cutover.world(), ALARM)
        run = cutover.runs.read()
        assert run is not None
        assert run.phase is Phase.STUCK
        assert cutover.levers.live()[Kind.ENVIRONMENT] == {"blue": 100, "green": 0}
        assert [subject for subject, _ in cutover.told()] == ["A person is needed: blue to green"]
        assert cutover.journal()[-1].what == "writer not switched back"

    def test_the_execution_is_stopped_so_that_it_does_not_go_forward(self, cutover: CutoverWorld) -> None:
        cutover.databases.reachable = False
        with pytest.raises(WriterStuckError):
            roll_back(cutover.world(), ALARM)
        assert cutover.execution_status() == "ABORTED"

    def test_it_keeps_the_lease_so_that_no_rotation_begins(self, cutover: CutoverWorld) -> None:
        cutover.databases.reachable = False
        with pytest.raises(WriterStuckError):
            roll_back(cutover.world(), ALARM)
        assert cutover.lease_holder() == CUTOVER

    def test_tried_again_once_the_database_answers_it_ends(self, cutover: CutoverWorld) -> None:
        cutover.databases.reachable = False
        with pytest.raises(WriterStuckError):
            roll_back(cutover.world(), ALARM)
        cutover.databases.reachable = True
        assert roll_back(cutover.world(), ALARM).rolled_back
        assert cutover.faults() == []

    def test_a_person_goes_on_and_accepts_the_loss(self, cutover: CutoverWorld) -> None:
        cutover.databases.reachable = False
        with pytest.raises(WriterStuckError):
            roll_back(cutover.world(), ALARM)
        assert roll_back(cutover.world(), replace(PERSON, accept_data_loss=True)).rolled_back
        assert cutover.faults() == []

    def test_the_legacy_system_gets_no_request_while_it_cannot_write(self, cutover: CutoverWorld) -> None:
        cutover.begin(kind=Kind.FRONT_DOOR, source="legacy", target="aws", writer=("legacy", "blue"))
        cutover.databases.reachable = False
        with pytest.raises(WriterStuckError):
            roll_back(cutover.world(), ALARM)
        assert cutover.levers.live()[Kind.FRONT_DOOR] == {"legacy": 50, "aws": 50}
        desired = cutover.desired.read()
        assert desired is not None
        assert desired.records == {"legacy": 50, "aws": 50}


class _Overtaken(RunStore):
    """Somebody else writes between our first read and our write."""

    def __init__(self, cutover: CutoverWorld, *, to: Run) -> None:
        super().__init__(cutover.aws.dynamodb(), table_name=cutover.table)
        self._other = to
        self._once = True

    def read(self) -> Run | None:
        found = super().read()
        if self._once and found is not None:
            self._once = False
            super().write(replace(self._other, version=found.version))
        return found


def test_a_cutover_that_succeeds_in_the_same_moment_stays(cutover: CutoverWorld) -> None:
    run = cutover.begin(percent=100)
    runs = _Overtaken(cutover, to=replace(run, phase=Phase.SUCCEEDED))
    result = roll_back(replace(cutover.world(), runs=runs), ALARM)
    assert not result.rolled_back
    found = cutover.runs.read()
    assert found is not None
    assert found.phase is Phase.SUCCEEDED
    assert cutover.levers.live()[Kind.ENVIRONMENT] == {"blue": 0, "green": 100}


def test_the_next_cutover_is_not_taken_back_in_the_place_of_the_one_that_was_meant(cutover: CutoverWorld) -> None:
    run = cutover.begin()
    runs = _Overtaken(cutover, to=replace(run, cutover_id="cutover-8"))
    result = roll_back(replace(cutover.world(), runs=runs), replace(ALARM, cutover_id=CUTOVER))
    assert not result.rolled_back
    found = cutover.runs.read()
    assert found is not None
    assert (found.cutover_id, found.phase) == ("cutover-8", Phase.SHIFTING)


def test_a_rollback_that_is_late_leaves_the_next_cutover_alone(cutover: CutoverWorld) -> None:
    """Another rollback ends, the next cutover begins and shifts, all while this one waits for the database."""
    run = cutover.begin()
    world = cutover.world()

    class SlowWriter:
        def current(self) -> str | None:
            last = roll_back(cutover.world(), ALARM)
            assert last.rolled_back
            cutover.runs.begin(replace(run, cutover_id="cutover-8", started_at=cutover.now))
            cutover.levers.set(green=10, aws=100)
            desire(cutover.desired, by="cutover-8", weights={"blue": 90, "green": 10})
            return "blue"

        def move(self, **_: object) -> dict[str, object]:
            raise AssertionError("nothing is left to move")

    result = roll_back(replace(world, writer=SlowWriter()), ALARM)
    assert result.explanation == "somebody else has rolled it back"
    assert cutover.levers.live()[Kind.ENVIRONMENT] == {"blue": 90, "green": 10}
    found = cutover.runs.read()
    assert found is not None
    assert (found.cutover_id, found.phase) == ("cutover-8", Phase.SHIFTING)


def test_a_rollback_that_gets_stuck_late_does_not_undo_the_end_of_another(cutover: CutoverWorld) -> None:
    class StuckWriter:
        def current(self) -> str | None:
            return None

        def move(self, **_: object) -> dict[str, object]:
            assert roll_back(cutover.world(), ALARM).rolled_back
            raise WriterStuckError("no lease any more")

    result = roll_back(replace(cutover.world(), writer=StuckWriter()), ALARM)
    assert result.explanation == "somebody else has rolled it back"
    assert cutover.faults() == []


def test_a_run_that_changes_all_the_time_is_given_up(cutover: CutoverWorld) -> None:
    class Restless(RunStore):
        def write(self, run: Run) -> Run:
            raise RunConflictError("changed by another writer")

    runs = Restless(cutover.aws.dynamodb(), table_name=cutover.table)
    with pytest.raises(RollbackIncompleteError, match="changes all the time"):
        roll_back(replace(cutover.world(), runs=runs), ALARM)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_three_at_once_end_as_one_would(cutover: CutoverWorld, attempt: int) -> None:
    barrier = threading.Barrier(3)
    results: list[Result] = []
    errors: list[BaseException] = []

    def run(world_number: int) -> None:
        world = cutover.world(cutover.clients(), who=f"rollback {world_number}")
        barrier.wait()
        try:
            results.append(roll_back(world, ALARM))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [result.rolled_back for result in results] == [True] * 3
    assert cutover.faults() == []
    assert len(cutover.told()) >= 1
