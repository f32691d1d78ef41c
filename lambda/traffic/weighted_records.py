"""The pair of weighted DNS records that chooses between the legacy system and AWS."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from traffic import weights as w

if TYPE_CHECKING:
    from mypy_boto3_route53 import Route53Client
    from mypy_boto3_route53.type_defs import ResourceRecordSetOutputTypeDef

INSYNC_SECONDS: Final = 60
"""Route 53 spreads a change to all its servers within 60 seconds, usually (its developer guide, "GetChange")."""

ALIAS_TTL_SECONDS: Final = 60
"""TTL with which Route 53 answers for an alias of a load balancer (its developer guide, "Choosing between alias and
non-alias records")."""

_POLL_SECONDS: Final = 2.0


class WeightedRecords:
    """Weights of the records ``sides`` of one name, changed in one batch and waited for."""

    def __init__(
        self,
        route53: Route53Client,
        *,
        hosted_zone_id: str,
        name: str,
        sides: Sequence[str] = ("legacy", "aws"),
        sleep: Callable[[float], None] = time.sleep,
        insync_seconds: float = 2 * INSYNC_SECONDS,
    ) -> None:
        """Args: sides: the set identifiers of the records."""
        self._route53 = route53
        self._zone = hosted_zone_id
        # Route 53 keeps names in lower case.
        self._name = f"{name.rstrip('.').lower()}."
        self.sides = tuple(sides)
        self._sleep = sleep
        self._insync_seconds = insync_seconds

    def read(self) -> dict[str, int]:
        """The weights that are set now.

        Raises:
            TrafficError: the records cannot be read, or are not the pair that we know.
        """
        return {side: int(record["Weight"]) for side, record in self._records().items()}

    def ttl_seconds(self) -> int:
        """How long resolvers keep an answer, at the most.

        Raises:
            TrafficError: the records cannot be read, or are not the pair that we know.
        """
        return max(int(record.get("TTL", ALIAS_TTL_SECONDS)) for record in self._records().values())

    def write(self, wanted: Mapping[str, int]) -> None:
        """Set both weights in one change batch, wait until every server has them, and read them back.

        Raises:
            WeightsError: nobody may set these weights.
            TrafficError: they were not set, did not spread in time, or do not read back.
        """
        w.check(wanted, sides=self.sides)
        changed = {side: copy.deepcopy(record) for side, record in self._records().items()}
        for side in self.sides:
            changed[side]["Weight"] = wanted[side]
        # Also when they read so already: whoever wrote them may have died before every server had them.
        try:
            change = self._route53.change_resource_record_sets(
                HostedZoneId=self._zone,
                ChangeBatch={
                    "Comment": f"cutover: {w.shown(wanted)}",
                    "Changes": [{"Action": "UPSERT", "ResourceRecordSet": changed[side]} for side in self.sides],
                },
            )["ChangeInfo"]
        except (ClientError, BotoCoreError) as error:
            raise w.TrafficError(f"{self._name} cannot be set to {w.shown(wanted)}: {error}") from None
        self._await(change["Id"], change["Status"])
        w.verify(self.read, wanted, what=self._name, sleep=self._sleep)

    def _await(self, change_id: str, status: str) -> None:
        waited = 0.0
        while status != "INSYNC":
            if waited >= self._insync_seconds:
                raise w.TrafficError(
                    f"{self._name}: the change {change_id} is not INSYNC after {self._insync_seconds:g} s; "
                    "part of the servers may still answer with the old weights"
                )
            self._sleep(_POLL_SECONDS)
            waited += _POLL_SECONDS
            try:
                status = self._route53.get_change(Id=change_id)["ChangeInfo"]["Status"]
            except (ClientError, BotoCoreError) as error:
                raise w.TrafficError(f"{self._name}: the change {change_id} cannot be read: {error}") from None

    def _records(self) -> dict[str, ResourceRecordSetOutputTypeDef]:
        try:
            # Records come in the order of name and type, so ours are the first from there on.
            page = self._route53.list_resource_record_sets(
                HostedZoneId=self._zone, StartRecordName=self._name, StartRecordType="A", MaxItems="10"
            )
        except (ClientError, BotoCoreError) as error:
            raise w.TrafficError(f"{self._name} cannot be read in hosted zone {self._zone}: {error}") from None
        found = {
            record.get("SetIdentifier", ""): record
            for record in page["ResourceRecordSets"]
            if record["Name"].rstrip(".") == self._name.rstrip(".") and record["Type"] == "A"
        }
        if set(found) != set(self.sides) or any("Weight" not in record for record in found.values()):
            raise w.TrafficError(
                f"{self._name} must have exactly the weighted records {', '.join(self.sides)}; "
                f"it has {', '.join(sorted(found)) or 'none'}"
            )
        return {side: found[side] for side in self.sides}
