"""Secrets Manager, DynamoDB and DMS as moto's server offers them over HTTP; the clients are the real ones."""

from __future__ import annotations

import io
import json
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient
    from mypy_boto3_dms.type_defs import ReplicationTaskTypeDef
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient


@dataclass(frozen=True, kw_only=True)
class LocalAws:
    """Attributes: rotation_function_arn: a function that moto calls and that does nothing."""

    endpoint_url: str
    rotation_function_arn: str

    def client(self, service: str) -> Any:
        """A new client, so that a test can watch its calls without watching anybody else's."""
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"mode": "standard", "max_attempts": 2}),
        )

    @cache  # noqa: B019 - there is one of us for the whole run
    def shared_client(self, service: str) -> Any:
        """A client for those who watch nothing."""
        return self.client(service)

    def secrets_manager(self) -> SecretsManagerClient:
        client: SecretsManagerClient = self.shared_client("secretsmanager")
        return client

    def dynamodb(self) -> DynamoDBClient:
        client: DynamoDBClient = self.shared_client("dynamodb")
        return client

    def dms(self) -> DatabaseMigrationServiceClient:
        client: DatabaseMigrationServiceClient = self.shared_client("dms")
        return client

    def create_secret(self, document: object) -> str:
        """A secret with the JSON, and its ARN."""
        text = document if isinstance(document, str) else json.dumps(document)
        return self.secrets_manager().create_secret(Name=f"secret-{uuid4()}", SecretString=text)["ARN"]

    def begin_rotation(self, secret_arn: str) -> str:
        """RotateSecret as Secrets Manager begins it: a pending version without a value; the version's id."""
        secrets_manager = self.secrets_manager()
        stages = secrets_manager.describe_secret(SecretId=secret_arn)["VersionIdsToStages"]
        for version, labels in stages.items():
            # AWS takes the label of a finished rotation over by itself; moto 5.2.5 refuses to begin another.
            if "AWSPENDING" in labels and "AWSCURRENT" in labels:
                secrets_manager.update_secret_version_stage(
                    SecretId=secret_arn, VersionStage="AWSPENDING", RemoveFromVersionId=version
                )
        return secrets_manager.rotate_secret(
            SecretId=secret_arn,
            ClientRequestToken=str(uuid4()),
            RotationLambdaARN=self.rotation_function_arn,
            RotationRules={"AutomaticallyAfterDays": 30},
        )["VersionId"]

    def create_state_table(self) -> str:
        """An empty state table, and its name."""
        name = f"state-{uuid4()}"
        self.dynamodb().create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
        )
        return name

    def hold_lease(self, table_name: str, *, expires_at: float) -> None:
        self.dynamodb().put_item(
            TableName=table_name,
            Item={
                "pk": {"S": "LEASE"},
                "sk": {"S": "cutover"},
                "holder": {"S": "state machine"},
                "cutover_id": {"S": "cutover-7"},
                "expires_at": {"N": str(int(expires_at))},
            },
        )

    def release_lease(self, table_name: str) -> None:
        self.dynamodb().delete_item(TableName=table_name, Key={"pk": {"S": "LEASE"}, "sk": {"S": "cutover"}})

    def create_replication_task(self, *, running: bool = True) -> str:
        """A replication task, started or just created, and its ARN."""
        dms = self.dms()
        arn = dms.create_replication_task(
            ReplicationTaskIdentifier=f"task-{uuid4()}",
            SourceEndpointArn="arn:aws:dms:us-east-1:123456789012:endpoint:source",
            TargetEndpointArn="arn:aws:dms:us-east-1:123456789012:endpoint:target",
            ReplicationInstanceArn="arn:aws:dms:us-east-1:123456789012:rep:instance",
            MigrationType="cdc",
            TableMappings="{}",
        )["ReplicationTask"]["ReplicationTaskArn"]
        dms.start_replication_task(ReplicationTaskArn=arn, StartReplicationTaskType="start-replication")
        if not running:
            dms.stop_replication_task(ReplicationTaskArn=arn)
        return arn

    def set_alarm(self, name: str, state: str = "OK") -> None:
        """An alarm in a state."""
        cloudwatch = self.shared_client("cloudwatch")
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            MetricName="errors",
            Namespace="payments",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanThreshold",
            Statistic="Sum",
        )
        cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="as the test has it")

    def report_replication(self, tasks: Sequence[Mapping[str, Any]], metrics: Mapping[str, float]) -> None:
        """DMS reports these values, by metric, for each of the tasks."""
        self.shared_client("cloudwatch").put_metric_data(
            Namespace="AWS/DMS",
            MetricData=[
                {
                    "MetricName": metric,
                    "Dimensions": [
                        {"Name": "ReplicationInstanceIdentifier", "Value": "instance"},
                        {"Name": "ReplicationTaskIdentifier", "Value": task["identifier"]},
                    ],
                    "Timestamp": datetime.now(UTC) - timedelta(minutes=1),
                    "Value": value,
                }
                for metric, value in metrics.items()
                for task in tasks
            ],
        )

    def delete_replication_tasks(self) -> None:
        """All of them: moto 5.2.5 describes the first hundred and hides the rest, however many pages are asked for."""
        dms = self.dms()
        while tasks := dms.describe_replication_tasks()["ReplicationTasks"]:
            for task in tasks:
                dms.delete_replication_task(ReplicationTaskArn=task["ReplicationTaskArn"])

    def task_started_at(self, arn: str) -> datetime:
        """When the task was started last."""
        return self._task(arn)["ReplicationTaskStartDate"]

    def task_status(self, arn: str) -> str:
        return self._task(arn)["Status"]

    def _task(self, arn: str) -> ReplicationTaskTypeDef:
        found = self.dms().describe_replication_tasks(Filters=[{"Name": "replication-task-arn", "Values": [arn]}])
        return found["ReplicationTasks"][0]


@contextmanager
def local_aws() -> Iterator[LocalAws]:
    """moto's server on a free port of the loopback interface."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint_url = f"http://{host}:{port}"
        # Functions answer at once instead of running in Docker.
        _post(f"{endpoint_url}/moto-api/config", {"lambda": {"use_docker": False}})
        yield LocalAws(endpoint_url=endpoint_url, rotation_function_arn=_create_function(endpoint_url))
    finally:
        server.stop()


def _create_function(endpoint_url: str) -> str:
    aws = LocalAws(endpoint_url=endpoint_url, rotation_function_arn="")
    role = aws.client("iam").create_role(RoleName=f"role-{uuid4()}", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("handler.py", "def lambda_handler(event, context): pass\n")
    function = aws.client("lambda").create_function(
        FunctionName=f"rotation-{uuid4()}",
        Runtime="python3.13",
        Role=role,
        Handler="handler.lambda_handler",
        Code={"ZipFile": code.getvalue()},
    )
    return str(function["FunctionArn"])


def _post(url: str, document: object) -> None:
    request = urllib.request.Request(url, data=json.dumps(document).encode(), method="POST")  # noqa: S310
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request).close()  # noqa: S310
