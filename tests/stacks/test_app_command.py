"""``app.py`` as the CDK command line runs it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.synthesized import COMMAND_LINE, CONTEXT, PROJECT, Synthesis

pytestmark = pytest.mark.slow

CDK = PROJECT / "node_modules" / ".bin" / "cdk"


def environment(**values: str) -> dict[str, str]:
    """No credentials, no home of anybody's, and the Node.js of the environment."""
    kept = {key: os.environ[key] for key in ("LANG", "LC_ALL", "TMPDIR") if key in os.environ}
    # Where the language bridge keeps what it has unpacked; under a new home it would unpack the CDK again.
    cache = Path.home() / ".cache" / "aws" / "jsii" / "package-cache"
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    return {**kept, "PATH": path, "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(cache), **values}


def cdk(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(CDK), *arguments],
        cwd=PROJECT,
        env=environment(HOME=str(home), CDK_DISABLE_VERSION_CHECK="1", CI="true"),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_an_unknown_stage_is_told_in_one_line_without_a_traceback(tmp_path: Path) -> None:
    ran = cdk("synth", "--quiet", "-c", "stage=nope", "--output", str(tmp_path / "out"), home=tmp_path)

    assert ran.returncode == 1
    assert f"stage: 'nope' is not known (allowed: {', '.join(sorted(CONTEXT['stages']))})" in ran.stderr.splitlines()
    assert "Traceback" not in ran.stderr


def app(tmp_path: Path, context: dict[str, Any], **values: str) -> subprocess.CompletedProcess[str]:
    """``python app.py`` from a folder that is not the project, as the command line starts it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    return subprocess.run(
        [sys.executable, str(PROJECT / "app.py")],
        cwd=elsewhere,
        env=environment(
            HOME=str(tmp_path), CDK_OUTDIR=str(tmp_path / "out"), CDK_CONTEXT_JSON=json.dumps(context), **values
        ),
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_all_mistakes_are_told_at_once_with_exit_status_1_and_no_traceback(tmp_path: Path) -> None:
    stage = {**CONTEXT["stages"]["prod"], "account": "1", "region": "eu-west-1", "weights": 5}

    ran = app(tmp_path, {**CONTEXT, "stages": {"prod": stage}})

    lines = ran.stderr.splitlines()
    assert ran.returncode == 1
    assert lines[0] == "The configuration in cdk.json has mistakes:"
    assert [line.split(":")[0] for line in lines[1:]] == [
        "stages.prod.account",
        "stages.prod.region",
        "stages.prod.weights",
    ]
    assert list((tmp_path / "out").glob("*.template.json")) == []


def digests(folder: Path) -> dict[str, str]:
    """What each template is, byte for byte."""
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in folder.glob("*.template.json")}


def test_another_folder_home_and_hash_seed_give_the_same_templates_byte_for_byte(
    prod: Synthesis, tmp_path: Path
) -> None:
    ran = app(tmp_path, {**CONTEXT, **COMMAND_LINE, "stage": "prod"}, PYTHONHASHSEED="4711")

    assert ran.returncode == 0, ran.stderr
    assert len(digests(prod.folder)) > 11
    assert digests(tmp_path / "out") == digests(prod.folder)


def test_the_command_line_gives_the_same_templates_without_credentials(prod: Synthesis, tmp_path: Path) -> None:
    ran = cdk("synth", "--quiet", "--output", str(tmp_path / "out"), home=tmp_path)

    assert ran.returncode == 0, ran.stderr
    assert digests(tmp_path / "out") == digests(prod.folder)
