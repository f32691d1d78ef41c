"""The command line over a stage that the CDK deployed into a local AWS, with real databases and the state machine.

The local AWS runs by a clock that is faster than ours; the command line follows it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.bluegreen import PROJECT
from ops.bluegreen import documents as d
from ops.bluegreen.errors import Exit
from rehearsal.clock import VARIABLE
from rehearsal.databases import DatabaseChain, Software
from rehearsal.databases.pytest_plugin import memory_folder
from rehearsal.local_aws import LocalCloud
from tests.support.local_stage import LocalStage

WAIT_SCALE = 0.05
PACE = ("--poll-seconds", "15", "--settle-seconds", "0")


@dataclass(frozen=True)
class Seat:
    """The command line over the deployed stage."""

    stage: LocalStage
    state_file: Path

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command as an operator calls it, without a terminal."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return subprocess.run(
            [sys.executable, "-m", "ops.bluegreen", "--local", *words],
            cwd=PROJECT,
            env={**environment, "BLUEGREEN_LOCAL_STATE": str(self.state_file), "COLUMNS": "150", **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def document(self, *words: str, code: Exit = Exit.DONE) -> Any:
        """What the command prints with --json, of its schema."""
        ended = self.run(*words, "--json")
        assert ended.returncode == code, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        name = "error" if code not in (Exit.DONE, Exit.REFUSED) or '"error"' in ended.stdout[:20] else words[0]
        return d.SCHEMAS[name].model_validate_json(ended.stdout)

    def begin(self, *words: str) -> d.Begun:
        """Begin a cutover, once the alarms have heard enough."""
        target = words[1]
        self.stage.wait_until(
            lambda: self.run("preflight", target).returncode == Exit.DONE, lambda: self.run("preflight", target).stdout
        )
        begun = self.document(*words, "--yes", *PACE)
        assert begun.outcome == "begun"
        return d.Begun.model_validate(begun.model_dump())

    def status(self) -> d.Status:
        found: d.Status = self.document("status")
        assert found.unread == [], found.unread
        return found

    def cutover(self) -> d.Cutover:
        cutover = self.status().cutover
        assert cutover is not None
        return cutover


@contextmanager
def deployed_seat(software: Software, folder: Path) -> Iterator[Seat]:
    """Deploy the stage; its replication rests, each environment has targets, and metrics say that all is well."""
    said: list[str] = []
    with (
        DatabaseChain.start(("legacy", "blue", "green"), software=software, folder=memory_folder()) as databases,
        LocalCloud(databases, folder / "aws", said.append, WAIT_SCALE) as cloud,
    ):
        cloud.start()
        assembly = cloud.synthesize()
        if not cloud.deploy(assembly):
            raise AssertionError("the first deployment changed nothing: " + "; ".join(said))
        stage = LocalStage(cloud, assembly)
        stage.register_targets()
        state = folder / "cloud.json"
        environment = {**cloud.environment, VARIABLE: cloud.clock.variable()}
        state.write_text(json.dumps({"environment": environment, "outputs": dict(cloud.outputs)}))
        with stage.metrics.flowing():
            yield Seat(stage, state)


def plan_file(folder: Path, *steps: dict[str, Any]) -> str:
    """A plan in a file."""
    path = folder / "plan.json"
    path.write_text(json.dumps({"steps": list(steps)}))
    return str(path)


def watched(percent: int, *, seconds: int = 60, **more: Any) -> dict[str, Any]:
    """A step that is watched for so long, and has two hours more."""
    return {"weight_percent": percent, "watch_seconds": seconds, "deadline_seconds": seconds + 7200, **more}
