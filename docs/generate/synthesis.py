"""The templates of the default stage, as the documentation reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import aws_cdk as cdk

from policy.templates import NESTED_STACK, App, Resource, Stack, load
from stacks.context import load as load_stage
from stacks.root import PaymentsStack

PROJECT = Path(__file__).resolve().parents[2]


def context() -> dict[str, object]:
    """The context of ``cdk.json``, which the CDK command line would pass on."""
    parsed: dict[str, object] = json.loads((PROJECT / "cdk.json").read_text())["context"]
    return parsed


def synthesize(folder: Path) -> App:
    """Synthesize the default stage into ``folder``, without the policy packs, and read the templates."""
    given = context()
    config = load_stage(given)
    # The command line asks for both, and the view of the templates finds the nested ones by them.
    paths = {"aws:cdk:enable-path-metadata": True, "aws:cdk:enable-asset-metadata": True}
    app = cdk.App(context={**given, **paths}, outdir=str(folder))
    PaymentsStack(app, config.prefix, config=config)
    app.synth()
    return load(folder)


def root_of(app: App) -> Stack:
    """The root stack."""
    return next(stack for stack in app.stacks if stack.parent is None)


def nested_stacks(app: App) -> dict[str, Stack]:
    """Nested stacks by construct id, in the order in which the root stack makes them."""
    return {construct_id(stack.parent): stack for stack in app.stacks if stack.parent is not None}


def construct_id(resource: Resource) -> str:
    """Construct id of the nested stack whose resource in the root stack is ``resource``."""
    # .../<id>.NestedStack/<id>.NestedStackResource
    assert resource.type == NESTED_STACK, resource.type
    assert resource.cdk_path is not None
    return resource.cdk_path.rsplit("/", 1)[-1].removesuffix(".NestedStackResource")


def file_stem(construct_id: str) -> str:
    """Name of the file in ``stacks/`` that makes the nested stack ``construct_id``, without its suffix."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in construct_id).lstrip("_")


def references(app: App) -> dict[tuple[str, str], int]:
    """How many outputs of one nested stack are parameters of another, by (user, used)."""
    root = root_of(app)
    names = {stack.parent.logical_id: name for name, stack in nested_stacks(app).items() if stack.parent}
    found: dict[tuple[str, str], set[str]] = {}
    for logical_id, user in names.items():
        parameters = root.resources[logical_id].definition.get("Properties", {}).get("Parameters", {})
        for used, attribute in _attributes(parameters):
            if used in names:
                found.setdefault((user, names[used]), set()).add(attribute)
    return {edge: len(outputs) for edge, outputs in found.items()}


def environment_of(resource: Resource) -> str:
    """Value of the tag ``Environment``: blue, green, or shared (also when the resource bears no tags)."""
    tags = resource.definition.get("Properties", {}).get("Tags", [])
    if isinstance(tags, dict):
        return str(tags.get("Environment", "shared"))
    return next((str(tag["Value"]) for tag in tags if tag.get("Key") == "Environment"), "shared")


def _attributes(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        attribute = value.get("Fn::GetAtt")
        if isinstance(attribute, list):
            yield str(attribute[0]), str(attribute[1])
        for item in value.values():
            yield from _attributes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _attributes(item)
