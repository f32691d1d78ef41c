"""What a payment is, and how one is read from a request. Pure: no clock, no database."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from payment_service.card_numbers import contains_card_number, mask_card_numbers, stands_alone_as_card_number
from payment_service.money import MINOR_UNIT_DIGITS, AmountError, format_amount, parse_amount
from payment_service.problems import FieldProblem, Problem

_ACCOUNT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,33}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{8,64}")
_REFERENCE_CHARACTERS = 140
_SHOWN_CHARACTERS = 40
_CARD_NUMBER = PydanticCustomError(
    "card_number", "looks like a card number, which this service neither takes nor stores; send a token"
)


class PaymentOrder(BaseModel):
    """What a client asks for. Two orders with the same key are the same when they are equal.

    Attributes:
        currency: ISO 4217 code of a currency that has a minor unit.
        amount: Greater than zero, with all digits of the currency's minor unit.
        debtor_account: Who pays: an IBAN, or a name that begins with a letter; at most 34 characters.
        creditor_account: Who is paid; not the debtor.
        payment_token: Stands for the card; 8 to 64 letters, digits, hyphens and underscores.
        reference: Free text of up to 140 characters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    # Before the amount, whose check needs it.
    currency: str
    amount: Decimal
    debtor_account: str
    creditor_account: str
    payment_token: str
    reference: str | None = None

    @field_validator("currency")
    @classmethod
    def _is_paid_with(cls, value: str) -> str:
        if value not in MINOR_UNIT_DIGITS:
            raise _error(f"{_shown(value)} is not the code of a currency in ISO 4217 that payments are made in")
        return value

    @field_validator("amount", mode="before")
    @classmethod
    def _is_exact(cls, value: object, info: ValidationInfo) -> Decimal:
        if not isinstance(value, str):
            raise _error('must be a string, such as "12.34": a JSON number is not exact everywhere')
        currency = info.data.get("currency")
        try:
            # While the currency is wrong, the amount is checked against the most permissive one.
            return parse_amount(value, currency if currency is not None else "CLF")
        except AmountError as error:
            raise _error(f"{_shown(value)} {error}") from None

    @field_validator("debtor_account", "creditor_account")
    @classmethod
    def _names_an_account(cls, value: str) -> str:
        if stands_alone_as_card_number(value):
            raise _CARD_NUMBER
        if not _ACCOUNT.fullmatch(value):
            raise _error(f"{_shown(value)} is not an account: a letter, then at most 33 letters, digits, - or _")
        return value

    @field_validator("creditor_account")
    @classmethod
    def _is_somebody_else(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("debtor_account"):
            raise _error("must not be the debtor_account")
        return value

    @field_validator("payment_token")
    @classmethod
    def _is_a_token(cls, value: str) -> str:
        if stands_alone_as_card_number(value):
            raise _CARD_NUMBER
        if not _TOKEN.fullmatch(value):
            raise _error("is not a token: 8 to 64 letters, digits, hyphens or underscores")
        return value

    @field_validator("reference")
    @classmethod
    def _is_short_plain_text(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if contains_card_number(value):
            raise _CARD_NUMBER
        if not 1 <= len(value) <= _REFERENCE_CHARACTERS:
            raise _error(f"has {len(value)} characters; 1 to {_REFERENCE_CHARACTERS} are allowed")
        if not value.isprintable():
            raise _error("holds a character that cannot be printed")
        return value


@dataclass(frozen=True, kw_only=True)
class Payment:
    """A payment as it is stored.

    Attributes:
        payment_id: The idempotency key, a UUID in its canonical form.
        recorded_in: The database that was the writer when the payment was committed.
        created_at: Aware, UTC, microseconds.
    """

    payment_id: str
    order: PaymentOrder
    recorded_in: str
    created_at: datetime

    def document(self) -> dict[str, Any]:
        """The JSON object that the client gets."""
        order = self.order
        return {
            "id": self.payment_id,
            "amount": format_amount(order.amount, order.currency),
            "currency": order.currency,
            "debtor_account": order.debtor_account,
            "creditor_account": order.creditor_account,
            "payment_token": order.payment_token,
            "reference": order.reference,
            "created_at": self.created_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        }


def parse_key(value: str | None) -> str:
    """The idempotency key, canonical.

    The header's value is a UUID, bare or as the quoted string of draft-ietf-httpapi-idempotency-key-header.

    Raises:
        Problem: 400 when it is missing or no UUID.
    """
    if value is None:
        raise Problem(400, "The header Idempotency-Key is required: a UUID.", kind="idempotency-key")
    quoted = len(value) > 1 and value[0] == value[-1] == '"'
    if (key := canonical_uuid(value[1:-1] if quoted else value)) is None:
        raise Problem(400, f"The header Idempotency-Key must be a UUID, got {_shown(value)}.", kind="idempotency-key")
    return key


def canonical_uuid(text: str) -> str | None:
    """The UUID in lower case with hyphens, or None when the text is not one of 36 characters."""
    try:
        canonical = str(UUID(text))
    except ValueError:
        return None
    # UUID() also takes braces, a URN prefix and any placing of hyphens: too many spellings of one key.
    return canonical if canonical == text.lower() else None


def parse_order(body: bytes) -> PaymentOrder:
    """The order that the body of a request holds.

    Raises:
        Problem: 400 when the body is not one JSON object, 422 naming each member that is wrong.
    """
    try:
        found = json.loads(body, object_pairs_hook=_unambiguous, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _AmbiguousError) else "it is not valid JSON in UTF-8"
        raise Problem(400, f"The body cannot be read: {reason}.", kind="malformed-json") from None
    if not isinstance(found, dict):
        raise Problem(400, "The body cannot be read: it must be a JSON object.", kind="malformed-json")
    try:
        return PaymentOrder.model_validate(found)
    except ValidationError as error:
        found_errors = error.errors(include_url=False, include_context=False, include_input=False)
        errors = [_field_problem(entry) for entry in found_errors]
        kind = "card-number" if any(e["type"] == "card_number" for e in found_errors) else "invalid-payment"
        what = "; ".join(f"{entry['pointer'][2:]} {entry['detail']}" for entry in errors)
        raise Problem(422, f"The payment is not valid: {what}.", kind=kind, errors=errors) from None


def _field_problem(error: Mapping[str, Any]) -> FieldProblem:
    name = _shown(str(error["loc"][0]), quote="")
    details = {
        "missing": "is required",
        "extra_forbidden": f"is not a member of a payment; these are {', '.join(PaymentOrder.model_fields)}",
        "string_type": "must be a string",
    }
    pointer = name.replace("~", "~0").replace("/", "~1")
    return FieldProblem(pointer=f"#/{pointer}", detail=details.get(error["type"], error["msg"]))


class _AmbiguousError(ValueError):
    """Valid JSON that different readers would read differently."""


def _unambiguous(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise _AmbiguousError("a member occurs twice")
    return found


def _no_constant(name: str) -> None:
    raise _AmbiguousError(f"{name} is not a JSON value")


def _error(message: str) -> PydanticCustomError:
    # A brace in the text would be taken for a placeholder.
    return PydanticCustomError("payment", "{message}", {"message": message})


def _shown(value: str, quote: str = '"') -> str:
    """A client's value as a message may repeat it: short, on one line, without a card number."""
    short = value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}…"
    # Masked before it is cut, or the cut could make a card number unrecognizable and still leave most of it.
    if contains_card_number(value):
        short = mask_card_numbers(value)[:_SHOWN_CHARACTERS]
    return f"{quote}{''.join(c if c.isprintable() else '?' for c in short)}{quote}"
