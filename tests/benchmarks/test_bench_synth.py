"""The benchmark of the synthesis measures what it says."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.bench_synth import CommandError, Result, Summary, main, median_ratio, report, run

SUMMARY = Summary(median_seconds=4.0, lowest_seconds=3.5, highest_seconds=5.0, processor_seconds=6.0, peak_mib=900.0)
RESULT = Result(
    ratio=2.5,
    lowest_ratio=2.2,
    highest_ratio=2.8,
    processor_ratio=2.4,
    goal=2.5,
    project=SUMMARY,
    empty=SUMMARY,
    parts={"construct tree": 0.8},
    machine="a machine",
    date="today",
    runs=3,
)


def test_the_ratio_is_the_median_over_pairs() -> None:
    assert median_ratio([(4.0, 2.0), (9.0, 3.0), (5.0, 5.0)]) == (2.0, 1.0, 3.0)


def test_the_goal_is_met_at_the_goal_and_not_above() -> None:
    assert "goal 2.5: met" in report(RESULT)
    assert "goal 2.5: not met" in report(replace(RESULT, ratio=2.51))


def test_the_peak_counts_the_memory_of_children(tmp_path: Path) -> None:
    child = "block = bytearray(80 * 2**20); import time; time.sleep(0.6); sum(range(10**7))"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    sample = run([sys.executable, "-c", parent], tmp_path, environment=os.environ, watched=True)
    assert sample.peak_mib > 80
    assert sample.seconds > 0.6
    assert sample.processor_seconds > 0.05


def test_a_command_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="ended with 3") as failed:
        run([sys.executable, "-c", "print('no disk'); raise SystemExit(3)"], tmp_path, environment=os.environ)
    assert "no disk" in str(failed.value)


@pytest.mark.parametrize("runs", ["0", "-1", "two"])
def test_a_wrong_number_of_runs_is_refused(runs: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([f"--runs={runs}"])
    assert ended.value.code == 2
    assert f"must be a whole number from 1, got '{runs}'" in capsys.readouterr().err


@pytest.mark.slow
def test_one_pair_gives_a_ratio_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--runs", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    # One pair on a busy machine says nothing about its size.
    assert result["ratio"] > 0
    assert result["met"] == (result["ratio"] <= result["goal"])
    assert result["project"]["peak_mib"] > result["empty"]["peak_mib"] > 50
    assert "of which synthesis: policy packs" in result["parts"]
