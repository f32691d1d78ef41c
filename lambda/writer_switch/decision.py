"""What to do next, from what is found in the two databases. Pure: no clock, no database.

"Old" is the database that the writer leaves, "new" the one that it goes to. A decision looks at facts only, never at
what was decided before, so that a run that finds the work of another, dead one goes on where that one ended.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Locks(Enum):
    """The application accounts of one database, taken together.

    PARTLY: some are locked and some are not: a statement broke off. ABSENT: at least one does not exist.
    UNREACHABLE: the database does not answer us; nothing is known.
    """

    LOCKED = "locked"
    UNLOCKED = "unlocked"
    PARTLY = "partly locked"
    ABSENT = "absent"
    UNREACHABLE = "unreachable"

    @property
    def admits(self) -> bool:
        """Whether a service may get in, so that the database must be taken for a writer."""
        return self in (Locks.UNLOCKED, Locks.PARTLY)


class Controller(Enum):
    """Who holds the lock that admits one controller, in every database of the chain that answers."""

    US = "us"
    ANOTHER = "another"


class LastWriter(Enum):
    """Which database was fenced last, by the newest announcement: it has every payment."""

    OLD = "old"
    NEW = "new"
    ANOTHER = "another"
    UNKNOWN = "unknown"


class Gate(Enum):
    """Whether the new database is fit to take over: replication within its bound, passwords right, writable."""

    UNTRIED = "untried"
    PASSED = "passed"
    FAILED = "failed"


class Marker(Enum):
    """Where this run's marker row is. It is written after the fence, so its arrival ends the drain."""

    ABSENT = "absent"
    ON_OLD = "on the old"
    ON_NEW = "on the new"


class Action(Enum):
    """A step, or an end.

    Steps that change something: TRY_GATE writes heartbeats; ANNOUNCE records on the old writer that it will be fenced;
    FENCE locks the accounts of the old; END_SESSIONS kills their sessions; WRITE_MARKER; PROMOTE unlocks the accounts
    of the new; REVERT those of the old. AWAIT_MARKER and WAIT change nothing.
    """

    TRY_GATE = "try the gate"
    ANNOUNCE = "announce"
    FENCE = "fence"
    END_SESSIONS = "end sessions"
    WRITE_MARKER = "write the marker"
    AWAIT_MARKER = "await the marker"
    PROMOTE = "promote"
    REVERT = "revert"
    WAIT = "wait"
    # Ends.
    SWITCHED = "switched"
    OLD_STAYS = "the old one stays the writer"
    REFUSED = "refused"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    FENCED = "fenced"
    TWO_WRITERS = "two writers"

    @property
    def is_end(self) -> bool:
        return self in _ENDS


_ENDS = frozenset(
    {
        Action.SWITCHED,
        Action.OLD_STAYS,
        Action.REFUSED,
        Action.BUSY,
        Action.UNREACHABLE,
        Action.FENCED,
        Action.TWO_WRITERS,
    }
)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is found, and what this run has established itself.

    Attributes:
        other_writer: A database of the chain that is neither old nor new admits the application.
        announced: This run has recorded on the old writer that it will fence it.
        begun: This run has sent a statement that locks or unlocks accounts.
        sessions_ended: Several listings of the old one's sessions in a row were empty after its accounts were locked.
        time_over: The time for ending sessions, for the drain, or for reaching a database is over, or a step failed.
        accept_data_loss: A person said to go on although payments may be lost.
    """

    old: Locks
    new: Locks
    other_writer: bool
    controller: Controller
    last_writer: LastWriter
    gate: Gate
    announced: bool
    begun: bool
    sessions_ended: bool
    marker: Marker
    time_over: bool
    accept_data_loss: bool


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Attributes: forced: only because data loss was accepted; reason: a clause for the journal."""

    action: Action
    reason: str
    forced: bool = False


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """A row of the marker table: before it fences ``old_writer``, a switch records that it will."""

    cutover_id: str
    old_writer: str
    new_writer: str


def last_writer(newest: Announcement | None, *, old: str, new: str, answering: Iterable[str]) -> LastWriter:
    """Which database was fenced last, if all of them are locked, by the newest row of those that answer.

    Every fence is announced on the database that is fenced, with a time later than that of every row that the two
    databases had. So the newest row names it, unless a database of that very switch does not answer: that one may have
    become the writer and announced its own fence, where we cannot read it.
    """
    if newest is None or not {newest.old_writer, newest.new_writer} <= set(answering):
        return LastWriter.UNKNOWN
    return {old: LastWriter.OLD, new: LastWriter.NEW}.get(newest.old_writer, LastWriter.ANOTHER)


def decide(facts: Facts) -> Decision:
    """The one thing to do now."""
    if facts.controller is Controller.ANOTHER:
        return Decision(action=Action.BUSY, reason="another controller holds the lock of a database")
    if Locks.ABSENT in (facts.old, facts.new):
        end = Action.FENCED if facts.begun else Action.REFUSED
        return Decision(action=end, reason="an application account does not exist")
    if facts.other_writer:
        if facts.old.admits or facts.new.admits:
            return Decision(action=Action.TWO_WRITERS, reason="a third database of the chain admits the application")
        return Decision(action=Action.REFUSED, reason="the writer is neither of the two databases")
    if facts.new.admits:
        return _new_admits(facts)
    if facts.new is Locks.UNREACHABLE:
        return _new_unreachable(facts)
    return _new_locked(facts)


