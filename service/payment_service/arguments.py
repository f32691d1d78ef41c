"""The command line. The task definition holds no environment block, so everything is an argument."""

from __future__ import annotations

import argparse
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from payment_service.desk import TRANSACTION_SECONDS

PROGRAM = "payment_service"
DATABASE_NAMES = ("legacy", "blue", "green")
# The load balancer gives up after 60 s without a byte (its attribute idle_timeout). A request may be
# held until the bound and then still take one transaction, and the answer has to travel: 60 - 5 - 5.
ALB_IDLE_TIMEOUT_SECONDS = 60
MAXIMUM_HOLD_SECONDS = ALB_IDLE_TIMEOUT_SECONDS - TRANSACTION_SECONDS - 5
_SECRET_ARN = re.compile(r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What the service is told.

    Attributes:
        databases: The secret's ARN for each database.
        hold_seconds: How long a request may wait for a session and a writer; at most MAXIMUM_HOLD_SECONDS.
        sessions: Database sessions of this process.
        queue: Requests that may wait for a session; the next one is answered 503 at once.
        read_timeout_seconds: The time that a client has to send the headers, and again for the body.
        drain_seconds: The time between SIGTERM and the closing of the listener.
    """

    databases: dict[str, str]
    listen_host: str
    listen_port: int
    hold_seconds: float
    database_ca: Path
    schema: str
    region: str | None
    sessions: int
    queue: int
    read_timeout_seconds: float
    drain_seconds: float
    log_level: str


def parse_arguments(words: Sequence[str] | None = None) -> Arguments:
    """The arguments; ends the process with status 2 and one line that names what is wrong."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--database",
        action="append",
        required=True,
        metavar="NAME=SECRET_ARN",
        help=f"two or three of {', '.join(DATABASE_NAMES)}, each with the ARN of its application secret",
    )
    parser.add_argument("--listen-host", default="0.0.0.0", metavar="ADDRESS", help="address to listen on")  # noqa: S104
    parser.add_argument("--listen-port", type=int, default=8443, metavar="PORT", help="0 chooses a free one")
    parser.add_argument(
        "--hold-seconds",
        type=float,
        default=45.0,
        help=f"how long a request waits for a writer; at most {MAXIMUM_HOLD_SECONDS:g}",
    )
    parser.add_argument(
        "--database-ca",
        type=Path,
        default=Path("/app/certificates/rds-us-east-1.pem"),
        metavar="FILE",
        help="certificate authorities of the databases, PEM",
    )
    parser.add_argument("--schema", default="payments", help="schema of the payments")
    parser.add_argument("--region", default=None, help="AWS region; that of the environment when absent")
    parser.add_argument("--sessions", type=int, default=10, help="database sessions of this process")
    parser.add_argument("--queue", type=int, default=1000, help="requests that may wait for a session")
    parser.add_argument("--read-timeout-seconds", type=float, default=10.0, help="for headers, and for the body")
    parser.add_argument("--drain-seconds", type=float, default=5.0, help="from SIGTERM to the closed listener")
    parser.add_argument("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO")
    found = parser.parse_args(words)
    for option, value, least, most in (
        ("--listen-port", found.listen_port, 0, 65535),
        ("--hold-seconds", found.hold_seconds, 0, MAXIMUM_HOLD_SECONDS),
        ("--sessions", found.sessions, 1, 200),
        ("--queue", found.queue, 0, 100_000),
        ("--read-timeout-seconds", found.read_timeout_seconds, 0.1, ALB_IDLE_TIMEOUT_SECONDS),
        ("--drain-seconds", found.drain_seconds, 0, 120),
    ):
        # Written so that NaN, too, is refused.
        if not least <= value <= most:
            parser.error(f"argument {option}: {value:g} is not from {least:g} to {most:g}")
    try:
        ssl.create_default_context(cafile=str(found.database_ca))
    except FileNotFoundError:
        parser.error(f"argument --database-ca: there is no file {found.database_ca}")
    except OSError:
        parser.error(f"argument --database-ca: {found.database_ca} holds no certificates in PEM that can be read")
    values = vars(found)
    return Arguments(databases=_databases(parser, values.pop("database")), **values)


def _databases(parser: argparse.ArgumentParser, words: Sequence[str]) -> dict[str, str]:
    databases: dict[str, str] = {}
    for word in words:
        name, _, secret_arn = word.partition("=")
        if name not in DATABASE_NAMES:
            parser.error(f"argument --database: {name!r} is not one of {', '.join(DATABASE_NAMES)}")
        if name in databases:
            parser.error(f"argument --database: {name} is given twice")
        if not _SECRET_ARN.fullmatch(secret_arn):
            parser.error(f"argument --database: {name}={secret_arn} does not give the ARN of a secret")
        databases[name] = secret_arn
    if len(databases) < 2:
        parser.error(f"argument --database: two or three are needed, got {len(databases)}")
    return databases
