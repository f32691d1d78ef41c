"""A stage for the command line, in moto, with the real functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.canned_aws import CannedAws, canned_aws
from tests.support.function_host import FunctionHost, function_host
from tests.support.levers_in_aws import LeversInAws
from tests.support.local_aws import LocalAws
from tests.support.operator_stage import OperatorStage, Sessions, create_stage, unreachable
from tests.support.writer_world import World


@pytest.fixture(scope="session")
def levers(aws: LocalAws) -> LeversInAws:
    return LeversInAws.create(aws)


@pytest.fixture(scope="session")
def canned() -> Iterator[CannedAws]:
    with canned_aws() as running:
        yield running


@pytest.fixture(scope="session")
def host() -> Iterator[FunctionHost]:
    with function_host() as running:
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate, for functions that never come to a handshake."""
    from rehearsal.databases.certificates import make_server_certificate

    return make_server_certificate(tmp_path_factory.mktemp("certificates")).ca_path


@pytest.fixture(scope="session")
def stage_without_databases(
    aws: LocalAws, levers: LeversInAws, canned: CannedAws, host: FunctionHost, authority: Path
) -> OperatorStage:
    return create_stage(aws, levers, canned, host, secrets=unreachable(), ca_path=str(authority))


@pytest.fixture(scope="session")
def sessions() -> Sessions:
    return Sessions()


@pytest.fixture
def stage(stage_without_databases: OperatorStage, sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> OperatorStage:
    """Healthy, but for its databases, none of which answers."""
    stage_without_databases.reset(monkeypatch.setenv)
    sessions.watch(stage_without_databases, monkeypatch)
    return stage_without_databases


@pytest.fixture
def whole_stage(
    aws: LocalAws,
    levers: LeversInAws,
    canned: CannedAws,
    host: FunctionHost,
    fresh_databases: Any,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
) -> OperatorStage:
    """Healthy, with two real databases that replicate."""
    world = World(fresh_databases, writer="blue")
    made = create_stage(aws, levers, canned, host, secrets=world.documents, ca_path=str(world.chain.ca_path))
    made.reset(monkeypatch.setenv)
    sessions.watch(made, monkeypatch)
    return made
