"""A guarded deployment from end to end: parameters, state and tasks in a local AWS, CloudFormation and Lambda stubbed.

The local AWS makes no nested change sets.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.response import StreamingBody
from botocore.stub import ANY, Stubber

from cutover_state.lease import Lease, read_lease
from cutover_state.run import Phase, Run, RunStore
from ops.deploy_guard import Deployment, Result, main, parser, read_stage, show
from ops.deployment_aws import Aws, DeploymentError, command
from ops.deployment_decision import Change, Obstacle, Options
from tests.support.local_aws import LocalAws
from tests.support.runs import some_run
from tests.support.synthesized import PROJECT

NOW = 1_764_000_000.0
CHANGE_SET = "deploy-guard-1764000000"
INNER = "arn:aws:cloudformation:us-east-1:123456789012:changeSet/inner/1"
EMPTY = "arn:aws:cloudformation:us-east-1:123456789012:changeSet/empty/1"


@dataclass
class Stage:
    """A stage that is deployed, in a local AWS of its own path."""

    aws: LocalAws
    path: str
    table: str
    said: list[str] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    answer: bool = True

    def __post_init__(self) -> None:
        self.cloudformation = self.aws.client("cloudformation")
        self.functions = self.aws.client("lambda")
        self.stacks = Stubber(self.cloudformation)
        self.calls = Stubber(self.functions)

    def client(self, service: str) -> Any:
        stubbed = {"cloudformation": self.cloudformation, "lambda": self.functions}
        return stubbed.get(service) or self.aws.shared_client(service)

    def deployment(self, **options: bool) -> Deployment:
        def prepare(name: str) -> bool:
            self.prepared.append(name)
            return True

        def confirm(question: str) -> bool:
            self.asked.append(question)
            return self.answer

        return Deployment(
            aws=self.adapter(),
            options=Options(**options),
            prepare=prepare,
            confirm=confirm,
            now=lambda: NOW,
        )

    def adapter(self) -> Aws:
        return Aws(
            client=self.client, stack="payments-prod", path=self.path, tell=self.said.append, sleep=lambda _: None
        )

    def put(self, name: str, value: str) -> None:
        self.aws.shared_client("ssm").put_parameter(Name=f"{self.path}/shared/{name}", Value=value, Type="String")

    # What CloudFormation and Lambda answer, in this order.

    def status(self, status: str) -> None:
        stack = {"StackName": "payments-prod", "CreationTime": datetime.now(UTC), "StackStatus": status}
        self.stacks.add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": "payments-prod"})

    def no_stack(self) -> None:
        self.stacks.add_client_error(
            "describe_stacks", "ValidationError", "Stack with id payments-prod does not exist", 400
        )

    def change_set(self, *changes: dict[str, Any], **answer: Any) -> None:
        self.stacks.add_response(
            "describe_change_set",
            {"Status": "CREATE_COMPLETE", "Changes": [{"Type": "Resource", "ResourceChange": c} for c in changes]}
            | answer,
            {"ChangeSetName": CHANGE_SET, "StackName": "payments-prod"},
        )

    def inner(self, *changes: dict[str, Any], arn: str = INNER, **answer: Any) -> None:
        self.stacks.add_response(
            "describe_change_set",
            {"Status": "CREATE_COMPLETE", "Changes": [{"Type": "Resource", "ResourceChange": c} for c in changes]}
            | answer,
            {"ChangeSetName": arn},
        )

    def executes(self, *statuses: str) -> None:
        self.stacks.add_response("execute_change_set", {}, {"StackName": "payments-prod", "ChangeSetName": CHANGE_SET})
        for status in statuses:
            self.status(status)

    def deletes(self) -> None:
        self.stacks.add_response("delete_change_set", {}, {"StackName": "payments-prod", "ChangeSetName": CHANGE_SET})

    def answers(self, event: dict[str, Any], answer: object, *, error: str | None = None) -> None:
        body = json.dumps(answer).encode()
        self.calls.add_response(
            "invoke",
            {"StatusCode": 200, "Payload": StreamingBody(io.BytesIO(body), len(body))}
            | ({"FunctionError": error} if error else {}),
            {"FunctionName": ANY, "Payload": json.dumps(event).encode()},
        )

    def nothing_left(self) -> None:
        self.stacks.assert_no_pending_responses()
        self.calls.assert_no_pending_responses()


@pytest.fixture
def stage(aws: LocalAws, request: pytest.FixtureRequest) -> Iterator[Stage]:
    made = Stage(aws, path=f"/{abs(hash(request.node.nodeid))}/prod", table=aws.create_state_table())
    made.put("state-table", made.table)
    made.put("replication-control-function-name", "replication-control")
    made.put("reconciler-function-name", "reconciler")
    made.put("replication-tasks", "task-of-nobody")
    with made.stacks, made.calls:
        yield made
        made.nothing_left()


def compute() -> dict[str, Any]:
    return {
        "Action": "Modify",
        "LogicalResourceId": "ComputeNestedStackComputeNestedStackResource1A",
        "ResourceType": "AWS::CloudFormation::Stack",
        "Replacement": "False",
        "ChangeSetId": INNER,
    }


def routing() -> dict[str, Any]:
    return compute() | {"LogicalResourceId": "RoutingNestedStackRoutingNestedStackResource1A"}


SERVICE = {
    "Action": "Modify",
    "LogicalResourceId": "Service1A",
    "ResourceType": "AWS::ECS::Service",
    "Replacement": "False",
}
RULE = SERVICE | {"LogicalResourceId": "Weighted", "ResourceType": "AWS::ElasticLoadBalancingV2::ListenerRule"}


def task_change(arn: str) -> dict[str, Any]:
    return SERVICE | {
        "LogicalResourceId": "BlueToGreen",
        "ResourceType": "AWS::DMS::ReplicationTask",
        "PhysicalResourceId": arn,
    }


# Deploying.


def test_the_first_deployment_passes_without_a_look_at_what_does_not_exist_yet(stage: Stage) -> None:
    stage.no_stack()
    stage.change_set(compute() | {"Action": "Add"}, StackName="payments-prod")
    stage.inner(SERVICE | {"Action": "Add"})
    # A stack is in review until its first change set begins.
    stage.executes("REVIEW_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE")

    assert stage.deployment().run() == Result(outcome="deployed")
    assert stage.prepared == [CHANGE_SET]


@pytest.mark.parametrize("status", ["REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE"])
def test_a_first_deployment_that_did_not_come_to_anything_may_be_repeated(stage: Stage, status: str) -> None:
    stage.status(status)
    stage.change_set()
    stage.executes("CREATE_COMPLETE")

    assert stage.deployment().run().outcome == "deployed"


def test_a_first_deployment_that_fails_is_told_by_its_status(stage: Stage) -> None:
    stage.no_stack()
    stage.change_set()
    stage.executes("CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE")

    assert stage.deployment().run().problems == ("payments-prod is ROLLBACK_COMPLETE: look at the events of the stack",)


def test_a_harmless_change_set_is_executed_and_its_end_awaited(stage: Stage) -> None:
    stage.status("UPDATE_COMPLETE")
    stage.change_set(compute())
    stage.inner(SERVICE)
    stage.executes("UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE")

    assert stage.deployment().run() == Result(outcome="deployed")
    assert stage.said[-1] == "payments-prod: UPDATE_COMPLETE"


def test_a_change_set_that_changes_nothing_is_nothing_to_deploy(stage: Stage) -> None:
    stage.status("UPDATE_COMPLETE")
    stage.stacks.add_client_error("describe_change_set", "ChangeSetNotFound", "does not exist", 404)

    assert stage.deployment().run() == Result(outcome="nothing to deploy")


def test_a_deployment_that_is_rolled_back_has_failed(stage: Stage) -> None:
    stage.status("UPDATE_COMPLETE")
    stage.change_set(SERVICE)
    stage.executes("UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE")

    result = stage.deployment().run()

    assert result.exit_code == 3
    assert result.problems == ("payments-prod is UPDATE_ROLLBACK_COMPLETE: look at the events of the stack",)


# Refusing.


def test_nothing_is_prepared_while_a_cutover_runs(stage: Stage, aws: LocalAws) -> None:
    RunStore(aws.dynamodb(), table_name=stage.table).begin(some_run(Phase.SHIFTING))
    stage.status("UPDATE_COMPLETE")

    result = stage.deployment().run()

    assert result.exit_code == 1
    assert [each.what for each in result.obstacles] == ["cutover cutover-7 is shifting"]
    assert stage.prepared == []


def test_nothing_is_prepared_while_somebody_holds_the_lease(stage: Stage, aws: LocalAws) -> None:
    aws.hold_lease(stage.table, expires_at=NOW + 1)
    stage.status("UPDATE_COMPLETE")

    result = stage.deployment().run()

    assert result.exit_code == 1
    assert "holds the lease" in result.obstacles[0].what


def test_a_cutover_that_begins_while_the_change_set_is_prepared_stops_the_deployment(
    stage: Stage, aws: LocalAws
) -> None:
    stage.status("UPDATE_COMPLETE")
    stage.change_set(SERVICE)
    stage.deletes()
    deployment = stage.deployment()

    def prepare(name: str) -> bool:
        RunStore(aws.dynamodb(), table_name=stage.table).begin(some_run(Phase.PREPARING))
        return True

    result = Deployment(
        aws=deployment.aws, options=Options(), prepare=prepare, confirm=deployment.confirm, now=lambda: NOW
    ).run()

    assert [each.what for each in result.obstacles] == ["cutover cutover-7 is preparing"]


def test_another_deployment_that_is_under_way_is_left_alone(stage: Stage) -> None:
    stage.status("UPDATE_IN_PROGRESS")

    result = stage.deployment().run()

    assert [each.sentence for each in result.obstacles] == [
        "payments-prod is UPDATE_IN_PROGRESS: wait for the other deployment to end"
    ]


def test_a_change_set_that_touches_the_levers_is_refused_and_taken_away(stage: Stage) -> None:
    stage.status("UPDATE_COMPLETE")
    stage.change_set(routing())
    stage.inner(RULE)
    stage.deletes()

    result = stage.deployment().run()

    assert result.exit_code == 1
    assert len(result.obstacles) == 1


def test_a_running_task_in_the_change_set_is_refused_with_what_dms_says(stage: Stage, aws: LocalAws) -> None:
    arn = aws.create_replication_task()
    use_tasks(stage, arn)
    stage.status("UPDATE_COMPLETE")
    stage.change_set(task_change(arn))
    stage.deletes()

    result = stage.deployment().run()

    assert f"{arn.rpartition(':')[2]} is running" in result.obstacles[0].what


def test_a_stopped_task_in_the_change_set_passes(stage: Stage, aws: LocalAws) -> None:
    arn = aws.create_replication_task(running=False)
    use_tasks(stage, arn)
    stage.status("UPDATE_COMPLETE")
    stage.change_set(task_change(arn))
    stage.executes("UPDATE_COMPLETE")

    assert stage.deployment().run() == Result(outcome="deployed")


def use_tasks(stage: Stage, *arns: str) -> None:
    stage.aws.shared_client("ssm").put_parameter(
        Name=f"{stage.path}/shared/replication-tasks",
        Value=",".join(arn.rpartition(":")[2] for arn in arns),
        Type="String",
        Overwrite=True,
    )


# Stopping tasks.

STOP = {"action": "stop"}
START = {"action": "start"}


def steps(step: str, *, done: bool) -> dict[str, Any]:
    return {"tasks": {"blue-to-green": step}, "done": done}


def stopping(stage: Stage) -> None:
    arn = stage.aws.create_replication_task()
    use_tasks(stage, arn)
    stage.status("UPDATE_COMPLETE")
    stage.change_set(task_change(arn))
    stage.answers(STOP, steps("stop", done=False))
    stage.answers(STOP, steps("done", done=True))


def test_tasks_are_stopped_until_they_rest_and_resumed_after_the_deployment(stage: Stage) -> None:
    stopping(stage)
    stage.executes("UPDATE_COMPLETE")
    stage.answers(START, steps("resume", done=False))
    stage.answers(START, steps("done", done=True))

    assert stage.deployment(stop_tasks=True).run() == Result(outcome="deployed")
    assert stage.said[:2] == ["blue-to-green: stop", "blue-to-green: done"]


def test_tasks_are_resumed_after_a_deployment_that_failed(stage: Stage) -> None:
    stopping(stage)
    stage.executes("UPDATE_ROLLBACK_COMPLETE")
    stage.answers(START, steps("done", done=True))

    assert stage.deployment(stop_tasks=True).run().exit_code == 3


def test_tasks_are_resumed_when_the_change_set_cannot_be_executed(stage: Stage) -> None:
    stopping(stage)
    stage.stacks.add_client_error("execute_change_set", "InvalidChangeSetStatus", "OBSOLETE", 400)
    stage.answers(START, steps("done", done=True))

    assert stage.deployment(stop_tasks=True).run().exit_code == 3


def test_nothing_is_deployed_when_a_task_cannot_be_stopped_and_what_was_stopped_is_resumed(stage: Stage) -> None:
    arn = stage.aws.create_replication_task()
    use_tasks(stage, arn)
    stage.status("UPDATE_COMPLETE")
    stage.change_set(task_change(arn))
    stage.answers(STOP, {"errorMessage": "DMS refuses"}, error="Unhandled")
    stage.answers(START, steps("done", done=True))

    result = stage.deployment(stop_tasks=True).run()

    assert result.problems == ("function replication-control failed: DMS refuses",)


def test_an_operator_is_told_when_tasks_could_not_be_resumed(stage: Stage) -> None:
    stopping(stage)
    stage.executes("UPDATE_COMPLETE")
    stage.answers(START, {"errorMessage": "the connection test failed"}, error="Unhandled")

    result = stage.deployment(stop_tasks=True).run()

    assert result.exit_code == 3
    assert result.problems == (
        "function replication-control failed: the connection test failed. Resume the replication yourself: call the "
        "replication control with the action start",
    )


def test_tasks_that_do_not_stop_in_time_are_not_waited_for_for_ever(stage: Stage) -> None:
    clock = iter([0.0, 1801.0])
    stage.answers(STOP, steps("wait", done=False))
    adapter = Aws(
        client=stage.client,
        stack="payments-prod",
        path=stage.path,
        tell=stage.said.append,
        sleep=lambda _: None,
        monotonic=lambda: next(clock),
    )

    with pytest.raises(DeploymentError, match="replication tasks do not stop within 30 minutes"):
        adapter.replicate("stop")


def test_tasks_are_resumed_only_when_aws_has_ended_what_the_operator_interrupts(stage: Stage) -> None:
    stopping(stage)
    stage.stacks.add_response("execute_change_set", {}, {"StackName": "payments-prod", "ChangeSetName": CHANGE_SET})
    stage.status("UPDATE_IN_PROGRESS")
    stage.status("UPDATE_COMPLETE")
    stage.answers(START, steps("done", done=True))
    calls = iter(range(9))

    def interrupt(_: float) -> None:
        # The first wait is for the tasks to stop.
        if next(calls) == 1:
            raise KeyboardInterrupt

    deployment = stage.deployment(stop_tasks=True)
    aws = Aws(client=stage.client, stack="payments-prod", path=stage.path, tell=stage.said.append, sleep=interrupt)

    result = Deployment(
        aws=aws, options=deployment.options, prepare=deployment.prepare, confirm=deployment.confirm, now=lambda: NOW
    ).run()

    assert result.exit_code == 3
    assert result.problems == ("interrupted, and AWS deploys on",)


# Allowing routing.


def allowing(stage: Stage) -> None:
    stage.status("UPDATE_COMPLETE")
    stage.change_set(routing())
    stage.inner(RULE)


def test_routing_is_deployed_after_a_confirmation_and_reconciled_afterwards(stage: Stage) -> None:
    allowing(stage)
    stage.executes("UPDATE_COMPLETE")
    stage.answers({}, {"drifts": ["listener rule: blue 100, should be 0"], "stuck": None})

    assert stage.deployment(allow_routing=True).run() == Result(outcome="deployed")
    assert len(stage.asked) == 1
    assert stage.said[-1] == "listener rule: blue 100, should be 0"


def test_routing_is_reconciled_after_a_deployment_that_failed(stage: Stage) -> None:
    allowing(stage)
    stage.executes("UPDATE_ROLLBACK_COMPLETE")
    stage.answers({}, {"drifts": []})

    assert stage.deployment(allow_routing=True).run().exit_code == 3


def test_routing_is_not_deployed_without_the_confirmation(stage: Stage) -> None:
    stage.answer = False
    allowing(stage)
    stage.deletes()

    result = stage.deployment(allow_routing=True).run()

    assert result.exit_code == 1
    assert [each.what for each in result.obstacles] == ["--allow-routing was not confirmed"]


def test_nobody_is_asked_when_routing_is_not_touched(stage: Stage) -> None:
    stage.status("UPDATE_COMPLETE")
    stage.change_set(SERVICE)
    stage.executes("UPDATE_COMPLETE")

    stage.deployment(allow_routing=True).run()

    assert stage.asked == []


# Reading change sets.


def test_a_change_set_is_read_to_its_last_page_with_what_is_nested(stage: Stage) -> None:
    stage.change_set(compute(), NextToken="more")
    stage.inner(SERVICE)
    stage.stacks.add_response(
        "describe_change_set",
        {"Status": "CREATE_COMPLETE", "Changes": [{"Type": "Resource", "ResourceChange": routing()}]},
        {"ChangeSetName": CHANGE_SET, "StackName": "payments-prod", "NextToken": "more"},
    )
    stage.inner(RULE)

    found = stage.adapter().changes(CHANGE_SET)

    assert found is not None
    assert [(each.stack, each.logical_id) for each in found if each.type != "AWS::CloudFormation::Stack"] == [
        ("Compute", "Service1A"),
        ("Routing", "Weighted"),
    ]


@pytest.mark.parametrize(
    "reason",
    ["No updates are to be performed.", "The submitted information didn't contain changes. Submit different"],
)
def test_a_nested_change_set_without_changes_is_no_failure(stage: Stage, reason: str) -> None:
    stage.change_set(compute() | {"ChangeSetId": EMPTY})
    stage.inner(arn=EMPTY, Status="FAILED", StatusReason=reason)

    found = stage.adapter().changes(CHANGE_SET)

    assert found is not None
    assert [each.type for each in found] == ["AWS::CloudFormation::Stack"]


def test_a_change_set_that_failed_is_not_taken_for_an_empty_one(stage: Stage) -> None:
    stage.change_set(Status="FAILED", StatusReason="Template error: no such parameter")

    with pytest.raises(DeploymentError, match="is FAILED: Template error"):
        stage.adapter().changes(CHANGE_SET)


def test_a_stage_whose_state_cannot_be_found_is_not_deployed(stage: Stage) -> None:
    stage.status("UPDATE_COMPLETE")
    stage.path = "/nowhere/prod"

    result = stage.deployment().run()

    assert result.exit_code == 3
    assert "parameter /nowhere/prod/shared/state-table" in result.problems[0]
    assert stage.prepared == []


def test_a_state_that_cannot_be_read_is_not_taken_for_none(stage: Stage, aws: LocalAws) -> None:
    aws.dynamodb().put_item(TableName=stage.table, Item={"pk": {"S": "RUN"}, "sk": {"S": "current"}})
    stage.status("UPDATE_COMPLETE")

    result = stage.deployment().run()

    assert result.exit_code == 3
    assert "the run must have version" in result.problems[0]


# The command line.


def test_drift_is_never_reverted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--revert-drift"]) == 1
    assert "Refused" in capsys.readouterr().err


def test_a_stage_that_does_not_exist_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--stage", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_an_unknown_option_is_bad_input() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--force"])
    assert ended.value.code == 2


def test_the_help_tells_the_options_and_the_exit_codes() -> None:
    text = parser().format_help()

    for word in ("--stage", "--stop-tasks", "--allow-routing", "--json", "0  deployed", "1  refused", "2  bad input"):
        assert word in text
    assert "--revert-drift" not in text


def test_a_stage_is_read_from_the_configuration() -> None:
    assert read_stage(PROJECT, None) == ("prod", "payments-prod", "/payments/prod", "us-east-1")


def test_a_missing_configuration_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cdk\.json"):
        read_stage(tmp_path, "prod")


def test_the_cdk_prepares_and_does_not_execute() -> None:
    words = command(["cdk"], stage="prod", stack="payments-prod", change_set="one")

    assert "--method=prepare-change-set" in words
    assert "--change-set-name=one" in words
    assert not [word for word in words if "revert-drift" in word]


@pytest.mark.slow
def test_the_cdk_knows_every_option_that_it_is_given() -> None:
    words = command([], stage="prod", stack="payments-prod", change_set="one")
    help_ = subprocess.run(
        [PROJECT / "node_modules" / ".bin" / "cdk", "deploy", "--help"], capture_output=True, text=True, check=True
    ).stdout

    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in help_
    assert "prepare-change-set" in help_


@pytest.mark.slow
def test_the_command_runs_by_itself() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "ops.deploy_guard", "--revert-drift"], cwd=PROJECT, capture_output=True, text=True
    )

    assert answer.returncode == 1
    assert "Refused" in answer.stderr


REFUSAL = Result(outcome="refused", obstacles=(Obstacle(what="a cutover runs", remedy="wait"),))


def shown(result: Result, *, as_json: bool) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    show(result, stack="payments-prod", as_json=as_json, out=out, err=err)
    return out.getvalue(), err.getvalue()


def test_each_obstacle_is_one_line() -> None:
    assert shown(REFUSAL, as_json=False) == ("payments-prod: refused\n", "- a cutover runs: wait\n")


def test_a_result_is_json_when_asked() -> None:
    out, err = shown(REFUSAL, as_json=True)

    assert err == ""
    assert json.loads(out) == {
        "stack": "payments-prod",
        "outcome": "refused",
        "obstacles": [{"what": "a cutover runs", "remedy": "wait"}],
        "problems": [],
    }


@pytest.mark.parametrize(
    ("outcome", "code"), [("deployed", 0), ("nothing to deploy", 0), ("refused", 1), ("failed", 3)]
)
def test_the_exit_code_says_how_it_ended(outcome: str, code: int) -> None:
    assert Result(outcome=outcome).exit_code == code


def test_make_hands_the_stage_and_the_options_over() -> None:
    answer = subprocess.run(
        ["make", "--dry-run", "deploy", "STAGE=prod", "DEPLOY_ARGS=--stop-tasks --json"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "ops.deploy_guard --stage prod --stop-tasks --json" in answer.stdout


def test_a_change_without_details_is_certain() -> None:
    assert not Change.parse({"ResourceChange": SERVICE}, stack="Compute").follows_only


# The lease.


def lease_of(stage: Stage) -> Lease | None:
    return read_lease(stage.aws.dynamodb(), table_name=stage.table)


def test_no_cutover_can_begin_while_a_deployment_is_under_way(stage: Stage) -> None:
    seen: list[Lease | None] = []
    stage.status("UPDATE_COMPLETE")
    stage.change_set()
    stage.executes("UPDATE_IN_PROGRESS", "UPDATE_COMPLETE")
    deployment = stage.deployment()
    adapter = replace(deployment.aws, sleep=lambda _: seen.append(lease_of(stage)), now=lambda: NOW)

    assert replace(deployment, aws=adapter).run() == Result(outcome="deployed")

    assert seen == [Lease(holder="deployment", cutover_id=CHANGE_SET, expires_at=int(NOW) + 900)] * 2
    assert lease_of(stage) is None


def test_the_lease_is_extended_while_a_deployment_lasts(stage: Stage) -> None:
    clock = iter(NOW + 600 * step for step in range(10))
    ends: list[int] = []
    stage.status("UPDATE_COMPLETE")
    stage.change_set()
    stage.executes("UPDATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE")
    deployment = stage.deployment()

    def sleep(_: float) -> None:
        held = lease_of(stage)
        assert held is not None
        ends.append(held.expires_at)

    adapter = replace(deployment.aws, sleep=sleep, now=lambda: next(clock))
    replace(deployment, aws=adapter).run()

    assert [end - int(NOW) for end in ends] == [900, 1500, 2100]


def test_a_cutover_that_takes_the_lease_in_the_last_moment_wins(stage: Stage) -> None:
    deployment = stage.deployment()
    stage.status("UPDATE_COMPLETE")
    stage.change_set()
    stage.deletes()
    looked: list[int] = []

    class Late(Aws):
        def cutover(self) -> tuple[Run | None, Lease | None]:
            found = super().cutover()
            looked.append(1)
            if len(looked) == 2:
                stage.aws.hold_lease(stage.table, expires_at=NOW + 900)
            return found

    adapter = Late(**{each.name: getattr(deployment.aws, each.name) for each in fields(Aws)})
    result = replace(deployment, aws=replace(adapter, now=lambda: NOW)).run()

    assert result.outcome == "refused"
    assert result.obstacles[0].what.startswith("the lease is held by cutover-7 (state machine)")
    held = lease_of(stage)
    assert held is not None
    assert held.cutover_id == "cutover-7"


def test_the_lease_is_given_up_after_a_deployment_that_failed(stage: Stage) -> None:
    stage.status("UPDATE_COMPLETE")
    stage.change_set()
    stage.executes("UPDATE_ROLLBACK_COMPLETE")

    assert stage.deployment().run().exit_code == 3

    assert lease_of(stage) is None
