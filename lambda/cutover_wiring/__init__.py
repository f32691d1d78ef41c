"""How the functions of the cutover are put together from their environment: the same pieces, made in one place."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from cutover_settings import Settings
from cutover_state.desired import DesiredStore
from cutover_state.journal import Journal
from cutover_state.lease import Lease, release_lease, take_lease
from cutover_state.levers import Kind, Lever
from cutover_state.run import RunStore
from traffic.listener_rule import ListenerRule
from traffic.weighted_records import WeightedRecords
from traffic.weights import RETRYING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LEASE_SECONDS: Final = 15 * 60
"""A lease outlives the pause between two looks many times over; a controller that died blocks nobody for longer."""

_LONGEST_SUBJECT: Final = 100


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Pieces of a function, made when they are first asked for.

    Attributes:
        settings: the function's environment.
        client: makes a client of a service; the handler gives ``boto3.client``.
        who: author of the journal's entries.
    """

    settings: Settings
    client: Callable[..., Any]
    who: str

    def aws(self, service: str) -> Any:
        """A client that tries again after throttling, with jitter."""
        return self.client(service, config=RETRYING)

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """Client of the state table."""
        client: DynamoDBClient = self.aws("dynamodb")
        return client

    @property
    def table_name(self) -> str:
        """Name of the state table."""
        return self.settings.text("STATE_TABLE_NAME")

    def runs(self) -> RunStore:
        """The cutover that runs."""
        return RunStore(self.dynamodb, table_name=self.table_name)

    def desired(self) -> DesiredStore:
        """What should be."""
        return DesiredStore(self.dynamodb, table_name=self.table_name)

    def journal(self, cutover_id: str) -> Journal:
        """The journal of a cutover."""
        return Journal(self.dynamodb, table_name=self.table_name, cutover_id=cutover_id, who=self.who)

    def levers(self) -> Mapping[Kind, Lever]:
        """Both levers."""
        return {
            Kind.ENVIRONMENT: ListenerRule(
                self.aws("elbv2"),
                rule_arn=self.settings.text("LISTENER_RULE_ARN"),
                target_groups=self.settings.mapping("TARGET_GROUP_ARNS"),
            ),
            Kind.FRONT_DOOR: self.records(),
        }

    def records(self) -> WeightedRecords:
        """The lever of the front door."""
        return WeightedRecords(
            self.aws("route53"),
            hosted_zone_id=self.settings.text("HOSTED_ZONE_ID"),
            name=self.settings.text("PAYMENTS_HOST"),
        )

    def alarms(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the alarms that are watched, by side."""
        return {side: tuple(found) for side, found in self.settings.mapping("ALARMS").items()}

    def lease(self, cutover_id: str) -> None:
        """Take or extend the lease for a cutover."""
        now = time.time()
        take_lease(
            self.dynamodb,
            table_name=self.table_name,
            lease=Lease(holder=self.who, cutover_id=cutover_id, expires_at=int(now) + LEASE_SECONDS),
            now=now,
        )

    def release(self, cutover_id: str) -> None:
        """Give the lease up."""
        release_lease(self.dynamodb, table_name=self.table_name, cutover_id=cutover_id)

    def tell(self, subject: str, text: str) -> None:
        """Notify people."""
        self.aws("sns").publish(
            TopicArn=self.settings.text("NOTIFICATION_TOPIC_ARN"), Subject=subject[:_LONGEST_SUBJECT], Message=text
        )

    def stop(self, execution_arn: str, reason: str) -> None:
        """End an execution of the state machine; one that has ended is left alone."""
        try:
            self.aws("stepfunctions").stop_execution(
                executionArn=execution_arn, error="RolledBack", cause=reason[:32_000]
            )
        except ClientError as error:
            found = error.response["Error"]
            # It may end by itself between the look at the run and this call.
            ended = found["Code"] == "ValidationException" and "not running" in found.get("Message", "")
            if found["Code"] != "ExecutionDoesNotExist" and not ended:
                raise


def new_cutover_id(source: str, target: str, *, now: float) -> str:
    """An id that sorts by time and says what moves: ``20261124T184500-blue-green-1a2b``."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}-{source}-{target}-{uuid.uuid4().hex[:4]}"


def names(values: Mapping[str, Any], keys: Sequence[str]) -> dict[str, str]:
    """The texts of ``values`` under ``keys``."""
    return {key: str(values[key]) for key in keys if key in values}
