"""Reading what ``status`` shows: everything at once, and what cannot be read is said instead of ending the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from cutover_state.desired import Desired
from cutover_state.journal import STANDING
from cutover_state.layout import RESTART_PARTITION
from cutover_state.levers import Kind
from cutover_state.run import Run
from observation.alarms import read_alarms
from observation.environments import Service, Targets, read_services, read_targets
from observation.replication import Task, read_tasks
from observation.rotations import Rotation, read_rotations
from ops.bluegreen import documents as d
from ops.bluegreen.errors import CommandError, explained
from ops.bluegreen.stage import Stage
from ops.bluegreen.views import at, cutover_now, drift, entry, shares

T = TypeVar("T")
READERS: Final = 8
DECISIONS: Final = 5
NOT_ASKED: Final = "the databases are not asked while a cutover runs; --ask-databases asks"
"""The function that asks them runs once at a time, and the cutover's own switch must not find it busy."""


@dataclass
class Reader:
    """Reads in threads; each failure becomes one line of what could not be read."""

    unread: list[d.Unread] = field(default_factory=list)

    def take(self, what: str, future: Future[T]) -> T | None:
        """The result, or None with the reason noted."""
        try:
            return future.result()
        except Exception as error:
            self.note(what, explained(error))
            return None

    def note(self, what: str, error: CommandError) -> None:
        """Say why something could not be read."""
        self.unread.append(
            d.Unread(
                what=what,
                why=error.message,
                next_step=error.next_step,
                missing_permission=d.MissingPermission(**vars(error.missing)) if error.missing else None,
            )
        )


def read_status(stage: Stage, *, ask_databases: bool | None = None) -> d.Status:
    """Everything that ``status`` shows.

    Args:
        ask_databases: whether to ask the databases who writes; None: unless a cutover is under way.
    """
    reader, wiring = Reader(), stage.wiring
    with ThreadPoolExecutor(max_workers=READERS) as pool:
        # The run first: whether the databases may be asked depends on it.
        running: Future[Run | None] = pool.submit(wiring.runs().read)
        wanted: Future[Desired | None] = pool.submit(wiring.desired().read)
        levers = wiring.levers()
        weights = pool.submit(levers[Kind.ENVIRONMENT].read)
        records = pool.submit(levers[Kind.FRONT_DOOR].read)
        targets = pool.submit(lambda: read_targets(stage.aws.client("elbv2"), stage.target_groups))
        services = pool.submit(
            lambda: read_services(
                stage.aws.client("ecs"), cluster=stage.parameter("shared/ecs-cluster"), services=stage.services
            )
        )
        tasks = pool.submit(lambda: replication_tasks(stage))
        alarms = pool.submit(lambda: _alarms(stage))
        rotations = pool.submit(lambda: read_rotations(stage.aws.client("secretsmanager"), list(stage.rotated_secrets)))
        owed = pool.submit(lambda: restarts_owed(stage))
        run = reader.take("the cutover", running)
        under_way = run is not None and not run.phase.is_over
        ask = ask_databases if ask_databases is not None else not (under_way or running.exception())
        found_writer = pool.submit(lambda: find_writer(stage)) if ask else None
        journal = pool.submit(lambda: _last(stage, run))
        desired = reader.take("the desired state", wanted)
        set_weights = reader.take("the weights of the listener rule", weights)
        set_records = reader.take("the DNS records", records)
        found_tasks = reader.take("the replication tasks", tasks) or ()
        found_targets = reader.take("the targets", targets) or {}
        found_services = reader.take("the ECS services", services) or {}
        cutover = None
        if run is not None:
            try:
                cutover = cutover_now(run, now=stage.now())
            except Exception as error:
                reader.note("the cutover", explained(error))
        return d.Status(
            stage=stage.target.name,
            at=at(stage.now()),
            serving=_serving(set_weights, set_records, desired),
            writer=_writer(reader, desired, found_writer),
            environments={
                side: _environment(found_targets.get(side), found_services.get(side)) for side in ("blue", "green")
            },
            replication=[task_document(each) for each in found_tasks],
            alarms=reader.take("the alarms", alarms) or [],
            rotations=[_rotation(each) for each in reader.take("the rotations", rotations) or ()],
            restarts_owed=reader.take("owed restarts", owed),
            cutover=cutover,
            decisions=reader.take("the journal", journal) or [],
            unread=reader.unread,
        )


def replication_tasks(stage: Stage) -> tuple[Task, ...]:
    """The stage's replication tasks."""
    return read_tasks(
        stage.aws.client("dms"),
        stage.aws.client("cloudwatch"),
        instance=stage.parameter("cutover/replication-instance"),
        identifiers=stage.task_identifiers,
        now=stage.now(),
    )


