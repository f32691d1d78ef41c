"""What can be seen of the image without building it: its instructions, and its command on its own files."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rehearsal.data_plane import DataPlane

SERVICE = Path(__file__).parents[2] / "service"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, with continued lines joined."""
    text = (SERVICE / "Dockerfile").read_text("utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = [line.split(None, 1) for line in lines.replace("\\\n", " ").splitlines() if line.strip()]
    return [(name, " ".join(argument.split())) for name, argument in found]


def arguments_of(name: str) -> list[str]:
    return [argument for found, argument in instructions() if found == name]


def test_every_stage_starts_from_one_exactly_pinned_slim_base() -> None:
    bases = {argument.split(" AS ")[0] for argument in arguments_of("FROM")}

    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", bases.pop())


def test_only_hashed_wheels_are_installed() -> None:
    (install,) = [argument for argument in arguments_of("RUN") if "pip install" in argument]

    assert "--require-hashes" in install
    assert "--only-binary=:all:" in install
    assert install.split("pip install")[1].split("&&")[0].split()[-2:] == ["--requirement", "/build/requirements.txt"]


def test_every_requirement_of_the_lock_has_a_hash() -> None:
    text = (SERVICE / "requirements.txt").read_text("utf-8").replace("\\\n", " ")
    requirements = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]

    assert len(requirements) > 10
    assert [line for line in requirements if "--hash=sha256:" not in line or "==" not in line] == []


def test_the_process_is_not_root_and_has_no_shell_between_it_and_its_signals() -> None:
    (user,) = arguments_of("USER")
    (entry_point,) = arguments_of("ENTRYPOINT")

    assert [int(part) > 0 for part in user.split(":")] == [True, True]
    assert json.loads(entry_point) == ["python", "-m", "payment_service"]


def test_no_secret_and_no_setting_comes_from_the_environment() -> None:
    names = {word.partition("=")[0] for argument in arguments_of("ENV") for word in argument.split()}

    assert names == {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
    assert arguments_of("ARG") == []


def test_the_health_check_needs_no_other_program() -> None:
    (check,) = arguments_of("HEALTHCHECK")

    assert json.loads(check.partition("CMD ")[2]) == ["python", "-m", "payment_service.healthcheck"]


def test_the_build_sees_only_what_it_copies() -> None:
    admitted = {line[1:] for line in (SERVICE / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    copied = {argument.split()[0] for argument in arguments_of("COPY") if not argument.startswith("--from")}
    assert admitted == copied
    for name in copied:
        assert (SERVICE / name).exists()


# Root may write everywhere by its capabilities; without them the permissions of files hold for it, too.
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"] if os.geteuid() == 0 else []


@pytest.fixture
def image(tmp_path: Path, data_plane: DataPlane) -> Iterator[Path]:
    """The folder /app as the image holds it, with the authority of the test, and nothing that may be written."""
    app = tmp_path / "app"
    for argument in arguments_of("COPY"):
        source, target = argument.split()[-2:]
        if target.startswith("/app/"):
            shutil.copytree(SERVICE / source, app / Path(target).relative_to("/app"), dirs_exist_ok=True)
    shutil.copy(data_plane.databases.ca_path, app / "test-ca.pem")
    for path in [app, *app.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield app
    for path in [app, *app.rglob("*")]:
        path.chmod(0o755)


def files_open_for_writing(process_id: int) -> list[str]:
    found = []
    for descriptor in Path(f"/proc/{process_id}/fd").iterdir():
        flags = int(Path(f"/proc/{process_id}/fdinfo/{descriptor.name}").read_text().split("flags:")[1].split()[0], 8)
        target = os.readlink(descriptor)
        if flags & os.O_ACCMODE != os.O_RDONLY and target.startswith("/") and not target.startswith("/dev/"):
            found.append(target)
    return found


@pytest.mark.slow
def test_its_command_runs_where_no_file_can_be_written(data_plane: DataPlane, image: Path) -> None:
    attempt = subprocess.run([*POWERLESS, "touch", str(image / "file")], capture_output=True, check=False)
    assert attempt.returncode != 0, "the test's own premise"
    before = sorted(image.rglob("*"))
    command = [*POWERLESS, sys.executable, *json.loads(arguments_of("ENTRYPOINT")[0])[1:]]
    check = [sys.executable, *json.loads(arguments_of("HEALTHCHECK")[0].partition("CMD ")[2])[1:]]
    environment = {
        **data_plane.secrets_manager.environment,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "TMPDIR": "/nonexistent",
    }
    databases = [f"--database={name}={arn}" for name, arn in data_plane.secret_arns.items()]
    with subprocess.Popen(
        [*command, *databases, "--listen-port=0", "--drain-seconds=0", "--database-ca=test-ca.pem"],
        cwd=image,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            events: list[dict[str, Any]] = []
            while not {"listening", "writer found"} <= {event["event"] for event in events}:
                events.append(json.loads(process.stdout.readline()))
            (port,) = [event["port"] for event in events if event["event"] == "listening"]
            healthy = subprocess.run([*check, str(port)], cwd=image, env=environment, timeout=20, check=False)
            written = files_open_for_writing(process.pid)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
    unhealthy = subprocess.run(
        [*check, str(port)], cwd=image, env=environment, timeout=20, check=False, capture_output=True, text=True
    )

    assert healthy.returncode == 0
    assert written == []
    assert unhealthy.returncode == 1
    assert unhealthy.stderr.startswith(f"the service does not answer on port {port}: ")
    assert sorted(image.rglob("*")) == before


@pytest.mark.slow
def test_without_arguments_it_says_which_are_missing(image: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "payment_service"], cwd=image, capture_output=True, text=True, timeout=30, check=False
    )

    assert finished.returncode == 2
    assert "the following arguments are required: --database" in finished.stderr
