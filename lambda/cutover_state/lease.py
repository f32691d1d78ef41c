"""The lease of a cutover: whoever holds it is the only one to move traffic or the writer, and rotations wait.

Not being able to read it counts as held: a function that must not work during a cutover does not work either while
it cannot know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from cutover_state.layout import LEASE_PARTITION, LEASE_SORT, key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class LeaseUnreadableError(Exception):
    """Whether a cutover holds the lease cannot be known; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Attributes: expires_at: epoch seconds; from then on the lease binds nobody."""

    holder: str
    cutover_id: str
    expires_at: int

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Self:
        """Raises: LeaseUnreadableError: The item is not of the layout."""
        try:
            return cls(
                holder=item["holder"]["S"],
                cutover_id=item["cutover_id"]["S"],
                expires_at=int(item["expires_at"]["N"]),
            )
        except (KeyError, TypeError, ValueError):
            raise LeaseUnreadableError(
                "the lease item must have holder (S), cutover_id (S) and expires_at (N, epoch seconds); "
                f"it has {', '.join(sorted(item))}"
            ) from None

    def is_held(self, *, now: float) -> bool:
        return self.expires_at > now


def read_lease(dynamodb: DynamoDBClient, *, table_name: str) -> Lease | None:
    """The lease item, held or expired, or None when there is none; read consistently.

    Raises:
        LeaseUnreadableError: The table cannot be read, or the item is malformed.
    """
    try:
        response = dynamodb.get_item(TableName=table_name, Key=key(LEASE_PARTITION, LEASE_SORT), ConsistentRead=True)
    except (ClientError, BotoCoreError) as error:
        raise LeaseUnreadableError(f"state table {table_name} cannot be read: {error}") from None
    item = response.get("Item")
    return None if item is None else Lease.from_item(item)


class LeaseTakenError(Exception):
    """Another holder has the lease; the message says who and until when."""


def take_lease(dynamodb: DynamoDBClient, *, table_name: str, lease: Lease, now: float) -> None:
    """Take the lease, or extend it when the same cutover has it already.

    Raises:
        LeaseTakenError: another cutover holds it.
    """
    try:
        dynamodb.put_item(
            TableName=table_name,
            Item={
                **key(LEASE_PARTITION, LEASE_SORT),
                "holder": {"S": lease.holder},
                "cutover_id": {"S": lease.cutover_id},
                "expires_at": {"N": str(lease.expires_at)},
            },
            ConditionExpression="attribute_not_exists(pk) OR expires_at <= :now OR cutover_id = :cutover",
            ExpressionAttributeValues={":now": {"N": str(int(now))}, ":cutover": {"S": lease.cutover_id}},
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        held = read_lease(dynamodb, table_name=table_name)
        whose = f"{held.cutover_id} ({held.holder}) until {held.expires_at}" if held else "somebody else"
        raise LeaseTakenError(f"the lease is held by {whose}, in epoch seconds") from None


def release_lease(dynamodb: DynamoDBClient, *, table_name: str, cutover_id: str) -> None:
    """Give the lease up; that it is not ours any more is as good."""
    try:
        dynamodb.delete_item(
            TableName=table_name,
            Key=key(LEASE_PARTITION, LEASE_SORT),
            ConditionExpression="cutover_id = :cutover",
            ExpressionAttributeValues={":cutover": {"S": cutover_id}},
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
