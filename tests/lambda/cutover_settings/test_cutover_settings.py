"""Settings from the environment of a function: what is missing or malformed is named."""

from __future__ import annotations

import pytest

from cutover_settings import Settings, SettingsError

SETTINGS = Settings({"TABLE": "state", "EMPTY": "", "GROUPS": '{"blue": "arn"}', "TASKS": '["a", "b"]', "BAD": "{"})


def test_values_are_read_as_what_they_are() -> None:
    assert (SETTINGS.text("TABLE"), SETTINGS.mapping("GROUPS"), SETTINGS.listing("TASKS")) == (
        "state",
        {"blue": "arn"},
        ("a", "b"),
    )


@pytest.mark.parametrize("name", ["NONE", "EMPTY"])
@pytest.mark.parametrize("read", [Settings.text, Settings.mapping, Settings.listing])
def test_what_is_missing_is_named(name: str, read: object) -> None:
    assert callable(read)
    with pytest.raises(SettingsError, match=f"^{name}: the function's environment must have it$"):
        read(SETTINGS, name)


@pytest.mark.parametrize(
    ("read", "name", "message"),
    [
        (Settings.mapping, "BAD", "^BAD: must be JSON: Expecting property name"),
        (Settings.mapping, "TABLE", "^TABLE: must be JSON: Expecting value"),
        (Settings.mapping, "TASKS", "^TASKS: must be a JSON object, got list$"),
        (Settings.listing, "GROUPS", "^GROUPS: must be a JSON list, got dict$"),
    ],
)
def test_what_is_malformed_is_named(read: object, name: str, message: str) -> None:
    assert callable(read)
    with pytest.raises(SettingsError, match=message):
        read(SETTINGS, name)
