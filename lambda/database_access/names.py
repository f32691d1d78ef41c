"""Names of schemas, tables and accounts: checked against what we allow, then quoted.

Statements cannot take names as parameters, so a name that is not of this alphabet is refused before any statement
is made of it. In a statement for ``Session.execute`` a percent sign is written twice; ``account`` does so.
"""

from __future__ import annotations

import re
from typing import Final

from database_access.errors import InvalidNameError

# 32 characters is MySQL's limit for an account, 64 for a schema (MySQL 8.0 manual, 9.2.1 and 6.2.4).
ACCOUNT_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}")
ACCOUNT_NAME_RULE: Final = "1 to 32 letters, digits and _, beginning with a letter"
SCHEMA_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
SCHEMA_NAME_RULE: Final = "1 to 64 lower-case letters, digits and _, beginning with a letter"


def identifier(name: str) -> str:
    """A schema or table name, quoted.

    Raises:
        InvalidNameError: It has a character that we do not allow.
    """
    if not SCHEMA_NAME.fullmatch(name):
        raise InvalidNameError(f"a schema or table name must be {SCHEMA_NAME_RULE}, got {name!r}")
    return f"`{name}`"


def schema_in_grant(name: str) -> str:
    """A schema's name in a grant on the whole schema, where an underscore would stand for any character."""
    return identifier(name).replace("_", "\\_")


def account(username: str) -> str:
    """An account of ours, which may come from any host, quoted.

    Raises:
        InvalidNameError: It has a character that we do not allow.
    """
    if not ACCOUNT_NAME.fullmatch(username):
        raise InvalidNameError(f"an account name must be {ACCOUNT_NAME_RULE}, got {username!r}")
    return f"`{username}`@`%%`"
