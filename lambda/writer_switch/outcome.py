"""What a switch ended with: typed, with the times in milliseconds, and in words for the one who is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class Result(Enum):
    """How it ended.

    SWITCHED: the new one is the only writer. ALREADY_SWITCHED: it was so before. REVERTED: fenced, then unlocked again.
    REFUSED and BUSY: nothing was changed. UNREACHABLE: nothing was changed, and a database does not answer.
    FENCED: no database is known to be a writer, and none may be made one by a machine. TWO_WRITERS: more than one
    database admits the application. OLD_COMMITTED: switched, but something was committed on the old one afterwards.
    WOULD_SWITCH: a dry run found nothing in the way.
    """

    SWITCHED = "switched"
    ALREADY_SWITCHED = "already switched"
    REVERTED = "reverted"
    REFUSED = "refused"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    FENCED = "fenced"
    TWO_WRITERS = "two writers"
    OLD_COMMITTED = "old committed"
    WOULD_SWITCH = "would switch"

    @property
    def pages(self) -> bool:
        """Whether a person must look at once."""
        return self in (Result.UNREACHABLE, Result.FENCED, Result.TWO_WRITERS, Result.OLD_COMMITTED)


@dataclass(frozen=True, kw_only=True)
class Check:
    """Attributes: passed: None when it could not be made; finding: a sentence."""

    name: str
    passed: bool | None
    finding: str


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Milliseconds; None for what did not happen.

    Attributes:
        lag_ms: A beat's way from the old to the new, before the fence.
        fence_ms: Locking the accounts of the old.
        end_sessions_ms: Ending their sessions.
        drain_ms: From the writing of the marker to its arrival.
        promote_ms: Unlocking the accounts of the new.
        closed_ms: From the beginning of the fence to the end of the promotion, or of the reversal: no writes.
        total_ms: The whole run.
    """

    lag_ms: float | None = None
    fence_ms: float | None = None
    end_sessions_ms: float | None = None
    drain_ms: float | None = None
    promote_ms: float | None = None
    closed_ms: float | None = None
    total_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class SwitchOutcome:
    """The end of one run.

    Attributes:
        writer: The database that is proved to be the only one that admits the application; None otherwise.
        reason: Why it ended so.
        next_step: What an operator should do.
        forced: Data loss was accepted and made use of.
        sessions_ended: How many sessions were killed on the old one.
        marker_id: Of the marker that was awaited.
    """

    result: Result
    cutover_id: str
    old: str
    new: str
    writer: str | None
    reason: str
    next_step: str
    forced: bool
    dry_run: bool
    sessions_ended: int
    marker_id: str | None
    checks: tuple[Check, ...]
    timings: Timings

    @property
    def pages(self) -> bool:
        """Whether a person must look at once."""
        writer_in_doubt = self.writer == self.new and any(check.passed is False for check in self.checks)
        return self.result.pages or self.forced or writer_in_doubt

    def document(self) -> dict[str, Any]:
        """As JSON, for the state machine and the journal."""
        return {
            "result": self.result.value,
            "page": self.pages,
            "writer": self.writer,
            "cutover_id": self.cutover_id,
            "from": self.old,
            "to": self.new,
            "reason": self.reason,
            "next_step": self.next_step,
            "forced": self.forced,
            "dry_run": self.dry_run,
            "sessions_ended": self.sessions_ended,
            "marker_id": self.marker_id,
            "checks": [asdict(check) for check in self.checks],
            "timings": asdict(self.timings),
        }


_NEXT_STEPS: Mapping[Result, str] = {
    Result.SWITCHED: "Nothing; {new} is the writer. The way back is the same call with from and to exchanged.",
    Result.ALREADY_SWITCHED: "Nothing; {new} is the writer.",
    Result.REVERTED: "{old} is the writer again. Find out why the drain or the fence did not end, then try again.",
    Result.REFUSED: "Nothing was changed. Mend what the reason names, then try again.",
    Result.BUSY: "Wait until the other controller is done, look at who the writer is, then try again.",
    Result.UNREACHABLE: (
        "Make the database reachable and run the same call again. Where {old} is lost for good, a "
        "person may go on with accept_data_loss, once {old} is cut off from every service."
    ),
    Result.FENCED: (
        "No payments are taken. Make both databases reachable and replication run, and make the same call again: it "
        "finishes or undoes what it finds. Where {old} is lost for good, a person may go on with accept_data_loss."
    ),
    Result.TWO_WRITERS: (
        "Decide which database stays the writer, and stop the replication tasks of the pair. Then call with from as "
        "the other one, to as the one that stays, and accept_data_loss; reconcile what the other one took by hand."
    ),
    Result.OLD_COMMITTED: (
        "Compare the payments of {old} since the fence with those of {new}; what is missing in {new} must be made up "
        "for by hand. Find out which session wrote to {old}."
    ),
    Result.WOULD_SWITCH: "Nothing was changed. Make the call without dry_run.",
}
_FORCED = (
    " Payments that {old} took and did not pass on are lost to {new}: stop the replication task from {old} to {new} "
    "before {old} answers again, keep {old} cut off from every service, make this call again once it answers so that "
    "it is fenced, and reconcile by hand."
)


def next_step(result: Result, *, old: str, new: str, forced: bool) -> str:
    """What an operator should do."""
    return (_NEXT_STEPS[result] + (_FORCED if forced else "")).format(old=old, new=new)
