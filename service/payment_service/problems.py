"""Problem documents (RFC 9457): the only form in which the service tells a client that something is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

CONTENT_TYPE = "application/problem+json"


class FieldProblem(dict[str, str]):
    """What is wrong with one member of the request: a JSON pointer into the body, and a sentence."""

    def __init__(self, *, pointer: str, detail: str) -> None:
        super().__init__(pointer=pointer, detail=detail)


class Problem(Exception):  # noqa: N818 (an answer rather than an error; RFC 9457 calls it so)
    """An answer that is not a success.

    Attributes:
        status: HTTP status.
        kind: The last part of the problem's type, a URN that clients may compare. None means that the status
            says it all (``about:blank``).
        detail: One sentence for the person who reads the client's log. Never holds a card number.
        errors: One entry for each member of the body that is wrong.
        retry_after_seconds: When to repeat the request with the same Idempotency-Key.
        closes: The connection ends with the answer, because the rest of the request was not read.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str | None = None,
        title: str | None = None,
        errors: Sequence[FieldProblem] = (),
        retry_after_seconds: int | None = None,
        headers: Mapping[str, str] | None = None,
        closes: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.title = title or HTTPStatus(status).phrase
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        if retry_after_seconds is not None:
            self.headers["Retry-After"] = str(retry_after_seconds)
        if closes:
            self.headers["Connection"] = "close"

    @property
    def type(self) -> str:
        return "about:blank" if self.kind is None else f"urn:payment-service:problem:{self.kind}"

    def document(self) -> dict[str, Any]:
        """The JSON object that the client gets."""
        return {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **({"errors": list(self.errors)} if self.errors else {}),
        }

    def response(self) -> JSONResponse:
        """The whole answer."""
        return JSONResponse(self.document(), status_code=self.status, headers=self.headers, media_type=CONTENT_TYPE)
