"""Log lines are JSON, and hold neither card numbers nor the messages of exceptions."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO
from uuid import uuid4

import pytest
import structlog

from payment_service.logs import configure_logs

CARD_NUMBER = "4111111111111111"


@pytest.fixture
def output() -> Iterator[StringIO]:
    """Where the log lines of the test go."""
    handlers, level = logging.root.handlers, logging.root.level
    output = StringIO()
    configure_logs(stream=output)
    yield output
    structlog.reset_defaults()
    logging.root.handlers, logging.root.level = handlers, level


def only_line(output: StringIO) -> dict[str, object]:
    (line,) = output.getvalue().splitlines()
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def test_a_line_is_one_json_object_with_time_and_level(output: StringIO) -> None:
    structlog.get_logger().info("request", status=201)

    line = only_line(output)

    assert (line["event"], line["level"], line["status"]) == ("request", "info", 201)
    assert str(line["time"]).endswith("Z")


@pytest.mark.parametrize(
    "value",
    [
        CARD_NUMBER,
        f"paid with {CARD_NUMBER}",
        "4111 1111 1111 1111",
        int(CARD_NUMBER),
        [CARD_NUMBER],
        {"a": {"b": CARD_NUMBER}},
        {CARD_NUMBER: 1},
    ],
    ids=["alone", "in text", "grouped", "number", "list", "nested", "key"],
)
def test_a_card_number_is_removed_wherever_it_is(output: StringIO, value: object) -> None:
    structlog.get_logger().info("request", value=value)

    text = json.dumps(only_line(output))

    assert "[card number removed]" in text
    assert "1111" not in text


def test_a_uuid_is_kept_even_if_it_looks_like_a_card_number(output: StringIO) -> None:
    looks_like_one = "abcdefab-cdef-4111-1111-111111111111"
    structlog.get_logger().info("request", payment_id=looks_like_one, other=str(uuid4()))

    assert only_line(output)["payment_id"] == looks_like_one


def test_an_exception_is_told_by_kind_and_place_only(output: StringIO) -> None:
    try:
        raise ValueError(f"cannot take {CARD_NUMBER} of Mr Private")
    except ValueError:
        structlog.get_logger().exception("request failed")

    line = only_line(output)

    assert line["exception"] == "ValueError"
    assert "test_an_exception_is_told_by_kind_and_place_only" in str(line["raised_at"])
    assert "Private" not in json.dumps(line)


def test_what_libraries_log_has_the_same_form_and_the_same_protection(output: StringIO) -> None:
    try:
        raise ValueError("private")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("failed with %s", CARD_NUMBER)

    line = only_line(output)

    assert line["event"] == "failed with [card number removed]"
    assert (line["logger"], line["exception"]) == ("uvicorn.error", "ValueError")
    assert "private" not in json.dumps(line)
