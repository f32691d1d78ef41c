"""The reference of ``cdk.json``: every key of a stage, from the models that read it.

What is allowed for a key is what the models say when they are given something wrong: each field is tried with the
values of :data:`PROBES`, and its own messages are the text. So the page cannot promise what the code refuses.
"""

from __future__ import annotations

import copy
import inspect
import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.generate.synthesis import context
from stacks import context as stage_context
from stacks.config import KNOWN_ENDPOINTS, ConfigurationError, StageConfig

PROBES: Sequence[object] = (
    "?",
    "2001:db8::/32",
    "203.0.113.0/29",
    "198.18.0.0/16",
    "0.0.0.0/0",
    "x" * 300,
    -1,
    3306,
    99_999,
    8,
    ["?"],
    ["0.0.0.0/0"],
    ["us-east-1a", "us-east-1a"],
    ["kms", "kms"],
    {"?\n": "?\n"},
)
"""Values of which every check of a single field refuses some."""

REPLACEMENTS = (
    (re.compile(r" \([^)]*does not appear[^)]*\)"), ""),
    (re.compile(r"^'[^']*' is not known.*\(allowed: (.*)\)$", re.DOTALL), r"each one of \1"),
    (re.compile(r"^must name (.*) only once$"), "each one only once"),
    (re.compile(r"^is wider than (/\d+)(; | and ).*$"), r"not wider than \1"),
    (re.compile(r"^must (not )?be "), r"\1"),
)
"""From a message to what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of the configuration.

    Attributes:
        path: where it stands in a stage.
        kind: its JSON type.
        default: its default as JSON, ``required``, or ``none``.
        allowed: what is allowed for it alone.
        meaning: from the docstring of its model.
    """

    path: str
    kind: str
    default: str
    allowed: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A change of the default stage that a check over several values refuses.

    Attributes:
        rule: name of the check in ``stacks/context.py``.
        change: path and value that replace those of the default stage.
    """

    rule: str
    change: Mapping[str, Any]


_LEGACY = {
    "secret_arn": "arn:aws:secretsmanager:us-east-1:111122223333:secret:legacy/replication-AbCdEf",
    "secret_key_arn": "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "application_secret_arn": "arn:aws:secretsmanager:us-east-1:111122223333:secret:legacy/application-AbCdEf",
    "cidr": "172.16.10.0/24",
    "ca_certificate_file": "docs/examples/on-premises-ca.pem",
    "transit_gateway_id": "tgw-0123456789abcdef0",
}

REFUSALS: Sequence[Refusal] = (
    Refusal(rule="_names_leave_room", change={"project": "card-payments-platform"}),
    Refusal(rule="present", change={"tags": {"Project": "payments"}}),
    Refusal(rule="_tags_are_free", change={"tags.Environment": "production"}),
    Refusal(
        rule="_egress_leaves_the_vpc",
        change={"network.egress_destinations": [{"name": "acquirer", "cidr": "10.20.8.0/24"}]},
    ),
    Refusal(
        rule="_egress_destinations_differ",
        change={
            "network.egress_destinations": [
                {"name": "acquirer", "cidr": "192.0.2.0/24"},
                {"name": "again", "cidr": "192.0.2.0/24"},
            ]
        },
    ),
    Refusal(rule="_payments_host_is_no_environments", change={"domain.record_name": "blue"}),
    Refusal(rule="_legacy_lies_outside_the_vpc", change={"legacy_database": {**_LEGACY, "cidr": "10.20.9.0/24"}}),
    Refusal(
        rule="_legacy_authority_exists", change={"legacy_database": {**_LEGACY, "ca_certificate_file": "missing.pem"}}
    ),
    Refusal(
        rule="_workloads_reach_their_services",
        change={"network.interface_endpoints": [each for each in KNOWN_ENDPOINTS if each != "kms"]},
    ),
    Refusal(rule="_schemas_differ", change={"database": {"control_schema": "payments"}}),
    Refusal(rule="_memory_goes_with_cpu", change={"compute": {"cpu_units": 1024, "memory_mib": 1024}}),
    Refusal(rule="_tasks_carry_the_peak", change={"compute": {"peak_requests_per_second": 1000}}),
    Refusal(rule="_held_requests_are_answered", change={"front_door": {"deregistration_delay_seconds": 30}}),
    Refusal(
        rule="_vault_lock_admits_the_plan",
        change={"backup": {"vault_lock": {"min_retention_days": 14, "max_retention_days": 35}}},
    ),
    Refusal(rule="_backup_keeps_the_clusters_retention", change={"backup": {"retention_days": 14}}),
    Refusal(rule="_somebody_is_told", change={"alarms": {"emails": []}}),
)
"""One example for each check over several values."""


def every_key() -> list[Key]:
    """Every key of a stage, in the order of the models."""
    return list(_keys_of(StageConfig, ""))


def _keys_of(model: type[BaseModel], prefix: str) -> Iterator[Key]:
    meanings = attributes(model)
    for name, field in model.model_fields.items():
        if model is StageConfig and name == "name":
            continue
        path = f"{prefix}{name}"
        inner = _model_in(field.annotation)
        if inner is None:
            yield Key(
                path=path,
                kind=_kind(field.annotation),
                default=_default(field),
                allowed=_allowed(field),
                meaning=meanings[name],
            )
            continue
        listed = get_origin(field.annotation) is tuple
        if listed or (not field.is_required() and field.default is None):
            yield Key(
                path=path,
                kind="list of objects" if listed else "object",
                default=_default(field),
                allowed="the keys below",
                meaning=meanings.get(name) or summary(inner),
            )
        yield from _keys_of(inner, f"{path}[]." if listed else f"{path}.")


def summary(model: type[BaseModel]) -> str:
    """First sentence of the docstring of ``model``."""
    return (inspect.getdoc(model) or "").split("\n\n")[0].replace("\n", " ")


def attributes(model: type[BaseModel]) -> dict[str, str]:
    """Meaning of each attribute, from the section ``Attributes:`` of the docstring of ``model``."""
    _, _, section = (inspect.getdoc(model) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        start = re.match(r"    (\w+): (.*)", line)
        if start:
            name = start[1]
            found[name] = start[2]
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return {key: text.replace("``", "`") for key, text in found.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    candidates = [annotation, *get_args(annotation)]
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _plain(annotation: Any) -> Any:
    """The annotation without ``Annotated`` and without ``None``."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = [each for each in get_args(annotation) if each is not type(None)]
        return _plain(annotation)
    return annotation


