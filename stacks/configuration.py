"""What programs and operators have to know about a stage, in Parameter Store."""

from __future__ import annotations

from collections.abc import Mapping

import aws_cdk as cdk
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from stacks.config import Color

SHARED = "shared"


class ConfigurationStack(cdk.NestedStack):
    """Parameters ``<path>/<environment>/<name>``, where the environment is blue, green or shared. None is a secret."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        path: str,
        shared: Mapping[str, str],
        environments: Mapping[Color, Mapping[str, str]],
    ) -> None:
        super().__init__(scope, construct_id, description="Parameters of the stage")
        self._write(path, SHARED, shared)
        for color in Color:
            self._write(path, color.value, environments[color])

    def _write(self, path: str, environment: str, values: Mapping[str, str]) -> None:
        folder = Construct(self, environment.capitalize())
        if environment != SHARED:
            cdk.Tags.of(folder).add("Environment", environment)
        for name, value in values.items():
            ssm.StringParameter(
                folder,
                "".join(part.capitalize() for part in name.split("-")),
                parameter_name=f"{path}/{environment}/{name}",
                string_value=value,
            )
