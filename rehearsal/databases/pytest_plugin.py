"""Fixtures with real databases. Register with ``pytest_plugins = ["rehearsal.databases.pytest_plugin"]``.

`databases` is one running pair, blue and green, for the whole session: use it where a test only reads, or
brings its own names. `fresh_databases` is the same pair put back to its first state before the test.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.databases.chain import DatabaseChain
from rehearsal.databases.software import DatabasesUnavailableError, Software, obtain

MEMORY_BYTES = 2 * 1024**3


def memory_folder() -> Path | None:
    """Memory instead of a disk, where the system has enough: no test is about disks, and they are slow when shared."""
    shared_memory = Path("/dev/shm")  # noqa: S108 (mkdtemp makes a private folder in it)
    if not os.access(shared_memory, os.W_OK) or shutil.disk_usage(shared_memory).free < MEMORY_BYTES:
        return None
    return shared_memory


@pytest.fixture(scope="session")
def mariadb() -> Software:
    """The MariaDB to run. Without one, tests are skipped with the reason, and fail where CI is set."""
    try:
        return obtain()
    except DatabasesUnavailableError as error:
        reason = f"no databases to test with: {error}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def databases(mariadb: Software) -> Iterator[DatabaseChain]:
    """Blue and green, running and replicating both ways."""
    with DatabaseChain.start(("blue", "green"), software=mariadb, folder=memory_folder()) as chain:
        yield chain


@pytest.fixture
def fresh_databases(databases: DatabaseChain) -> DatabaseChain:
    """Blue and green without any schema or account but their own, replicating without delay."""
    databases.reset()
    return databases
