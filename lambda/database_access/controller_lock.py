"""The lock in a database that admits one controller of its application accounts at a time.

Whoever reads the lock states of application accounts in order to change them holds it: the writer switch on both of
its databases, the rotation on its one. It belongs to the session and goes with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from database_access.errors import LockNotAvailableError, SessionLostError
from database_access.session import Session

CONTROLLER_LOCK: Final = "blue_green_controller"


@contextmanager
def controller_lock(session: Session, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock.

    Raises:
        LockNotAvailableError: Somebody else had it for all of the time.
    """
    [(taken,)] = session.query("SELECT GET_LOCK(%s, %s)", CONTROLLER_LOCK, wait_seconds)
    if taken != 1:
        raise LockNotAvailableError(
            f"another session holds the lock {CONTROLLER_LOCK}: a writer switch or a rotation is at work"
        )
    try:
        yield
    finally:
        # A session that is lost has released it.
        with suppress(SessionLostError):
            session.query("SELECT RELEASE_LOCK(%s)", CONTROLLER_LOCK)
