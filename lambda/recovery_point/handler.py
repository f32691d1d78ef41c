"""Entry point of the function that takes recovery points before a cutover and waits for them.

That may take longer than the lease lasts and than anybody waits for a look at the cutover, so every call extends the
one and is the other.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3

from cutover_settings import Settings
from cutover_state.run import Phase, RunConflictError, RunStore
from cutover_wiring import Wiring
from database_access import structured_log

if TYPE_CHECKING:
    from mypy_boto3_backup import BackupClient

log = logging.getLogger(__name__)

COMPLETED = "COMPLETED"
FAILED = frozenset({"ABORTED", "FAILED", "EXPIRED", "PARTIAL"})


class EventError(ValueError):
    """The event lacks a member or has a wrong one."""


class RecoveryPointError(Exception):
    """A backup job failed, or none is wanted any more; the message says which."""


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Start a job for each database, or look at the ``jobs`` of an earlier call; whether all are ``complete``."""
    structured_log.configure()
    cutover_id, jobs = event.get("cutover_id"), event.get("jobs")
    if not isinstance(cutover_id, str) or not cutover_id:
        raise EventError(f"cutover_id: must name the cutover, got {cutover_id!r}")
    if jobs is not None and not (isinstance(jobs, list) and jobs and all(isinstance(job, str) for job in jobs)):
        raise EventError(f"jobs: must be the list of an earlier call, or absent, got {jobs!r}")
    settings = Settings(os.environ)
    wiring = Wiring(settings=settings, client=boto3.client, who="recovery point")
    keep(wiring.runs(), wiring.lease, cutover_id=cutover_id, now=time.time())
    client: BackupClient = wiring.aws("backup")
    if jobs is None:
        jobs = start(
            client,
            vault=settings.text("BACKUP_VAULT"),
            role_arn=settings.text("BACKUP_ROLE_ARN"),
            clusters=settings.listing("CLUSTER_ARNS"),
            cutover_id=cutover_id,
        )
    return {"jobs": list(jobs), "complete": are_complete(client, jobs)}


def keep(runs: RunStore, lease: Callable[[str], None], *, cutover_id: str, now: float) -> None:
    """Extend the lease, and note that the cutover is being driven.

    Raises:
        RecoveryPointError: it does not go forward any more, so that it needs no recovery point.
        LeaseTakenError: another cutover holds the lease.
    """
    run = runs.read()
    if run is None or run.cutover_id != cutover_id or run.phase is not Phase.PREPARING:
        raise RecoveryPointError(f"cutover {cutover_id} does not wait for a recovery point")
    lease(cutover_id)
    # An order or a rollback that came in between is seen by the next look.
    with suppress(RunConflictError):
        runs.write(replace(run, looked_at=now))


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
