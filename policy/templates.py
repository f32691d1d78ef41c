"""All CloudFormation templates of an app as one typed, resolved view.

A folder may be a CDK cloud assembly (then its manifest says which templates are roots) or any folder of JSON
templates. Nested stacks are followed, and `Ref`, `Fn::GetAtt`, `Fn::Sub`, `Fn::Join` and their like are
resolved across the parameters and outputs between them, so that a rule sees which resource is meant wherever
it is defined. What only a deployment can know stays an `Unknown`, which no rule mistakes for a value.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

NESTED_STACK: Final = "AWS::CloudFormation::Stack"
_SUBSTITUTION: Final = re.compile(r"\$\{([^!${}][^${}]*)\}")
_UNESCAPED: Final = re.compile(r"\$\{!([^}]*)\}")


class TemplateError(ValueError):
    """The templates cannot be read; the message is one line for the person who asked."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What `Ref` (no attribute) or `Fn::GetAtt` of a resource gives; its value exists after deployment."""

    resource: "Resource"
    attribute: str | None = None

    def __str__(self) -> str:
        suffix = f".{self.attribute}" if self.attribute else ""
        return f"${{{self.resource.logical_id}{suffix}}}"


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that the templates leave open, with the resources that it is made of, as far as they show."""

    expression: str
    references: tuple[Reference, ...] = ()

    def __str__(self) -> str:
        return f"${{{self.expression}}}"


@dataclass(frozen=True, slots=True)
class Text:
    """A string with parts that only a deployment knows."""

    parts: tuple[str | Reference | Unknown, ...]

    def __str__(self) -> str:
        return "".join(str(part) for part in self.parts)


class _Missing:
    def __repr__(self) -> str:
        return "not set"


class _NoValue:
    pass


MISSING: Final = _Missing()
_NO_VALUE: Final = _NoValue()

Value: TypeAlias = (
    "bool | int | float | str | Reference | Text | Unknown | _Missing | list[Value] | dict[str, Value] | None"
)


def references_in(value: Value) -> Iterator[Reference]:
    """Every reference to a resource anywhere inside `value`."""
    match value:
        case Reference():
            yield value
        case Text():
            for part in value.parts:
                if isinstance(part, Reference):
                    yield part
                elif isinstance(part, Unknown):
                    yield from part.references
        case Unknown():
            yield from value.references
        case list():
            for item in value:
                yield from references_in(item)
        case dict():
            for item in value.values():
                yield from references_in(item)


class View:
    """A place in the properties of a resource: its path, and the value there or that there is none."""

    __slots__ = ("path", "resource", "value")

    def __init__(self, resource: "Resource", path: str, value: Value) -> None:
        self.resource = resource
        self.path = path
        self.value = value

    def __getitem__(self, key: str | int) -> "View":
        """The place under a key, an index, or a path such as "Rules.0.Status"; a key with dots goes first."""
        if isinstance(self.value, Unknown):
            return View(self.resource, self._below(key), self.value)
        if isinstance(key, int):
            known = isinstance(self.value, list) and key < len(self.value)
            return View(self.resource, self._below(key), self.value[key] if known else MISSING)  # type: ignore[index]
        if isinstance(self.value, dict) and key in self.value:
            return View(self.resource, self._below(key), self.value[key])
        first, dot, rest = key.partition(".")
        if dot:
            return self[int(first) if first.isdigit() else first][int(rest) if rest.isdigit() else rest]
        return View(self.resource, self._below(key), MISSING)

    def _below(self, key: str | int) -> str:
        return f"{self.path}.{key}" if self.path else str(key)

    @property
    def missing(self) -> bool:
        return self.value is MISSING or self.value is None

    @property
    def unknown(self) -> bool:
        return isinstance(self.value, Unknown)

    def items(self) -> list["View"]:
        """The elements of a list; a single value stands for a list of one, as in IAM policies."""
        if self.missing:
            return []
        if isinstance(self.value, list):
            return [View(self.resource, f"{self.path}.{i}", item) for i, item in enumerate(self.value)]
        return [self]

    def entries(self) -> list[tuple[str, "View"]]:
        """The keys of a map, with the place under each."""
        if isinstance(self.value, dict):
            return [(key, self[key]) for key in self.value]
        return []

    @property
    def flag(self) -> bool | None:
        """True or False (also written as a string); None when missing or unknown."""
        if isinstance(self.value, bool):
            return self.value
        if isinstance(self.value, str) and self.value.lower() in ("true", "false"):
            return self.value.lower() == "true"
        return None

    @property
    def number(self) -> float | None:
        """The number (also written as a string); None when missing, unknown or not a number."""
        if isinstance(self.value, bool):
            return None
        if isinstance(self.value, (int, float)):
            return float(self.value)
        if isinstance(self.value, str):
            try:
                return float(self.value)
            except ValueError:
                return None
        return None

    @property
    def text(self) -> str:
        """The value as a person would read it; "" when missing."""
        return "" if self.missing else render(self.value)

    def references(self) -> list[Reference]:
        return list(references_in(self.value))

    def document(self) -> "View":
        """The JSON document that a string holds, e.g. the settings of a DMS task."""
        if isinstance(self.value, str):
            try:
                return View(self.resource, self.path, json.loads(self.value))
            except json.JSONDecodeError:
                return View(self.resource, self.path, Unknown("text that is not JSON"))
        if isinstance(self.value, Text):
            try:
                return View(self.resource, self.path, json.loads(str(self.value)))
            except json.JSONDecodeError:
                return View(self.resource, self.path, Unknown(str(self.value)))
        return self


def render(value: Value) -> str:
    """`value` in one line, with `${LogicalId.Attribute}` for what only a deployment knows."""
    if isinstance(value, str):
        return value
    if isinstance(value, (Reference, Text, Unknown)):
        return str(value)
    if value is MISSING:
        return "not set"
    return json.dumps(value, default=str)


@dataclass(eq=False, slots=True)
class Resource:
    """One resource of one template."""

    stack: "Stack"
    logical_id: str
    type: str
    definition: Mapping[str, Any]
    _properties: View | None = field(default=None, repr=False)

    @property
    def properties(self) -> View:
        if self._properties is None:
            resolved = self.stack.app.resolve(self.definition.get("Properties", {}), self.stack)
            self._properties = View(self, "", resolved if isinstance(resolved, dict) else {})
        return self._properties

    def __getitem__(self, dotted: str) -> View:
        return self.properties[dotted]

    @property
    def metadata(self) -> Mapping[str, Any]:
        metadata = self.definition.get("Metadata", {})
        return metadata if isinstance(metadata, dict) else {}

    @property
    def deletion_policy(self) -> str:
        return str(self.definition.get("DeletionPolicy", "Delete"))

    @property
    def cdk_path(self) -> str | None:
        path = self.metadata.get("aws:cdk:path")
        return path if isinstance(path, str) else None

    @property
    def path(self) -> str:
        """Where the resource is, for a person: the construct path, or the stack and the logical id."""
        return self.cdk_path or f"{self.stack.name}/{self.logical_id}"


@dataclass(eq=False, slots=True)
class Stack:
    """One template, as root or nested in the stack of `parent`."""

    app: "App"
    name: str
    file: Path
    template: Mapping[str, Any]
    account: str | None = None
    region: str | None = None
    parent: Resource | None = None
    resources: dict[str, Resource] = field(default_factory=dict)
    children: dict[str, "Stack"] = field(default_factory=dict)

    @property
    def root(self) -> "Stack":
        return self if self.parent is None else self.parent.stack.root

    def section(self, name: str) -> Mapping[str, Any]:
        section = self.template.get(name, {})
        return section if isinstance(section, dict) else {}


class App:
    """All stacks and resources, with the relations between them."""

    def __init__(self) -> None:
        self.stacks: list[Stack] = []
        self.resources: list[Resource] = []
        self._by_type: dict[str, list[Resource]] = {}
        self._parameters: dict[tuple[int, str], Value] = {}
        self._open: set[tuple[str, int, str]] = set()
        self._referrers: dict[int, list[Resource]] | None = None
        self._exports: dict[str, tuple[Stack, Any]] | None = None
        self._names: dict[tuple[str, str], Resource] | None = None

    def add_stack(
        self,
        name: str,
        file: Path,
        template: Mapping[str, Any],
        *,
        parent: Resource | None = None,
        account: str | None = None,
        region: str | None = None,
    ) -> Stack:
        stack = Stack(self, name, file, template, account, region, parent)
        self.stacks.append(stack)
        for logical_id, definition in stack.section("Resources").items():
            if not isinstance(definition, dict) or not isinstance(definition.get("Type"), str):
                raise TemplateError(f"{file}: resource {logical_id!r} has no Type")
            resource = Resource(stack, logical_id, definition["Type"], definition)
            stack.resources[logical_id] = resource
        return stack

    def complete(self) -> "App":
        """Leave out what a condition excludes, and index the rest; to call once every stack is there."""
        for stack in self.stacks:
            for resource in list(stack.resources.values()):
                condition = resource.definition.get("Condition")
                if isinstance(condition, str) and self._condition(condition, stack) is False:
                    del stack.resources[resource.logical_id]
        self.resources = [resource for stack in self.stacks for resource in stack.resources.values()]
        self._by_type.clear()
        for resource in self.resources:
            self._by_type.setdefault(resource.type, []).append(resource)
        return self

    def with_templates(self, changed: Mapping[Path, Mapping[str, Any]]) -> "App":
        """The same app with other templates in some of its files."""
        known = {stack.file.name: (stack.file, changed.get(stack.file, stack.template)) for stack in self.stacks}
        app = App()
        for root in self.stacks:
            if root.parent is None:
                template = changed.get(root.file, root.template)
                stack = app.add_stack(root.name, root.file, template, account=root.account, region=root.region)
                _load_nested(app, stack, known)
        return app.complete()

    def of_type(self, *types: str) -> list[Resource]:
        return [resource for type_ in types for resource in self._by_type.get(type_, ())]

    def referrers(self, resource: Resource, *types: str) -> list[Resource]:
        """The resources, of `types` or any, whose properties refer to `resource`."""
        if self._referrers is None:
            self._referrers = {}
            for candidate in self.resources:
                if candidate.type == NESTED_STACK:
                    continue
                targets = {id(ref.resource) for ref in references_in(candidate.properties.value)}
                for target in targets:
                    self._referrers.setdefault(target, []).append(candidate)
        found = self._referrers.get(id(resource), [])
        return [candidate for candidate in found if not types or candidate.type in types]

    def target(self, view: View, *types: str) -> Resource | None:
        """The resource that a value names: by reference, or by the name that a resource gives itself.

        Of a text with several references, the one of the wanted type counts.
        """
        wanted = [ref.resource for ref in references_in(view.value) if not types or ref.resource.type in types]
        if wanted:
            return wanted[0]
        if isinstance(view.value, str):
            return self._named(view.value, types)
        return None

    def _named(self, name: str, types: tuple[str, ...]) -> Resource | None:
        if self._names is None:
            self._names = {}
            for type_, key in _NAME_PROPERTIES.items():
                for resource in self.of_type(type_):
                    given = resource[key]
                    if isinstance(given.value, str):
                        self._names[(type_, given.value)] = resource
        candidates = types or tuple(_NAME_PROPERTIES)
        for type_ in candidates:
            for text in (name, name.rsplit(":", 1)[-1], name.rsplit("/", 1)[-1]):
                if (type_, text) in self._names:
                    return self._names[(type_, text)]
        return None

    def resolve(self, value: Any, stack: Stack) -> Value:
        """`value` of a template of `stack` with its intrinsic functions resolved."""
        if isinstance(value, dict):
            if len(value) == 1:
                (key, argument), *_ = value.items()
                if key == "Ref" and isinstance(argument, str):
                    return self._ref(argument, stack)
                if key == "Condition" and isinstance(argument, str):
                    return value  # an IAM condition or a name; nothing to resolve
                if key.startswith("Fn::"):
                    return self._function(key, argument, stack)
            resolved = {key: self._resolved(item, stack) for key, item in value.items()}
            return {key: item for key, item in resolved.items() if not isinstance(item, _NoValue)}
        if isinstance(value, list):
            items = [self._resolved(item, stack) for item in value]
            return [item for item in items if not isinstance(item, _NoValue)]
        return value  # type: ignore[no-any-return]

    def _resolved(self, value: Any, stack: Stack) -> "Value | _NoValue":
        if value == {"Ref": "AWS::NoValue"}:
            return _NO_VALUE
        resolved = self.resolve(value, stack)
        if isinstance(resolved, Unknown) and resolved.expression == "AWS::NoValue":
            return _NO_VALUE
        return resolved

    def _ref(self, name: str, stack: Stack) -> Value:
        if name.startswith("AWS::"):
            return self._pseudo_parameter(name, stack)
        if name in stack.resources:
            return Reference(stack.resources[name])
        if name in stack.section("Parameters"):
            return self._parameter(name, stack)
        return Unknown(name)

    def _pseudo_parameter(self, name: str, stack: Stack) -> Value:
        root = stack.root
        if name == "AWS::Region" and root.region:
            return root.region
        if name == "AWS::AccountId" and root.account:
            return root.account
        if name == "AWS::Partition" and root.region and not root.region.startswith(("cn-", "us-gov-", "us-iso")):
            return "aws"
        if name == "AWS::URLSuffix" and root.region and not root.region.startswith(("cn-", "us-iso")):
            return "amazonaws.com"
        return Unknown(name)

    def _parameter(self, name: str, stack: Stack) -> Value:
        key = (id(stack), name)
        if key in self._parameters:
            return self._parameters[key]
        guard = ("parameter", *key)
        if guard in self._open:
            return Unknown(f"{name}: circular")
        self._open.add(guard)
        try:
            value = self._parameter_value(name, stack)
        finally:
            self._open.discard(guard)
        self._parameters[key] = value
        return value

    def _parameter_value(self, name: str, stack: Stack) -> Value:
        definition = stack.section("Parameters")[name]
        if stack.parent is not None:
            given = stack.parent.definition.get("Properties", {}).get("Parameters", {})
            if name in given:
                return self.resolve(given[name], stack.parent.stack)
        kind = str(definition.get("Type", "String"))
        secret = str(definition.get("NoEcho", "")).lower() == "true"
        if "Default" not in definition or secret or kind.startswith("AWS::SSM::"):
            return Unknown(name)
        default = definition["Default"]
        if kind == "CommaDelimitedList" or kind.startswith("List<"):
            return [part.strip() for part in str(default).split(",")]
        return default  # type: ignore[no-any-return]

    def _function(self, name: str, argument: Any, stack: Stack) -> Value:
        handler = getattr(self, "_fn_" + name.removeprefix("Fn::").lower(), None)
        if handler is None:
            inner = self.resolve(argument, stack)
            return Unknown(name, tuple(references_in(inner)))
        return handler(argument, stack)  # type: ignore[no-any-return]

    def _fn_getatt(self, argument: Any, stack: Stack) -> Value:
        if isinstance(argument, str):
            logical_id, _, attribute = argument.partition(".")
        elif isinstance(argument, list) and len(argument) == 2 and all(isinstance(a, str) for a in argument):
            logical_id, attribute = argument
        else:
            return Unknown("Fn::GetAtt")
        child = stack.children.get(logical_id)
        if child is not None and attribute.startswith("Outputs."):
            return self._output(attribute.removeprefix("Outputs."), child)
        if logical_id in stack.resources:
            return Reference(stack.resources[logical_id], attribute)
        return Unknown(f"{logical_id}.{attribute}")

    def _output(self, name: str, stack: Stack) -> Value:
        output = stack.section("Outputs").get(name)
        guard = ("output", id(stack), name)
        if not isinstance(output, dict) or guard in self._open:
            return Unknown(f"{stack.name}.Outputs.{name}")
        self._open.add(guard)
        try:
            return self.resolve(output.get("Value"), stack)
        finally:
            self._open.discard(guard)

    def _fn_join(self, argument: Any, stack: Stack) -> Value:
        if not (isinstance(argument, list) and len(argument) == 2 and isinstance(argument[0], str)):
            return Unknown("Fn::Join")
        items = self.resolve(argument[1], stack)
        if not isinstance(items, list):
            return Unknown("Fn::Join", tuple(references_in(items)))
        parts: list[Value] = []
        for index, item in enumerate(items):
            if index:
                parts.append(argument[0])
            parts.append(item)
        return _joined(parts)

    def _fn_sub(self, argument: Any, stack: Stack) -> Value:
        names: Mapping[str, Any] = {}
        if isinstance(argument, list) and len(argument) == 2:
            argument, names = argument
        if not isinstance(argument, str):
            return Unknown("Fn::Sub")
        parts: list[Value] = []
        position = 0
        for match in _SUBSTITUTION.finditer(argument):
            parts.append(_UNESCAPED.sub(r"${\1}", argument[position : match.start()]))
            name = match[1].strip()
            if name in names:
                parts.append(self.resolve(names[name], stack))
            elif "." in name:
                parts.append(self._fn_getatt(name, stack))
            else:
                parts.append(self._ref(name, stack))
            position = match.end()
        parts.append(_UNESCAPED.sub(r"${\1}", argument[position:]))
        return _joined(parts)

    def _fn_select(self, argument: Any, stack: Stack) -> Value:
        if not (isinstance(argument, list) and len(argument) == 2):
            return Unknown("Fn::Select")
        items = self.resolve(argument[1], stack)
        index = self.resolve(argument[0], stack)
        if isinstance(items, list) and isinstance(index, (int, str)) and str(index).isdigit():
            position = int(index)
            if position < len(items):
                return items[position]
        return Unknown("Fn::Select", tuple(references_in(items)))

    def _fn_split(self, argument: Any, stack: Stack) -> Value:
        if isinstance(argument, list) and len(argument) == 2 and isinstance(argument[0], str):
            text = self.resolve(argument[1], stack)
            if isinstance(text, str):
                return list(text.split(argument[0]))
            return Unknown("Fn::Split", tuple(references_in(text)))
        return Unknown("Fn::Split")

    def _fn_findinmap(self, argument: Any, stack: Stack) -> Value:
        if isinstance(argument, list) and len(argument) >= 3:
            keys = [self.resolve(item, stack) for item in argument[:3]]
            found: Any = stack.section("Mappings")
            for key in keys:
                if not isinstance(key, str) or not isinstance(found, dict) or key not in found:
                    return Unknown("Fn::FindInMap")
                found = found[key]
            return self.resolve(found, stack)
        return Unknown("Fn::FindInMap")

    def _fn_if(self, argument: Any, stack: Stack) -> Value:
        if not (isinstance(argument, list) and len(argument) == 3 and isinstance(argument[0], str)):
            return Unknown("Fn::If")
        decided = self._condition(argument[0], stack)
        if decided is None:
            chosen = [self.resolve(item, stack) for item in argument[1:]]
            return Unknown(f"Fn::If {argument[0]}", tuple(references_in(chosen)))
        branch = argument[1] if decided else argument[2]
        if branch == {"Ref": "AWS::NoValue"}:
            return Unknown("AWS::NoValue")
        return self.resolve(branch, stack)

    def _fn_base64(self, argument: Any, stack: Stack) -> Value:
        return self.resolve(argument, stack)

    def _fn_importvalue(self, argument: Any, stack: Stack) -> Value:
        if self._exports is None:
            self._exports = {}
            for candidate in self.stacks:
                for output in candidate.section("Outputs").values():
                    if isinstance(output, dict) and "Export" in output:
                        name = self.resolve(output["Export"].get("Name"), candidate)
                        self._exports[render(name)] = (candidate, output.get("Value"))
        wanted = render(self.resolve(argument, stack))
        if wanted in self._exports:
            exporter, value = self._exports[wanted]
            guard = ("export", id(exporter), wanted)
            if guard not in self._open:
                self._open.add(guard)
                try:
                    return self.resolve(value, exporter)
                finally:
                    self._open.discard(guard)
        return Unknown(f"Fn::ImportValue {wanted}")

    def _condition(self, name: str, stack: Stack) -> bool | None:
        """The condition's value, or None when only a deployment can tell."""
        guard = ("condition", id(stack), name)
        if guard in self._open:
            return None
        self._open.add(guard)
        try:
            return self._decide(stack.section("Conditions").get(name), stack)
        finally:
            self._open.discard(guard)

    def _decide(self, expression: Any, stack: Stack) -> bool | None:
        if not isinstance(expression, dict) or len(expression) != 1:
            return None
        ((name, argument),) = expression.items()
        match name:
            case "Condition" if isinstance(argument, str):
                return self._condition(argument, stack)
            case "Fn::Equals" if isinstance(argument, list) and len(argument) == 2:
                left, right = (self.resolve(item, stack) for item in argument)
                if isinstance(left, (str, int, bool)) and isinstance(right, (str, int, bool)):
                    return str(left) == str(right)
                return None
            case "Fn::Not" if isinstance(argument, list) and len(argument) == 1:
                inner = self._decide(argument[0], stack)
                return None if inner is None else not inner
            case "Fn::And" | "Fn::Or" if isinstance(argument, list):
                decided = [self._decide(item, stack) for item in argument]
                settles: bool = name == "Fn::Or"
                if settles in decided:
                    return settles
                return None if None in decided else not settles
        return None


