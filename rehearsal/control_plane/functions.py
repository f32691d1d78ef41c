"""The deployed functions, each with warm instances, called as Lambda calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rehearsal.clock import VARIABLE, Clock

PROJECT = Path(__file__).resolve().parents[2]


class FunctionError(Exception):
    """A call failed. ``kind`` is the name of the error as the state machine sees it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Function:
    """One function. Calls at the same time have an instance each; an instance that was killed is replaced.

    Attributes:
        calls: how often it was called.
        orders: what the next call is told to do besides, see ``function_process``.
    """

    def __init__(
        self, *, package: str, environment: Mapping[str, str], timeout_seconds: float, clock: Clock, folder: Path
    ) -> None:
        self.package = package
        self.calls = 0
        self.orders: Mapping[str, Any] = {}
        self.log_path = folder / f"{package}.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(PROJECT), str(PROJECT / "lambda")]),
            "PYTHONUNBUFFERED": "1",
            VARIABLE: clock.variable(),
            **environment,
        }
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._idle: list[_Instance] = []
        self._busy: list[_Instance] = []
        self._closed = False

    def warm(self) -> None:
        """Have an instance ready."""
        self._put_back(self._take())

    def sabotage(self, what: str | None) -> None:
        """Leave out a step of the protocol from the next call on; see ``function_process.SABOTAGES``."""
        if what is None:
            self._environment.pop("REHEARSAL_SABOTAGE", None)
        else:
            self._environment["REHEARSAL_SABOTAGE"] = what
        with self._lock:
            idle, self._idle = self._idle, []
        for instance in idle:
            instance.close()

    def call(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """The function's answer.

        Raises:
            FunctionError: it raised, or its process died.
        """
        self.calls += 1
        orders, self.orders = self.orders, {}
        instance = self._take()
        answer = instance.call({"event": event, "seconds": self._timeout_seconds, "orders": orders})
        if answer is None:
            self._forget(instance)
            raise FunctionError("Lambda.Unknown", f"{self.package}: the process died")
        self._put_back(instance)
        if "error" in answer:
            raise FunctionError(str(answer["error"]), str(answer["message"]))
        result: Mapping[str, Any] = answer["result"]
        return result

    def kill(self) -> int:
        """Kill the instances that handle an event now; how many there were."""
        with self._lock:
            busy = list(self._busy)
        for instance in busy:
            instance.kill()
        return len(busy)

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way."""
        return bool(self._busy)

    def close(self) -> None:
        """End all instances."""
        with self._lock:
            self._closed = True
            instances = [*self._idle, *self._busy]
            self._idle, self._busy = [], []
        for instance in instances:
            instance.close()

    def _take(self) -> _Instance:
        with self._lock:
            if self._closed:
                raise FunctionError("Lambda.Unknown", f"{self.package}: the rehearsal is over")
            if self._idle:
                instance = self._idle.pop()
                self._busy.append(instance)
                return instance
        instance = _Instance(self.package, self._environment, self.log_path)
        with self._lock:
            self._busy.append(instance)
        return instance

    def _put_back(self, instance: _Instance) -> None:
        with self._lock:
            if instance in self._busy:
                self._busy.remove(instance)
                self._idle.append(instance)

    def _forget(self, instance: _Instance) -> None:
        with self._lock:
            if instance in self._busy:
                self._busy.remove(instance)
        instance.close()


class _Instance:
    def __init__(self, package: str, environment: Mapping[str, str], log_path: Path) -> None:
        self._log = log_path.open("ab")
        self._process = subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-m", "rehearsal.control_plane.function_process", package],
            env=dict(environment),
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        if self._read() is None:
            self.close()
            raise FunctionError("Runtime.ImportModuleError", f"{package} did not start; see {log_path}")

    def call(self, call: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer; None when the process died."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(call) + "\n")
            self._process.stdin.flush()
        except OSError:
            return None
        return self._read()

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue

    def _read(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        try:
            line = self._process.stdout.readline()
            answer: dict[str, Any] = json.loads(line)
        except (OSError, ValueError):
            return None
        return answer
