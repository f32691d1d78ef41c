"""Recognizes card numbers (PAN), so that none is stored or logged (PCI DSS 4.0.1, requirements 3.3 to
3.5)."""

from __future__ import annotations

import re

# ISO/IEC 7812-1: a PAN has up to 19 digits; the shortest in use has 13. People group digits by a space or
# hyphen.
_DIGIT_RUN = re.compile(r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![0-9])")
_MASK = "[card number removed]"


def contains_card_number(text: str) -> bool:
    """Whether a run of 13 to 19 digits in the text passes the Luhn check (ISO/IEC 7812-1, annex B)."""
    return any(_passes_luhn(run.group()) for run in _DIGIT_RUN.finditer(text))


def stands_alone_as_card_number(text: str) -> bool:
    """The same, but not for a run that touches a letter.

    For identifiers: one random hexadecimal token in some thousands holds a run that passes inside of it, and its
    payment must not fail for that.
    """
    return any(
        _passes_luhn(run.group())
        for run in _DIGIT_RUN.finditer(text)
        if not any(neighbour.isalpha() for neighbour in (text[: run.start()][-1:], text[run.end() :][:1]))
    )


def mask_card_numbers(text: str) -> str:
    """The text with every run of digits that could be a card number replaced."""
    return _DIGIT_RUN.sub(lambda run: _MASK if _passes_luhn(run.group()) else run.group(), text)


def _passes_luhn(run: str) -> bool:
    digits = [int(character) for character in run if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
