"""A cutover as the state table has it."""

from __future__ import annotations

from cutover_state.run import Phase, Run


def some_run(phase: Phase) -> Run:
    """A cutover from blue to green in this phase."""
    return Run(
        cutover_id="cutover-7",
        kind="environment",
        source="blue",
        target="green",
        plan={},
        phase=phase,
        requested_by="alice",
        started_at=1_764_000_000.0,
        before={},
        writer_after="green",
        position={},
    )
