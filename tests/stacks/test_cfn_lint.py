"""cfn-lint over all templates, with the exceptions that .cfnlintrc explains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.synthesized import PROJECT, Synthesis

pytestmark = pytest.mark.slow


def lint(synthesis: Synthesis) -> list[str]:
    """What cfn-lint says from the project's folder, where it finds .cfnlintrc."""
    files = [str(each) for each in synthesis.files.values()]
    ran = subprocess.run(
        [str(Path(sys.executable).parent / "cfn-lint"), "--format", "json", "-t", *files],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert not ran.stderr
    # Nothing is said of templates that are right.
    findings = json.loads(ran.stdout or "[]")
    assert bool(findings) == bool(ran.returncode)
    return [f"{each['Rule']['Id']} {each['Message']} {each['Filename']}" for each in findings]


def test_there_is_neither_an_error_nor_a_warning(either: Synthesis) -> None:
    assert lint(either) == []


def test_every_exception_is_explained() -> None:
    lines = (PROJECT / ".cfnlintrc").read_text().splitlines()
    [ignored] = [line for line in lines if line.startswith("ignore_checks:")]
    ids = [each.strip() for each in ignored.partition("[")[2].rstrip("]").split(",")]

    assert ids
    for each in ids:
        assert any(line.startswith(f"# {each}: ") and len(line.split()) > 8 for line in lines), each