_NAME_PROPERTIES: Final = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::KMS::Alias": "AliasName",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::IAM::Role": "RoleName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::RDS::DBCluster": "DBClusterIdentifier",
    "AWS::RDS::DBInstance": "DBInstanceIdentifier",
    "AWS::RDS::DBClusterParameterGroup": "DBClusterParameterGroupName",
    "AWS::RDS::DBSubnetGroup": "DBSubnetGroupName",
    "AWS::DMS::ReplicationSubnetGroup": "ReplicationSubnetGroupIdentifier",
    "AWS::ECS::Cluster": "ClusterName",
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::CompositeAlarm": "AlarmName",
    "AWS::Backup::BackupVault": "BackupVaultName",
    "AWS::WAFv2::WebACL": "Name",
}


def _joined(parts: Iterable[Value]) -> Value:
    merged: list[str | Reference | Unknown] = []

    def add(part: str | Reference | Unknown) -> None:
        if isinstance(part, str):
            if not part:
                return
            if merged and isinstance(merged[-1], str):
                merged[-1] += part
                return
        merged.append(part)

    for part in parts:
        match part:
            case Text():
                for inner in part.parts:
                    add(inner)
            case str() | Reference() | Unknown():
                add(part)
            case bool() | int() | float():
                add(str(part))
            case _:
                add(Unknown("value in a string", tuple(references_in(part))))
    if not merged:
        return ""
    if len(merged) == 1 and isinstance(merged[0], str):
        return merged[0]
    if len(merged) == 1 and isinstance(merged[0], Reference):
        return merged[0]
    return Text(tuple(merged))


