"""Settings of the DMS tasks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blue_green.replication_task import table_mappings, task_settings

SCHEMAS = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)


@given(payment=SCHEMAS, control=SCHEMAS)
def test_the_mappings_name_the_payments_and_two_tables_of_the_control_schema(payment: str, control: str) -> None:
    rules = json.loads(table_mappings(payment_schema=payment, control_schema=control))["rules"]

    assert [tuple(rule["object-locator"].values()) for rule in rules] == [
        (payment, "%"),
        (control, "heartbeat"),
        (control, "marker"),
    ]
    assert len({rule["rule-id"] for rule in rules}) == len({rule["rule-name"] for rule in rules}) == 3


@given(schema=SCHEMAS)
def test_source_and_target_of_a_pair_have_the_loopback_schema_under_the_same_name(schema: str) -> None:
    loopback = json.loads(task_settings(loopback_schema=schema, follows_ddl=True))["LoopbackPreventionSettings"]

    assert loopback == {"EnableLoopbackPrevention": True, "SourceSchema": schema, "TargetSchema": schema}


@pytest.mark.parametrize("follows", [True, False])
def test_the_tasks_of_a_pair_differ_in_whether_they_follow_changes_of_tables_only(follows: bool) -> None:
    one = json.loads(task_settings(loopback_schema="loopback", follows_ddl=follows))
    other = json.loads(task_settings(loopback_schema="loopback", follows_ddl=not follows))

    assert {key for key in one if one[key] != other[key]} == {"ChangeProcessingDdlHandlingPolicy"}
