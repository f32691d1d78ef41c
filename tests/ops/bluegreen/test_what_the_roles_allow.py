"""The operator's role allows every call that the command line makes, and nothing that it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from cutover_plan import Direction, Plan, default_plan
from cutover_plan import Phase as StepPhase
from cutover_state.run import Phase
from ops.bluegreen import plans, replication
from tests.support.function_host import Context
from tests.support.operator_stage import Call, OperatorStage
from tests.support.permissions import permissions_of
from tests.support.synthesized import Synthesis

PREFIXES = {
    "application-autoscaling": "application-autoscaling",
    "database-migration-service": "dms",
    "dms": "dms",
    "elbv2": "elasticloadbalancing",
    "service-quotas": "servicequotas",
    "stepfunctions": "states",
}
"""IAM's names of services, where they are not boto3's."""

FREE = {"sts:GetCallerIdentity"}
"""What everybody may call, with or without a policy (IAM user guide, GetCallerIdentity)."""

FUNCTIONS = {
    "preflight": "Preflight",
    "writer-switch": "WriterSwitch",
    "rollback": "Rollback",
    "replication-control": "ReplicationControl",
}
LOOKING = [
    ["status", "--ask-databases"],
    ["plan", "green"],
    ["plan", "aws"],
    ["history"],
    ["history", "--cutover", "x"],
    ["explain"],
    ["replication", "status"],
]
MOVING = [
    ["preflight", "green"],
    ["doctor"],
    ["shift", "green", "--yes", "--no-wait"],
    ["admit", "aws", "--yes", "--no-wait"],
    ["approve", "--yes", "--no-wait"],
    ["abort", "--yes", "--no-wait"],
    ["replication", "start", "--yes"],
    ["rollback", "--yes"],
    ["rollback", "--yes", "--gradual"],
    ["switch-writer", "green", "--yes", "--no-wait"],
]


def allowed(synthesis: Synthesis, role: str) -> Mapping[str, set[str]]:
    """Actions by resource, without the conditions that are asked for one by one below."""
    return permissions_of(synthesis.app, synthesis.the("AWS::IAM::Role", f"Cutover/Seat/{role}")).on


def action(call: Call) -> str:
    operation = {"Invoke": "InvokeFunction"}.get(call.operation, call.operation)
    return f"{PREFIXES.get(call.service, call.service)}:{operation}"


def place(call: Call, stage: OperatorStage, synthesis: Synthesis) -> list[str]:
    """Where in the templates that stands which the call is about."""
    given = call.parameters
    account = synthesis.config.account
    match call.service:
        case "ssm":
            assert given["Path"] == stage.path
            return [f"arn:aws:ssm:us-east-1:{account}:parameter{synthesis.config.parameter_path}"]
        case "dynamodb":
            assert given["TableName"] == stage.table
            table = "<State/State>.Arn"
            if call.operation == "PutItem":
                assert given["Item"]["pk"] == {"S": "RUN"}
                return [f"{table} [ForAllValues:StringEquals dynamodb:LeadingKeys=RUN]"]
            return [table]
        case "lambda":
            return [f"<Cutover/Functions/{FUNCTIONS[given['FunctionName']]}/Function>.Arn"]
        case "stepfunctions":
            assert given["stateMachineArn"] == stage.machine
            return ["<Cutover/Workflow/StateMachine>"]
        case "route53":
            return [f"arn:aws:route53:::hostedzone/{synthesis.config.domain.hosted_zone_id}"]
        case "iam":
            return [f"arn:aws:iam::{account}:role/{given['RoleName']}"]
        case "service-quotas":
            return [f"arn:aws:servicequotas:us-east-1:{account}:{given['ServiceCode']}/{given['QuotaCode']}"]
        case "secretsmanager":
            return [
                f"<Database/{c}/Database/Secrets/{k}>"
                for c in ("Blue", "Green")
                for k in ("Admin", "Application", "Replication")
            ]
        case "ecs" if call.operation == "DescribeServices":
            return [f"<Compute/{color}/Service>" for color in ("Blue", "Green")]
        case _:
            return ["*"]


@pytest.fixture
def called(stage: OperatorStage, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Call]]:
    """What every command calls; functions answer as if all were well, so that every command goes to its end."""
    monkeypatch.setattr(replication, "POLL_SECONDS", 0.0)
    plan = default_plan(Direction.BLUE_TO_GREEN)
    keeping = plans.without_writer(plan)
    ready = {"begun": False, "reasons": [], "plan": plan.to_json()}
    stage.host.handlers["preflight"] = lambda event, context: ready
    stage.host.handlers["replication-control"] = lambda event, context: {"tasks": {}, "done": True}
    made: dict[str, list[Call]] = {}
    for words in [*LOOKING, *MOVING]:
        running = words[0] in ("approve", "abort", "rollback", "status", "explain")
        gate = StepPhase.GATE if words[0] == "approve" else StepPhase.WATCH
        phase = Phase.SHIFTING if running else Phase.ROLLED_BACK
        stage.begin(step=2, plan=_asking(keeping), step_phase=gate, phase=phase)
        stage.journal().append("decide", "because")
        stage.calls.clear()
        ended = stage.run(*words)
        # The doctor of this account finds something.
        assert ended.code == (1 if words[0] == "doctor" else 0), (words, ended.err)
        made[" ".join(words)] = list(stage.calls)
    return made


def _asking(plan: Plan) -> Plan:
    return plans.asking_beyond(plan, 5)


def test_an_operator_may_do_all_that_the_command_line_does_and_nothing_else(
    called: Mapping[str, list[Call]], stage: OperatorStage, prod: Synthesis
) -> None:
    may = allowed(prod, "Operator")
    used: set[tuple[str, str]] = set()
    forbidden = []
    for words, calls in called.items():
        assert calls, words
        for call in calls:
            if action(call) in FREE:
                continue
            places = _services(place(call, stage, prod), may)
            used |= {(action(call), each) for each in places}
            forbidden += [(words, action(call), each) for each in places if action(call) not in may.get(each, set())]
    assert forbidden == []
    granted = {(each, where) for where, actions in may.items() for each in actions if not each.startswith("kms:")}
    assert granted - used == set()


def test_an_observer_may_do_all_that_looks(
    called: Mapping[str, list[Call]], stage: OperatorStage, prod: Synthesis
) -> None:
    may = allowed(prod, "Observer")
    forbidden = {
        (words, action(call))
        for words in map(" ".join, LOOKING)
        for call in called[words]
        if action(call) not in FREE
        for each in _services(place(call, stage, prod), may)
        if action(call) not in may.get(each, set())
    }
    # Who writes is asked through a function that could switch the writer, too; status goes on without the answer.
    assert forbidden == {("status --ask-databases", "lambda:InvokeFunction")}


def _services(places: list[str], may: Mapping[str, set[str]]) -> list[str]:
    """The templates name the services by what CloudFormation calls them."""
    named = [where for where, actions in may.items() if "ecs:DescribeServices" in actions]
    return named if places and places[0].startswith("<Compute/") else places


def test_the_functions_of_this_test_answer_as_the_real_ones(stage: OperatorStage) -> None:
    """The answers that :func:`called` plays have the members that those of the real functions have."""
    real = stage.host.handlers["preflight"](
        {"from": "blue", "to": "green", "requested_by": "a", "dry_run": True}, Context()
    )
    assert {"begun", "reasons", "plan"} <= set(real)
    control = stage.host.handlers["replication-control"]({"action": "start"}, Context())
    assert {"tasks", "done"} <= set(control)


def test_what_was_noted_is_what_was_called(stage: OperatorStage) -> None:
    stage.begin()
    stage.runs.write(replace(stage.found, phase=Phase.SUCCEEDED))
    stage.calls.clear()
    stage.run("history")
    assert {action(call) for call in stage.calls} == {"ssm:GetParametersByPath", "dynamodb:Scan"}