def _kind(annotation: Any) -> str:
    plain = _plain(annotation)
    if get_origin(plain) is Literal:
        return _kind(type(get_args(plain)[0]))
    if get_origin(plain) is tuple:
        return f"list of {_kind(get_args(plain)[0])}s"
    if get_origin(plain) is dict:
        return "object of strings"
    return {str: "string", int: "integer", float: "number", bool: "true or false"}[plain]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    assert value is not PydanticUndefined
    if value is None:
        return "none"
    if isinstance(value, tuple) and len(value) > 3:
        return "all that are known"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


def _allowed(field: FieldInfo) -> str:
    plain = _plain(field.annotation)
    if get_origin(plain) is Literal:
        return ", ".join(f"`{value}`" if isinstance(value, str) else str(value) for value in get_args(plain))
    if plain is bool:
        return ""
    said = [*_bounds([*field.metadata, *_inner_metadata(field.annotation)])]
    for message in _messages(field):
        if not any(each.startswith(message) for each in said):
            said.append(message)
    return "; ".join(said)


def _inner_metadata(annotation: Any) -> list[object]:
    """Constraints of ``Annotated[...] | None``, which pydantic leaves inside the union."""
    found: list[object] = []
    if get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            if get_origin(each) is Annotated:
                for constraint in get_args(each)[1:]:
                    found += constraint.metadata if isinstance(constraint, FieldInfo) else [constraint]
    return found


