"""A stage read from the CDK context: looked at wholly, so that one run shows every mistake.

``cdk.json`` holds the stages under ``stages`` and the name of the default one under ``stage``;
``-c stage=NAME`` chooses another. Nothing below :func:`load` reads the context.
"""

from __future__ import annotations

import copy
import difflib
import ipaddress
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from blue_green.interface_endpoints import MissingEndpointError, require_endpoints
from blue_green.staged_folder import PROJECT
from stacks.config import (
    DMS_IDENTIFIER_LENGTH,
    FARGATE_MEMORY_MIB,
    MANAGED_TAGS,
    REQUIRED_TAGS,
    Color,
    ConfigurationError,
    StageConfig,
    shown,
    unknown_value,
)

Check = Callable[[StageConfig], Iterable[str]]
_checks: list[tuple[tuple[str, ...], Check]] = []

MAX_TAGS = 50
"""Tags that AWS allows on a resource."""


def _check(*reads: str) -> Callable[[Check], Check]:
    """Register a check over several values; it is left out when one of those that it ``reads`` is wrong itself."""

    def register(check: Check) -> Check:
        _checks.append((reads, check))
        return check

    return register


@_check("project", "name")
def _names_leave_room(stage: StageConfig) -> Iterator[str]:
    room = DMS_IDENTIFIER_LENGTH - len("-legacy-to-blue")
    if len(stage.prefix) > room:
        yield (
            f"project: with the name of the stage it makes {stage.prefix}, {len(stage.prefix)} characters; at most "
            f"{room} leave room for the identifiers of the DMS tasks"
        )


def _require_tag(key: str) -> None:
    @_check(f"tags.{key}")
    def present(stage: StageConfig) -> Iterator[str]:
        if key not in stage.tags:
            yield f"tags.{key}: is missing; {' and '.join(REQUIRED_TAGS)} are required"


for _required in REQUIRED_TAGS:
    _require_tag(_required)


@_check("tags")
def _tags_are_free(stage: StageConfig) -> Iterator[str]:
    seen: dict[str, str] = {}
    for key in stage.tags:
        # IAM takes keys that differ in case only for the same key, and refuses the second.
        if key.lower() in (managed.lower() for managed in MANAGED_TAGS):
            yield f"tags.{key}: is set by the stacks themselves (blue, green or shared) and cannot be configured"
        elif key.lower().startswith("aws:"):
            yield f"tags.{key}: must not start with aws:, which AWS reserves"
        elif key.lower() in seen:
            yield f"tags.{key}: differs from {seen[key.lower()]} in case only, which IAM refuses"
        seen.setdefault(key.lower(), key)
    most = MAX_TAGS - len(MANAGED_TAGS)
    if len(stage.tags) > most:
        yield f"tags: are {len(stage.tags)}; at most {most} leave room for those that the stacks set themselves"


@_check("network.cidr", "network.egress_destinations")
def _egress_leaves_the_vpc(stage: StageConfig) -> Iterator[str]:
    for number, destination in enumerate(stage.network.egress_destinations):
        if _overlap(destination.cidr, stage.network.cidr):
            yield (
                f"network.egress_destinations.{number}.cidr: {destination.cidr} overlaps network.cidr "
                f"{stage.network.cidr}; a destination lies outside the VPC"
            )


@_check("network.egress_destinations")
def _egress_destinations_differ(stage: StageConfig) -> Iterator[str]:
    seen: set[tuple[str, int]] = set()
    for number, destination in enumerate(stage.network.egress_destinations):
        if (destination.cidr, destination.port) in seen:
            yield (
                f"network.egress_destinations.{number}: {destination.cidr} port {destination.port} is named already; "
                f"each destination must be named only once"
            )
        seen.add((destination.cidr, destination.port))


@_check("network.cidr", "legacy_database.cidr")
def _legacy_lies_outside_the_vpc(stage: StageConfig) -> Iterator[str]:
    legacy = stage.legacy_database
    if legacy and _overlap(legacy.cidr, stage.network.cidr):
        yield f"legacy_database.cidr: {legacy.cidr} overlaps network.cidr {stage.network.cidr}; they must be apart"


