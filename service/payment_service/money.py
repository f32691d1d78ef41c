"""Exact amounts of money in the currencies of ISO 4217."""

from __future__ import annotations

import re
from decimal import Decimal

from iso4217 import Currency

# What DECIMAL(16,4) of schema.sql holds: 4 is the largest minor unit of ISO 4217 (CLF, UYW).
MAXIMUM_INTEGER_DIGITS = 12
_AMOUNT = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?")

# Codes without a minor unit (gold, the SDR, "no currency") are not money that is paid with.
MINOR_UNIT_DIGITS: dict[str, int] = {
    str(currency.code): currency.exponent for currency in Currency if currency.exponent is not None
}


class AmountError(ValueError):
    """The text is no amount of the currency; the message says why, without repeating the text."""


def parse_amount(text: str, currency: str) -> Decimal:
    """The amount that the text means, with all digits of the currency's minor unit.

    Raises:
        AmountError: Not a plain decimal number, zero, or more digits than the currency or the ledger has.
        KeyError: The currency is not one of MINOR_UNIT_DIGITS.
    """
    allowed = MINOR_UNIT_DIGITS[currency]
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise AmountError('must be a decimal number in plain digits, such as "12.34"')
    integer, fraction = match[1], match[2] or ""
    if len(integer) > MAXIMUM_INTEGER_DIGITS:
        raise AmountError(
            f"has {len(integer)} digits before the decimal point; at most {MAXIMUM_INTEGER_DIGITS} are allowed"
        )
    if len(fraction) > allowed:
        raise AmountError(f"has {len(fraction)} digits after the decimal point; {currency} has {allowed or 'none'}")
    amount = Decimal(text)
    if amount == 0:
        raise AmountError("must be greater than zero")
    return amount.quantize(Decimal(1).scaleb(-allowed))


def format_amount(amount: Decimal, currency: str) -> str:
    """The amount as a decimal string with all digits of the currency's minor unit."""
    return f"{amount.quantize(Decimal(1).scaleb(-MINOR_UNIT_DIGITS[currency])):f}"