def load(path: Path) -> App:
    """The app whose templates lie at `path`: a folder, with or without a CDK manifest, or one template.

    Raises:
        TemplateError: nothing is there, there is no template, or one cannot be read.
    """
    if not path.exists():
        raise TemplateError(f"{path}: no such file or folder")
    app = App()
    if path.is_file():
        _load_plain(app, [path])
    elif (path / "manifest.json").is_file():
        _load_assembly(app, path)
    else:
        _load_plain(app, sorted(path.rglob("*.json")))
    if not app.stacks:
        raise TemplateError(f"{path}: no CloudFormation template in JSON here; name a cdk.out or a folder with some")
    return app.complete()


def load_files(files: Iterable[tuple[Path, str, str | None, str | None]]) -> App:
    """The app of root templates given as (file, name, account, region), as the CDK hands them to a plugin."""
    app = App()
    for file, name, account, region in files:
        stack = app.add_stack(name, file, _read(file), account=account, region=region)
        _load_nested(app, stack, {})
    return app.complete()


def from_templates(templates: Mapping[str, Mapping[str, Any]]) -> App:
    """The app of templates held in memory, by file name; a nested stack names its template's file."""
    app = App()
    by_file = {Path(name): template for name, template in templates.items()}
    _add_all(app, by_file)
    return app.complete()


