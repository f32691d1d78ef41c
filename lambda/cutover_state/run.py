"""The cutover that runs, or ran last: what it moves, how far it came, and what operators told it.

There is one item. It is written under the condition that nobody else changed it, so that of two controllers one is
told to read again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Self

from botocore.exceptions import ClientError

from cutover_state.layout import RUN_PARTITION, RUN_SORT, StateUnreadableError, key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


STUCK_AFTER_SECONDS: Final = 12 * 60
"""The state machine looks every one to five minutes; nobody looking for so long means that nothing drives it."""


class RunConflictError(Exception):
    """Another writer changed the run in the meantime, or another cutover is under way; the message says which."""


class Phase(Enum):
    """Where a cutover is. ``preparing``: checked, nothing moved. ``shifting``: between steps of the plan.
    ``rolling back``: on the way back. ``succeeded``, ``rolled back`` and ``refused`` are ends. ``stuck``: a person is
    needed, because going on by itself could lose payments."""

    PREPARING = "preparing"
    SHIFTING = "shifting"
    ROLLING_BACK = "rolling back"
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled back"
    REFUSED = "refused"
    STUCK = "stuck"

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in (Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.REFUSED)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One cutover.

    Attributes:
        kind: ``environment`` (listener rule and writer) or ``front door`` (DNS records).
        source: the side that serves at the beginning.
        target: the side that shall serve.
        plan: the plan as its JSON document.
        position: where in the plan it stands, as its JSON document.
        verdict: settings of the verdict, frozen at the beginning: they must not change while a step is watched.
        evidence: what the verdict remembers between two looks, as its JSON document; None before the first.
        before: weights (of the lever that moves) and writer at the beginning: what a rollback restores.
        writer_after: the database that is the writer at the end of the plan.
        execution_arn: execution of the state machine, when there is one.
        order: what an operator asks for and has not been looked at yet, as its JSON document.
        asked_step: the step whose approval people were asked for last; None before the first.
        returning: the plan is the one back to ``source``: a gradual rollback.
        looks: how often it was looked at.
        looked_at: epoch seconds of the last look; a cutover that nobody looks at is stuck.
        stuck_told_at: epoch seconds at which people were told last that nobody looks at it.
        reason: why it is in its phase, in words.
        version: grows with each write.
    """

    cutover_id: str
    kind: str
    source: str
    target: str
    plan: Mapping[str, Any]
    phase: Phase
    requested_by: str
    started_at: float
    before: Mapping[str, Any]
    writer_after: str
    position: Mapping[str, Any]
    verdict: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] | None = None
    order: Mapping[str, Any] | None = None
    asked_step: int | None = None
    returning: bool = False
    looks: int = 0
    looked_at: float = 0.0
    stuck_told_at: float = 0.0
    execution_arn: str = ""
    reason: str = ""
    version: int = 0

    def document(self) -> dict[str, Any]:
        """The run as JSON has it, without its version."""
        values = {name: value for name, value in self.__dict__.items() if name != "version"}
        return {**values, "phase": self.phase.value}

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, version: int) -> Self:
        """The run that ``document`` describes."""
        return cls(**{**document, "phase": Phase(document["phase"])}, version=version)

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Self:
        """The run that an item of the table holds.

        Raises:
            StateUnreadableError: the item is not of the layout.
        """
        try:
            return cls.from_document(json.loads(item["run"]["S"]), version=int(item["version"]["N"]))
        except (KeyError, TypeError, ValueError) as error:
            raise StateUnreadableError(
                "the run must have version (N) and run (S), a JSON object with the fields of a run; "
                f"it has {', '.join(sorted(item))} ({type(error).__name__}: {error})"
            ) from None


class RunStore:
    """The run in the state table."""

    def __init__(self, dynamodb: DynamoDBClient, *, table_name: str) -> None:
        self._dynamodb = dynamodb
        self._table_name = table_name

    def read(self) -> Run | None:
        """The run under way or the last one, read consistently; None before the first.

        Raises:
            StateUnreadableError: the item is not of the layout.
        """
        item = self._dynamodb.get_item(
            TableName=self._table_name, Key=key(RUN_PARTITION, RUN_SORT), ConsistentRead=True
        ).get("Item")
        return None if item is None else Run.from_item(item)

    def begin(self, run: Run) -> Run:
        """Write a new run in the place of one that is over.

        Raises:
            RunConflictError: another cutover is under way, or began at the same moment.
        """
        last = self.read()
        if last is not None and last.cutover_id == run.cutover_id:
            return last
        if last is not None and not last.phase.is_over:
            raise RunConflictError(f"cutover {last.cutover_id} is {last.phase.value}; end it before another begins")
        return self._put(run, expected=last.version if last else None)

    def write(self, run: Run) -> Run:
        """Replace the run that was read as ``run.version``.

        Raises:
            RunConflictError: somebody else wrote it since.
        """
        return self._put(run, expected=run.version)

    def _put(self, run: Run, *, expected: int | None) -> Run:
        following = replace(run, version=(expected or 0) + 1)
        condition = "attribute_not_exists(pk)" if expected is None else "version = :expected"
        values = None if expected is None else {":expected": {"N": str(expected)}}
        try:
            self._dynamodb.put_item(
                TableName=self._table_name,
                Item={
                    **key(RUN_PARTITION, RUN_SORT),
                    "version": {"N": str(following.version)},
                    "cutover_id": {"S": run.cutover_id},
                    "phase": {"S": run.phase.value},
                    "run": {"S": json.dumps(following.document(), sort_keys=True)},
                },
                ConditionExpression=condition,
                **({"ExpressionAttributeValues": values} if values else {}),  # type: ignore[arg-type]
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            raise RunConflictError(f"cutover {run.cutover_id} was changed by another writer; read it again") from None
        return following
