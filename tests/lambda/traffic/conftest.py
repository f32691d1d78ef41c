"""One rule and one pair of records for all tests of the levers."""

from __future__ import annotations

import pytest

from tests.support.levers_in_aws import LeversInAws
from tests.support.local_aws import LocalAws


@pytest.fixture(scope="session")
def shared_levers(aws: LocalAws) -> LeversInAws:
    return LeversInAws.create(aws)


@pytest.fixture
def levers(shared_levers: LeversInAws) -> LeversInAws:
    """Blue and legacy have everything."""
    shared_levers.set()
    return shared_levers


@pytest.fixture
def own_levers(aws: LocalAws) -> LeversInAws:
    """A rule and records that the test may break."""
    return LeversInAws.create(aws)
