"""The whole controller, in any order of what people, alarms, faults and deployments do, against what must always hold.

The state machine's part is played step by step: each step may die before or after any of its side effects, and is made
again later, as Step Functions does. Preflight, looks, rollback and reconciler are the functions' own code; of the
writer switch it is what guards it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cutover_rollback.rollback import RollbackIncompleteError
from cutover_state.desired import DesiredConflictError
from cutover_state.lease import LeaseTakenError
from cutover_state.levers import Kind
from cutover_state.run import Phase
from tests.support.effects import CrashError, Process
from tests.support.whole_cutover import InMemory, WholeCutover
from traffic.weights import HUNDRED

pytestmark = pytest.mark.slow

crashes = st.one_of(st.none(), st.integers(0, 30))
ORDERS = ("approve", "approve", "promote", "hold", "resume", "resume", "abort", "roll back gradually")
WAITING: Mapping[str, Any] = {"next": "wait"}


class Controllers(RuleBasedStateMachine):
    """Blue to green or green to blue, one cutover after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.cutover = WholeCutover(definition={}, stage=InMemory())
        self.played = self.cutover.stage.played
        self.number = 0
        self.answer: Mapping[str, Any] = WAITING
        self.switched: Mapping[str, Any] | None = None
        self.over: dict[str, Phase] = {}
        self.turned_back: set[str] = set()

    @property
    def lever(self) -> Any:
        return self.played.levers[Kind.ENVIRONMENT]

    def _to_target(self) -> int:
        run = self.cutover.run_now
        return int(self.lever.weights[run.target]) if run is not None else 0

    @property
    def _is_idle(self) -> bool:
        run = self.cutover.run_now
        return run is None or run.phase.is_over

    @precondition(lambda self: self._is_idle)
    @rule(crash=crashes)
    def somebody_begins(self, crash: int | None) -> None:
        source = max(self.lever.weights, key=self.lever.weights.get)
        target = "green" if source == "blue" else "blue"
        self.number += 1
        self.cutover.cutover_id = f"cutover-{self.number}"
        self.answer, self.switched = WAITING, None
        self.cutover.sick.clear()
        with suppress(CrashError, LeaseTakenError):
            event = {"from": source, "to": target, "requested_by": "ada", "plan": _plan()}
            self.cutover._preflight(
                {
                    "cutover_id": self.cutover.cutover_id,
                    "execution_arn": self.cutover.stage.start_execution(),
                    "request": event,
                },
                Process(dies_at=crash),
            )

    def _is_ours(self) -> bool:
        run = self.cutover.run_now
        return run is not None and run.cutover_id == self.cutover.cutover_id

    @precondition(lambda self: self._is_ours())
    @rule(crash=crashes)
    def the_state_machine_goes_on(self, crash: int | None) -> None:
        """One state of it; what died is entered again the next time."""
        process = Process(dies_at=crash)
        with suppress(CrashError, LeaseTakenError, DesiredConflictError, RollbackIncompleteError):
            if self.answer["next"] == "switch writer" and self.switched is None:
                self.switched = self.cutover.stage.switch(self.answer["switch"], process)
            elif self.answer["next"] == "roll back":
                self.cutover._rollback(
                    {
                        "cutover_id": self.cutover.cutover_id,
                        "requested_by": "state machine",
                        "reason": self.answer["reason"],
                        "from_state_machine": True,
                    },
                    process,
                )
                self.answer = {"next": "ended"}
            elif self.answer["next"] in ("wait", "switch writer"):
                self.answer = self.cutover.look(switched=self.switched, process=process)
                self.switched = None

    @precondition(lambda self: self._is_ours() and not self._is_idle)
    @rule(times=st.integers(1, 16))
    def all_goes_well_for_a_while(self, times: int) -> None:
        """Or else few runs would ever come far."""
        self._goes_on(times)

    @precondition(lambda self: self._is_idle)
    @rule(times=st.integers(0, 16))
    def one_begins_and_goes_on(self, times: int) -> None:
        self.somebody_begins(None)
        if not self._is_idle and self._is_ours():
            self._goes_on(times)

    def _goes_on(self, times: int) -> None:
        for _ in range(times):
            if self.cutover.is_at_a_gate:
                self.cutover.order("approve")
            self.the_state_machine_goes_on(None)
            self.cutover.stage.now += 30

    @precondition(lambda self: not self._is_idle)
    @rule(kind=st.sampled_from(ORDERS), automatic=st.booleans())
    def somebody_orders(self, kind: str, automatic: bool) -> None:
        self.cutover.order(kind, automatic=automatic)

    @precondition(lambda self: not self._is_idle)
    @rule(times=st.integers(0, 12))
    def somebody_turns_back(self, times: int) -> None:
        with suppress(RollbackIncompleteError):
            self.cutover.roll_back(gradual=True)
        if self._is_ours():
            self._goes_on(times)

    @rule(environment=st.sampled_from(["blue", "green"]), sick=st.sampled_from([False, False, True]))
    def an_environment_turns(self, environment: str, sick: bool) -> None:
        (self.cutover.sick.add if sick else self.cutover.sick.discard)(environment)

    @precondition(lambda self: not self._is_idle)
    @rule(environment=st.sampled_from(["blue", "green"]))
    def an_alarm_fires(self, environment: str) -> None:
        before, run = self._to_target(), self.cutover.found()
        with suppress(RollbackIncompleteError):
            self.cutover.alarm(f"{environment}-unhealthy")
        assert self._to_target() <= before or run.phase.is_over, "an alarm only takes back"

    @precondition(lambda self: self.cutover.run_now is not None)
    @rule(crash=crashes, gradual=st.booleans(), after_the_end=st.booleans())
    def a_person_rolls_back(self, crash: int | None, gradual: bool, after_the_end: bool) -> None:
        run = self.cutover.found()
        if after_the_end and not gradual and run.phase is Phase.SUCCEEDED:
            self.over.pop(run.cutover_id, None)
        with suppress(CrashError, RollbackIncompleteError):
            self.cutover._rollback(
                {
                    "requested_by": "ada",
                    "reason": "complaints",
                    "gradual": gradual,
                    "after_the_end": after_the_end,
                },
                Process(dies_at=crash),
            )

    @rule(percent=st.sampled_from([0, 100, 30]))
    def a_deployment_resets_the_weights(self, percent: int) -> None:
        self.lever.set({"blue": HUNDRED - percent, "green": percent})
        self.played.reconcile()

    @rule(crash=crashes)
    def the_reconciler_runs(self, crash: int | None) -> None:
        with suppress(CrashError):
            self.played.reconcile(Process(dies_at=crash))

    @rule(seconds=st.sampled_from([30, 60, 700, 1000]))
    def time_passes(self, seconds: int) -> None:
        self.cutover.stage.now += seconds

    # What must always hold. That never two databases admit writers is asserted wherever one is let to.

    @invariant()
    def no_weights_were_ever_nothing(self) -> None:
        assert all(sum(weights.values()) == HUNDRED for weights in self.lever.history)

    @invariant()
    def what_is_over_stays_over(self) -> None:
        run = self.cutover.run_now
        if run is None:
            return
        known = self.over.get(run.cutover_id)
        if known is not None:
            assert run.phase is known
        if run.phase.is_over:
            self.over[run.cutover_id] = run.phase

    @invariant()
    def who_turned_back_never_arrives(self) -> None:
        run = self.cutover.run_now
        if run is None:
            return
        if run.returning:
            self.turned_back.add(run.cutover_id)
        if run.cutover_id in self.turned_back:
            assert run.phase is not Phase.SUCCEEDED

    @invariant()
    def nothing_moves_forward_for_a_program(self) -> None:
        run = self.cutover.run_now
        if run is None:
            return
        followed = [
            entry.details or {} for entry in self.played.entries(run.cutover_id) if entry.what == "follow an order"
        ]
        assert not any(each.get("automatic") and each["kind"] in ("approve", "promote", "resume") for each in followed)

    def teardown(self) -> None:
        """Whatever happened, a rollback and the reconciler bring everything to rest where it should be."""
        self.cutover.stage.now += 2000
        run = self.cutover.run_now
        if run is not None and not run.phase.is_over:
            assert self.cutover.roll_back()["rolled_back"]
        self.played.reconcile()
        run = self.cutover.run_now
        if run is None:
            return
        arrived = run.phase is Phase.SUCCEEDED
        writer = run.writer_after if arrived else run.before["writer"]
        weights = {run.source: 0, run.target: HUNDRED} if arrived else run.before["weights"]
        desired = self.played.desired.read()
        assert desired is not None
        assert (self.cutover.stage.admitting(), desired.writer) == ([writer], writer)
        assert (dict(self.lever.weights), dict(desired.weights)) == (dict(weights), dict(weights))
        assert self.played.lease_holder() is None


def _plan() -> dict[str, Any]:
    """Short, with a gate and a switch of the writer."""
    step = {"watch_seconds": 30, "deadline_seconds": 600}
    gate = {"question": "Switch the writer?", "timeout_seconds": 600}
    return {
        "steps": [
            {"weight_percent": 10, **step},
            {"weight_percent": 10, **step, "switch_writer": True, "gate": gate},
            {"weight_percent": HUNDRED, **step},
        ]
    }


TestControllers = Controllers.TestCase
TestControllers.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
