"""Which stage a command is about, and how AWS, or the local one, is asked about it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, Final

import boto3
from botocore.config import Config

from cutover_settings import Settings
from cutover_wiring import Wiring
from ops.bluegreen import PROJECT
from ops.bluegreen.errors import CommandError, Exit, bad_input, explained, missing_permission, not_allowed

REGION: Final = "us-east-1"
LOCAL_STATE: Final = PROJECT / ".local" / "cloud.json"
"""What ``make deploy-local`` leaves behind: environment, outputs and process ids of the local AWS."""

LOCAL_STATE_VARIABLE: Final = "BLUEGREEN_LOCAL_STATE"
"""Where that file is instead, for a local AWS that somebody else runs."""

LONGEST_CALL_SECONDS: Final = 650
"""A rollback may take ten minutes; a client that gave up earlier would not learn how it ended."""

_ASKING: Final = Config(retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=3, read_timeout=15)
# One attempt: a function that is called again while it still works would only be throttled.
_CALLING: Final = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=LONGEST_CALL_SECONDS)


@dataclass(frozen=True, kw_only=True)
class Target:
    """The stage that a command is about.

    Attributes:
        path: its parameters begin with it: ``/<project>/<stage>``.
        region: where it is.
        local: whether it is the local one.
        environment: variables with which the local AWS is reached.
    """

    path: str
    region: str
    local: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``payments-prod``, which is the name of its root stack, too."""
        return self.path.strip("/").replace("/", "-")

    @property
    def short(self) -> str:
        """The stage without the project."""
        return self.path.rpartition("/")[2]


def find_target(
    *,
    project: str | None,
    stage: str | None,
    region: str | None,
    local: bool,
    folder: Path = PROJECT,
    state_file: Path | None = None,
) -> Target:
    """The stage that the options name; what they leave out is that of ``cdk.json``.

    Raises:
        CommandError: it cannot be told, or the local AWS is not there.
    """
    if local:
        return _local(state_file or Path(os.environ.get(LOCAL_STATE_VARIABLE) or LOCAL_STATE))
    if project is None or stage is None:
        configured_project, configured_stage = _configured(folder, stage)
        project, stage = project or configured_project, stage or configured_stage
    for option, value in (("--project", project), ("--stage", stage)):
        if not value.replace("-", "").isalnum() or value != value.lower():
            raise bad_input(f"{option}: {value!r}, allowed: lower-case letters, digits and hyphens")
    found = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or REGION
    return Target(path=f"/{project}/{stage}", region=found)


def _configured(folder: Path, stage: str | None) -> tuple[str, str]:
    """Project and stage as ``cdk.json`` has them; the synthesis is what checks the rest of it."""
    file = folder / "cdk.json"
    try:
        context = json.loads(file.read_text())["context"]
        name = stage or str(context["stage"])
        return str(context["stages"].get(name, {}).get("project", "payments")), name
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise bad_input(
            f"{file} does not say which stage is meant ({type(error).__name__}: {error})",
            next_step="name it: --project NAME --stage NAME",
        ) from None


