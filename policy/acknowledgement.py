"""Accepting a finding, beside the resource that it is about.

An acknowledgement names the finding, says why it is acceptable and who answers for that, and ends on a date.
It is recorded twice: with the CDK's own validations, so that the validation report shows it as acknowledged,
and as metadata of every CloudFormation resource under the construct, so that the policy pack finds it in the
template, even when the CDK is not at hand. Nothing here reads the clock: whether an acknowledgement has
expired is decided by whoever checks the templates, and synthesis stays a pure function of the code.
"""

import datetime
import re
from typing import Final, TypedDict

import aws_cdk as cdk
import jsii
from constructs import IConstruct

from policy.engine import METADATA_KEY

RENEWAL: Final = datetime.date(2027, 11, 30)
"""When acknowledgements have to be looked at again, unless a date of their own is given."""

MIN_REASON_CHARACTERS: Final = 20
MIN_REASON_WORDS: Final = 4

_QUALIFIED_ID: Final = re.compile(r"[^\s:\[\]]+::[^\s:\[\]]+(\[.+\])?")


class AcknowledgementRecord(TypedDict):
    """One acknowledgement as it lies in the metadata of a resource; `expires` is an ISO date."""

    id: str
    reason: str
    owner: str
    expires: str
    at: str


def acknowledge(
    scope: IConstruct,
    *rule_ids: str,
    reason: str,
    owner: str = "platform-security",
    expires: datetime.date = RENEWAL,
) -> None:
    """Accept the findings `rule_ids` on every resource under `scope`, those added later included.

    Ids are qualified with the name of the pack, as the command line prints them:
    "PCI401::SecretRotated", "AwsSolutions::AwsSolutions-IAM5[Resource::*]",
    "PCI.DSS.321::PCI.DSS.321-S3DefaultEncryptionKMS". An id without its brackets does not cover
    the findings that have some: each accepted detail is named.

    Raises:
        ValueError: for a whole stack or app, an id that is not qualified, a reason that says nothing,
            or an owner left empty. An acknowledgement of a whole stack would also cover the findings
            that nobody has seen yet.
    """
    path = scope.node.path
    if isinstance(scope, (cdk.Stack, cdk.Stage)):
        raise ValueError(
            f"{path or 'the app'}: acknowledge on the construct that the finding names, not on a whole stack or app"
        )
    if not rule_ids:
        raise ValueError(f"{path}: name at least one rule to acknowledge")
    for rule_id in rule_ids:
        if not _QUALIFIED_ID.fullmatch(rule_id):
            raise ValueError(
                f"{path}: rule id {rule_id!r} is not qualified; "
                'write "<pack>::<rule>" as the report prints it, e.g. "PCI401::SecretRotated"'
            )
    reason = " ".join(reason.split())
    if len(reason) < MIN_REASON_CHARACTERS or len(reason.split(" ")) < MIN_REASON_WORDS:
        raise ValueError(
            f"{path}: reason {reason!r} says too little; "
            f"write a sentence of at least {MIN_REASON_WORDS} words and {MIN_REASON_CHARACTERS} characters"
        )
    if not owner.strip():
        raise ValueError(f"{path}: owner must name who answers for the acknowledgement, got {owner!r}")

    cdk.Validations.of(scope).acknowledge(
        *(cdk.Acknowledgment(id=rule_id, reason=_with_owner(reason, owner, expires)) for rule_id in rule_ids)
    )
    records = [
        AcknowledgementRecord(id=rule_id, reason=reason, owner=owner.strip(), expires=expires.isoformat(), at=path)
        for rule_id in rule_ids
    ]
    if isinstance(scope, cdk.CfnResource):
        _record(scope, records)
    else:
        cdk.Aspects.of(scope).add(_RecordUnder(records))


def _with_owner(reason: str, owner: str, expires: datetime.date) -> str:
    return f"{reason} ({owner.strip()}, until {expires.isoformat()})"


def _record(resource: cdk.CfnResource, records: list[AcknowledgementRecord]) -> None:
    already: list[AcknowledgementRecord] = (resource.get_metadata(METADATA_KEY) or {}).get("acknowledged", [])
    merged = {(record["id"], record["at"]): record for record in [*already, *records]}
    resource.add_metadata(METADATA_KEY, {"acknowledged": [merged[key] for key in sorted(merged)]})


@jsii.implements(cdk.IAspect)
class _RecordUnder:
    """Writes the acknowledgements into the resources of a construct once all of them exist."""

    def __init__(self, records: list[AcknowledgementRecord]) -> None:
        self._records = records

    def visit(self, node: IConstruct) -> None:
        if isinstance(node, cdk.CfnResource):
            _record(node, self._records)