def find_writer(stage: Stage) -> Mapping[str, Any]:
    """What the databases say, through the function that can reach them."""
    return stage.call("writer-switch", {"operation": "find_writer"})


def restarts_owed(stage: Stage) -> bool:
    """Whether a rotation still has to restart replication tasks."""
    found = stage.aws.client("dynamodb").query(
        TableName=stage.wiring.table_name,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": RESTART_PARTITION}},
        ConsistentRead=True,
        Limit=1,
    )
    return bool(found["Items"])


def task_document(task: Task) -> d.ReplicationTask:
    """A replication task as the documents have it."""
    return d.ReplicationTask(
        identifier=task.identifier,
        status=task.status,
        lag_seconds=task.lag_seconds,
        validation_failures=task.validation_failures,
    )


def _serving(
    weights: Mapping[str, int] | None, records: Mapping[str, int] | None, desired: Desired | None
) -> d.Serving | None:
    if weights is None and records is None:
        return None
    weights, records = weights or {}, records or {}
    return d.Serving(
        weights=dict(weights),
        records=dict(records),
        shares=shares(weights, records) if weights and records else {},
        desired_weights=dict(desired.weights) if desired else None,
        desired_records=dict(desired.records) if desired else None,
        drift=[
            *(
                drift(weights, desired.weights if desired else None, "the weights of the listener rule")
                if weights
                else []
            ),
            *(
                drift(records, desired.records if desired else None, "the weights of the DNS records")
                if records
                else []
            ),
        ],
    )


def _writer(reader: Reader, desired: Desired | None, asked: Future[Mapping[str, Any]] | None) -> d.Writer:
    recorded = desired.writer if desired else None
    answer = reader.take("the writer", asked) if asked else None
    if answer is None:
        return d.Writer(
            recorded=recorded,
            verdict="not asked",
            admitting=[],
            unreachable={},
            remark="the databases could not be asked" if asked else NOT_ASKED,
        )
    admitting = [name for name, state in answer["databases"].items() if _admits(state)]
    if answer["writer"] and answer["writer"] not in admitting:
        admitting.append(answer["writer"])
    remark = ""
    if answer["verdict"] == "several":
        remark = f"{' and '.join(admitting)} both admit writers: fence one of them at once (runbook: Controllers)"
    elif answer["verdict"] == "none" and answer["failures"]:
        remark = f"{', '.join(answer['failures'])} cannot be reached, so who writes is not known"
    elif answer["verdict"] == "none":
        remark = "no database admits writers: a switch is at work, or was broken off; call bluegreen rollback"
    elif recorded is not None and answer["writer"] != recorded:
        remark = f"{answer['writer']} is the writer, and {recorded} should be"
    elif answer["failures"]:
        remark = f"{', '.join(answer['failures'])} cannot be reached"
    return d.Writer(
        recorded=recorded,
        verdict=answer["verdict"],
        admitting=admitting,
        unreachable=dict(answer["failures"]),
        remark=remark,
    )


def _admits(state: str) -> bool:
    from writer_switch.decision import Locks

    return any(each.value == state and each.admits for each in Locks)


def _environment(targets: Targets | None, service: Service | None) -> d.Environment:
    return d.Environment(
        healthy_targets=targets.healthy if targets else None,
        registered_targets=targets.registered if targets else None,
        running_tasks=service.running if service else None,
        desired_tasks=service.desired if service else None,
        deploying=service.deploying if service else None,
    )


def _alarms(stage: Stage) -> list[d.Alarm]:
    concerned: dict[str, list[str]] = {}
    for side, names in stage.alarms.items():
        for name in names:
            concerned.setdefault(name, []).append(side)
    states = read_alarms(stage.aws.client("cloudwatch"), list(concerned))
    return [d.Alarm(name=name, state=states[name], concerns=sides) for name, sides in concerned.items()]


def _rotation(rotation: Rotation) -> d.Rotation:
    return d.Rotation(
        secret=rotation.secret.rsplit(":", 1)[-1],
        under_way=rotation.under_way,
        next_at=at(rotation.next_at) if rotation.next_at is not None else None,
    )


def _last(stage: Stage, run: Run | None) -> Sequence[d.Entry]:
    """The newest entries of the cutover and of what belongs to none, in their order."""
    ids = [STANDING] + ([run.cutover_id] if run else [])
    found = [entry(each) for cutover_id in ids for each in stage.wiring.journal(cutover_id).entries()]
    return sorted(found, key=lambda each: each.at)[-DECISIONS:]