def _bounds(metadata: Sequence[object]) -> Iterator[str]:
    low = high = ""
    for each in metadata:
        match each:
            case annotated_types.Ge(ge=value):
                low = str(value)
            case annotated_types.Gt(gt=value):
                low = f"more than {value}"
            case annotated_types.Le(le=value):
                high = str(value)
            case annotated_types.MinLen(min_length=value) if value:
                yield f"at least {value}"
            case annotated_types.MaxLen(max_length=value):
                yield f"at most {value}"
    if low and high:
        yield f"{low} to {high}"
    elif low:
        yield low if low.startswith("more") else f"at least {low}"


def _messages(field: FieldInfo) -> Iterator[str]:
    """What the validators of ``field`` say to the probes, as what is allowed."""
    annotation: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)
    for probe in PROBES:
        try:
            adapter.validate_python(copy.deepcopy(probe), strict=True)
        except ValidationError as error:
            for details in error.errors():
                if details["type"] == "value_error":
                    yield _as_allowed(details["msg"].removeprefix("Value error, "))


def _as_allowed(message: str) -> str:
    for pattern, replacement in REPLACEMENTS:
        message = pattern.sub(replacement, message)
    return message


def refused(refusal: Refusal) -> str:
    """The line with which :func:`stacks.context.load` refuses the default stage with a change."""
    given = copy.deepcopy(context())
    name = given["stage"]
    stages = given["stages"]
    assert isinstance(name, str)
    assert isinstance(stages, dict)
    for path, value in refusal.change.items():
        *folders, last = path.split(".")
        here = stages[name]
        for folder in folders:
            here = here.setdefault(folder, {})
        here[last] = value
    try:
        stage_context.load(given)
    except ConfigurationError as error:
        (line,) = error.mistakes
        return line.removeprefix(f"stages.{name}.")
    raise ValueError(f"{refusal.rule} does not refuse {refusal.change}")


INTRODUCTION = """\
# Configuration

<!-- Written by `make docs` from the models in stacks/config.py; change their docstrings and checks. -->

`cdk.json` holds the stages under `context.stages` and the name of the default one in `context.stage`.
`make synth STAGE=name`, or `cdk synth -c stage=name`, takes another. The key under `stages` is the name of the stage:
lower-case letters, digits and single hyphens.

A wrong value ends synthesis with one line for each mistake, all in one run, and exit status 1. Unknown keys are
mistakes too.
"""

OVER_SEVERAL = """
## Rules over several keys

What is refused although each value alone is allowed: a change of the default stage, and the line that it ends with.

| change | refused with |
|---|---|
"""


def document() -> str:
    """The page ``docs/configuration.md``."""
    lines = []
    section: str | None = None
    for key in every_key():
        head = key.path.split(".")[0].removesuffix("[]") if "." in key.path or key.kind.endswith("object") else ""
        if head != section:
            section = head
            lines += _heading(head)
        lines.append(_row(f"`{key.path}`", key.kind, key.default, key.allowed, key.meaning))
    rules = [
        _row("; ".join(f"`{path}` = `{_shown(value)}`" for path, value in refusal.change.items()), refused(refusal))
        for refusal in REFUSALS
    ]
    return INTRODUCTION + "\n".join([*lines, ""]) + OVER_SEVERAL + "\n".join([*rules, ""])


def _shown(value: object) -> str:
    if isinstance(value, dict) and set(_LEGACY) <= set(value):
        different = {key: item for key, item in value.items() if _LEGACY.get(key) != item}
        return f"{{..., {json.dumps(different)[1:]}"
    text = json.dumps(value)
    return text if len(text) <= 90 else f"{text[:60]} ... {text[-25:]}"


def _heading(part: str) -> list[str]:
    inner = _model_in(StageConfig.model_fields[part].annotation) if part else None
    title = f"`{part}`" if part else "The stage"
    text = summary(inner if inner else StageConfig)
    return ["", f"## {title}", "", text, "", "| key | type | default | allowed | meaning |", "|---|---|---|---|---|"]


def _row(*parts: str) -> str:
    return f"| {' | '.join(_cell(part) for part in parts)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
