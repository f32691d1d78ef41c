"""One run of the writer switch: reads the facts, asks ``decision`` what to do, does it, and reads the facts again.

Everything that it changes, it changes through ``Session.execute`` of the sessions that ``connect`` gives. A run can
break off after any of these statements; the next one finds what it left behind.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import uuid4

from database_access.controller_lock import CONTROLLER_LOCK
from database_access.deadline import Deadline, DeadlineExceededError
from database_access.errors import (
    AccessDeniedError,
    AccountLockedError,
    DatabaseAccessError,
    LockNotAvailableError,
    StatementError,
)
from database_access.server import Server
from database_access.session import Connect, Session
from database_access.sessions import end_sessions, list_sessions
from database_access.structured_log import fields, strike_out
from writer_switch import binary_log
from writer_switch.database import CONTROL_SCHEMA, PAYMENT_SCHEMA, AdminLink, ChainDatabase, Settings
from writer_switch.decision import (
    Action,
    Announcement,
    Controller,
    Decision,
    Facts,
    Gate,
    LastWriter,
    Locks,
    Marker,
    decide,
    last_writer,
)
from writer_switch.outcome import Check, Result, SwitchOutcome, Timings, next_step
from writer_switch.request import SwitchRequest

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 3
_WAIT_SECONDS: Final = 0.05
_LAG: Final = "replication lag"
_OLD_TRANSACTION_SECONDS: Final = 1


def switch(
    request: SwitchRequest,
    *,
    chain: Sequence[ChainDatabase],
    connect: Connect,
    deadline: Deadline,
    settings: Settings | None = None,
    authorize: Callable[[], str | None] = lambda: None,
) -> SwitchOutcome:
    """Move the writer from ``request.old`` to ``request.new``, or finish or undo what an earlier run left behind.

    Args:
        chain: Every database, in the order of the chain.
        deadline: The run fences nothing unless it can end before it.
        authorize: Asked last before the fence; why the caller may not go on, or None.

    Returns:
        The outcome, whatever happens: a database that fails is a fact, not an error.
    """
    run = _Run(
        request,
        chain=chain,
        connect=connect,
        deadline=deadline,
        settings=settings or Settings(),
        authorize=authorize,
    )
    try:
        return run.go()
    finally:
        run.close()


class _Run:
    def __init__(
        self,
        request: SwitchRequest,
        *,
        chain: Sequence[ChainDatabase],
        connect: Connect,
        deadline: Deadline,
        settings: Settings,
        authorize: Callable[[], str | None],
    ) -> None:
        self._request = request
        self._connect = connect
        self._deadline = deadline
        self._settings = settings
        self._authorize = authorize
        self._links = {
            database.name: AdminLink(
                database, connect=connect, settings=settings, lifetime_seconds=deadline.remaining_seconds()
            )
            for database in chain
        }
        self._old, self._new = self._links[request.old], self._links[request.new]
        self._marker_id = str(uuid4())
        # What this run has established.
        self._controller = Controller.US
        self._other_writers: list[str] = []
        self._last_writer = LastWriter.UNKNOWN
        self._newest_at: datetime | None = None
        self._gate = Gate.UNTRIED
        self._announced = False
        self._begun = False
        self._sessions_ended = False
        self._marker = Marker.ABSENT
        self._marker_deadline: Deadline | None = None
        self._time_over = ""
        self._patience: Deadline | None = None
        self._reverted = False
        self._forced = False
        self._killed = 0
        self._way_back_beat: int | None = None
        self._fence_position: binary_log.Position | None = None
        self._no_position = "no fence was seen"
        self._attempts: Counter[Action] = Counter()
        self._checks: list[Check] = []
        self._timings = Timings()
        self._started = time.monotonic()
        self._closed_since: float | None = None

    def close(self) -> None:
        for link in self._links.values():
            link.close()

    def go(self) -> SwitchOutcome:
        refusal = None if self._request.dry_run else self._authorize()
        if refusal is not None:
            return self._outcome(Result.REFUSED, refusal)
        try:
            self._survey()
        except LockNotAvailableError as error:
            self._controller = Controller.ANOTHER
            self._time_over = str(error)
        except StatementError as error:
            return self._outcome(Result.REFUSED, str(error))
        while True:
            facts = self._observe()
            decision = decide(facts)
            log.info(
                "decided",
                extra=fields(
                    cutover=self._request.cutover_id,
                    action=decision.action.value,
                    reason=decision.reason,
                    old=facts.old.value,
                    new=facts.new.value,
                    marker=facts.marker.value,
                ),
            )
            if decision.action.is_end:
                return self._conclude(decision, facts)
            if self._request.dry_run and decision.action is not Action.TRY_GATE:
                return self._conclude_dry_run(decision, facts)
            self._attempts[decision.action] += 1
            if self._attempts[decision.action] > _ATTEMPTS and decision.action is not Action.WAIT:
                if self._time_over:
                    result = Result.FENCED if self._begun else Result.REFUSED
                    return self._outcome(result, f"{decision.action.value} failed again and again: {self._time_over}")
                self._give_up(f"{decision.action.value} was tried {_ATTEMPTS} times")
                continue
            self._do(decision)

    # The facts.

    def _survey(self) -> None:
        """Open every session, take every lock, and read what does not change while we hold them.

        In the order of the chain: of two controllers that want the same pair, in either direction, one gets both.
        """
        newest: tuple[datetime, Announcement] | None = None
        answering = []
        for link in self._links.values():
            if not link.open(with_controller_lock=not self._request.dry_run):
                continue
            try:
                if self._request.dry_run:
                    self._look_at_controller_lock(link)
                row = self._newest_announcement(link)
            except LockNotAvailableError:
                raise
            except DatabaseAccessError as error:
                if isinstance(error, StatementError) and link in (self._old, self._new):
                    raise
                log.warning("database left out", extra=fields(database=link.name, reason=str(error)))
                continue
            answering.append(link.name)
            if row is not None and (newest is None or row[0] > newest[0]):
                newest = row
        self._newest_at = newest[0] if newest else None
        self._last_writer = last_writer(
            newest[1] if newest else None, old=self._old.name, new=self._new.name, answering=answering
        )
        # Once every lock is held, so that no other switch can promote one of them from now on.
        others = [link for link in self._links.values() if link not in (self._old, self._new)]
        self._other_writers = [link.name for link in others if link.name in answering and link.locks().admits]

    def _look_at_controller_lock(self, link: AdminLink) -> None:
        def is_free(session: Session, _: Server) -> bool:
            return bool(session.query("SELECT IS_FREE_LOCK(%s)", CONTROLLER_LOCK)[0][0])

        if not link.use(is_free):
            raise LockNotAvailableError(f"{link.name}: another session holds the lock {CONTROLLER_LOCK}")

    def _newest_announcement(self, link: AdminLink) -> tuple[datetime, Announcement] | None:
        def read(session: Session, _: Server) -> list[tuple[datetime, str, str, str]]:
            return session.query(
                f"SELECT written_at, cutover_id, old_writer, new_writer FROM {CONTROL_SCHEMA}.marker"  # noqa: S608
                " ORDER BY written_at DESC LIMIT 1"
            )

        rows = link.use(read)
        if not rows:
            return None
        [(written_at, cutover_id, old_writer, new_writer)] = rows
        return written_at, Announcement(cutover_id=cutover_id, old_writer=old_writer, new_writer=new_writer)

    def _observe(self) -> Facts:
        old = new = Locks.UNREACHABLE
        if self._controller is Controller.US:
            try:
                old, new = self._old.locks(), self._new.locks()
            except LockNotAvailableError as error:
                self._controller = Controller.ANOTHER
                self._give_up(str(error))
        return Facts(
            old=old,
            new=new,
            other_writer=bool(self._other_writers),
            controller=self._controller,
            last_writer=self._last_writer,
            gate=self._gate,
            announced=self._announced,
            begun=self._begun,
            sessions_ended=self._sessions_ended,
            marker=self._marker,
            time_over=bool(self._time_over),
            accept_data_loss=self._request.accept_data_loss,
        )

    # The steps.

    def _do(self, decision: Decision) -> None:
        """Take one step; what goes wrong becomes a fact."""
        self._forced = self._forced or decision.forced
        try:
            _STEPS[decision.action](self)
        except LockNotAvailableError as error:
            self._controller = Controller.ANOTHER
            self._give_up(str(error))
        except (StatementError, DeadlineExceededError) as error:
            self._give_up(f"{decision.action.value}: {error}")
        except DatabaseAccessError as error:
            # The next look at the facts shows whether the database answers.
            log.warning("step failed", extra=fields(action=decision.action.value, reason=str(error)))
        except Exception as error:  # a mistake of ours must not leave the payments stopped
            log.exception("step failed unexpectedly", extra=fields(action=decision.action.value))
            self._give_up(strike_out(f"{decision.action.value}: {type(error).__name__}: {error}"))

    def _give_up(self, reason: str) -> None:
        self._time_over = self._time_over or reason

    def _try_gate(self) -> None:
        self._checks += [self._check_time(), self._check_authorization(), self._check_login(), self._check_writable()]
        if all(check.passed is not False for check in self._checks):
            self._checks.append(self._check_lag())
        self._note_long_transactions()
        lag_is_waived = self._request.accept_data_loss
        failed = [c for c in self._checks if c.passed is False and not (c.name == _LAG and lag_is_waived)]
        self._gate = Gate.FAILED if failed else Gate.PASSED

    def _check_time(self) -> Check:
        settings, request = self._settings, self._request
        needed = settings.end_sessions_seconds + 2 * request.drain_timeout_seconds + 4 * settings.statement_seconds
        left = self._deadline.remaining_seconds()
        return Check(
            name="time",
            passed=left >= needed,
            finding=f"the run has {left:.1f} s left and may need {needed:.1f} s",
        )

    def _check_authorization(self) -> Check:
        refusal = self._authorize()
        if refusal is None:
            return Check(name="authorization", passed=True, finding="the caller may switch the writer")
        # A dry run may come before the lease is taken.
        return Check(name="authorization", passed=None if self._request.dry_run else False, finding=refusal)

    def _check_login(self) -> Check:
        """The services' password is right on the new one: the engines look at the lock after it."""
        name, application = "application account", self._new.database.application
        assert application is not None
        try:
            self._connect(application, deadline=Deadline.after(self._settings.statement_seconds)).close()
        except AccountLockedError:
            return Check(
                name=name,
                passed=True,
                finding=f"{self._new.name} knows the password of {application.username}, which is locked",
            )
        except DatabaseAccessError as error:
            return Check(name=name, passed=False, finding=str(error))
        return Check(name=name, passed=False, finding=f"{self._new.name} admits {application.username} already")

    def _check_writable(self) -> Check:
        def read(session: Session, _: Server) -> bool:
            return any(session.query("SELECT @@GLOBAL.read_only, @@GLOBAL.innodb_read_only")[0])

        read_only = self._new.use(read)
        return Check(
            name="writable",
            passed=not read_only,
            finding=f"{self._new.name} is {'read-only' if read_only else 'writable'}",
        )

    def _check_lag(self) -> Check:
        """A beat that is written now on the old arrives on the new in time; a dry run takes the newest there is."""
        if self._request.dry_run:
            beat = self._old.use(lambda session, _: _beat(session, self._old.name))
            if beat is None:
                finding = f"{self._old.name} has no beat yet, and a dry run writes none"
                return Check(name=_LAG, passed=None, finding=finding)
            return self._await_beat(beat)
        self._way_back_beat = self._write_beat(self._new)
        patience = Deadline.after(self._settings.lag_bound_seconds)
        while True:
            started = time.monotonic()
            check = self._await_beat(self._write_beat(self._old))
            lag_seconds = time.monotonic() - started
            self._timings = replace(self._timings, lag_ms=round(lag_seconds * 1000, 1))
            quick = lag_seconds <= self._settings.low_lag_seconds
            # The next one would take as long again.
            if not check.passed or quick or patience.remaining_seconds() <= lag_seconds:
                return check

    def _await_beat(self, beat: int) -> Check:
        started = time.monotonic()
        until = Deadline.after(self._settings.lag_bound_seconds)
        while (arrived := self._new.use(lambda session, _: _beat(session, self._old.name)) or 0) < beat:
            if until.remaining_seconds() <= 0:
                return Check(
                    name=_LAG,
                    passed=False,
                    finding=f"beat {beat} of {self._old.name} did not arrive on {self._new.name} within "
                    f"{self._settings.lag_bound_seconds:g} s; the newest there is {arrived}",
                )
            time.sleep(self._settings.poll_seconds)
        took = f"arrived after {_milliseconds_since(started):.0f} ms"
        return Check(name=_LAG, passed=True, finding=f"beat {beat} of {self._old.name} {took}")

    def _write_beat(self, link: AdminLink) -> int:

        def write(session: Session, _: Server) -> int:
            session.execute(
                f"INSERT INTO {CONTROL_SCHEMA}.heartbeat (environment, beat, written_at)"  # noqa: S608
                " VALUES (%s, 1, UTC_TIMESTAMP(6))"
                " ON DUPLICATE KEY UPDATE beat = beat + 1, written_at = UTC_TIMESTAMP(6)",
                link.name,
            )
            return _beat(session, link.name) or 0

        return link.use(write)

    def _note_long_transactions(self) -> None:
        """What the fence will have to roll back; a note, because the client repeats it with the same key."""

        def read(session: Session, _: Server) -> int:
            rows = session.query(
                "SELECT COUNT(*), COALESCE(MAX(TIMESTAMPDIFF(SECOND, trx_started, NOW())), 0)"
                " FROM information_schema.INNODB_TRX JOIN information_schema.PROCESSLIST"
                " ON ID = trx_mysql_thread_id WHERE USER IN %s",
                self._old.database.usernames,
            )
            return int(rows[0][1])

        seconds = self._old.use(read)
        if seconds > _OLD_TRANSACTION_SECONDS:
            self._checks.append(
                Check(
                    name="long transaction",
                    passed=None,
                    finding=f"a transaction has been open for {seconds} s on {self._old.name}; rolling it back may "
                    f"take as long, and the fence is given up after {self._settings.end_sessions_seconds:g} s",
                )
            )

    def _announce(self) -> None:
        self._newest_at = self._insert_marker(str(uuid4()))
        self._announced = True
        self._last_writer = LastWriter.OLD

    def _insert_marker(self, marker_id: str) -> datetime:
        """A row on the old, later than every row that was seen, whatever the servers' clocks say; its time."""
        request, newest = self._request, self._newest_at

        def insert(session: Session, _: Server) -> datetime:
            session.execute(
                f"INSERT INTO {CONTROL_SCHEMA}.marker"  # noqa: S608
                " (marker_id, cutover_id, old_writer, new_writer, written_at) VALUES (%s, %s, %s, %s,"
                " GREATEST(UTC_TIMESTAMP(6),"
                " COALESCE(CAST(%s AS DATETIME(6)) + INTERVAL 1 MICROSECOND, UTC_TIMESTAMP(6))))"
                " ON DUPLICATE KEY UPDATE marker_id = marker_id",
                marker_id,
                request.cutover_id,
                request.old,
                request.new,
                newest,
            )
            rows = session.query(
                f"SELECT written_at FROM {CONTROL_SCHEMA}.marker WHERE marker_id = %s",  # noqa: S608
                marker_id,
            )
            written_at: datetime = rows[0][0]
            return written_at

        return self._old.use(insert)

    def _fence(self) -> None:
        started = time.monotonic()
        self._closed_since = self._closed_since or started
        self._begun = True
        # What was established under an earlier lock says nothing about this one.
        self._sessions_ended, self._marker = False, Marker.ABSENT
        self._old.set_locked(locked=True)
        self._timings = replace(self._timings, fence_ms=_milliseconds_since(started))

    def _end_sessions(self) -> None:
        started = time.monotonic()
        self._killed += self._old.use(self._end_sessions_of_old)
        self._sessions_ended = True
        self._timings = replace(self._timings, end_sessions_ms=_milliseconds_since(started))
        try:
            self._fence_position = self._old.use(binary_log.position)
        except (binary_log.BinaryLogError, StatementError) as error:
            self._no_position = str(error)

    def _end_sessions_of_old(self, session: Session, server: Server) -> int:
        return end_sessions(
            session,
            server,
            self._old.database.usernames,
            deadline=Deadline.after(self._settings.end_sessions_seconds),
        )

    def _write_marker(self) -> None:
        self._begun = True
        self._insert_marker(self._marker_id)
        self._marker = Marker.ON_OLD
        self._marker_deadline = Deadline.after(self._request.drain_timeout_seconds)

    def _await_marker(self) -> None:
        assert self._marker_deadline is not None
        until = self._marker_deadline
        while not self._new.use(self._marker_has_arrived):
            if until.remaining_seconds() <= 0:
                timeout = self._request.drain_timeout_seconds
                raise DeadlineExceededError(f"{self._new.name} did not receive the marker within {timeout:g} s")
            time.sleep(self._settings.poll_seconds)
        self._marker = Marker.ON_NEW
        waited = self._request.drain_timeout_seconds * 1000 - until.remaining_seconds() * 1000
        self._timings = replace(self._timings, drain_ms=round(waited, 1))

    def _marker_has_arrived(self, session: Session, _: Server) -> bool:
        rows = session.query(
            f"SELECT 1 FROM {CONTROL_SCHEMA}.marker WHERE marker_id = %s",  # noqa: S608
            self._marker_id,
        )
        return bool(rows)

    def _promote(self) -> None:
        started = time.monotonic()
        self._begun = True
        self._new.set_locked(locked=False)
        self._timings = replace(self._timings, promote_ms=_milliseconds_since(started))
        self._note_opened()

    def _revert(self) -> None:
        self._begun = True
        self._old.set_locked(locked=False)
        self._reverted = True
        self._note_opened()

    def _note_opened(self) -> None:
        if self._closed_since is not None:
            self._timings = replace(self._timings, closed_ms=_milliseconds_since(self._closed_since))

    def _wait(self) -> None:
        self._patience = self._patience or Deadline.after(self._request.drain_timeout_seconds)
        if self._patience.remaining_seconds() <= 0:
            self._give_up(f"a database did not answer for {self._request.drain_timeout_seconds:g} s")
            return
        time.sleep(_WAIT_SECONDS)

    # The end.

    def _conclude(self, decision: Decision, facts: Facts) -> SwitchOutcome:
        result = {
            Action.REFUSED: Result.REFUSED,
            Action.BUSY: Result.BUSY,
            Action.UNREACHABLE: Result.UNREACHABLE,
            Action.FENCED: Result.FENCED,
            Action.TWO_WRITERS: Result.TWO_WRITERS,
        }.get(decision.action)
        if decision.action is Action.OLD_STAYS:
            result = Result.REVERTED if self._reverted else Result.REFUSED
        elif decision.action is Action.SWITCHED:
            result = self._verify(facts)
        assert result is not None
        return self._outcome(result, self._reason(decision, result), facts)

    def _conclude_dry_run(self, decision: Decision, facts: Facts) -> SwitchOutcome:
        """The first step that would change something, said instead of done."""
        if facts.new is Locks.UNLOCKED and facts.old is Locks.LOCKED:
            result = Result.ALREADY_SWITCHED
        elif decision.action is Action.WAIT:
            result = Result.UNREACHABLE
        elif decision.action is Action.REVERT:
            result = Result.REFUSED
        else:
            result = Result.WOULD_SWITCH
        reason = self._reason(decision, result)
        if result is Result.WOULD_SWITCH:
            reason = f"the next step would be to {decision.action.value}: {reason}"
        return self._outcome(result, reason, facts)

    def _reason(self, decision: Decision, result: Result) -> str:
        """The decision's clause, and what led to it."""
        details = [self._time_over] if self._time_over else []
        if result in (Result.UNREACHABLE, Result.FENCED):
            details += [link.failure for link in (self._old, self._new) if link.failure]
        if result is Result.REFUSED and self._gate is Gate.FAILED:
            details += [check.finding for check in self._checks if check.passed is False]
        if self._other_writers:
            details.append(f"{', '.join(self._other_writers)} admits it")
        return ": ".join([decision.reason, "; ".join(dict.fromkeys(details))] if details else [decision.reason])

    def _verify(self, facts: Facts) -> Result:
        """What must hold once the new one is the writer. Nothing is undone here: only a person may."""
        sessions = self._check_old_has_no_session(facts)
        self._checks += [sessions, self._check_first_session(), self._check_way_back()]
        commits = self._check_nothing_committed(facts)
        self._checks.append(commits)
        if commits.passed is False or (commits.passed is None and sessions.passed is False):
            return Result.OLD_COMMITTED
        return Result.SWITCHED if self._begun else Result.ALREADY_SWITCHED

    def _check_old_has_no_session(self, facts: Facts) -> Check:
        name, old = "no session on the old", self._old
        if facts.old is Locks.UNREACHABLE:
            return Check(name=name, passed=None, finding=f"{old.name} does not answer: {old.failure}")
        if self._killed and not self._begun:
            return Check(
                name=name, passed=False, finding=f"{self._killed} sessions were found on {old.name}, and ended"
            )

        def own_sessions(session: Session, _: Server) -> int:
            usernames = old.database.usernames
            return sum(client.username in usernames for client in list_sessions(session, usernames))

        try:
            found = old.use(own_sessions)
            if found:
                self._killed += old.use(self._end_sessions_of_old)
        except (DatabaseAccessError, DeadlineExceededError) as error:
            return Check(name=name, passed=None, finding=str(error))
        if found:
            return Check(
                name=name, passed=False, finding=f"{found} sessions had survived on {old.name}, and were ended"
            )
        return Check(name=name, passed=True, finding=f"{old.name} has no session of the application and admits none")

    def _check_nothing_committed(self, facts: Facts) -> Check:
        name, old, start = "nothing committed on the old", self._old, self._fence_position
        if facts.old is Locks.UNREACHABLE or start is None:
            reason = old.failure if facts.old is Locks.UNREACHABLE else self._no_position
            return Check(name=name, passed=None, finding=f"the binary log of {old.name} was not compared: {reason}")

        def count(session: Session, _: Server) -> int:
            [(server_id,)] = session.query("SELECT @@GLOBAL.server_id")
            events = binary_log.events_since(session, start)
            return binary_log.own_commits(events, server_id=int(server_id), payment_schema=PAYMENT_SCHEMA)

        try:
            commits = old.use(count)
        except (DatabaseAccessError, binary_log.BinaryLogError) as error:
            return Check(name=name, passed=None, finding=f"the binary log of {old.name} was not compared: {error}")
        return Check(
            name=name,
            passed=not commits,
            finding=f"{commits or 'no'} payment transactions of a client in the binary log of {old.name} since its "
            "last session ended",
        )

    def _check_first_session(self) -> Check:
        """A service can open a session on the new one, and commit."""
        name, application = "first session on the new", self._new.database.application
        assert application is not None
        try:
            session = self._connect(application, deadline=Deadline.after(self._settings.statement_seconds))
            try:
                session.query("COMMIT")
            finally:
                session.close()
        except (AccessDeniedError, AccountLockedError) as error:
            return Check(name=name, passed=False, finding=str(error))
        except DatabaseAccessError as error:
            return Check(name=name, passed=None, finding=str(error))
        return Check(name=name, passed=True, finding=f"{self._new.name} admits {application.username}")

    def _check_way_back(self) -> Check:
        """Whether replication from the new to the old has carried the beat that was written before the fence."""
        name, beat = "way back", self._way_back_beat
        if beat is None:
            return Check(name=name, passed=None, finding="no beat was written in this run")
        try:
            arrived = self._old.use(lambda session, _: _beat(session, self._new.name)) or 0
        except DatabaseAccessError as error:
            return Check(name=name, passed=None, finding=str(error))
        if arrived >= beat:
            return Check(name=name, passed=True, finding=f"replication from {self._new.name} to {self._old.name} runs")
        return Check(
            name=name,
            passed=None,
            finding=f"the beat of {self._new.name} has not arrived on {self._old.name} yet: look at the reverse task",
        )

    def _outcome(self, result: Result, reason: str, facts: Facts | None = None) -> SwitchOutcome:
        request = self._request
        outcome = SwitchOutcome(
            result=result,
            cutover_id=request.cutover_id,
            old=request.old,
            new=request.new,
            writer=self._writer(result, facts),
            reason=reason,
            next_step=next_step(result, old=request.old, new=request.new, forced=self._forced),
            forced=self._forced,
            dry_run=request.dry_run,
            sessions_ended=self._killed,
            marker_id=None if self._marker is Marker.ABSENT else self._marker_id,
            checks=tuple(self._checks),
            timings=replace(self._timings, total_ms=_milliseconds_since(self._started)),
        )
        log.log(
            logging.ERROR if outcome.pages else logging.INFO,
            "writer switch ended",
            extra=fields(**outcome.document()),
        )
        return outcome

    def _writer(self, result: Result, facts: Facts | None) -> str | None:
        """The one that is proved to admit alone."""
        if result in (Result.SWITCHED, Result.ALREADY_SWITCHED, Result.OLD_COMMITTED):
            return self._new.name
        if facts is None or result in (Result.BUSY, Result.TWO_WRITERS, Result.FENCED):
            return None
        if len(self._other_writers) == 1 and facts.old is facts.new is Locks.LOCKED:
            return self._other_writers[0]
        if facts.old.admits and (facts.new is Locks.LOCKED or result is Result.REVERTED) and not self._other_writers:
            return self._old.name
        return None


def _beat(session: Session, environment: str) -> int | None:
    rows = session.query(f"SELECT beat FROM {CONTROL_SCHEMA}.heartbeat WHERE environment = %s", environment)  # noqa: S608
    return int(rows[0][0]) if rows else None


def _milliseconds_since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 1)


_STEPS: Final[dict[Action, Callable[[_Run], None]]] = {
    Action.TRY_GATE: _Run._try_gate,
    Action.ANNOUNCE: _Run._announce,
    Action.FENCE: _Run._fence,
    Action.END_SESSIONS: _Run._end_sessions,
    Action.WRITE_MARKER: _Run._write_marker,
    Action.AWAIT_MARKER: _Run._await_marker,
    Action.PROMOTE: _Run._promote,
    Action.REVERT: _Run._revert,
    Action.WAIT: _Run._wait,
}
