"""One deployment of the stage ``local`` for every test of this folder, on a clock that runs twenty times faster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rehearsal.databases import DatabaseChain, Software
from rehearsal.databases.pytest_plugin import memory_folder
from rehearsal.local_aws import LocalCloud
from tests.support.local_stage import LocalStage

WAIT_SCALE = 0.05


@pytest.fixture(scope="session")
def cloud(mariadb: Software, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """The local AWS, before any deployment."""
    said: list[str] = []
    with (
        DatabaseChain.start(("legacy", "blue", "green"), software=mariadb, folder=memory_folder()) as databases,
        LocalCloud(databases, tmp_path_factory.mktemp("cloud") / "aws", said.append, WAIT_SCALE) as cloud,
    ):
        cloud.start()
        yield cloud


@pytest.fixture(scope="session")
def stage(cloud: LocalCloud) -> Iterator[LocalStage]:
    """The deployed stage: replication runs, each environment has targets, and metrics say that all is well."""
    assembly = cloud.synthesize()
    assert cloud.deploy(assembly)
    cloud.start_replication()
    stage = LocalStage(cloud, assembly)
    stage.register_targets()
    with stage.metrics.flowing():
        yield stage