@_check("legacy_database.ca_certificate_file")
def _legacy_authority_exists(stage: StageConfig) -> Iterator[str]:
    if stage.legacy_database is None:
        return
    name = stage.legacy_database.ca_certificate_file
    path = PROJECT / name
    key = f"legacy_database.ca_certificate_file: {shown(name)}"
    try:
        ssl.create_default_context(cafile=str(path))
    except ssl.SSLError:
        yield f"{key} holds no certificates; name a PEM file, relative to the project"
    except (OSError, ValueError):
        yield f"{key} cannot be read; name a PEM file, relative to the project"


@_check("domain.record_name")
def _payments_host_is_no_environments(stage: StageConfig) -> Iterator[str]:
    if stage.domain.record_name in (color.value for color in Color):
        yield f"domain.record_name: {stage.domain.record_name} is the name of an environment; choose another label"


@_check("network.interface_endpoints")
def _workloads_reach_their_services(stage: StageConfig) -> Iterator[str]:
    try:
        require_endpoints(stage.network.interface_endpoints)
    except MissingEndpointError as error:
        yield str(error)


@_check("database.payment_schema", "database.control_schema")
def _schemas_differ(stage: StageConfig) -> Iterator[str]:
    if stage.database.payment_schema == stage.database.control_schema:
        yield f"database.control_schema: {stage.database.control_schema} must differ from database.payment_schema"


@_check("compute.cpu_units", "compute.memory_mib")
def _memory_goes_with_cpu(stage: StageConfig) -> Iterator[str]:
    allowed = FARGATE_MEMORY_MIB[stage.compute.cpu_units]
    if stage.compute.memory_mib not in allowed:
        yield (
            f"compute.memory_mib: {stage.compute.memory_mib} does not go with cpu_units {stage.compute.cpu_units}; "
            f"allowed are {allowed[0]} to {allowed[-1]} in steps of 1024"
        )


@_check("compute.max_tasks", "compute.peak_requests_per_second", "compute.requests_per_second_per_task")
def _tasks_carry_the_peak(stage: StageConfig) -> Iterator[str]:
    compute = stage.compute
    if compute.max_tasks < compute.min_tasks:
        yield (
            f"compute.max_tasks: {compute.max_tasks} must be at least {compute.min_tasks}, which "
            f"{compute.peak_requests_per_second} requests a second need at {compute.requests_per_second_per_task} a "
            f"task"
        )


@_check("front_door.deregistration_delay_seconds", "compute.hold_seconds")
def _held_requests_are_answered(stage: StageConfig) -> Iterator[str]:
    delay, hold = stage.front_door.deregistration_delay_seconds, stage.compute.hold_seconds
    if delay < hold:
        yield f"front_door.deregistration_delay_seconds: {delay} must not be less than compute.hold_seconds {hold}"


@_check("backup.retention_days", "backup.vault_lock")
def _vault_lock_admits_the_plan(stage: StageConfig) -> Iterator[str]:
    lock, days = stage.backup.vault_lock, stage.backup.retention_days
    if lock is None:
        return
    if lock.min_retention_days > lock.max_retention_days:
        yield (
            f"backup.vault_lock.min_retention_days: {lock.min_retention_days} must not be more than "
            f"backup.vault_lock.max_retention_days {lock.max_retention_days}"
        )
    elif not lock.min_retention_days <= days <= lock.max_retention_days:
        yield (
            f"backup.retention_days: {days} must lie between backup.vault_lock.min_retention_days "
            f"{lock.min_retention_days} and backup.vault_lock.max_retention_days {lock.max_retention_days}, or every "
            f"job fails"
        )


@_check("backup.retention_days", "database.backup_retention_days")
def _backup_keeps_the_clusters_retention(stage: StageConfig) -> Iterator[str]:
    # Continuous backup takes the cluster's retention over; equal values keep the template and the cluster in step.
    plan, cluster = stage.backup.retention_days, stage.database.backup_retention_days
    if plan != cluster:
        yield f"backup.retention_days: {plan} must equal database.backup_retention_days {cluster}"


@_check("alarms.emails")
def _somebody_is_told(stage: StageConfig) -> Iterator[str]:
    if not stage.alarms.emails:
        yield "alarms.emails: must name an address at least, or alarms and cutovers would tell nobody"


def _overlap(one: str, other: str) -> bool:
    return ipaddress.ip_network(one).overlaps(ipaddress.ip_network(other))


