"""The HTTP interface: routes, and what is checked before a request becomes a payment."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from payment_service.database import DatabaseError
from payment_service.desk import Outcome, PaymentDesk, describe
from payment_service.payments import canonical_uuid, parse_key, parse_order
from payment_service.problems import Problem
from payment_service.telemetry import Telemetry
from payment_service.writer import WriterLocator

MAXIMUM_BODY_BYTES = 16 * 1024
# X-Ray's format of the header that the load balancer adds, to find a request in its access log.
_TRACE = re.compile(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}")

log = structlog.get_logger()


@dataclass(kw_only=True)
class Lifecycle:
    """Whether the process is on its way out."""

    is_draining: bool = False


def build_application(
    *,
    desk: PaymentDesk,
    locator: WriterLocator,
    telemetry: Telemetry,
    lifecycle: Lifecycle,
    read_timeout_seconds: float,
) -> ASGIApp:
    """The ASGI application.

    Args:
        read_timeout_seconds: The time that a client has to send the body.
    """

    async def create_payment(request: Request) -> Response:
        payment_id = parse_key(request.headers.get("idempotency-key"))
        _note(request, payment_id=payment_id)
        _require_json(request)
        order = parse_order(await read_body(request, timeout_seconds=read_timeout_seconds))
        taken = await desk.take(payment_id, order)
        _note(request, **describe(taken))
        created = taken.outcome is Outcome.CREATED
        return JSONResponse(
            taken.payment.document(),
            status_code=201 if created else 200,
            headers={"Location": f"/payments/{payment_id}"} if created else {"Idempotent-Replayed": "true"},
        )

    async def get_payment(request: Request) -> Response:
        payment_id = canonical_uuid(request.path_params["payment_id"])
        if payment_id is None:
            raise Problem(404, "No payment has this id: ids are UUIDs.", kind="payment-not-found")
        _note(request, payment_id=payment_id)
        return JSONResponse((await desk.find(payment_id)).document())

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_: Request) -> Response:
        if lifecycle.is_draining:
            status = "draining"
        elif not locator.has_been_answered:
            status = "no database answers"
        else:
            status = "ready"
        return JSONResponse(
            {
                "status": status,
                "writer": locator.writer.name if locator.writer else None,
                "databases": {name: _said(answer) for name, answer in sorted(locator.answers.items())},
            },
            status_code=200 if status == "ready" else 503,
        )

    async def metrics(_: Request) -> Response:
        text, content_type = telemetry.exposition()
        return Response(text, headers={"Content-Type": content_type})

    async def answer_problem(_: Request, problem: Exception) -> Response:
        assert isinstance(problem, Problem)
        return problem.response()

    async def answer_failure(_: Request, __: Exception) -> Response:
        return Problem(500, "The service failed; repeat the request with the same Idempotency-Key.").response()

    async def answer_http_exception(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = {
            404: "There is nothing at this path.",
            405: "The method is not allowed at this path.",
        }.get(error.status_code, error.detail)
        return Problem(error.status_code, detail, headers=error.headers).response()

    routes = Starlette(
        routes=[
            Route("/payments", create_payment, methods=["POST"]),
            Route("/payments/{payment_id}", get_payment, methods=["GET"]),
            Route("/health/live", live, methods=["GET"]),
            Route("/health/ready", ready, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
        ],
        exception_handlers={
            Problem: answer_problem,
            HTTPException: answer_http_exception,
            Exception: answer_failure,
        },
    )
    # A redirect to the path without a slash would answer a POST that nobody has made.
    routes.router.redirect_slashes = False
    return Observed(routes, telemetry=telemetry, lifecycle=lifecycle)


async def read_body(request: Request, *, timeout_seconds: float) -> bytes:
    """The whole body, if it comes soon enough and is small enough.

    Raises:
        Problem: 408 or 413; the connection is closed with it, since the rest of the body is not wanted.
    """
    too_large = Problem(413, f"The body is larger than {MAXIMUM_BODY_BYTES} bytes.", kind="body-too-large", closes=True)
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > MAXIMUM_BODY_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAXIMUM_BODY_BYTES:
                    raise too_large
    except TimeoutError:
        raise Problem(
            408, f"The body did not arrive within {timeout_seconds:g} s.", kind="slow-request", closes=True
        ) from None
    return bytes(body)


class Observed:
    """Counts and logs each request, and answers what nobody foresaw, without a word of what the client
    sent."""

    def __init__(self, inner: ASGIApp, *, telemetry: Telemetry, lifecycle: Lifecycle) -> None:
        self._inner = inner
        self._telemetry = telemetry
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0
        notes: dict[str, Any] = {}
        scope["notes"] = notes

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._lifecycle.is_draining:
                    # The client shall come back on another connection, to another process.
                    MutableHeaders(raw=message["headers"])["Connection"] = "close"
            await send(message)

        try:
            await self._inner(scope, receive, observe)
        except ClientDisconnect:
            status = 499  # nginx's code for a client that went away before the answer
        except Exception as error:
            code = error.code if isinstance(error, DatabaseError) else None
            log.error("request failed", exc_info=error, **({} if code is None else {"database_error": code}))
            # Starlette has answered with 500 and raises the exception once more, for us to log it.
            if status != 500:
                raise
        finally:
            self._record(scope, notes, status, time.perf_counter() - started)

    def _record(self, scope: Scope, notes: dict[str, Any], status: int, seconds: float) -> None:
        # The pattern, not the path: a path is whatever a client writes.
        route = _route_of(scope)
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
        self._telemetry.answered(method=method, route=route, status=status, seconds=seconds)
        if route in ("/health/live", "/health/ready", "/metrics") and status == 200:
            return
        trace = next((value for name, value in scope["headers"] if name == b"x-amzn-trace-id"), b"")
        if match := _TRACE.search(trace.decode("latin-1")):
            notes["trace"] = match.group()
        log.info("request", method=method, route=route, status=status, duration_ms=round(seconds * 1000, 1), **notes)


def _route_of(scope: Scope) -> str:
    route = scope.get("route")
    return route.path if isinstance(route, Route) else "unknown"


def _note(request: Request, **notes: Any) -> None:
    """Something for the log line of this request."""
    request.scope["notes"].update(notes)


def _require_json(request: Request) -> None:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise Problem(415, "The body must have the Content-Type application/json.")


def _said(answer: Any) -> str:
    return "writer" if answer is None else answer.name.lower()