def _local(file: Path) -> Target:
    again = "start it with `make deploy-local`"
    try:
        state = json.loads(file.read_text())
        environment = {str(name): str(value) for name, value in state["environment"].items()}
        outputs = state["outputs"]
        path = str(state.get("parameter_path") or outputs["ParameterPath"])
    except OSError:
        raise CommandError(
            f"there is no local AWS: {file} does not exist", next_step=again, exit_code=Exit.BAD_INPUT
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandError(
            f"{file} is not what `make deploy-local` writes ({type(error).__name__}: {error})",
            next_step=again,
            exit_code=Exit.BAD_INPUT,
        ) from None
    region = environment.get("AWS_DEFAULT_REGION", environment.get("AWS_REGION", REGION))
    return Target(path=path, region=region, local=True, environment=environment)


def _clock_of(target: Target) -> dict[str, Callable[..., Any]]:
    """A local AWS may run by a clock of its own, faster than ours: then its waits are that much shorter for us, too."""
    if not target.local:
        return {}
    from rehearsal.clock import Clock

    clock = Clock.of_environment()
    return {} if clock is None else {"now": clock.now, "sleep": clock.wait}


class Aws:
    """Clients of the stage's account, made when they are first asked for, and the caller."""

    def __init__(self, target: Target, *, session: boto3.Session | None = None) -> None:
        # botocore finds the endpoints of a local AWS, and its credentials, in the environment of the process.
        os.environ.update(target.environment)
        self._target = target
        self._session = session or boto3.Session(region_name=target.region)
        self._clients: dict[tuple[str, bool], Any] = {}
        self._lock = Lock()

    def client(self, service: str, config: Config | None = None, *, calling: bool = False) -> Any:
        """A client; the runtime's own code asks with a config, which is for functions and not for people."""
        with self._lock:
            if (service, calling) not in self._clients:
                self._clients[service, calling] = self._session.client(
                    service,  # type: ignore[call-overload]  # any service
                    config=_CALLING if calling else _ASKING,
                )
            return self._clients[service, calling]

    @cached_property
    def caller(self) -> str:
        """ARN of whoever calls, for the journal."""
        return str(self.client("sts").get_caller_identity()["Arn"])

    def call(self, function: str, event: Mapping[str, Any]) -> dict[str, Any]:
        """What a function answers.

        Raises:
            CommandError: it cannot be called, or failed.
        """
        try:
            response = self.client("lambda", calling=True).invoke(
                FunctionName=function, Payload=json.dumps(event).encode()
            )
            answer = json.loads(response["Payload"].read())
        except ValueError as error:
            raise CommandError(
                f"function {function} answered what is no JSON: {error}",
                next_step="look at its log",
                exit_code=Exit.FAILED,
            ) from None
        if response.get("FunctionError") or not isinstance(answer, dict):
            message = str(answer.get("errorMessage", answer) if isinstance(answer, dict) else answer)
            kind = str(answer.get("errorType", "")) if isinstance(answer, dict) else ""
            raise _failed(function, kind, message)
        return answer


def _failed(function: str, kind: str, message: str) -> CommandError:
    if kind in ("EventError", "RequestError", "PlanError", "PaceError", "SwitchRequestError"):
        return bad_input(message)
    missing = missing_permission(message)
    if missing is not None:
        return CommandError(
            f"function {function} is not allowed: {missing.action} on {missing.resource}",
            next_step="deploy the stage again, or give its role the permission back",
            exit_code=Exit.FAILED,
            missing=missing,
        )
    return CommandError(
        f"function {function} failed: {f'{kind}: ' if kind else ''}{message}",
        next_step="call again: every function goes on from where it was; its log says more",
        exit_code=Exit.FAILED,
    )


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage with what its parameters say.

    Attributes:
        parameters: value by name below the path: ``shared/state-table``.
    """

    target: Target
    aws: Aws
    parameters: Mapping[str, str]
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    @classmethod
    def open(cls, target: Target) -> Stage:
        """Read the parameters.

        Raises:
            CommandError: there is no such stage, or it cannot be read.
        """
        aws = Aws(target)
        try:
            pages = aws.client("ssm").get_paginator("get_parameters_by_path").paginate(Path=target.path, Recursive=True)
            found = {
                each["Name"].removeprefix(f"{target.path}/"): each["Value"]
                for page in pages
                for each in page["Parameters"]
            }
        except Exception as error:
            raise explained(error) from None
        if not found:
            raise CommandError(
                f"there are no parameters under {target.path} in {target.region}",
                next_step="name the stage with --project and --stage, look at AWS_PROFILE and --region, or deploy it "
                "(make deploy)",
                exit_code=Exit.BAD_INPUT,
            )
        return cls(target=target, aws=aws, parameters=found, **_clock_of(target))

    def parameter(self, name: str) -> str:
        """A parameter of the stage.

        Raises:
            CommandError: it is not there.
        """
        try:
            return self.parameters[name]
        except KeyError:
            raise CommandError(
                f"parameter {self.target.path}/{name} does not exist",
                next_step="deploy the stage again: it was deployed by an older version of this project",
                exit_code=Exit.FAILED,
            ) from None

    def function(self, name: str) -> str:
        """Name of the function ``rollback``, ``preflight`` and so on."""
        return self.parameter(f"shared/{name}-function-name")

    def call(self, function: str, event: Mapping[str, Any]) -> dict[str, Any]:
        """What the function ``rollback``, ``preflight`` and so on answers."""
        name = self.function(function)
        try:
            return self.aws.call(name, event)
        except Exception as error:
            raise explained(error) from None

    @property
    def chain(self) -> tuple[str, ...]:
        """The databases in their order."""
        return tuple(self.parameter("shared/database-chain").split(","))

    @property
    def target_groups(self) -> dict[str, str]:
        """ARNs by environment."""
        return {color: self.parameter(f"{color}/target-group-arn") for color in ("blue", "green")}

    @property
    def services(self) -> dict[str, str]:
        """Names of the ECS services by environment."""
        return {color: self.parameter(f"{color}/ecs-service") for color in ("blue", "green")}

    @property
    def task_identifiers(self) -> tuple[str, ...]:
        """The replication tasks."""
        return tuple(self.parameter("shared/replication-tasks").split(","))

    @property
    def alarms(self) -> dict[str, tuple[str, ...]]:
        """Names of the alarms by what they are about: blue, green, legacy, replication, controllers."""
        prefix = "cutover/alarms/"
        found = {
            name.removeprefix(prefix): tuple(value.split(","))
            for name, value in self.parameters.items()
            if name.startswith(prefix)
        }
        if not found:
            self.parameter(f"{prefix}controllers")
        return found

    @property
    def rotated_secrets(self) -> tuple[str, ...]:
        """ARNs of the secrets whose rotation would disturb a cutover."""
        kinds = ("admin", "application", "replication")
        return tuple(self.parameter(f"{color}/{kind}-secret-arn") for color in ("blue", "green") for kind in kinds)

    @cached_property
    def wiring(self) -> Wiring:
        """The runtime's own pieces on this stage."""
        return Wiring(
            settings=Settings(
                {
                    "STATE_TABLE_NAME": self.parameter("shared/state-table"),
                    "LISTENER_RULE_ARN": self.parameter("shared/listener-rule-arn"),
                    "TARGET_GROUP_ARNS": json.dumps(self.target_groups),
                    "HOSTED_ZONE_ID": self.parameter("shared/hosted-zone-id"),
                    "PAYMENTS_HOST": self.parameter("shared/payments-host"),
                }
            ),
            client=self.aws.client,
            who="bluegreen",
        )


def denied(error: Exception) -> CommandError | None:
    """The error as one of a missing permission, if it is one."""
    missing = missing_permission(str(error))
    return not_allowed(missing) if missing else None
