"""Rotations against a real server and Secrets Manager, Dynamo DB and DMS as moto's server offers them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from cutover_state.restart import RestartStore, TaskPhase
from database_access.credentials import DatabaseSecret
from database_access.deadline import Deadline
from database_access.errors import AccessDeniedError, AccountLockedError, DatabaseUnreachableError
from database_access.secret_store import SecretUnavailableError, read_secret
from database_access.session import connector
from secret_rotation.errors import (
    AccountMismatchError,
    RotationDeferredError,
    RotationRequestError,
    VersionStageError,
)
from secret_rotation.handler import run
from secret_rotation.replication_tasks import ReplicationTasks
from secret_rotation.request import RESUME, RotationRequest, SecretKind, Settings, Step
from secret_rotation.rotation import Rotation
from tests.support.account_database import APPLICATION, REPLICATION, AccountDatabase
from tests.support.crash_points import CrashError, Process
from tests.support.local_aws import LocalAws
from tests.support.secrecy import new_password, overheard_errors

pytestmark = pytest.mark.slow

STEPS = tuple(Step)


@dataclass
class World:
    """One database, its secrets, the state table and the tasks; a new function can be started at any time.

    Attributes:
        clock: Added to the real time, so that a claim of a dead process can be outlived.
    """

    aws: LocalAws
    database: AccountDatabase
    arns: dict[SecretKind, str]
    table_name: str
    task_arns: list[str] = field(default_factory=list)
    clock: float = 0.0

    def now(self) -> float:
        return time.time() + self.clock

    def settings(self) -> Settings:
        return Settings.parse(
            {
                "ADMIN_SECRET_ARN": self.arns[SecretKind.ADMIN],
                "APPLICATION_SECRET_ARN": self.arns[SecretKind.APPLICATION],
                "REPLICATION_SECRET_ARN": self.arns[SecretKind.REPLICATION],
                "STATE_TABLE_NAME": self.table_name,
                "REPLICATION_TASK_ARNS": json.dumps(self.task_arns),
                "DATABASE_CA_PATH": str(self.database.server.ca_path),
            }
        )

    def function(self, process: Process | None = None, **changes: Any) -> Rotation:
        """The function as one invocation sees it."""
        settings = self.settings()
        client = self.aws.shared_client if process is None else self.aws.client
        secrets_manager, dynamodb, dms = client("secretsmanager"), client("dynamodb"), client("dms")
        connect = connector(ca_path=settings.database_ca_path)
        if process is not None:
            process.watch(secrets_manager, dynamodb, dms)
            connect = process.connecting(connect)
        deadline = Deadline.after(60)
        return Rotation(
            settings=settings,
            secrets_manager=secrets_manager,
            dynamodb=dynamodb,
            connect=connect,
            tasks=ReplicationTasks(
                dms=dms,
                store=RestartStore(dynamodb, table_name=self.table_name),
                task_arns=settings.replication_task_arns,
                owner=str(uuid4()),
                deadline=deadline,
                now=self.now,
                poll_seconds=0.005,
                longest_step_seconds=changes.pop("longest_step_seconds", 5),
            ),
            deadline=deadline,
            now=self.now,
            **changes,
        )

    def step(self, kind: SecretKind, step: Step, version_id: str, process: Process | None = None) -> str:
        request = RotationRequest(step=step, secret_arn=self.arns[kind], version_id=version_id)
        with overheard_errors():
            return self.function(process).run(request)

    def rotate(self, kind: SecretKind) -> str:
        """A whole rotation; its version."""
        version_id = self.aws.begin_rotation(self.arns[kind])
        for step in STEPS:
            self.step(kind, step, version_id)
        return version_id

    def secret(self, kind: SecretKind, stage: str = "AWSCURRENT") -> DatabaseSecret:
        return read_secret(self.aws.secrets_manager(), self.arns[kind], pair=kind.is_pair, stage=stage)

    def stages(self, kind: SecretKind) -> dict[str, list[str]]:
        return self.aws.secrets_manager().describe_secret(SecretId=self.arns[kind])["VersionIdsToStages"]

    def current_version(self, kind: SecretKind) -> str:
        return next(version for version, labels in self.stages(kind).items() if "AWSCURRENT" in labels)

    def replace_secret(self, kind: SecretKind, text: str) -> None:
        """Put a new current version by hand. In two calls: moto takes the version that RotateSecret began for the
        current one and would move the labels wrongly in one."""
        secrets_manager, arn, current = self.aws.secrets_manager(), self.arns[kind], self.current_version(kind)
        replacement = secrets_manager.put_secret_value(
            SecretId=arn, SecretString=text, ClientRequestToken=str(uuid4()), VersionStages=["REPLACEMENT"]
        )["VersionId"]
        secrets_manager.update_secret_version_stage(
            SecretId=arn, VersionStage="AWSCURRENT", MoveToVersionId=replacement, RemoveFromVersionId=current
        )


@pytest.fixture
def make_world(blue: AccountDatabase, aws: LocalAws) -> Iterator[Callable[..., World]]:
    tables: list[str] = []

    def delete_tables() -> None:
        # moto copies every table for each transaction.
        while tables:
            with suppress(ClientError):
                aws.dynamodb().delete_table(TableName=tables.pop())

    def make(*, locked: bool = False, tasks: int = 0) -> World:
        delete_tables()
        tables.append(aws.create_state_table())
        blue.clean()
        documents = {
            SecretKind.ADMIN: blue.admin_document(),
            SecretKind.APPLICATION: blue.pair_document(APPLICATION),
            SecretKind.REPLICATION: blue.pair_document(REPLICATION),
        }
        blue.create_pair(documents[SecretKind.APPLICATION], locked=locked)
        blue.create_pair(documents[SecretKind.REPLICATION], locked=False)
        return World(
            aws=aws,
            database=blue,
            arns={kind: aws.create_secret(document) for kind, document in documents.items()},
            table_name=tables[0],
            task_arns=[aws.create_replication_task() for _ in range(tasks)],
        )

    yield make
    delete_tables()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world(tasks=2)


# A rotation that goes through.


@pytest.mark.parametrize("kind", list(SecretKind))
def test_the_current_secret_works_after_a_rotation_with_another_password(world: World, kind: SecretKind) -> None:
    before = world.secret(kind)
    version_id = world.rotate(kind)
    after = world.secret(kind)
    assert world.database.login(after) == "admitted"
    assert after.password != before.password
    assert world.current_version(kind) == version_id


@pytest.mark.parametrize(
    ("kind", "pair"), [(SecretKind.APPLICATION, APPLICATION), (SecretKind.REPLICATION, REPLICATION)]
)
def test_a_pair_alternates_and_the_account_that_was_in_use_keeps_its_password(
    world: World, kind: SecretKind, pair: tuple[str, str]
) -> None:
    first = world.secret(kind)
    world.rotate(kind)
    second = world.secret(kind)
    assert (second.username, second.alternate_username) == (pair[1], pair[0])
    assert world.database.login(first) == "admitted"
    world.rotate(kind)
    third = world.secret(kind)
    assert (third.username, third.alternate_username) == pair
    assert (world.database.login(first), world.database.login(second), world.database.login(third)) == (
        "denied",
        "admitted",
        "admitted",
    )


def test_the_admin_keeps_its_account(world: World) -> None:
    before = world.secret(SecretKind.ADMIN)
    world.rotate(SecretKind.ADMIN)
    assert world.secret(SecretKind.ADMIN).username == before.username
    assert world.database.login(before) == "denied"


def test_keys_that_the_function_does_not_know_survive(world: World) -> None:
    document = {**world.secret(SecretKind.APPLICATION).document, "note": "kept"}
    world.replace_secret(SecretKind.APPLICATION, json.dumps(document))
    world.rotate(SecretKind.APPLICATION)
    after = world.secret(SecretKind.APPLICATION).document
    assert (after["note"], after["dbClusterIdentifier"]) == ("kept", "blue")


def test_a_generated_password_has_the_alphabet_that_dms_accepts(world: World) -> None:
    world.rotate(SecretKind.REPLICATION)
    password = world.secret(SecretKind.REPLICATION).password
    assert len(password) == 40
    assert not set(password) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_locked_accounts_stay_locked_and_the_new_password_is_right(make_world: Callable[..., World]) -> None:
    world = make_world(locked=True)
    world.rotate(SecretKind.APPLICATION)
    world.rotate(SecretKind.APPLICATION)
    assert world.database.lock_states() == {"payments_app_a": "locked", "payments_app_b": "locked"}
    assert world.database.login(world.secret(SecretKind.APPLICATION)) == "locked"


def test_a_missing_alternate_account_is_created_like_the_current_one(world: World) -> None:
    world.database.server.query("DROP USER 'payments_app_b'@'%'")
    world.rotate(SecretKind.APPLICATION)
    assert world.database.login(world.secret(SecretKind.APPLICATION)) == "admitted"
    assert world.database.grants("payments_app_b") == world.database.grants("payments_app_a")


def test_a_missing_alternate_account_is_created_locked_where_the_current_one_is(
    make_world: Callable[..., World],
) -> None:
    world = make_world(locked=True)
    world.database.server.query("DROP USER 'payments_app_b'@'%'")
    world.rotate(SecretKind.APPLICATION)
    assert world.database.lock_states() == {"payments_app_a": "locked", "payments_app_b": "locked"}


def test_the_grants_of_the_current_account_are_mirrored(world: World) -> None:
    server = world.database.server
    server.query("GRANT UPDATE (id) ON payments.payments TO 'payments_app_a'@'%'")
    server.query("GRANT DELETE ON payments.payments TO 'payments_app_b'@'%'")
    world.rotate(SecretKind.APPLICATION)
    assert world.database.grants("payments_app_b") == {"GRANT SELECT, INSERT, UPDATE (`id`) ON `payments`.`payments`"}


def test_an_open_alternate_of_a_locked_account_is_locked(make_world: Callable[..., World]) -> None:
    """A fence that died half-way; the rotation goes in the safe direction."""
    world = make_world(locked=True)
    world.database.server.query("ALTER USER 'payments_app_b'@'%' ACCOUNT UNLOCK")
    world.rotate(SecretKind.APPLICATION)
    assert world.database.lock_states() == {"payments_app_a": "locked", "payments_app_b": "locked"}


# Repetition and crashes.


@pytest.mark.parametrize("kind", list(SecretKind))
def test_every_step_can_be_repeated(world: World, kind: SecretKind) -> None:
    version_id = world.aws.begin_rotation(world.arns[kind])
    for step in STEPS:
        world.step(kind, step, version_id)
        world.step(kind, step, version_id)
    assert world.database.login(world.secret(kind)) == "admitted"


@pytest.mark.parametrize("kind", list(SecretKind))
def test_the_whole_rotation_can_be_repeated_once_it_is_finished(world: World, kind: SecretKind) -> None:
    version_id = world.rotate(kind)
    assert [world.step(kind, step, version_id) for step in STEPS] == ["already current"] * 4


@dataclass(frozen=True)
class Case:
    """Attributes: alternate_exists: with other grants than the current account; otherwise it must be created."""

    kind: SecretKind
    locked: bool = False
    tasks: int = 0
    alternate_exists: bool = False

    def __str__(self) -> str:
        return f"{self.kind.value}{'-locked' * self.locked}{'-outdated' * self.alternate_exists}"


CASES = [
    Case(SecretKind.ADMIN),
    Case(SecretKind.APPLICATION),
    Case(SecretKind.APPLICATION, locked=True),
    Case(SecretKind.APPLICATION, alternate_exists=True),
    Case(SecretKind.REPLICATION, tasks=2),
]


def retry_the_step(world: World, kind: SecretKind, version_id: str, broken: Step) -> None:
    for step in STEPS[STEPS.index(broken) :]:
        world.step(kind, step, version_id)


def retry_the_rotation(world: World, kind: SecretKind, version_id: str, broken: Step) -> None:
    for step in STEPS:
        world.step(kind, step, version_id)


def wait_for_the_schedule(world: World, kind: SecretKind, version_id: str, broken: Step) -> None:
    world.function().resume()


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("retry", [retry_the_step, retry_the_rotation, wait_for_the_schedule])
def test_it_can_die_after_any_side_effect_and_be_retried(
    make_world: Callable[..., World], case: Case, retry: Callable[[World, SecretKind, str, Step], None]
) -> None:
    """Each crash point in turn."""
    whole = Process()
    world = _prepared(make_world, case)
    _run_until_it_dies(world, case.kind, world.aws.begin_rotation(world.arns[case.kind]), whole)
    expected = "locked" if case.locked else "admitted"
    for point, effect in enumerate(whole.effects, start=1):
        where = f"after {effect} ({point})"
        world = _prepared(make_world, case)
        version_id = world.aws.begin_rotation(world.arns[case.kind])
        started = [world.aws.task_started_at(arn) for arn in world.task_arns]
        process = Process(dies_after=point)
        broken = _run_until_it_dies(world, case.kind, version_id, process)
        process.bury()
        assert _somebody_gets_in(world, case.kind, expected), f"locked out {where}"
        if case.locked:
            assert "unlocked" not in world.database.lock_states().values(), f"open {where}"
        # Long enough for the dead invocation's claim on the tasks to end.
        world.clock += 1000
        retry(world, case.kind, version_id, broken)
        assert world.current_version(case.kind) == version_id, where
        assert world.database.login(world.secret(case.kind)) == expected, where
        assert [world.aws.task_status(arn) for arn in world.task_arns] == ["running"] * case.tasks, where
        assert world.function().tasks.store.read(world.arns[SecretKind.REPLICATION]) is None, where
        restarted = [world.aws.task_started_at(arn) for arn in world.task_arns]
        assert all(after > before for before, after in zip(started, restarted, strict=True)), where
        if case.kind is SecretKind.APPLICATION:
            assert world.database.lock_states() == dict.fromkeys(APPLICATION, "locked" if case.locked else "unlocked")
            assert world.database.grants(APPLICATION[0]) == world.database.grants(APPLICATION[1]), where
    print(f"crash points of the rotation ({case}): {len(whole.effects)}")
    assert len(whole.effects) >= 3


def _prepared(make_world: Callable[..., World], case: Case) -> World:
    world = make_world(locked=case.locked, tasks=case.tasks)
    server, alternate = world.database.server, world.secret(case.kind).alternate_username if case.kind.is_pair else None
    if case.alternate_exists:
        server.query(f"REVOKE INSERT ON payments.payments FROM '{alternate}'@'%'")
        server.query(f"GRANT DELETE ON payments.payments TO '{alternate}'@'%'")
    elif alternate is not None:
        server.query(f"DROP USER '{alternate}'@'%'")
    return world


def _run_until_it_dies(world: World, kind: SecretKind, version_id: str, process: Process) -> Step:
    step = STEPS[0]
    try:
        for step in STEPS:
            world.step(kind, step, version_id, process)
    except CrashError:
        pass
    return step


def _somebody_gets_in(world: World, kind: SecretKind, expected: str) -> bool:
    """Whether the current version works; in the middle of the admin's rotation it may be the pending one that does."""
    if world.database.login(world.secret(kind)) == expected:
        return True
    return kind is SecretKind.ADMIN and world.database.login(world.secret(kind, "AWSPENDING")) == expected


