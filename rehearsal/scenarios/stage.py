"""How one fault is played: the world put in order, clients that pay, the fault, and the judgement."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from cutover_state.run import Phase, Run
from rehearsal.checks import BALANCED, CROSSED, EQUAL
from rehearsal.client_process import ClientProcess
from rehearsal.control_plane.plane import Cutover
from rehearsal.control_plane.state_machine import End
from rehearsal.databases import ReplicationError
from rehearsal.faulty_service import FaultyService
from rehearsal.record import FaultGroup, FaultResult
from rehearsal.scenarios.common import Judgement, judge, longest_seconds
from rehearsal.world import World

PATIENCE_SECONDS = 60.0


class UnexpectedError(Exception):
    """Something else happened than must; the message says what."""


@dataclass(kw_only=True)
class Stage:
    """What a scenario plays on.

    Attributes:
        load: the clients.
        switches: changes of the writer that the judgement must find; a scenario adds to it.
        seen: what happened, in clauses.
    """

    world: World
    load: ClientProcess
    switches: list[tuple[str, str]] = field(default_factory=list)
    cutover: Cutover | None = None
    seen: list[str] = field(default_factory=list)

    # Driving.

    def begin(self, plan: Mapping[str, Any], source: str = "blue", target: str = "green", **request: Any) -> Cutover:
        """Start a cutover."""
        self.cutover = self.world.plane.begin(source, target, plan, **request)
        return self.cutover

    def until(self, phase: str, *, step: int = 1, timeout_seconds: float = PATIENCE_SECONDS) -> Run:
        """Return once the cutover stands in a phase of a step, counted from 1.

        Raises:
            UnexpectedError: it ends, or does not come there in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            run = self.world.plane.run
            if run is not None and run.phase in (Phase.PREPARING, Phase.SHIFTING):
                if run.position.get("phase") == phase and run.position.get("step") == step - 1:
                    return run
            elif run is not None:
                raise UnexpectedError(f"the cutover is {run.phase.value} before step {step} {phase}: {run.reason}")
            elif self.cutover is not None and self.cutover.end is not None:
                reasons = self.cutover.end.data.get("preflight", {}).get("reasons", ())
                raise UnexpectedError(f"the cutover did not begin: {'; '.join(reasons)}")
            if time.monotonic() > deadline:
                raise UnexpectedError(f"the cutover did not come to step {step} {phase}")
            time.sleep(0.02)

    def finish(self, cutover: Cutover, timeout_seconds: float | None = None) -> End:
        """How it ended."""
        seconds = timeout_seconds or longest_seconds(self.world, 1)
        end = self.world.plane.wait(cutover, seconds)
        self.world.read_journal(cutover.cutover_id)
        return end

    def succeeds(self, cutover: Cutover, *, writer: str = "green", weights: Mapping[str, int] | None = None) -> None:
        """It goes through. Raises: UnexpectedError: it does not."""
        end = self.finish(cutover)
        run = self._run()
        self.check(
            end.status == "SUCCEEDED" and run.phase is Phase.SUCCEEDED,
            f"the cutover goes through (it is {run.phase.value}: {run.reason})",
        )
        self.stands(writer=writer, weights=weights or {"blue": 0, "green": 100})
        self.seen.append("the cutover went through")

    def is_taken_back(self, cutover: Cutover, *, writer: str = "blue") -> None:
        """It is rolled back, all of it. Raises: UnexpectedError: it is not."""
        self.finish(cutover)
        self.world.wait_for(lambda: self._run().phase.is_over or self._run().phase is Phase.STUCK, "it is over")
        run = self._run()
        self.check(run.phase is Phase.ROLLED_BACK, f"it is rolled back (it is {run.phase.value}: {run.reason})")
        self.stands(writer=writer, weights={"blue": 100, "green": 0})
        self.seen.append(f"rolled back: {run.reason[:160]}")

    def is_refused(self, cutover: Cutover, *parts: str) -> None:
        """It does not begin, for reasons that contain each part. Raises: UnexpectedError: it does, or for others."""
        end = self.finish(cutover)
        reasons = list(end.data.get("preflight", {}).get("reasons", ()))
        self.check(end.error == "NotBegun", f"the preflight refuses (it ended {end.status} {end.error})")
        for part in parts:
            self.check(any(part in reason for reason in reasons), f"a reason says {part!r}: {reasons}")
        self.stands(writer="blue", weights={"blue": 100, "green": 0})
        self.seen.append(f"not begun: {'; '.join(reasons)[:160]}")

    def stands(self, *, writer: str, weights: Mapping[str, int]) -> None:
        """Weights and writer are as they should be. Raises: UnexpectedError: they are not."""
        admitting = self.world.databases.admitting()
        self.check(admitting == [writer], f"{writer} is the writer (admitting: {admitting})")
        found = self.world.resources.weights()
        self.check(found == dict(weights), f"the weights are {dict(weights)} (found: {found})")

    def switched(self, old: str = "blue", new: str = "green") -> None:
        """The judgement shall find this change of the writer."""
        self.switches.append((old, new))

    def check(self, holds: bool, what: str) -> None:
        """Raises: UnexpectedError: it does not hold."""
        if not holds:
            raise UnexpectedError(f"expected that {what}")

    def journaled(self, cutover: Cutover, what: str) -> bool:
        """Whether the journal has an entry of this kind."""
        return any(entry.what == what for entry in self.world.plane.journal(cutover.cutover_id))

    def order(self, function: str, **orders: Any) -> None:
        """What the next call of a function does besides; see ``function_process``."""
        self.world.plane.functions[function].orders = orders

    def fault(self, text: str) -> None:
        """Note what is done to the world."""
        self.world.note("fault", text)
        self.seen.append(text)

    def _run(self) -> Run:
        run = self.world.plane.run
        if run is None:
            raise UnexpectedError("there is no cutover")
        return run

    # Breaking.

    @contextmanager
    def spoiled_green(self, mode: str) -> Iterator[None]:
        """Green's targets answer as a bad release would."""
        world = self.world
        with FaultyService(mode, target_port=world.services["green"][0].port) as faulty:
            for number in range(len(world.services["green"])):
                world.balancer.set_target("green", number, faulty.port)
            self.fault(f"green answers with {'errors' if mode == 'errors' else 'delays'}")
            try:
                yield
            finally:
                for number, service in enumerate(world.services["green"]):
                    world.balancer.set_target("green", number, service.port)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A scenario of the matrix.

    Attributes:
        must_happen: in a sentence.
        play: does it, and raises UnexpectedError when something else happens.
        retries: how often clients repeat a failed payment with the same key; 0 where no payment may fail even once.
        longest_pause_ms: of a switch; None means the usual one.
        breaks: promises of which a negative control must break at least one; the checks have no teeth otherwise.
        judged: databases that are compared at the end; None means all.
    """

    name: str
    must_happen: str
    play: Callable[[Stage], None]
    group: FaultGroup = "fault"
    retries: int = 0
    longest_pause_ms: float | None = None
    breaks: Sequence[str] = ()
    rate: float | None = None

    def run(self, world: World) -> FaultResult:
        """Put the world in order, play, judge."""
        began = time.monotonic()
        world.reset()
        problem = ""
        judgement: Judgement | None = None
        stage: Stage | None = None
        try:
            with world.load(retries=self.retries, rate=self.rate) as load:
                stage = Stage(world=world, load=load)
                time.sleep(0.5)
                try:
                    world.wait_fit("blue", "green")
                    self.play(stage)
                except (UnexpectedError, TimeoutError) as error:
                    problem = str(error)
                mend(world)
                time.sleep(0.5)
                judgement = judge(world, load, switches=stage.switches, longest_pause_ms=self.longest_pause_ms)
        except Exception as error:  # one scenario that fails must not end the others
            problem = problem or f"{type(error).__name__}: {error}"
            mend(world)
        broken = judgement.broken if judgement is not None else ["not judged"]
        if self.group == "fault":
            passed = not problem and not broken
        else:
            passed = not problem and any(name in broken for name in self.breaks)
        clauses = [*(stage.seen if stage else ()), *([problem] if problem else ())]
        if judgement is not None:
            clauses.append(_summary(judgement, broken))
            if (seconds := seconds_to_rollback(world, judgement)) is not None:
                clauses.append(f"back {seconds:.1f} s after the first bad answer")
        return FaultResult(
            scenario=self.name,
            group=self.group,
            must_happen=self.must_happen,
            happened="; ".join(clauses),
            passed=passed,
            promises=tuple(judgement.promises) if judgement is not None else (),
            seconds=round(time.monotonic() - began, 1),
        )


def seconds_to_rollback(world: World, judgement: Judgement) -> float | None:
    """From the first answer that a client saw fail until traffic and writer were back; None without either."""
    failures = [each.first_failure_at for each in judgement.paid if each.first_failure_at is not None]
    done = [event.at for event in world.events if event.kind == "rollback" and event.text.startswith("rolled back")]
    if not failures or not done:
        return None
    return max(0.0, world.began + min(done) - min(failures))


def mend(world: World) -> None:
    """Whatever is broken still: databases run, replication runs, nothing is throttled or sabotaged."""
    world.metrics.paused = False
    world.metrics.differing_rows = 0
    world.resources.throttle(False)
    for function in world.plane.functions.values():
        function.orders = {}
    for server in world.databases.chain:
        server.start()
    with suppress(ReplicationError):  # the judgement finds it, too
        world.resume_replication()


def _summary(judgement: Judgement, broken: Sequence[str]) -> str:
    counted = judgement.figures
    pauses = ", ".join(f"{each.old} to {each.new} {each.pause_ms:.0f} ms" for each in judgement.crossings[:4])
    said = f"{counted.sent} payments, {counted.failed} failed, {counted.lost} lost"
    if counted.raw_failures:
        kinds = Counter(" ".join(failure.split()[1:]) for each in judgement.paid for failure in each.failures)
        said += f", attempts that failed: {', '.join(f'{count} {kind}' for kind, count in kinds.most_common(4))}"
    if pauses:
        said += f", writes paused {pauses}"
    return f"{said}; broken: {', '.join(broken)}" if broken else said


DIVERGED = (BALANCED, EQUAL)
MISPLACED = (CROSSED,)
