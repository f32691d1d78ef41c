"""The stages of a secret's versions: what may be done with the version that a step is about.

Rules: "Lambda rotation functions", AWS Secrets Manager user guide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from database_access.secret_store import CURRENT, PENDING
from secret_rotation.errors import VersionStageError


@dataclass(frozen=True, kw_only=True)
class SecretVersions:
    """What DescribeSecret says.

    Attributes:
        stages: The stages of each version.
    """

    secret_arn: str
    rotation_enabled: bool
    stages: Mapping[str, Sequence[str]]

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Self:
        return cls(
            secret_arn=description["ARN"],
            # Absent until rotation was ever configured.
            rotation_enabled=description.get("RotationEnabled", True),
            stages=description.get("VersionIdsToStages", {}),
        )

    @property
    def current(self) -> str:
        """Raises: VersionStageError: No version is current."""
        version = self._holder(CURRENT)
        if version is None:
            raise VersionStageError(f"secret {self.secret_arn}: no version has the stage {CURRENT}")
        return version

    @property
    def unfinished(self) -> str | None:
        """The version of a rotation that has not come to its end, if there is one."""
        pending = self._holder(PENDING)
        return None if pending is None or CURRENT in self.stages[pending] else pending

    def is_already_current(self, version_id: str) -> bool:
        """Whether the version has nothing left to be done; False when the steps may work on it.

        Raises:
            VersionStageError: Rotation is off, or the version is not one that is being rotated to.
        """
        if version_id not in self.stages:
            raise VersionStageError(f"secret {self.secret_arn}: there is no version {version_id}")
        if CURRENT in self.stages[version_id]:
            return True
        if not self.rotation_enabled:
            raise VersionStageError(f"secret {self.secret_arn}: rotation is not enabled")
        if PENDING not in self.stages[version_id]:
            pending = self._holder(PENDING)
            other = (
                f"version {pending} has it: another rotation is unfinished; let it finish, or take the stage from "
                "that version with update-secret-version-stage and rotate again"
                if pending
                else "no version has it"
            )
            raise VersionStageError(
                f"secret {self.secret_arn}: version {version_id} must have the stage {PENDING}, {other}"
            )
        return False

    def _holder(self, stage: str) -> str | None:
        return next((version for version, stages in self.stages.items() if stage in stages), None)
