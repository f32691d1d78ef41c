"""What the synthesized templates say about the runtime: the state machine's definition and the functions."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PROJECT = Path(__file__).resolve().parents[2]
STAGE: Final = "staging"
"""A stage whose chain has a legacy database."""

_SOURCES = ("app.py", "cdk.json", "constructs", "stacks", "policy")


class DeploymentError(Exception):
    """The templates could not be made, or lack something; the message says what."""


@dataclass(frozen=True, kw_only=True)
class FunctionTemplate:
    """Attributes: package: below lambda/; variables: names of its environment; timeout_seconds: Lambda's."""

    package: str
    variables: tuple[str, ...]
    timeout_seconds: float


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """Attributes:
    definition: of the state machine; a Task's resource is the package of the function that it calls.
    functions: by package.
    """

    definition: Mapping[str, Any]
    functions: Mapping[str, FunctionTemplate]


def deployed(assembly: Path | None = None) -> Deployed:
    """Read the templates of an assembly; without one, of one that is synthesized when the sources have changed.

    Raises:
        DeploymentError: see there.
    """
    folder = assembly or _synthesized()
    for path in sorted(folder.glob("*.template.json")):
        template = json.loads(path.read_text("utf-8"))
        machines = _of_type(template, "AWS::StepFunctions::StateMachine")
        if machines:
            return _read(template, next(iter(machines.values())))
    raise DeploymentError(f"no template in {folder} has a state machine")


def _of_type(template: Mapping[str, Any], kind: str) -> dict[str, Any]:
    resources: Mapping[str, Any] = template.get("Resources", {})
    return {name: each["Properties"] for name, each in resources.items() if each["Type"] == kind}


def _read(template: Mapping[str, Any], machine: Mapping[str, Any]) -> Deployed:
    packages, functions = {}, {}
    for logical_id, properties in _of_type(template, "AWS::Lambda::Function").items():
        package = str(properties["Handler"]).partition(".")[0]
        packages[logical_id] = package
        functions[package] = FunctionTemplate(
            package=package,
            variables=tuple(sorted(properties.get("Environment", {}).get("Variables", {}))),
            timeout_seconds=float(properties.get("Timeout", 3)),
        )
    parts = machine["DefinitionString"]["Fn::Join"][1]
    text = "".join(part if isinstance(part, str) else packages[part["Fn::GetAtt"][0]] for part in parts)
    return Deployed(definition=json.loads(text), functions=functions)


def _synthesized() -> Path:
    """The assembly of ``STAGE`` of the sources as they are now."""
    folder = PROJECT / "build" / "rehearsal"
    fingerprint = folder / "fingerprint"
    assembly = folder / "assembly"
    wanted = _fingerprint()
    if fingerprint.is_file() and fingerprint.read_text() == wanted:
        return assembly
    shutil.rmtree(folder, ignore_errors=True)
    assembly.mkdir(parents=True)
    context = json.loads((PROJECT / "cdk.json").read_text("utf-8"))["context"]
    context |= {"stage": STAGE, "@aws-cdk/core:failSynthOnValidationErrors": False, "aws:cdk:version-reporting": False}
    finished = subprocess.run(
        [sys.executable, "app.py"],
        cwd=PROJECT,
        env={
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "CDK_OUTDIR": str(assembly),
            "CDK_CONTEXT_JSON": json.dumps(context),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if not any(assembly.glob("*.template.json")):
        raise DeploymentError(f"the templates could not be synthesized: {finished.stderr.strip()[-1000:]}")
    fingerprint.write_text(wanted)
    return assembly


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for source in _SOURCES:
        path = PROJECT / source
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        for file in files:
            digest.update(f"{file.relative_to(PROJECT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()
