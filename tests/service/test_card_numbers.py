"""Card numbers are recognized however they are written, and other numbers are left alone."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from payment_service.card_numbers import contains_card_number, mask_card_numbers, stands_alone_as_card_number

# The test numbers that the card schemes publish.
CARD_NUMBERS = [
    "4111111111111111",
    "5555555555554444",
    "378282246310005",
    "6011111111111117",
    "30569309025904",
    "3530111333300000",
    "4222222222222",
    "6304000000000000000",
]


def luhn_complete(digits: str) -> str:
    """The digits with the check digit of ISO/IEC 7812-1 behind them, computed digit by digit."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return digits + str(-total % 10)


card_numbers = st.text("0123456789", min_size=12, max_size=18).map(luhn_complete)


@pytest.mark.parametrize("number", CARD_NUMBERS)
def test_the_numbers_of_every_scheme_are_recognized(number: str) -> None:
    assert contains_card_number(number)


@given(card_numbers, st.sampled_from(["", " ", "-"]), st.sampled_from(["", "tok_", "card: ", "ü"]))
def test_a_card_number_is_recognized_grouped_and_inside_of_text(number: str, separator: str, before: str) -> None:
    grouped = separator.join(number[start : start + 4] for start in range(0, len(number), 4))

    assert contains_card_number(f"{before}{grouped} please")


@given(card_numbers)
def test_masking_leaves_nothing_of_a_card_number(number: str) -> None:
    masked = mask_card_numbers(f"paid with {number}.")

    assert masked == "paid with [card number removed]."


@given(card_numbers, st.integers(1, 9))
def test_a_number_with_a_wrong_check_digit_is_none(number: str, offset: int) -> None:
    wrong = number[:-1] + str((int(number[-1]) + offset) % 10)
    assume(wrong != number)

    assert not contains_card_number(wrong)
    assert mask_card_numbers(wrong) == wrong


@pytest.mark.parametrize(
    "text", ["", "tok_1234567890", "411111111111", "41111111111111111111", "2026-11-24T18:14:37.714538Z", "INV 12"]
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert not contains_card_number(text)


@given(card_numbers, st.sampled_from(["", "tok_", "tok-", "card ", "1x:"]), st.sampled_from(["", "-1", "_x", " 12"]))
def test_a_card_number_in_an_identifier_stands_alone(number: str, before: str, after: str) -> None:
    # A hyphen or space before more digits makes one longer run of them, which is no card number any more.
    assume(not (after and after[1:].isdigit() and after[0] in " -"))

    assert stands_alone_as_card_number(f"{before}{number}{after}")


@given(card_numbers, st.sampled_from(["a{}", "{}f", "DE{}", "tok_c0ffee{}", "{}deadbeef"]))
def test_digits_inside_of_a_longer_identifier_are_no_card_number(number: str, identifier: str) -> None:
    assert not stands_alone_as_card_number(identifier.format(number))


# Examples of the IBAN registry; the first and the last hold a run of 13 to 19 digits.
@pytest.mark.parametrize("text", ["GB29NWBK60161331926819", "DE89370400440532013000", "NO9386011117947"])
def test_an_iban_is_no_card_number(text: str) -> None:
    assert not stands_alone_as_card_number(text)