_PLACEHOLDERS: Mapping[str, Any] = {
    "name": "placeholder",
    "account": "000000000000",
    "tags": dict.fromkeys(REQUIRED_TAGS, "placeholder"),
    "network": {"preview_cidrs": ["192.0.2.0/24"]},
    "domain": {"zone_name": "example.com", "hosted_zone_id": "Z00000000"},
    "legacy_endpoint": {"addresses": ["192.0.2.1"]},
}
"""Stands in for what is missing or wrong while the checks over several values look at the rest."""


def load(context: Mapping[str, Any]) -> StageConfig:
    """The stage that the context names.

    Args:
        context: ``stage`` (a name) and ``stages`` (a mapping of names to stages), as in ``cdk.json``.

    Raises:
        ConfigurationError: one line for each mistake, with the key, the value and what is allowed.
    """
    stages = context.get("stages")
    if not isinstance(stages, Mapping) or not stages:
        raise ConfigurationError(["stages: must be an object of stages by name in the context of cdk.json"])
    name = context.get("stage")
    if not isinstance(name, str) or name not in stages:
        raise ConfigurationError([f"stage: {unknown_value(name, sorted(stages))}"])
    values = stages[name]
    if not isinstance(values, Mapping):
        raise ConfigurationError([f"stages.{name}: must be an object, got {shown(values)}"])
    if "name" in values:
        raise ConfigurationError([f"stages.{name}.name: is the key under stages and cannot be set"])
    wanted = {**values, "name": name}
    mistakes: list[str] = []
    wrong: list[str] = []
    try:
        stage = StageConfig.model_validate(wanted)
    except ValidationError as error:
        details = error.errors()
        mistakes += [_explain(f"stages.{name}", each) for each in details]
        wrong = [".".join(_path(each)) for each in details]
        stage = _without(wanted, [_path(each) for each in details])
    for reads, check in _checks:
        if not any(_touches(bad, read) for bad in wrong for read in reads):
            mistakes += [f"stages.{name}.{mistake}" for mistake in check(stage)]
    if mistakes:
        raise ConfigurationError(mistakes)
    return stage


def _touches(bad: str, read: str) -> bool:
    return f"{bad}.".startswith(f"{read}.") or f"{read}.".startswith(f"{bad}.")


def _without(values: Mapping[str, Any], paths: Sequence[Sequence[str]]) -> StageConfig:
    """The stage with defaults or placeholders at ``paths``, so that the rest of it can be looked at."""
    usable = copy.deepcopy(dict(values))
    for path in paths:
        here: Any = usable
        spare: Any = _PLACEHOLDERS
        for step, part in enumerate(path):
            spare = spare.get(part) if isinstance(spare, Mapping) else None
            below = here.get(part)
            if step == len(path) - 1 or not isinstance(below, dict):
                here.pop(part, None)
                if spare is not None:
                    here[part] = copy.deepcopy(spare)
                break
            here = below
    # A part that lost a required key without a placeholder (an optional part) is left out as a whole.
    try:
        return StageConfig.model_validate(usable)
    except ValidationError as error:
        return _without(usable, [_path(details)[:1] for details in error.errors()])


def _path(details: ErrorDetails) -> list[str]:
    """Path of the value that is wrong, without the steps that only the validator knows."""
    return [str(part) for part in details["loc"] if part != "[key]" and not str(part).startswith("function-")]


# What is allowed, in the words of JSON, where pydantic says it in those of Python.
_ALLOWED: Mapping[str, str] = {
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_type": "must be a whole number",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "model_type": "must be an object",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_type": "must be a text",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entry",
    "tuple_type": "must be a list",
}


def _explain(stage: str, details: ErrorDetails) -> str:
    path = _path(details)
    # A key that is written wrong can hold anything, a line break too.
    key = ".".join([stage, *(part if part.isprintable() else ascii(part) for part in path)])
    if details["type"] == "missing":
        return f"{key}: is missing and has no default"
    if details["type"] == "extra_forbidden":
        return f"{key}: is not a key of the configuration{_suggest(path)}"
    if details["type"] in _ALLOWED:
        message = _ALLOWED[details["type"]].format(**details.get("ctx", {}))
        return f"{key}: {message}, got {shown(details['input'])}"
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input ").replace("\n", " ")
    return f"{key}: {message[0].lower()}{message[1:]}, got {shown(details['input'])}"


def _suggest(path: Sequence[str]) -> str:
    model: Any = StageConfig
    for part in path[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return ""
        candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
    known = sorted(set(getattr(model, "model_fields", {})) - {"name"})
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f", did you mean {close[0]}?" if close else f" (allowed: {', '.join(known)})"
