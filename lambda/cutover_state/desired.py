"""The desired state: the weights, the records and the writer that should be, whoever looks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from cutover_state.layout import DESIRED_PARTITION, DESIRED_SORT, key

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


class DesiredStore:
    """The desired state in the state table."""

    def __init__(self, dynamodb: DynamoDBClient, *, table_name: str) -> None:
        self._dynamodb = dynamodb
        self._table_name = table_name

    def read(self) -> Desired | None:
        """The desired state, read consistently; None as long as nobody has set one."""
        item = self._dynamodb.get_item(
            TableName=self._table_name, Key=key(DESIRED_PARTITION, DESIRED_SORT), ConsistentRead=True
        ).get("Item")
        if item is None:
            return None
        return Desired(**json.loads(item["desired"]["S"]), version=int(item["version"]["N"]))

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


def desire(store: DesiredStore, *, by: str, **changes: Any) -> Desired | None:
    """Change part of the desired state, whatever else others change in it; None when there is none yet.

    Raises:
        DesiredConflictError: others changed it again and again.
    """
    for _ in range(_ATTEMPTS):
        desired = store.read()
        if desired is None:
            return None
        changed = replace(desired, by=by, **changes)
        if replace(desired, by=by) == changed:
            return desired
        try:
            return store.write(changed)
        except DesiredConflictError:
            continue
    raise DesiredConflictError("the desired state changes all the time; try again")
