"""The command line says what is wrong with it, in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from payment_service.arguments import MAXIMUM_HOLD_SECONDS, parse_arguments

BLUE = "blue=arn:aws:secretsmanager:us-east-1:111122223333:secret:blue-application-AbCdEf"
GREEN = "green=arn:aws:secretsmanager:us-east-1:111122223333:secret:green-application-AbCdEf"
LEGACY = "legacy=arn:aws:secretsmanager:us-east-1:111122223333:secret:legacy-application-AbCdEf"


@pytest.fixture
def ca() -> str:
    return f"--database-ca={Path(__file__).parents[2] / 'service/certificates/rds-us-east-1.pem'}"


def two(*more: str) -> list[str]:
    return ["--database", BLUE, "--database", GREEN, *more]


def test_two_databases_are_enough(ca: str) -> None:
    arguments = parse_arguments(two(ca))

    assert list(arguments.databases) == ["blue", "green"]
    assert arguments.listen_port == 8443
    assert arguments.hold_seconds == 45


def test_a_legacy_database_may_join(ca: str) -> None:
    assert list(parse_arguments(["--database", LEGACY, *two(ca)]).databases) == ["legacy", "blue", "green"]


def test_the_longest_hold_leaves_the_balancer_time_for_the_answer(ca: str) -> None:
    assert MAXIMUM_HOLD_SECONDS == 50
    assert parse_arguments(two(ca, "--hold-seconds=50")).hold_seconds == 50


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: --database"),
        (["--database", BLUE], "argument --database: two or three are needed, got 1"),
        (two("--database", BLUE), "argument --database: blue is given twice"),
        (
            ["--database", BLUE, "--database", "red=x"],
            "argument --database: 'red' is not one of legacy, blue, green",
        ),
        (
            ["--database", BLUE, "--database", "green=arn:aws:s3:::bucket"],
            "argument --database: green=arn:aws:s3:::bucket does not give the ARN of a secret",
        ),
        (two("--hold-seconds=50.5"), "argument --hold-seconds: 50.5 is not from 0 to 50"),
        (two("--hold-seconds=60"), "argument --hold-seconds: 60 is not from 0 to 50"),
        (two("--hold-seconds=nan"), "argument --hold-seconds: nan is not from 0 to 50"),
        (two("--hold-seconds=soon"), "argument --hold-seconds: invalid float value: 'soon'"),
        (two("--sessions=0"), "argument --sessions: 0 is not from 1 to 200"),
        (two("--queue=-1"), "argument --queue: -1 is not from 0 to 100000"),
        (two("--listen-port=70000"), "argument --listen-port: 70000 is not from 0 to 65535"),
        (two("--database-ca=/nowhere.pem"), "argument --database-ca: there is no file /nowhere.pem"),
        (two("--colour=blue"), "unrecognized arguments: --colour=blue"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_allowed(
    words: list[str], message: str, ca: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse_arguments([ca, *words])

    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"payment_service: error: {message}"


def test_a_file_without_certificates_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing")

    with pytest.raises(SystemExit):
        parse_arguments(two(f"--database-ca={path}"))

    assert f"{path} holds no certificates in PEM that can be read" in capsys.readouterr().err


def test_a_missing_region_is_told_in_one_line(ca: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "payment_service", ca, *two()],
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "service"), "AWS_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert finished.returncode == 2
    assert finished.stderr == (
        "payment_service: error: argument --region: is required where the environment names none\n"
    )
