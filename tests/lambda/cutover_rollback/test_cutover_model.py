"""Everything that can happen to a cutover, in any order, against what must always hold.

Operators, alarms, steps, deployments that reset the weights, the reconciler, databases that do not answer, and
processes that die before or after any of their side effects. Counterexamples become tests of their own.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cutover_rollback.request import Request
from cutover_rollback.rollback import RollbackIncompleteError, WriterStuckError, roll_back
from cutover_state.desired import DesiredConflictError
from cutover_state.forward import OvertakenError, desire_forward, shift
from cutover_state.lease import LeaseTakenError
from cutover_state.levers import Kind
from cutover_state.run import Phase, Run, RunConflictError
from tests.support.effects import CrashError, Interrupted, Process
from tests.support.played_cutover import STANDING, PlayedCutover
from traffic.weights import split

PLANS: list[dict[str, Any]] = [
    {"kind": Kind.ENVIRONMENT, "source": "blue", "target": "green", "writer": ("blue", "green")},
    {"kind": Kind.ENVIRONMENT, "source": "green", "target": "blue", "writer": ("green", "blue")},
    {"kind": Kind.ENVIRONMENT, "source": "blue", "target": "green", "writer": None},
    {"kind": Kind.FRONT_DOOR, "source": "legacy", "target": "aws", "writer": None},
    {"kind": Kind.FRONT_DOOR, "source": "aws", "target": "legacy", "writer": None},
    {"kind": Kind.FRONT_DOOR, "source": "legacy", "target": "aws", "writer": ("legacy", "blue")},
    {"kind": Kind.FRONT_DOOR, "source": "aws", "target": "legacy", "writer": ("blue", "legacy")},
]
# None: the process lives. Otherwise the moment at which it dies.
crashes = st.one_of(st.none(), st.integers(0, 45))


class Cutovers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.cutover = PlayedCutover()
        self.cutover.adopt()
        self.number = 0
        self.over: dict[str, Phase] = {}
        self.explained = {kind: len(lever.history) for kind, lever in self.cutover.levers.items()}
        # Since the reconciler last ran, and ever.
        self.by_hand: dict[Kind, list[dict[str, int]]] = {kind: [] for kind in Kind}
        self.ever_by_hand: dict[Kind, list[dict[str, int]]] = {kind: [] for kind in Kind}

    @property
    def run(self) -> Run | None:
        return self.cutover.runs.read()

    def _alive(self, crash: int | None) -> Process:
        return Process(dies_at=crash)

    def _passes(self, seconds: float) -> None:
        self.cutover.now += seconds

    # What people and machines do.

    @rule(plan=st.sampled_from(PLANS), crash=crashes)
    def begin(self, plan: dict[str, Any], crash: int | None) -> None:
        """Preflight lets a cutover begin when the source has everything, and its writer writes."""
        cutover = self.cutover
        weights = cutover.levers[plan["kind"]].weights
        writer = plan["writer"] or (next(iter(cutover.databases.admitting), ""),) * 2
        if (
            weights[plan["source"]] != 100
            or cutover.databases.admitting != {writer[0]}
            or cutover.desired.read() is None
        ):
            return
        self.number += 1
        name = f"cutover-{self.number}"
        world = cutover.world(self._alive(crash))
        with suppress(CrashError, LeaseTakenError, RunConflictError):
            world.lease(name)
            try:
                world.runs.begin(
                    Run(
                        cutover_id=name,
                        kind=plan["kind"].value,
                        source=plan["source"],
                        target=plan["target"],
                        plan={},
                        phase=Phase.SHIFTING,
                        requested_by="ada",
                        started_at=cutover.now,
                        before={"weights": dict(weights), "writer": writer[0]},
                        writer_after=writer[1],
                        position={},
                        execution_arn=name,
                    )
                )
            except RunConflictError:
                world.release(name)
                raise
            cutover.executions.add(name)

    @precondition(lambda self: self.run is not None)
    @rule(percent=st.sampled_from([0, 10, 50, 100, 100]), crash=crashes)
    def step_forward(self, percent: int, crash: int | None) -> None:
        run = self.run
        assert run is not None
        world = self.cutover.world(self._alive(crash))
        kind = Kind(run.kind)
        wanted = split(source=run.source, target=run.target, target_percent=percent)
        with suppress(CrashError, OvertakenError, LeaseTakenError, DesiredConflictError):
            world.lease(run.cutover_id)
            journal = world.journal(run.cutover_id)
            journal.append("set weights", "a step begins", before=world.levers[kind].read(), after=wanted)
            shift(world.desired, world.runs, world.levers[kind], cutover_id=run.cutover_id, kind=kind, wanted=wanted)

    @precondition(lambda self: self.run is not None)
    @rule(crash=crashes)
    def switch_writer(self, crash: int | None) -> None:
        run = self.run
        assert run is not None
        process = self._alive(crash)
        world = self.cutover.world(process)
        if run.phase is not Phase.SHIFTING or run.writer_after == run.before["writer"]:
            return
        with suppress(CrashError, OvertakenError, LeaseTakenError, WriterStuckError):
            world.lease(run.cutover_id)
            world.writer.move(
                source=run.before["writer"],
                target=run.writer_after,
                cutover_id=run.cutover_id,
                accept_data_loss=False,
            )
            desire_forward(world.desired, world.runs, cutover_id=run.cutover_id, writer=run.writer_after)

    @precondition(lambda self: self.run is not None and self.run.phase is Phase.SHIFTING)
    @rule()
    def complete(self) -> None:
        run = self.run
        assert run is not None
        if self.cutover.levers[Kind(run.kind)].weights[run.target] != 100:
            return
        if self.cutover.databases.admitting != {run.writer_after}:
            return
        world = self.cutover.world()
        world.release(run.cutover_id)
        world.runs.write(_in_phase(run, Phase.SUCCEEDED))
        self.cutover.executions.discard(run.execution_arn)

    @rule(crash=crashes, late=st.booleans())
    def alarm(self, crash: int | None, late: bool) -> None:
        before = self.run
        request = Request(requested_by="alarm harm", reason="harm", alarmed_at=0.0 if late else self.cutover.now)
        self._roll_back(request, crash)
        if late and before is not None:
            assert self.run == before

    @precondition(lambda self: self.run is not None)
    @rule(crash=crashes, after_the_end=st.booleans(), right=st.booleans())
    def person_rolls_back(self, crash: int | None, after_the_end: bool, right: bool) -> None:
        run = self.run
        assert run is not None
        request = Request(
            requested_by="ada",
            reason="complaints",
            after_the_end=after_the_end,
            cutover_id=run.cutover_id if right else "cutover-0",
        )
        # That takes back what had succeeded, which only a person may.
        if right and after_the_end and run.phase is Phase.SUCCEEDED:
            self.over.pop(run.cutover_id, None)
        self._roll_back(request, crash)

    @rule(at=st.integers(0, 60))
    def alarms_at_once(self, at: int) -> None:
        request = Request(requested_by="alarm harm", reason="harm", alarmed_at=self.cutover.now)

        def another() -> None:
            with suppress(RollbackIncompleteError, WriterStuckError):
                roll_back(self.cutover.world(), request)

        with suppress(RollbackIncompleteError, WriterStuckError):
            roll_back(self.cutover.world(Interrupted(at=at, by=another)), request)

    def _roll_back(self, request: Request, crash: int | None) -> None:
        with suppress(CrashError, RollbackIncompleteError, WriterStuckError):
            result = roll_back(self.cutover.world(self._alive(crash)), request)
            run = self.run
            if result.rolled_back and run is not None:
                assert run.phase is Phase.ROLLED_BACK
                assert self.cutover.levers[Kind(run.kind)].weights == run.before["weights"] or self._undone(run)

    def _undone(self, run: Run) -> bool:
        """Whether a hand or a deployment has changed the weights since."""
        return bool(self.by_hand[Kind(run.kind)])

    @rule(
        kind=st.sampled_from(list(Kind)),
        percent=st.sampled_from([0, 0, 100, 30]),
    )
    def deployment_resets_weights(self, kind: Kind, percent: int) -> None:
        lever = self.cutover.levers[kind]
        weights = {lever.sides[0]: 100 - percent, lever.sides[1]: percent}
        self.by_hand[kind].append(weights)
        self.ever_by_hand[kind].append(weights)
        lever.set(weights)

    @rule(crash=crashes)
    def reconciler_runs(self, crash: int | None) -> None:
        with suppress(CrashError):
            self.cutover.reconcile(self._alive(crash))
            desired = self.cutover.desired.read()
            assert desired is not None
            for kind, lever in self.cutover.levers.items():
                assert lever.weights == getattr(desired, kind.desired_field)
                self.by_hand[kind].clear()

    @rule(reachable=st.booleans())
    def database_answers(self, reachable: bool) -> None:
        self.cutover.databases.reachable = reachable

    @rule(seconds=st.sampled_from([60, 1000]))
    def time_passes(self, seconds: int) -> None:
        self._passes(seconds)

    # What must always hold.

    @invariant()
    def no_weights_were_ever_nothing(self) -> None:
        for lever in self.cutover.levers.values():
            assert all(sum(weights.values()) == 100 for weights in lever.history)

    @invariant()
    def what_is_over_stays_over(self) -> None:
        run = self.run
        if run is None:
            return
        known = self.over.get(run.cutover_id)
        if known is not None:
            assert run.phase is known
        if run.phase.is_over:
            self.over[run.cutover_id] = run.phase

    @invariant()
    def the_lease_belongs_to_the_run(self) -> None:
        holder, run = self.cutover.lease_holder(), self.run
        if run is not None and run.phase in (Phase.SHIFTING, Phase.ROLLING_BACK) and holder is not None:
            # Another one may have taken it that died before it began, or it has expired since.
            assert holder == run.cutover_id or int(holder.rpartition("-")[2]) > int(run.cutover_id.rpartition("-")[2])

    @invariant()
    def the_journal_explains_every_change_of_weights(self) -> None:
        entries = [
            entry
            for name in (STANDING, *(f"cutover-{number}" for number in range(1, self.number + 1)))
            for entry in self.cutover.entries(name)
        ]
        intended = [entry.after for entry in entries if entry.what in ("set weights", "put drift right")]
        for kind, lever in self.cutover.levers.items():
            for weights in lever.history[self.explained[kind] :]:
                assert weights in intended or weights in self.ever_by_hand[kind]
            self.explained[kind] = len(lever.history)

    def teardown(self) -> None:
        """Whatever happened: a rollback and a run of the reconciler bring everything to rest where it should be."""
        cutover = self.cutover
        cutover.databases.reachable = True
        cutover.now += 2000
        run = self.run
        if run is not None and not run.phase.is_over:
            assert roll_back(cutover.world(), Request(requested_by="ada", reason="the end")).rolled_back
            assert self.cutover.databases.admitting == {run.before["writer"]}
            assert cutover.lease_holder() is None
        cutover.reconcile()
        desired = cutover.desired.read()
        assert desired is not None
        for kind, lever in cutover.levers.items():
            assert lever.weights == getattr(desired, kind.desired_field)
        run = self.run
        if run is not None and run.phase is Phase.ROLLED_BACK:
            assert getattr(desired, Kind(run.kind).desired_field) == run.before["weights"]


def _in_phase(run: Run, phase: Phase) -> Run:
    return Run.from_document({**run.document(), "phase": phase.value}, version=run.version)


TestCutovers = Cutovers.TestCase
TestCutovers.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
