"""A whole cutover: the state machine's definition, run with the functions' own code, on a clock that is played.

What the metrics, the alarms and the preflight's other sources say is a test's to choose. Stores, levers, the topic and
the databases are those of a :class:`Stage`: in memory for trying thousands of crashes, or moto and two real databases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from cutover_controller import advance as controller
from cutover_controller.observe import assemble
from cutover_plan import Direction, parse_plan
from cutover_preflight import begin as preflight
from cutover_preflight.checks import Limits
from cutover_preflight.look import Databases, Sources, look
from cutover_rollback import request as rollback_request
from cutover_rollback.rollback import World, WriterStuckError, roll_back
from cutover_state.journal import Entry
from cutover_state.levers import Kind
from cutover_state.run import Phase, Run, RunConflictError
from observation.environments import Service, Targets
from observation.replication import RUNNING, Task
from observation.traffic_metrics import MINUTE, MinuteCounts
from recovery_point.handler import keep
from rehearsal.control_plane.state_machine import End, ExecutionDeadError, Function, StateMachine
from tests.support.cutover_world import ALARMS, STARTED_AT
from tests.support.effects import CrashError, Process
from tests.support.played_cutover import PlayedCutover
from verdict import Evidence, Observation, Settings
from verdict import Limits as HardLimits
from writer_switch.handler import refusal, taken_back
from writer_switch.request import SwitchRequest

REQUESTS_A_MINUTE = 100_000
FUNCTIONS = ("Preflight", "Controller", "WriterSwitch", "Rollback", "RecoveryPoint")
PLAN: Mapping[str, Any] = {
    "steps": [
        {"weight_percent": 1, "watch_seconds": 60, "deadline_seconds": 600},
        {"weight_percent": 50, "watch_seconds": 60, "deadline_seconds": 600},
        {
            "weight_percent": 50,
            "switch_writer": True,
            "watch_seconds": 60,
            "deadline_seconds": 600,
            "gate": {"question": "Switch the writer?", "timeout_seconds": 600},
        },
        {"weight_percent": 100, "watch_seconds": 60, "deadline_seconds": 600},
    ]
}


class Moments:
    """Numbers the moments of all invocations, and lets one of them die at one of these, or never.

    Attributes:
        names: what each moment was.
        died_in: the function that died.
    """

    def __init__(self, *, dies_at: int | None = None, for_good: bool = False) -> None:
        """Args: for_good: every later invocation of the function that died dies at its first moment, too."""
        self.names: list[str] = []
        self.died_in: str | None = None
        self._dies_at = dies_at
        self._for_good = for_good

    def invocation(self, function: str) -> Process:
        return _Invocation(self, function)

    def dies(self, function: str, name: str) -> bool:
        self.names.append(f"{function}: {name}")
        if len(self.names) - 1 == self._dies_at:
            self.died_in = function
            return True
        return self._for_good and function == self.died_in


class _Invocation(Process):
    def __init__(self, moments: Moments, function: str) -> None:
        super().__init__()
        self._shared = moments
        self._function = function

    def moment(self, name: str) -> None:
        self.live()
        if self._shared.dies(self._function, name):
            self._dead = True
            raise CrashError(f"{self._function} died {name}")


class Stage(Protocol):
    """Where a cutover plays. Attributes: now: epoch seconds; told: subjects."""

    now: float

    def world(self, process: Process) -> World:
        """Stores and levers of an invocation."""
        ...

    def switch(self, event: Mapping[str, Any], process: Process) -> Mapping[str, Any]:
        """The function of the writer switch."""
        ...

    def admitting(self) -> list[str]:
        """The databases that admit writers."""
        ...

    def start_execution(self) -> str:
        """The ARN of an execution that runs."""
        ...

    def execution_runs(self) -> bool: ...


@dataclass
class InMemory:
    """A stage for thousands of runs."""

    played: PlayedCutover = field(default_factory=PlayedCutover)

    def __post_init__(self) -> None:
        self.played.adopt()

    @property
    def now(self) -> float:
        return self.played.now

    @now.setter
    def now(self, value: float) -> None:
        self.played.now = value

    @property
    def told(self) -> list[str]:
        return self.played.told

    def world(self, process: Process) -> World:
        return self.played.world(process)

    def switch(self, event: Mapping[str, Any], process: Process) -> Mapping[str, Any]:
        request = SwitchRequest.parse(event, chain=("legacy", "blue", "green"))
        client = self.played.table.client(process)
        refused = taken_back(client, "state", request) or refusal(
            client, "state", request.cutover_id, until=self.now + 120
        )
        databases = self.played.databases
        result = "switched"
        if databases.admitting == {request.new}:
            result = "already switched"
        elif refused is not None:
            result = "refused"
        else:
            with process.effect("fence"):
                databases.admit()
            with process.effect("promote"):
                databases.admit(request.new)
        return {"result": result, "page": False, "reason": refused or "played", "next_step": ""}

    def admitting(self) -> list[str]:
        return sorted(self.played.databases.admitting)

    def start_execution(self) -> str:
        self.played.executions.add("execution")
        return "execution"

    def execution_runs(self) -> bool:
        return "execution" in self.played.executions


@dataclass
class WholeCutover:
    """Attributes:
    sick: environments whose requests fail, 5 of 100.
    firing: alarms in the state ALARM.
    refuse: what the preflight finds besides, as an alarm that fires at its time only.
    at_wait: called whenever the state machine waits, with how often it has.
    execution_dies: a function that dies takes its execution along.
    jobs_after: after how many looks the recovery points are complete.
    """

    definition: Mapping[str, Any]
    stage: Any
    moments: Moments = field(default_factory=Moments)
    sick: set[str] = field(default_factory=set)
    firing: set[str] = field(default_factory=set)
    refuse: tuple[str, ...] = ()
    at_wait: Callable[[WholeCutover, int], None] | None = None
    execution_dies: bool = False
    jobs_after: int = 2
    settings: Settings = field(default_factory=lambda: Settings(limits=HardLimits(healthy_hosts_minimum=2)))
    waits: int = 0
    entered: list[str] = field(default_factory=list)
    cutover_id: str = "cutover-7"

    def run(self, **request: Any) -> End:
        """The execution, and what follows when it ends badly, as the rule ``EndedBadly`` has it."""
        request = {"from": "blue", "to": "green", "requested_by": "ada", "plan": PLAN, "poll_seconds": 30, **request}
        machine = StateMachine(
            definition=self.definition,
            functions={f"<Cutover/Functions/{name}/Function>.Arn": self._function(name) for name in FUNCTIONS},
            wait=self._wait,
            failures=(Exception, CrashError),
        )
        self.entered = machine.entered
        arn = self.stage.start_execution()
        try:
            end = machine.run(self.cutover_id, request, execution_arn=arn)
        except ExecutionDeadError:
            end = End(status="ABORTED", data={})
        if end.status != "SUCCEEDED":
            self._ended_badly(end.status)
        return end

    def begin(self, **request: Any) -> Mapping[str, Any]:
        """Call the preflight, by itself."""
        request = {"from": "blue", "to": "green", "requested_by": "ada", "plan": PLAN, **request}
        event = {"cutover_id": self.cutover_id, "execution_arn": self.stage.start_execution(), "request": request}
        return self._preflight(event, Process())

    def look(self, *, switched: Mapping[str, Any] | None = None, process: Process | None = None) -> Mapping[str, Any]:
        """Call the controller, by itself."""
        event = {"cutover_id": self.cutover_id, "request": {"poll_seconds": 30}, "switched": switched}
        return self._controller(event, process or Process())

    def look_until(self, phase: str, *, step: int | None = None) -> Mapping[str, Any]:
        """Look again and again, with the writer switched where that is asked for; the answer that led there."""
        answer: Mapping[str, Any] = {"seconds": 0}
        for _ in range(200):
            position = self.found().position
            if position["phase"] == phase and step in (None, position["step"]):
                return answer
            self.stage.now += answer["seconds"]
            approving(self, 0)
            switched = self.stage.switch(answer["switch"], Process()) if answer.get("switch") else None
            answer = self.look(switched=switched)
        raise AssertionError(f"never came to {phase}: {self.found().position}")

    def roll_back(self, **event: Any) -> Mapping[str, Any]:
        """Call the function, by itself."""
        return self._rollback({"requested_by": "ada", "reason": "complaints", **event}, Process())

    def alarm(self, name: str) -> Mapping[str, Any]:
        """An alarm fires and reaches the function through its topic."""
        request = rollback_request.Request(
            requested_by=f"alarm {name}", reason=f"alarm {name} fired", alarm=name, alarmed_at=self.stage.now
        )
        result = roll_back(self.stage.world(self.moments.invocation("Rollback")), request)
        return {"rolled_back": result.rolled_back, "explanation": result.explanation}

    def order(self, kind: str, *, step: int | None = None, actor: str = "ada", automatic: bool = False) -> None:
        """What the operator's command line does."""
        while True:
            found = self.found()
            asked = {"kind": kind, "step": found.position["step"] if step is None else step}
            order = {**asked, "actor": actor, "automatic": automatic}
            with suppress(RunConflictError):
                self.stage.world(Process()).runs.write(replace(found, order=order))
                return

    @property
    def run_now(self) -> Run | None:
        """The run, once there is one."""
        run: Run | None = self.stage.world(Process()).runs.read()
        return run

    def found(self) -> Run:
        run = self.run_now
        assert run is not None
        return run

    @property
    def is_at_a_gate(self) -> bool:
        run = self.run_now
        return run is not None and run.phase is Phase.SHIFTING and run.position["phase"] == "gate"

    def journal(self) -> list[Entry]:
        return list(self.stage.world(Process()).journal(self.cutover_id).entries())

    def whats(self) -> list[str]:
        return [entry.what for entry in self.journal()]

    def weights(self, kind: Kind = Kind.ENVIRONMENT) -> Mapping[str, int]:
        weights: Mapping[str, int] = self.stage.world(Process()).levers[kind].read()
        return weights

    def _wait(self, seconds: float) -> None:
        self.stage.now += seconds
        self.waits += 1
        if self.at_wait is not None:
            self.at_wait(self, self.waits)
        if not self.stage.execution_runs():
            raise ExecutionDeadError("it was stopped")

    def _function(self, name: str) -> Function:
        body: Callable[[Mapping[str, Any], Process], Mapping[str, Any]] = {
            "Preflight": self._preflight,
            "Controller": self._controller,
            "WriterSwitch": self.stage.switch,
            "Rollback": self._rollback,
            "RecoveryPoint": self._recovery_point,
        }[name]

        def call(event: dict[str, Any]) -> Mapping[str, Any]:
            try:
                return body(event, self.moments.invocation(name))
            except CrashError as error:
                if self.execution_dies:
                    raise ExecutionDeadError(str(error)) from None
                raise

        return call

    def _ended_badly(self, status: str) -> None:
        """The rule's event, which Lambda hands over up to three times."""
        event = {
            "cutover_id": self.cutover_id,
            "requested_by": "state machine",
            "reason": f"the execution ended: {status}",
            "from_state_machine": True,
        }
        for attempt in range(3):
            self.stage.now += 60 * attempt
            try:
                self._rollback(event, self.moments.invocation("Rollback by rule"))
            except CrashError:
                continue
            return

    def _preflight(self, event: Mapping[str, Any], process: Process) -> Mapping[str, Any]:
        stage, request = self.stage, event["request"]
        world: World = stage.world(process)
        direction = Direction.of(request["from"], request["to"])
        assert direction is not None
        sources = Sources(
            levers=world.levers,
            desired=world.desired.read,
            run=world.runs.read,
            databases=lambda: Databases(admitting=stage.admitting(), unreachable=(), differences=()),
            alarms=lambda direction: self._alarms([*ALARMS[direction.target], *self.refuse], also=self.refuse),
            targets=self._targets,
            services=lambda: {name: Service(desired=3, running=3, deploying=False) for name in ("blue", "green")},
            tasks=self._tasks,
            rotations=lambda: (),
            owed_restarts=lambda: False,
            dns_ttl_seconds=lambda: 60,
            now=lambda: stage.now,
        )
        answer = preflight.begin(
            preflight.World(
                runs=world.runs,
                look=lambda wanted: look(
                    sources, wanted, kind=preflight.kind_of(wanted), cutover_id=event["cutover_id"]
                ),
                verdict=self.settings,
                limits=Limits(),
                lease=world.lease,
                release=world.release,
                tell=world.tell,
                journal=world.journal,
                now=lambda: stage.now,
            ),
            parse_plan(request["plan"], direction=direction),
            cutover_id=event["cutover_id"],
            requested_by=request["requested_by"],
            execution_arn=event["execution_arn"],
            details={},
        )
        return {**answer.document(), "recovery_point": bool(request.get("recovery_point", False))}

    def _controller(self, event: Mapping[str, Any], process: Process) -> Mapping[str, Any]:
        world: World = self.stage.world(process)
        return controller.advance(
            controller.World(
                runs=world.runs,
                desired=world.desired,
                levers=world.levers,
                observe=self._observe,
                alarms={side: tuple(names) for side, names in ALARMS.items()},
                lease=world.lease,
                release=world.release,
                tell=world.tell,
                journal=world.journal,
                now=lambda: self.stage.now,
                poll_seconds=event["request"]["poll_seconds"],
            ),
            cutover_id=event["cutover_id"],
            switched=event.get("switched"),
        ).document()

    def _rollback(self, event: Mapping[str, Any], process: Process) -> Mapping[str, Any]:
        request = rollback_request.parse(event)
        assert request is not None
        try:
            result = roll_back(self.stage.world(process), request)
        except WriterStuckError as error:
            return {"rolled_back": False, "stuck": True, "explanation": str(error)}
        return {"rolled_back": result.rolled_back, "stuck": False, "explanation": result.explanation}

    def _recovery_point(self, event: Mapping[str, Any], process: Process) -> Mapping[str, Any]:
        world: World = self.stage.world(process)
        keep(world.runs, world.lease, cutover_id=event["cutover_id"], now=self.stage.now)
        looks = int(event["jobs"][0].partition("-")[2]) + 1 if "jobs" in event else 0
        return {"jobs": [f"job-{looks}"], "complete": looks >= self.jobs_after}

    def _observe(self, run: Run, evidence: Evidence) -> Observation:
        return assemble(
            run,
            evidence,
            now=self.stage.now,
            minutes=self._minutes,
            targets=self._targets,
            tasks=self._tasks,
            alarms=lambda names: self._alarms(names),
            settled_after_seconds=0,
        )

    def _minutes(self, start: int, end: int) -> Mapping[str, Sequence[MinuteCounts]]:
        served = self.weights()
        into_aws = 100 if self.stage.admitting() != ["legacy"] else self.weights(Kind.FRONT_DOOR)["aws"]

        def minutes(name: str) -> Iterator[MinuteCounts]:
            requests = REQUESTS_A_MINUTE * served[name] * into_aws // 10_000
            errors = requests // 20 if name in self.sick else 0
            for minute in range(start, end, MINUTE):
                yield MinuteCounts(minute=minute, requests=requests, errors=errors, slow=0, healthy_hosts=3)

        return {name: tuple(minutes(name)) for name in served}

    def _targets(self) -> Mapping[str, Targets]:
        return {name: Targets(healthy=3, registered=3) for name in ("blue", "green")}

    def _tasks(self) -> Sequence[Task]:
        return (Task(identifier="blue-to-green", status=RUNNING, lag_seconds=0.5, validation_failures=0),)

    def _alarms(self, names: Sequence[str], also: Sequence[str] = ()) -> dict[str, str]:
        return {name: "ALARM" if name in {*self.firing, *also} else "OK" for name in names}


def approving(cutover: WholeCutover, _: int) -> None:
    """Somebody approves whatever waits for that."""
    if cutover.is_at_a_gate and cutover.found().order is None:
        cutover.order("approve")


assert STARTED_AT % MINUTE == 0, "the played clock begins with a whole minute"
