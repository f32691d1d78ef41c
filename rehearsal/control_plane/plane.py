"""The control plane: cutovers are begun here, and driven by the deployed definition and the functions' own code."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from cutover_state.desired import Desired, DesiredConflictError, DesiredStore
from cutover_state.journal import Entry, Journal
from cutover_state.run import Run, RunConflictError, RunStore
from rehearsal.clock import MINUTE, Clock
from rehearsal.control_plane.aws import Resources
from rehearsal.control_plane.deployed import Deployed
from rehearsal.control_plane.functions import Function, FunctionError
from rehearsal.control_plane.state_machine import End, ExecutionDeadError, StateMachine

ASYNCHRONOUS_ATTEMPTS: Final = 3
"""How often Lambda hands an event over that nobody waits for."""

_LONGEST_NAP_SECONDS: Final = 0.2


@dataclass(kw_only=True)
class Cutover:
    """One execution of the state machine.

    Attributes:
        end: how it ended; None while it runs.
        entered: the states, in order.
    """

    cutover_id: str
    arn: str
    source: str
    target: str
    end: End | None = None
    entered: list[str] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)


class ControlPlane:
    """The functions, the state machine, the rules that call functions, and the topics of the alarms.

    Attributes:
        functions: by package.
        resources: what they work on.
        is_reconciling: whether the schedule calls the reconciler.
    """

    def __init__(self, resources: Resources, *, deployed: Deployed, clock: Clock, folder: Path) -> None:
        self.resources = resources
        self.clock = clock
        self._definition = deployed.definition
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._number = 0
        self._cutovers: list[Cutover] = []
        self.listeners: list[Callable[[str, str, Mapping[str, Any]], None]] = []
        self.functions = {
            name: Function(
                package=name,
                environment={
                    **resources.aws.environment,
                    **{variable: resources.variables[variable] for variable in template.variables},
                },
                timeout_seconds=template.timeout_seconds,
                clock=clock,
                folder=folder,
            )
            for name, template in deployed.functions.items()
            if set(template.variables) <= set(resources.variables)
        }
        self._reconciling: threading.Thread | None = None
        self.reconciler_failures = 0
        self.is_reconciling = True
        self.drifts: list[str] = []

    def start(self) -> None:
        """Warm the functions and begin the schedule of the reconciler."""
        warming = [threading.Thread(target=each.warm, daemon=True) for each in self._driven()]
        for thread in warming:
            thread.start()
        for thread in warming:
            thread.join()
        self._spawn(self._reconcile, "reconciler")

    def _driven(self) -> list[Function]:
        names = ("cutover_preflight", "cutover_controller", "writer_switch", "cutover_rollback", "reconciler")
        return [self.functions[name] for name in names]

    # What people do.

    def begin(self, source: str, target: str, plan: Mapping[str, Any], **request: Any) -> Cutover:
        """Start an execution, as ``bluegreen start`` does."""
        self._number += 1
        cutover_id = f"rehearsal-{self._number}-{source}-{target}"
        started = self.resources.aws.client("stepfunctions").start_execution(
            stateMachineArn=self.resources.machine_arn, name=cutover_id, input="{}"
        )
        cutover = Cutover(cutover_id=cutover_id, arn=started["executionArn"], source=source, target=target)
        self._cutovers.append(cutover)
        document = {
            "from": source,
            "to": target,
            "requested_by": "rehearsal",
            "plan": plan,
            "poll_seconds": 10,
            "settle_seconds": 20,
            **request,
        }
        self._spawn(lambda: self._execute(cutover, document), cutover_id)
        return cutover

    def reasons_against(self, source: str, target: str) -> list[str]:
        """What the preflight finds now, without beginning anything."""
        event = {"from": source, "to": target, "requested_by": "rehearsal", "dry_run": True}
        return list(self.functions["cutover_preflight"].call(event)["reasons"])

    def wait(self, cutover: Cutover, timeout_seconds: float) -> End:
        """How it ended.

        Raises:
            TimeoutError: not within so many of our seconds.
        """
        if not cutover.done.wait(timeout_seconds) or cutover.end is None:
            run = self.run
            where = f"{run.phase.value}: {run.reason}" if run else "nowhere"
            raise TimeoutError(f"{cutover.cutover_id} did not end within {timeout_seconds:g} s; it is {where}")
        return cutover.end

    def order(self, kind: str, *, actor: str = "operator", automatic: bool = False) -> None:
        """Give the cutover under way an order, as ``bluegreen`` does."""
        while (run := self.run) is not None:
            order = {"kind": kind, "step": run.position["step"], "actor": actor, "automatic": automatic}
            with suppress(RunConflictError):
                self._runs.write(replace(run, order=order))
                return

    def roll_back(self, **request: Any) -> Mapping[str, Any]:
        """Call the rollback by hand, as ``bluegreen rollback`` does."""
        event = {"requested_by": "operator", "reason": "the rehearsal asks for it", **request}
        return self.functions["cutover_rollback"].call(event)

    # What AWS does.

    def fire(self, alarm: str, reason: str) -> threading.Thread:
        """An alarm goes off: its state, and its topic, which calls the rollback."""
        self.resources.set_alarm(alarm, firing=True, reason=reason)
        message = {
            "AlarmName": alarm,
            "AlarmArn": f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{alarm}",
            "NewStateValue": "ALARM",
            "NewStateReason": reason,
            "StateChangeTime": datetime.fromtimestamp(self.clock.now(), UTC).isoformat(timespec="milliseconds"),
        }
        event = {"Records": [{"Sns": {"Message": json.dumps(message)}}]}
        return self._spawn(lambda: self._hand_over("cutover_rollback", event), f"alarm {alarm}")

    # What is known.

    @property
    def run(self) -> Run | None:
        """The cutover under way, or the last one."""
        return self._runs.read()

    @property
    def desired(self) -> Desired | None:
        """What should be."""
        return DesiredStore(self.resources.aws.client("dynamodb"), table_name=self.resources.table).read()

    def journal(self, cutover_id: str) -> list[Entry]:
        """What was done and why, in order."""
        dynamodb = self.resources.aws.client("dynamodb")
        return list(Journal(dynamodb, table_name=self.resources.table, cutover_id=cutover_id, who="reader").entries())

    def abandon(self, timeout_seconds: float = 60.0) -> None:
        """End every execution, and wait until nothing that it has called is at work any more.

        A switch or a rollback that is called again ends sessions in the databases, which may be those of whoever puts
        the world in order meanwhile.
        """
        stepfunctions = self.resources.aws.client("stepfunctions")
        running = [cutover for cutover in self._cutovers if not cutover.done.is_set()]
        for cutover in running:
            stepfunctions.stop_execution(executionArn=cutover.arn, cause="abandoned")
        # Without a run there is nothing to take back.
        self.resources.clear_state()
        deadline = time.monotonic() + timeout_seconds
        for cutover in running:
            cutover.done.wait(max(0.0, deadline - time.monotonic()))
        self._cutovers.clear()

    def reset(self, *, weights: Mapping[str, int], records: Mapping[str, int], writer: str) -> None:
        """As if no cutover had ever been."""
        self.abandon()
        resources = self.resources
        resources.throttle(False)
        resources.clear_state()
        resources.set_weights(weights)
        resources.set_records(records)
        for name in ("blue-health", "green-health", "legacy-health"):
            resources.set_alarm(name, firing=False, reason="the rehearsal begins anew")
        store = DesiredStore(resources.aws.client("dynamodb"), table_name=resources.table)
        while True:
            # The reconciler adopts what it finds as soon as nothing is desired.
            found = store.read()
            version = 0 if found is None else found.version
            with suppress(DesiredConflictError):
                store.write(
                    Desired(
                        weights=dict(weights), records=dict(records), writer=writer, by="rehearsal", version=version
                    )
                )
                return

    def close(self) -> None:
        """Stop everything; executions are abandoned."""
        self._closed.set()
        for function in self.functions.values():
            function.close()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _runs(self) -> RunStore:
        return RunStore(self.resources.aws.client("dynamodb"), table_name=self.resources.table)

    def _execute(self, cutover: Cutover, request: Mapping[str, Any]) -> None:
        machine = StateMachine(
            definition=self._definition,
            functions={name: function.call for name, function in self.functions.items()},
            wait=lambda seconds: self._pause(cutover, seconds),
            entered=cutover.entered,
        )
        try:
            end = machine.run(cutover.cutover_id, request, execution_arn=cutover.arn)
        except ExecutionDeadError:
            end = End(status="ABORTED", data={})
        stepfunctions = self.resources.aws.client("stepfunctions")
        with suppress(Exception):
            if end.status != "ABORTED" and not self._closed.is_set():
                stepfunctions.stop_execution(executionArn=cutover.arn, cause="it is over")
        if end.status != "SUCCEEDED" and not self._closed.is_set():
            # The rule EndedBadly.
            event = {
                "cutover_id": cutover.cutover_id,
                "requested_by": "state machine",
                "reason": f"the execution ended: {end.status}",
                "from_state_machine": True,
            }
            self._hand_over("cutover_rollback", event)
        cutover.end = end
        cutover.done.set()

    def _pause(self, cutover: Cutover, seconds: float) -> None:
        until = time.monotonic() + self.clock.ours(seconds)
        stepfunctions = self.resources.aws.client("stepfunctions")
        while True:
            if self._closed.is_set():
                raise ExecutionDeadError("the rehearsal is over")
            left = until - time.monotonic()
            if stepfunctions.describe_execution(executionArn=cutover.arn)["status"] != "RUNNING":
                raise ExecutionDeadError("it was stopped")
            if left <= 0:
                return
            self._closed.wait(min(left, _LONGEST_NAP_SECONDS))

    def _hand_over(self, name: str, event: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """An event that nobody waits for: Lambda tries it again, later each time."""
        for attempt in range(ASYNCHRONOUS_ATTEMPTS):
            self.clock.wait(MINUTE * attempt, self._closed)
            if self._closed.is_set():
                return None
            with suppress(FunctionError):
                return self.functions[name].call(event)
        return None

    def _reconcile(self) -> None:
        while True:
            self.clock.wait(MINUTE, self._closed)
            if self._closed.is_set():
                return
            if not self.is_reconciling:
                continue
            try:
                self.drifts += self.functions["reconciler"].call({})["drifts"]
            except FunctionError:
                self.reconciler_failures += 1

    def _spawn(self, work: Callable[[], Any], name: str) -> threading.Thread:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()
        return thread
