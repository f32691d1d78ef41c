"""The rules of the pack; importing this package registers them all."""

from policy.rules import (
    access,
    availability,
    encryption,
    exposure,
    housekeeping,
    inventory,
    keys,
    logs,
    monitoring,
    network,
    secrets,
    transit,
    vulnerability,
)

__all__ = [
    "access",
    "availability",
    "encryption",
    "exposure",
    "housekeeping",
    "inventory",
    "keys",
    "logs",
    "monitoring",
    "network",
    "secrets",
    "transit",
    "vulnerability",
]
