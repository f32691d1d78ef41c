"""The benchmark of the service names the right knee, and runs."""

from __future__ import annotations

import json

import pytest

from rehearsal.benchmarks.bench_service import Measurement, conclusion, find_knee, main
from rehearsal.databases import Software


def measurement(rate: float, *, p99_ms: float = 20, refused: int = 0, failed: int = 0) -> Measurement:
    return Measurement(
        requests_per_second=rate,
        sent=100,
        succeeded_per_second=rate,
        refused=refused,
        failed=failed,
        p50_ms=5,
        p99_ms=p99_ms,
        max_ms=p99_ms,
        client_late_p99_ms=1,
        service_cpu_percent=10,
        database_cpu_percent=10,
        others_cpu_percent=0,
        memory_mib=80,
    )


@pytest.mark.parametrize(
    "beyond",
    [
        measurement(400, p99_ms=251),
        measurement(400, refused=1),
        measurement(400, failed=1),
        measurement(400, p99_ms=float("nan")),
    ],
    ids=["slow", "refused", "failed", "nothing answered"],
)
def test_the_knee_is_the_last_rate_at_which_all_was_well(beyond: Measurement) -> None:
    measurements = [measurement(100), measurement(200, p99_ms=250), beyond, measurement(800)]

    knee = find_knee(measurements, objective_ms=250)

    assert knee is not None
    assert knee.requests_per_second == 200
    assert conclusion(measurements, objective_ms=250).startswith("Knee: between 200 and 400 requests a second")


def test_a_knee_that_was_not_reached_is_not_claimed() -> None:
    assert conclusion([measurement(100)], objective_ms=250).startswith("Knee: not reached")


def test_a_service_that_is_slow_from_the_beginning_has_its_knee_below() -> None:
    assert conclusion([measurement(14, p99_ms=900)], objective_ms=250).startswith("Knee: below the lowest rate")


@pytest.mark.parametrize("words", [["--rates=many"], ["--rates=0"], ["--rates=1e9"], ["--seconds=0"], ["--seconds=61"]])
def test_a_wrong_argument_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)

    assert end.value.code == 2
    assert f"argument {words[0].partition('=')[0]}: " in capsys.readouterr().err


@pytest.mark.slow
def test_a_short_run_measures_and_checks_the_books(mariadb: Software, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rates=20", "--seconds=1.5", "--objective-ms=15000", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    (measured,) = found["measurements"]
    assert found["knee_requests_per_second"] == 20
    assert measured["sent"] > 5
    assert measured["refused"] == measured["failed"] == 0
    assert 0 < measured["p50_ms"] <= measured["p99_ms"] <= measured["max_ms"]
    assert 20 < measured["memory_mib"] < 500
