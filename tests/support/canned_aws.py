"""What moto has not got, or cannot show healthy: AWS Backup's jobs and the ECS services, answered as their APIs do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote


@dataclass
class CannedAws:
    """Attributes:
    tasks: running and wanted tasks, by ECS service.
    jobs: states of the backup jobs by id; each that is started begins CREATED.
    started: what StartBackupJob was asked for.
    """

    endpoint_url: str = ""
    tasks: dict[str, tuple[int, int]] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)
    started: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        match method, path.strip("/").split("/"):
            case "POST", [""] if "taskDefinition" in body:
                return 200, {"taskDefinition": {"taskDefinitionArn": body["taskDefinition"], "cpu": "1024"}}
            case "POST", [""]:
                return 200, {"services": [self._service(name) for name in body["services"] if name in self.tasks]}
            case "PUT", ["backup-jobs"]:
                # A token that was given before starts nothing.
                job = f"job-{body['IdempotencyToken']}"
                if job not in self.jobs:
                    self.jobs[job] = "CREATED"
                    self.started.append(body)
                return 200, {"BackupJobId": job}
            case "GET", ["backup-jobs", job] if job in self.jobs:
                return 200, {"BackupJobId": job, "State": self.jobs[job], "StatusMessage": "as the test has it"}
        return 404, {"Code": "ResourceNotFoundException", "Message": path}

    def _service(self, name: str) -> dict[str, Any]:
        running, desired = self.tasks[name]
        return {
            "serviceName": name,
            "status": "ACTIVE",
            "desiredCount": desired,
            "runningCount": running,
            "deployments": [{"status": "PRIMARY", "rolloutState": "COMPLETED"}],
            "taskDefinition": f"arn:aws:ecs:us-east-1:123456789012:task-definition/{name}:1",
        }


@contextmanager
def canned_aws() -> Iterator[CannedAws]:
    """Listens on a free port of the loopback interface."""
    canned = CannedAws()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, document = canned.answer(self.command, unquote(self.path), json.loads(body or b"{}"))
            text = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            self._serve()

        def do_PUT(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    canned.endpoint_url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield canned
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
