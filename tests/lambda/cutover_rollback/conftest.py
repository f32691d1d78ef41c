"""A cutover under way, with its stores and levers in moto."""

from __future__ import annotations

import pytest

from tests.support.cutover_world import CutoverWorld
from tests.support.levers_in_aws import LeversInAws
from tests.support.local_aws import LocalAws


@pytest.fixture(scope="session")
def shared_levers(aws: LocalAws) -> LeversInAws:
    return LeversInAws.create(aws)


@pytest.fixture
def cutover(shared_levers: LeversInAws) -> CutoverWorld:
    """From blue to green, half of the traffic shifted and the writer switched."""
    world = CutoverWorld(shared_levers)
    world.begin()
    return world
