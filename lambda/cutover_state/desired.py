"""The desired state: the weights, the records and the writer that should be, whoever looks.

Whoever changes weights says so here first, and then sets them. So the desired state is also the fence between a
rollback and a step that goes forward: a rollback marks the run, then writes the desired state anew, even with the same
values; a step reads the desired state, then the run, then replaces what it read (:mod:`cutover_state.forward`). A step
that saw the run unmarked either comes first and is taken back, or finds the version changed and is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from botocore.exceptions import ClientError

from cutover_state.layout import DESIRED_PARTITION, DESIRED_SORT, StateUnreadableError, key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


_ATTEMPTS: Final = 20


class DesiredConflictError(Exception):
    """Another writer changed the desired state in the meantime."""


@dataclass(frozen=True, kw_only=True)
class Desired:
    """What should be.

    Attributes:
        weights: of the listener rule, by environment.
        records: of the DNS records, by side.
        writer: the database that should admit the application accounts.
        by: the cutover, or who else set it.
        version: grows with each write.
    """

    weights: Mapping[str, int]
    records: Mapping[str, int]
    writer: str
    by: str
    version: int = 0

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Self:
        """The desired state that an item of the table holds.

        Raises:
            StateUnreadableError: the item is not of the layout.
        """
        try:
            desired = cls(**json.loads(item["desired"]["S"]), version=int(item["version"]["N"]))
            for weights in (desired.weights, desired.records):
                if not all(isinstance(side, str) and type(weight) is int for side, weight in weights.items()):
                    raise TypeError
            if not isinstance(desired.writer, str) or not isinstance(desired.by, str):
                raise TypeError
        except (KeyError, TypeError, ValueError, AttributeError):
            raise StateUnreadableError(
                "the desired state must have version (N) and desired (S), a JSON object with weights and records "
                f"(whole numbers by side), writer and by; it has {', '.join(sorted(item))}"
            ) from None
        return desired


class DesiredStore:
    """The desired state in the state table."""

    def __init__(self, dynamodb: DynamoDBClient, *, table_name: str) -> None:
        self._dynamodb = dynamodb
        self._table_name = table_name

    def read(self) -> Desired | None:
        """The desired state, read consistently; None as long as nobody has set one.

        Raises:
            StateUnreadableError: the item is not of the layout.
        """
        item = self._dynamodb.get_item(
            TableName=self._table_name, Key=key(DESIRED_PARTITION, DESIRED_SORT), ConsistentRead=True
        ).get("Item")
        return None if item is None else Desired.from_item(item)

    def write(self, desired: Desired) -> Desired:
        """Replace the state that was read as ``desired.version``; 0 means that there was none.

        Raises:
            DesiredConflictError: somebody else wrote it since.
        """
        following = replace(desired, version=desired.version + 1)
        document = {name: value for name, value in following.__dict__.items() if name != "version"}
        condition = "version = :expected" if desired.version else "attribute_not_exists(pk)"
        values = {":expected": {"N": str(desired.version)}} if desired.version else None
        try:
            self._dynamodb.put_item(
                TableName=self._table_name,
                Item={
                    **key(DESIRED_PARTITION, DESIRED_SORT),
                    "version": {"N": str(following.version)},
                    "desired": {"S": json.dumps(document, sort_keys=True)},
                },
                ConditionExpression=condition,
                **({"ExpressionAttributeValues": values} if values else {}),  # type: ignore[arg-type]
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            raise DesiredConflictError("the desired state was changed by another writer; read it again") from None
        return following


def desire(store: DesiredStore, *, by: str, anew: bool = False, **changes: Any) -> Desired | None:
    """Change part of the desired state, whatever else others change in it; None when there is none yet.

    Args:
        anew: write it even when nothing changes, so that whoever has read it before cannot replace it any more.

    Raises:
        DesiredConflictError: others changed it again and again.
    """
    for _ in range(_ATTEMPTS):
        desired = store.read()
        if desired is None:
            return None
        changed = replace(desired, by=by, **changes)
        if replace(desired, by=by) == changed and not anew:
            return desired
        try:
            return store.write(changed)
        except DesiredConflictError:
            continue
    raise DesiredConflictError("the desired state changes all the time; try again")
