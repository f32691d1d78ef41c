"""Everything that a rehearsal runs, put together: databases, control plane, services, balancer, metrics, clients.

    with World.start(WorldSettings(rate=14), tell=print) as world:
        with world.load() as load: ...

All of it listens on the loopback interface, lives in processes of its own, and ends with the world.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from cutover_state.run import Phase
from rehearsal.balancer import Balancer, HaproxySoftware, RuleFollower, obtain_haproxy
from rehearsal.client_process import ClientProcess
from rehearsal.clock import Clock
from rehearsal.control_plane.aws import DNS_TTL_SECONDS, AwsProcess, Resources
from rehearsal.control_plane.deployed import Deployed, deployed
from rehearsal.control_plane.plane import ControlPlane
from rehearsal.databases import DatabaseChain, ReplicationError, Software, obtain
from rehearsal.databases.pytest_plugin import memory_folder
from rehearsal.metrics import AlarmRule, MetricsFeeder
from rehearsal.network import DatabasePath
from rehearsal.payment_databases import PaymentDatabases, secret_text
from rehearsal.record import Event, EventKind, Sample
from rehearsal.service_process import ServiceProcess
from rehearsal.watchdog import Watchdog

CHAIN = ("legacy", "blue", "green")
SIDES = ("blue", "green")
TARGETS = 2
CAUGHT_UP_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class WorldSettings:
    """Attributes:
    rate: requests a second.
    delay_seconds: by which replication applies every change late; whole seconds.
    scale: seconds of AWS's clock in one of ours.
    hold_seconds: how long a service holds a request while there is no writer.
    verdict: settings of the verdict; by default such as fit the rate.
    """

    rate: float = 14.0
    delay_seconds: int = 1
    seed: int = 0
    scale: float = 20.0
    hold_seconds: float = 45.0
    verdict: Mapping[str, Any] = field(default_factory=dict)
    targets: int = TARGETS
    assembly: Path | None = None


def verdict_settings(rate: float, targets: int) -> dict[str, Any]:
    """Settings of the verdict with which health shows within a short minute at this rate.

    Real steps are watched for a quarter of an hour and more; here a minute has three seconds. The fewer requests there
    are, the worse an environment has to be to be told from a healthy one.
    """
    return {
        "bad_percent": 20.0 if rate < 50 else 5.0,
        "miss_probability": 0.01,
        "limits": {"healthy_hosts_minimum": max(1, targets - 1), "missing_seconds_maximum": 300},
    }


class World:
    """A running world. A context manager.

    Attributes:
        databases: the chain with its payments; ``databases.chain`` starts, stops, delays.
        plane: the control plane.
        balancer: HAProxy; ``balancer.weights`` are those that are in force.
        services: the processes, by side.
        path_to_green: the way of the services to green's database.
        samples, events: what was seen so far, since the load began.
    """

    def __init__(
        self,
        settings: WorldSettings,
        *,
        folder: Path,
        stack: ExitStack,
        software: Software,
        haproxy: HaproxySoftware,
        templates: Deployed,
        tell: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.software = software
        self.haproxy = haproxy
        self.clock = Clock.start(settings.scale)
        self.samples: list[Sample] = []
        self.events: list[Event] = []
        self.on_sample: Callable[[Sample], None] = lambda _: None
        self.on_event: Callable[[Event], None] = lambda _: None
        self._began: float | None = None
        self._load: ClientProcess | None = None
        self._stack = stack
        self._note_lock = threading.Lock()
        self._watchdog = stack.enter_context(Watchdog(folder))
        tell("starting three databases")
        chain = stack.enter_context(DatabaseChain.start(CHAIN, software=software, folder=memory_folder()))
        self.databases = PaymentDatabases.prepare(chain, writer="legacy")
        tell("starting the local AWS")
        self.aws = stack.enter_context(AwsProcess(log_path=folder / "aws.log", running_tasks=settings.targets))
        secrets_manager = self.aws.client("secretsmanager")
        self.path_to_green = stack.enter_context(
            DatabasePath(target_port=chain["green"].port, software=haproxy, folder=folder / "network")
        )
        self._watchdog.watch(self.path_to_green.process_id)
        documents = {name: dict(pair) for name, pair in self.databases.documents.items()}
        # The services' way: administrators, replication and the switch of the writer go to the server itself.
        documents["green"]["application"] = {**documents["green"]["application"], "port": self.path_to_green.port}
        secrets = {
            name: {
                role: secrets_manager.create_secret(Name=f"{name}/{role}", SecretString=secret_text(document))["ARN"]
                for role, document in pair.items()
            }
            for name, pair in documents.items()
        }
        self.secrets = secrets
        self.resources = Resources.create(
            self.aws,
            chain=CHAIN,
            secrets=secrets,
            database_ca=chain.ca_path,
            targets=settings.targets,
            verdict={**verdict_settings(settings.rate, settings.targets), **settings.verdict},
        )
        tell("starting the functions")
        self.plane = stack.enter_context(
            ControlPlane(self.resources, deployed=templates, clock=self.clock, folder=folder)
        )
        tell("starting the services and the load balancer")
        self.services: dict[str, list[ServiceProcess]] = {}
        for side in SIDES:
            self.services[side] = [self._service(side, number) for number in range(settings.targets)]
        self.legacy = stack.enter_context(
            ServiceProcess(
                secret_arns={"legacy": secrets["legacy"]["application"]},
                database_ca=chain.ca_path,
                environment=dict(self.aws.environment),
                log_path=folder / "legacy.log",
                module="rehearsal.legacy_system",
            )
        )
        self._watchdog.watch(self.legacy.process_id)
        for service in (*self.services["blue"], *self.services["green"], self.legacy):
            service.wait_ready()
        self.balancer = stack.enter_context(
            Balancer(
                groups={side: [each.port for each in processes] for side, processes in self.services.items()},
                folder=folder / "balancer",
                software=haproxy,
                started=self._watchdog.watch,
            )
        )
        self.balancer.wait_healthy(dict.fromkeys(SIDES, settings.targets))
        self.follower = stack.enter_context(
            RuleFollower(
                self.balancer,
                self.aws.client("elbv2"),
                rule_arn=self.resources.rule_arn,
                target_groups=self.resources.target_groups,
                tell=lambda weights, at: self.note("weights", f"weights {_shown(weights)}", weights, at=self.at(at)),
            )
        )
        self.metrics = stack.enter_context(
            MetricsFeeder(
                balancer=self.balancer,
                databases=self.databases,
                resources=self.resources,
                clock=self.clock,
                rule=AlarmRule(healthy_minimum=max(1, settings.targets - 1)),
                fire=self._fire,
            )
        )
        self.records = {"legacy": 100, "aws": 0}
        self._watching = threading.Event()
        self._verdict = ""
        self._noted: dict[str, int] = {}
        self.most_writers = 0
        self._dns = threading.Thread(target=self._follow_records, name="name server", daemon=True)
        self._dns.start()
        self._reader = threading.Thread(target=self._follow_journal, name="journal", daemon=True)
        self._reader.start()
        stack.callback(self._reader.join, 5)
        stack.callback(self._dns.join, 5)
        stack.callback(self._watching.set)
        for replication in chain.replications:
            if settings.delay_seconds:
                replication.delay(settings.delay_seconds)
        self.plane.reset(weights={"blue": 100, "green": 0}, records={"legacy": 100, "aws": 0}, writer="legacy")
        self.plane.start()

    @classmethod
    def start(cls, settings: WorldSettings, *, tell: Callable[[str], None] = lambda _: None) -> Self:
        """Start everything; returns when all of it runs.

        Raises:
            DatabasesUnavailableError, BalancerUnavailableError: a program cannot be had on this machine.
        """
        software, haproxy = obtain(), obtain_haproxy()
        tell("reading the templates")
        templates = deployed(settings.assembly)
        folder = Path(mkdtemp(prefix="rehearsal-", dir=memory_folder()))
        stack = ExitStack()
        try:
            return cls(
                settings,
                folder=folder,
                stack=stack,
                software=software,
                haproxy=haproxy,
                templates=templates,
                tell=tell,
            )
        except BaseException:
            stack.close()
            raise

    def close(self) -> None:
        """End everything."""
        if self._load is not None:
            self._load.close()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The load.

    @property
    def began(self) -> float:
        """When the load began, epoch seconds."""
        return self._began if self._began is not None else time.time()

    @property
    def ttl_seconds(self) -> float:
        """How long clients keep an answer of name servers, in our seconds."""
        return self.clock.ours(DNS_TTL_SECONDS)

    @property
    def seconds(self) -> float:
        """Since the load began; 0 before."""
        return 0.0 if self._began is None else time.time() - self._began

    def at(self, epoch_seconds: float) -> float:
        """A moment as seconds since the load began."""
        return epoch_seconds - (self._began if self._began is not None else epoch_seconds)

    @contextmanager
    def load(self, *, rate: float | None = None, retries: int = 0, seed: int | None = None) -> Iterator[ClientProcess]:
        """Clients that pay until the block ends. Samples and events begin anew with it."""
        self.samples, self.events = [], []
        self.most_writers = 0
        self._began = time.time()
        process = ClientProcess(
            settings={
                "ports": {"legacy": self.legacy.port, "aws": self.balancer.port},
                "rate": rate or self.settings.rate,
                "seed": self.settings.seed if seed is None else seed,
                "dns": self.records,
                "ttl_seconds": self.ttl_seconds,
                "retries": retries,
            },
            log_path=self.folder / "payments.jsonl",
            tell=self._take_summary,
        )
        self._load = process
        try:
            yield process
        finally:
            self._load = None
            process.close()

    def note(
        self, kind: EventKind, text: str, details: Mapping[str, Any] | None = None, *, at: float | None = None
    ) -> None:
        """Something happened now, or ``at`` seconds since the load began."""
        event = Event(
            at=round(self.seconds if at is None else at, 3), kind=kind, text=text, details=dict(details or {})
        )
        with self._note_lock:
            self.events.append(event)
        self.on_event(event)

    # Scenes.

    def reset(self, *, writer: str = "blue", weights: Mapping[str, int] | None = None, aws: int = 100) -> None:
        """Mend what a scenario broke, and forget its payments: as if nothing had ever been moved."""
        weights = weights or {"blue": 100, "green": 0}
        self.metrics.paused = False
        self.metrics.differing_rows = 0
        for function in self.plane.functions.values():
            function.orders = {}
        for server in self.databases.chain:
            server.start()
        self.plane.abandon()
        self.databases.set_writer(None)
        try:
            self.wait_caught_up()
        except ReplicationError:
            self._renew_replication()
        self.databases.clear()
        for side, processes in self.services.items():
            for number, process in enumerate(processes):
                if not process.is_running:
                    self.replace_service(side, number)
                else:
                    self.balancer.set_target(side, number, process.port)
        self.plane.reset(weights=weights, records={"legacy": 100 - aws, "aws": aws}, writer=writer)
        self.databases.set_writer(writer)
        self.balancer.wait_healthy(dict.fromkeys(SIDES, self.settings.targets))
        self.wait_for(lambda: self.balancer.weights == dict(weights), "the balancer follows")
        self.wait_for(lambda: self.records == {"legacy": 100 - aws, "aws": aws}, "name servers follow")
        self.metrics.forget()

    def resume_replication(self, timeout_seconds: float = CAUGHT_UP_SECONDS) -> None:
        """Start every direction that stands still, until all of them run.

        A server that comes back after a crash refuses its neighbour as long as it has not received what the neighbour
        had from it and passed on; then it has to be asked again.

        Raises:
            ReplicationError: a row does not fit, which starting again does not mend.
            TimeoutError: not in time.
        """

        def all_run() -> bool:
            running = True
            for replication in self.databases.chain.replications:
                status = replication.status()
                if reason := status.get("Last_SQL_Error"):
                    raise ReplicationError(f"{replication} has stopped: {reason}")
                if not status.get("Slave_IO_Running") == status.get("Slave_SQL_Running") == "Yes":
                    running = False
                    replication.start()
            return running

        self.wait_for(all_run, "replication runs in every direction", timeout_seconds, pause_seconds=0.2)

    def wait_caught_up(self, timeout_seconds: float = CAUGHT_UP_SECONDS) -> None:
        """Return once what was committed anywhere before has been applied everywhere.

        Raises:
            ReplicationError: not in time.
        """
        self.resume_replication()
        chain = self.databases.chain
        # All directions at once, and once more for what has to go on from the middle of the chain.
        for _ in range(len(chain.names) - 1):
            with ThreadPoolExecutor(len(chain.replications)) as pool:
                for waiting in [pool.submit(each.wait_caught_up, timeout_seconds) for each in chain.replications]:
                    waiting.result()

    def _renew_replication(self) -> None:
        """Let every direction begin anew with what is written from now on."""
        chain = self.databases.chain
        for server in chain:
            server.query("STOP ALL SLAVES")
        for server in chain:
            server.query("RESET MASTER")
            server.query("SET GLOBAL gtid_slave_pos = ''")
        for replication in chain.replications:
            replication.configure()
            if self.settings.delay_seconds:
                replication.delay(self.settings.delay_seconds)
        self.resume_replication()

    def replace_service(self, side: str, number: int) -> None:
        """Start a new process in the place of one that is gone."""
        self.services[side][number].close()
        process = self._service(side, number)
        process.wait_ready()
        self.services[side][number] = process
        self.balancer.set_target(side, number, process.port)

    def wait_fit(self, source: str, target: str, timeout_seconds: float = 30.0) -> None:
        """Return once the preflight has nothing against a cutover: metrics of a moment ago count for a while.

        Raises:
            TimeoutError: it still has; the message says what.
        """
        deadline = time.monotonic() + timeout_seconds
        while reasons := self.plane.reasons_against(source, target):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{source} to {target} cannot begin: {'; '.join(reasons)}")
            time.sleep(0.2)

    def wait_for(
        self, condition: Callable[[], bool], what: str, timeout_seconds: float = 30.0, *, pause_seconds: float = 0.02
    ) -> float:
        """Return once it holds; the seconds that it took.

        Raises:
            TimeoutError: not in time.
        """
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > timeout_seconds:
                raise TimeoutError(f"not within {timeout_seconds:g} s: {what}")
            time.sleep(pause_seconds)
        return time.monotonic() - began

    def versions(self) -> dict[str, str]:
        """What takes part."""
        return {
            "MariaDB": self.software.version,
            "HAProxy": self.haproxy.version,
            **{name: version(name) for name in ("moto", "boto3", "uvicorn", "asyncmy")},
        }

    def _service(self, side: str, number: int) -> ServiceProcess:
        service = self._stack.enter_context(
            ServiceProcess(
                secret_arns={name: pair["application"] for name, pair in self.secrets.items()},
                database_ca=self.databases.chain.ca_path,
                environment=dict(self.aws.environment),
                log_path=self.folder / f"{side}-{number}.log",
                arguments=(f"--hold-seconds={self.settings.hold_seconds:g}", "--drain-seconds=1"),
            )
        )
        self._watchdog.watch(service.process_id)
        return service

    def _fire(self, name: str, reason: str) -> None:
        self.note("alarm", f"alarm {name}: {reason}")
        self.plane.fire(name, reason)

    def _follow_records(self) -> None:
        while not self._watching.wait(0.2):
            with suppress(ClientError, BotoCoreError, OSError, ValueError):
                records = self.resources.records()
                if records != self.records:
                    self.records = records
                    self.note("dns", f"DNS {_shown(records)}", records)
                    if self._load is not None:
                        self._load.order(dns=records)

    def _take_summary(self, summary: Mapping[str, Any]) -> None:
        if summary["last"] and not summary["requests"]:
            return
        writers = self.databases.admitting()
        self.most_writers = max(self.most_writers, len(writers))
        phase, verdict = self._where()
        sample = Sample(
            at=round(self.at(summary["at"]), 3),
            weights=dict(self.balancer.weights),
            dns=dict(self.records),
            writer=writers[0] if len(writers) == 1 else None,
            requests=summary["requests"],
            errors=summary["errors"],
            p50_ms=summary["p50_ms"],
            p95_ms=summary["p95_ms"],
            p99_ms=summary["p99_ms"],
            by_side=summary["by_side"],
            lag_ms={name: None if lag is None else round(lag * 1000) for name, lag in self.metrics.lags.items()},
            phase=phase,
            verdict=verdict,
        )
        self.samples.append(sample)
        self.on_sample(sample)

    def _where(self) -> tuple[str, str]:
        try:
            run = self.plane.run
        except (ClientError, BotoCoreError):
            return "unknown", self._verdict
        if run is None or run.phase.is_over:
            return "steady" if run is None else run.phase.value, self._verdict
        step = run.position.get("step")
        where = f"step {int(step) + 1} {run.position.get('phase', '')}" if isinstance(step, int) else run.phase.value
        if run.phase is not Phase.SHIFTING:
            where = run.phase.value
        return f"{run.source} to {run.target}: {where}", self._verdict

    def _follow_journal(self) -> None:
        while not self._watching.wait(0.5):
            with suppress(ClientError, BotoCoreError, OSError, ValueError):
                run = self.plane.run
                if run is not None:
                    self.read_journal(run.cutover_id)

    def read_journal(self, cutover_id: str) -> None:
        """Note what is new in the journal of a cutover."""
        entries = self.plane.journal(cutover_id)
        with self._note_lock:
            known = self._noted.get(cutover_id, 0)
            self._noted[cutover_id] = max(known, len(entries))
        for entry in entries[known:]:
            if entry.what == "decide":
                self._verdict = str(entry.details.get("outcome", self._verdict))
            kind = _KINDS.get(entry.what)
            if kind is not None:
                details = {"who": entry.who, "before": entry.before, "after": entry.after, **entry.details}
                self.note(kind, f"{entry.what}: {entry.why}", details, at=self.at(entry.at.timestamp()))


_KINDS: Mapping[str, EventKind] = {
    "begin": "cutover",
    "complete": "cutover",
    "refuse": "cutover",
    "decide": "decision",
    "follow an order": "decision",
    "refuse an order": "decision",
    "put drift right": "decision",
    "switch the writer": "writer",
    "writer switched": "writer",
    "writer not switched": "writer",
    "roll back": "rollback",
    "writer switched back": "rollback",
    "writer not switched back": "rollback",
    "rolled back": "rollback",
}
"""Weights and records are noted when the balancer and the name servers follow them."""


def _shown(weights: Mapping[str, int]) -> str:
    return ", ".join(f"{side} {weight}" for side, weight in weights.items())
