"""Entry point of the function that runs every minute and after every update of a stack."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import boto3

from cutover_settings import Settings
from cutover_state.journal import STANDING
from cutover_state.run import STUCK_AFTER_SECONDS, Run, RunConflictError
from cutover_wiring import Wiring
from database_access import structured_log
from reconciler.reconcile import reconcile

log = logging.getLogger(__name__)

REMIND_AFTER_SECONDS: Final = 3600


def lambda_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Put right what drifted, and tell when a cutover is not driven any more."""
    structured_log.configure()
    wiring = Wiring(settings=Settings(os.environ), client=boto3.client, who="reconciler")
    run = wiring.runs().read()
    stuck = None if run is None else why_stuck(run, now=time.time())
    drifts = reconcile(
        desired=wiring.desired(),
        levers=wiring.levers(),
        journal=wiring.journal(run.cutover_id if run and not run.phase.is_over else STANDING),
        initial_writer=wiring.settings.text("FIRST_WRITER"),
        tell=wiring.tell,
    )
    if run is not None and stuck is not None:
        _tell_stuck(wiring, run, stuck, now=time.time())
    counts = {
        ("DriftCorrected", "", ""): len(drifts),
        ("CutoverStuck", "", ""): int(stuck is not None),
        ("CutoverUnderWay", "", ""): int(run is not None and not run.phase.is_over),
    }
    _put(wiring, {**counts, **_pointers(wiring)})
    return {"drifts": [drift.sentence for drift in drifts], "stuck": stuck}


def why_stuck(run: Run, *, now: float) -> str | None:
    """Why nothing happens with a cutover that should go on, in words; None when all is well."""
    silence = now - run.looked_at
    if run.phase.is_over or silence <= STUCK_AFTER_SECONDS:
        return None
    return (
        f"Cutover {run.cutover_id} is {run.phase.value} and nobody has looked at it for {silence / 60:.0f} minutes: "
        f"{run.reason}. Look at its execution {run.execution_arn or '(none)'}, or roll it back: bluegreen rollback"
    )


def _tell_stuck(wiring: Wiring, run: Run, stuck: str, *, now: float) -> None:
    """Tell people, and remind them, but not with every minute."""
    if now - run.stuck_told_at < REMIND_AFTER_SECONDS:
        return
    wiring.tell("A cutover stands still", stuck)
    # Whoever wrote in between is driving it again.
    with suppress(RunConflictError):
        wiring.runs().write(replace(run, stuck_told_at=now))


def _pointers(wiring: Wiring) -> dict[tuple[str, str, str], int]:
    """Where the three pointers stand, for the dashboard."""
    desired = wiring.desired().read()
    if desired is None:
        return {}
    weights = {
        ("WeightPercent", "Side", side): weight for side, weight in {**desired.weights, **desired.records}.items()
    }
    writers = {("Writer", "Database", name): int(name == desired.writer) for name in wiring.settings.listing("CHAIN")}
    return {**weights, **writers}


def _put(wiring: Wiring, values: Mapping[tuple[str, str, str], int]) -> None:
    """Args: values: by metric, dimension and the dimension's value; without a dimension these two are empty."""
    wiring.aws("cloudwatch").put_metric_data(
        Namespace=wiring.settings.text("METRIC_NAMESPACE"),
        MetricData=[
            {
                "MetricName": metric,
                "Dimensions": [{"Name": dimension, "Value": which}] if dimension else [],
                "Value": value,
            }
            for (metric, dimension, which), value in values.items()
        ],
    )
