"""AWS's interfaces on the loopback interface, and the resources in them that the deployed runtime works on."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import boto3
from botocore.config import Config

from rehearsal.control_plane.aws_process import THROTTLE_TAG, UNHEALTHY_TAG
from rehearsal.databases.server import HOST, free_port

REGION: Final = "us-east-1"
PAYMENTS_HOST: Final = "api.payments.test"
LOAD_BALANCER: Final = "app/payments/1"
START_TIMEOUT_SECONDS: Final = 30.0
DNS_TTL_SECONDS: Final = 60
SLOWER_THAN_SECONDS: Final = 2.0
"""The objective: a busy machine answers some requests of a healthy service in more than one second."""


class AwsProcess:
    """The server of AWS's interfaces. A context manager.

    Attributes:
        environment: what any process needs to talk to it.
    """

    def __init__(self, *, log_path: Path, running_tasks: int) -> None:
        """Args: running_tasks: that every ECS service says it has."""
        port = free_port()
        self._log = log_path.open("ab")
        self.endpoint_url = f"http://{HOST}:{port}"
        self.environment: Mapping[str, str] = {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._clients: dict[str, Any] = {}
        self._process = subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-m", "rehearsal.control_plane.aws_process", str(port)],
            cwd=Path(__file__).resolve().parents[2],
            env={"MOTO_ECS_SERVICE_RUNNING": str(running_tasks), "PATH": ""},
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def client(self, service: str) -> Any:
        """A client that all threads may use."""
        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,  # type: ignore[call-overload]
                endpoint_url=self.endpoint_url,
                region_name=REGION,
                aws_access_key_id="local",
                aws_secret_access_key="local",  # noqa: S106 (moto takes any)
                config=Config(
                    retries={"mode": "standard", "max_attempts": 2},
                    max_pool_connections=20,
                    # Checking every answer's and parameter's form costs more than the call.
                    parameter_validation=False,
                ),
            )
        return self._clients[service]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._log.close()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{self.endpoint_url}/moto-api/data.json", timeout=5).close()  # noqa: S310
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the local AWS did not start: {error}; see {self._log.name}") from None
                time.sleep(0.05)
            else:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, kw_only=True)
class Task:
    """A replication task. Attributes: identifier: last part of its ARN; loads: it loads before it replicates."""

    arn: str
    source: str
    target: str

    @property
    def identifier(self) -> str:
        return self.arn.rpartition(":")[2]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the stacks would have made.

    Attributes:
        target_groups: ARNs by environment.
        targets: how many targets each environment has.
        secrets: ARNs of ``admin`` and ``application`` by database.
        alarms: names by side.
    """

    aws: AwsProcess
    rule_arn: str
    target_groups: Mapping[str, str]
    targets: int
    hosted_zone_id: str
    table: str
    machine_arn: str
    topic_arn: str
    tasks: tuple[Task, ...]
    secrets: Mapping[str, Mapping[str, str]]
    alarms: Mapping[str, tuple[str, ...]]
    database_ca: Path
    verdict: Mapping[str, Any]

    @classmethod
    def create(
        cls,
        aws: AwsProcess,
        *,
        chain: tuple[str, ...],
        secrets: Mapping[str, Mapping[str, str]],
        database_ca: Path,
        targets: int,
        verdict: Mapping[str, Any],
    ) -> Self:
        """Blue and legacy have all of the traffic, every task runs, every alarm is quiet."""
        elbv2, ec2, route53 = aws.client("elbv2"), aws.client("ec2"), aws.client("route53")
        subnets = ec2.describe_subnets()["Subnets"][:2]
        balancer = elbv2.create_load_balancer(Name="payments", Subnets=[each["SubnetId"] for each in subnets])
        groups = {}
        for side in ("blue", "green"):
            group = elbv2.create_target_group(
                Name=side, Protocol="HTTPS", Port=8443, VpcId=subnets[0]["VpcId"], TargetType="ip"
            )
            groups[side] = group["TargetGroups"][0]["TargetGroupArn"]
            addresses = [{"Id": target_address(side, target), "Port": 8443} for target in range(targets)]
            elbv2.register_targets(TargetGroupArn=groups[side], Targets=addresses)
        listener = elbv2.create_listener(
            LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"],
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}],
        )["Listeners"][0]["ListenerArn"]
        rule = elbv2.create_rule(
            ListenerArn=listener,
            Priority=100,
            Conditions=[{"Field": "host-header", "HostHeaderConfig": {"Values": [PAYMENTS_HOST]}}],
            Actions=[forward(groups, {"blue": 100, "green": 0})],
        )["Rules"][0]["RuleArn"]
        zone = route53.create_hosted_zone(Name=f"{PAYMENTS_HOST.partition('.')[2]}.", CallerReference="rehearsal")
        zone_id = zone["HostedZone"]["Id"].rpartition("/")[2]
        resources = cls(
            aws=aws,
            rule_arn=rule,
            target_groups=groups,
            targets=targets,
            hosted_zone_id=zone_id,
            table=_create_table(aws),
            machine_arn=_create_machine(aws),
            topic_arn=aws.client("sns").create_topic(Name="cutovers")["TopicArn"],
            tasks=tuple(
                _create_task(aws, source, target)
                for left, right in itertools.pairwise(chain)
                for source, target in ((left, right), (right, left))
            ),
            secrets=secrets,
            alarms={
                "blue": ("blue-health",),
                "green": ("green-health",),
                "aws": ("blue-health", "green-health"),
                "legacy": ("legacy-health",),
            },
            database_ca=database_ca,
            verdict=verdict,
        )
        resources.set_records({"legacy": 100, "aws": 0})
        for name in ("blue-health", "green-health", "legacy-health"):
            aws.client("cloudwatch").put_metric_alarm(
                AlarmName=name,
                MetricName=name,
                Namespace="rehearsal",
                Period=60,
                EvaluationPeriods=1,
                Threshold=1,
                ComparisonOperator="GreaterThanThreshold",
                Statistic="Sum",
            )
            resources.set_alarm(name, firing=False, reason="nothing was seen yet")
        for side in ("blue", "green"):
            aws.client("ecs").create_cluster(clusterName="payments")
            aws.client("ecs").register_task_definition(
                family=side, containerDefinitions=[{"name": "payments", "image": "payments", "memory": 512}]
            )
            aws.client("ecs").create_service(
                cluster="payments", serviceName=side, taskDefinition=side, desiredCount=targets, launchType="FARGATE"
            )
        for name, value in (("/cutover/plan", "{}"), ("/cutover/verdict", json.dumps(verdict))):
            aws.client("ssm").put_parameter(Name=name, Value=value, Type="String", Overwrite=True)
        return resources

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """Every environment variable that a function of the runtime has, by its name in the templates."""
        account = "arn:aws:iam::123456789012:role/backup"
        chain = list(dict.fromkeys(name for task in self.tasks for name in (task.source, task.target)))
        secrets = {
            name: {"admin_secret_arn": pair["admin"], "application_secret_arn": pair["application"]}
            for name, pair in self.secrets.items()
        }
        directions = ("blue-green", "green-blue", "legacy-aws", "aws-legacy")
        return {
            "STATE_TABLE_NAME": self.table,
            "NOTIFICATION_TOPIC_ARN": self.topic_arn,
            "LISTENER_RULE_ARN": self.rule_arn,
            "TARGET_GROUP_ARNS": json.dumps(dict(self.target_groups)),
            "TARGET_GROUP_NAMES": json.dumps({side: target_group_name(side) for side in self.target_groups}),
            "LOAD_BALANCER_NAME": LOAD_BALANCER,
            "HOSTED_ZONE_ID": self.hosted_zone_id,
            "PAYMENTS_HOST": PAYMENTS_HOST,
            "CHAIN": json.dumps(chain),
            "WRITER_SWITCH_DATABASES": json.dumps(secrets),
            "DATABASE_CA_PATH": str(self.database_ca),
            "PAYMENT_SCHEMA": "payments",
            "REPLICATION_INSTANCE": "replication",
            "REPLICATION_TASKS": json.dumps(
                [
                    {
                        "identifier": task.identifier,
                        "source": task.source,
                        "target": task.target,
                        "loads": chain.index(task.source) < chain.index(task.target),
                    }
                    for task in self.tasks
                ]
            ),
            "ALARMS": json.dumps(self.alarms),
            "ECS_CLUSTER": "payments",
            "ECS_SERVICES": json.dumps({"blue": "blue", "green": "green"}),
            "ROTATED_SECRET_ARNS": json.dumps([arn for pair in self.secrets.values() for arn in pair.values()]),
            "VERDICT_PARAMETER": "/cutover/verdict",
            "PLAN_PARAMETERS": json.dumps(dict.fromkeys(directions, "/cutover/plan")),
            "SLOWER_THAN_SECONDS": f"{SLOWER_THAN_SECONDS:g}",
            "FIRST_WRITER": chain[0],
            "METRIC_NAMESPACE": "payments/cutover",
            "BACKUP_VAULT": "vault",
            "BACKUP_ROLE_ARN": account,
            "CLUSTER_ARNS": json.dumps([f"arn:aws:rds:{REGION}:123456789012:cluster:{side}" for side in chain]),
        }

    # The levers, read and set by hand.

    def weights(self) -> dict[str, int]:
        """Of the listener rule."""
        rule = self.aws.client("elbv2").describe_rules(RuleArns=[self.rule_arn])["Rules"][0]
        by_arn = {
            each["TargetGroupArn"]: each["Weight"] for each in rule["Actions"][0]["ForwardConfig"]["TargetGroups"]
        }
        return {side: by_arn[arn] for side, arn in self.target_groups.items()}

    def set_weights(self, weights: Mapping[str, int], *, sticky: bool = False) -> None:
        """Set those of the listener rule."""
        self.aws.client("elbv2").modify_rule(
            RuleArn=self.rule_arn, Actions=[forward(self.target_groups, weights, sticky=sticky)]
        )

    def records(self) -> dict[str, int]:
        """Weights of the DNS records."""
        found = self.aws.client("route53").list_resource_record_sets(HostedZoneId=self.hosted_zone_id)
        return {
            each["SetIdentifier"]: each["Weight"]
            for each in found["ResourceRecordSets"]
            if each["Name"] == f"{PAYMENTS_HOST}." and "SetIdentifier" in each
        }

    def set_records(self, weights: Mapping[str, int]) -> None:
        """Set those of the DNS records."""
        values: dict[str, dict[str, Any]] = {
            "legacy": {"TTL": DNS_TTL_SECONDS, "ResourceRecords": [{"Value": "192.0.2.10"}]},
            "aws": {
                "AliasTarget": {
                    "HostedZoneId": "Z35SXDOTRQ7X7K",
                    "DNSName": "payments.us-east-1.elb.amazonaws.com.",
                    "EvaluateTargetHealth": True,
                }
            },
        }
        changes = [
            {
                "Action": "UPSERT",
                "ResourceRecordSet": {
                    "Name": f"{PAYMENTS_HOST}.",
                    "Type": "A",
                    "SetIdentifier": side,
                    "Weight": weight,
                    **values[side],
                },
            }
            for side, weight in weights.items()
        ]
        self.aws.client("route53").change_resource_record_sets(
            HostedZoneId=self.hosted_zone_id, ChangeBatch={"Changes": changes}
        )

    # What the world outside does.

    def set_alarm(self, name: str, *, firing: bool, reason: str) -> None:
        """Put an alarm into a state."""
        self.aws.client("cloudwatch").set_alarm_state(
            AlarmName=name, StateValue="ALARM" if firing else "OK", StateReason=reason
        )

    def set_unhealthy(self, side: str, targets: tuple[int, ...]) -> None:
        """Which targets of an environment fail their health check."""
        addresses = " ".join(target_address(side, target) for target in targets)
        self.aws.client("elbv2").add_tags(
            ResourceArns=[self.target_groups[side]], Tags=[{"Key": UNHEALTHY_TAG, "Value": addresses}]
        )

    def throttle(self, enabled: bool) -> None:
        """Answer every change of the listener rule with Throttling."""
        arns = list(self.target_groups.values())
        if enabled:
            self.aws.client("elbv2").add_tags(ResourceArns=arns, Tags=[{"Key": THROTTLE_TAG, "Value": "yes"}])
        else:
            self.aws.client("elbv2").remove_tags(ResourceArns=arns, TagKeys=[THROTTLE_TAG])

    def clear_state(self) -> None:
        """Empty the state table."""
        dynamodb = self.aws.client("dynamodb")
        for page in dynamodb.get_paginator("scan").paginate(TableName=self.table):
            for item in page["Items"]:
                dynamodb.delete_item(TableName=self.table, Key={"pk": item["pk"], "sk": item["sk"]})


