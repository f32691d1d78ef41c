"""The Lambda layer with what the functions need beyond the runtime: the MySQL driver and the authorities to trust."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from blue_green.staged_folder import PROJECT, staged

CERTIFICATES = PROJECT / "service" / "certificates"

RDS_AUTHORITIES = CERTIFICATES / "rds-us-east-1.pem"
"""The authorities of RDS in us-east-1, PEM."""

DATABASE_CA_PATH = "/opt/certificates/databases.pem"
"""Where a function with the layer finds the authorities that sign the databases' certificates."""

DISTRIBUTIONS = ("PyMySQL",)
"""Pure Python distributions of requirements.txt, staged from this environment, so that no container is needed."""


def authorities(legacy: Path | None) -> str:
    """PEM of the authorities that sign the databases' certificates: those of RDS, and the one of ``legacy`` if any."""
    return "".join(path.read_text().strip() + "\n" for path in (RDS_AUTHORITIES, legacy) if path)


def stage(*, legacy_ca: Path | None) -> Path:
    """Lay the content of the layer out and return the folder; the same content gives the same asset hash.

    Raises:
        RuntimeError: a distribution is not installed or has compiled parts.
    """
    return staged("runtime-layer", lambda target: _lay_out(target, legacy_ca))


def _lay_out(target: Path, legacy_ca: Path | None) -> None:
    for name in DISTRIBUTIONS:
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise RuntimeError(
                f"{name} is not installed here; run `make setup`, which installs requirements.txt"
            ) from None
        for file in distribution.files or ():
            if file.suffix == ".so":
                raise RuntimeError(f"{name} has compiled parts ({file}) and cannot be staged without a container")
            # Metadata of the installation (RECORD, INSTALLER) differs between machines; the code does not.
            if file.suffix == ".py" and ".." not in file.parts:
                destination = target / "python" / file
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(distribution.locate_file(file)), destination)
    (target / "certificates").mkdir(parents=True)
    (target / "certificates" / "databases.pem").write_text(authorities(legacy_ca))


class RuntimeLayer(lambda_.LayerVersion):
    """The layer of all functions that talk to the databases."""

    def __init__(self, scope: Construct, construct_id: str, *, legacy_ca: Path | None) -> None:
        super().__init__(
            scope,
            construct_id,
            code=lambda_.Code.from_asset(str(stage(legacy_ca=legacy_ca))),
            description="MySQL driver and certificate authorities of RDS",
            compatible_runtimes=[lambda_.Runtime.PYTHON_3_14],
            compatible_architectures=[lambda_.Architecture.ARM_64],
        )
