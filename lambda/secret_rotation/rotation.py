"""The four steps, for a secret with one account and for one with a pair of accounts.

Every step can be repeated, and a rotation can break off after any statement and any call and be taken up again.
Orders that matter, and which steps wait for a cutover: docs/decisions/rotation-steps.md and rotation-deferral.md.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from cutover_state.lease import LeaseUnreadableError, read_lease
from database_access import accounts
from database_access.accounts import AccountState
from database_access.admin import open_as_admin
from database_access.controller_lock import controller_lock
from database_access.credentials import (
    EXCLUDED_CHARACTERS,
    PASSWORD_LENGTH,
    DatabaseSecret,
    check_generated_password,
)
from database_access.deadline import Deadline
from database_access.errors import (
    AccessDeniedError,
    AccountLockedError,
    LockNotAvailableError,
)
from database_access.grants import changes
from database_access.secret_store import (
    CURRENT,
    PENDING,
    PREVIOUS,
    SecretVersionMissingError,
    read_secret,
)
from database_access.server import Server, identify
from database_access.session import Connect, Session
from database_access.structured_log import fields, protect
from secret_rotation.errors import AccountMismatchError, RotationDeferredError, VersionStageError
from secret_rotation.replication_tasks import ReplicationTasks
from secret_rotation.request import RotationRequest, SecretKind, Settings, Step
from secret_rotation.versions import SecretVersions

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_secretsmanager import SecretsManagerClient

log = logging.getLogger(__name__)

_CONTROLLER_LOCK_WAIT_SECONDS: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """The rotation of the secrets of one database.

    Attributes:
        connect: Opens a session as the account of a secret.
        tasks: The replication tasks that read the replication secret.
        deadline: Until when this invocation works.
        now: Epoch seconds.
    """

    settings: Settings
    secrets_manager: SecretsManagerClient
    dynamodb: DynamoDBClient
    connect: Connect
    tasks: ReplicationTasks
    deadline: Deadline
    now: Callable[[], float] = time.time

    def run(self, request: RotationRequest) -> str:
        """Do one step and return what was done.

        Raises:
            RotationError: The step is not possible, or must wait; the message says why.
            DatabaseAccessError: The database or a secret stands in the way.
        """
        kind = self.settings.kind_of(request.secret_arn)
        versions = self._versions(request.secret_arn)
        if versions.is_already_current(request.version_id):
            if kind is SecretKind.REPLICATION and self.tasks.owed(
                request.secret_arn, current_version_id=request.version_id
            ):
                self.tasks.restart(request.secret_arn)
                return "already current; replication tasks restarted"
            return "already current"
        match request.step, kind:
            case Step.CREATE, _:
                return self._create(request, kind)
            case Step.SET, SecretKind.ADMIN:
                return self._set_admin(request, versions)
            case Step.SET, _:
                return self._set_pair(request, kind, versions)
            case Step.TEST, _:
                return self._test(request, kind)
            case _:
                return self._finish(request, kind, versions)

    def resume(self) -> Mapping[str, str]:
        """Take up what a cutover deferred or a crash broke off, and say for each secret what was found.

        Secrets Manager retries only while the rotation window is open, so this runs on a schedule of ours. A rotation
        that waits, or that fails again, does not keep the other secrets from their turn.

        Raises:
            ExceptionGroup: The rotations that failed.
        """
        found: dict[str, str] = {}
        failures: list[Exception] = []
        for kind, arn in self.settings.secret_arns.items():
            try:
                found[kind.value] = self._resume_one(kind, arn)
            except RotationDeferredError as error:
                found[kind.value] = f"deferred: {error}"
            except Exception as error:  # raised below, after the other secrets had their turn
                failures.append(error)
        if failures:
            raise ExceptionGroup("rotations could not be resumed", failures)
        return found

    def _resume_one(self, kind: SecretKind, arn: str) -> str:
        versions = self._versions(arn)
        if versions.unfinished is not None and not versions.rotation_enabled:
            return f"version {versions.unfinished} is unfinished and left, as rotation is not enabled"
        if versions.unfinished is not None:
            for step in Step:
                done = self.run(RotationRequest(step=step, secret_arn=arn, version_id=versions.unfinished))
            return f"version {versions.unfinished} finished: {done}"
        if kind is SecretKind.REPLICATION and self.tasks.owed(arn, current_version_id=versions.current):
            self.tasks.restart(arn)
            return "replication tasks restarted"
        return "nothing unfinished"

    def _create(self, request: RotationRequest, kind: SecretKind) -> str:
        try:
            read_secret(
                self.secrets_manager,
                request.secret_arn,
                pair=kind.is_pair,
                stage=PENDING,
                version_id=request.version_id,
            )
        except SecretVersionMissingError:
            pass
        else:
            return "the pending version has its value already"
        self._defer_during_cutover()
        current = read_secret(self.secrets_manager, request.secret_arn, pair=kind.is_pair)
        password = self._new_password(current)
        pending = current.swapped(password) if kind.is_pair else current.with_new_password(password)
        try:
            self.secrets_manager.put_secret_value(
                SecretId=request.secret_arn,
                ClientRequestToken=request.version_id,
                SecretString=pending.to_text(),
                VersionStages=[PENDING],
            )
        except self.secrets_manager.exceptions.ResourceExistsException:
            # Another invocation of the same rotation was faster; its value stands.
            return "the pending version has its value already"
        return f"the pending version is for account {pending.username}"

    def _new_password(self, current: DatabaseSecret) -> str:
        password = self.secrets_manager.get_random_password(
            PasswordLength=PASSWORD_LENGTH, ExcludeCharacters=EXCLUDED_CHARACTERS, RequireEachIncludedType=False
        )["RandomPassword"]
        protect(password)
        check_generated_password(password, name=current.name)
        return password

    def _set_admin(self, request: RotationRequest, versions: SecretVersions) -> str:
        """The password that the database has now is the pending, the current or, after a mishap, the previous one."""
        pending = self._pending(request, SecretKind.ADMIN)
        try:
            self.connect(pending, deadline=self.deadline).close()
        except AccessDeniedError:
            pass
        else:
            # Never deferred from here on: until the version is current, the controllers' admin password is wrong.
            return "the password is set already"
        self._defer_during_cutover()
        current = read_secret(self.secrets_manager, request.secret_arn, pair=False)
        self._check_same(pending, current, username=current.username)
        with closing(self._open_as_admin_of(request.secret_arn, current, versions)) as session:
            accounts.set_own_password(session, pending.password)
        return f"password of account {pending.username} set"

    def _open_as_admin_of(self, arn: str, current: DatabaseSecret, versions: SecretVersions) -> Session:
        try:
            return self.connect(current, deadline=self.deadline)
        except AccessDeniedError:
            log.warning("the current admin password is refused; the previous one is tried", extra=fields(secret=arn))
        try:
            previous = read_secret(self.secrets_manager, arn, pair=False, stage=PREVIOUS)
            if previous.same_database_as(current) and previous.username == current.username:
                return self.connect(previous, deadline=self.deadline)
        except (AccessDeniedError, SecretVersionMissingError):
            pass
        raise AccountMismatchError(
            f"secret {arn}: the database admits account {current.username} with none of the passwords that are "
            f"{PENDING}, {CURRENT} and {PREVIOUS}; set the master password of the cluster to that of version "
            f"{versions.current} with modify-db-cluster, then rotate again"
        )

    def _set_pair(self, request: RotationRequest, kind: SecretKind, versions: SecretVersions) -> str:
        """Give the account that is not in use the pending password, and make it like the one that is."""
        self._defer_during_cutover()
        if kind is SecretKind.REPLICATION and self.tasks.owed(request.secret_arn, current_version_id=versions.current):
            # A task that was not restarted since the last rotation still uses the account whose password changes now.
            self.tasks.restart(request.secret_arn)
        pending = self._pending(request, kind)
        current = read_secret(self.secrets_manager, request.secret_arn, pair=True)
        self._check_same(pending, current, username=current.alternate_username)
        with closing(self._open_as_admin(current)) as session, self._sole_controller(session):
            # Once more: a cutover that began meanwhile must not find its lock states changed.
            self._defer_during_cutover()
            server = identify(session)
            self._prepare_account(session, server, pending, current)
        return f"password of account {pending.username} set"

    def _prepare_account(
        self, session: Session, server: Server, pending: DatabaseSecret, current: DatabaseSecret
    ) -> None:
        """Lock first and unlock last, so that at no moment the account lets in whom the current one keeps out."""
        states = accounts.account_states(session, server, (current.username, pending.username))
        if states[current.username] is AccountState.ABSENT:
            raise AccountMismatchError(
                f"{current.host}: account {current.username} of secret {current.name} does not exist; "
                "deploy again, which runs the bootstrap"
            )
        state = states[pending.username]
        if state is AccountState.ABSENT:
            accounts.create_account(session, pending.username, pending.password, locked=True)
            state = AccountState.LOCKED
        elif state is AccountState.UNLOCKED and states[current.username] is AccountState.LOCKED:
            accounts.lock_account(session, pending.username)
            state = AccountState.LOCKED
        accounts.set_password(session, pending.username, pending.password)
        difference = changes(
            wanted=accounts.grants_of(session, current.username),
            present=accounts.grants_of(session, pending.username),
        )
        accounts.give(session, pending.username, difference.to_give)
        accounts.take(session, pending.username, difference.to_take)
        if state is AccountState.LOCKED and states[current.username] is AccountState.UNLOCKED:
            accounts.unlock_account(session, pending.username)

    def _test(self, request: RotationRequest, kind: SecretKind) -> str:
        """The database admits the pending account, or says that only its lock is in the way."""
        if kind.is_pair:
            self._defer_during_cutover()
        pending = self._pending(request, kind)
        try:
            with closing(self.connect(pending, deadline=self.deadline)) as session:
                session.query("SELECT 1")
        except AccountLockedError:
            if kind is not SecretKind.APPLICATION:
                raise
            # The password was right: the engines look at the lock after it.
            outcome = "locked, with the right password"
        else:
            outcome = "admitted"
        if kind is SecretKind.APPLICATION:
            self._check_locks_agree(pending)
        return f"account {pending.username}: {outcome}"

    def _check_locks_agree(self, pending: DatabaseSecret) -> None:
        names = (pending.username, str(pending.alternate_username))
        with closing(self._open_as_admin(pending)) as session:
            states = accounts.account_states(session, identify(session), names)
        if len(set(states.values())) != 1:
            raise AccountMismatchError(
                f"{pending.host}: both accounts of the pair must be locked or both unlocked, "
                + ", ".join(f"{name} is {state.value}" for name, state in states.items())
            )

    def _finish(self, request: RotationRequest, kind: SecretKind, versions: SecretVersions) -> str:
        """Make the version current; a replication secret's tasks are restarted then, and that is recorded before."""
        if kind.is_pair:
            self._defer_during_cutover()
        if kind is SecretKind.REPLICATION:
            self.tasks.request(request.secret_arn, request.version_id)
        self._make_current(request, versions)
        if kind is SecretKind.REPLICATION:
            self.tasks.restart(request.secret_arn)
        return f"version {request.version_id} is current"

    def _make_current(self, request: RotationRequest, versions: SecretVersions) -> None:
        try:
            self.secrets_manager.update_secret_version_stage(
                SecretId=request.secret_arn,
                VersionStage=CURRENT,
                MoveToVersionId=request.version_id,
                RemoveFromVersionId=versions.current,
            )
        except ClientError:
            # Another invocation of the same rotation may have been faster.
            if self._versions(request.secret_arn).current != request.version_id:
                raise

    def _pending(self, request: RotationRequest, kind: SecretKind) -> DatabaseSecret:
        try:
            return read_secret(
                self.secrets_manager,
                request.secret_arn,
                pair=kind.is_pair,
                stage=PENDING,
                version_id=request.version_id,
            )
        except SecretVersionMissingError:
            raise VersionStageError(
                f"secret {request.secret_arn}: version {request.version_id} has no value yet: "
                f"{Step.CREATE.value} must come before {request.step.value}"
            ) from None

    def _check_same(self, pending: DatabaseSecret, current: DatabaseSecret, *, username: str | None) -> None:
        """The pending version was made from the current one: nobody can point the rotation to another database."""
        if not pending.same_database_as(current):
            raise AccountMismatchError(
                f"secret {pending.name}: host and port must be those of the current version, "
                f"{current.host}:{current.port}, got {pending.host}:{pending.port}"
            )
        if pending.username != username:
            raise AccountMismatchError(
                f"secret {pending.name}: username must be {username!r}, got {pending.username!r}: the pending version "
                f"was made from another current version; take the stage {PENDING} from it and rotate again"
            )

    def _open_as_admin(self, secret: DatabaseSecret) -> Session:
        """A session of the admin account; in the middle of the admin secret's own rotation its pending password."""
        arn = self.settings.secret_arns[SecretKind.ADMIN]
        admin = read_secret(self.secrets_manager, arn, pair=False)
        if not admin.same_database_as(secret):
            raise AccountMismatchError(
                f"secret {secret.name}: host and port must be those of the admin secret, {admin.host}:{admin.port}, "
                f"got {secret.host}:{secret.port}"
            )
        return open_as_admin(self.connect, self.secrets_manager, admin, arn=arn, deadline=self.deadline)

    @contextmanager
    def _sole_controller(self, session: Session) -> Iterator[None]:
        """Raises: RotationDeferredError: A writer switch or another rotation is at work on the accounts."""
        try:
            with controller_lock(session, wait_seconds=_CONTROLLER_LOCK_WAIT_SECONDS):
                yield
        except LockNotAvailableError as error:
            raise RotationDeferredError(str(error)) from None

    def _defer_during_cutover(self) -> None:
        """Raises: RotationDeferredError: A cutover holds the lease, or whether it does cannot be known."""
        try:
            lease = read_lease(self.dynamodb, table_name=self.settings.state_table_name)
        except LeaseUnreadableError as error:
            raise RotationDeferredError(f"whether a cutover is at work cannot be known: {error}") from None
        if lease is not None and lease.is_held(now=self.now()):
            raise RotationDeferredError(
                f"cutover {lease.cutover_id} holds the lease until {lease.expires_at} (epoch seconds); the rotation "
                "is taken up afterwards"
            )

    def _versions(self, arn: str) -> SecretVersions:
        return SecretVersions.from_description(self.secrets_manager.describe_secret(SecretId=arn))
