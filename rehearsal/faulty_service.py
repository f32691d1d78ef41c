"""Stands in front of a healthy service and spoils its answers, as a bad release would; its health check stays well.

    python -m rehearsal.faulty_service MODE PORT       (MODE: errors, slow)

It prints the port on which it listens, over TLS, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from payment_service.listener import make_server_context

MODES = ("errors", "slow")
SLOW_SECONDS = 2.5
_ERROR = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}"


class FaultyService:
    """The process. A context manager. Attributes: port: where it listens."""

    def __init__(self, mode: str, *, target_port: int) -> None:
        if mode not in MODES:
            raise ValueError(f"mode: {mode!r}, allowed: {', '.join(MODES)}")
        project = Path(__file__).resolve().parents[1]
        self._process = subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-m", "rehearsal.faulty_service", mode, str(target_port)],
            cwd=project,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(project)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError("the faulty service did not start")
        self.port = int(line)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _serve(mode: str, target_port: int) -> None:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE

    async def pass_on(head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", target_port, ssl=trusting)
        try:
            writer.write(head[:-2] + b"connection: close\r\n\r\n" + body)
            return await reader.read()
        finally:
            writer.transport.abort()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                body = await reader.readexactly(length)
                if head.startswith(b"POST") and mode == "errors":
                    writer.write(_ERROR)
                    continue
                if head.startswith(b"POST"):
                    await asyncio.sleep(SLOW_SECONDS)
                writer.write(await pass_on(head, body))
                break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=make_server_context())
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
