"""What the function is asked and how it is configured, checked before anything else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Self

from secret_rotation.errors import RotationRequestError, SettingsError

RESUME: Final = "resumeUnfinished"
# A version id is the ClientRequestToken of the call that made it, 32 to 64 characters (Secrets Manager API).
_TOKEN: Final = re.compile(r"[A-Za-z0-9-]{32,64}")


class Step(Enum):
    """The four steps, in their order."""

    CREATE = "createSecret"
    SET = "setSecret"
    TEST = "testSecret"
    FINISH = "finishSecret"


class SecretKind(Enum):
    """ADMIN has one account; APPLICATION and REPLICATION alternate between two."""

    ADMIN = "admin"
    APPLICATION = "application"
    REPLICATION = "replication"

    @property
    def is_pair(self) -> bool:
        return self is not SecretKind.ADMIN


@dataclass(frozen=True, kw_only=True)
class RotationRequest:
    """One step of Secrets Manager for one version; the step is None when our schedule asks to resume."""

    step: Step
    secret_arn: str
    version_id: str

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> Self:
        """Raises: RotationRequestError: A member is missing or wrong."""
        missing = [key for key in ("Step", "SecretId", "ClientRequestToken") if not isinstance(event.get(key), str)]
        if missing:
            raise RotationRequestError(f"the event lacks {', '.join(missing)}: not a request of Secrets Manager")
        steps = [step.value for step in Step]
        if event["Step"] not in steps:
            raise RotationRequestError(f"Step must be {', '.join(steps)} or {RESUME}, got {event['Step']!r}")
        if not _TOKEN.fullmatch(event["ClientRequestToken"]):
            raise RotationRequestError("ClientRequestToken must be 32 to 64 letters, digits and -")
        return cls(step=Step(event["Step"]), secret_arn=event["SecretId"], version_id=event["ClientRequestToken"])


def asks_to_resume(event: Mapping[str, Any]) -> bool:
    """Whether the event is that of our schedule."""
    return event.get("Step") == RESUME and "SecretId" not in event


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The function's environment.

    Attributes:
        secret_arns: The three secrets of the database.
        replication_task_arns: In the order in which they are restarted.
    """

    secret_arns: Mapping[SecretKind, str]
    state_table_name: str
    replication_task_arns: tuple[str, ...]
    database_ca_path: Path

    @classmethod
    def parse(cls, environment: Mapping[str, str]) -> Self:
        """Raises: SettingsError: Variables are missing or wrong; all of them are named."""
        mistakes = [
            f"{name} is not set"
            for name in (
                "ADMIN_SECRET_ARN",
                "APPLICATION_SECRET_ARN",
                "REPLICATION_SECRET_ARN",
                "STATE_TABLE_NAME",
                "REPLICATION_TASK_ARNS",
                "DATABASE_CA_PATH",
            )
            if not environment.get(name)
        ]
        tasks: object = []
        if environment.get("REPLICATION_TASK_ARNS"):
            try:
                tasks = json.loads(environment["REPLICATION_TASK_ARNS"])
            except ValueError:
                tasks = None
        if not isinstance(tasks, list) or not all(
            isinstance(arn, str) and arn.startswith("arn:") and ":dms:" in arn for arn in tasks
        ):
            mistakes.append(
                "REPLICATION_TASK_ARNS must be a JSON list of ARNs of replication tasks, got "
                f"{environment['REPLICATION_TASK_ARNS']!r}"
            )
        if mistakes:
            raise SettingsError("; ".join(mistakes))
        return cls(
            secret_arns={kind: environment[f"{kind.name}_SECRET_ARN"] for kind in SecretKind},
            state_table_name=environment["STATE_TABLE_NAME"],
            replication_task_arns=tuple(tasks) if isinstance(tasks, list) else (),
            database_ca_path=Path(environment["DATABASE_CA_PATH"]),
        )

    def kind_of(self, secret_arn: str) -> SecretKind:
        """Raises: RotationRequestError: It is none of the three."""
        for kind, arn in self.secret_arns.items():
            if arn == secret_arn:
                return kind
        raise RotationRequestError(
            f"SecretId must be one of {', '.join(self.secret_arns.values())}, got {secret_arn!r}"
        )
