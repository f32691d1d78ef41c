"""Whether a deployment may go on, decided from plain data."""

from __future__ import annotations

from typing import Any

import pytest

from cutover_state.lease import Lease
from cutover_state.run import Phase
from ops.deployment_decision import Change, Decision, Options, cutover_obstacles, decide, nested_stack, task_identifier
from tests.support.runs import some_run

NOW = 1_764_000_000.0
BLUE_TO_GREEN = "payments-prod-blue-to-green"
GREEN_TO_BLUE = "payments-prod-green-to-blue"
RUNNING = {BLUE_TO_GREEN: "running", GREEN_TO_BLUE: "running"}
STOPPED = {BLUE_TO_GREEN: "stopped", GREEN_TO_BLUE: "stopped"}
STRICT = Options()
STOP = Options(stop_tasks=True)
ALLOW = Options(allow_routing=True)


def lease(expires_at: float) -> Lease:
    return Lease(holder="controller", cutover_id="cutover-7", expires_at=int(expires_at))


def change(stack: str = "Compute", type_: str = "AWS::ECS::Service", **fields: Any) -> Change:
    given = {"logical_id": "Blue1234", "action": "Modify", "replacement": "False"} | fields
    return Change(stack=stack, type=type_, **given)


def rule(**fields: Any) -> Change:
    return change("Routing", "AWS::ElasticLoadBalancingV2::ListenerRule", logical_id="Weighted", **fields)


def task(name: str = BLUE_TO_GREEN, **fields: Any) -> Change:
    given = {"physical_id": f"arn:aws:dms:us-east-1:111122223333:task:{name}", "logical_id": "BlueToGreen"} | fields
    return change("Replication", "AWS::DMS::ReplicationTask", **given)


def nested(name: str, **fields: Any) -> Change:
    return change(
        "", "AWS::CloudFormation::Stack", logical_id=f"{name}NestedStack{name}NestedStackResource1A", **fields
    )


def refused(*changes: Change, options: Options = STRICT, statuses: dict[str, str] | None = None) -> list[str]:
    statuses = RUNNING if statuses is None else statuses
    return [each.sentence for each in decide(changes, task_statuses=statuses, options=options).obstacles]


# While a cutover runs.


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.is_over], ids=lambda phase: phase.value)
def test_nothing_is_deployed_while_a_cutover_is_under_way(phase: Phase) -> None:
    [obstacle] = cutover_obstacles(some_run(phase), None, now=NOW)

    assert obstacle.what == f"cutover cutover-7 is {phase.value}"


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase.is_over], ids=lambda phase: phase.value)
def test_a_cutover_that_is_over_is_no_obstacle(phase: Phase) -> None:
    assert cutover_obstacles(some_run(phase), None, now=NOW) == ()


def test_before_the_first_cutover_there_is_no_obstacle() -> None:
    assert cutover_obstacles(None, None, now=NOW) == ()


def test_nothing_is_deployed_while_somebody_holds_the_lease() -> None:
    [obstacle] = cutover_obstacles(None, lease(NOW + 60), now=NOW)

    assert obstacle.what == "controller holds the lease for cutover cutover-7 until 2025-11-24T16:01:00+00:00"


def test_a_lease_that_has_ended_binds_nobody() -> None:
    assert cutover_obstacles(None, lease(NOW), now=NOW) == ()


def test_a_run_and_a_lease_are_both_named() -> None:
    assert len(cutover_obstacles(some_run(Phase.SHIFTING), lease(NOW + 60), now=NOW)) == 2


# What passes.


@pytest.mark.parametrize("options", [STRICT, STOP, ALLOW])
def test_a_change_of_the_services_passes_and_needs_nothing(options: Options) -> None:
    assert decide([change(), nested("Compute")], task_statuses=RUNNING, options=options) == Decision()


def test_no_change_at_all_passes() -> None:
    assert decide([], task_statuses=RUNNING, options=STRICT) == Decision()


def test_a_nested_stack_of_levers_in_which_nothing_changes_passes() -> None:
    """CloudFormation lists every nested stack as modified."""
    assert decide([nested("Routing")], task_statuses=RUNNING, options=STRICT) == Decision()


def test_a_lever_that_is_listed_for_a_reference_which_stays_passes() -> None:
    listener = change("FrontDoor", "AWS::ElasticLoadBalancingV2::Listener")

    assert decide([listener, rule(follows_only=True)], task_statuses=RUNNING, options=STRICT) == Decision()


