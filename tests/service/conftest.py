"""The payment service with real databases and a Secrets Manager around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from rehearsal.data_plane import DataPlane, LocalSecretsManager
from rehearsal.databases import DatabaseChain
from rehearsal.service_process import ServiceProcess

StartService = Callable[..., ServiceProcess]


@pytest.fixture(scope="session")
def secrets_manager() -> Iterator[LocalSecretsManager]:
    with LocalSecretsManager() as local:
        yield local


@pytest.fixture
def data_plane(fresh_databases: DatabaseChain, secrets_manager: LocalSecretsManager) -> DataPlane:
    """Blue and green with empty books; blue is the writer."""
    return DataPlane(fresh_databases, secrets_manager, writer="blue")


@pytest.fixture
def start_service(data_plane: DataPlane, tmp_path: Path) -> Iterator[StartService]:
    """Start a service process with these arguments; it is ended after the test."""
    with ExitStack() as stack:

        def start(*arguments: str, ready: bool = True) -> ServiceProcess:
            service = ServiceProcess(
                secret_arns=data_plane.secret_arns,
                database_ca=data_plane.databases.ca_path,
                environment=data_plane.secrets_manager.environment,
                log_path=tmp_path / f"{uuid4()}.log",
                arguments=arguments,
            )
            stack.enter_context(service)
            if ready:
                service.wait_ready()
            return service

        yield start
