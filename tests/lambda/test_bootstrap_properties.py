"""The properties of the custom resource: every mistake has its own words."""

from __future__ import annotations

from typing import Any

import pytest

from database_bootstrap.properties import BootstrapProperties, PropertiesError

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"
GOOD: dict[str, Any] = {
    "Environment": "green",
    "AdminSecretArn": f"{ARN}admin",
    "ApplicationSecretArn": f"{ARN}application",
    "ReplicationSecretArn": f"{ARN}replication",
    "WriterAtCreation": "false",
    "BinlogRetentionHours": "168",
    "PaymentSchema": "payments",
    "ControlSchema": "blue_green_control",
    "LoopbackSchemas": ["loopback_blue_green"],
    "Revision": "abc",
}


def test_good_properties_are_read() -> None:
    properties = BootstrapProperties.parse(GOOD)
    assert (properties.environment, properties.writer_at_creation, properties.binlog_retention_hours) == (
        "green",
        False,
        168,
    )
    assert properties.schemas == ("blue_green_control", "payments", "loopback_blue_green", "awsdms_control")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("Environment", "red", "Environment must be blue or green, got 'red'"),
        ("Environment", ["blue"], "Environment must be blue or green, got ['blue']"),
        ("WriterAtCreation", "True", "WriterAtCreation must be true or false, got 'True'"),
        ("WriterAtCreation", True, "WriterAtCreation must be true or false, got True"),
        ("AdminSecretArn", "admin", "AdminSecretArn must be the ARN of a secret"),
        ("ApplicationSecretArn", "", "ApplicationSecretArn must be the ARN of a secret"),
        ("ReplicationSecretArn", "arn:aws:s3:::x", "ReplicationSecretArn must be the ARN of a secret"),
        ("BinlogRetentionHours", "0", "BinlogRetentionHours must be a whole number of hours from 1 to 2160, got '0'"),
        ("BinlogRetentionHours", "2161", "BinlogRetentionHours must be a whole number of hours from 1 to 2160"),
        ("BinlogRetentionHours", "1.5", "BinlogRetentionHours must be a whole number of hours from 1 to 2160"),
        ("BinlogRetentionHours", "9" * 5000, "BinlogRetentionHours must be a whole number of hours from 1 to 2160"),
        ("PaymentSchema", "pay`; DROP", "PaymentSchema must be 1 to 64 lower-case letters"),
        ("PaymentSchema", "mysql", "and no schema of the server's or of DMS, got 'mysql'"),
        ("ControlSchema", "awsdms_control", "and no schema of the server's or of DMS, got 'awsdms_control'"),
        ("ControlSchema", "payments", "must differ, payments is there twice"),
        ("LoopbackSchemas", "loopback", "LoopbackSchemas must be a list of one or more schemas, got 'loopback'"),
        ("LoopbackSchemas", [], "LoopbackSchemas must be a list of one or more schemas, got []"),
        ("LoopbackSchemas", ["a b"], "LoopbackSchemas must each be 1 to 64 lower-case letters"),
        ("LoopbackSchemas", [7], "LoopbackSchemas must each be 1 to 64 lower-case letters"),
        ("LoopbackSchemas", ["loop", "loop"], "must differ, loop is there twice"),
        ("LoopbackSchemas", ["payments"], "must differ, payments is there twice"),
        ("Revision", "", "Revision must be a text that is not empty, got ''"),
        ("Surprise", "x", "Surprise is not known; known are AdminSecretArn"),
    ],
)
def test_a_wrong_property_is_named_with_what_is_allowed(key: str, value: object, said: str) -> None:
    with pytest.raises(PropertiesError) as raised:
        BootstrapProperties.parse({**GOOD, key: value})
    assert said in str(raised.value)


@pytest.mark.parametrize("key", sorted(GOOD))
def test_a_missing_property_is_named(key: str) -> None:
    with pytest.raises(PropertiesError, match=f"^{key} is missing$"):
        BootstrapProperties.parse({name: value for name, value in GOOD.items() if name != key})


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(PropertiesError) as raised:
        BootstrapProperties.parse({})
    assert str(raised.value).count(" is missing") == len(GOOD)
