"""The real CDK command line against the local AWS."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rehearsal.local_aws.processes import WATCHED

PROJECT: Final = Path(__file__).resolve().parents[2]
CDK: Final = PROJECT / "node_modules" / ".bin" / "cdk"
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_OF_AN_ASSET: Final = re.compile(r": (start|success): (Building|Built|Publishing|Published) ")
_LINES_KEPT: Final = 40


class CdkError(Exception):
    """The command line failed; the message holds what it said last."""


@dataclass(frozen=True, kw_only=True)
class Cdk:
    """Attributes:
    environment: where AWS is, and with which credentials.
    folder: its caches and output.
    tell: takes every line that it says, but those on the single assets.
    """

    environment: Mapping[str, str]
    folder: Path
    tell: Callable[[str], None]

    def bootstrap(self, account: str, region: str) -> None:
        """Make the bucket and the roles that a deployment needs.

        Raises:
            CdkError: see there.
        """
        self._run(["bootstrap", f"aws://{account}/{region}"], cwd=self.folder)

    def synthesize(self, *, project: Path, stage: str, output: Path | None = None) -> Path:
        """Write the templates and return their folder.

        Args:
            project: the folder whose cdk.json is read.
            output: where to; ``cdk.out`` in our folder when absent.

        Raises:
            CdkError: see there.
        """
        output = output or self.folder / "cdk.out"
        self._run(["synth", "--quiet", "--output", str(output), "-c", f"stage={stage}"], cwd=project)
        return output

    def deploy(self, assembly: Path, stack: str, *, arguments: Sequence[str] = ()) -> bool:
        """Deploy synthesized templates; whether anything was changed.

        Raises:
            CdkError: see there.
        """
        said = self._run(
            ["deploy", stack, "--app", str(assembly), "--require-approval=never", "--progress=events", *arguments],
            cwd=self.folder,
        )
        return not any("(no changes)" in line for line in said)

    def destroy(self, assembly: Path, stack: str) -> None:
        """Delete the stack.

        Raises:
            CdkError: see there.
        """
        self._run(["destroy", stack, "--app", str(assembly), "--force"], cwd=self.folder)

    def _run(self, arguments: Sequence[str], *, cwd: Path) -> Sequence[str]:
        if not CDK.exists():
            raise CdkError(f"{CDK} does not exist; run `make setup`")
        process = subprocess.Popen(  # noqa: S603 - the command line of this project
            # It ends with us, also when we are killed.
            [sys.executable, str(WATCHED), "--", str(CDK), *arguments, "--ci", "--no-color", "--no-notices"],
            cwd=cwd,
            env=self._environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        said: list[str] = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                clean = _COLOURS.sub("", line).rstrip()
                if clean and not _OF_AN_ASSET.search(clean):
                    said.append(clean)
                    self.tell(clean)
            status = process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
        if status:
            last = "\n".join(said[-_LINES_KEPT:])
            raise CdkError(f"cdk {arguments[0]} ended with {status}; it said last:\n{last}")
        return said

    def _environment(self) -> dict[str, str]:
        return {
            **self.environment,
            # The environment's bin comes first, so that its Node.js and Python serve the command line.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            # jsii unpacks the CDK once for all in the home folder, which takes longer than a synthesis.
            "HOME": os.environ.get("HOME", str(self.folder)),
            "CDK_HOME": str(self.folder / "cdk-home"),
            "CDK_DISABLE_VERSION_CHECK": "1",
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
        }
