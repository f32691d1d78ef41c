"""The properties of ``Custom::DatabaseBootstrap``, checked before anything is done; all mistakes are named at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from database_access.names import SCHEMA_NAME, SCHEMA_NAME_RULE

DMS_CONTROL_SCHEMA: Final = "awsdms_control"
# Aurora MySQL 3 takes 1 to 2,160 hours (mysql.rds_set_configuration, Aurora user guide).
_LONGEST_RETENTION_HOURS: Final = 2160
_SYSTEM_SCHEMAS: Final = frozenset({"mysql", "sys", "information_schema", "performance_schema", DMS_CONTROL_SCHEMA})


class PropertiesError(Exception):
    """Properties of the custom resource are missing or wrong; one clause for each."""


@dataclass(frozen=True, kw_only=True)
class BootstrapProperties:
    """What the database is to become.

    Attributes:
        environment: blue or green.
        writer_at_creation: Whether this database has the application accounts unlocked when it is first created.
        binlog_retention_hours: How long the binary log is kept for DMS, in hours.
        loopback_schemas: One for each pair of databases that this one replicates with.
        revision: Changes when the SQL does, so that CloudFormation runs the resource again.
    """

    environment: str
    admin_secret_arn: str
    application_secret_arn: str
    replication_secret_arn: str
    writer_at_creation: bool
    binlog_retention_hours: int
    payment_schema: str
    control_schema: str
    loopback_schemas: tuple[str, ...]
    revision: str

    @classmethod
    def parse(cls, properties: Mapping[str, Any]) -> Self:
        """Raises: PropertiesError: Some are missing, unknown or wrong."""
        known = {*_CHECKS, "LoopbackSchemas"}
        mistakes = [
            *(f"{key} is missing" for key in sorted(known - set(properties))),
            *(f"{key} is not known; known are {', '.join(sorted(known))}" for key in sorted(set(properties) - known)),
        ]
        for key, (allowed, accepts) in _CHECKS.items():
            if key in properties and not (isinstance(properties[key], str) and accepts(properties[key])):
                mistakes.append(f"{key} must be {allowed}, got {properties[key]!r}")
        mistakes.extend(_schema_mistakes(properties))
        if mistakes:
            raise PropertiesError("; ".join(mistakes))
        return cls(
            environment=properties["Environment"],
            admin_secret_arn=properties["AdminSecretArn"],
            application_secret_arn=properties["ApplicationSecretArn"],
            replication_secret_arn=properties["ReplicationSecretArn"],
            writer_at_creation=properties["WriterAtCreation"] == "true",
            binlog_retention_hours=int(properties["BinlogRetentionHours"]),
            payment_schema=properties["PaymentSchema"],
            control_schema=properties["ControlSchema"],
            loopback_schemas=tuple(properties["LoopbackSchemas"]),
            revision=properties["Revision"],
        )

    @property
    def schemas(self) -> tuple[str, ...]:
        """Every schema that must be there, in the order of their creation."""
        return (self.control_schema, self.payment_schema, *self.loopback_schemas, DMS_CONTROL_SCHEMA)


def _is_secret_arn(value: str) -> bool:
    return value.startswith("arn:") and ":secretsmanager:" in value and ":secret:" in value


def _is_retention(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 4 and 1 <= int(value) <= _LONGEST_RETENTION_HOURS


def _is_schema(value: object) -> bool:
    return isinstance(value, str) and bool(SCHEMA_NAME.fullmatch(value)) and value not in _SYSTEM_SCHEMAS


_ARN_RULE: Final = "the ARN of a secret (arn:aws:secretsmanager:…:secret:…)"
_SCHEMA_RULE: Final = f"{SCHEMA_NAME_RULE}, and no schema of the server's or of DMS"
_CHECKS: Final[Mapping[str, tuple[str, Callable[[str], bool]]]] = {
    "Environment": ("blue or green", {"blue", "green"}.__contains__),
    "AdminSecretArn": (_ARN_RULE, _is_secret_arn),
    "ApplicationSecretArn": (_ARN_RULE, _is_secret_arn),
    "ReplicationSecretArn": (_ARN_RULE, _is_secret_arn),
    "WriterAtCreation": ("true or false", {"true", "false"}.__contains__),
    "BinlogRetentionHours": (f"a whole number of hours from 1 to {_LONGEST_RETENTION_HOURS}", _is_retention),
    "PaymentSchema": (_SCHEMA_RULE, _is_schema),
    "ControlSchema": (_SCHEMA_RULE, _is_schema),
    "Revision": ("a text that is not empty", bool),
}


def _schema_mistakes(properties: Mapping[str, Any]) -> list[str]:
    if "LoopbackSchemas" not in properties:
        return []
    loopbacks = properties["LoopbackSchemas"]
    if not isinstance(loopbacks, list) or not loopbacks:
        return [f"LoopbackSchemas must be a list of one or more schemas, got {loopbacks!r}"]
    mistakes = [
        f"LoopbackSchemas must each be {_SCHEMA_RULE}, got {loopback!r}"
        for loopback in loopbacks
        if not _is_schema(loopback)
    ]
    names = [properties.get("PaymentSchema"), properties.get("ControlSchema"), *loopbacks]
    twice = sorted({str(name) for name in names if name is not None and names.count(name) > 1})
    if twice:
        mistakes.append(
            f"PaymentSchema, ControlSchema and LoopbackSchemas must differ, {', '.join(twice)} is there twice"
        )
    return mistakes
