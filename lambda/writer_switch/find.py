"""Which database is the writer: asked of all of them, believed of none but themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from database_access.session import Connect
from writer_switch.database import AdminLink, ChainDatabase, Settings
from writer_switch.decision import Locks


class Verdict(Enum):
    """ONE: exactly one database admits the application, of those that answer. SEVERAL is an alarm."""

    ONE = "one"
    NONE = "none"
    SEVERAL = "several"


@dataclass(frozen=True, kw_only=True)
class WriterReport:
    """What was found.

    Attributes:
        states: Of each database, in the order of the chain.
        failures: Why a database does not answer, by name.
    """

    states: Mapping[str, Locks]
    failures: Mapping[str, str]

    @property
    def admitting(self) -> tuple[str, ...]:
        """The databases that admit the application."""
        return tuple(name for name, state in self.states.items() if state.admits)

    @property
    def verdict(self) -> Verdict:
        return {0: Verdict.NONE, 1: Verdict.ONE}.get(len(self.admitting), Verdict.SEVERAL)

    @property
    def writer(self) -> str | None:
        """The one that admits, or None when none or several do."""
        return self.admitting[0] if self.verdict is Verdict.ONE else None

    @property
    def is_certain(self) -> bool:
        """Every database answered, so that none can be a writer unseen."""
        return not self.failures

    @property
    def pages(self) -> bool:
        """Whether a person must look at once; that nothing is the writer may be a switch at work."""
        return self.verdict is Verdict.SEVERAL

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "verdict": self.verdict.value,
            "writer": self.writer,
            "certain": self.is_certain,
            "page": self.pages,
            "databases": {name: state.value for name, state in self.states.items()},
            "failures": dict(self.failures),
        }


def find_writer(
    databases: Sequence[ChainDatabase], *, connect: Connect, settings: Settings | None = None
) -> WriterReport:
    """Ask every database of the chain for the locks of its application accounts; changes nothing.

    A database that does not answer costs ``statement_seconds`` at most.
    """
    settings = settings or Settings()
    states: dict[str, Locks] = {}
    failures: dict[str, str] = {}
    for database in databases:
        link = AdminLink(database, connect=connect, settings=settings, lifetime_seconds=60)
        try:
            states[database.name] = link.locks()
        finally:
            link.close()
        if states[database.name] is Locks.UNREACHABLE:
            failures[database.name] = link.failure
    return WriterReport(states=states, failures=failures)