def _load_assembly(app: App, folder: Path) -> None:
    manifest = _read(folder / "manifest.json")
    artifacts = manifest.get("artifacts", {})
    if not isinstance(artifacts, dict):
        raise TemplateError(f"{folder / 'manifest.json'}: not a CDK manifest, it has no artifacts")
    for name, artifact in artifacts.items():
        properties = artifact.get("properties", {})
        if artifact.get("type") == "aws:cloudformation:stack":
            file = folder / str(properties.get("templateFile", f"{name}.template.json"))
            account, region = _environment(str(artifact.get("environment", "")))
            stack = app.add_stack(
                str(artifact.get("displayName", name)), file, _read(file), account=account, region=region
            )
            _load_nested(app, stack, {})
        elif artifact.get("type") == "cdk:cloud-assembly":
            _load_assembly(app, folder / str(properties.get("directoryName", name)))


def _environment(environment: str) -> tuple[str | None, str | None]:
    account, _, region = environment.removeprefix("aws://").partition("/")
    return (
        None if account in ("", "unknown-account") else account,
        None if region in ("", "unknown-region") else region,
    )


def _load_plain(app: App, files: list[Path]) -> None:
    by_file: dict[Path, Mapping[str, Any]] = {}
    for file in files:
        document = _read(file, any_json=True)
        if _is_template(document):
            by_file[file] = document
    _add_all(app, by_file)


