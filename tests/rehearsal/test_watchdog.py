"""Nothing that a rehearsal has started outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.balancer import HaproxySoftware
from rehearsal.databases import Software
from rehearsal.watchdog import Watchdog, beginning
from tests.support.synthesized import Synthesis

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_what_is_watched_ends_with_the_watchdogs_pipe(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "rehearsal"
    folder.mkdir()
    (folder / "log").touch()
    with Watchdog(folder) as watchdog:
        watchdog.watch(sleeper.pid)
        assert sleeper.poll() is None
        assert folder.exists()
    assert sleeper.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_what_is_not_watched_goes_on(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with Watchdog(tmp_path / "none"):
        pass
    assert sleeper.poll() is None


def test_a_process_is_told_from_a_later_one_by_when_it_began(sleeper: subprocess.Popen[bytes]) -> None:
    began = beginning(sleeper.pid)
    assert began is not None
    assert int(began) > 0
    sleeper.kill()
    sleeper.wait()
    assert beginning(sleeper.pid) is None


def _descendants(process_id: int) -> dict[int, str]:
    """Everything below a process, with when each began."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found: set[int] = {process_id}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {each: began for each in found - {process_id} if (began := beginning(each)) is not None}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_interrupted_rehearsal_leaves_nothing_running(
    number: signal.Signals, status: int, mariadb: Software, haproxy: HaproxySoftware, staging: Synthesis
) -> None:
    assert mariadb.version
    assert haproxy.version
    words = ["-m", "rehearsal", "--scenario", "short", "--report", "-", "--assembly", str(staging.folder)]
    with subprocess.Popen(
        [sys.executable, *words], cwd=PROJECT, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            deadline = time.monotonic() + 90
            # Databases, local AWS, functions, services, balancer and clients.
            while len(started := _descendants(process.pid)) < 16:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, started
                time.sleep(0.2)
            process.send_signal(number)
            assert process.wait(60) == status
        finally:
            process.kill()
    deadline = time.monotonic() + 20
    while left := [each for each, began in started.items() if beginning(each) == began]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
