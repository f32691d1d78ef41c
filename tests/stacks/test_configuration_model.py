"""What is accepted, and that nothing else can happen than to be accepted or to be told."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stacks.chain import DatabaseChain
from stacks.config import KNOWN_ENDPOINTS, Color, ConfigurationError, StageConfig
from stacks.context import load
from tests.support.synthesized import CONTEXT, changed


def config(**changes: Any) -> StageConfig:
    return load({"stage": "prod", "stages": {"prod": changed(CONTEXT["stages"]["prod"], **changes)}})


@pytest.mark.parametrize("stage", sorted(CONTEXT["stages"]))
def test_every_stage_of_cdk_json_is_right(stage: str) -> None:
    assert load({**CONTEXT, "stage": stage}).name == stage


@pytest.mark.parametrize(
    "changes",
    [
        {"network__cidr": "10.20.0.0/20"},
        {"network__cidr": "192.168.0.0/16"},
        {"network__cidr": "172.31.0.0/16"},
        {"network__egress_destinations": []},
        {"network__egress_destinations": [{"name": "x", "cidr": "192.0.0.0/16", "port": 1}]},
        {"network__egress_destinations": [{"name": "x" * 100, "cidr": "192.0.2.1/32", "port": 65535}]},
        {"network__preview_cidrs": ["1.0.0.0/8", "2.0.0.0/8", "3.0.0.0/8", "4.0.0.0/8"]},
        {"network__interface_endpoints": sorted(KNOWN_ENDPOINTS, reverse=True)},
        {"availability_zones": ["us-east-1d", "us-east-1f", "us-east-1b"]},
        {"project": "payments12"},
        {"legacy_endpoint__addresses": [f"198.51.100.{number}" for number in range(8)]},
        {"legacy_endpoint__port": 65535},
        {"tags": {"Project": "x", "CostCenter": "x" * 256}},
        {"tags": {"Project": "x", "CostCenter": "x", **{f"Key{number}": "x" for number in range(47)}}},
        {"database__port": 1150},
        {"database__port": 65535},
        {"database__backup_retention_days": 35, "backup__retention_days": 35},
        {"database__performance_insights_days": 31},
        {"database__performance_insights_days": 713},
        {"database__performance_insights_days": 731},
        {"database__binlog_retention_hours": 24},
        {"database__binlog_retention_hours": 2160},
        {"database__payment_schema": "p" * 63},
        {"replication__allocated_storage_gib": 50},
        {"front_door__rate_limit_per_five_minutes": 10},
        {"front_door__slow_start_seconds": 900},
        {"front_door__deregistration_delay_seconds": 45},
        {"compute__hold_seconds": 50},
        {"compute__hold_seconds": 5},
        {"compute__cpu_units": 512, "compute__memory_mib": 1024},
        {"compute__cpu_units": 4096, "compute__memory_mib": 30720},
        {"compute__max_tasks": 3},
        {"compute__max_tasks": 500, "compute__peak_requests_per_second": 25000},
        {"alarms__errors_percent": 100},
        {"alarms__errors_percent": 0.01},
        {"alarms__latency_p99_seconds": 60},
        {"alarms__evaluation_minutes": 60},
        {"alarms__emails": ["a@example.com"]},
        {"backup__vault_lock": {"min_retention_days": 7, "max_retention_days": 7, "changeable_for_days": 3}},
        {"log_retention_days": 365},
        {"log_retention_days": 3653},
    ],
    ids=str,
)
def test_a_value_at_its_bound_is_accepted(changes: dict[str, Any]) -> None:
    assert config(**changes)


def test_a_configuration_cannot_be_changed_after_it_is_read() -> None:
    stage = config()

    with pytest.raises(ValidationError):
        stage.network.cidr = "10.0.0.0/16"  # type: ignore[misc]  # what is tried


@pytest.mark.parametrize(("peak", "floor"), [(1, 3), (150, 3), (151, 4), (500, 10)])
def test_the_floor_of_scaling_has_a_task_in_every_zone_and_carries_the_peak(peak: int, floor: int) -> None:
    assert config(compute__peak_requests_per_second=peak).compute.min_tasks == floor


def test_the_hosts_stand_in_one_zone() -> None:
    domain = config().domain

    assert domain.payments_host == "api.payments.example.com"
    assert [domain.environment_host(color) for color in Color] == [
        "blue.payments.example.com",
        "green.payments.example.com",
    ]


def test_the_longest_prefix_leaves_room_for_the_longest_task() -> None:
    stage = load({"stage": "staging", "stages": {"staging": {**CONTEXT["stages"]["staging"], "project": "payment8"}}})

    assert len(stage.prefix) == 16
    assert max(len(each.identifier) for each in DatabaseChain.of(stage).directions) == 31


def test_without_a_legacy_database_blue_writes_first() -> None:
    chain = DatabaseChain.of(config())

    assert chain.first_writer == "blue"
    assert [(pair.upstream, pair.downstream) for pair in chain.pairs] == [("blue", "green")]


# Any single mutation of a stage that is right is accepted, or told in lines that begin with a known key.

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.sampled_from(
        ["", " ", "0.0.0.0/0", "10.20.0.0/16", "::/0", "/health", "arn:aws:kms", "\x00", "\n", "{}", "blue", "${x}"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every value in a JSON document."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in below:
        yield (*path, key)
        yield from paths(item, (*path, key))


STAGING = {**CONTEXT["stages"]["staging"], "backup": {"vault_lock": {}}, "alarms": {"emails": ["a@example.com"]}}
PATHS = list(paths(STAGING))


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """The stage with one value replaced or taken away, or one key added."""
    stage: dict[str, Any] = copy.deepcopy(STAGING)
    *way, last = draw(st.sampled_from(PATHS))
    here: Any = stage
    for step in way:
        here = here[step]
    match draw(st.sampled_from(["replace", "remove", "add"])):
        case "replace":
            here[last] = draw(VALUES)
        case "remove":
            del here[last]
        case _ if isinstance(here, dict):
            here[draw(st.text(max_size=10))] = draw(VALUES)
        case _:
            here.append(draw(VALUES))
    return stage


def told(stage: dict[str, Any]) -> tuple[str, ...]:
    """What is wrong with the stage; nothing when it is accepted."""
    try:
        load({"stage": "staging", "stages": {"staging": stage}})
    except ConfigurationError as error:
        return error.mistakes
    return ()


KNOWN = re.compile(rf"stages\.staging\.({'|'.join(StageConfig.model_fields)})[.:]")


@given(stage=mutated())
@settings(max_examples=400, deadline=None)
def test_a_mutated_stage_is_accepted_or_told_of_by_its_keys(stage: dict[str, Any]) -> None:
    before = json.dumps(stage)

    for line in told(stage):
        assert len(line.splitlines()) == 1
        assert KNOWN.match(line) or ": is not a key of the configuration" in line

    assert json.dumps(stage) == before
