"""What a guarded deployment asks of AWS."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from cutover_state.layout import StateUnreadableError
from cutover_state.lease import Lease, LeaseTakenError, LeaseUnreadableError, read_lease, release_lease, take_lease
from cutover_state.run import Run, RunStore
from ops.deployment_decision import NESTED_STACK, Change, nested_stack, task_identifier

POLL_SECONDS: Final = 10.0
REPLICATION_SECONDS: Final = 30 * 60.0
"""Tasks stop when what they have read is applied, and start after a connection test."""

LEASE_SECONDS: Final = 15 * 60
"""A workstation that dies in the middle of a deployment keeps cutovers and rotations waiting no longer."""

ABSENT: Final = "absent"

# Statuses of a stack that holds nothing to take care of (AWS CloudFormation API reference, Stack).
NOTHING_THERE: Final = frozenset({ABSENT, "REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "DELETE_COMPLETE"})
DEPLOYED: Final = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE"})
NO_CHANGE: Final = ("No updates are to be performed", "didn't contain changes")


class DeploymentError(Exception):
    """AWS could not be asked, or did not do what it was asked for; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Aws:
    """The stage in AWS.

    Attributes:
        client: makes a client of a service; ``boto3.Session(…).client`` with its region.
        stack: name of the root stack.
        path: parameters of the stage begin with it.
        tell: takes a line on what happens.
        lease: name under which the lease is held, and extended while something is waited for; None while it is not.
        now: epoch seconds.
    """

    client: Callable[[str], Any]
    stack: str
    path: str
    tell: Callable[[str], None]
    lease: str | None = None
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    def stack_status(self) -> str | None:
        """Status of the root stack; None when there is none, or nothing is in it."""
        status = self._status()
        return None if status in NOTHING_THERE else status

    def _status(self) -> str:
        try:
            [found] = self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"]
        except ClientError as error:
            if "does not exist" in error.response["Error"]["Message"]:
                return ABSENT
            raise DeploymentError(f"stack {self.stack} cannot be read: {error}") from None
        except BotoCoreError as error:
            raise DeploymentError(f"stack {self.stack} cannot be read: {error}") from None
        return str(found["StackStatus"])

    def parameter(self, name: str) -> str:
        """A parameter of the stage, such as ``state-table``."""
        full = f"{self.path}/shared/{name}"
        try:
            return str(self.client("ssm").get_parameter(Name=full)["Parameter"]["Value"])
        except (ClientError, BotoCoreError) as error:
            raise DeploymentError(f"parameter {full} of stack {self.stack} cannot be read: {error}") from None

    def cutover(self) -> tuple[Run | None, Lease | None]:
        """The cutover that runs or ran last, and the lease."""
        table = self.parameter("state-table")
        dynamodb = self.client("dynamodb")
        try:
            return RunStore(dynamodb, table_name=table).read(), read_lease(dynamodb, table_name=table)
        except (ClientError, BotoCoreError, StateUnreadableError, LeaseUnreadableError) as error:
            raise DeploymentError(f"state table {table}: {error}") from None

    def hold(self, name: str) -> Aws:
        """Take the lease, so that neither a cutover nor a rotation begins; this, holding it under ``name``.

        Raises:
            LeaseTakenError: somebody else holds it.
            DeploymentError: it cannot be taken.
        """
        held = replace(self, lease=name)
        try:
            held._take()
        except (ClientError, BotoCoreError, LeaseUnreadableError) as error:
            raise DeploymentError(f"the lease cannot be taken: {error}") from None
        return held

    def release(self) -> None:
        """Give the lease up; should that fail, it ends by itself."""
        if self.lease is None:
            return
        try:
            release_lease(self.client("dynamodb"), table_name=self.parameter("state-table"), cutover_id=self.lease)
        except (ClientError, BotoCoreError, DeploymentError) as error:
            self.tell(f"The lease could not be given up and ends within {LEASE_SECONDS // 60} minutes: {error}")

    def _take(self) -> None:
        assert self.lease is not None
        now = self.now()
        take_lease(
            self.client("dynamodb"),
            table_name=self.parameter("state-table"),
            lease=Lease(holder="deployment", cutover_id=self.lease, expires_at=int(now) + LEASE_SECONDS),
            now=now,
        )

    def _wait(self) -> None:
        """Until it is time to look again. The lease is extended; what is under way cannot be stopped by losing it."""
        self.sleep(POLL_SECONDS)
        if self.lease is None:
            return
        try:
            self._take()
        except (ClientError, BotoCoreError, LeaseTakenError, LeaseUnreadableError, DeploymentError) as error:
            self.tell(f"The lease could not be extended, begin no cutover: {error}")

    def changes(self, change_set: str) -> tuple[Change, ...] | None:
        """What a change set would change, nested stacks included; None when there is no such change set.

        The CDK takes a change set away that changes nothing.
        """
        try:
            return tuple(self._changes(change_set, stack_name=self.stack, nested=""))
        except ClientError as error:
            if error.response["Error"]["Code"] in ("ChangeSetNotFound", "ChangeSetNotFoundException"):
                return None
            raise DeploymentError(f"change set {change_set} cannot be read: {error}") from None
        except BotoCoreError as error:
            raise DeploymentError(f"change set {change_set} cannot be read: {error}") from None

    def _changes(self, change_set: str, *, stack_name: str | None, nested: str) -> Iterator[Change]:
        # The ARN of a nested change set says which stack it belongs to.
        asked: dict[str, str] = {"ChangeSetName": change_set} | ({"StackName": stack_name} if stack_name else {})
        while True:
            page = self.client("cloudformation").describe_change_set(**asked)
            if page["Status"] != "CREATE_COMPLETE" and not _changes_nothing(page):
                raise DeploymentError(
                    f"change set {change_set} is {page['Status']}: {page.get('StatusReason', 'no reason given')}"
                )
            for each in page.get("Changes", []):
                change = Change.parse(each, stack=nested)
                yield change
                inner = each["ResourceChange"].get("ChangeSetId")
                if change.type == NESTED_STACK and inner:
                    yield from self._changes(inner, stack_name=None, nested=nested_stack(change.logical_id))
            if "NextToken" not in page:
                return
            asked["NextToken"] = page["NextToken"]

    def delete_change_set(self, change_set: str) -> None:
        """Take a change set away, with its nested ones, so that nobody executes it by mistake."""
        try:
            self.client("cloudformation").delete_change_set(StackName=self.stack, ChangeSetName=change_set)
        except (ClientError, BotoCoreError) as error:
            self.tell(f"Change set {change_set} could not be deleted; do not execute it: {error}")

    def execute(self, change_set: str) -> None:
        """Execute a change set and wait for its end.

        Raises:
            DeploymentError: the stack is not as the change set says at the end.
        """
        try:
            self.client("cloudformation").execute_change_set(StackName=self.stack, ChangeSetName=change_set)
        except (ClientError, BotoCoreError) as error:
            raise DeploymentError(f"change set {change_set} cannot be executed: {error}") from None
        status = self.settle()
        if status not in DEPLOYED:
            raise DeploymentError(f"{self.stack} is {status}: look at the events of the stack")

    def settle(self) -> str:
        """Wait until nothing happens with the stack any more; its status then."""
        last = ""
        while True:
            # Not at once: the status changes a moment after a change set is executed.
            self._wait()
            status = self._status()
            if status != last:
                self.tell(f"{self.stack}: {status}")
                last = status
            if not status.endswith("_IN_PROGRESS"):
                return status

    def task_statuses(self) -> Mapping[str, str]:
        """Statuses of the stage's replication tasks by identifier."""
        ours = self.parameter("replication-tasks").split(",")
        try:
            pages = self.client("dms").get_paginator("describe_replication_tasks").paginate(WithoutSettings=True)
            tasks = [task for page in pages for task in page["ReplicationTasks"]]
        except (ClientError, BotoCoreError) as error:
            raise DeploymentError(f"replication tasks cannot be read: {error}") from None
        found = {task_identifier(task["ReplicationTaskArn"]): str(task["Status"]) for task in tasks}
        return {name: found[name] for name in ours if name in found}

    def replicate(self, action: str) -> None:
        """``start`` or ``stop`` all replication tasks, and wait until they do or rest.

        Raises:
            DeploymentError: a task cannot, or takes too long.
        """
        deadline = self.monotonic() + REPLICATION_SECONDS
        while True:
            answer = self.call("replication-control", {"action": action})
            self.tell("; ".join(f"{name}: {step}" for name, step in sorted(answer["tasks"].items())))
            if answer["done"]:
                return
            if self.monotonic() >= deadline:
                raise DeploymentError(
                    f"replication tasks do not {action} within {REPLICATION_SECONDS / 60:.0f} minutes: look at DMS"
                )
            self._wait()

    def reconcile(self) -> None:
        """Have weights and records set as they should be."""
        for drift in self.call("reconciler", {}).get("drifts", ()):
            self.tell(str(drift))

    def call(self, function: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a function of the stage answers.

        Raises:
            DeploymentError: it cannot be called, or failed.
        """
        name = self.parameter(f"{function}-function-name")
        try:
            response = self.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event).encode())
            answer = json.loads(response["Payload"].read())
        except (ClientError, BotoCoreError, ValueError) as error:
            raise DeploymentError(f"function {name} cannot be called: {error}") from None
        if response.get("FunctionError") or not isinstance(answer, dict):
            message = answer.get("errorMessage", answer) if isinstance(answer, dict) else answer
            raise DeploymentError(f"function {name} failed: {message}")
        return answer


def _changes_nothing(page: Mapping[str, Any]) -> bool:
    """Whether it is a nested change set of a stack that stays as it is: CloudFormation calls it failed."""
    reason = str(page.get("StatusReason", ""))
    return page["Status"] == "FAILED" and any(each in reason for each in NO_CHANGE)


def command(cdk: Sequence[str], *, stage: str, stack: str, change_set: str) -> list[str]:
    """The command that prepares a change set and does not execute it."""
    return [
        *cdk,
        "deploy",
        stack,
        "--context",
        f"stage={stage}",
        "--method=prepare-change-set",
        f"--change-set-name={change_set}",
        # The operator is asked here, or said yes by calling.
        "--require-approval=never",
    ]
