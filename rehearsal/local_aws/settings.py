"""What the process of the local AWS is told: one document, written by the harness and read by it once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from rehearsal.clock import Clock

REGION = "us-east-1"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Server(_Document):
    """A database server that stands in for an Aurora cluster.

    Attributes:
        admin_username: an account that may create accounts.
    """

    host: str
    port: int
    admin_username: str
    admin_password: str = Field(repr=False)


class KnownSecret(_Document):
    """A secret that exists before the deployment, under an ARN that the stage names.

    Attributes:
        document: its JSON.
    """

    arn: str
    document: str = Field(repr=False)


class Settings(_Document):
    """Attributes:
    port: where the local AWS listens on 127.0.0.1.
    account: of the stage.
    balancer_url: moto's server, for ELBv2 and DMS.
    clusters: servers by the identifier of the cluster that they stand in for.
    ca_path: the authority that signed the servers' certificates, PEM.
    zone_name: of the public hosted zone, which exists before the deployment.
    hosted_zone_id: its id.
    certificate_arn: the certificate that the stage names for its listener.
    secrets: those that exist before the deployment.
    clock: by which functions, waits and alarms run.
    """

    port: int
    account: str
    balancer_url: str
    clusters: Mapping[str, Server]
    ca_path: Path
    zone_name: str
    hosted_zone_id: str
    certificate_arn: str
    secrets: tuple[KnownSecret, ...]
    clock: Clock
