"""The hooks refuse what they are there for, with what is installed and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.synthesized import PROJECT

VENV = PROJECT / ".venv"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (VENV / "bin" / "pre-commit").exists(), reason="the environment is not in .venv"),
]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in (".pre-commit-config.yaml", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(VENV)
    (tmp_path / ".gitignore").write_text(".venv\n.cache/\n.ruff_cache/\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def run_hooks(folder: Path) -> subprocess.CompletedProcess[str]:
    git(folder, "add", ".")
    environment = {**os.environ, "PRE_COMMIT_HOME": str(folder / ".cache"), "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(
        [VENV / "bin" / "pre-commit", "run", "--color=never"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_good_files_pass(repository: Path) -> None:
    (repository / "good.py").write_text('"""Good."""\n\nNUMBER = 1\n')
    (repository / "good.json").write_text('{"a": 1}\n')
    done = run_hooks(repository)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "content", "hook"),
    [
        ("format.py", "x  =  1\n", "format of Python"),
        ("lint.py", "import os\n", "lint of Python"),
        ("broken.json", '{"a": 1,}\n', "JSON can be read"),
        ("space.txt", "text \n", "no trailing whitespace"),
    ],
)
def test_a_bad_file_is_refused_by_its_hook(repository: Path, name: str, content: str, hook: str) -> None:
    (repository / name).write_text(content)
    done = run_hooks(repository)
    assert done.returncode == 1, done.stdout
    failed = [line for line in done.stdout.splitlines() if line.endswith("Failed")]
    assert [line.split(".")[0].split(",")[0] for line in failed] == [hook]
