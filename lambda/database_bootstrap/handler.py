"""Entry point of the function behind ``Custom::DatabaseBootstrap``."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import boto3
from botocore.config import Config

from custom_resource import Request, serve
from database_access import structured_log
from database_access.deadline import Deadline
from database_access.secret_store import read_secret
from database_access.session import connector
from database_bootstrap import schema_files
from database_bootstrap.bootstrap import DatabaseSecrets, bootstrap
from database_bootstrap.properties import BootstrapProperties

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

log = logging.getLogger(__name__)

SCHEMA_FOLDER = Path(__file__).parent / "schema"


class LambdaContext(Protocol):
    """What the function needs of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


class SettingsError(Exception):
    """An environment variable of the function is missing."""


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, bool]:
    """Answer CloudFormation; the result is for the reader of a test invocation only."""
    structured_log.configure()
    # The same name for ever: nothing in the database is ever replaced or deleted.
    request = Request.parse(event, physical_resource_id=f"database-bootstrap-{event.get('LogicalResourceId')}")
    secrets_manager = boto3.client(
        "secretsmanager", config=Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=3)
    )

    def work(request: Request, seconds: float) -> Mapping[str, str]:
        return run(
            request,
            deadline=Deadline.after(seconds),
            secrets_manager=secrets_manager,
            ca_path=os.environ.get("DATABASE_CA_PATH", ""),
            schema_folder=SCHEMA_FOLDER,
        )

    succeeded = serve(
        request,
        work=work,
        remaining_seconds=context.get_remaining_time_in_millis() / 1000,
        conceal=structured_log.strike_out,
    )
    return {"succeeded": succeeded}


def run(
    request: Request,
    *,
    deadline: Deadline,
    secrets_manager: SecretsManagerClient,
    ca_path: str,
    schema_folder: Path,
    payments_sql: Path | None = None,
) -> Mapping[str, str]:
    """What Create and Update do; Delete leaves the database alone: data outlives the stack.

    Args:
        payments_sql: The service's SQL file, where it is not staged into the schema folder.
    """
    if request.request_type == "Delete":
        return {}
    properties = BootstrapProperties.parse(request.properties)
    if not ca_path:
        raise SettingsError("DATABASE_CA_PATH must name the file of the certificate authorities, it is not set")
    files = schema_files.load(schema_folder, payments=payments_sql)
    connect = connector(ca_path=Path(ca_path))
    found = DatabaseSecrets(
        admin=read_secret(secrets_manager, properties.admin_secret_arn, pair=False),
        application=read_secret(secrets_manager, properties.application_secret_arn, pair=True),
        replication=read_secret(secrets_manager, properties.replication_secret_arn, pair=True),
    )
    return bootstrap(properties, found=found, schema_files=files, connect=connect, deadline=deadline)
