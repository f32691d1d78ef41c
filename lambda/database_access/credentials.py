"""The JSON of a database secret, checked: what RDS attaches to it, and the two accounts that rotation alternates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from database_access.errors import SecretFormatError
from database_access.names import ACCOUNT_NAME, ACCOUNT_NAME_RULE
from database_access.structured_log import protect

PASSWORD_LENGTH: Final = 40
# Shorter ones are refused: they are weak, and could not be struck out of a log without damage to other words.
MINIMUM_PASSWORD_LENGTH: Final = 8
# DMS refuses ; : + . in the password of a secret (Using AWS Secrets Manager, DMS user guide); the others are
# what RDS refuses in a master password or what needs quoting in a URL, a shell or SQL.
EXCLUDED_CHARACTERS: Final = "!\"#$%&'()*+,./:;<=>?@[\\]^`{|}~ "
_PASSWORD_ALPHABET: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@dataclass(frozen=True, kw_only=True)
class DatabaseSecret:
    """The credentials of one account of one database, and where it listens.

    Attributes:
        name: How messages call the secret: its ARN or its role.
        alternate_username: The other account of an alternating pair; None in the admin secret.
        document: The whole JSON object, so that keys we do not know survive a rotation.
    """

    name: str
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    alternate_username: str | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, *, name: str, pair: bool) -> Self:
        """Read a secret's string; ``pair`` asks for ``alternate_username``.

        Raises:
            SecretFormatError: It is not JSON, or keys are missing or wrong; all of them are named at once.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            # Outside the except clause and without the cause: JSONDecodeError carries the whole secret.
            raise SecretFormatError(f"secret {name}: is not a JSON object")
        mistakes = list(_mistakes(document, pair=pair))
        if mistakes:
            raise SecretFormatError(f"secret {name}: {'; '.join(mistakes)}")
        protect(document["password"])
        return cls(
            name=name,
            host=document["host"],
            port=int(document["port"]),
            username=document["username"],
            password=document["password"],
            alternate_username=document["alternate_username"] if pair else None,
            document=document,
        )

    def with_new_password(self, password: str) -> Self:
        """The same account with another password: the single-user strategy."""
        return self._changed({"password": password})

    def swapped(self, password: str) -> Self:
        """The other account of the pair with a new password: the alternating-users strategy."""
        return self._changed(
            {
                "username": self.alternate_username,
                "alternate_username": self.username,
                "password": password,
            }
        )

    def to_text(self) -> str:
        """The secret's string, with every key that it had."""
        return json.dumps(dict(self.document))

    def same_database_as(self, other: DatabaseSecret) -> bool:
        return (self.host.lower(), self.port) == (other.host.lower(), other.port)

    def _changed(self, changes: Mapping[str, Any]) -> Self:
        return type(self).parse(
            json.dumps({**self.document, **changes}),
            name=self.name,
            pair=self.alternate_username is not None,
        )


def check_generated_password(password: str, *, name: str) -> None:
    """Every character is one that DMS, RDS and a URL take as it stands; the message shows none of them.

    Raises:
        SecretFormatError: It is too short or has another character.
    """
    if len(password) < PASSWORD_LENGTH:
        raise SecretFormatError(
            f"secret {name}: the generated password has {len(password)} characters, {PASSWORD_LENGTH} are needed"
        )
    if not _PASSWORD_ALPHABET.issuperset(password):
        raise SecretFormatError(
            f"secret {name}: the generated password has characters other than letters, digits, - and _"
        )


def _mistakes(document: Mapping[str, Any], *, pair: bool) -> list[str]:
    mistakes = []
    required = ("engine", "host", "port", "username", "password", *(("alternate_username",) if pair else ()))
    missing = [key for key in required if key not in document]
    if missing:
        mistakes.append(f"lacks {', '.join(missing)}")
    if "engine" in document and document["engine"] != "mysql":
        mistakes.append(f'engine must be "mysql", got {document["engine"]!r}')
    host = document.get("host")
    if "host" in document and (not isinstance(host, str) or not host or len(host) > 255):
        mistakes.append(f"host must be a host name, got {host!r}")
    if "port" in document and not _is_port(document["port"]):
        mistakes.append(f"port must be a number from 1 to 65535, got {document['port']!r}")
    for key in ("username", "alternate_username"):
        if key not in required or key not in document:
            continue
        value = document[key]
        if not isinstance(value, str) or not ACCOUNT_NAME.fullmatch(value):
            mistakes.append(f"{key} must be {ACCOUNT_NAME_RULE}, got {value!r}")
    if pair and document.get("username") is not None and document.get("username") == document.get("alternate_username"):
        mistakes.append(f"username and alternate_username must differ, both are {document['username']!r}")
    password = document.get("password")
    if "password" in document and (not isinstance(password, str) or len(password) < MINIMUM_PASSWORD_LENGTH):
        mistakes.append(f"password must be a text of at least {MINIMUM_PASSWORD_LENGTH} characters")
    return mistakes


def _is_port(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return False
    text = str(value)
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535
