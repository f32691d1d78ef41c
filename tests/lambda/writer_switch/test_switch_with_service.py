"""The writer switch under the reference service, over HTTP and TLS, with the secrets that both read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rehearsal.data_plane import LocalSecretsManager
from rehearsal.load import count_statuses, open_loop
from rehearsal.service_process import ServiceProcess
from tests.support.writer_world import Watcher, World, wait_until
from writer_switch import Result

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def secrets_manager() -> Iterator[LocalSecretsManager]:
    with LocalSecretsManager() as local:
        yield local


def recorded_in(world: World, name: str) -> dict[str, str]:
    rows = world.chain[name].query("SELECT id, recorded_in FROM payments.payments")
    return {row["id"]: row["recorded_in"] for row in rows}


def test_the_service_follows_the_writer_and_every_payment_is_made_once(
    world: World, secrets_manager: LocalSecretsManager, tmp_path: Path
) -> None:
    arns = {
        name: secrets_manager.put(f"{name}/switched", dict(documents["application"]))
        for name, documents in world.documents.items()
    }
    watcher = Watcher(world)
    with (
        ServiceProcess(
            secret_arns=arns,
            database_ca=world.chain.ca_path,
            environment=secrets_manager.environment,
            log_path=tmp_path / "service.log",
        ) as service,
        ThreadPoolExecutor(1) as pool,
        watcher.watching(("blue", "green")),
    ):
        service.wait_ready()
        load = pool.submit(lambda: asyncio.run(open_loop(port=service.port, requests_per_second=40, seconds=5, seed=7)))
        for old, new in (("blue", "green"), ("green", "blue")):
            before = len(recorded_in(world, old))
            wait_until(lambda old=old, before=before: len(recorded_in(world, old)) > before)  # type: ignore[misc]
            outcome = world.switch(old, new)
            assert outcome.result is Result.SWITCHED, outcome
            assert all(check.passed is not False for check in outcome.checks), outcome.checks
            time.sleep(0.5)
        answers = load.result()

    assert count_statuses(answers) == {201: len(answers)}
    assert world.faults() == []
    recorded = recorded_in(world, "blue")
    assert set(recorded) == {answer.key for answer in answers}
    assert set(recorded.values()) == {"blue", "green"}
    assert watcher.violations == []
