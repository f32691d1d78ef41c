"""Amounts are exact, in every currency."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from payment_service.money import (
    MAXIMUM_INTEGER_DIGITS,
    MINOR_UNIT_DIGITS,
    AmountError,
    format_amount,
    parse_amount,
)

currencies = st.sampled_from(sorted(MINOR_UNIT_DIGITS))


@st.composite
def amounts(draw: st.DrawFn) -> tuple[str, str]:
    """An amount as a client may write it, and its currency."""
    currency = draw(currencies)
    integer = draw(st.integers(0, 10**MAXIMUM_INTEGER_DIGITS - 1))
    fraction = draw(st.text("0123456789", max_size=MINOR_UNIT_DIGITS[currency]))
    text = f"{integer}.{fraction}" if fraction else str(integer)
    return (text, currency) if Decimal(text) else ("1", currency)


@given(amounts())
@example(("0.0001", "CLF"))
@example(("999999999999", "JPY"))
@example(("0.1", "USD"))
def test_an_amount_keeps_its_exact_value(written: tuple[str, str]) -> None:
    text, currency = written

    assert parse_amount(text, currency) == Decimal(text)


@given(amounts())
def test_an_amount_reads_the_same_after_it_was_written(written: tuple[str, str]) -> None:
    text, currency = written
    amount = parse_amount(text, currency)

    assert parse_amount(format_amount(amount, currency), currency) == amount


@given(amounts())
def test_an_amount_is_written_with_all_digits_of_its_minor_unit(written: tuple[str, str]) -> None:
    text, currency = written

    _, _, fraction = format_amount(parse_amount(text, currency), currency).partition(".")

    assert len(fraction) == MINOR_UNIT_DIGITS[currency]


@given(st.lists(amounts(), min_size=1, max_size=20))
def test_amounts_of_one_currency_add_up_exactly_in_any_order(written: list[tuple[str, str]]) -> None:
    _, currency = written[0]
    parsed = [parse_amount(text, currency) for text, other in written if other == currency]

    assert sum(parsed) == sum(reversed(parsed)) == sum(Decimal(format_amount(a, currency)) for a in parsed)


@given(st.text(), currencies)
def test_any_text_is_an_amount_that_the_ledger_holds_or_refused(text: str, currency: str) -> None:
    with suppress(AmountError):
        assert 0 < parse_amount(text, currency) < 10**MAXIMUM_INTEGER_DIGITS


@pytest.mark.parametrize(
    ("text", "currency", "reason"),
    [
        ("12.345", "EUR", "has 3 digits after the decimal point; EUR has 2"),
        ("12.0", "JPY", "has 1 digits after the decimal point; JPY has none"),
        ("1234567890123", "EUR", "has 13 digits before the decimal point; at most 12 are allowed"),
        ("0.00", "EUR", "must be greater than zero"),
        ("-1", "EUR", "must be a decimal number in plain digits"),
        ("+1", "EUR", "must be a decimal number in plain digits"),
        ("01", "EUR", "must be a decimal number in plain digits"),
        ("1e3", "EUR", "must be a decimal number in plain digits"),
        ("NaN", "EUR", "must be a decimal number in plain digits"),
        ("1,5", "EUR", "must be a decimal number in plain digits"),
        ("1.", "EUR", "must be a decimal number in plain digits"),
        (".5", "EUR", "must be a decimal number in plain digits"),
        ("1\n", "EUR", "must be a decimal number in plain digits"),
        ("١", "EUR", "must be a decimal number in plain digits"),
        ("", "EUR", "must be a decimal number in plain digits"),
    ],
)
def test_what_is_no_amount_is_refused_with_the_reason(text: str, currency: str, reason: str) -> None:
    with pytest.raises(AmountError, match=reason):
        parse_amount(text, currency)


@pytest.mark.parametrize(("currency", "digits"), [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)])
def test_minor_units_are_those_of_iso_4217(currency: str, digits: int) -> None:
    assert MINOR_UNIT_DIGITS[currency] == digits


@pytest.mark.parametrize("code", ["XAU", "XXX", "XTS", "XDR", "EUX", "eur", ""])
def test_what_is_not_paid_with_is_no_currency(code: str) -> None:
    assert code not in MINOR_UNIT_DIGITS
