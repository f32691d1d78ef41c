"""What a function of the cutover is told by its environment, read once, with one clear error for what is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class SettingsError(Exception):
    """An environment variable of the function is missing or malformed; the message names it."""


@dataclass(frozen=True)
class Settings:
    """The environment of a function.

    Attributes:
        environment: the variables, as ``os.environ`` has them.
    """

    environment: Mapping[str, str]

    def text(self, name: str) -> str:
        """The value of ``name``.

        Raises:
            SettingsError: it is missing or empty.
        """
        value = self.environment.get(name, "")
        if not value:
            raise SettingsError(f"{name}: the function's environment must have it")
        return value

    def mapping(self, name: str) -> Mapping[str, Any]:
        """The JSON object that ``name`` holds.

        Raises:
            SettingsError: it is missing or is no JSON object.
        """
        value = self._json(name)
        if not isinstance(value, dict):
            raise SettingsError(f"{name}: must be a JSON object, got {type(value).__name__}")
        return value

    def listing(self, name: str) -> tuple[Any, ...]:
        """The JSON list that ``name`` holds.

        Raises:
            SettingsError: it is missing or is no JSON list.
        """
        value = self._json(name)
        if not isinstance(value, list):
            raise SettingsError(f"{name}: must be a JSON list, got {type(value).__name__}")
        return tuple(value)

    def _json(self, name: str) -> Any:
        try:
            return json.loads(self.text(name))
        except json.JSONDecodeError as error:
            raise SettingsError(f"{name}: must be JSON: {error}") from None
