"""Servers of the local AWS as processes: started, waited for, and ended with everything that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

WATCHED = Path(__file__).parent / "watched.py"
START_TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 0.05


class ProcessError(Exception):
    """A server did not start; the message holds the end of its log."""


class ServerProcess:
    """A module that serves HTTP, running as a process group of its own.

    Attributes:
        log_path: its standard output and error.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path, ready_url: str
    ) -> None:
        self.log_path = folder / f"{module.rpartition('.')[2]}.log"
        self._module = module
        self._ready_url = ready_url
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, str(WATCHED), module, *arguments],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def process_id(self) -> int:
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Return once it answers.

        Raises:
            ProcessError: it ended, or does not answer in time.
        """
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            if self._process.poll() is not None:
                raise ProcessError(f"{self._module} ended while it started; its log:\n{self.end_of_log()}")
            if _answers(self._ready_url):
                return
            if time.monotonic() > deadline:
                self.stop()
                raise ProcessError(
                    f"{self._module} did not answer within {START_TIMEOUT_SECONDS:g} s; its log:\n{self.end_of_log()}"
                )
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End it with everything that it started. What it holds is thrown away, so nothing is gained by patience."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def end_of_log(self) -> str:
        return "\n".join(self.log_path.read_text("utf-8", "replace").splitlines()[-25:])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - the loopback interface
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