# The cutover's lease.


@pytest.mark.parametrize("kind", [SecretKind.APPLICATION, SecretKind.REPLICATION])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.value)
def test_a_pair_waits_at_every_step_while_a_cutover_holds_the_lease(world: World, kind: SecretKind, step: Step) -> None:
    before = world.secret(kind)
    version_id = world.aws.begin_rotation(world.arns[kind])
    for earlier in STEPS[: STEPS.index(step)]:
        world.step(kind, earlier, version_id)
    world.aws.hold_lease(world.table_name, expires_at=world.now() + 60)
    with pytest.raises(RotationDeferredError, match="cutover cutover-7 holds the lease until"):
        world.step(kind, step, version_id)
    assert world.secret(kind) == before
    assert world.database.login(before) == "admitted"


@pytest.mark.parametrize("step", [Step.CREATE, Step.SET], ids=lambda step: step.value)
def test_the_admin_waits_before_its_password_changes(world: World, step: Step) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.ADMIN])
    for earlier in STEPS[: STEPS.index(step)]:
        world.step(SecretKind.ADMIN, earlier, version_id)
    world.aws.hold_lease(world.table_name, expires_at=world.now() + 60)
    with pytest.raises(RotationDeferredError):
        world.step(SecretKind.ADMIN, step, version_id)
    assert world.database.login(world.secret(SecretKind.ADMIN)) == "admitted"


