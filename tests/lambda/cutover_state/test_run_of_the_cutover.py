"""The run: one at a time, one writer at a time, and what another layout is answered."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from cutover_state.layout import StateUnreadableError
from cutover_state.run import Phase, Run, RunConflictError, RunStore
from tests.support.local_aws import LocalAws

RUN = Run(
    cutover_id="cutover-7",
    kind="environment",
    source="blue",
    target="green",
    plan={"steps": []},
    phase=Phase.PREPARING,
    requested_by="ada",
    started_at=1000.5,
    before={"weights": {"blue": 100, "green": 0}, "writer": "blue"},
    writer_after="green",
    position={"step": 0},
)
OVER = [Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.REFUSED]


@pytest.fixture
def table(aws: LocalAws) -> str:
    return aws.create_state_table()


@pytest.fixture
def runs(aws: LocalAws, table: str) -> RunStore:
    return RunStore(aws.dynamodb(), table_name=table)


def test_there_is_no_run_at_first(runs: RunStore) -> None:
    assert runs.read() is None


def test_it_reads_as_it_was_written(runs: RunStore) -> None:
    begun = runs.begin(replace(RUN, evidence={"llr": 1.5}, order={"pause": True}, reason="who asked"))
    assert runs.read() == begun


def test_beginning_twice_is_beginning_once(runs: RunStore) -> None:
    begun = runs.begin(RUN)
    moved = runs.write(replace(begun, phase=Phase.SHIFTING))
    assert runs.begin(RUN) == moved


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in OVER])
def test_no_other_cutover_begins_before_one_is_over(runs: RunStore, phase: Phase) -> None:
    runs.write(replace(runs.begin(RUN), phase=phase))
    with pytest.raises(RunConflictError, match=f"cutover cutover-7 is {phase.value}; end it before another begins"):
        runs.begin(replace(RUN, cutover_id="cutover-8"))


@pytest.mark.parametrize("phase", OVER)
def test_another_cutover_begins_after_one_is_over(runs: RunStore, phase: Phase) -> None:
    runs.write(replace(runs.begin(RUN), phase=phase))
    runs.begin(replace(RUN, cutover_id="cutover-8"))
    found = runs.read()
    assert found is not None
    assert found.cutover_id == "cutover-8"


def test_a_writer_of_the_run_before_cannot_touch_the_next_one(runs: RunStore) -> None:
    ended = runs.write(replace(runs.begin(RUN), phase=Phase.SUCCEEDED))
    following = runs.begin(replace(RUN, cutover_id="cutover-8"))
    with pytest.raises(RunConflictError):
        runs.write(replace(ended, phase=Phase.ROLLING_BACK))
    assert runs.read() == following


def test_of_two_writers_one_is_told_to_read_again(runs: RunStore) -> None:
    begun = runs.begin(RUN)
    runs.write(replace(begun, phase=Phase.ROLLING_BACK))
    with pytest.raises(RunConflictError, match="cutover cutover-7 was changed by another writer; read it again"):
        runs.write(replace(begun, phase=Phase.SHIFTING))


def test_a_run_that_was_never_begun_cannot_be_written(runs: RunStore) -> None:
    with pytest.raises(RunConflictError):
        runs.write(RUN)


def test_of_cutovers_that_begin_at_once_one_does(aws: LocalAws, table: str, runs: RunStore) -> None:
    refused: list[str] = []

    def begin(number: int) -> None:
        try:
            RunStore(aws.client("dynamodb"), table_name=table).begin(replace(RUN, cutover_id=f"cutover-{number}"))
        except RunConflictError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3
    found = runs.read()
    assert found is not None
    assert found.version == 1


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_survives_its_document(phase: Phase) -> None:
    run = replace(RUN, phase=phase, version=4)
    assert Run.from_document(json.loads(json.dumps(run.document())), version=4) == run


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"version": {"N": "1"}, "run": {"S": "no JSON"}},
        {"version": {"N": "1"}, "run": {"S": "[]"}},
        {"version": {"N": "1"}, "run": {"S": json.dumps({**RUN.document(), "phase": "dancing"})}},
        {"version": {"N": "1"}, "run": {"S": json.dumps({**RUN.document(), "mood": "good"})}},
        {"run": {"S": json.dumps(RUN.document())}},
    ],
)
def test_an_item_of_another_layout_is_a_clear_error(
    aws: LocalAws, table: str, runs: RunStore, item: dict[str, Any]
) -> None:
    aws.dynamodb().put_item(TableName=table, Item={"pk": {"S": "RUN"}, "sk": {"S": "current"}, **item})
    with pytest.raises(StateUnreadableError, match=r"the run must have version \(N\) and run \(S\)"):
        runs.read()