def _is_template(document: Any) -> bool:
    resources = document.get("Resources") if isinstance(document, dict) else None
    return (
        isinstance(resources, dict)
        and bool(resources)
        and any(isinstance(r, dict) and isinstance(r.get("Type"), str) for r in resources.values())
    )


def _add_all(app: App, by_file: Mapping[Path, Mapping[str, Any]]) -> None:
    by_name = {file.name: file for file in by_file}
    nested = {
        name
        for template in by_file.values()
        for definition in template.get("Resources", {}).values()
        if isinstance(definition, dict) and definition.get("Type") == NESTED_STACK
        for name in _nested_file_names(definition)
        if name in by_name
    }
    for file, template in by_file.items():
        if file.name not in nested:
            stack = app.add_stack(_stem(file), file, template)
            _load_nested(app, stack, {name: (path, by_file[path]) for name, path in by_name.items()})


def _nested_file_names(definition: Mapping[str, Any]) -> list[str]:
    names = []
    asset = (definition.get("Metadata") or {}).get("aws:asset:path")
    url = (definition.get("Properties") or {}).get("TemplateURL")
    for location in (asset, url):
        if isinstance(location, str):
            names.append(location.split("?")[0].rsplit("/", 1)[-1])
    return names


def _load_nested(app: App, stack: Stack, known: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> None:
    for resource in list(stack.resources.values()):
        if resource.type != NESTED_STACK:
            continue
        for name in _nested_file_names(resource.definition):
            if name in known:
                file, template = known[name]
            elif (stack.file.parent / name).is_file():
                file = stack.file.parent / name
                template = _read(file)
            else:
                continue
            if file in _ancestors(stack):
                raise TemplateError(f"{file}: nested in itself through {resource.path}")
            child_name = f"{stack.name}/{_short(resource)}"
            child = app.add_stack(child_name, file, template, parent=resource)
            stack.children[resource.logical_id] = child
            _load_nested(app, child, known)
            break


def _ancestors(stack: Stack) -> list[Path]:
    files = [stack.file]
    while stack.parent is not None:
        stack = stack.parent.stack
        files.append(stack.file)
    return files


def _short(resource: Resource) -> str:
    # The CDK puts the resource of nested stack X at .../X.NestedStack/X.NestedStackResource.
    path = resource.cdk_path
    return path.rsplit("/", 1)[-1].removesuffix(".NestedStackResource") if path else resource.logical_id


def _stem(file: Path) -> str:
    return file.name.removesuffix(".json").removesuffix(".template").removesuffix(".nested")


def _read(file: Path, *, any_json: bool = False) -> Mapping[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TemplateError(f"{file}: not JSON: {error}") from None
    except OSError as error:
        raise TemplateError(f"{file}: {error.strerror or error}") from None
    if not isinstance(document, dict):
        if any_json:
            return {}
        raise TemplateError(f"{file}: not a template, its JSON is no object")
    return document
