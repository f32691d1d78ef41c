"""HAProxy as the application load balancer: a weighted listener rule in front of two target groups.

It has two tiers, as the load balancer has. The first one chooses the target group by weight and looks at no health,
because an application load balancer does not fail over from one group to another. The second one chooses a healthy
target, over TLS. `RuleFollower` makes the first tier follow a listener rule.
"""

from __future__ import annotations

import csv
import io
import os
import re
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rehearsal.databases.certificates import make_server_certificate, write_private
from rehearsal.databases.server import HOST, free_port
from rehearsal.databases.software import (
    SYSTEM_FOLDERS,
    DatabasesUnavailableError,
    cache_folder,
    library_folders,
    unpack,
    with_libraries,
)

if TYPE_CHECKING:
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client

PACKAGES = ("haproxy",)
# retry-on came with 2.0, `set server ... addr` with 1.7 (HAProxy's change log).
OLDEST_VERSION = (2, 2)
SIDE_HEADER = "x-served-by"
STICKY_COOKIE = "AWSALBTG"
START_TIMEOUT_SECONDS = 10.0
FOLLOW_SECONDS = 0.05
_POLL_SECONDS = 0.02


class BalancerUnavailableError(Exception):
    """No HAProxy can be had on this machine; the message says why."""


class BalancerError(Exception):
    """HAProxy did not start, or refused a command; the message holds what it said."""


@dataclass(frozen=True, kw_only=True)
class HaproxySoftware:
    """Attributes: program: the path; version: as it prints it; environment: in which it finds its libraries."""

    program: Path
    version: str
    environment: Mapping[str, str] = field(repr=False)


