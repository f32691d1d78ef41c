"""A cutover under way, with its stores and levers in moto."""

from __future__ import annotations

import pytest

from tests.support.cutover_world import CutoverWorld
from tests.support.levers_in_aws import LeversInAws
from tests.support.local_aws import LocalAws


@pytest.fixture
def cutover(aws: LocalAws) -> CutoverWorld:
    """From blue to green, half of the traffic shifted."""
    world = CutoverWorld(LeversInAws.create(aws))
    world.begin()
    return world
