"""Keeping what is set as it should be, whatever undid it: a deployment, a hand, a failed step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cutover_state.desired import Desired, DesiredConflictError, DesiredStore
from cutover_state.journal import Journal
from cutover_state.levers import Kind, Lever
from traffic.weights import shown

_ROUNDS = 5


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
) -> tuple[Drift, ...]:
    """Compare what is set with what should be, and set it; return what had drifted.

    Where nobody has said what should be, what is set now is taken for it. A step of a cutover says what should be
    before it sets it, so the two never work against each other; should the desired state change while this runs, the
    comparison is made again with the new one.

    Raises:
        TrafficError: weights cannot be read or set.
    """
    drifts: list[Drift] = []
    for _ in range(_ROUNDS):
        wanted = desired.read() or _adopt(desired, levers, journal, initial_writer)
        for kind, lever in levers.items():
            should = dict(getattr(wanted, kind.desired_field))
            found = lever.read()
            if found != should:
                drift = Drift(kind=kind, found=found, restored=should)
                journal.append("put drift right", drift.sentence, before=found, after=should)
                lever.write(should)
                drifts.append(drift)
        again = desired.read()
        if again is not None and again.version == wanted.version:
            break
    if drifts:
        tell("Weights had drifted and were restored", "\n".join(drift.sentence for drift in drifts))
    return tuple(drifts)


def _adopt(store: DesiredStore, levers: Mapping[Kind, Lever], journal: Journal, initial_writer: str) -> Desired:
    adopted = Desired(
        weights=levers[Kind.ENVIRONMENT].read(),
        records=levers[Kind.FRONT_DOOR].read(),
        writer=initial_writer,
        by="reconciler",
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
