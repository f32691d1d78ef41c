"""Random controllers, crashes, partitions and broken replication against a model of the chain.

The decisions are the real ones; the databases are small: a log of what was committed, the locks of two accounts, and
whether a client's session is alive. What must hold is what a payment needs: it is committed only where every payment
that was acknowledged before it is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count, pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from writer_switch.decision import (
    Action,
    Announcement,
    Controller,
    Facts,
    Gate,
    LastWriter,
    Locks,
    Marker,
    decide,
    last_writer,
)

NAMES = ("legacy", "blue", "green")
DIRECTIONS = [*pairwise(NAMES), *pairwise(NAMES[::-1])]
# Faults are rarer than work, or no switch would ever get far.
RARELY = st.sampled_from([False, False, False, True])


@dataclass
class Database:
    """Attributes: log: payments and markers in the order of their commits; is_cut: controllers do not reach it."""

    name: str
    locked: list[bool]
    is_up: bool = True
    is_cut: bool = False
    has_session: bool = False
    log: list[str] = field(default_factory=list)
    announcements: list[tuple[int, Announcement]] = field(default_factory=list)
    holder: int | None = None

    @property
    def admits(self) -> bool:
        return not all(self.locked)

    @property
    def answers(self) -> bool:
        return self.is_up and not self.is_cut

    @property
    def state(self) -> Locks:
        if not self.answers:
            return Locks.UNREACHABLE
        if len(set(self.locked)) > 1:
            return Locks.PARTLY
        return Locks.LOCKED if self.locked[0] else Locks.UNLOCKED


@dataclass
class Run:
    """One invocation, as far as it has come; `step` is one round of the loop in ``protocol``."""

    number: int
    old: Database
    new: Database
    facts: Facts
    newest: int
    marker: str


class Chain(RuleBasedStateMachine):
    """Everything that can happen, one small event at a time."""

    @initialize()
    def begin(self) -> None:
        self.databases = {name: Database(name, [name != "legacy"] * 2) for name in NAMES}
        self.running = {pair: True for left, right in pairwise(NAMES) for pair in ((left, right), (right, left))}
        self.carried = dict.fromkeys(self.running, 0)
        self.runs: list[Run] = []
        self.numbers = count(1)
        self.acknowledged: list[str] = []

    # Clients.

    @rule(name=st.sampled_from(NAMES))
    def clients_pay_there_and_where_they_are_admitted(self, name: str) -> None:
        self._pay(name)
        for database in self.databases.values():
            if database.admits:
                self._pay(database.name)

    def _pay(self, name: str) -> None:
        database = self.databases[name]
        database.has_session = database.has_session or (database.is_up and database.admits)
        if not database.has_session:
            return
        missing = [payment for payment in self.acknowledged if payment not in database.log]
        assert missing == [], f"{name} takes a payment without knowing {missing}"
        payment = f"payment {next(self.numbers)}"
        database.log.append(payment)
        self.acknowledged.append(payment)

    # Replication.

    @rule(pair=st.sampled_from(DIRECTIONS), entries=st.integers(1, 5))
    def replication_carries_on(self, pair: tuple[str, str], entries: int) -> None:
        self._carry(pair, entries)

    def _carry(self, pair: tuple[str, str], entries: int) -> None:
        source, target = (self.databases[name] for name in pair)
        if not (self.running[pair] and source.is_up and target.is_up):
            return
        for entry in source.log[self.carried[pair] : self.carried[pair] + entries]:
            self.carried[pair] += 1
            if entry not in target.log:
                target.log.append(entry)

    @rule(pair=st.sampled_from(DIRECTIONS), happens=RARELY)
    def replication_stops_or_starts(self, pair: tuple[str, str], happens: bool) -> None:
        self.running[pair] = self.running[pair] != happens

    # Databases.

    @rule(name=st.sampled_from(NAMES), happens=RARELY)
    def a_database_dies_or_comes_back(self, name: str, happens: bool) -> None:
        database = self.databases[name]
        if not happens and database.is_up:
            return
        database.is_up = not database.is_up
        database.has_session, database.holder = False, None

    @rule(name=st.sampled_from(NAMES), keeps_lock=st.booleans(), happens=RARELY)
    def a_database_is_cut_off_or_joined(self, name: str, keeps_lock: bool, happens: bool) -> None:
        database = self.databases[name]
        if not happens and not database.is_cut:
            return
        database.is_cut = not database.is_cut
        if not keeps_lock:
            database.holder = None

    # Controllers.

    @rule(
        pair=st.sampled_from(DIRECTIONS),
        anywhere=RARELY,
        steps=st.integers(0, 9),
        carried=st.integers(0, 5),
        dies=st.booleans(),
    )
    def a_controller_begins(self, pair: tuple[str, str], anywhere: bool, steps: int, carried: int, dies: bool) -> None:
        """It comes some way, while replication goes on, and then it dies or waits."""
        sources = [database.name for database in self.databases.values() if database.admits or database.has_session]
        if sources and not anywhere:
            # Away from the writer, which is where most switches begin.
            pair = next(found for found in [*DIRECTIONS[DIRECTIONS.index(pair) :], *DIRECTIONS] if found[0] in sources)
        run = self._begin(pair)
        if run is None:
            return
        for _ in range(steps):
            if run in self.runs:
                self._carry(pair, carried)
                self._step(run, breaks_off=False, is_slow=False)
        if dies and run in self.runs:
            self._end(run)

    def _begin(self, pair: tuple[str, str]) -> Run | None:
        number = next(self.numbers)
        answering = [database for database in self.databases.values() if database.answers]
        for database in answering:
            if database.holder is not None:
                self._leave(number)
                return None
            database.holder = number
        old, new = (self.databases[name] for name in pair)
        rows = [row for database in answering for row in database.announcements]
        newest = max(rows, key=lambda row: row[0], default=None)
        others = [database for database in answering if database not in (old, new) and database.admits]
        facts = Facts(
            old=old.state,
            new=new.state,
            other_writer=bool(others),
            controller=Controller.US,
            last_writer=last_writer(
                newest[1] if newest else None,
                old=old.name,
                new=new.name,
                answering=[database.name for database in answering],
            ),
            gate=Gate.UNTRIED,
            announced=False,
            begun=False,
            sessions_ended=False,
            marker=Marker.ABSENT,
            time_over=False,
            accept_data_loss=False,
        )
        run = Run(number, old, new, facts, newest[0] if newest else 0, f"marker {number}")
        self.runs.append(run)
        return run

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def a_controller_dies(self, data: st.DataObject) -> None:
        self._end(data.draw(st.sampled_from(self.runs)))

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), breaks_off=st.booleans(), is_slow=st.booleans(), steps=st.integers(1, 8))
    def a_controller_goes_on(self, data: st.DataObject, breaks_off: bool, is_slow: bool, steps: int) -> None:
        run = data.draw(st.sampled_from(self.runs))
        for _ in range(steps):
            if run in self.runs:
                self._step(run, breaks_off=breaks_off and steps == 1, is_slow=is_slow and steps == 1)

    def _step(self, run: Run, *, breaks_off: bool, is_slow: bool) -> None:
        self._look(run)
        action = decide(run.facts).action
        if action.is_end:
            self._end(run)
            return
        old, new = run.old, run.new
        if action is Action.TRY_GATE:
            fit = self.running[old.name, new.name] and old.is_up and new.is_up
            run.facts = replace(run.facts, gate=Gate.PASSED if fit else Gate.FAILED)
        elif action is Action.ANNOUNCE:
            run.newest += 1
            old.announcements.append((run.newest, self._announcement(run)))
            run.facts = replace(run.facts, announced=True, last_writer=LastWriter.OLD)
        elif action is Action.FENCE:
            run.facts = replace(run.facts, begun=True, sessions_ended=False, marker=Marker.ABSENT)
            self._set_locked(run, old, locked=True, breaks_off=breaks_off)
        elif action is Action.END_SESSIONS:
            if is_slow:
                run.facts = replace(run.facts, time_over=True)
            else:
                old.has_session = False
                run.facts = replace(run.facts, sessions_ended=True)
        elif action is Action.WRITE_MARKER:
            run.newest += 1
            old.log.append(run.marker)
            old.announcements.append((run.newest, self._announcement(run)))
            run.facts = replace(run.facts, begun=True, marker=Marker.ON_OLD)
        elif action is Action.AWAIT_MARKER:
            if run.marker in new.log:
                run.facts = replace(run.facts, marker=Marker.ON_NEW)
            elif is_slow:
                run.facts = replace(run.facts, time_over=True)
        elif action is Action.PROMOTE:
            run.facts = replace(run.facts, begun=True)
            self._set_locked(run, new, locked=False, breaks_off=breaks_off)
        elif action is Action.REVERT:
            run.facts = replace(run.facts, begun=True)
            self._set_locked(run, old, locked=False, breaks_off=breaks_off)
        elif is_slow:
            assert action is Action.WAIT
            run.facts = replace(run.facts, time_over=True)

    def _look(self, run: Run) -> None:
        """The locks of both, and ours of a controller: taken again where a session was lost, if nobody else did."""
        controller = run.facts.controller
        for database in (run.old, run.new):
            if database.answers:
                if database.holder is None:
                    database.holder = run.number
                if database.holder != run.number:
                    controller = Controller.ANOTHER
        run.facts = replace(run.facts, old=run.old.state, new=run.new.state, controller=controller)

    @staticmethod
    def _announcement(run: Run) -> Announcement:
        return Announcement(cutover_id="c", old_writer=run.old.name, new_writer=run.new.name)

    def _set_locked(self, run: Run, database: Database, *, locked: bool, breaks_off: bool) -> None:
        """One statement for both accounts; where it breaks off, the server did the first one only."""
        database.locked[0] = locked
        if breaks_off:
            self._end(run)
        else:
            database.locked[1] = locked

    def _end(self, run: Run) -> None:
        self.runs.remove(run)
        self._leave(run.number)

    def _leave(self, number: int) -> None:
        for database in self.databases.values():
            if database.holder == number:
                database.holder = None

    # What must hold at every instant; that no payment is taken where an earlier one is unknown is in the client.

    @invariant()
    def one_database_admits_at_most(self) -> None:
        admitting = [database.name for database in self.databases.values() if database.admits]
        assert len(admitting) <= 1, admitting

    def teardown(self) -> None:
        """Whatever was left behind, one call brings a writer back once everything answers and replicates."""
        for run in list(getattr(self, "runs", [])):
            self._end(run)
        if not hasattr(self, "databases"):
            return
        for database in self.databases.values():
            database.is_up, database.is_cut, database.holder = True, False, None
        self.running = dict.fromkeys(self.running, True)
        if any(database.admits for database in self.databases.values()):
            return
        rows = [row for database in self.databases.values() for row in database.announcements]
        _, broken_off = max(rows, key=lambda row: row[0])
        run = self._begin((broken_off.old_writer, broken_off.new_writer))
        assert run is not None
        while run in self.runs:
            for pair in self.running:
                self._carry(pair, 1000)
            self._step(run, breaks_off=False, is_slow=False)
        assert self._admitting() == [broken_off.new_writer]
        self._pay(broken_off.new_writer)

    def _admitting(self) -> Sequence[str]:
        return [database.name for database in self.databases.values() if database.admits]


Chain.TestCase.settings = settings(
    max_examples=500,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestChain = Chain.TestCase
