"""The chain of databases, legacy - blue - green, and the replication between neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stacks.config import DMS_IDENTIFIER_LENGTH, Color, StageConfig

LEGACY = "legacy"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two neighbours that replicate to each other.

    Attributes:
        upstream: the one that served first; it fills the other with a full load.
        downstream: the one that follows.
    """

    upstream: str
    downstream: str

    @property
    def loopback_schema(self) -> str:
        """Schema in both of them by which a task knows what the other task applied.

        Each pair has its own, or blue-to-green would leave out what legacy-to-blue applied to blue.
        """
        return f"loopback_{self.upstream}_{self.downstream}"


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One replication task.

    Attributes:
        pair: the neighbours.
        source: the database that it reads.
        target: the database that it writes.
        prefix: what its identifier starts with.
    """

    pair: Pair
    source: str
    target: str
    prefix: str

    @property
    def identifier(self) -> str:
        """Resource identifier of the task: the last part of its ARN and a dimension of its metrics."""
        identifier = f"{self.prefix}-{self.source}-to-{self.target}"
        assert len(identifier) <= DMS_IDENTIFIER_LENGTH, identifier
        return identifier

    @property
    def name(self) -> str:
        """Construct id of the task."""
        return f"{self.source.capitalize()}To{self.target.capitalize()}"

    @property
    def loads(self) -> bool:
        """Whether it copies what exists before it follows changes; only one task of a pair may."""
        return self.source == self.pair.upstream


@dataclass(frozen=True, kw_only=True)
class DatabaseChain:
    """The databases in the order in which the writer moves through them.

    Attributes:
        prefix: what the identifiers of the tasks start with.
        databases: the databases, each a neighbour of the next.
    """

    prefix: str
    databases: Sequence[str]

    @classmethod
    def of(cls, config: StageConfig) -> DatabaseChain:
        """The chain of a stage."""
        legacy = (LEGACY,) if config.legacy_database else ()
        return cls(prefix=config.prefix, databases=(*legacy, *(color.value for color in Color)))

    @property
    def first_writer(self) -> str:
        """The database that is writable when everything is created."""
        return self.databases[0]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Neighbours, from the first writer on."""
        return tuple(
            Pair(upstream=one, downstream=other) for one, other in zip(self.databases, self.databases[1:], strict=False)
        )

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Every task: of each pair first the one that loads, then its reverse."""
        return tuple(
            Direction(pair=pair, source=source, target=target, prefix=self.prefix)
            for pair in self.pairs
            for source, target in ((pair.upstream, pair.downstream), (pair.downstream, pair.upstream))
        )

    def tasks_of(self, database: str) -> tuple[str, ...]:
        """Identifiers of the tasks that read or write ``database``."""
        return tuple(each.identifier for each in self.directions if database in (each.source, each.target))

    def loopback_schemas_of(self, database: str) -> tuple[str, ...]:
        """Loopback schemas that ``database`` needs."""
        return tuple(pair.loopback_schema for pair in self.pairs if database in (pair.upstream, pair.downstream))
