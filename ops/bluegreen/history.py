"""The journal: of one cutover, of those of late, or of all, filtered by who, what and when."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cutover_state.journal import Entry
from cutover_state.layout import JOURNAL_PARTITION_PREFIX
from ops.bluegreen import documents as d
from ops.bluegreen.errors import bad_input
from ops.bluegreen.stage import Stage
from ops.bluegreen.views import entry

_AGO = re.compile(r"(?P<number>\d+)(?P<unit>[smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which entries are wanted; None and empty mean all.

    Attributes:
        who: part of the author, such as a name.
        what: part of what was done, such as ``weights``.
    """

    cutover_id: str | None = None
    who: str = ""
    what: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def wants(self, each: d.Entry) -> bool:
        """Whether an entry passes."""
        return (
            self.who.lower() in each.who.lower()
            and self.what.lower() in each.what.lower()
            and (self.since is None or each.at >= self.since)
            and (self.until is None or each.at <= self.until)
        )


def read_history(stage: Stage, wanted: Filter, *, last: int | None) -> list[d.Entry]:
    """The entries that pass, in the order in which they were made; the newest ``last`` of them."""
    if wanted.cutover_id is not None:
        found = [entry(each) for each in stage.wiring.journal(wanted.cutover_id).entries()]
    else:
        found = sorted((entry(each) for each in _everything(stage)), key=lambda each: each.at)
    chosen = [each for each in found if wanted.wants(each)]
    return chosen if last is None else chosen[-last:] if last else []


def _everything(stage: Stage) -> Iterator[Entry]:
    pages = (
        stage.aws.client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=stage.wiring.table_name,
            FilterExpression="begins_with(pk, :journal)",
            ExpressionAttributeValues={":journal": {"S": JOURNAL_PARTITION_PREFIX}},
            ConsistentRead=True,
        )
    )
    for page in pages:
        item: Any
        for item in page["Items"]:
            yield Entry.from_item(item)


def parse_moment(text: str, *, option: str, now: float) -> datetime:
    """``2h`` (ago), ``7d``, or a time such as ``2026-11-24T18:45`` in UTC.

    Raises:
        CommandError: it is neither.
    """
    ago = _AGO.fullmatch(text)
    if ago:
        try:
            return datetime.fromtimestamp(now, UTC) - timedelta(**{_UNITS[ago["unit"]]: int(ago["number"])})
        except OverflowError:
            raise bad_input(f"{option}: {text!r}, allowed: a time that there was") from None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise bad_input(f"{option}: {text!r}, allowed: 30m, 2h, 7d (ago), or 2026-11-24T18:45 in UTC") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
