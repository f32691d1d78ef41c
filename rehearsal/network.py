"""The way from the services to one database, which can be cut without either of them noticing it at once.

HAProxy passes the bytes on. Stopping the process (SIGSTOP) is what a cut looks like from both ends: nothing is refused
and nothing is closed, nothing arrives any more, and what was on its way arrives when the network is back.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from rehearsal.balancer import BalancerError, HaproxySoftware
from rehearsal.databases.server import HOST, free_port

START_TIMEOUT_SECONDS = 10.0

_CONFIGURATION = """\
global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen database
  bind {host}:{port}
  server database {host}:{target}
"""


class DatabasePath:
    """A context manager.

    Attributes:
        port: where services find the database, at the host of the database itself.
    """

    def __init__(self, *, target_port: int, software: HaproxySoftware, folder: Path) -> None:
        """Raises: BalancerError: HAProxy does not start."""
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        configuration, self._log_path = folder / "path.cfg", folder / "path.log"
        configuration.write_text(_CONFIGURATION.format(host=HOST, port=self.port, target=target_port))
        with self._log_path.open("w") as log:
            self._process = subprocess.Popen(  # noqa: S603 (a program we have chosen)
                [str(software.program), "-db", "-f", str(configuration)],
                env=dict(software.environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_open()

    @property
    def process_id(self) -> int:
        return self._process.pid

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Nothing passes until the block ends."""
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait_until_open(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    said = self._log_path.read_text()[:500]
                    self.close()
                    raise BalancerError(f"the way to the database does not open: {said}") from None
                time.sleep(0.02)
            else:
                return
