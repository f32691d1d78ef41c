"""Setting weights for a step that goes forward, so that a rollback at the same time always has the last word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from cutover_state.desired import Desired, DesiredConflictError, DesiredStore
from cutover_state.levers import Kind, Lever
from cutover_state.run import Phase, RunStore

_ATTEMPTS: Final = 20


class OvertakenError(Exception):
    """The cutover does not go forward any more: it is over, is being taken back, or is another one."""


def desire_forward(desired: DesiredStore, runs: RunStore, *, cutover_id: str, **changes: Any) -> Desired:
    """Change part of the desired state, weights or writer, provided that the cutover goes forward.

    Raises:
        OvertakenError: see there; nothing was changed.
        DesiredConflictError: others changed the desired state again and again, or there is none.
    """
    for _ in range(_ATTEMPTS):
        # In this order: a rollback marks the run before it writes the desired state, so one that is not seen in the
        # run will be noticed by the version.
        found = desired.read()
        _require_forward(runs, cutover_id)
        if found is None:
            raise DesiredConflictError("nobody has said yet what should be: let the reconciler run first")
        try:
            return desired.write(replace(found, by=cutover_id, **changes))
        except DesiredConflictError:
            continue
    raise DesiredConflictError("the desired state changes all the time; try again")


def shift(
    desired: DesiredStore, runs: RunStore, lever: Lever, *, cutover_id: str, kind: Kind, wanted: Mapping[str, int]
) -> None:
    """Shift traffic for a step: desired state, lever, and a look at whether the two still agree.

    Raises:
        OvertakenError: see there; what the rollback wants is set.
        DesiredConflictError: as above.
        TrafficError: the weights were not set, or do not read back.
    """
    field = kind.desired_field
    written = dict(wanted)
    changes: dict[str, Any] = {field: written}
    desire_forward(desired, runs, cutover_id=cutover_id, **changes)
    lever.write(written)
    for _ in range(_ATTEMPTS):
        now = desired.read()
        should = dict(getattr(now, field)) if now is not None else written
        if should == written:
            break
        # A rollback has written in the meantime, and our write may have come after its own.
        written = should
        lever.write(written)
    else:
        raise DesiredConflictError("the desired state changes all the time; the reconciler sets what it says")
    if written != dict(wanted):
        _require_forward(runs, cutover_id)
        raise OvertakenError(f"others have changed what should be while cutover {cutover_id} went forward")


def _require_forward(runs: RunStore, cutover_id: str) -> None:
    run = runs.read()
    if run is None or run.cutover_id != cutover_id:
        raise OvertakenError(f"cutover {cutover_id} is not the one that runs")
    if run.phase not in (Phase.PREPARING, Phase.SHIFTING):
        raise OvertakenError(f"cutover {cutover_id} is {run.phase.value}: {run.reason or 'it does not go forward'}")
