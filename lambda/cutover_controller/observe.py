"""What is known of a cutover now, put together from what the modules of ``observation`` read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cutover_state.levers import Kind
from cutover_state.run import Run
from observation.alarms import ABSENT
from observation.environments import Targets
from observation.replication import RUNNING, Task
from observation.traffic_metrics import MINUTE, MinuteCounts
from verdict import AlarmState, Counts, Evidence, Observation, Sample, Signals

AWS = "aws"
"""Side of the front door that is all environments together."""


def assemble(
    run: Run,
    evidence: Evidence,
    *,
    now: float,
    minutes: Callable[[int, int], Mapping[str, Sequence[MinuteCounts]]],
    targets: Callable[[], Mapping[str, Targets]],
    tasks: Callable[[], Sequence[Task]],
    alarms: Callable[[Sequence[str]], Mapping[str, str]],
    settled_after_seconds: int,
) -> Observation:
    """The observation that follows what ``evidence`` has seen already.

    Args:
        minutes: reads the minutes from one moment up to another, by environment.
        targets: reads the targets by environment.
        tasks: reads the replication tasks that the way back needs.
        alarms: reads the states of alarms by name.
        settled_after_seconds: after which a minute of metrics is complete.
    """
    settled = int(now - settled_after_seconds) // MINUTE * MINUTE
    settled = max(settled, evidence.next_sample_seconds)
    counted = minutes(evidence.next_sample_seconds, settled) if settled > evidence.next_sample_seconds else {}
    judged = _side(counted, evidence.environment)
    other = _side(counted, evidence.other) if evidence.other is not None else {}
    samples = tuple(
        Sample(start_seconds=start, environment=judged.get(start), other=other.get(start)) for start in sorted(judged)
    )
    known = tasks()
    return Observation(
        now_seconds=max(int(now), settled),
        settled_until_seconds=settled,
        samples=samples,
        signals=Signals(
            healthy_hosts=_healthy(targets(), evidence.environment, run),
            replication_lag_seconds=_lag(known),
            validation_failures=_differing(known),
            alarms=_states(alarms(evidence.alarms)) if evidence.alarms else None,
        ),
    )


def _side(minutes: Mapping[str, Sequence[MinuteCounts]], side: str) -> dict[int, Counts | None]:
    """Counts of a side by the beginning of the minute; AWS is all its environments, and unknown when one of them is."""
    chosen = list(minutes.values()) if side == AWS else [minutes[side]] if side in minutes else []
    found: dict[int, Counts | None] = {}
    for series in chosen:
        for each in series:
            counts = _counts(each)
            before = found.get(each.minute, Counts(0))
            found[each.minute] = None if counts is None or before is None else _sum(before, counts)
    return found


def _counts(minute: MinuteCounts) -> Counts | None:
    if minute.requests is None:
        return None
    # Refused connections are no requests in the load balancer's count; slow answers may be errors besides.
    errors = minute.errors or 0
    requests = max(minute.requests, errors)
    slow = min(max(0, (minute.slow or 0) - errors), requests - errors)
    return Counts(requests=requests, errors=errors, slow=slow)


def _sum(one: Counts, other: Counts) -> Counts:
    return Counts(requests=one.requests + other.requests, errors=one.errors + other.errors, slow=one.slow + other.slow)


def _healthy(targets: Mapping[str, Targets], side: str, run: Run) -> int | None:
    if side in targets:
        return targets[side].healthy
    if side == AWS and targets and Kind(run.kind) is Kind.FRONT_DOOR:
        return max(each.healthy for each in targets.values())
    return None


def _lag(tasks: Sequence[Task]) -> float | None:
    """The longest lag; unknown when a task does not run, or reports none."""
    lags = [task.lag_seconds if task.status == RUNNING else None for task in tasks]
    known = [lag for lag in lags if lag is not None]
    return max(known) if tasks and len(known) == len(tasks) else None


def _differing(tasks: Sequence[Task]) -> int | None:
    """Rows that differ, of all tasks; unknown when a task reports nothing."""
    known = [task.validation_failures for task in tasks if task.validation_failures is not None]
    return sum(known) if tasks and len(known) == len(tasks) else None


def _states(states: Mapping[str, str]) -> dict[str, AlarmState]:
    """An alarm that does not exist has no data."""
    return {
        name: AlarmState.INSUFFICIENT_DATA if state == ABSENT else AlarmState.parse(state)
        for name, state in states.items()
    }
