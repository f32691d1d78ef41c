"""Whether a deployment may go on: a pure function of what it would change and of what runs right now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from cutover_state.lease import Lease
from cutover_state.run import Run

ROUTING: Final = "Routing"
REPLICATION: Final = "Replication"
NESTED_STACK: Final = "AWS::CloudFormation::Stack"
TASK: Final = "AWS::DMS::ReplicationTask"

CARRIES_TASKS: Final = ("AWS::DMS::Endpoint", "AWS::DMS::ReplicationInstance")
"""A change of these interrupts every task that runs, or is refused by DMS because one does."""

ROUTED_TO: Final = (
    "AWS::ElasticLoadBalancingV2::Listener",
    "AWS::ElasticLoadBalancingV2::LoadBalancer",
    "AWS::ElasticLoadBalancingV2::TargetGroup",
)
"""What the levers refer to in other stacks."""

RESTING: Final = frozenset({"ready", "stopped", "failed", "failed-move"})
"""Statuses of a task in which CloudFormation may change it (AWS DMS API reference, ReplicationTask)."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A resource that a change set would change.

    Attributes:
        stack: construct id of the nested stack, such as ``Routing``; empty for the root stack.
        logical_id: of the resource.
        physical_id: of the resource; empty for one that does not exist yet.
        type: of the resource.
        action: ``Add``, ``Modify``, ``Remove``, ``Import``, ``Dynamic`` or ``SyncWithActual``.
        replacement: ``True``, ``False``, ``Conditional``, or empty.
        follows_only: nothing about it changes by itself; it refers to something else that is touched.
        seen: false for a nested stack of which the change set does not say what happens inside.
    """

    stack: str
    logical_id: str
    type: str
    action: str
    physical_id: str = ""
    replacement: str = ""
    follows_only: bool = False
    seen: bool = True

    @classmethod
    def parse(cls, document: Mapping[str, Any], *, stack: str) -> Self:
        """The change that an entry of DescribeChangeSet's ``Changes`` describes."""
        change = document["ResourceChange"]
        details = change.get("Details", [])
        return cls(
            stack=stack,
            logical_id=change["LogicalResourceId"],
            type=change["ResourceType"],
            action=change["Action"],
            physical_id=change.get("PhysicalResourceId", ""),
            replacement=change.get("Replacement", ""),
            # CloudFormation cannot know beforehand whether the attribute that is referred to changes.
            follows_only=bool(details) and all(each.get("Evaluation") == "Dynamic" for each in details),
            seen=change["ResourceType"] != NESTED_STACK or change["Action"] != "Modify" or "ChangeSetId" in change,
        )

    @property
    def may_replace(self) -> bool:
        """Whether another resource may stand in its place afterwards."""
        return self.action in ("Add", "Remove", "Import", "Dynamic") or self.replacement in ("True", "Conditional")

    @property
    def nested(self) -> str:
        """Construct id of the nested stack that this change is about; empty when it is about none."""
        return nested_stack(self.logical_id) if self.type == NESTED_STACK else ""

    @property
    def words(self) -> str:
        """What happens, for people."""
        what = {"Add": "created", "Remove": "removed", "Modify": "modified"}.get(
            self.action, f"changed ({self.action})"
        )
        if self.replacement == "True":
            what = "replaced"
        elif self.replacement == "Conditional":
            what = "modified or replaced"
        return f"{self.type} {self.stack + '/' if self.stack else ''}{self.logical_id} would be {what}"


def nested_stack(logical_id: str) -> str:
    """Construct id of a nested stack, which its logical id begins with."""
    return logical_id.partition("NestedStack")[0]


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """Why a deployment does not go on.

    Attributes:
        what: the fact.
        remedy: what to do about it.
    """

    what: str
    remedy: str

    @property
    def sentence(self) -> str:
        """One line."""
        return f"{self.what}: {self.remedy}"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the operator permits.

    Attributes:
        stop_tasks: stop replication tasks that are in the way, and resume them.
        allow_routing: send the levers again, which puts live weights back until the reconciler comes.
    """

    stop_tasks: bool = False
    allow_routing: bool = False


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of a deployment.

    Attributes:
        obstacles: why it does not go on; empty when it does.
        stops_tasks: the replication tasks are to be stopped before and resumed afterwards.
        sends_levers: the reconciler is to run afterwards.
    """

    obstacles: tuple[Obstacle, ...] = ()
    stops_tasks: bool = False
    sends_levers: bool = False


