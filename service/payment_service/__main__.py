"""Entry point: ``python -m payment_service --database blue=ARN --database green=ARN``."""

from __future__ import annotations

import asyncio
import ssl
import sys

import boto3
import structlog
import uvloop
from botocore.config import Config
from botocore.exceptions import NoRegionError

from payment_service.application import Lifecycle, build_application
from payment_service.arguments import PROGRAM, Arguments, parse_arguments
from payment_service.credentials import SecretCredentials
from payment_service.database import Database
from payment_service.desk import TRANSACTION_SECONDS, PaymentDesk
from payment_service.listener import build_server
from payment_service.logs import configure_logs
from payment_service.telemetry import Telemetry
from payment_service.writer import WriterLocator


async def serve(arguments: Arguments) -> int:
    """Run until a signal ends it; the exit status of the process."""
    log = structlog.get_logger()
    tls = ssl.create_default_context(cafile=str(arguments.database_ca))
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    secrets = boto3.client(
        "secretsmanager",
        region_name=arguments.region,
        config=Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2, "mode": "standard"}),
    )
    databases = [
        Database(
            name=name,
            schema=arguments.schema,
            credentials=SecretCredentials(client=secrets, secret_arn=secret_arn),
            tls=tls,
        )
        for name, secret_arn in arguments.databases.items()
    ]
    telemetry, lifecycle = Telemetry(), Lifecycle()
    locator = WriterLocator(databases, telemetry)
    desk = PaymentDesk(
        locator=locator,
        telemetry=telemetry,
        sessions=arguments.sessions,
        queue=arguments.queue,
        hold_seconds=arguments.hold_seconds,
    )
    application = build_application(
        desk=desk,
        locator=locator,
        telemetry=telemetry,
        lifecycle=lifecycle,
        read_timeout_seconds=arguments.read_timeout_seconds,
    )
    server = build_server(
        application,
        lifecycle=lifecycle,
        host=arguments.listen_host,
        port=arguments.listen_port,
        read_timeout_seconds=arguments.read_timeout_seconds,
        drain_seconds=arguments.drain_seconds,
        longest_request_seconds=arguments.hold_seconds + TRANSACTION_SECONDS,
    )
    search = asyncio.create_task(locator.run(), name="writer locator")
    listening = asyncio.create_task(server.serve(), name="listener")
    await asyncio.wait((search, listening), return_when=asyncio.FIRST_COMPLETED)
    if listening.done():
        search.cancel()
        await asyncio.wait((search,))
        listening.result()
        log.info("ended")
        return 0
    # Without its locator the service would look well and do nothing: better that it is replaced.
    server.should_exit = True
    await listening
    log.error("the writer locator failed", exc_info=search.exception())
    return 1


def main() -> int:
    """Parse the arguments and serve."""
    arguments = parse_arguments()
    configure_logs(arguments.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serve(arguments))
    except NoRegionError:
        print(f"{PROGRAM}: error: argument --region: is required where the environment names none", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