# Routing.


@pytest.mark.parametrize(
    "levers",
    [
        rule(),
        rule(action="Remove", replacement=""),
        rule(action="Add", replacement=""),
        rule(replacement="True"),
        change("Routing", "AWS::Route53::RecordSet", logical_id="AwsRecord"),
        change("Routing", "AWS::Route53::HealthCheck", logical_id="AwsHealth"),
        nested("Routing", action="Remove"),
        nested("Routing", replacement="True"),
        nested("Routing", replacement="Conditional"),
        nested("Routing", seen=False),
    ],
)
def test_whatever_touches_the_levers_is_refused(levers: Change) -> None:
    [sentence] = refused(levers)

    assert "--allow-routing" in sentence


@pytest.mark.parametrize("type_", ["Listener", "LoadBalancer", "TargetGroup"])
@pytest.mark.parametrize("fields", [{"replacement": "True"}, {"replacement": "Conditional"}, {"action": "Remove"}])
def test_a_lever_that_follows_something_which_is_replaced_is_refused(type_: str, fields: dict[str, Any]) -> None:
    cause = change("FrontDoor", f"AWS::ElasticLoadBalancingV2::{type_}", **fields)

    assert len(refused(cause, rule(follows_only=True))) == 1


def test_every_lever_has_a_line_of_its_own() -> None:
    record = change("Routing", "AWS::Route53::RecordSet", logical_id="AwsRecord")

    assert [sentence.partition(" would")[0] for sentence in refused(rule(), record)] == [
        "AWS::ElasticLoadBalancingV2::ListenerRule Routing/Weighted",
        "AWS::Route53::RecordSet Routing/AwsRecord",
    ]


def test_levers_that_are_allowed_have_the_reconciler_run_afterwards() -> None:
    assert decide([rule()], task_statuses=RUNNING, options=ALLOW) == Decision(sends_levers=True)


def test_allowing_routing_does_not_call_the_reconciler_for_nothing() -> None:
    assert not decide([change()], task_statuses=RUNNING, options=ALLOW).sends_levers


# Replication.


@pytest.mark.parametrize("status", ["running", "starting", "stopping", "testing", "modifying", "moving"])
def test_a_change_of_a_task_that_does_not_rest_is_refused(status: str) -> None:
    [sentence] = refused(task(), statuses={BLUE_TO_GREEN: status, GREEN_TO_BLUE: "stopped"})

    assert f"{BLUE_TO_GREEN} is {status}" in sentence
    assert "--stop-tasks" in sentence


@pytest.mark.parametrize("status", ["stopped", "ready", "failed", "failed-move"])
def test_a_task_that_rests_may_be_changed(status: str) -> None:
    statuses = {BLUE_TO_GREEN: status, GREEN_TO_BLUE: "running"}

    assert decide([task()], task_statuses=statuses, options=STRICT) == Decision()


def test_a_task_that_rests_may_be_replaced() -> None:
    assert decide([task(replacement="True")], task_statuses=STOPPED, options=STRICT) == Decision()


def test_a_task_that_is_new_is_in_nobodys_way() -> None:
    assert decide([task(action="Add", physical_id="")], task_statuses=RUNNING, options=STRICT) == Decision()


@pytest.mark.parametrize("type_", ["AWS::DMS::Endpoint", "AWS::DMS::ReplicationInstance"])
def test_a_change_of_what_carries_running_tasks_names_them_all(type_: str) -> None:
    [sentence] = refused(change("Replication", type_, logical_id="BlueSource"))

    assert f"{BLUE_TO_GREEN} is running, {GREEN_TO_BLUE} is running" in sentence


@pytest.mark.parametrize("type_", ["AWS::DMS::Endpoint", "AWS::DMS::ReplicationInstance"])
def test_what_carries_resting_tasks_may_be_changed(type_: str) -> None:
    assert decide([change("Replication", type_)], task_statuses=STOPPED, options=STRICT) == Decision()


def test_tasks_that_are_in_the_way_are_stopped_when_asked() -> None:
    assert decide([task()], task_statuses=RUNNING, options=STOP) == Decision(stops_tasks=True)


def test_no_task_is_stopped_for_nothing() -> None:
    assert not decide([change()], task_statuses=RUNNING, options=STOP).stops_tasks


