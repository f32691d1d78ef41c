"""Stages synthesized once, and their templates as one resolved view.

The language bridge of the CDK is slow to start and a synthesis takes seconds, so the tests of a run share what is
synthesized here, the workers of pytest-xdist too.
"""

from __future__ import annotations

import copy
import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from policy.templates import App, Reference, Resource, Stack, Text, Unknown, Value, View, load
from stacks.config import StageConfig

PROJECT = Path(__file__).resolve().parents[2]

CONTEXT: Mapping[str, Any] = json.loads((PROJECT / "cdk.json").read_text())["context"]
"""What the CDK command line hands over."""

COMMAND_LINE: Mapping[str, Any] = {
    "aws:cdk:enable-path-metadata": True,
    "aws:cdk:enable-asset-metadata": True,
    "aws:cdk:version-reporting": False,
    # The findings are what tests look at; a synthesis that ends at the first one would fail them all.
    "@aws-cdk/core:failSynthOnValidationErrors": False,
}
"""What the command line adds: without it, templates do not say which file a nested stack comes from."""

ROOT = "Root"

STACKS = (
    "Security",
    "State",
    "Network",
    "Database",
    "Replication",
    "FrontDoor",
    "Routing",
    "Compute",
    "Observability",
    "Backup",
    "Cutover",
    "Configuration",
)
"""Nested stacks in the order in which they are declared; each may refer to those on its left only."""


@dataclass(frozen=True)
class Synthesis:
    """The cloud assembly of one stage.

    Attributes:
        config: what it was synthesized from.
        folder: where the assembly lies.
    """

    config: StageConfig
    folder: Path

    @cached_property
    def app(self) -> App:
        """All templates, resolved across nested stacks."""
        return load(self.folder)

    @cached_property
    def stacks(self) -> Mapping[str, Stack]:
        """The stacks by name: ``Root``, and the nested ones without what stands before them."""
        return {stack.name.rpartition("/")[2] if stack.parent else ROOT: stack for stack in self.app.stacks}

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """The files of the templates by name of the stack."""
        return {name: stack.file for name, stack in self.stacks.items()}

    @cached_property
    def report(self) -> Mapping[str, Any]:
        """The validation report of the CDK."""
        document: Mapping[str, Any] = json.loads((self.folder / "validation-report.json").read_text())
        return document

    def every(self, type_: str, stack: str | None = None) -> list[Resource]:
        """The resources of a type, of one stack or of all."""
        found = self.app.of_type(type_)
        return found if stack is None else [each for each in found if each.stack is self.stacks[stack]]

    def the(self, type_: str, path: str = "", stack: str | None = None) -> Resource:
        """The only resource of a type whose name (see :func:`name_of`) contains ``path``."""
        found = [each for each in self.every(type_, stack) if path in name_of(each)]
        assert len(found) == 1, f"{type_} with {path!r} in its name: {[name_of(each) for each in found]}"
        return found[0]


def name_of(resource: Resource) -> str:
    """Construct path below the root stack, without the last part when that says nothing."""
    return resource.path.partition("/")[2].removesuffix("/Resource")


def plain(value: Value | View) -> Any:
    """The value with ``<name>`` or ``<name>.Attribute`` where a resource is referred to, for comparison."""
    match value:
        case View():
            return plain(value.value) if not value.missing else None
        case Reference():
            return f"<{name_of(value.resource)}>" + (f".{value.attribute}" if value.attribute else "")
        case Text():
            return "".join(str(plain(part)) for part in value.parts)
        case Unknown():
            return f"<unknown {value.expression}>"
        case list():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case _:
            return value


def tags_of(resource: Resource) -> dict[str, str]:
    """The tags, whichever of its names and shapes CloudFormation wants for the type."""
    for key in ("Tags", "HealthCheckTags", "HostedZoneTags", "BackupPlanTags", "BackupVaultTags"):
        tags = plain(resource[key])
        if isinstance(tags, dict):
            return {str(name): str(value) for name, value in tags.items()}
        if isinstance(tags, list):
            return {str(tag["Key"]): str(tag["Value"]) for tag in tags}
    return {}


def changed(values: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of the stage in which ``changes`` (keys with ``__`` for dots) are set; ``None`` takes a key away."""
    result: dict[str, Any] = copy.deepcopy(dict(values))
    for dotted, value in changes.items():
        *path, last = dotted.split("__")
        here = result
        for part in path:
            here = here.setdefault(part, {})
        if value is None:
            here.pop(last, None)
        else:
            here[last] = value
    return result


def synthesize(stage: str, folder: Path, *, packs: bool, changes: Mapping[str, Any] | None = None) -> Synthesis:
    """Synthesize a stage of ``cdk.json``, with ``changes`` to it, into ``folder``."""
    # Not at the top: importing the CDK starts its language bridge, which takes seconds, for tests of other parts too.
    import aws_cdk as cdk

    from policy.packs import add_packs
    from stacks.root import PaymentsStack

    config, stages = _read(stage, changes)
    app = cdk.App(context={**CONTEXT, **COMMAND_LINE, "stage": stage, "stages": stages}, outdir=str(folder))
    PaymentsStack(app, config.prefix, config=config)
    if packs:
        add_packs(app)
    app.synth()
    return Synthesis(config, folder)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A folder that all workers of the run see."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _once(shared_folder: Path, stage: str, name: str, **options: Any) -> Synthesis:
    folder = shared_folder / f"synthesized-{name}"
    finished = folder / "synthesized"
    with _alone(folder):
        if not finished.exists():
            synthesis = synthesize(stage, folder, **options)
            finished.touch()
            return synthesis
    return Synthesis(_read(stage, options.get("changes"))[0], folder)


def _read(stage: str, changes: Mapping[str, Any] | None) -> tuple[StageConfig, Mapping[str, Any]]:
    from stacks import context

    stages = {**CONTEXT["stages"], stage: changed(CONTEXT["stages"][stage], **(changes or {}))}
    return context.load({"stage": stage, "stages": stages}), stages


@pytest.fixture(scope="session")
def prod(shared_folder: Path) -> Synthesis:
    """The default stage."""
    return _once(shared_folder, "prod", "prod", packs=True)


@pytest.fixture(scope="session")
def staging(shared_folder: Path) -> Synthesis:
    """The stage with a legacy database in the chain."""
    return _once(shared_folder, "staging", "staging", packs=True)


@pytest.fixture(scope="session", params=["prod", "staging"])
def either(request: pytest.FixtureRequest) -> Synthesis:
    """Both stages, one after the other."""
    synthesis: Synthesis = request.getfixturevalue(request.param)
    return synthesis


Variation = Callable[..., Synthesis]


@pytest.fixture(scope="session")
def variation(shared_folder: Path) -> Variation:
    """Synthesizes the default stage with changes, once for each name, without the packs."""

    def make(name: str, **changes: Any) -> Synthesis:
        return _once(shared_folder, "prod", name, packs=False, changes=changes)

    return make
