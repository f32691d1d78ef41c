"""A reader of JSON objects that notes what is wrong and goes on, so that its user learns of every mistake at once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

_LONGEST_SHOWN: Final = 60


class DocumentError(ValueError):
    """A document that cannot be used.

    Attributes:
        mistakes: One line for each: ``key: value, allowed: …``.
    """

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


def shown(value: object) -> str:
    """The value as JSON writes it, on one line, shortened when it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
        if not text.isprintable():
            text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = f"a value of the type {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def parse_object(text: str, *, name: str) -> dict[str, Any]:
    """The JSON object in ``text``.

    Raises:
        DocumentError: Not JSON, not an object, a key twice, or a number that JSON does not have (NaN).
    """
    if not isinstance(text, str):
        raise DocumentError([f"{name}: {shown(text)}, allowed: text that holds a JSON object"])
    try:
        value = json.loads(text, object_pairs_hook=_object_with_distinct_keys, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise DocumentError(
            [f"{name}: no JSON at line {error.lineno}, column {error.colno} ({error.msg}), allowed: a JSON object"]
        ) from None
    except RecursionError:
        raise DocumentError([f"{name}: nested too deeply, allowed: a JSON object"]) from None
    except ValueError as error:
        raise DocumentError([f"{name}: {error}, allowed: a JSON object"]) from None
    if not isinstance(value, dict):
        raise DocumentError([f"{name}: {shown(value)}, allowed: a JSON object"])
    return value


def _object_with_distinct_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"the key {', '.join(shown(key) for key in twice)} stands twice")
    return members


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


class Reader:
    """Members of one JSON object, taken one by one. A wrong one is noted and the default returned in its place.

    Attributes:
        path: Where the object stands in the document, such as ``steps[2]``; empty at the top.
        mistakes: What is wrong so far, shared with the readers of the objects inside.
    """

    def __init__(self, members: Mapping[str, Any], *, path: str = "", mistakes: list[str] | None = None) -> None:
        self.path = path
        self.mistakes: list[str] = [] if mistakes is None else mistakes
        self._members = members
        self._known: list[str] = []

    def name(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def has(self, key: str) -> bool:
        return key in self._members

    def note(self, key: str, allowed: str) -> None:
        """Note that the value of ``key`` is not ``allowed``."""
        value = shown(self._members[key]) if key in self._members else "missing"
        self.mistakes.append(f"{self.name(key)}: {value}, allowed: {allowed}")

    def integer(self, key: str, *, default: int | None = None, minimum: int, maximum: int, unit: str = "") -> int:
        """A whole number; required when there is no default."""
        self._known.append(key)
        allowed = f"a whole number from {minimum:,} to {maximum:,}{unit and ' ' + unit}"
        value = self._members.get(key, default)
        # A state machine may write 60 as 60.0; True is an int in Python, and no number here.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            self.note(key, allowed)
            return minimum if default is None else default
        return value

    def number(self, key: str, *, default: float | None = None, above: float, below: float, unit: str = "") -> float:
        """A number between two bounds, neither of which is allowed itself; required when there is no default."""
        self._known.append(key)
        value = self._members.get(key, default)
        if not _is_number(value) or not above < value < below:
            self.note(key, f"a number above {above:g} and below {below:g}{unit and ' ' + unit}")
            return (above + below) / 2 if default is None else default
        return float(value)

    def numbers(self, key: str, *, above: float, below: float, most: int) -> tuple[float, ...]:
        """One to ``most`` different numbers between two bounds, in ascending order; required."""
        self._known.append(key)
        value = self._members.get(key)
        if (
            not isinstance(value, list)
            or not 1 <= len(value) <= most
            or not all(_is_number(each) and above < each < below for each in value)
            or sorted(set(value)) != value
        ):
            self.note(key, f"1 to {most} ascending numbers above {above:g} and below {below:g}")
            return ()
        return tuple(float(each) for each in value)

    def boolean(self, key: str, *, default: bool) -> bool:
        self._known.append(key)
        value = self._members.get(key, default)
        if not isinstance(value, bool):
            self.note(key, "true or false")
            return default
        return value

    def line(self, key: str, *, default: str | None = None, longest: int) -> str:
        """Printable text on one line; required when there is no default."""
        self._known.append(key)
        value = self._members.get(key, default)
        if not isinstance(value, str) or not 1 <= len(value) <= longest or not value.isprintable() or not value.strip():
            self.note(key, f"1 to {longest} printable characters on one line")
            return default or ""
        return value

    def choice(self, key: str, *, default: str | None = None, allowed: Sequence[str]) -> str:
        self._known.append(key)
        value = self._members.get(key, default)
        if not isinstance(value, str) or value not in allowed:
            self.note(key, " or ".join(allowed))
            return allowed[0] if default is None else default
        return value

    def is_null(self, key: str) -> bool:
        """Whether the key is there with the value null, which switches something off."""
        if key in self._members and self._members[key] is None:
            self._known.append(key)
            return True
        return False

    def object_at(self, key: str) -> Reader | None:
        """The object under ``key``; None when it is absent, null, or no object."""
        self._known.append(key)
        value = self._members.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.note(key, "a JSON object")
            return None
        return Reader(value, path=self.name(key), mistakes=self.mistakes)

    def objects_at(self, key: str, *, most: int) -> list[Reader | None]:
        """The objects in the list under ``key``, None for each member that is no object; empty when absent."""
        self._known.append(key)
        if key not in self._members:
            return []
        value = self._members[key]
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            self.note(key, f"a list of 1 to {most} JSON objects")
            return []
        return [self._element(key, index, each) for index, each in enumerate(value)]

    def finish(self) -> None:
        """Note every key that nobody asked for. Call it last."""
        allowed = ", ".join(dict.fromkeys(self._known))
        for key in self._members:
            if key not in self._known:
                name = key if key.isprintable() else shown(key)
                self.mistakes.append(f"{self.name(name)}: unknown key, allowed: {allowed}")

    def _element(self, key: str, index: int, value: object) -> Reader | None:
        path = f"{self.name(key)}[{index}]"
        if not isinstance(value, dict):
            self.mistakes.append(f"{path}: {shown(value)}, allowed: a JSON object")
            return None
        return Reader(value, path=path, mistakes=self.mistakes)


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)
