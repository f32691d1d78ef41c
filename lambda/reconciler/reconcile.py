"""Keeping what is set as it should be, whatever undid it: a deployment, a hand, a failed step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cutover_state.desired import Desired, DesiredConflictError, DesiredStore
from cutover_state.journal import Journal
from cutover_state.levers import Kind, Lever
from traffic.weights import TrafficError, WeightsError, check, shown

_ROUNDS: Final = 5
_PATIENCE_SECONDS: Final = 3.0
"""A step says what should be before it sets it; so long it is given before that counts as drift."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Weights that were not as they should be, and are again."""

    kind: Kind
    found: Mapping[str, int]
    restored: Mapping[str, int]

    @property
    def sentence(self) -> str:
        """The drift in words."""
        return f"{self.kind.value}: found {shown(self.found)}, restored {shown(self.restored)}"


def reconcile(
    *,
    desired: DesiredStore,
    levers: Mapping[Kind, Lever],
    journal: Journal,
    initial_writer: str,
    tell: Callable[[str, str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Drift, ...]:
    """Compare what is set with what should be, and set it; return what had drifted.

    Where nobody has said what should be, what is set now is taken for it. A step of a cutover says what should be
    before it sets it, so the two never work against each other; should the desired state change while this runs, the
    comparison is made again with the new one.

    Raises:
        TrafficError: weights of a lever cannot be read or set, or may not be adopted; the other lever was seen to.
    """
    drifts: list[Drift] = []
    problems: dict[Kind, str] = {}
    for _ in range(_ROUNDS):
        wanted = desired.read() or _adopt(desired, levers, journal, initial_writer)
        problems.clear()
        for kind, lever in levers.items():
            try:
                drifts += _put_right(desired, wanted, kind, lever, journal, sleep)
            except (TrafficError, WeightsError) as error:
                problems[kind] = str(error)
        again = desired.read()
        if again is not None and again.version == wanted.version:
            break
    if drifts:
        tell("Weights had drifted and were restored", "\n".join(drift.sentence for drift in drifts))
    if problems:
        raise TrafficError("; ".join(f"{kind.value}: {problem}" for kind, problem in problems.items()))
    return tuple(drifts)


def _put_right(
    store: DesiredStore,
    wanted: Desired,
    kind: Kind,
    lever: Lever,
    journal: Journal,
    sleep: Callable[[float], None],
) -> list[Drift]:
    should = dict(getattr(wanted, kind.desired_field))
    found = lever.read()
    if found != should:
        # A step may be about to set what it has said.
        sleep(_PATIENCE_SECONDS)
        found = lever.read()
    if found == should:
        return []
    now = store.read()
    if now is not None and now.version != wanted.version:
        # What should be has changed in the meantime: the next round compares with that.
        return []
    drift = Drift(kind=kind, found=found, restored=should)
    journal.append("put drift right", drift.sentence, before=found, after=should)
    lever.write(should)
    journal.append("drift put right", f"they read back {shown(should)}", before=found, after=should)
    return [drift]


def _adopt(store: DesiredStore, levers: Mapping[Kind, Lever], journal: Journal, initial_writer: str) -> Desired:
    found = {kind: lever.read() for kind, lever in levers.items()}
    for kind, weights in found.items():
        try:
            check(weights, sides=levers[kind].sides)
        except WeightsError as error:
            raise TrafficError(
                f"{kind.value}: nobody has said what should be, and what is set cannot be taken for it: {error}; "
                "set weights that may stay"
            ) from None
    adopted = Desired(
        weights=found[Kind.ENVIRONMENT], records=found[Kind.FRONT_DOOR], writer=initial_writer, by="reconciler"
    )
    try:
        written = store.write(adopted)
    except DesiredConflictError:
        again = store.read()
        assert again is not None, "the desired state is never deleted"
        return again
    journal.append(
        "adopt the desired state",
        "nobody had said what should be",
        after={"weights": adopted.weights, "records": adopted.records, "writer": adopted.writer},
    )
    return written
