"""Acknowledgements are themselves a control: they end, and they are about something.

The engine applies these two rules itself, because it alone knows the date and what was found.
"""

from collections.abc import Iterator
from typing import Any

from policy.engine import EXPIRED_RULE, METADATA_KEY, UNUSED_RULE, Objection, resource, rule
from policy.templates import App, Resource


def _acknowledged(rule_id: str, expires: str, **properties: Any) -> dict[str, Any]:
    return {
        "Stream": {
            **resource("AWS::Kinesis::Stream", **properties),
            "Metadata": {
                METADATA_KEY: {
                    "acknowledged": [
                        {
                            "id": rule_id,
                            "reason": "This stream carries public prices only.",
                            "owner": "platform-security",
                            "expires": expires,
                            "at": "Stream",
                        }
                    ]
                }
            },
        }
    }


@rule(
    id=EXPIRED_RULE,
    requirements=["2.2.1", "12.5.2"],
    title="An acknowledgement is within its time.",
    why="What was acceptable a year ago may no longer be; somebody has to look again.",
    fix="Mend the resource, or renew the acknowledgement with a reason that holds today.",
    types=[],
    complies=[_acknowledged("PCI401::StreamEncrypted", "9999-12-31")],
    violates=[
        _acknowledged("PCI401::StreamEncrypted", "2020-01-01"),
        _acknowledged("AwsSolutions::AwsSolutions-KDS1", "2020-01-01"),
        _acknowledged("PCI401::StreamEncrypted", "some day"),
    ],
)
def acknowledgement_current(_place: Resource, _app: App) -> Iterator[Objection]:
    yield from ()


@rule(
    id=UNUSED_RULE,
    requirements=["2.2.1", "12.5.2"],
    title="An acknowledgement accepts a finding that exists.",
    why="One left behind would silently accept the same mistake when it is made again.",
    fix="Remove the acknowledgement, or name the id that the finding has.",
    types=[],
    complies=[_acknowledged("PCI401::StreamEncrypted", "9999-12-31")],
    violates=[
        _acknowledged(
            "PCI401::StreamEncrypted", "9999-12-31", StreamEncryption={"EncryptionType": "KMS", "KeyId": "k"}
        ),
        _acknowledged("PCI401::NoSuchRule", "9999-12-31"),
    ],
)
def acknowledgement_needed(_place: Resource, _app: App) -> Iterator[Objection]:
    yield from ()
