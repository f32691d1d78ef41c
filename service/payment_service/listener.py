"""The TLS listener: certificate, limits on slow clients, and the graceful end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import structlog
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from payment_service.application import Lifecycle
from payment_service.problems import CONTENT_TYPE, Problem

_FAREWELL_SECONDS = 0.5
_CERTIFICATE_LIFETIME = timedelta(days=397)

log = structlog.get_logger()


def make_server_context() -> ssl.SSLContext:
    """TLS 1.2 and newer, with a key and a self-signed certificate that exist only in this process.

    A load balancer encrypts to its targets without verifying their certificates, so that an authority would
    add nothing but a secret to keep.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "payment-service")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _CERTIFICATE_LIFETIME)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("payment-service"), x509.DNSName("localhost")]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python's ssl reads keys from files only; this file is memory, and gone when it is closed.
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


def impatient_protocol(read_timeout_seconds: float) -> type[asyncio.Protocol]:
    """Uvicorn's HTTP protocol with a limit on the time until the headers of a request are complete.

    Uvicorn bounds only the pause between two requests. A connection that sends half a header would stay.
    """

    class ImpatientProtocol(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None
        _has_begun = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._start_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._has_begun = True
            if self._timer is None:
                self._start_timer()

        def on_headers_complete(self) -> None:
            self._stop_timer()
            self._has_begun = False
            super().on_headers_complete()

        def _start_timer(self) -> None:
            self._timer = self.loop.call_later(read_timeout_seconds, self._give_up)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _give_up(self) -> None:
            self._timer = None
            if self.transport.is_closing():
                return
            if not self._has_begun:
                # An answer nobody asked for could be taken for that of a request which is on its way.
                self.transport.close()
                return
            problem = Problem(
                408, f"The request did not arrive within {read_timeout_seconds:g} s.", kind="slow-request"
            )
            body = json.dumps(problem.document()).encode()
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n"
                b"content-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (CONTENT_TYPE.encode(), len(body), body)
            )
            self.transport.close()
            log.info("request", method="other", route="unknown", status=408)

        def send_400_response(self, msg: str) -> None:
            self._stop_timer()
            super().send_400_response(msg)

    return ImpatientProtocol


class DrainingServer(uvicorn.Server):
    """Ends in three steps: not ready any more, then closed to new connections, then gone with its last
    request.

    Args:
        drain_seconds: The time between the first two steps, in which balancers notice.
    """

    def __init__(self, config: uvicorn.Config, *, lifecycle: Lifecycle, drain_seconds: float) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_seconds = drain_seconds
        self._closes_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A second signal skips the waiting; uvicorn would raise the signal again at the end, we end with
        0."""
        if self._lifecycle.is_draining:
            self.should_exit = True
        else:
            log.info("draining", signal=signal.Signals(sig).name, drain_seconds=self._drain_seconds)
        self._lifecycle.is_draining = True
        self._closes_at = time.monotonic() + self._drain_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        log.info("listening", port=self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(super().shutdown(sockets))
            group.create_task(self._abort_idle_connections(leaving))

    async def _abort_idle_connections(self, leaving: asyncio.Task[None]) -> None:
        """Let no client that ignores our closing (uvloop waits 30 s for it) keep the process alive."""
        was_idle = False
        while not leaving.done():
            await asyncio.sleep(_FAREWELL_SECONDS)
            is_idle = not self.server_state.tasks
            # Twice in a row, so that the last answer has left, too.
            if is_idle and was_idle:
                for connection in list(self.server_state.connections):
                    connection.transport.abort()
            was_idle = is_idle

    async def on_tick(self, counter: int) -> bool:
        if self._closes_at is not None and time.monotonic() >= self._closes_at:
            self.should_exit = True
        return await super().on_tick(counter)


def build_server(
    application: ASGIApp,
    *,
    lifecycle: Lifecycle,
    host: str,
    port: int,
    read_timeout_seconds: float,
    drain_seconds: float,
    longest_request_seconds: float,
) -> DrainingServer:
    """The server, not yet started.

    Args:
        longest_request_seconds: What a request that was accepted may still take at the end.
    """
    context = make_server_context()
    options: dict[str, Any] = {
        "http": impatient_protocol(read_timeout_seconds),
        "ws": "none",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        # Longer than the load balancer keeps an idle connection (60 s), or it may send a request into one
        # that we are closing.
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": round(longest_request_seconds) + 1,
        "ssl_context_factory": lambda config, default: context,
    }
    config = uvicorn.Config(application, host=host, port=port, **options)
    return DrainingServer(config, lifecycle=lifecycle, drain_seconds=drain_seconds)
