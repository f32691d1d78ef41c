"""Entry point of the rotation function of one database: for Secrets Manager, and for our schedule."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Final, Protocol

import boto3
from botocore.config import Config

from cutover_state.restart import RestartStore
from database_access import structured_log
from database_access.deadline import Deadline
from database_access.session import connector
from database_access.structured_log import fields, strike_out
from secret_rotation.errors import RotationDeferredError, RotationError
from secret_rotation.replication_tasks import ReplicationTasks
from secret_rotation.request import RotationRequest, Settings, asks_to_resume
from secret_rotation.rotation import Rotation

log = logging.getLogger(__name__)

_RESERVE_SECONDS: Final = 15.0


class LambdaContext(Protocol):
    """What the function needs of Lambda's context."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int: ...


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> Mapping[str, str]:
    """Do one step of a rotation, or take up what is unfinished; an error makes Secrets Manager retry."""
    structured_log.configure()
    config = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=3, read_timeout=10)
    settings = Settings.parse(os.environ)
    remaining_seconds = context.get_remaining_time_in_millis() / 1000
    deadline = Deadline.after(max(remaining_seconds - _RESERVE_SECONDS, remaining_seconds / 2))
    dynamodb = boto3.client("dynamodb", config=config)
    rotation = Rotation(
        settings=settings,
        secrets_manager=boto3.client("secretsmanager", config=config),
        dynamodb=dynamodb,
        connect=connector(ca_path=settings.database_ca_path),
        tasks=ReplicationTasks(
            dms=boto3.client("dms", config=config),
            store=RestartStore(dynamodb, table_name=settings.state_table_name),
            task_arns=settings.replication_task_arns,
            owner=context.aws_request_id,
            deadline=deadline,
        ),
        deadline=deadline,
    )
    return run(event, rotation=rotation)


def run(event: Mapping[str, Any], *, rotation: Rotation) -> Mapping[str, str]:
    """What the event asks for; whatever is raised is logged first and holds no secret.

    Raises:
        RotationError: The step failed or waits.
    """
    failure: Exception
    try:
        if asks_to_resume(event):
            found = rotation.resume()
            log.info("unfinished rotations looked for", extra=fields(**found))
            return found
        request = RotationRequest.parse(event)
        done = rotation.run(request)
    except RotationDeferredError as error:
        log.warning("rotation deferred", extra=fields(step=event.get("Step"), reason=str(error)))
        failure = RotationDeferredError(strike_out(str(error)))
    except Exception as error:  # every error of ours and of the libraries, made fit for Lambda's own log
        log.exception("rotation step failed", extra=fields(step=event.get("Step")))
        failure = RotationError(strike_out(f"{type(error).__name__}: {_text(error)}"))
    else:
        log.info(
            "rotation step done",
            extra=fields(step=request.step.value, secret=request.secret_arn, version=request.version_id, done=done),
        )
        return {"done": done}
    # Outside the except clauses, so that Lambda prints no chain of errors that we did not look through.
    raise failure


def _text(error: Exception) -> str:
    if isinstance(error, ExceptionGroup):
        return "; ".join(f"{type(each).__name__}: {each}" for each in error.exceptions)
    return str(error)
