"""Lambda's API for the functions of this project: the real handlers, called in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote

Handler = Callable[[Mapping[str, Any], Any], Any]


class Context:
    """What Lambda hands over."""

    def get_remaining_time_in_millis(self) -> int:
        return 100_000


@dataclass
class FunctionHost:
    """Attributes:
    handlers: by name of the function.
    calls: name and event of each invocation, in order; a dry run invokes nothing.
    """

    endpoint_url: str = ""
    handlers: dict[str, Handler] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def invoke(self, name: str, event: dict[str, Any], kind: str) -> tuple[int, bool, Any]:
        """Status, whether the function failed, and the document that it answers."""
        if name not in self.handlers:
            return 404, False, {"Type": "User", "Message": f"Function not found: {name}"}
        if kind == "DryRun":
            return 204, False, None
        self.calls.append((name, event))
        try:
            return 200, False, self.handlers[name](event, Context())
        except Exception as error:
            # As Lambda does: the failure is in the answer, and the call itself is well.
            return 200, True, {"errorMessage": str(error), "errorType": type(error).__name__}


@contextmanager
def function_host() -> Iterator[FunctionHost]:
    """Listens on a free port of the loopback interface."""
    host = FunctionHost()

    class Serve(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            name = unquote(self.path).split("/")[3]
            kind = self.headers.get("X-Amz-Invocation-Type", "RequestResponse")
            status, failed, document = host.invoke(name, json.loads(body or b"{}"), kind)
            text = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            if status == 404:
                self.send_header("X-Amzn-ErrorType", "ResourceNotFoundException")
            if failed:
                self.send_header("X-Amz-Function-Error", "Unhandled")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Serve)
    host.endpoint_url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
