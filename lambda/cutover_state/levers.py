"""What a cutover moves traffic with, whichever of the two it is: read, check, write, read back."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol


class Kind(Enum):
    """``environment``: weights of the listener rule, and the writer. ``front door``: weights of the DNS records.
    ``writer``: the writer alone, as from the legacy database to blue."""

    ENVIRONMENT = "environment"
    FRONT_DOOR = "front door"
    WRITER = "writer"

    @property
    def desired_field(self) -> str | None:
        """Field of the desired state that holds the weights of this kind, if it moves any."""
        return {Kind.ENVIRONMENT: "weights", Kind.FRONT_DOOR: "records"}.get(self)

    @property
    def moves_writer(self) -> bool:
        """Whether the writer can be moved."""
        return self is not Kind.FRONT_DOOR


class Lever(Protocol):
    """Weights of two sides."""

    @property
    def sides(self) -> tuple[str, ...]:
        """Names of the sides."""
        ...

    def read(self) -> dict[str, int]:
        """The weights that are set now."""
        ...

    def write(self, wanted: Mapping[str, int]) -> None:
        """Set the weights and read them back."""
        ...
