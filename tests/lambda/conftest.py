"""Fixtures for the functions: a real MariaDB server and a local AWS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rehearsal.databases import DatabaseChain
from tests.support import secrecy
from tests.support.account_database import AccountDatabase
from tests.support.local_aws import LocalAws, local_aws


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    with local_aws() as running:
        yield running


@pytest.fixture(autouse=True)
def replication_tasks_end_with_their_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Those of one test are none of the next one's business."""
    yield
    if "aws" in request.fixturenames:
        request.getfixturevalue("aws").delete_replication_tasks()


@pytest.fixture(scope="module")
def server_of_this_module(databases: DatabaseChain) -> Iterator[DatabaseChain]:
    """The pair with its replication at rest, so that accounts and schemas of one server stay there."""
    databases.reset()
    databases.stop_replication()
    yield databases
    databases.reset()


@pytest.fixture
def blue(server_of_this_module: DatabaseChain) -> AccountDatabase:
    """A server with nothing of ours but an admin that has the rights of Aurora's master user."""
    return AccountDatabase.on(server_of_this_module["blue"])


@pytest.fixture(autouse=True)
def nothing_says_a_password() -> Iterator[None]:
    """Every test of the functions is a test of this, too: every success, every failure, every crash point."""
    with secrecy.watch():
        yield
