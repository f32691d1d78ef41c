"""The state machine that drives a cutover."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from blue_green.cutover_functions import CutoverFunctions
from blue_green.encrypted_log_group import EncryptedLogGroup
from blue_green.service_role import ServiceRole
from policy.acknowledgement import acknowledge

CUTOVER_ID = "$$.Execution.Name"
REQUEST = "$$.Execution.Input"

LONGEST = cdk.Duration.days(14)
"""Twice as long as all looks together may take: an execution that lasts longer hangs, and ends as ``TIMED_OUT``."""


class CutoverWorkflow(Construct):
    """Preflight, recovery points if wanted, then look after look until everything has moved; else roll back.

    The name of an execution is the id of its cutover. What is decided, and what was done, is in the state table and in
    the databases, so that the state machine can end anywhere and lose nothing: it only keeps the pace.

    Attributes:
        state_machine: the state machine.
    """

    state_machine: sfn.StateMachine

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        functions: CutoverFunctions,
        functions_key: kms.IKey,
        logs_key: kms.IKey,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id)
        role = self._role(functions, functions_key)
        log_group = EncryptedLogGroup(self, "Logs", key=logs_key, retention_days=log_retention_days)
        self.state_machine = sfn.StateMachine(
            self,
            "StateMachine",
            # Known beforehand: the rollback, which this machine calls, may stop its executions.
            state_machine_name=name,
            state_machine_type=sfn.StateMachineType.STANDARD,
            definition_body=sfn.DefinitionBody.from_chainable(self._definition(functions)),
            role=role.role,
            tracing_enabled=True,
            timeout=LONGEST,
            logs=sfn.LogOptions(destination=log_group, level=sfn.LogLevel.ALL, include_execution_data=True),
            encryption_configuration=sfn.CustomerManagedEncryptionConfiguration(functions_key),
        )

    def _role(self, functions: CutoverFunctions, key: kms.IKey) -> ServiceRole:
        stack = cdk.Stack.of(self)
        role = ServiceRole(
            self,
            "Execution",
            assumed_by=iam.ServicePrincipal(
                "states.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": stack.account}}
            ),
            description="State machine of the cutover",
        )
        called = (
            functions.preflight,
            functions.recovery_point,
            functions.controller,
            functions.writer_switch,
            functions.rollback,
        )
        role.allow("lambda:InvokeFunction", resources=[each.function.function_arn for each in called])
        role.allow("kms:Decrypt", "kms:GenerateDataKey", resources=[key.key_arn])
        role.allow(
            "logs:CreateLogDelivery",
            "logs:GetLogDelivery",
            "logs:UpdateLogDelivery",
            "logs:DeleteLogDelivery",
            "logs:ListLogDeliveries",
            "logs:PutResourcePolicy",
            "logs:DescribeResourcePolicies",
            "logs:DescribeLogGroups",
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
            resources=["*"],
        )
        acknowledge(
            role.policy,
            "AwsSolutions::AwsSolutions-IAM5[Resource::*]",
            reason="Step Functions documents these actions of log delivery and tracing with all resources only; they "
            "give no access to what is logged.",
        )
        return role

    def _definition(self, functions: CutoverFunctions) -> sfn.IChainable:
        rolled_back = self._roll_back(functions.rollback.function)
        look = self._invoke(
            "Look",
            functions.controller.function,
            {"cutover_id.$": CUTOVER_ID, "request.$": REQUEST},
            result_path="$.look",
        )
        look_after_switch = self._invoke(
            "LookAfterSwitch",
            functions.controller.function,
            {"cutover_id.$": CUTOVER_ID, "request.$": REQUEST, "switched.$": "$.outcome"},
            result_path="$.look",
        )
        switch = self._invoke(
            "SwitchWriter",
            functions.writer_switch.function,
            {name: sfn.JsonPath.string_at(f"$.look.switch.{name}") for name in ("cutover_id", "from", "to")},
            result_path="$.outcome",
        )
        switch.next(look_after_switch)
        wait = sfn.Wait(self, "Wait", time=sfn.WaitTime.seconds_path("$.look.seconds"))
        wait.next(look)
        decided = (
            sfn.Choice(self, "WhatNext")
            .when(sfn.Condition.string_equals("$.look.next", "wait"), wait)
            .when(sfn.Condition.string_equals("$.look.next", "switch writer"), switch)
            .when(sfn.Condition.string_equals("$.look.next", "done"), sfn.Succeed(self, "Complete"))
            .when(sfn.Condition.string_equals("$.look.next", "roll back"), rolled_back["verdict"])
            .otherwise(sfn.Fail(self, "EndedElsewhere", error="EndedElsewhere", cause_path="$.look.reason"))
        )
        look.next(decided)
        look_after_switch.next(decided)
        for state in (look, look_after_switch, switch):
            state.add_catch(rolled_back["error"], errors=["States.ALL"], result_path="$.error")
        begin = self._invoke(
            "Preflight",
            functions.preflight.function,
            {"cutover_id.$": CUTOVER_ID, "execution_arn.$": "$$.Execution.Id", "request.$": REQUEST},
            result_path="$.preflight",
        )
        # It may have begun the cutover before it failed; taking back what did not begin changes nothing.
        begin.add_catch(rolled_back["error"], errors=["States.ALL"], result_path="$.error")
        recovery = self._recover(functions.recovery_point.function, then=look, failed=rolled_back["error"])
        return begin.next(
            sfn.Choice(self, "MayBegin")
            .when(
                sfn.Condition.boolean_equals("$.preflight.begun", False),
                sfn.Fail(self, "NotBegun", error="NotBegun", cause="The reasons are in the output of the preflight"),
            )
            .when(sfn.Condition.boolean_equals("$.preflight.recovery_point", True), recovery)
            .otherwise(look)
        )

    def _recover(self, function: lambda_.IFunction, *, then: sfn.IChainable, failed: sfn.IChainable) -> sfn.IChainable:
        start = self._invoke("StartRecoveryPoints", function, {"cutover_id.$": CUTOVER_ID}, result_path="$.recovery")
        look = self._invoke(
            "LookAtRecoveryPoints",
            function,
            {"cutover_id.$": CUTOVER_ID, "jobs.$": "$.recovery.jobs"},
            result_path="$.recovery",
        )
        wait = sfn.Wait(self, "WaitForRecoveryPoints", time=sfn.WaitTime.duration(cdk.Duration.minutes(1)))
        wait.next(look)
        complete = (
            sfn.Choice(self, "RecoveryPointsComplete")
            .when(sfn.Condition.boolean_equals("$.recovery.complete", True), then)
            .otherwise(wait)
        )
        start.next(complete)
        look.next(complete)
        for state in (start, look):
            state.add_catch(failed, errors=["States.ALL"], result_path="$.error")
        return start

    def _roll_back(self, function: lambda_.IFunction) -> dict[str, sfn.IChainable]:
        """Two ways into the rollback, which differ in where the reason is. Not every error has a cause."""
        reasons = {
            "verdict": ("RollBack", "$.look.reason"),
            "error": ("RollBackAfterError", "States.JsonToString($.error)"),
        }
        ends: dict[str, sfn.IChainable] = {}
        for why, (name, path) in reasons.items():
            state = self._invoke(
                name,
                function,
                {
                    "cutover_id.$": CUTOVER_ID,
                    "requested_by": "state machine",
                    "reason.$": path,
                    "from_state_machine": True,
                },
                result_path="$.rollback",
                patient=True,
            )
            ends[why] = state.next(
                sfn.Fail(self, f"{name}Done", error="RolledBack", cause="The reason is in the journal of the cutover")
            )
        return ends

    def _invoke(
        self,
        construct_id: str,
        function: lambda_.IFunction,
        payload: dict[str, object],
        *,
        result_path: str,
        patient: bool = False,
    ) -> tasks.LambdaInvoke:
        state = tasks.LambdaInvoke(
            self,
            construct_id,
            lambda_function=function,
            payload=sfn.TaskInput.from_object(payload),
            payload_response_only=True,
            result_path=result_path,
            retry_on_service_exceptions=False,
        )
        # Every function can be called again from any point; a rollback is tried for a long time.
        state.add_retry(
            errors=["States.ALL"],
            interval=cdk.Duration.seconds(2),
            max_attempts=20 if patient else 4,
            backoff_rate=2,
            max_delay=cdk.Duration.seconds(60),
            jitter_strategy=sfn.JitterType.FULL,
        )
        return state
