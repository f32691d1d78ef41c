"""Watches what the functions say, in every test: no log line and no error text may hold a password.

What is watched are the lines before they are formatted for CloudWatch, where known secrets would be struck out: the
first line of defence is that nothing says a secret at all.
"""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from database_access import structured_log

PACKAGES = ("custom_resource", "cutover_state", "database_access", "database_bootstrap", "secret_rotation")
_passwords: set[str] = set()
_texts: list[str] = []


def new_password() -> str:
    """A password that nobody may say: 40 characters of the alphabet that DMS accepts."""
    password = secrets.token_urlsafe(30)
    _passwords.add(password)
    return password


class _Listener(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _texts.append(logging.Formatter().format(record) + repr(getattr(record, "fields", "")))


@contextmanager
def overheard_errors() -> Iterator[None]:
    """Also watch the text and the chain of whatever is raised in the block."""
    try:
        yield
    except BaseException as error:
        # As Lambda prints it: an error that is raised "from None" hides its cause.
        _texts.append("".join(traceback.format_exception(error)) + repr(error) + repr(error.args))
        raise


def said() -> list[str]:
    """The texts, since the watch began, that hold a password."""
    known = _passwords | structured_log._protected
    return [text for text in _texts if any(password in text for password in known)]


@contextmanager
def watch() -> Iterator[None]:
    """Listen to every logger of ours at its most talkative.

    Raises:
        AssertionError: A password was said.
    """
    _texts.clear()
    listener = _Listener(logging.DEBUG)
    loggers = [logging.getLogger(package) for package in PACKAGES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(listener)
        logger.setLevel(logging.DEBUG)
    try:
        yield
        leaked = len(said())
        # Without the texts: the report of a failing test is a log, too.
        assert not leaked, f"{leaked} of {len(_texts)} log lines and error texts hold a password"
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(listener)
            logger.setLevel(level)
        _texts.clear()
        _passwords.clear()
        structured_log._protected.clear()
