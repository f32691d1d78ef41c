"""Chains with payments for the tests of the writer switch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rehearsal.databases import DatabaseChain, Software
from tests.support.writer_world import World


@pytest.fixture
def make_world(fresh_databases: DatabaseChain) -> Callable[[str], World]:
    return lambda writer: World(fresh_databases, writer=writer)


@pytest.fixture
def world(fresh_databases: DatabaseChain) -> World:
    """Blue and green; blue is the writer."""
    return World(fresh_databases, writer="blue")


@pytest.fixture(scope="module")
def three_databases(mariadb: Software) -> Iterator[DatabaseChain]:
    with DatabaseChain.start(("legacy", "blue", "green"), software=mariadb) as chain:
        yield chain


@pytest.fixture
def long_chain(three_databases: DatabaseChain) -> World:
    """Legacy, blue and green; legacy is the writer."""
    three_databases.reset()
    return World(three_databases, writer="legacy")