def test_the_admin_does_not_wait_once_its_password_has_changed(world: World) -> None:
    """A controller that holds the lease logs in with the current version: it must soon be right again."""
    version_id = world.aws.begin_rotation(world.arns[SecretKind.ADMIN])
    world.step(SecretKind.ADMIN, Step.CREATE, version_id)
    world.step(SecretKind.ADMIN, Step.SET, version_id)
    world.aws.hold_lease(world.table_name, expires_at=world.now() + 60)
    for step in STEPS:
        world.step(SecretKind.ADMIN, step, version_id)
    assert world.database.login(world.secret(SecretKind.ADMIN)) == "admitted"


def test_an_expired_lease_does_not_hold_a_rotation_up(world: World) -> None:
    world.aws.hold_lease(world.table_name, expires_at=world.now() - 1)
    world.rotate(SecretKind.APPLICATION)
    assert world.database.login(world.secret(SecretKind.APPLICATION)) == "admitted"


def test_a_rotation_that_waited_is_taken_up_by_the_schedule(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    world.aws.hold_lease(world.table_name, expires_at=world.now() + 60)
    with pytest.raises(RotationDeferredError):
        world.step(SecretKind.APPLICATION, Step.CREATE, version_id)
    assert "deferred: cutover cutover-7" in world.function().resume()["application"]
    world.aws.release_lease(world.table_name)
    assert world.function().resume()["application"].startswith(f"version {version_id} finished")
    assert world.current_version(SecretKind.APPLICATION) == version_id


def test_the_schedule_finds_nothing_to_do_after_a_rotation(world: World) -> None:
    world.rotate(SecretKind.REPLICATION)
    assert set(world.function().resume().values()) == {"nothing unfinished"}


def test_the_schedule_leaves_a_rotation_that_was_cancelled(world: World) -> None:
    world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    world.aws.secrets_manager().cancel_rotate_secret(SecretId=world.arns[SecretKind.APPLICATION])
    assert "left, as rotation is not enabled" in world.function().resume()["application"]


def test_one_failing_secret_does_not_keep_the_schedule_from_the_others(world: World) -> None:
    world.aws.begin_rotation(world.arns[SecretKind.ADMIN])
    world.replace_secret(SecretKind.ADMIN, "no JSON")
    version_id = world.aws.begin_rotation(world.arns[SecretKind.REPLICATION])
    world.database.server.query("SELECT 1")
    with pytest.raises(ExceptionGroup) as raised:
        world.function().resume()
    assert "is not a JSON object" in str(raised.value.exceptions[0])
    assert version_id in world.stages(SecretKind.REPLICATION)


def test_a_lease_that_cannot_be_read_defers(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    world.aws.dynamodb().delete_table(TableName=world.table_name)
    with pytest.raises(RotationDeferredError, match=r"cannot be known: state table .* cannot be read"):
        world.step(SecretKind.APPLICATION, Step.CREATE, version_id)


def test_a_malformed_lease_defers(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    world.aws.dynamodb().put_item(
        TableName=world.table_name, Item={"pk": {"S": "LEASE"}, "sk": {"S": "cutover"}, "holder": {"S": "x"}}
    )
    with pytest.raises(RotationDeferredError, match="the lease item must have holder"):
        world.step(SecretKind.APPLICATION, Step.CREATE, version_id)


def test_a_controller_at_work_in_the_database_defers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secret_rotation.rotation._CONTROLLER_LOCK_WAIT_SECONDS", 0.1)
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    world.step(SecretKind.APPLICATION, Step.CREATE, version_id)
    with world.database.server.connect() as other, other.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('blue_green_controller', 0)")
        with pytest.raises(RotationDeferredError, match="a writer switch or a rotation is at work"):
            world.step(SecretKind.APPLICATION, Step.SET, version_id)


def test_a_cutover_that_begins_while_the_step_runs_finds_the_accounts_untouched(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    world.step(SecretKind.APPLICATION, Step.CREATE, version_id)
    function = world.function()
    connect = function.connect

    def connect_after_the_lease(secret: DatabaseSecret, *, deadline: Deadline) -> Any:
        world.aws.hold_lease(world.table_name, expires_at=world.now() + 60)
        return connect(secret, deadline=deadline)

    late = world.function()
    object.__setattr__(late, "connect", connect_after_the_lease)
    pending = world.secret(SecretKind.APPLICATION, "AWSPENDING")
    with pytest.raises(RotationDeferredError):
        late.run(RotationRequest(step=Step.SET, secret_arn=world.arns[SecretKind.APPLICATION], version_id=version_id))
    assert world.database.login(pending) == "denied"


# The admin account in the middle of its own rotation.


def test_a_pair_rotates_while_the_admin_is_between_two_passwords(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.ADMIN])
    world.step(SecretKind.ADMIN, Step.CREATE, version_id)
    world.step(SecretKind.ADMIN, Step.SET, version_id)
    world.rotate(SecretKind.APPLICATION)
    assert world.database.login(world.secret(SecretKind.APPLICATION)) == "admitted"


def test_the_admins_previous_password_is_tried_before_giving_up(world: World) -> None:
    """The version was made current by hand although the database never got its password."""
    document = {**world.secret(SecretKind.ADMIN).document, "password": new_password()}
    world.replace_secret(SecretKind.ADMIN, json.dumps(document))
    assert world.database.login(world.secret(SecretKind.ADMIN)) == "denied"
    world.rotate(SecretKind.ADMIN)
    assert world.database.login(world.secret(SecretKind.ADMIN)) == "admitted"


def test_an_admin_that_no_version_knows_is_a_clear_error(world: World) -> None:
    world.database.server.query(f"ALTER USER 'payments_admin'@'%' IDENTIFIED BY '{new_password()}'")
    version_id = world.aws.begin_rotation(world.arns[SecretKind.ADMIN])
    world.step(SecretKind.ADMIN, Step.CREATE, version_id)
    with pytest.raises(AccountMismatchError, match="with none of the passwords that are AWSPENDING, AWSCURRENT and"):
        world.step(SecretKind.ADMIN, Step.SET, version_id)


# The replication tasks.


def test_running_tasks_are_restarted_in_order_after_the_version_is_current(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.REPLICATION])
    for step in STEPS[:3]:
        world.step(SecretKind.REPLICATION, step, version_id)
    process = Process()
    world.step(SecretKind.REPLICATION, Step.FINISH, version_id, process)
    calls = [effect for effect in process.effects if not effect.endswith(("Item", "Items"))]
    assert calls == [
        "UpdateSecretVersionStage",
        "StopReplicationTask",
        "StartReplicationTask",
        "StopReplicationTask",
        "StartReplicationTask",
    ]
    assert [world.aws.task_status(arn) for arn in world.task_arns] == ["running", "running"]


@pytest.mark.parametrize("kind", [SecretKind.ADMIN, SecretKind.APPLICATION])
def test_other_rotations_leave_the_tasks_alone(world: World, kind: SecretKind) -> None:
    started = world.aws.dms().describe_replication_tasks()["ReplicationTasks"]
    world.rotate(kind)
    assert world.aws.dms().describe_replication_tasks()["ReplicationTasks"] == started


def test_a_task_that_an_operator_stopped_is_not_started(world: World) -> None:
    world.aws.dms().stop_replication_task(ReplicationTaskArn=world.task_arns[0])
    world.rotate(SecretKind.REPLICATION)
    assert [world.aws.task_status(arn) for arn in world.task_arns] == ["stopped", "running"]


def test_a_task_that_an_operator_stopped_after_a_crash_of_ours_is_not_started(world: World) -> None:
    """Crash after the running tasks were recorded, and before any was touched."""
    version_id = world.aws.begin_rotation(world.arns[SecretKind.REPLICATION])
    for step in STEPS[:3]:
        world.step(SecretKind.REPLICATION, step, version_id)
    process = Process(dies_on="UpdateItem")
    with pytest.raises(CrashError):
        world.step(SecretKind.REPLICATION, Step.FINISH, version_id, process)
    process.bury()
    world.aws.dms().stop_replication_task(ReplicationTaskArn=world.task_arns[1])
    world.clock += 1000
    world.step(SecretKind.REPLICATION, Step.FINISH, version_id)
    assert [world.aws.task_status(arn) for arn in world.task_arns] == ["running", "stopped"]


def test_a_deleted_task_is_passed_over(world: World) -> None:
    world.task_arns.insert(0, "arn:aws:dms:us-east-1:123456789012:task:GONE")
    world.rotate(SecretKind.REPLICATION)
    assert world.function().tasks.store.read(world.arns[SecretKind.REPLICATION]) is None


def test_no_task_is_stopped_while_a_cutover_holds_the_lease(world: World) -> None:
    version_id = world.rotate(SecretKind.REPLICATION)
    store = world.function().tasks.store
    store.request(world.arns[SecretKind.REPLICATION], version_id, now=world.now())
    world.aws.hold_lease(world.table_name, expires_at=world.now() + 60)
    process = Process()
    with pytest.raises(RotationDeferredError, match="restart of replication tasks waits: a cutover holds the lease"):
        world.step(SecretKind.REPLICATION, Step.FINISH, version_id, process)
    assert process.effects == []


def test_a_task_that_we_stopped_is_started_even_while_a_cutover_holds_the_lease(world: World) -> None:
    version_id = world.rotate(SecretKind.REPLICATION)
    arn = world.arns[SecretKind.REPLICATION]
    store = world.function().tasks.store
    store.request(arn, version_id, now=world.now())
    store.begin(arn, {world.task_arns[0]: TaskPhase.STOPPING, world.task_arns[1]: TaskPhase.RUNNING})
    world.aws.dms().stop_replication_task(ReplicationTaskArn=world.task_arns[0])
    world.aws.hold_lease(world.table_name, expires_at=world.now() + 60)
    with pytest.raises(RotationDeferredError):
        world.step(SecretKind.REPLICATION, Step.FINISH, version_id)
    assert world.aws.task_status(world.task_arns[0]) == "running"
    record = store.read(arn)
    assert record is not None
    assert record.tasks == {world.task_arns[0]: TaskPhase.DONE, world.task_arns[1]: TaskPhase.RUNNING}


def test_the_next_rotation_first_restarts_what_the_last_one_owed(world: World) -> None:
    """A task that was not restarted still uses the account whose password changes now."""
    version_id = world.rotate(SecretKind.REPLICATION)
    world.function().tasks.store.request(world.arns[SecretKind.REPLICATION], version_id, now=world.now())
    following = world.aws.begin_rotation(world.arns[SecretKind.REPLICATION])
    world.step(SecretKind.REPLICATION, Step.CREATE, following)
    process = Process()
    world.step(SecretKind.REPLICATION, Step.SET, following, process)
    last_start = max(place for place, effect in enumerate(process.effects) if effect == "StartReplicationTask")
    first_statement = min(place for place, effect in enumerate(process.effects) if effect.startswith("ALTER USER"))
    assert last_start < first_statement


def test_two_rotations_do_not_restart_tasks_at_the_same_time(world: World) -> None:
    version_id = world.rotate(SecretKind.REPLICATION)
    store = world.function().tasks.store
    store.request(world.arns[SecretKind.REPLICATION], version_id, now=world.now())
    store.claim("green's rotation", now=world.now(), until=world.now() + 60, lease_must_be_free=True)
    with pytest.raises(RotationDeferredError, match="another rotation is restarting tasks"):
        world.step(SecretKind.REPLICATION, Step.FINISH, version_id)


# Bad input.


def test_an_unknown_secret_is_refused_with_those_that_are_known(world: World) -> None:
    request = RotationRequest(step=Step.CREATE, secret_arn="arn:other", version_id=str(uuid4()))
    with pytest.raises(RotationRequestError, match=r"SecretId must be one of .*, got 'arn:other'"):
        world.function().run(request)


def test_an_unknown_version_is_refused(world: World) -> None:
    with pytest.raises(VersionStageError, match="there is no version"):
        world.step(SecretKind.ADMIN, Step.CREATE, str(uuid4()))


def test_a_version_that_another_rotation_replaced_is_refused_with_what_to_do(world: World) -> None:
    first = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    world.step(SecretKind.APPLICATION, Step.CREATE, first)
    second = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    with pytest.raises(VersionStageError, match=f"version {second} has it: another rotation is unfinished"):
        world.step(SecretKind.APPLICATION, Step.SET, first)


def test_a_rotation_that_replaces_a_half_finished_one_succeeds(world: World) -> None:
    first = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    for step in STEPS[:3]:
        world.step(SecretKind.APPLICATION, step, first)
    world.rotate(SecretKind.APPLICATION)
    assert world.database.login(world.secret(SecretKind.APPLICATION)) == "admitted"


def test_a_rotation_that_is_off_is_refused(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    world.aws.secrets_manager().cancel_rotate_secret(SecretId=world.arns[SecretKind.APPLICATION])
    with pytest.raises(VersionStageError, match="rotation is not enabled"):
        world.step(SecretKind.APPLICATION, Step.CREATE, version_id)


@pytest.mark.parametrize("step", [Step.SET, Step.TEST], ids=lambda step: step.value)
def test_a_step_before_the_first_says_which_must_come_before(world: World, step: Step) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    with pytest.raises(VersionStageError, match="has no value yet: createSecret must come before"):
        world.step(SecretKind.APPLICATION, step, version_id)


def test_a_secret_that_is_gone_is_named(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    world.step(SecretKind.APPLICATION, Step.CREATE, version_id)
    admin = world.arns[SecretKind.ADMIN]
    world.aws.secrets_manager().delete_secret(SecretId=admin, ForceDeleteWithoutRecovery=True)
    with pytest.raises(SecretUnavailableError, match=admin):
        world.step(SecretKind.APPLICATION, Step.SET, version_id)


def test_a_pending_version_for_another_database_is_refused(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    pending = world.secret(SecretKind.APPLICATION).swapped(new_password())
    world.aws.secrets_manager().put_secret_value(
        SecretId=world.arns[SecretKind.APPLICATION],
        ClientRequestToken=version_id,
        SecretString=json.dumps({**pending.document, "host": "elsewhere.example"}),
        VersionStages=["AWSPENDING"],
    )
    with pytest.raises(AccountMismatchError, match="host and port must be those of the current version"):
        world.step(SecretKind.APPLICATION, Step.SET, version_id)


def test_a_pending_version_made_from_another_current_one_is_refused(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    world.step(SecretKind.APPLICATION, Step.CREATE, version_id)
    swapped = world.secret(SecretKind.APPLICATION).swapped(new_password())
    world.replace_secret(SecretKind.APPLICATION, swapped.to_text())
    with pytest.raises(AccountMismatchError, match="was made from another current version"):
        world.step(SecretKind.APPLICATION, Step.SET, version_id)


def test_a_pair_that_the_bootstrap_never_made_is_a_clear_error(world: World) -> None:
    world.database.server.query("DROP USER 'payments_app_a'@'%'")
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    world.step(SecretKind.APPLICATION, Step.CREATE, version_id)
    with pytest.raises(AccountMismatchError, match="does not exist; deploy again, which runs the bootstrap"):
        world.step(SecretKind.APPLICATION, Step.SET, version_id)


def test_the_test_fails_when_the_password_was_not_set(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    world.step(SecretKind.APPLICATION, Step.CREATE, version_id)
    with pytest.raises(AccessDeniedError, match="account payments_app_b is not admitted"):
        world.step(SecretKind.APPLICATION, Step.TEST, version_id)


def test_the_test_fails_when_a_locked_account_has_another_password(make_world: Callable[..., World]) -> None:
    """Both engines look at the password before the lock, so a wrong one cannot hide behind it."""
    world = make_world(locked=True)
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    world.step(SecretKind.APPLICATION, Step.CREATE, version_id)
    with pytest.raises(AccessDeniedError):
        world.step(SecretKind.APPLICATION, Step.TEST, version_id)


def test_the_test_fails_when_only_one_account_of_the_pair_is_locked(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.APPLICATION])
    for step in STEPS[:2]:
        world.step(SecretKind.APPLICATION, step, version_id)
    world.database.server.query("ALTER USER 'payments_app_a'@'%' ACCOUNT LOCK")
    with pytest.raises(AccountMismatchError, match="both accounts of the pair must be locked or both unlocked"):
        world.step(SecretKind.APPLICATION, Step.TEST, version_id)


def test_the_test_fails_when_a_replication_account_is_locked(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.REPLICATION])
    for step in STEPS[:2]:
        world.step(SecretKind.REPLICATION, step, version_id)
    world.database.server.query("ALTER USER 'dms_b'@'%' ACCOUNT LOCK")
    with pytest.raises(AccountLockedError):
        world.step(SecretKind.REPLICATION, Step.TEST, version_id)


def test_a_database_that_cannot_be_reached_is_named(world: World) -> None:
    document = {**world.secret(SecretKind.ADMIN).document, "port": 9}
    world.replace_secret(SecretKind.ADMIN, json.dumps(document))
    version_id = world.aws.begin_rotation(world.arns[SecretKind.ADMIN])
    world.step(SecretKind.ADMIN, Step.CREATE, version_id)
    with pytest.raises(DatabaseUnreachableError, match=r"127\.0\.0\.1:9: cannot be reached"):
        world.step(SecretKind.ADMIN, Step.SET, version_id)


def steps_of(world: World, kind: SecretKind, version_id: str) -> Sequence[dict[str, str]]:
    return [
        {"Step": step.value, "SecretId": world.arns[kind], "ClientRequestToken": version_id, "RotationToken": "x"}
        for step in STEPS
    ]


def test_the_handler_serves_secrets_manager_and_the_schedule(world: World) -> None:
    version_id = world.aws.begin_rotation(world.arns[SecretKind.ADMIN])
    for event in steps_of(world, SecretKind.ADMIN, version_id):
        run(event, rotation=world.function())
    assert world.current_version(SecretKind.ADMIN) == version_id
    assert run({"Step": RESUME}, rotation=world.function()) == dict.fromkeys(
        ("admin", "application", "replication"), "nothing unfinished"
    )
