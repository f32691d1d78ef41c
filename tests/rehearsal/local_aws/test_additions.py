"""What the local AWS is given beyond ministack: that it is needed, and that ministack still has what it builds on."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest

from rehearsal.local_aws.additions import RECORDED_ONLY
from tests.support.synthesized import PROJECT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def known() -> set[str]:
    """Resource types that ministack creates by itself, asked in a process of its own: its import has side effects."""
    program = (
        "import json; from ministack.services.cloudformation import provisioners; "
        "print(json.dumps(sorted(provisioners._RESOURCE_HANDLERS)))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(finished.stdout.splitlines()[-1]))


def test_no_type_is_only_recorded_that_ministack_could_create(known: set[str]) -> None:
    assert known.isdisjoint(RECORDED_ONLY)


def test_the_version_that_the_additions_were_written_for_is_installed() -> None:
    """Its tables are private: with another version, read additions.py against it and run the tests of this folder."""
    locked = [
        line for line in (PROJECT / "requirements-dev.in").read_text("utf-8").splitlines() if "ministack==" in line
    ]

    assert locked == [f"ministack=={metadata.version('ministack')}"] == ["ministack==1.5.33"]
