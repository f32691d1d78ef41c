"""The place where CloudFormation has a custom resource's answer put: an HTTP server instead of Amazon S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

SIGNATURE = "c2lnbmF0dXJlLW9mLWEtcHJlc2lnbmVkLWFkZHJlc3M"


@dataclass
class Receiver:
    """Attributes: statuses: what the next requests are answered, then 200; answers: the bodies that were taken."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def event(self, request_type: str = "Create", **properties: object) -> dict[str, Any]:
        """A request whose answer comes here."""
        return {
            "RequestType": request_type,
            "ResponseURL": self.url,
            "StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/payments/1",
            "RequestId": "request-1",
            "ResourceType": "Custom::DatabaseBootstrap",
            "LogicalResourceId": "Bootstrapped",
            **({} if request_type == "Create" else {"PhysicalResourceId": "given-before"}),
            "ResourceProperties": {"ServiceToken": "arn:aws:lambda:…", **properties},
        }


@contextmanager
def answer_receiver() -> Iterator[Receiver]:
    """Receives on a free port of the loopback interface."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.statuses.pop(0) if receiver.statuses else 200
            if status == 200:
                receiver.answers.append(json.loads(body))
                receiver.headers.append(dict(self.headers.items()))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/answer?X-Amz-Signature={SIGNATURE}&X-Amz-Expires=7200"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
