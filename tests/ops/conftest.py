"""Fixtures for what operators run: a local AWS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.local_aws import LocalAws, local_aws


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    with local_aws() as running:
        yield running
