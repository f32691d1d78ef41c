"""The command line of a rehearsal, as far as nothing has to run for it, and what the documentation says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rehearsal.__main__ import is_good, main
from rehearsal.record import FaultResult, Promise, Record
from rehearsal.scenarios.controls import CONTROLS
from rehearsal.scenarios.faults import FAULTS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "rehearsal.md").read_text("utf-8")


def record(**members: object) -> Record:
    return Record(
        title="a rehearsal", scenario="short", started_at="2026-11-24T18:00:00+00:00", seed=0, rate=14.0,
        delay_seconds=1.0, versions={}, **members,  # type: ignore[arg-type]
    )  # fmt: skip


def promise(*, kept: bool) -> Promise:
    return Promise(name="a promise", kept=kept, measured="1", allowed="1")


def fault(*, passed: bool) -> FaultResult:
    return FaultResult(
        scenario="a fault", group="fault", must_happen="this", happened="that", passed=passed, promises=(), seconds=1.0
    )


def test_a_rehearsal_is_good_when_every_promise_was_kept_and_every_scenario_went_as_it_must() -> None:
    assert is_good(record(promises=[promise(kept=True)], faults=[fault(passed=True)]))
    assert not is_good(record(promises=[promise(kept=True), promise(kept=False)]))
    assert not is_good(record(faults=[fault(passed=False), fault(passed=True)]))


def test_it_lists_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(each.name in printed for each in (*FAULTS, *CONTROLS))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scenario", "nothing"], "argument --scenario: 'nothing' is none; allowed: whole"),
        (["--rate", "0"], "argument --rate: '0' is not a number from 1 to 2000"),
        (["--rate", "nan"], "argument --rate: 'nan' is not a number from 1 to 2000"),
        (["--delay", "1.5"], "argument --delay: '1.5' is not a whole number from 0 to 30"),
        (["--scale", "100"], "argument --scale: '100' is not a number from 1 to 60"),
    ],
)
def test_a_wrong_argument_is_named(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_the_matrix_has_at_least_twenty_faults_with_names_of_their_own() -> None:
    names = [each.name for each in (*FAULTS, *CONTROLS)]
    assert len(FAULTS) >= 20
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", [each.name for each in FAULTS])
def test_the_documentation_says_what_must_happen(name: str) -> None:
    [fault] = [each for each in FAULTS if each.name == name]
    assert f"| {name} | {fault.must_happen}" in DOCUMENT
