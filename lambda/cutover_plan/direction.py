"""From where to where a cutover goes: two neighbours, either way, by the same code."""

from __future__ import annotations

from enum import Enum


class Pointer(Enum):
    """What is moved: the listener rule's weights between environments, or the DNS records of the front door."""

    ENVIRONMENT = "environment"
    FRONT_DOOR = "front door"


class Direction(Enum):
    """The source has the traffic now, the target gets it."""

    BLUE_TO_GREEN = ("blue", "green")
    GREEN_TO_BLUE = ("green", "blue")
    LEGACY_TO_AWS = ("legacy", "aws")
    AWS_TO_LEGACY = ("aws", "legacy")

    @classmethod
    def of(cls, source: str, target: str) -> Direction | None:
        """The direction between two neighbours; None when they are none."""
        return next((each for each in cls if each.value == (source, target)), None)

    @property
    def source(self) -> str:
        return self.value[0]

    @property
    def target(self) -> str:
        return self.value[1]

    @property
    def pointer(self) -> Pointer:
        return Pointer.FRONT_DOOR if "aws" in self.value else Pointer.ENVIRONMENT

    @property
    def exchanged(self) -> Direction:
        """The way back."""
        return Direction((self.target, self.source))

    @property
    def writer_source(self) -> str:
        """The database that is written to before the writer switches."""
        return _database(self.source)

    @property
    def writer_target(self) -> str:
        """The database that is written to afterwards."""
        return _database(self.target)

    def __str__(self) -> str:
        return f"{self.source} to {self.target}"


def _database(side: str) -> str:
    # Blue is the environment that takes over from the legacy system, and its database the legacy one's neighbour.
    return "blue" if side == "aws" else side
