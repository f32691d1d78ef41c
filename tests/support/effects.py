"""A process that dies before or after any one of its side effects, for trying every one of them.

A side effect is a call that changes something in AWS, or what a test names so itself. The moments of a process are
numbered: 2n is the moment before its effect n, 2n + 1 the one after it, if every effect is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_READING = ("Get", "Describe", "List", "Query", "Scan", "BatchGet")


class CrashError(BaseException):
    """The process died. Not an Exception, and once raised every later effect raises it: a dead process does nothing."""


class Process:
    """One run: notes its side effects and dies at one moment, or never.

    Attributes:
        effects: what was done, in order.
        moments: how many moments there were.
    """

    def __init__(self, *, dies_at: int | None = None) -> None:
        self.effects: list[str] = []
        self.moments = 0
        self._dies_at = dies_at
        self._dead = False

    def live(self) -> None:
        """Raises: CrashError: the process is dead."""
        if self._dead:
            raise CrashError("the process is dead")

    def moment(self, name: str) -> None:
        """Raises: CrashError: the process dies at this moment, or is dead."""
        self.live()
        self.moments += 1
        if self.moments - 1 == self._dies_at:
            self._dead = True
            raise CrashError(f"died {name}")

    @contextmanager
    def effect(self, name: str) -> Iterator[None]:
        """A side effect that is not a call of AWS."""
        self.moment(f"before {name}")
        yield
        self.effects.append(name)
        self.moment(f"after {name}")

    def watch(self, *clients: Any) -> None:
        """Take the calls of boto3 clients that change something for side effects."""
        for client in clients:
            client.meta.events.register("before-call", self._calls)
            client.meta.events.register("after-call", self._called)

    def _calls(self, *, model: Any, **_: Any) -> None:
        self.live()
        if not model.name.startswith(_READING):
            self.moment(f"before {model.name}")

    def _called(self, *, model: Any, http_response: Any, **_: Any) -> None:
        if not model.name.startswith(_READING) and http_response.status_code < 300:
            self.effects.append(model.name)
            self.moment(f"after {model.name}")


class Interrupted(Process):
    """A process into which something else comes at one of its calls, of those that only read, too.

    Attributes:
        calls: how many calls were made.
    """

    def __init__(self, *, at: int, by: Callable[[], None]) -> None:
        super().__init__()
        self.calls = 0
        self._at = at
        self._by = by

    def live(self) -> None:
        self.calls += 1
        if self.calls - 1 == self._at:
            self._by()
