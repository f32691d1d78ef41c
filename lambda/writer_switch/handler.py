"""Entry point of the function that switches the writer, and that says which database it is."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cutover_state.layout import StateUnreadableError
from cutover_state.lease import LeaseUnreadableError, read_lease
from cutover_state.run import Phase as RunPhase
from cutover_state.run import RunStore
from database_access import structured_log
from database_access.admin import open_as_admin
from database_access.deadline import Deadline
from database_access.errors import DatabaseAccessError
from database_access.secret_store import read_secret
from database_access.session import Connect, Session, connector
from writer_switch.database import ChainDatabase
from writer_switch.find import find_writer
from writer_switch.protocol import switch
from writer_switch.request import HandlerSettings, SecretArns, SwitchRequest

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

log = logging.getLogger(__name__)

FIND_WRITER: Final = "find_writer"
# For answering once the work is over.
_RESERVE_SECONDS: Final = 2.0
# However long the function may live: the lease must last as long as the run can.
LONGEST_RUN_SECONDS: Final = 120.0


class LambdaContext(Protocol):
    """What the function needs of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Switch the writer, or with ``{"operation": "find_writer"}`` only say who it is; the outcome as JSON.

    Raises:
        SettingsError: The environment is wrong.
        SwitchRequestError: The event is wrong.
    """
    structured_log.configure()
    settings = HandlerSettings.parse(os.environ)
    config = Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=2, read_timeout=5)
    return run(
        event,
        settings=settings,
        secrets_manager=boto3.client("secretsmanager", config=config),
        dynamodb=boto3.client("dynamodb", config=config),
        connect=connector(ca_path=settings.database_ca_path),
        deadline=Deadline.after(
            min(LONGEST_RUN_SECONDS, max(0.0, context.get_remaining_time_in_millis() / 1000 - _RESERVE_SECONDS))
        ),
    )


def run(
    event: Mapping[str, Any],
    *,
    settings: HandlerSettings,
    secrets_manager: SecretsManagerClient,
    dynamodb: DynamoDBClient,
    connect: Connect,
    deadline: Deadline,
    now: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """What the event asks for.

    Raises:
        SwitchRequestError: The event is wrong.
    """
    if event == {"operation": FIND_WRITER}:
        report = find_writer(chain_of(secrets_manager, settings), connect=connect)
        log.log(
            logging.ERROR if report.pages else logging.INFO,
            "looked for the writer",
            extra=structured_log.fields(**report.document()),
        )
        return report.document()
    request = SwitchRequest.parse(event, chain=settings.chain)

    def authorize() -> str | None:
        until = now() + deadline.remaining_seconds()
        return taken_back(dynamodb, settings.state_table_name, request) or refusal(
            dynamodb, settings.state_table_name, request.cutover_id, until=until
        )

    return switch(
        request,
        chain=chain_of(secrets_manager, settings),
        connect=connect,
        deadline=deadline,
        authorize=authorize,
    ).document()


def refusal(dynamodb: DynamoDBClient, table_name: str, cutover_id: str, *, until: float) -> str | None:
    """Why the cutover may not switch the writer; its lease must last as long as the run can."""
    try:
        lease = read_lease(dynamodb, table_name=table_name)
    except LeaseUnreadableError as error:
        return str(error)
    if lease is None:
        return f"no cutover holds the lease; {cutover_id} must take it first"
    if lease.cutover_id != cutover_id:
        return f"cutover {lease.cutover_id} of {lease.holder} has the lease, not {cutover_id}"
    if not lease.is_held(now=until):
        return f"the lease of {cutover_id} ends at {lease.expires_at}, before this run must: renew it first"
    return None


def taken_back(dynamodb: DynamoDBClient, table_name: str, request: SwitchRequest) -> str | None:
    """Why the switch comes too late: the cutover that asked for it is being taken back, or was.

    A rollback marks the run before it looks who the writer is, so a switch that it does not see ends here.
    """
    try:
        run = RunStore(dynamodb, table_name=table_name).read()
    except (ClientError, BotoCoreError, StateUnreadableError) as error:
        return f"whether cutover {request.cutover_id} goes forward cannot be read: {error}"
    late = (RunPhase.ROLLING_BACK, RunPhase.ROLLED_BACK)
    if run is None or run.cutover_id != request.cutover_id or run.phase not in late or request.new != run.writer_after:
        return None
    return f"cutover {run.cutover_id} is {run.phase.value}: the writer does not go to {request.new} any more"


def chain_of(secrets_manager: SecretsManagerClient, settings: HandlerSettings) -> tuple[ChainDatabase, ...]:
    return tuple(_database(secrets_manager, name, settings.secret_arns[name]) for name in settings.chain)


def _database(secrets_manager: SecretsManagerClient, name: str, arns: SecretArns) -> ChainDatabase:
    """A database whose secrets cannot be had counts as one that does not answer."""
    try:
        admin = read_secret(secrets_manager, arns.admin, pair=False)
        application = read_secret(secrets_manager, arns.application, pair=True)
    except DatabaseAccessError as error:
        return ChainDatabase(name=name, admin=None, application=None, unavailable=str(error))

    def open_admin(connect: Connect, deadline: Deadline) -> Session:
        return open_as_admin(connect, secrets_manager, admin, arn=arns.admin, deadline=deadline)

    return ChainDatabase(name=name, admin=admin, application=application, open_admin=open_admin)
