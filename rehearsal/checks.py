"""Whether the promises were kept: judged from the clients' own log and from what the databases hold in the end.

Comparing ids is not enough. When a drain is left out, every payment is in both databases, and no client has seen an
error, but balances have overtaken one another; so the books and the checksums of all rows are compared. When sessions
are not ended, nothing is lost either, because all of them go on writing to the old database; so the order of the
commits is looked at, which must change from the old to the new one exactly once for each switch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise, zip_longest
from typing import Any

from rehearsal.client_process import Paid
from rehearsal.load import percentile
from rehearsal.payment_databases import PaymentDatabases
from rehearsal.record import Event, Promise

FOLLOW_SECONDS = 0.5
"""How soon after new weights requests that are due must go by them; see ``balancer.RuleFollower``."""

ANSWERED = "every payment is answered"
KEPT = "no acknowledged payment is lost"
ONCE = "no payment is booked twice"
BALANCED = "the books balance"
EQUAL = "all databases hold the same"
CROSSED = "the writer changes exactly once for each switch"
ALONE = "never two writers"
FOLLOWED = "traffic follows the weights"
PAUSED = "writes pause no longer than allowed"
REPLICATED = "replication runs both ways"


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """The writer changed: the last commit on the old one and the first on the new one, epoch seconds."""

    old: str
    new: str
    last: float
    first: float

    @property
    def pause_ms(self) -> float:
        return round((self.first - self.last) * 1000, 1)


@dataclass(frozen=True, kw_only=True)
class Books:
    """What the databases hold in the end.

    Attributes:
        rows: payments by database, in the order of their moments.
        imbalances, checksums: by database.
        differing: rows that differ between neighbours.
        writer: the database that is the writer in the end; the last one that was, where none is.
    """

    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    imbalances: Mapping[str, Sequence[str]]
    checksums: Mapping[str, tuple[int, ...]]
    differing: int
    writer: str

    @classmethod
    def read(cls, databases: PaymentDatabases, *, writer: str, names: Sequence[str] | None = None) -> Books:
        """Read everything. Replication must have caught up, and nobody may be paying."""
        names = tuple(names or databases.names)
        checksums = {name: databases.checksums(name) for name in names}
        differing = 0
        if len(set(checksums.values())) > 1:
            differing = sum(databases.differing_rows(one, other) for one, other in pairwise(names))
        return cls(
            rows={name: databases.payments(name) for name in names},
            imbalances={name: databases.imbalances(name) for name in names},
            checksums=checksums,
            differing=differing,
            writer=writer,
        )

    @property
    def crossings(self) -> list[Crossing]:
        """Each change of the writer, as the payments' own rows have it."""
        found = []
        rows = self.rows[self.writer]
        for before, after in pairwise(rows):
            if before["recorded_in"] != after["recorded_in"]:
                found.append(
                    Crossing(
                        old=before["recorded_in"],
                        new=after["recorded_in"],
                        last=_epoch(before["created_at"]),
                        first=_epoch(after["created_at"]),
                    )
                )
        return found


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Numbers of a run.

    Attributes:
        failed: payments that were not acknowledged; raw_failures: answers that clients saw fail, repeated or not.
        lost: acknowledged, and not in the writer as they were ordered.
        duplicated: booked twice.
        diverged: rows that differ between neighbours.
    """

    sent: int
    failed: int
    raw_failures: int
    replayed: int
    lost: int
    duplicated: int
    diverged: int
    unacknowledged: int
    p50_ms: float
    p99_ms: float
    longest_ms: float


def figures(paid: Sequence[Paid], books: Books) -> Figures:
    """Count what became of the payments."""
    rows = {row["id"]: row for row in books.rows[books.writer]}
    tokens = Counter(row["payment_token"] for row in rows.values())
    twice = {row["id"] for row in rows.values() if tokens[row["payment_token"]] > 1}
    twice |= {line.split()[1] for line in books.imbalances[books.writer] if line.startswith("payment ")}
    latencies = [(each.done - each.due) * 1000 for each in paid]
    return Figures(
        sent=len(paid),
        failed=sum(not each.is_acknowledged for each in paid),
        raw_failures=sum(len(each.failures) for each in paid),
        replayed=sum(each.replayed for each in paid),
        lost=sum(each.is_acknowledged and not _is_as_ordered(rows.get(each.key), each.order) for each in paid),
        duplicated=len(twice),
        diverged=books.differing,
        unacknowledged=sum(not each.is_acknowledged and each.key in rows for each in paid),
        p50_ms=round(percentile(latencies, 50), 1),
        p99_ms=round(percentile(latencies, 99), 1),
        longest_ms=round(max(latencies, default=0.0), 1),
    )


def promises(
    paid: Sequence[Paid],
    books: Books,
    *,
    switches: Sequence[tuple[str, str]],
    longest_pause_ms: float,
    most_writers: int,
    events: Sequence[Event] = (),
    began: float = 0.0,
    ttl_seconds: float = 0.0,
    tolerated_failures: int = 0,
) -> list[Promise]:
    """Each promise, and whether it was kept.

    Args:
        switches: the changes of the writer that were made, old and new, in order.
        longest_pause_ms: of the writes, by a switch.
        most_writers: how many databases were ever seen to admit the application at once.
        events: of the run; those of the kinds ``weights`` and ``dns`` say what traffic has to follow.
        began: epoch seconds from which the events count.
        ttl_seconds: for which clients keep the answers of name servers.
        tolerated_failures: payments that the scenario allows to fail for the client.
    """
    counted = figures(paid, books)
    keys = {each.key for each in paid}
    found = [
        Promise(
            name=ANSWERED,
            kept=counted.failed <= tolerated_failures and counted.sent > 0,
            measured=f"{counted.failed} of {counted.sent} failed"
            + (f", after {counted.raw_failures} failed attempts" if counted.raw_failures else ""),
            allowed=f"{tolerated_failures} failed",
        )
    ]
    missing = {
        name: sum(
            each.is_acknowledged and not _is_as_ordered(by_id.get(each.key), each.order)
            for by_id in ({row["id"]: row for row in rows},)
            for each in paid
        )
        for name, rows in books.rows.items()
    }
    found.append(
        Promise(
            name=KEPT,
            kept=not any(missing.values()),
            measured=", ".join(f"{count} not in {name}" for name, count in missing.items()),
            allowed="0 in each database",
        )
    )
    strangers = sum(row["id"] not in keys for row in books.rows[books.writer])
    found.append(
        Promise(
            name=ONCE,
            kept=counted.duplicated == 0 and strangers == 0,
            measured=f"{counted.duplicated} twice, {strangers} that nobody ordered",
            allowed="0",
        )
    )
    wrong = {name: len(lines) for name, lines in books.imbalances.items()}
    found.append(
        Promise(
            name=BALANCED,
            kept=not any(wrong.values()),
            measured=", ".join(f"{count} wrong in {name}" for name, count in wrong.items()),
            allowed="0 in each database",
        )
    )
    same = len(set(books.checksums.values())) == 1
    found.append(
        Promise(
            name=EQUAL,
            kept=same,
            measured="checksums of all tables are equal" if same else f"{books.differing} rows differ",
            allowed="equal checksums",
        )
    )
    crossings = books.crossings
    # A switch there and back without a payment in between leaves no trace in the rows, and does no harm.
    seen = [(each.old, each.new) for each in crossings]
    found.append(
        Promise(
            name=CROSSED,
            kept=seen == list(switches),
            measured=_listed(seen),
            allowed=_listed(switches),
        )
    )
    found.append(
        Promise(
            name=ALONE,
            kept=most_writers <= 1,
            measured=f"at most {most_writers} at once",
            allowed="1",
        )
    )
    if switches and seen == list(switches):
        pauses = [each.pause_ms for each in crossings]
        found.append(
            Promise(
                name=PAUSED,
                kept=max(pauses) <= longest_pause_ms,
                measured=", ".join(f"{each.old} to {each.new} {each.pause_ms:.0f} ms" for each in crossings),
                allowed=f"{longest_pause_ms:.0f} ms",
            )
        )
    if any(event.kind in ("weights", "dns") for event in events):
        strayed = stray_requests(paid, events, began=began, ttl_seconds=ttl_seconds)
        found.append(
            Promise(
                name=FOLLOWED,
                kept=strayed == 0,
                measured=f"{strayed} requests went to a side without weight",
                allowed="0",
            )
        )
    return found


def stray_requests(paid: Sequence[Paid], events: Sequence[Event], *, began: float, ttl_seconds: float) -> int:
    """Payments that were answered by a side whose weight had been 0 for long enough when they became due."""
    moments: list[tuple[float, float, set[str]]] = []
    for kind, patience in (("weights", FOLLOW_SECONDS), ("dns", ttl_seconds + 2 * FOLLOW_SECONDS)):
        changes = [event for event in events if event.kind == kind]
        for event, following in zip_longest(changes, changes[1:]):
            closed = {side for side, weight in event.details.items() if weight == 0}
            sides = closed & {"blue", "green", "legacy"} | ({"blue", "green"} if "aws" in closed else set())
            end = began + following.at if following is not None else float("inf")
            moments.append((began + event.at + patience, end, sides))
    return sum(
        any(start < each.due < end and each.done < end and each.side in sides for start, end, sides in moments)
        for each in paid
    )


def broken(found: Sequence[Promise]) -> list[str]:
    """Names of the promises that were not kept."""
    return [promise.name for promise in found if not promise.kept]


def _is_as_ordered(row: Mapping[str, Any] | None, order: Mapping[str, Any]) -> bool:
    return row is not None and (
        Decimal(row["amount"]) == Decimal(order["amount"])
        and all(row[key] == order[key] for key in ("currency", "debtor_account", "creditor_account", "payment_token"))
    )


def _listed(switches: Sequence[tuple[str, str]]) -> str:
    if len(switches) > 6:
        return f"{len(switches)} changes"
    return ", ".join(f"{old} to {new}" for old, new in switches) or "no change"


def _epoch(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()
