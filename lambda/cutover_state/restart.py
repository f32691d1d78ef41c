"""Restarts of replication tasks that a rotated secret makes necessary: what is owed, and how far it came.

The record is written before the secret's new version becomes current and removed when every task runs again, so that
a crash anywhere leaves behind what is still to do. While any of these items exists, replication may pause at any
moment: a cutover must not begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Self

from botocore.exceptions import ClientError

from cutover_state.layout import LEASE_PARTITION, LEASE_SORT, RESTART_CLAIM_SORT, RESTART_PARTITION, key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

_LEASE_IS_FREE: Final = "attribute_not_exists(pk) OR expires_at <= :now"


class LeaseHeldError(Exception):
    """A cutover holds the lease: no task may be stopped."""


class RestartClaimedError(Exception):
    """Another invocation is restarting tasks."""


class RestartRecordError(Exception):
    """The record is not of the layout."""


class TaskPhase(Enum):
    """How far the restart of one task came.

    RUNNING: found running, not touched. STOPPING: about to be stopped by us, or stopped by us. STARTING: about to be
    started by us, or started by us. DONE: runs again. LEFT: was not running, so somebody else stopped it; not touched.
    """

    RUNNING = "running"
    STOPPING = "stopping"
    STARTING = "starting"
    DONE = "done"
    LEFT = "left"


@dataclass(frozen=True, kw_only=True)
class RestartRecord:
    """A restart that is owed.

    Attributes:
        secret_arn: The secret that was rotated.
        version_id: The version for which the tasks must be restarted; owed once it is AWSCURRENT.
        tasks: The phase of each task, in no order; None before the tasks were looked at.
    """

    secret_arn: str
    version_id: str
    tasks: Mapping[str, TaskPhase] | None

    @property
    def has_stopped_tasks(self) -> bool:
        """Whether a task may stand still because of us."""
        return any(phase in (TaskPhase.STOPPING, TaskPhase.STARTING) for phase in (self.tasks or {}).values())

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Self:
        """Raises: RestartRecordError: The item is not of the layout."""
        try:
            tasks = item.get("tasks")
            return cls(
                secret_arn=item["sk"]["S"],
                version_id=item["version_id"]["S"],
                tasks=None if tasks is None else {arn: TaskPhase(phase["S"]) for arn, phase in tasks["M"].items()},
            )
        except (KeyError, TypeError, ValueError):
            raise RestartRecordError(
                "the restart item must have version_id (S) and, once begun, tasks (M: ARN to one of "
                f"{', '.join(phase.value for phase in TaskPhase)}); it has {', '.join(sorted(item))}"
            ) from None


class RestartStore:
    """The records in the state table. All writes can be repeated."""

    def __init__(self, dynamodb: DynamoDBClient, *, table_name: str) -> None:
        self._dynamodb = dynamodb
        self._table_name = table_name

    def request(self, secret_arn: str, version_id: str, *, now: float) -> None:
        """Record that the tasks must be restarted once the version is current; a begun record of it stays."""
        try:
            self._dynamodb.put_item(
                TableName=self._table_name,
                Item={
                    **key(RESTART_PARTITION, secret_arn),
                    "version_id": {"S": version_id},
                    "requested_at": {"N": str(int(now))},
                },
                ConditionExpression="attribute_not_exists(pk) OR version_id <> :version",
                ExpressionAttributeValues={":version": {"S": version_id}},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise

    def read(self, secret_arn: str) -> RestartRecord | None:
        """Raises: RestartRecordError: The item is not of the layout."""
        response = self._dynamodb.get_item(
            TableName=self._table_name, Key=key(RESTART_PARTITION, secret_arn), ConsistentRead=True
        )
        item = response.get("Item")
        return None if item is None else RestartRecord.from_item(item)

    def claim(self, owner: str, *, now: float, until: float, lease_must_be_free: bool) -> None:
        """Become the one invocation that restarts tasks, until the moment at which it cannot live any more.

        Raises:
            LeaseHeldError: A cutover holds the lease, and it must be free.
            RestartClaimedError: Another invocation has the claim.
        """
        put: TransactWriteItemTypeDef = {
            "Put": {
                "TableName": self._table_name,
                "Item": {
                    **key(RESTART_PARTITION, RESTART_CLAIM_SORT),
                    "owner": {"S": owner},
                    "expires_at": {"N": str(int(until))},
                },
                "ConditionExpression": "attribute_not_exists(pk) OR expires_at <= :now OR #owner = :owner",
                "ExpressionAttributeNames": {"#owner": "owner"},
                "ExpressionAttributeValues": {":now": {"N": str(int(now))}, ":owner": {"S": owner}},
            }
        }
        checks = [self._lease_check(now)] if lease_must_be_free else []
        self._transact([*checks, put], refused=RestartClaimedError("another rotation is restarting tasks"))

    def release(self, owner: str) -> None:
        """Give the claim up; that it is not ours any more is as good."""
        try:
            self._dynamodb.delete_item(
                TableName=self._table_name,
                Key=key(RESTART_PARTITION, RESTART_CLAIM_SORT),
                ConditionExpression="#owner = :owner",
                ExpressionAttributeNames={"#owner": "owner"},
                ExpressionAttributeValues={":owner": {"S": owner}},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise

    def begin(self, secret_arn: str, tasks: Mapping[str, TaskPhase]) -> None:
        """Record which tasks were running before the first of them is touched; only the first record counts."""
        self._dynamodb.update_item(
            TableName=self._table_name,
            Key=key(RESTART_PARTITION, secret_arn),
            UpdateExpression="SET tasks = if_not_exists(tasks, :tasks)",
            ConditionExpression="attribute_exists(pk)",
            ExpressionAttributeValues={":tasks": {"M": {arn: {"S": p.value} for arn, p in tasks.items()}}},
        )

    def set_phase(self, secret_arn: str, task_arn: str, phase: TaskPhase, *, now: float) -> None:
        """Record how far one task came. That one will be stopped is recorded only while the lease is free.

        Raises:
            LeaseHeldError: A cutover holds the lease, and the phase is STOPPING.
        """
        update: TransactWriteItemTypeDef = {
            "Update": {
                "TableName": self._table_name,
                "Key": key(RESTART_PARTITION, secret_arn),
                "UpdateExpression": "SET tasks.#task = :phase",
                "ConditionExpression": "attribute_exists(tasks.#task)",
                "ExpressionAttributeNames": {"#task": task_arn},
                "ExpressionAttributeValues": {":phase": {"S": phase.value}},
            }
        }
        checks = [self._lease_check(now)] if phase is TaskPhase.STOPPING else []
        self._transact([*checks, update], refused=RestartRecordError(f"the restart record has no task {task_arn}"))

    def finish(self, secret_arn: str) -> None:
        """Every task runs again: nothing is owed."""
        self._dynamodb.delete_item(TableName=self._table_name, Key=key(RESTART_PARTITION, secret_arn))

    def _lease_check(self, now: float) -> TransactWriteItemTypeDef:
        return {
            "ConditionCheck": {
                "TableName": self._table_name,
                "Key": key(LEASE_PARTITION, LEASE_SORT),
                "ConditionExpression": _LEASE_IS_FREE,
                "ExpressionAttributeValues": {":now": {"N": str(int(now))}},
            }
        }

    def _transact(self, items: list[TransactWriteItemTypeDef], *, refused: Exception) -> None:
        """Write all or nothing; the last item is ours, one before it is the check of the lease."""
        try:
            self._dynamodb.transact_write_items(TransactItems=items)
        except self._dynamodb.exceptions.TransactionCanceledException as error:
            codes = [reason.get("Code") for reason in error.response.get("CancellationReasons", [])]
            if len(codes) == 2 and codes[0] == "ConditionalCheckFailed":
                raise LeaseHeldError("a cutover holds the lease") from None
            if codes and codes[-1] == "ConditionalCheckFailed":
                raise refused from None
            raise
