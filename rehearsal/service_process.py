"""The payment service as a process of its own, reached over TLS as a load balancer reaches it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

SERVICE_ROOT = Path(__file__).parents[1] / "service"
START_TIMEOUT_SECONDS = 20.0
_POLL_SECONDS = 0.02


class ServiceProcessError(Exception):
    """The service did not start; the message holds its log."""


class ServiceProcess:
    """A running payment service. A context manager that ends it.

    Attributes:
        log_path: Its standard output and error.
        port: Chosen by the service, on the loopback interface.
    """

    def __init__(
        self,
        *,
        secret_arns: Mapping[str, str],
        database_ca: Path,
        environment: Mapping[str, str],
        log_path: Path,
        arguments: Sequence[str] = (),
        module: str = "payment_service",
    ) -> None:
        """Args: module: what is run; a stand-in takes the same arguments."""
        self.log_path = log_path
        self._log = log_path.open("wb")
        self._process = subprocess.Popen(  # noqa: S603 (our own program)
            [
                sys.executable,
                "-m",
                module,
                *(word for name, arn in secret_arns.items() for word in ("--database", f"{name}={arn}")),
                "--listen-host=127.0.0.1",
                "--listen-port=0",
                f"--database-ca={database_ca}",
                *arguments,
            ],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join([str(SERVICE_ROOT), str(SERVICE_ROOT.parent)]),
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self.port = self._wait_for_port()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def client(self, timeout_seconds: float = 70.0) -> httpx.Client:
        """A client that, like a load balancer, does not verify the certificate that exists for one process."""
        return httpx.Client(base_url=self.url, verify=False, timeout=timeout_seconds)  # noqa: S501

    def async_client(self, timeout_seconds: float = 70.0, connections: int = 1000) -> httpx.AsyncClient:
        """The same for asyncio."""
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        return httpx.AsyncClient(
            base_url=self.url,
            verify=False,  # noqa: S501
            timeout=timeout_seconds,
            limits=limits,
        )

    def wait_ready(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Return once /health/ready says so.

        Raises:
            ServiceProcessError: It did not in time.
        """
        deadline = time.monotonic() + timeout_seconds
        with self.client() as client:
            while client.get("/health/ready").status_code != 200:
                if time.monotonic() > deadline:
                    raise ServiceProcessError(f"not ready within {timeout_seconds:g} s:\n{self.log_text()}")
                time.sleep(_POLL_SECONDS)

    def log_text(self) -> str:
        """All that it has printed so far."""
        return self.log_path.read_text("utf-8")

    def log_events(self, event: str | None = None) -> list[dict[str, Any]]:
        """Its log lines, or those of one event."""
        lines = [json.loads(line) for line in self.log_text().splitlines() if line.startswith("{")]
        return [line for line in lines if event in (None, line.get("event"))]

    def terminate(self) -> None:
        """Ask it to end, as ECS does."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()

    def wait(self, timeout_seconds: float = 70.0) -> int:
        """Its exit status, once it has ended."""
        return self._process.wait(timeout_seconds)

    def close(self) -> None:
        """Kill it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._log.close()

    def _wait_for_port(self) -> int:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            for line in self.log_events("listening"):
                return int(line["port"])
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServiceProcessError(f"the service did not start:\n{self.log_text()}")
            time.sleep(_POLL_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