def cutover_obstacles(run: Run | None, lease: Lease | None, *, now: float) -> tuple[Obstacle, ...]:
    """What speaks against any deployment, whatever it would change. ``now``: epoch seconds."""
    found = []
    if run is not None and not run.phase.is_over:
        found.append(
            Obstacle(
                what=f"cutover {run.cutover_id} is {run.phase.value}",
                remedy="deploy when it has succeeded, or roll it back first",
            )
        )
    if lease is not None and lease.is_held(now=now):
        until = datetime.fromtimestamp(lease.expires_at, tz=UTC).isoformat(timespec="seconds")
        found.append(
            Obstacle(
                what=f"{lease.holder} holds the lease for cutover {lease.cutover_id} until {until}",
                remedy="wait for it to be given up, or for its end",
            )
        )
    return tuple(found)


def decide(changes: Sequence[Change], *, task_statuses: Mapping[str, str], options: Options) -> Decision:
    """Whether a change set may be executed.

    Args:
        task_statuses: statuses of the stage's replication tasks by identifier, as far as they exist.
    """
    levers = [each for each in changes if _touches(each, ROUTING) and not _only_follows(each, changes)]
    obstacles = [] if options.allow_routing else [_lever_obstacle(each) for each in levers]
    running = sorted(name for name, status in task_statuses.items() if status not in RESTING)
    in_the_way = list(_in_the_way(changes, running))
    for change, names in in_the_way:
        obstacles.extend(_task_obstacles(change, names, task_statuses, options))
    return Decision(
        obstacles=tuple(dict.fromkeys(obstacles)),
        stops_tasks=bool(in_the_way) and options.stop_tasks and not obstacles,
        sends_levers=bool(levers) and not obstacles,
    )


def _touches(change: Change, stack: str) -> bool:
    if change.stack == stack and change.type != NESTED_STACK:
        return True
    # What happens to a nested stack as a whole; a modification is what happens inside.
    return change.nested == stack and (not change.seen or change.may_replace)


def _only_follows(change: Change, changes: Sequence[Change]) -> bool:
    """Whether it is listed only because CloudFormation cannot know that what it refers to stays the same."""
    return (
        change.action == "Modify"
        and change.follows_only
        and not any(each.type in ROUTED_TO and each.may_replace for each in changes)
    )


def _lever_obstacle(change: Change) -> Obstacle:
    what = change.words if change.seen else f"the change set does not show what happens in {change.nested}"
    return Obstacle(
        what=what,
        remedy="live weights would go back to those of the creation; leave routing as it is, or deploy with "
        "--allow-routing, which has the reconciler set them right afterwards",
    )


def _in_the_way(changes: Sequence[Change], running: Sequence[str]) -> Iterator[tuple[Change, Sequence[str]]]:
    """Changes that a running task forbids, with the tasks."""
    if not running:
        return
    for change in changes:
        if change.type == TASK and change.action != "Add":
            name = task_identifier(change.physical_id)
            # A task that is not known by its identifier may be any of those that run.
            if name in running or not name:
                yield change, [name] if name else running
        elif (change.type in CARRIES_TASKS and change.action != "Add") or (
            change.nested == REPLICATION and (not change.seen or change.may_replace)
        ):
            yield change, running


def task_identifier(arn: str) -> str:
    """Identifier of a task, the last part of its ARN."""
    return arn.rpartition(":")[2]


def _task_obstacles(
    change: Change, names: Sequence[str], statuses: Mapping[str, str], options: Options
) -> Iterator[Obstacle]:
    shown = ", ".join(f"{name} is {statuses[name]}" for name in names)
    if not change.seen:
        yield Obstacle(
            what=f"the change set does not show what happens in {change.nested}, and {shown}",
            remedy="stop the replication tasks yourself, and deploy then",
        )
    elif change.type in (TASK, NESTED_STACK) and change.may_replace:
        yield Obstacle(
            what=f"{change.words}, and {shown}",
            remedy="a new task would load everything again into a database that has it already; keep the task, or stop "
            "replication yourself and plan the new load",
        )
    elif not options.stop_tasks:
        yield Obstacle(
            what=f"{change.words}, and {shown}",
            remedy="deploy with --stop-tasks, which stops the replication tasks and resumes them afterwards",
        )
    elif resting := sorted(name for name, status in statuses.items() if status in RESTING):
        # The replication control starts all of them.
        yield Obstacle(
            what=f"--stop-tasks would start {', '.join(f'{name}, which is {statuses[name]}' for name in resting)}",
            remedy="start it before, or stop the other tasks yourself and deploy without --stop-tasks",
        )
