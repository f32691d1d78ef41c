"""The journal: every decision and every change, append-only.

An entry says who did what, when and why, and what was before and after. What changes something has an entry before it
(an intention) and one after it (a result), so that a crash between the two can be seen.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from botocore.exceptions import ClientError

from cutover_state.layout import JOURNAL_PARTITION_PREFIX, StateUnreadableError, key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

STANDING: Final = "standing"
"""Cutover id of what belongs to no cutover, such as a drift that was put right."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the journal.

    Attributes:
        at: when, UTC.
        who: the function, or the person's ARN.
        what: a verb in a few words: ``set weights``, ``roll back``.
        why: in words that an operator understands.
        before: values before, if any were changed.
        after: values after, or intended.
        details: numbers behind the decision.
    """

    cutover_id: str
    at: datetime
    who: str
    what: str
    why: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The entry as JSON has it."""
        return {
            "cutover_id": self.cutover_id,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "who": self.who,
            "what": self.what,
            "why": self.why,
            "before": self.before,
            "after": self.after,
            "details": dict(self.details),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The entry that ``document`` describes."""
        return cls(**{**document, "at": datetime.fromisoformat(document["at"])})

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Self:
        """The entry that an item of the table holds.

        Raises:
            StateUnreadableError: the item is not of the layout.
        """
        try:
            return cls.from_document(json.loads(item["entry"]["S"]))
        except (KeyError, TypeError, ValueError) as error:
            where = item.get("sk", {}).get("S", "?")
            raise StateUnreadableError(
                f"the journal entry {where} must have entry (S), a JSON object with the fields of an entry; "
                f"it has {', '.join(sorted(item))} ({type(error).__name__}: {error})"
            ) from None


class Journal:
    """The journal of one cutover in the state table."""

    def __init__(
        self,
        dynamodb: DynamoDBClient,
        *,
        table_name: str,
        cutover_id: str,
        who: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Args: who: the author of the entries that this object appends."""
        self._dynamodb = dynamodb
        self._table_name = table_name
        self._cutover_id = cutover_id
        self._who = who
        self._now = now
        self._last = datetime.min.replace(tzinfo=UTC)
        self._sequence = itertools.count()

    def append(
        self,
        what: str,
        why: str,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        details: Mapping[str, Any] | None = None,
        who: str | None = None,
    ) -> Entry:
        """Add an entry; none is ever changed."""
        # A clock that is set back must not put an entry before the one that led to it.
        self._last = max(self._now(), self._last)
        entry = Entry(
            cutover_id=self._cutover_id,
            at=self._last,
            who=who or self._who,
            what=what,
            why=why,
            before=before,
            after=after,
            details=details or {},
        )
        document = entry.document()
        text = json.dumps(document, sort_keys=True)
        while True:
            # Entries of one microsecond: the number keeps ours in order, the suffix keeps those of others apart.
            sort = f"{document['at']}#{next(self._sequence):06}-{uuid.uuid4().hex[:8]}"
            try:
                self._dynamodb.put_item(
                    TableName=self._table_name,
                    Item={
                        **key(f"{JOURNAL_PARTITION_PREFIX}{self._cutover_id}", sort),
                        "what": {"S": what},
                        "who": {"S": entry.who},
                        "entry": {"S": text},
                    },
                    # The same entry may be there already: the call is repeated when its answer was lost.
                    ConditionExpression="attribute_not_exists(pk) OR #entry = :entry",
                    ExpressionAttributeNames={"#entry": "entry"},
                    ExpressionAttributeValues={":entry": {"S": text}},
                )
            except ClientError as error:
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
            else:
                return entry

    def entries(self) -> Iterator[Entry]:
        """All entries of the cutover in the order in which they were made.

        Raises:
            StateUnreadableError: an item is not of the layout.
        """
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table_name,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"{JOURNAL_PARTITION_PREFIX}{self._cutover_id}"}},
            ConsistentRead=True,
        )
        for page in pages:
            for item in page["Items"]:
                yield Entry.from_item(item)