@pytest.mark.parametrize("fields", [{"replacement": "True"}, {"replacement": "Conditional"}, {"action": "Remove"}])
@pytest.mark.parametrize("options", [STRICT, STOP])
def test_a_running_task_is_never_replaced(fields: dict[str, Any], options: Options) -> None:
    """A new one would load everything again into a database that has it."""
    [sentence] = refused(task(**fields), options=options)

    assert "would load everything again" in sentence


@pytest.mark.parametrize("fields", [{"action": "Remove"}, {"replacement": "True"}, {"seen": False}])
def test_the_replication_stack_as_a_whole_is_left_alone_while_tasks_run(fields: dict[str, Any]) -> None:
    assert len(refused(nested("Replication", **fields), options=STOP)) == 1


def test_a_task_without_a_known_name_may_be_any_that_runs() -> None:
    [sentence] = refused(task(physical_id=""))

    assert BLUE_TO_GREEN in sentence
    assert GREEN_TO_BLUE in sentence


def test_tasks_that_rested_before_would_be_started_and_so_nothing_is_stopped() -> None:
    statuses = {BLUE_TO_GREEN: "running", GREEN_TO_BLUE: "ready"}

    assert refused(task(), options=STOP, statuses=statuses) == [
        f"--stop-tasks would start {GREEN_TO_BLUE}, which is ready: start it before, or stop the other tasks yourself "
        "and deploy without --stop-tasks"
    ]


def test_nothing_is_stopped_when_something_else_is_refused() -> None:
    decision = decide([task(), rule()], task_statuses=RUNNING, options=STOP)

    assert len(decision.obstacles) == 1
    assert not decision.stops_tasks
    assert not decision.sends_levers


def test_both_permissions_together_let_both_through() -> None:
    both = Options(stop_tasks=True, allow_routing=True)

    assert decide([task(), rule()], task_statuses=RUNNING, options=both) == Decision(
        stops_tasks=True, sends_levers=True
    )


def test_an_obstacle_is_one_line() -> None:
    for sentence in refused(task(), rule(), nested("Replication", seen=False), nested("Routing", seen=False)):
        assert "\n" not in sentence


# Reading a change set.


def entry(**fields: Any) -> dict[str, Any]:
    given = {"Action": "Modify", "LogicalResourceId": "Weighted", "ResourceType": "AWS::Route53::RecordSet"} | fields
    return {"Type": "Resource", "ResourceChange": given}


def detail(evaluation: str) -> dict[str, Any]:
    return {"Target": {"Attribute": "Properties", "Name": "ListenerArn"}, "Evaluation": evaluation}


@pytest.mark.parametrize(
    ("details", "follows"),
    [
        ([detail("Dynamic")], True),
        ([detail("Dynamic"), detail("Dynamic")], True),
        ([detail("Dynamic"), detail("Static")], False),
        ([detail("Static")], False),
        ([], False),
    ],
)
def test_a_change_only_follows_when_nothing_about_it_is_certain(details: list[dict[str, Any]], follows: bool) -> None:
    assert Change.parse(entry(Details=details), stack="Routing").follows_only is follows


def test_all_that_is_known_of_a_change_is_read() -> None:
    document = entry(Replacement="Conditional", PhysicalResourceId="api.payments.example.com")

    assert Change.parse(document, stack="Routing") == Change(
        stack="Routing",
        logical_id="Weighted",
        physical_id="api.payments.example.com",
        type="AWS::Route53::RecordSet",
        action="Modify",
        replacement="Conditional",
    )


@pytest.mark.parametrize(
    ("fields", "seen"),
    [({"ChangeSetId": "arn:…"}, True), ({}, False), ({"Action": "Add"}, True), ({"Action": "Remove"}, True)],
)
def test_a_nested_stack_without_a_change_set_of_its_own_is_not_seen(fields: dict[str, Any], seen: bool) -> None:
    assert Change.parse(entry(ResourceType="AWS::CloudFormation::Stack", **fields), stack="").seen is seen


def test_a_nested_stack_is_known_by_its_logical_id() -> None:
    assert nested_stack("FrontDoorNestedStackFrontDoorNestedStackResource1A2B3C4D") == "FrontDoor"


def test_a_task_is_known_by_the_end_of_its_arn() -> None:
    assert task_identifier(f"arn:aws:dms:us-east-1:111122223333:task:{BLUE_TO_GREEN}") == BLUE_TO_GREEN
