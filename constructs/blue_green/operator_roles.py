"""Who sits at the command line ``bluegreen``: a role for looking and a role for moving, and what the command needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from blue_green.cutover_functions import CutoverFunctions, Surroundings
from policy.acknowledgement import acknowledge

RUN_PARTITION = "RUN"
"""Partition key of the run in the state table (lambda/cutover_state/layout.py), into which orders are written."""

DMS_ROLES = ("dms-vpc-role", "dms-cloudwatch-logs-role")
"""Roles that DMS looks for by name; ``bluegreen doctor`` looks whether they are there."""

QUOTAS = ("fargate/L-3032A538", "ec2/L-0263D0A3", "vpc/L-29B6F2EB")
"""Quotas that ``bluegreen doctor`` reads: Fargate vCPUs, elastic IP addresses, interface endpoints in a VPC."""

SESSION = cdk.Duration.hours(4)
"""A cutover that goes by the default plan is watched from its beginning to its end in one session."""


class OperatorSeat(Construct):
    """Two roles that people of this account assume with a second factor, and the parameters of the command line.

    Observers read. Operators may besides begin a cutover, give it orders, take it back, and start and stop the
    replication: by calling the runtime, which checks and journals. Neither can move weights, records or the writer
    itself, and neither can read a secret.

    Attributes:
        observer: the role for looking.
        operator: the role for moving.
    """

    observer: iam.Role
    operator: iam.Role

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        path: str,
        surroundings: Surroundings,
        functions: CutoverFunctions,
        state_machine: sfn.IStateMachine,
        vpc_id: str,
        alarms: Mapping[str, Sequence[str]],
    ) -> None:
        """Args:
        path: parameters of the stage begin with it.
        alarms: names of the alarms that ``bluegreen status`` shows, by what they are about.
        """
        super().__init__(scope, construct_id)
        self._stack = cdk.Stack.of(self)
        self._with = surroundings
        looking = self._looking(path)
        moving = self._moving(functions, state_machine)
        self.observer = self._role("Observer", "Looks at cutovers: bluegreen status, history, explain", [looking])
        self.operator = self._role("Operator", "Moves cutovers and takes them back: bluegreen", [looking, moving])
        parameters = {
            "observer-role-arn": self.observer.role_arn,
            "operator-role-arn": self.operator.role_arn,
            "replication-instance": surroundings.replication_instance,
            "vpc-id": vpc_id,
            **{f"alarms/{about}": ",".join(names) for about, names in alarms.items()},
        }
        for name, value in parameters.items():
            ssm.StringParameter(
                self,
                "".join(part.capitalize() for part in name.replace("/", "-").split("-")),
                parameter_name=f"{path}/cutover/{name}",
                string_value=value,
            )

    def _role(self, name: str, description: str, policies: Sequence[iam.IManagedPolicy]) -> iam.Role:
        return iam.Role(
            self,
            name,
            assumed_by=iam.AccountPrincipal(self._stack.account).with_conditions(
                {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
            ),
            description=description,
            managed_policies=list(policies),
            max_session_duration=SESSION,
        )

    def _looking(self, path: str) -> iam.ManagedPolicy:
        given, stack = self._with, self._stack
        arn = f"arn:{stack.partition}"
        here = f"{stack.region}:{stack.account}"
        policy = iam.ManagedPolicy(self, "Looking", description="What bluegreen reads")
        _allow(policy, "ssm:GetParametersByPath", resources=[f"{arn}:ssm:{here}:parameter{path}"])
        _allow(policy, "dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan", resources=[given.state_table[1]])
        _allow(
            policy,
            "kms:Decrypt",
            resources=[given.state_key.key_arn],
            conditions=self._through("dynamodb"),
        )
        _allow(
            policy,
            "route53:ListResourceRecordSets",
            resources=[f"{arn}:route53:::hostedzone/{given.hosted_zone_id}"],
        )
        _allow(policy, "ecs:DescribeServices", resources=[each for _, each in given.ecs_services.values()])
        _allow(policy, "secretsmanager:DescribeSecret", resources=list(given.rotated_secret_arns))
        _allow(policy, "iam:GetRole", resources=[f"{arn}:iam::{stack.account}:role/{name}" for name in DMS_ROLES])
        _allow(
            policy,
            "servicequotas:GetServiceQuota",
            resources=[f"{arn}:servicequotas:{here}:{quota}" for quota in QUOTAS],
        )
        _allow(
            policy,
            "cloudwatch:DescribeAlarms",
            "cloudwatch:GetMetricData",
            "dms:DescribeConnections",
            "dms:DescribeReplicationTasks",
            "ec2:DescribeVpcEndpoints",
            "ecs:DescribeTaskDefinition",
            "elasticloadbalancing:DescribeRules",
            "elasticloadbalancing:DescribeTargetHealth",
            resources=["*"],
        )
        acknowledge(
            policy,
            "AwsSolutions::AwsSolutions-IAM5[Resource::*]",
            reason="CloudWatch, DMS, EC2, ECS and Elastic Load Balancing let these descriptions be granted on all "
            "resources only; none of them changes anything or reads payments or secrets.",
        )
        return policy

    def _moving(self, functions: CutoverFunctions, state_machine: sfn.IStateMachine) -> iam.ManagedPolicy:
        given = self._with
        policy = iam.ManagedPolicy(self, "Moving", description="What bluegreen asks the runtime for")
        called = (functions.preflight, functions.writer_switch, functions.rollback, functions.replication_control)
        _allow(policy, "lambda:InvokeFunction", resources=[each.function.function_arn for each in called])
        _allow(policy, "states:StartExecution", resources=[state_machine.state_machine_arn])
        # Orders only: the journal, the lease and the desired state are the runtime's.
        _allow(
            policy,
            "dynamodb:PutItem",
            resources=[given.state_table[1]],
            conditions={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [RUN_PARTITION]}},
        )
        for service in ("dynamodb", "states"):
            _allow(
                policy,
                "kms:Decrypt",
                "kms:GenerateDataKey",
                resources=[given.state_key.key_arn],
                conditions=self._through(service),
            )
        return policy

    def _through(self, service: str) -> dict[str, dict[str, str]]:
        return {"StringEquals": {"kms:ViaService": f"{service}.{self._stack.region}.amazonaws.com"}}


def _allow(
    policy: iam.ManagedPolicy,
    *actions: str,
    resources: Sequence[str],
    conditions: Mapping[str, Mapping[str, object]] | None = None,
) -> None:
    policy.add_statements(iam.PolicyStatement(actions=list(actions), resources=list(resources), conditions=conditions))
