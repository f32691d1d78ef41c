"""What a cutover moves traffic with, whichever of the two it is: read, check, write, read back."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol


class Kind(Enum):
    """``environment``: weights of the listener rule. ``front door``: weights of the DNS records. A plan of either may
    move the writer, too."""

    ENVIRONMENT = "environment"
    FRONT_DOOR = "front door"

    @property
    def desired_field(self) -> str:
        """Field of the desired state that holds the weights of this kind."""
        return {Kind.ENVIRONMENT: "weights", Kind.FRONT_DOOR: "records"}[self]


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
