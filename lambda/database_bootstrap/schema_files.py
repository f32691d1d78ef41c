"""The SQL files of the schemas: which schema each is for, its statements, and that each can be repeated.

Every ``.sql`` file of a folder is applied in the order of the names. The name says the schema: ``control.sql`` makes
the tables of the control schema, ``payments.sql`` those of the payment schema.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CONTROL: Final = "control"
PAYMENTS: Final = "payments"
# Comments, quoted texts and names, the end of a statement, or any other character.
_TOKEN: Final = re.compile(
    r"""(?P<comment>--(?=\s)[^\n]*|\#[^\n]*|/\*.*?\*/)"""
    r"""|(?P<text>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`]|``)*`)"""
    r"""|(?P<end>;)|(?P<other>.)""",
    re.DOTALL,
)
_REPEATABLE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS ", re.IGNORECASE)


class SchemaFileError(Exception):
    """A file whose schema is not known, or whose statements could not be run again."""


@dataclass(frozen=True, kw_only=True)
class SchemaFile:
    """Attributes: purpose: ``control`` or ``payments``; statements: in order, without comments."""

    purpose: str
    statements: tuple[str, ...]


def load(folder: Path, *, payments: Path | None = None) -> tuple[SchemaFile, ...]:
    """The files of the folder; ``payments`` takes the place of a ``payments.sql`` that is not staged there.

    Raises:
        SchemaFileError: A file is missing or cannot be used.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.sql"))}
    if payments is not None:
        paths[PAYMENTS] = payments
    unknown = sorted(set(paths) - {CONTROL, PAYMENTS})
    if unknown:
        raise SchemaFileError(f"{folder}: {unknown[0]}.sql is for no schema; known are control.sql and payments.sql")
    missing = sorted({CONTROL, PAYMENTS} - set(paths))
    if missing:
        raise SchemaFileError(f"{folder}: {missing[0]}.sql is missing")
    return tuple(
        SchemaFile(purpose=purpose, statements=_checked(split_statements(path.read_text("utf-8")), path))
        for purpose, path in sorted(paths.items())
    )


def split_statements(text: str) -> tuple[str, ...]:
    """The statements of a script, without comments and with single spaces outside of quotes."""
    statements: list[str] = []
    parts: list[str] = []
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "end":
            statements.append("".join(parts).strip())
            parts = []
        elif match.lastgroup == "comment" or (match.lastgroup == "other" and match[0].isspace()):
            if parts and parts[-1] != " ":
                parts.append(" ")
        else:
            parts.append(match[0])
    statements.append("".join(parts).strip())
    return tuple(statement for statement in statements if statement)


def _checked(statements: tuple[str, ...], path: Path) -> tuple[str, ...]:
    for statement in statements:
        if not _REPEATABLE.match(statement):
            raise SchemaFileError(
                f"{path.name}: every statement must begin with CREATE TABLE IF NOT EXISTS, so that it can be "
                f"repeated; one begins with {statement[:40]!r}"
            )
    return statements
