"""A server in front of the local AWS that answers some calls with Throttling, as AWS does under load."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

# Of the query and REST protocols with XML (ELBv2, Route 53), and of those with JSON (DynamoDB).
_XML = b"<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>"
_JSON = b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'


@dataclass
class Throttle:
    """Attributes: left: how many of the next calls are refused; refused: what was refused; passed: what was not."""

    endpoint_url: str = ""
    left: int = 0
    refused: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)


@contextmanager
def throttling(upstream_url: str) -> Iterator[Throttle]:
    """Listens on a free port of the loopback interface."""
    throttle, upstream = Throttle(), urlsplit(upstream_url)

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            call = f"{self.command} {self.path.partition('?')[0]}"
            if throttle.left > 0:
                throttle.left -= 1
                throttle.refused.append(call)
                json = "amz-json" in self.headers.get("Content-Type", "")
                self._answer(400, _JSON if json else _XML, "application/x-amz-json-1.0" if json else "text/xml")
                return
            throttle.passed.append(call)
            # Not urllib: it adds a Content-Type, by which moto would choose another protocol.
            connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port)
            try:
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                answer = connection.getresponse()
                self._answer(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
            finally:
                connection.close()

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _answer(self, status: int, body: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    throttle.endpoint_url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield throttle
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