def obtain_haproxy(cache: Path | None = None) -> HaproxySoftware:
    """The installed one when there is one, else Debian's package, unpacked into the cache (about 10 MB).

    Raises:
        BalancerUnavailableError: neither can be had.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS])
    installed = shutil.which("haproxy", path=path)
    try:
        if installed:
            return _checked(Path(installed), dict(os.environ))
        root = unpack(cache or cache_folder(), name="haproxy", program="haproxy", packages=PACKAGES)
        return _checked(root / "usr/sbin/haproxy", with_libraries(os.environ, library_folders(root)))
    except DatabasesUnavailableError as error:
        raise BalancerUnavailableError(str(error)) from None


def _checked(program: Path, environment: Mapping[str, str]) -> HaproxySoftware:
    try:
        printed = subprocess.run(  # noqa: S603 (a program we have chosen)
            [str(program), "-v"], env=dict(environment), capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BalancerUnavailableError(f"{program} cannot be run: {error}") from None
    found = re.search(r"version (\d+)\.(\d+)(\S*)", printed.stdout)
    if found is None:
        raise BalancerUnavailableError(f"{program} is no HAProxy, it says: {(printed.stdout + printed.stderr)[:200]}")
    if (int(found[1]), int(found[2])) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise BalancerUnavailableError(f"{program} is HAProxy {found[1]}.{found[2]}; {oldest} or newer is needed")
    return HaproxySoftware(program=program, version=f"{found[1]}.{found[2]}{found[3]}", environment=environment)


@dataclass(frozen=True, kw_only=True)
class GroupCounters:
    """What the balancer counted for one target group since it started.

    Attributes:
        requests: answered by a target.
        target_5xx: answers 5xx of targets.
        connection_errors: connections that a target refused.
        own_5xx: answers 5xx of the balancer's own, such as a 502 for a target that broke off; targets did not give
            them, and an application load balancer counts them for no target group.
        healthy: targets that pass the health check.
        targets: the names of the healthy ones.
    """

    requests: int = 0
    target_5xx: int = 0
    connection_errors: int = 0
    own_5xx: int = 0
    healthy: int = 0
    targets: tuple[str, ...] = ()

    def minus(self, other: GroupCounters) -> GroupCounters:
        """What came in between; healthy targets as they are now. After a restart of the balancer it counts anew."""
        if self.requests < other.requests:
            return self
        return GroupCounters(
            requests=self.requests - other.requests,
            target_5xx=max(0, self.target_5xx - other.target_5xx),
            connection_errors=max(0, self.connection_errors - other.connection_errors),
            own_5xx=max(0, self.own_5xx - other.own_5xx),
            healthy=self.healthy,
            targets=self.targets,
        )


@dataclass(frozen=True, kw_only=True)
class AnswerTime:
    """Attributes: seconds: from the request's way to a target to its answer's first byte; at: epoch seconds."""

    group: str
    seconds: float
    at: float


class Balancer:
    """A running HAProxy. A context manager.

    Attributes:
        port: where clients connect, over TLS.
        groups: names of the target groups.
    """

    def __init__(
        self,
        *,
        groups: Mapping[str, Sequence[int]],
        folder: Path,
        software: HaproxySoftware | None = None,
        first: str | None = None,
        started: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Args:
        groups: ports of the targets on the loopback interface, by target group.
        first: the group with all of the weight at the beginning; the first one by default.
        started: is told the id of each process that is started.
        """
        self._started = started
        self.software = software or obtain_haproxy()
        self.groups = tuple(groups)
        self.port = free_port()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._token = secrets.token_hex(4)
        self._targets = {group: list(ports) for group, ports in groups.items()}
        first = first or self.groups[0]
        self.weights = {group: 100 if group == first else 0 for group in self.groups}
        self.is_sticky = False
        self._lock = threading.RLock()
        certificate = make_server_certificate(folder)
        self._pem = folder / "listener.pem"
        write_private(self._pem, certificate.certificate_path.read_bytes() + certificate.key_path.read_bytes())
        self._log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._log.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._log.bind(_abstract(f"balancer-log-{self._token}"))
        self._log.setblocking(False)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start HAProxy with the weights and targets of now; returns once it answers."""
        with self._lock:
            self._write_configuration()
            with (self._folder / "haproxy.log").open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 (our own program and options)
                    [str(self.software.program), "-db", "-f", "haproxy.cfg"],
                    cwd=self._folder,
                    env=dict(self.software.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._started(self._process.pid)
            deadline = time.monotonic() + START_TIMEOUT_SECONDS
            while True:
                try:
                    self._command("show info")
                except (OSError, BalancerError):
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        said = (self._folder / "haproxy.log").read_text("utf-8", "replace")[-1500:]
                        raise BalancerError(f"HAProxy did not start; it says:\n{said}") from None
                    time.sleep(_POLL_SECONDS)
                else:
                    return

    def restart(self) -> None:
        """Kill it and start it again: connections break, as when a node of the load balancer is replaced."""
        with self._lock:
            self._kill()
            self.start()

    def wait_healthy(self, expected: Mapping[str, int], timeout_seconds: float = 20.0) -> None:
        """Return once so many targets of each group pass their health check.

        Raises:
            BalancerError: not in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            healthy = {group: counters.healthy for group, counters in self.counters().items()}
            if all(healthy.get(group, 0) >= count for group, count in expected.items()):
                return
            if time.monotonic() > deadline:
                raise BalancerError(f"healthy targets within {timeout_seconds:g} s: {healthy}, expected {expected}")
            time.sleep(_POLL_SECONDS)

    def set_weights(self, weights: Mapping[str, int]) -> None:
        """Give the groups their weights. Raised before lowered: an instant at which all are 0 answers with 503."""
        with self._lock:
            order = sorted(self.groups, key=lambda group: weights[group] < self.weights[group])
            for group in order:
                for backend in ("forward", "forward_sticky"):
                    self._command(f"set server {backend}/{group} weight {weights[group]}")
            self.weights = {group: weights[group] for group in self.groups}

    def set_sticky(self, enabled: bool) -> None:
        """Group stickiness: a client stays with the group that answered it first, by a cookie."""
        with self._lock:
            backend = "forward_sticky" if enabled else "forward"
            self._command(f"set map {self._folder}/sticky.map sticky {backend}")
            self.is_sticky = enabled

    def set_target(self, group: str, number: int, port: int) -> None:
        """A target has moved to another port, as a new task has another address."""
        with self._lock:
            self._targets[group][number] = port
            self._command(f"set server tg_{group}/{group}-{number} addr {HOST} port {port}")

    def counters(self) -> dict[str, GroupCounters]:
        """What was counted since the start, by group."""
        with self._lock:
            text = self._command("show stat")
        rows = list(csv.DictReader(io.StringIO(text.removeprefix("# "))))
        return {group: _counters(group, rows) for group in self.groups}

    def take_answers(self) -> list[AnswerTime]:
        """All answers of targets since the last call."""
        taken: list[AnswerTime] = []
        while True:
            try:
                words = self._log.recv(512).decode("ascii", "replace").split()
            except (BlockingIOError, OSError):
                return taken
            if len(words) >= 3 and words[-3] in self.groups and int(words[-2]) >= 0:
                taken.append(AnswerTime(group=words[-3], seconds=int(words[-2]) / 1000, at=int(words[-1]) / 1000))

    def close(self) -> None:
        """Kill it."""
        self._kill()
        self._log.close()

    def _kill(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()

    def _command(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as admin:
            admin.settimeout(5)
            admin.connect(_abstract(f"balancer-admin-{self._token}"))
            admin.sendall(command.encode() + b"\n")
            answer = b""
            while part := admin.recv(65536):
                answer += part
        text = answer.decode()
        if command.startswith("set ") and "no need to change" not in text and not _is_confirmation(text):
            raise BalancerError(f"{command}: {text.strip()}")
        return text

    def _write_configuration(self) -> None:
        (self._folder / "sticky.map").write_text(f"sticky {'forward_sticky' if self.is_sticky else 'forward'}\n")
        weighted = "\n".join(
            f"  server {group} abns@balancer-{group}-{self._token} weight {self.weights[group]} cookie {group}"
            for group in self.groups
        )
        parts = [
            f"""\
global
  nbthread 1
  maxconn 4000
  log abns@balancer-log-{self._token} len 512 format raw local0
  stats socket abns@balancer-admin-{self._token} mode 600 level admin
defaults
  mode http
  timeout connect 10s
  # As the load balancer's: a busy target is slow to answer, and not dead.
  timeout check 5s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  retries 2
  option redispatch 1
  # Not a payment that was sent already: that is the client's to repeat, with the same key.
  retry-on conn-failure
frontend listener
  bind {HOST}:{self.port} ssl crt {self._pem}
  use_backend %[str(sticky),map({self._folder}/sticky.map,forward)]
backend forward
{re.sub(" cookie [a-z]+", "", weighted)}
backend forward_sticky
  cookie {STICKY_COOKIE} insert indirect nocache
{weighted}
"""
        ]
        for group, ports in self._targets.items():
            servers = "\n".join(
                f"  server {group}-{number} {HOST}:{port} ssl verify none" for number, port in enumerate(ports)
            )
            parts.append(
                f"""\
frontend tg_{group}_in
  bind abns@balancer-{group}-{self._token}
  log global
  log-format "{group} %Tr %[date(0,ms)]"
  default_backend tg_{group}
backend tg_{group}
  option httpchk GET /health/ready
  # The interval bounds the time that a check has to connect, and a busy target takes its time for the handshake.
  default-server check check-ssl inter 3s fastinter 500ms downinter 500ms fall 3 rise 2
  http-response set-header {SIDE_HEADER} {group}
{servers}
"""
            )
        (self._folder / "haproxy.cfg").write_text("".join(parts))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RuleFollower:
    """Makes the balancer follow a listener rule, as the load balancer itself does within seconds. A context manager.

    Attributes:
        failures: how often the rule could not be read or followed.
    """

    def __init__(
        self,
        balancer: Balancer,
        elbv2: ElasticLoadBalancingv2Client,
        *,
        rule_arn: str,
        target_groups: Mapping[str, str],
        seconds: float = FOLLOW_SECONDS,
        tell: Callable[[Mapping[str, int], float], None] = lambda weights, at: None,
    ) -> None:
        """Args:
        target_groups: ARNs by name.
        seconds: between two looks.
        tell: is told of new weights, with the moment before they were put in force.
        """
        self.failures = 0
        self._balancer = balancer
        self._elbv2 = elbv2
        self._rule_arn = rule_arn
        self._names = {arn: name for name, arn in target_groups.items()}
        self._seconds = seconds
        self._tell = tell
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rule follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except Exception:  # the balancer may be down for a moment, and the rule's store throttled
                self.failures += 1
            self._stop.wait(self._seconds)

    def _follow(self) -> None:
        [action] = self._elbv2.describe_rules(RuleArns=[self._rule_arn])["Rules"][0]["Actions"]
        forward = action["ForwardConfig"]
        weights = {self._names[group["TargetGroupArn"]]: group["Weight"] for group in forward["TargetGroups"]}
        if weights != self._balancer.weights:
            at = time.time()
            self._balancer.set_weights(weights)
            self._tell(weights, at)
        sticky = bool(forward.get("TargetGroupStickinessConfig", {}).get("Enabled", False))
        if sticky != self._balancer.is_sticky:
            self._balancer.set_sticky(sticky)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _counters(group: str, rows: Sequence[Mapping[str, str]]) -> GroupCounters:
    servers = [row for row in rows if row["pxname"] == f"tg_{group}" and row["svname"] not in ("BACKEND", "FRONTEND")]
    backend = next(row for row in rows if row["pxname"] == f"tg_{group}" and row["svname"] == "BACKEND")
    healthy = tuple(row["svname"] for row in servers if row["status"].startswith("UP"))
    target_5xx = sum(int(row["hrsp_5xx"] or 0) for row in servers)
    return GroupCounters(
        requests=sum(
            int(row[f"hrsp_{kind}"] or 0) for row in servers for kind in ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
        ),
        target_5xx=target_5xx,
        connection_errors=sum(int(row["econ"] or 0) for row in servers),
        own_5xx=max(0, int(backend["hrsp_5xx"] or 0) - target_5xx),
        healthy=len(healthy),
        targets=healthy,
    )


def _abstract(name: str) -> bytes:
    """An abstract socket's address as HAProxy writes it: with zeros to its full length."""
    return b"\0" + name.encode().ljust(107, b"\0")


def _is_confirmation(text: str) -> bool:
    """HAProxy answers nothing to most commands, and says what it did to a change of address."""
    return not text.strip() or "changed from" in text
