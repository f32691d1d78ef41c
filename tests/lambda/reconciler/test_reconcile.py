"""The reconciler: adopts, heals, leaves alone, and copes with dying anywhere."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from cutover_state.desired import Desired, desire
from cutover_state.journal import Journal
from cutover_state.levers import Kind, Lever
from reconciler.reconcile import Drift, reconcile
from tests.support.cutover_world import CutoverWorld
from tests.support.effects import CrashError, Interrupted, Process
from tests.support.levers_in_aws import forward
from tests.support.played_cutover import STANDING, PlayedCutover
from traffic.weights import TrafficError

HALF = {"blue": 50, "green": 50}


def fresh() -> PlayedCutover:
    cutover = PlayedCutover()
    cutover.begin()
    return cutover


def drifted() -> PlayedCutover:
    """As after a deployment that sent the rule and the records with their constants."""
    cutover = fresh()
    cutover.levers[Kind.ENVIRONMENT].set({"blue": 100, "green": 0})
    cutover.levers[Kind.FRONT_DOOR].set({"legacy": 0, "aws": 100})
    return cutover


class TestInAws:
    def reconcile(self, cutover: CutoverWorld, **clients: Any) -> tuple[Drift, ...]:
        world = cutover.world(clients or None)
        journal = Journal(cutover.aws.dynamodb(), table_name=cutover.table, cutover_id=STANDING, who="reconciler")
        return reconcile(
            desired=cutover.desired,
            levers=world.levers,
            journal=journal,
            initial_writer="blue",
            tell=world.tell,
            sleep=lambda _: None,
        )

    def test_a_rule_that_a_deployment_has_reset_is_set_again(self, cutover: CutoverWorld) -> None:
        blue, green = cutover.levers.target_groups.values()
        cutover.aws.shared_client("elbv2").modify_rule(
            RuleArn=cutover.levers.rule_arn, Actions=[forward({blue: 100, green: 0})]
        )
        [drift] = self.reconcile(cutover)
        assert drift.sentence == "environment: found blue 100, green 0, restored blue 50, green 50"
        assert cutover.levers.live()[Kind.ENVIRONMENT] == HALF
        assert cutover.told() == [("Weights had drifted and were restored", drift.sentence)]

    def test_records_that_were_changed_by_hand_are_set_again(self, cutover: CutoverWorld) -> None:
        cutover.levers.set(green=50, aws=30)
        [drift] = self.reconcile(cutover)
        assert drift.kind is Kind.FRONT_DOOR
        assert cutover.levers.live()[Kind.FRONT_DOOR] == {"legacy": 0, "aws": 100}

    def test_what_is_right_is_left_alone(self, cutover: CutoverWorld) -> None:
        clients = cutover.clients()
        process = Process()
        process.watch(*clients.values())
        assert self.reconcile(cutover, **clients) == ()
        assert process.effects == []

    def test_where_nobody_has_said_what_should_be_what_is_set_is_taken_for_it(self, cutover: CutoverWorld) -> None:
        cutover.aws.dynamodb().delete_item(
            TableName=cutover.table, Key={"pk": {"S": "DESIRED"}, "sk": {"S": "current"}}
        )
        assert self.reconcile(cutover) == ()
        assert cutover.desired.read() == Desired(
            weights=HALF, records={"legacy": 0, "aws": 100}, writer="blue", by="reconciler", version=1
        )
        assert [entry.what for entry in cutover.journal(STANDING)] == ["adopt the desired state"]

    @pytest.mark.parametrize("weights", [(0, 0), (1, 1), (999, 0)])
    def test_weights_that_nobody_may_set_are_not_adopted(self, cutover: CutoverWorld, weights: tuple[int, int]) -> None:
        groups = cutover.levers.target_groups.values()
        cutover.aws.shared_client("elbv2").modify_rule(
            RuleArn=cutover.levers.rule_arn, Actions=[forward(dict(zip(groups, weights, strict=True)))]
        )
        cutover.aws.dynamodb().delete_item(
            TableName=cutover.table, Key={"pk": {"S": "DESIRED"}, "sk": {"S": "current"}}
        )
        with pytest.raises(TrafficError, match="environment: nobody has said what should be, and what is set cannot"):
            self.reconcile(cutover)
        assert cutover.desired.read() is None

    def test_a_lever_that_cannot_be_read_does_not_keep_the_other_from_being_put_right(
        self, cutover: CutoverWorld
    ) -> None:
        cutover.levers.set(green=50, aws=30)
        cutover.aws.shared_client("elbv2").delete_rule(RuleArn=cutover.levers.rule_arn)
        with pytest.raises(TrafficError, match=r"^environment: listener rule .* cannot be read"):
            self.reconcile(cutover)
        records = cutover.world().levers[Kind.FRONT_DOOR].read()
        assert records == {"legacy": 0, "aws": 100}
        assert len(cutover.told()) == 1


def test_drift_is_journaled_before_and_after_it_is_put_right() -> None:
    cutover = drifted()
    cutover.reconcile()
    found = [(entry.what, entry.before, entry.after) for entry in cutover.entries(STANDING)]
    assert found == [
        ("put drift right", {"blue": 100, "green": 0}, HALF),
        ("drift put right", {"blue": 100, "green": 0}, HALF),
        ("put drift right", {"legacy": 0, "aws": 100}, {"legacy": 100, "aws": 0}),
        ("drift put right", {"legacy": 0, "aws": 100}, {"legacy": 100, "aws": 0}),
    ]


def test_a_step_that_has_said_but_not_yet_set_its_weights_is_no_drift() -> None:
    cutover = fresh()
    desire(cutover.desired, by="cutover-7", weights={"blue": 40, "green": 60})
    drifts = cutover.reconcile(sleep=lambda _: cutover.levers[Kind.ENVIRONMENT].set({"blue": 40, "green": 60}))
    assert drifts == ()
    assert cutover.told == []


def test_a_step_that_has_died_before_it_set_its_weights_is_finished() -> None:
    cutover = fresh()
    desire(cutover.desired, by="cutover-7", weights={"blue": 40, "green": 60})
    cutover.reconcile()
    assert cutover.levers[Kind.ENVIRONMENT].weights == {"blue": 40, "green": 60}


@pytest.mark.parametrize("start", [fresh, drifted])
def test_nothing_older_stays_set_when_the_desired_state_changes_in_the_middle(start: Any) -> None:
    changed = {"blue": 7, "green": 93}
    moments = outdated = 0
    for moment in range(100):
        cutover = start()
        history = cutover.levers[Kind.ENVIRONMENT].history
        writes_before: list[int] = []

        def change(cutover: PlayedCutover = cutover, writes_before: list[int] = writes_before) -> None:
            writes_before.append(len(cutover.levers[Kind.ENVIRONMENT].history))
            desire(cutover.desired, by="cutover-7", weights=changed)

        cutover.reconcile(Interrupted(at=moment, by=change))
        if not writes_before:
            break
        assert history[writes_before[0] :] in ([], [changed], [HALF, changed]), moment
        moments += 1
        outdated += HALF in history[writes_before[0] :]
    assert moments >= 4
    # Only between the last look at what should be and the write: the entry of the journal stands there.
    assert outdated <= 3


def test_a_crash_anywhere_is_made_good_by_the_next_run() -> None:
    process = Process()
    drifted().reconcile(process)
    assert process.moments >= 12
    for moment in range(process.moments):
        cutover = drifted()
        with suppress(CrashError):
            cutover.reconcile(Process(dies_at=moment))
        cutover.reconcile()
        desired = cutover.desired.read()
        assert desired is not None
        assert cutover.levers[Kind.ENVIRONMENT].weights == desired.weights == HALF, moment
        assert cutover.levers[Kind.FRONT_DOOR].weights == desired.records, moment
        assert "put drift right" in [entry.what for entry in cutover.entries(STANDING)], moment


def test_a_crash_anywhere_while_adopting_is_made_good_by_the_next_run() -> None:
    for moment in range(4):
        cutover = PlayedCutover()
        with suppress(CrashError):
            cutover.reconcile(Process(dies_at=moment))
        cutover.reconcile()
        desired = cutover.desired.read()
        assert desired is not None
        assert (desired.weights, desired.version) == ({"blue": 100, "green": 0}, 1), moment


def test_two_that_adopt_at_once_agree() -> None:
    for moment in range(20):
        cutover = PlayedCutover()

        def other(cutover: PlayedCutover = cutover) -> None:
            cutover.reconcile()

        cutover.reconcile(Interrupted(at=moment, by=other))
        desired = cutover.desired.read()
        assert desired is not None
        assert desired.version == 1, moment


def test_a_lever_that_refuses_every_write_is_an_error_that_says_which() -> None:
    cutover = drifted()

    @dataclass
    class Refusing:
        lever: Lever
        sides: tuple[str, ...] = ("blue", "green")

        def read(self) -> dict[str, int]:
            return self.lever.read()

        def write(self, _: object) -> None:
            raise TrafficError("it says no")

    world = cutover.world()
    with pytest.raises(TrafficError, match=r"^environment: it says no$"):
        reconcile(
            desired=world.desired,
            levers={**world.levers, Kind.ENVIRONMENT: Refusing(world.levers[Kind.ENVIRONMENT])},
            journal=cutover.journal(STANDING),
            initial_writer="blue",
            tell=world.tell,
            sleep=lambda _: None,
        )
    assert cutover.levers[Kind.FRONT_DOOR].weights == {"legacy": 100, "aws": 0}
    assert len(cutover.told) == 1
