"""A function as a process: it answers, fails, dies and is replaced as Lambda's would, on a clock that runs faster."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.clock import Clock
from rehearsal.control_plane.functions import PROJECT, Function, FunctionError

pytestmark = pytest.mark.slow

HANDLER = """
import os
import time


def lambda_handler(event, context):
    if "raise" in event:
        raise ValueError(event["raise"])
    if "sleep" in event:
        began = time.monotonic()
        time.sleep(event["sleep"])
        return {"slept": time.monotonic() - began}
    print("said on standard output")
    return {"echo": event, "now": time.time(), "process": os.getpid(), "left": context.get_remaining_time_in_millis()}
"""


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock.start(20)


@pytest.fixture
def function(tmp_path: Path, clock: Clock) -> Iterator[Function]:
    package = tmp_path / "code" / "tried_function"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "handler.py").write_text(HANDLER)
    path = os.pathsep.join(map(str, (PROJECT, PROJECT / "lambda", package.parent)))
    made = Function(
        package="tried_function",
        environment={"PYTHONPATH": path},
        timeout_seconds=30,
        clock=clock,
        folder=tmp_path,
    )
    yield made
    made.close()


def test_it_answers_and_stays_warm(function: Function, clock: Clock) -> None:
    first, second = function.call({"number": 1}), function.call({"number": 2})
    assert (first["echo"], second["echo"]) == ({"number": 1}, {"number": 2})
    assert first["process"] == second["process"]
    assert 0 < first["left"] <= 30_000
    assert first["now"] == pytest.approx(clock.now(), abs=20 * 60)
    assert "said on standard output" in function.log_path.read_text()


def test_an_error_has_its_name_and_its_message(function: Function) -> None:
    with pytest.raises(FunctionError, match="too bad") as caught:
        function.call({"raise": "too bad"})
    assert caught.value.kind == "ValueError"
    assert function.call({})["echo"] == {}


def test_a_call_that_is_killed_fails_and_the_next_one_has_a_new_process(function: Function) -> None:
    before = function.call({})["process"]

    def kill() -> None:
        while not function.kill():
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(FunctionError, match="the process died"):
        function.call({"sleep": 0.9})
    killer.join()
    assert function.call({})["process"] != before


def test_waits_for_aws_run_by_the_clock_and_polls_in_real_time(function: Function) -> None:
    assert 0.4 <= function.call({"sleep": 10})["slept"] < 5
    assert 0.5 <= function.call({"sleep": 0.5})["slept"] < 5


def test_calls_at_the_same_time_have_a_process_each(function: Function) -> None:
    function.warm()
    slept: list[float] = []
    other = threading.Thread(target=lambda: slept.append(function.call({"sleep": 0.9})["slept"]))
    other.start()
    while not function.is_busy:
        time.sleep(0.01)
    assert function.call({})["echo"] == {}
    other.join()
    assert slept


def test_a_function_that_cannot_be_loaded_says_where_its_log_is(tmp_path: Path, clock: Clock) -> None:
    absent = Function(package="no_such_function", environment={}, timeout_seconds=1, clock=clock, folder=tmp_path)
    with pytest.raises(FunctionError, match=r"no_such_function did not start; see .*no_such_function\.log"):
        absent.call({})
    assert "ModuleNotFoundError" in absent.log_path.read_text()
