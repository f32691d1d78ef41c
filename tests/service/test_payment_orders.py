"""What a request may say, and the answer to everything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_service.payments import canonical_uuid, parse_key, parse_order
from payment_service.problems import Problem

KEY = "0b9fb2f3-1f0c-4c39-9d0c-1d8f5a3d1c11"
ORDER: dict[str, Any] = {
    "amount": "12.34",
    "currency": "EUR",
    "debtor_account": "DE89370400440532013000",
    "creditor_account": "ACME-7",
    "payment_token": "tok_1a2b3c4d",
    "reference": "Invoice 12, thank you",
}


def refusal(body: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        parse_order(body)
    return caught.value


def refusal_of(**changes: Any) -> Problem:
    members = {**ORDER, **changes}
    return refusal(json.dumps({name: value for name, value in members.items() if value is not ...}).encode())


def test_a_complete_order_is_taken_as_it_is() -> None:
    order = parse_order(json.dumps(ORDER).encode())

    assert order.model_dump(mode="json") == ORDER


def test_the_reference_may_be_absent_or_null() -> None:
    absent = {name: value for name, value in ORDER.items() if name != "reference"}

    assert parse_order(json.dumps(absent).encode()) == parse_order(json.dumps({**ORDER, "reference": None}).encode())


def test_two_spellings_of_one_amount_are_the_same_order() -> None:
    assert parse_order(json.dumps({**ORDER, "amount": "5"}).encode()) == parse_order(
        json.dumps({**ORDER, "amount": "5.00"}).encode()
    )


@pytest.mark.parametrize(
    ("changes", "pointer", "detail"),
    [
        ({"amount": ...}, "#/amount", "is required"),
        ({"currency": ...}, "#/currency", "is required"),
        ({"payment_token": ...}, "#/payment_token", "is required"),
        ({"amount": 12.34}, "#/amount", 'must be a string, such as "12.34": a JSON number is not exact everywhere'),
        ({"amount": None}, "#/amount", 'must be a string, such as "12.34": a JSON number is not exact everywhere'),
        ({"amount": "12.345"}, "#/amount", '"12.345" has 3 digits after the decimal point; EUR has 2'),
        (
            {"amount": "1234567890123"},
            "#/amount",
            '"1234567890123" has 13 digits before the decimal point; at most 12 are allowed',
        ),
        ({"amount": "0"}, "#/amount", '"0" must be greater than zero'),
        (
            {"currency": "EUX"},
            "#/currency",
            '"EUX" is not the code of a currency in ISO 4217 that payments are made in',
        ),
        ({"currency": 978}, "#/currency", "must be a string"),
        (
            {"debtor_account": "12345"},
            "#/debtor_account",
            '"12345" is not an account: a letter, then at most 33 letters, digits, - or _',
        ),
        ({"creditor_account": ORDER["debtor_account"]}, "#/creditor_account", "must not be the debtor_account"),
        (
            {"payment_token": "short"},
            "#/payment_token",
            "is not a token: 8 to 64 letters, digits, hyphens or underscores",
        ),
        ({"reference": "x" * 141}, "#/reference", "has 141 characters; 1 to 140 are allowed"),
        ({"reference": ""}, "#/reference", "has 0 characters; 1 to 140 are allowed"),
        ({"reference": "a\nb"}, "#/reference", "holds a character that cannot be printed"),
        (
            {"cvv": "123"},
            "#/cvv",
            "is not a member of a payment; these are currency, amount, debtor_account, creditor_account, "
            "payment_token, reference",
        ),
    ],
)
def test_each_wrong_member_is_named_with_what_is_allowed(changes: dict[str, Any], pointer: str, detail: str) -> None:
    problem = refusal_of(**changes)

    assert problem.status == 422
    assert problem.type == "urn:payment-service:problem:invalid-payment"
    assert problem.document()["errors"] == [{"pointer": pointer, "detail": detail}]


def test_all_wrong_members_are_named_at_once() -> None:
    problem = refusal_of(amount="1e3", currency="EUX", extra=1)

    assert {error["pointer"] for error in problem.errors} == {"#/amount", "#/currency", "#/extra"}


@pytest.mark.parametrize("name", ["debtor_account", "creditor_account", "payment_token", "reference"])
@pytest.mark.parametrize("number", ["4111111111111111", "4111 1111 1111 1111", "tok-4111-1111-1111-1111"])
def test_a_card_number_is_refused_in_every_member_and_not_repeated(name: str, number: str) -> None:
    problem = refusal_of(**{name: number})

    assert problem.status == 422
    assert problem.type == "urn:payment-service:problem:card-number"
    assert "4111" not in json.dumps(problem.document())


@pytest.mark.parametrize("changes", [{"currency": "4111111111111111"}, {"4111111111111111": "x"}])
def test_a_card_number_where_nobody_expects_it_is_not_repeated(changes: dict[str, Any]) -> None:
    assert "4111111111111111" not in json.dumps(refusal_of(**changes).document())


def test_a_long_value_is_cut_in_the_answer() -> None:
    detail = refusal_of(currency="Q" * 5000).errors[0]["detail"]

    assert len(detail) < 150


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is not valid JSON in UTF-8"),
        (b"{", "it is not valid JSON in UTF-8"),
        (b'{"amount": "1"} x', "it is not valid JSON in UTF-8"),
        (b'{"amount": "\xff"}', "it is not valid JSON in UTF-8"),
        (b"[" * 16000, "it is not valid JSON in UTF-8"),
        (b'{"amount": ' + b"9" * 5000 + b"}", "it is not valid JSON in UTF-8"),
        (b'{"amount": NaN}', "NaN is not a JSON value"),
        (b'{"amount": "1", "amount": "2"}', "a member occurs twice"),
        (b"[]", "it must be a JSON object"),
        (b'"text"', "it must be a JSON object"),
        (b"null", "it must be a JSON object"),
    ],
)
def test_a_body_that_is_not_one_json_object_is_refused(body: bytes, reason: str) -> None:
    problem = refusal(body)

    assert problem.status == 400
    assert problem.type == "urn:payment-service:problem:malformed-json"
    assert problem.detail == f"The body cannot be read: {reason}."


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*ORDER, "other"]), _json) | _json)
def test_any_json_is_an_order_or_a_problem_document(value: Any) -> None:
    try:
        parse_order(json.dumps(value).encode())
    except Problem as caught:
        problem = caught
    else:
        return

    assert json.loads(json.dumps(problem.document()))["status"] in (400, 422)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_order_or_a_problem(body: bytes) -> None:
    with pytest.raises(Problem):
        parse_order(body)


@pytest.mark.parametrize("written", [KEY, KEY.upper(), f'"{KEY}"'])
def test_the_idempotency_key_is_a_uuid_bare_or_quoted(written: str) -> None:
    assert parse_key(written) == KEY


@pytest.mark.parametrize("written", ["", "1", '"', f"{{{KEY}}}", f"urn:uuid:{KEY}", KEY.replace("-", ""), f'"{KEY}'])
def test_another_key_is_refused(written: str) -> None:
    with pytest.raises(Problem, match="The header Idempotency-Key must be a UUID, got") as caught:
        parse_key(written)

    assert caught.value.status == 400


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(Problem, match="The header Idempotency-Key is required: a UUID"):
        parse_key(None)


def test_a_card_number_as_a_key_is_not_repeated() -> None:
    with pytest.raises(Problem) as caught:
        parse_key("4111111111111111")

    assert "4111" not in caught.value.detail


@given(st.uuids())
def test_every_uuid_is_its_own_canonical_form(value: object) -> None:
    assert canonical_uuid(str(value).upper()) == str(value)
