"""Whether two databases have the same tables, so that a row fits into both."""

from __future__ import annotations

from collections.abc import Mapping

from database_access.session import Session

_COLUMNS = """
SELECT table_name, column_name, ordinal_position, column_type, is_nullable, column_default, extra
FROM information_schema.columns WHERE table_schema = %s
"""
_KEYS = """
SELECT table_name, index_name, seq_in_index, column_name, non_unique
FROM information_schema.statistics WHERE table_schema = %s
"""


def read_schema(session: Session, schema: str) -> frozenset[tuple[str, ...]]:
    """Columns and keys of every table of ``schema``, each as a tuple of texts."""
    columns = {("column", *map(str, row)) for row in session.query(_COLUMNS, schema)}
    keys = {("key", *map(str, row)) for row in session.query(_KEYS, schema)}
    return frozenset(columns | keys)


def differences(schemas: Mapping[str, frozenset[tuple[str, ...]]]) -> tuple[str, ...]:
    """What one database has and another has not, in words; empty when all are alike."""
    everywhere = frozenset.intersection(*schemas.values()) if schemas else frozenset()
    # Two empty schemas are alike, but more likely their name is wrong.
    found = [f"{name} has no table" for name, rows in sorted(schemas.items()) if not rows]
    for name, rows in sorted(schemas.items()):
        for row in sorted(rows - everywhere):
            found.append(f"{name} alone has {row[0]} {row[1]}.{row[2]} ({', '.join(row[3:])})")
    return tuple(found)