def target_address(side: str, target: int) -> str:
    """The address under which a target is registered."""
    return f"10.0.{('blue', 'green').index(side)}.{target + 1}"


def target_group_name(side: str) -> str:
    """The name of a target group as a dimension of its metrics."""
    return f"targetgroup/{side}/1"


def forward(groups: Mapping[str, str], weights: Mapping[str, int], *, sticky: bool = False) -> dict[str, Any]:
    """A forward action."""
    return {
        "Type": "forward",
        "ForwardConfig": {
            "TargetGroups": [{"TargetGroupArn": arn, "Weight": weights[side]} for side, arn in groups.items()],
            "TargetGroupStickinessConfig": {"Enabled": sticky, **({"DurationSeconds": 3600} if sticky else {})},
        },
    }


def _create_table(aws: AwsProcess) -> str:
    aws.client("dynamodb").create_table(
        TableName="state",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
    )
    return "state"


def _create_machine(aws: AwsProcess) -> str:
    """A machine whose executions run until they are stopped: what they do is done by ``StateMachine``."""
    role = aws.client("iam").create_role(RoleName="cutover", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    created = aws.client("stepfunctions").create_state_machine(
        name="cutover",
        definition=json.dumps({"StartAt": "Run", "States": {"Run": {"Type": "Succeed"}}}),
        roleArn=role,
    )
    return str(created["stateMachineArn"])


def _create_task(aws: AwsProcess, source: str, target: str) -> Task:
    dms = aws.client("dms")
    created = dms.create_replication_task(
        ReplicationTaskIdentifier=f"{source}-to-{target}",
        SourceEndpointArn=f"arn:aws:dms:{REGION}:123456789012:endpoint:{source}",
        TargetEndpointArn=f"arn:aws:dms:{REGION}:123456789012:endpoint:{target}",
        ReplicationInstanceArn=f"arn:aws:dms:{REGION}:123456789012:rep:replication",
        MigrationType="cdc",
        TableMappings="{}",
    )["ReplicationTask"]
    dms.start_replication_task(
        ReplicationTaskArn=created["ReplicationTaskArn"], StartReplicationTaskType="start-replication"
    )
    return Task(arn=created["ReplicationTaskArn"], source=source, target=target)
