"""The desired state: conditional writes, changes of a part, and what another layout is answered."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from cutover_state.desired import Desired, DesiredConflictError, DesiredStore, desire
from cutover_state.layout import StateUnreadableError
from tests.support.local_aws import LocalAws

INITIAL = Desired(weights={"blue": 100, "green": 0}, records={"legacy": 0, "aws": 100}, writer="blue", by="reconciler")


@pytest.fixture
def table(aws: LocalAws) -> str:
    return aws.create_state_table()


@pytest.fixture
def store(aws: LocalAws, table: str) -> DesiredStore:
    return DesiredStore(aws.dynamodb(), table_name=table)


def test_nothing_is_desired_at_first(store: DesiredStore) -> None:
    assert store.read() is None


def test_it_reads_as_it_was_written(store: DesiredStore) -> None:
    written = store.write(INITIAL)
    assert store.read() == written == replace(INITIAL, version=1)


def test_each_write_has_a_version_of_its_own(store: DesiredStore) -> None:
    first = store.write(INITIAL)
    assert store.write(first).version == 2


def test_of_two_that_begin_one_is_told_to_read_again(store: DesiredStore) -> None:
    store.write(INITIAL)
    with pytest.raises(DesiredConflictError, match="changed by another writer; read it again"):
        store.write(INITIAL)


def test_a_state_that_was_read_before_another_write_cannot_replace_it(store: DesiredStore) -> None:
    read = store.write(INITIAL)
    newer = store.write(replace(read, writer="green"))
    with pytest.raises(DesiredConflictError):
        store.write(replace(read, weights={"blue": 0, "green": 100}))
    assert store.read() == newer


def test_changing_a_part_leaves_the_rest(store: DesiredStore) -> None:
    store.write(INITIAL)
    changed = desire(store, by="cutover-7", writer="green")
    assert changed == replace(INITIAL, writer="green", by="cutover-7", version=2)


def test_desiring_what_is_desired_writes_nothing(store: DesiredStore) -> None:
    first = store.write(INITIAL)
    assert desire(store, by="cutover-7", writer="blue") == first


def test_desiring_it_anew_makes_what_was_read_before_unusable(store: DesiredStore) -> None:
    read = store.write(INITIAL)
    desire(store, by="cutover-7", anew=True)
    with pytest.raises(DesiredConflictError):
        store.write(replace(read, weights={"blue": 0, "green": 100}))


def test_a_part_of_nothing_cannot_be_changed(store: DesiredStore) -> None:
    assert desire(store, by="cutover-7", writer="green") is None
    assert store.read() is None


def test_writers_of_different_parts_at_once_lose_nothing(aws: LocalAws, table: str, store: DesiredStore) -> None:
    store.write(INITIAL)
    changes: list[dict[str, Any]] = [
        {"weights": {"blue": 90, "green": 10}},
        {"records": {"legacy": 100, "aws": 0}},
        {"writer": "green"},
    ]

    def change(part: dict[str, Any]) -> None:
        desire(DesiredStore(aws.client("dynamodb"), table_name=table), by="cutover-7", **part)

    threads = [threading.Thread(target=change, args=(part,)) for part in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.read()
    assert found is not None
    assert (found.weights, found.records, found.writer, found.version) == (
        {"blue": 90, "green": 10},
        {"legacy": 100, "aws": 0},
        "green",
        4,
    )


def test_a_state_that_changes_all_the_time_is_given_up(store: DesiredStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(INITIAL)
    reads = store.read

    def read_and_be_overtaken() -> Desired | None:
        found = reads()
        assert found is not None
        store.write(replace(found, by="another"))
        return found

    monkeypatch.setattr(store, "read", read_and_be_overtaken)
    with pytest.raises(DesiredConflictError, match="changes all the time"):
        desire(store, by="cutover-7", writer="green")


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"version": {"N": "1"}},
        {"version": {"S": "1"}, "desired": {"S": "{}"}},
        {"version": {"N": "1"}, "desired": {"S": "no JSON"}},
        {"version": {"N": "1"}, "desired": {"S": "[]"}},
        {"version": {"N": "1"}, "desired": {"S": json.dumps({"weights": {}})}},
        {
            "version": {"N": "1"},
            "desired": {"S": json.dumps({"weights": {"blue": "100"}, "records": {}, "writer": "blue", "by": "x"})},
        },
        {
            "version": {"N": "1"},
            "desired": {"S": json.dumps({"weights": [], "records": {}, "writer": "blue", "by": "x"})},
        },
        {
            "version": {"N": "1"},
            "desired": {"S": json.dumps({"weights": {}, "records": {}, "writer": None, "by": "x"})},
        },
    ],
)
def test_an_item_of_another_layout_is_a_clear_error(
    aws: LocalAws, table: str, store: DesiredStore, item: dict[str, Any]
) -> None:
    aws.dynamodb().put_item(TableName=table, Item={"pk": {"S": "DESIRED"}, "sk": {"S": "current"}, **item})
    with pytest.raises(StateUnreadableError, match=r"the desired state must have version \(N\) and desired \(S\)"):
        store.read()
