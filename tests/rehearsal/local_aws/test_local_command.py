"""`make deploy-local` and `make destroy-local` as an operator meets them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rehearsal.databases import Software
from rehearsal.local_aws.state_file import BusyError, State, StateFileError, held, runner
from tests.support.synthesized import PROJECT


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rehearsal.local_aws", *arguments, "--folder", str(folder)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def processes_of(folder: Path) -> list[int]:
    """Ids of the processes that name the folder in their command line or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in told and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


STATE = State(
    environment={"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
    outputs={"ParameterPath": "/payments/local"},
    process_ids=[1],
    stack_name="payments-local",
    parameter_path="/payments/local",
    simulated=["AWS::DMS::Certificate"],
    databases={"blue": "127.0.0.1:2"},
    ca_path="/ca.pem",
)


def test_a_state_is_true_while_its_process_holds_the_folder(tmp_path: Path) -> None:
    with held(tmp_path):
        STATE.write(tmp_path)
        assert State.read(tmp_path) == STATE
        assert runner(tmp_path) == os.getpid()

    assert runner(tmp_path) is None
    with pytest.raises(StateFileError, match="make deploy-local"):
        State.read(tmp_path)


def test_only_one_process_runs_a_stage_in_a_folder(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(BusyError) as refused, held(tmp_path):
        pass

    assert refused.value.process_id == os.getpid()


def test_a_state_that_is_not_deployed_yet_or_cannot_be_read_is_told(tmp_path: Path) -> None:
    with held(tmp_path):
        with pytest.raises(StateFileError, match="not deployed yet"):
            State.read(tmp_path)
        (tmp_path / "cloud.json").write_text("{")
        with pytest.raises(StateFileError, match="make destroy-local"):
            State.read(tmp_path)


def test_the_state_is_for_its_owner_only(tmp_path: Path) -> None:
    STATE.write(tmp_path)

    assert (tmp_path / "cloud.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("scale", ["0", "2", "-1", "nan", "fast"])
def test_a_bad_scale_is_refused(scale: str, tmp_path: Path) -> None:
    finished = run("deploy", f"--wait-scale={scale}", folder=tmp_path)

    assert finished.returncode == 2
    assert f"must be a number above 0 and at most 1, got '{scale}'" in finished.stderr


def test_the_status_of_nothing_says_what_to_do(tmp_path: Path) -> None:
    finished = run("status", folder=tmp_path)

    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.strip() == f"no local stage runs in {tmp_path}: run `make deploy-local`"


def test_destroying_nothing_is_no_mistake(tmp_path: Path) -> None:
    finished = run("destroy", folder=tmp_path / "none")

    assert (finished.returncode, finished.stdout) == (0, "No local stage runs.\n")


@pytest.mark.slow
def test_deploy_shows_progress_leaves_the_stage_running_and_destroy_ends_all_of_it(
    mariadb: Software, tmp_path: Path
) -> None:
    folder = tmp_path / "local"
    deployed = run("deploy", folder=folder)
    try:
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        assert re.search(r"CREATE_COMPLETE +\| AWS::CloudFormation::Stack \| payments-local\n", deployed.stdout)
        assert "AWS::ApplicationAutoScaling::ScalableTarget" in deployed.stdout.partition("Simulated:")[2]
        state = json.loads((folder / "cloud.json").read_text())
        assert state["outputs"]["PaymentsHost"] == "api.payments.test"
        assert set(state["process_ids"]) <= set(processes_of(folder))
        status = run("status", folder=folder)
        assert status.stdout.startswith(
            "payments-local is CREATE_COMPLETE, weights {'blue': 100, 'green': 0}.\nThe writer is legacy.\n"
        )
    finally:
        destroyed = run("destroy", folder=folder)

    assert destroyed.returncode == 0, destroyed.stderr
    assert not folder.exists()
    assert processes_of(folder) == []


@pytest.mark.slow
def test_nothing_is_left_when_the_process_in_the_background_is_killed(mariadb: Software, tmp_path: Path) -> None:
    folder = tmp_path / "local"
    folder.mkdir()
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "rehearsal.local_aws", "serve", "--folder", str(folder)],
            cwd=PROJECT,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    # The process itself, two servers, and the command line of the CDK.
    deadline = time.monotonic() + 60
    while "synthesizing" not in (folder / "said").read_text() or len(processes_of(folder)) < 4:
        assert process.poll() is None, (folder / "said").read_text()
        assert time.monotonic() < deadline, (folder / "said").read_text()
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    deadline = time.monotonic() + 20
    while left := processes_of(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
