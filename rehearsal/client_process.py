"""The clients' process, seen from the rehearsal: orders to it, summaries from it, and its log of what was promised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Paid:
    """What became of one payment.

    Attributes:
        due: when it was due, epoch seconds; done: when its last answer came.
        side: who gave that answer.
        failures: what came before it, each with its moment, side and status.
    """

    key: str
    due: float
    done: float
    status: int
    side: str
    replayed: bool
    failures: tuple[str, ...]
    order: Mapping[str, Any]

    @property
    def is_acknowledged(self) -> bool:
        return self.status in (200, 201)

    @property
    def first_failure_at(self) -> float | None:
        """When a client first saw it fail, epoch seconds."""
        return float(self.failures[0].split()[0]) if self.failures else None


class ClientProcess:
    """A running load. A context manager that ends it."""

    def __init__(
        self, *, settings: Mapping[str, Any], log_path: Path, tell: Callable[[Mapping[str, Any]], None]
    ) -> None:
        """Args: settings: of ``rehearsal.clients``, without the log; tell: is told each summary."""
        self.log_path = log_path
        log_path.unlink(missing_ok=True)
        self._process = subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-m", "rehearsal.clients", json.dumps({**settings, "log": str(log_path)})],
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(tell,), daemon=True)
        self._reader.start()

    def order(self, **order: Any) -> None:
        """Change the load: ``dns``, ``rate``, ``retries``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def stop(self, timeout_seconds: float = 80.0) -> Sequence[Paid]:
        """Send no more, wait for the open ones, and say what became of all.

        Raises:
            RuntimeError: the load ended before, with an error.
        """
        if self._process.poll() is not None:
            raise RuntimeError(f"the load ended by itself with {self._process.returncode}")
        self.order(stop=True)
        self._process.wait(timeout_seconds)
        self._reader.join(5)
        return self.paid()

    def paid(self) -> list[Paid]:
        """What is in the log so far."""
        if not self.log_path.exists():
            return []
        lines = self.log_path.read_text("utf-8").splitlines()
        return [Paid(**{**json.loads(line), "failures": tuple(json.loads(line)["failures"])}) for line in lines]

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue

    def _read(self, tell: Callable[[Mapping[str, Any]], None]) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                tell(json.loads(line))
        except ValueError:
            return

    def __enter__(self) -> ClientProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