def _new_admits(facts: Facts) -> Decision:
    """The new one is a writer already: nothing is drained or reverted any more."""
    if facts.old.admits:
        if facts.accept_data_loss:
            return Decision(
                action=Action.FENCE,
                reason="both admit the application, and a person chose which one stays",
                forced=True,
            )
        return Decision(action=Action.TWO_WRITERS, reason="both databases admit the application")
    proved = facts.marker is Marker.ON_NEW
    if facts.old is Locks.UNREACHABLE and not (proved or facts.accept_data_loss):
        return Decision(
            action=Action.UNREACHABLE,
            reason="the new one admits the application, and the old one does not answer: "
            "whether it admits as well is not known",
        )
    if facts.new is Locks.PARTLY:
        # The first unlock is the point of no return: it happens only after a drain, or the new one was the writer all
        # along and its own fence broke off. Either way it has every payment.
        return Decision(action=Action.PROMOTE, reason="the new one is unlocked in part, so it was drained before")
    if facts.old is Locks.LOCKED and not facts.sessions_ended and not facts.time_over:
        return Decision(
            action=Action.END_SESSIONS, reason="the new one is the writer; the old one must have no session"
        )
    return Decision(action=Action.SWITCHED, reason="the new one is the only one that admits the application")


def _new_unreachable(facts: Facts) -> Decision:
    """The new one may be a writer: the old one is never unlocked now."""
    if facts.old is Locks.UNLOCKED:
        # Only this run could have promoted the new one, and without a person's word it never does so before the old
        # one is locked.
        end = Action.OLD_STAYS if facts.begun and not facts.accept_data_loss else Action.UNREACHABLE
        return Decision(action=end, reason="the new one does not answer; the old one is unlocked")
    if facts.old is not Locks.LOCKED and not facts.begun:
        return Decision(action=Action.UNREACHABLE, reason="the new one does not answer")
    if not facts.time_over:
        return Decision(action=Action.WAIT, reason="the new one does not answer; it may come back in time")
    return Decision(
        action=Action.FENCED,
        reason="the new one does not answer, so it cannot be proved that it is locked",
    )


def _new_locked(facts: Facts) -> Decision:
    if facts.old is Locks.UNREACHABLE:
        return _old_unreachable(facts)
    if facts.old.admits:
        return _old_is_writer(facts)
    return _all_locked(facts)


def _old_unreachable(facts: Facts) -> Decision:
    if facts.marker is Marker.ON_NEW:
        return Decision(
            action=Action.PROMOTE,
            reason="the old one was fenced and drained before it stopped answering",
        )
    if facts.begun and not facts.time_over:
        return Decision(action=Action.WAIT, reason="the old one does not answer; it may come back in time")
    if facts.accept_data_loss:
        return Decision(
            action=Action.PROMOTE,
            reason="the old one does not answer, and a person accepted the loss of what it did not pass on",
            forced=True,
        )
    if facts.begun:
        return Decision(
            action=Action.FENCED,
            reason="the old one does not answer, and what it committed last may not have arrived",
        )
    return Decision(action=Action.UNREACHABLE, reason="the old one does not answer")


def _old_is_writer(facts: Facts) -> Decision:
    if facts.time_over:
        if facts.old is Locks.PARTLY and facts.begun:
            return Decision(action=Action.REVERT, reason="the old one is locked in part, and the switch is given up")
        return Decision(action=Action.OLD_STAYS, reason="the old one is the writer")
    if facts.gate is Gate.UNTRIED:
        return Decision(action=Action.TRY_GATE, reason="the old one is the writer; is the new one fit to take over?")
    if facts.gate is Gate.FAILED:
        if facts.old is Locks.PARTLY:
            return Decision(
                action=Action.REVERT,
                reason="a fence broke off earlier, and the new one is not fit to take over",
            )
        return Decision(action=Action.REFUSED, reason="the new one is not fit to take over")
    if not facts.announced:
        return Decision(action=Action.ANNOUNCE, reason="the new one is fit to take over")
    return Decision(action=Action.FENCE, reason="the fence is announced")


def _all_locked(facts: Facts) -> Decision:
    if facts.last_writer is LastWriter.NEW:
        return Decision(
            action=Action.PROMOTE,
            reason="the new one was fenced last, by a switch that broke off: it has every payment",
        )
    if facts.last_writer is LastWriter.ANOTHER:
        return Decision(action=Action.FENCED, reason="a switch between other databases broke off")
    if facts.last_writer is LastWriter.UNKNOWN and not facts.accept_data_loss:
        return Decision(action=Action.FENCED, reason="which database was the last writer is not known")
    if facts.time_over:
        return _given_up(facts)
    if facts.marker is Marker.ON_NEW and facts.sessions_ended:
        return Decision(action=Action.PROMOTE, reason="everything that the old one committed has arrived")
    if not facts.sessions_ended:
        return Decision(action=Action.END_SESSIONS, reason="the accounts of the old one are locked")
    if facts.marker is Marker.ABSENT:
        return Decision(action=Action.WRITE_MARKER, reason="the old one has no session left")
    return Decision(action=Action.AWAIT_MARKER, reason="the marker is on its way")


def _given_up(facts: Facts) -> Decision:
    """The new one is locked, the old one was fenced, and a step failed or took too long."""
    # Sessions that could not be ended go on writing to the old one: nobody can accept two writers. And where the drain
    # did end, the promotion itself failed.
    if facts.accept_data_loss and facts.sessions_ended and facts.marker is not Marker.ON_NEW:
        return Decision(
            action=Action.PROMOTE,
            reason="the drain did not end, and a person accepted the loss of what has not arrived",
            forced=True,
        )
    if facts.last_writer is LastWriter.UNKNOWN:
        return Decision(action=Action.FENCED, reason="which database was the last writer is not known")
    return Decision(action=Action.REVERT, reason="the switch is given up, and the new one is locked still")
