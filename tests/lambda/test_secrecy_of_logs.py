"""That no secret reaches a log or an error: what the functions print, and that the watch over the tests has teeth.

Every other test of the functions runs under the same watch (conftest.py).
"""

from __future__ import annotations

import io
import json
import logging

import pytest

from database_access import structured_log
from database_access.structured_log import STRUCK_OUT, fields, protect, strike_out
from tests.support import secrecy
from tests.support.secrecy import new_password, overheard_errors

log = logging.getLogger("secret_rotation.careless")


def test_the_watch_notices_a_password_in_a_message() -> None:
    with pytest.raises(AssertionError, match="hold a password"), secrecy.watch():
        log.info("the password is %s", new_password())


def test_the_watch_notices_a_password_in_a_field() -> None:
    with pytest.raises(AssertionError, match="hold a password"), secrecy.watch():
        log.debug("set", extra=fields(password=new_password()))


def test_the_watch_notices_a_password_in_the_cause_of_an_error() -> None:
    def fail() -> None:
        try:
            raise ValueError(new_password())
        except ValueError as error:
            raise RuntimeError("the statement was refused") from error

    with (
        pytest.raises(AssertionError, match="hold a password"),
        secrecy.watch(),
        pytest.raises(RuntimeError),
        overheard_errors(),
    ):
        fail()


def lines_of(say: object, *, level: int = logging.DEBUG) -> list[dict[str, object]]:
    """What reaches CloudWatch when the function says it."""
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, root_level = root.handlers[:], root.level
    structured_log.configure(level=level, stream=stream)
    try:
        say()  # type: ignore[operator]
    finally:
        root.handlers[:] = handlers
        root.setLevel(root_level)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


other = logging.getLogger("a.library")


@pytest.mark.parametrize("password", ["aB3-_" * 8, "quo\"te'd\\back", "per%cent&amp er=sand", "ümläut-passwörd"])
def test_a_known_secret_is_struck_out_however_it_is_quoted(password: str) -> None:
    protect(password)

    def say() -> None:
        other.info("message %s", password)
        other.info("representation %r", password)
        other.info("field", extra=fields(document=json.dumps({"password": password})))
        try:
            raise ValueError(f"near '{password}'")
        except ValueError:
            other.exception("failed")

    text = json.dumps(lines_of(say), ensure_ascii=False)
    assert password not in text
    assert text.count(STRUCK_OUT) == 4


def test_a_line_is_one_json_object_with_the_callers_fields() -> None:
    [line] = lines_of(lambda: other.warning("account %s", "created", extra=fields(account="dms_a", locked=False)))
    assert line.pop("time")
    assert line == {
        "level": "WARNING",
        "logger": "a.library",
        "message": "account created",
        "account": "dms_a",
        "locked": False,
    }


@pytest.mark.parametrize("name", ["botocore.parsers", "urllib3.connectionpool", "pymysql", "boto3"])
def test_the_chatter_of_the_libraries_is_not_printed(name: str) -> None:
    """Their lines at DEBUG hold response bodies and signed addresses."""
    assert lines_of(lambda: logging.getLogger(name).debug("Response body: {'SecretString': …}")) == []


def test_a_short_word_is_not_struck_out_of_everything() -> None:
    protect("a")
    assert strike_out("an account") == "an account"
