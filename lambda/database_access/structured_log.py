"""JSON lines for CloudWatch Logs, from which every known secret is struck out.

Nothing logs a secret on purpose. Striking out is the second line of defence: whoever reads a secret tells
``protect``, and from then on its value cannot pass through a log line or an error message of ours.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO
from urllib.parse import quote

STRUCK_OUT: Final = "[secret]"
# Shorter values would strike out ordinary words; credentials.MINIMUM_PASSWORD_LENGTH is no shorter.
_SHORTEST_PROTECTED: Final = 8

_protected: set[str] = set()


def protect(value: str) -> None:
    """Never let this value appear in a line, in any of the forms in which it could be quoted."""
    if len(value) < _SHORTEST_PROTECTED:
        return
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace('"', '\\"')
    _protected.update({value, json.dumps(value)[1:-1], quote(value, safe=""), repr(value)[1:-1], escaped})


def strike_out(text: str) -> str:
    """The text without any protected value; the longest are struck out first."""
    for value in sorted(_protected, key=len, reverse=True):
        text = text.replace(value, STRUCK_OUT)
    return text


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message and what the caller gave as ``extra={"fields": …}``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        # Before the encoding, which would hide a value with quotes in it, and once more after it.
        return strike_out(json.dumps(_cleaned(line)))


def _cleaned(value: object) -> object:
    """The value with every text in it struck out."""
    if isinstance(value, Mapping):
        return {strike_out(str(key)): _cleaned(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_cleaned(each) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return strike_out(str(value))


def configure(*, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send every logger's lines through one handler of ours; the libraries' only from WARNING.

    boto3's and urllib3's lines at DEBUG hold response bodies and signed addresses.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for library in ("boto3", "botocore", "urllib3", "pymysql"):
        logging.getLogger(library).setLevel(logging.WARNING)


def fields(**values: object) -> dict[str, dict[str, object]]:
    """The ``extra`` of a log call: ``log.info("account created", extra=fields(account="a"))``."""
    return {"fields": values}
