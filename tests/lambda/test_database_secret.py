"""The JSON of a database secret: what is accepted, and what is said of what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from database_access import structured_log
from database_access.credentials import (
    EXCLUDED_CHARACTERS,
    DatabaseSecret,
    check_generated_password,
)
from database_access.errors import SecretFormatError

PASSWORD = "kQ7-vZ_2mN8xR4tB6wY1cD3fG5hJ9kL0pS-aE_iU"
GOOD = {
    "engine": "mysql",
    "host": "blue.cluster-abc.us-east-1.rds.amazonaws.com",
    "port": 3307,
    "username": "payments_app_a",
    "password": PASSWORD,
    "alternate_username": "payments_app_b",
    "dbClusterIdentifier": "blue",
}


def parse(document: object, *, pair: bool = True) -> DatabaseSecret:
    text = document if isinstance(document, str) else json.dumps(document)
    return DatabaseSecret.parse(text, name="the-secret", pair=pair)


def test_a_secret_as_rds_attaches_it_is_read() -> None:
    secret = parse(GOOD)
    assert (secret.host, secret.port, secret.username, secret.alternate_username) == (
        GOOD["host"],
        3307,
        "payments_app_a",
        "payments_app_b",
    )


def test_a_port_as_text_is_a_port() -> None:
    assert parse({**GOOD, "port": "3307"}).port == 3307


def test_the_password_is_in_no_representation() -> None:
    assert PASSWORD not in repr(parse(GOOD))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"engine": "postgres"}, "engine must be \"mysql\", got 'postgres'"),
        ({"host": ""}, "host must be a host name, got ''"),
        ({"host": 7}, "host must be a host name, got 7"),
        ({"host": "h" * 256}, "host must be a host name"),
        ({"port": 0}, "port must be a number from 1 to 65535, got 0"),
        ({"port": 65536}, "port must be a number from 1 to 65535, got 65536"),
        ({"port": "3307 "}, "port must be a number from 1 to 65535, got '3307 '"),
        ({"port": "٣٣٠٧"}, "port must be a number from 1 to 65535"),
        ({"port": True}, "port must be a number from 1 to 65535, got True"),
        ({"port": 3307.5}, "port must be a number from 1 to 65535, got 3307.5"),
        ({"username": "a' OR 1=1"}, "username must be 1 to 32 letters, digits and _"),
        ({"username": "a" * 33}, "username must be 1 to 32 letters, digits and _"),
        ({"username": None}, "username must be 1 to 32 letters, digits and _"),
        ({"alternate_username": "`x`"}, "alternate_username must be 1 to 32 letters, digits and _"),
        ({"alternate_username": "payments_app_a"}, "username and alternate_username must differ"),
        ({"password": "short"}, "password must be a text of at least 8 characters"),
        ({"password": 12345678}, "password must be a text of at least 8 characters"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SecretFormatError) as raised:
        parse({**GOOD, **changes})
    assert said in str(raised.value)


@pytest.mark.parametrize("key", ["engine", "host", "port", "username", "password", "alternate_username"])
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(SecretFormatError, match=f"secret the-secret: lacks {key}$"):
        parse({name: value for name, value in GOOD.items() if name != key})


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(SecretFormatError, match=r"lacks host, password; engine must .*; port must .*"):
        parse({"engine": "oracle", "port": "x", "username": "a", "alternate_username": "b"})


def test_an_admin_secret_needs_no_alternate() -> None:
    document = {key: value for key, value in GOOD.items() if key != "alternate_username"}
    assert parse(document, pair=False).alternate_username is None


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '"text"', "null", "{", "[" * 100_000])
def test_what_is_no_json_object_is_refused_without_its_content(text: str) -> None:
    with pytest.raises(SecretFormatError, match=r"^secret the-secret: is not a JSON object$"):
        parse(text)


def test_a_wrong_password_is_not_quoted() -> None:
    with pytest.raises(SecretFormatError) as raised:
        parse({**GOOD, "port": 0, "password": "tiny!pw"})
    assert "tiny!pw" not in str(raised.value)


def test_swapping_twice_comes_back_to_the_first_account() -> None:
    once = parse(GOOD).swapped("x" * 40)
    assert (once.username, once.alternate_username, once.password) == ("payments_app_b", "payments_app_a", "x" * 40)
    assert once.swapped(PASSWORD) == parse(GOOD)


def test_a_read_password_is_struck_out_of_texts() -> None:
    parse(GOOD)
    assert structured_log.strike_out(f"near '{PASSWORD}' at") == "near '[secret]' at"


def test_the_characters_to_exclude_leave_the_alphabet_and_nothing_else() -> None:
    printable = {chr(code) for code in range(32, 127)}
    alphabet = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert printable - set(EXCLUDED_CHARACTERS) == alphabet


@pytest.mark.parametrize("character", [*sorted(EXCLUDED_CHARACTERS), "é", "\n"])
def test_a_generated_password_with_another_character_is_refused_without_showing_it(character: str) -> None:
    with pytest.raises(SecretFormatError, match=r"has characters other than letters, digits, - and _$"):
        check_generated_password("a" * 39 + character, name="the-secret")


def test_a_generated_password_that_is_too_short_is_refused() -> None:
    with pytest.raises(SecretFormatError, match="has 39 characters, 40 are needed"):
        check_generated_password("a" * 39, name="the-secret")
