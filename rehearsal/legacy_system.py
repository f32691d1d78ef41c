"""A small legacy system: it takes payments as our service does, and knows its own database only.

    python -m rehearsal.legacy_system --database legacy=ARN --listen-host 127.0.0.1 --listen-port 0 --database-ca FILE

Our service refuses a single database, because with one of them nothing could ever be switched. The legacy system has
just that limit: once its account is locked, it can do nothing but wait.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import uvloop

from payment_service.__main__ import serve
from payment_service.arguments import Arguments
from payment_service.logs import configure_logs

HOLD_SECONDS = 15.0


def main() -> int:
    """Serve until a signal ends it; the exit status."""
    parser = argparse.ArgumentParser(prog="legacy_system", description=__doc__)
    parser.add_argument("--database", required=True, metavar="NAME=SECRET_ARN")
    parser.add_argument("--listen-host", default="127.0.0.1")
    parser.add_argument("--listen-port", type=int, default=0)
    parser.add_argument("--database-ca", type=Path, required=True)
    found = parser.parse_args()
    name, _, secret_arn = found.database.partition("=")
    configure_logs("INFO")
    arguments = Arguments(
        databases={name: secret_arn},
        listen_host=found.listen_host,
        listen_port=found.listen_port,
        hold_seconds=HOLD_SECONDS,
        database_ca=found.database_ca,
        schema="payments",
        region=None,
        sessions=10,
        queue=1000,
        read_timeout_seconds=10.0,
        drain_seconds=5.0,
        log_level="INFO",
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(arguments))


if __name__ == "__main__":
    sys.exit(main())
