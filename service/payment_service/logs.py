"""One JSON object for each line on standard output, without card data whatever a client sends."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from payment_service.card_numbers import mask_card_numbers
from payment_service.payments import canonical_uuid


def configure_logs(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send our own events and those of the libraries to standard output (or the stream), in one form."""
    stream = stream or sys.stdout
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    rendering: list[structlog.typing.Processor] = [
        describe_exception,
        remove_card_numbers,
        structlog.processors.JSONRenderer(default=str),
    ]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel("WARNING")


def describe_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Say which exception it was and where, but not its message, which may repeat what a client sent."""
    exception = event.pop("exc_info", None)
    if exception is True:
        exception = sys.exc_info()[1]
    elif isinstance(exception, tuple):
        exception = exception[1]
    if isinstance(exception, BaseException):
        event["exception"] = type(exception).__name__
        event["raised_at"] = raised_at(exception)
    return event


def raised_at(exception: BaseException) -> list[str]:
    """The innermost five frames of the traceback, innermost last: file, line, function."""
    frames = []
    trace = exception.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return frames[-5:]


def remove_card_numbers(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The last line of defence: no value of any event that looks like a card number is written."""
    return {key: _masked(value) for key, value in event.items()}


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        # A UUID is an identifier of ours, even if all of its digits happen to be decimal.
        return value if canonical_uuid(value) == value else mask_card_numbers(value)
    if isinstance(value, dict):
        return {mask_card_numbers(str(key)): _masked(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_masked(entry) for entry in value]
    if isinstance(value, int) and not isinstance(value, bool):
        masked = mask_card_numbers(str(value))
        return value if masked == str(value) else masked
    return value
