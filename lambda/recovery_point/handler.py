"""Entry point of the function that takes recovery points before a cutover and waits for them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import boto3

from cutover_settings import Settings
from database_access import structured_log
from traffic.weights import RETRYING

if TYPE_CHECKING:
    from mypy_boto3_backup import BackupClient

log = logging.getLogger(__name__)

COMPLETED = "COMPLETED"
FAILED = frozenset({"ABORTED", "FAILED", "EXPIRED", "PARTIAL"})


class RecoveryPointError(Exception):
    """A backup job failed; the message names it."""


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Start a job for each database, or look at the ``jobs`` of an earlier call; whether all are ``complete``."""
    structured_log.configure()
    settings = Settings(os.environ)
    client: BackupClient = boto3.client("backup", config=RETRYING)
    jobs = event.get("jobs")
    if jobs is None:
        jobs = start(
            client,
            vault=settings.text("BACKUP_VAULT"),
            role_arn=settings.text("BACKUP_ROLE_ARN"),
            clusters=settings.listing("CLUSTER_ARNS"),
            cutover_id=str(event["cutover_id"]),
        )
    return {"jobs": list(jobs), "complete": are_complete(client, jobs)}


def start(
    client: BackupClient, *, vault: str, role_arn: str, clusters: Sequence[str], cutover_id: str
) -> tuple[str, ...]:
    """Start a backup job for each cluster; the same cutover starts each only once, however often it is called."""
    return tuple(
        client.start_backup_job(
            BackupVaultName=vault,
            ResourceArn=cluster,
            IamRoleArn=role_arn,
            IdempotencyToken=f"{cutover_id}-{number}",
            RecoveryPointTags={"Cutover": cutover_id},
        )["BackupJobId"]
        for number, cluster in enumerate(clusters)
    )


def are_complete(client: BackupClient, jobs: Sequence[str]) -> bool:
    """Whether every job has made its recovery point.

    Raises:
        RecoveryPointError: a job failed.
    """
    states = {}
    for job in jobs:
        found = client.describe_backup_job(BackupJobId=job)
        states[job] = found["State"]
        if found["State"] in FAILED:
            raise RecoveryPointError(f"backup job {job} is {found['State']}: {found.get('StatusMessage', 'no reason')}")
    log.info("backup jobs", extra=structured_log.fields(jobs=states))
    return all(state == COMPLETED for state in states.values())
