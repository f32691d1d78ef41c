"""Fixtures for what operators run: a local AWS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
