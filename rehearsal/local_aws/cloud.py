"""A stage deployed into a local AWS, with real database servers."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import boto3
from botocore.config import Config

from rehearsal.clock import Clock
from rehearsal.databases import DatabaseChain
from rehearsal.databases.server import HOST, free_port
from rehearsal.local_aws.additions import RECORDED_ONLY
from rehearsal.local_aws.cdk import PROJECT, Cdk
from rehearsal.local_aws.legacy import prepare_legacy
from rehearsal.local_aws.processes import ServerProcess
from rehearsal.local_aws.settings import REGION, Server, Settings
from stacks.config import Color, StageConfig

STAGE: Final = "local"
DATABASES: Final = ("legacy", "blue", "green")
ELBV2: Final = "AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2"
DMS: Final = "AWS_ENDPOINT_URL_DATABASE_MIGRATION_SERVICE"
REPLICATION_SECONDS: Final = 60.0
_NESTED: Final = "AWS::CloudFormation::Stack"


def stage_config(project: Path = PROJECT) -> StageConfig:
    """The stage ``local`` of the project's cdk.json. What it must be like is checked when it is synthesized.

    Raises:
        ValidationError: it is not even of the right form.
    """
    stages = json.loads((project / "cdk.json").read_text("utf-8"))["context"]["stages"]
    return StageConfig(name=STAGE, **stages[STAGE])


@dataclass(frozen=True)
class DeployedStage:
    """The stage as any process finds it that knows where AWS is.

    Attributes:
        environment: what a process needs to talk to the local AWS.
        stack_name: of the root stack.
        parameter_path: SSM prefix under which everything else is found.
    """

    environment: Mapping[str, str]
    stack_name: str
    parameter_path: str

    def client(self, service: str) -> Any:
        """A client of a service, such as ``elbv2``."""
        endpoint = {"elbv2": ELBV2, "dms": DMS}.get(service, "AWS_ENDPOINT_URL")
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.environment[endpoint],
            region_name=REGION,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=5, read_timeout=900),
        )

    @property
    def outputs(self) -> Mapping[str, str]:
        """Outputs of the root stack."""
        [stack] = self.client("cloudformation").describe_stacks(StackName=self.stack_name)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}

    def parameters(self, environment: str) -> Mapping[str, str]:
        """Parameters of ``shared``, ``blue`` or ``green``, by their last name."""
        path = f"{self.parameter_path}/{environment}"
        pages = self.client("ssm").get_paginator("get_parameters_by_path").paginate(Path=path, Recursive=True)
        return {each["Name"].removeprefix(f"{path}/"): each["Value"] for page in pages for each in page["Parameters"]}

    @cached_property
    def shared(self) -> Mapping[str, str]:
        """Parameters that both environments share."""
        return self.parameters("shared")

    @cached_property
    def environments(self) -> Mapping[str, Mapping[str, str]]:
        """Parameters of blue and green."""
        return {color.value: self.parameters(color.value) for color in Color}

    @property
    def listener_rule_arn(self) -> str:
        return self.shared["listener-rule-arn"]

    @property
    def state_table_name(self) -> str:
        return self.shared["state-table"]

    @property
    def state_machine_arn(self) -> str:
        return self.shared["cutover-state-machine-arn"]

    @property
    def hosted_zone_id(self) -> str:
        return self.shared["hosted-zone-id"]

    @property
    def target_groups(self) -> Mapping[str, str]:
        """ARNs by environment."""
        return {name: values["target-group-arn"] for name, values in self.environments.items()}

    @cached_property
    def application_secret_arns(self) -> Mapping[str, str]:
        """By database, in the order of the chain."""
        return self._secrets("application-secret-arn", "application_secret_arn")

    @cached_property
    def admin_secret_arns(self) -> Mapping[str, str]:
        """By database, in the order of the chain."""
        return self._secrets("admin-secret-arn", "admin_secret_arn")

    def _secrets(self, parameter: str, key: str) -> Mapping[str, str]:
        legacy = stage_config().legacy_database
        known = {} if legacy is None else {"legacy": str(getattr(legacy, key))}
        return {**known, **{name: values[parameter] for name, values in self.environments.items()}}

    def function_name(self, name: str) -> str:
        """Name of a function of the cutover, such as ``replication-control``."""
        return self.shared[f"{name}-function-name"]

    def invoke(self, name: str, event: Mapping[str, Any]) -> Any:
        """Call a function of the cutover and return its answer.

        Raises:
            FunctionError: it raised.
        """
        answer = self.client("lambda").invoke(FunctionName=self.function_name(name), Payload=json.dumps(event))
        payload = json.loads(answer["Payload"].read() or b"null")
        if "FunctionError" in answer:
            raise FunctionError(f"function {name} failed: {payload}")
        return payload

    def start_replication(self) -> None:
        """Start the replication tasks as an operator does after the first deployment.

        Raises:
            FunctionError: the function failed, or they do not run in time.
        """
        deadline = time.monotonic() + REPLICATION_SECONDS
        while not (answer := self.invoke("replication-control", {"action": "start"}))["done"]:
            if time.monotonic() > deadline:
                raise FunctionError(f"the replication tasks do not run after {REPLICATION_SECONDS:g} s: {answer}")
            time.sleep(0.2)

    def weights(self) -> Mapping[str, int]:
        """Weights of the listener rule, by environment."""
        [rule] = self.client("elbv2").describe_rules(RuleArns=[self.listener_rule_arn])["Rules"]
        names = {arn: name for name, arn in self.target_groups.items()}
        groups = rule["Actions"][-1]["ForwardConfig"]["TargetGroups"]
        return {names[each["TargetGroupArn"]]: int(each["Weight"]) for each in groups}

    @property
    def simulated(self) -> Sequence[str]:
        """Types of resources in the stacks that are recorded and do nothing."""
        return sorted({kind for kind in self._types(self.stack_name) if kind in RECORDED_ONLY})

    def _types(self, stack: str) -> set[str]:
        cloudformation = self.client("cloudformation")
        found = set()
        for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack):
            for each in page["StackResourceSummaries"]:
                found.add(each["ResourceType"])
                if each["ResourceType"] == _NESTED and each.get("PhysicalResourceId"):
                    found |= self._types(each["PhysicalResourceId"])
        return found


class FunctionError(Exception):
    """A deployed function raised."""


class LocalCloud(DeployedStage):
    """The local AWS of this process. A context manager that ends what it started.

    Attributes:
        clock: by which functions, waits and alarms run; metrics are stamped by it.

    Args:
        databases: servers called legacy, blue and green, which stand in for the on-premises one and for Aurora.
        folder: what is written goes here; removed at the end, unless it existed before.
        tell: takes a line on what happens.
        wait_scale: the clock of functions, alarms and waits runs so that a second of it takes this share of ours.
    """

    def __init__(
        self, databases: DatabaseChain, folder: Path, tell: Callable[[str], None], wait_scale: float = 1.0
    ) -> None:
        if tuple(databases.names) != DATABASES:
            raise ValueError(f"databases must be called {', '.join(DATABASES)}, got {', '.join(databases.names)}")
        self.config = stage_config()
        self.databases = databases
        self.folder = folder.resolve()
        self.tell = tell
        self.wait_scale = wait_scale
        now = time.time()
        self.clock = Clock(origin=now, started=now, scale=1 / wait_scale)
        self._existed = self.folder.exists()
        self._servers: list[ServerProcess] = []
        self._bootstrapped = False
        ports = {"aws": free_port(), "balancer": free_port()}
        self._port, self._balancer_port = ports["aws"], ports["balancer"]
        balancer = f"http://{HOST}:{self._balancer_port}"
        super().__init__(
            environment={
                "AWS_ENDPOINT_URL": f"http://{HOST}:{self._port}",
                ELBV2: balancer,
                DMS: balancer,
                "AWS_ACCESS_KEY_ID": "local",
                "AWS_SECRET_ACCESS_KEY": "local",
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "AWS_EC2_METADATA_DISABLED": "true",
                "CDK_DEFAULT_ACCOUNT": self.config.account,
                "CDK_DEFAULT_REGION": REGION,
            },
            stack_name=self.config.prefix,
            parameter_path=self.config.parameter_path,
        )

    @property
    def process_ids(self) -> Sequence[int]:
        """Of the servers of the local AWS, each the leader of its process group."""
        return [server.process_id for server in self._servers]

    def start(self) -> None:
        """Start the local AWS, with the on-premises database and its secrets as they are before a deployment.

        Raises:
            ProcessError: a server did not start.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self.tell("preparing the on-premises database")
            secrets = prepare_legacy(self.databases["legacy"], self.config)
            self.databases.wait_caught_up()
            self.tell("starting the local AWS")
            self._start_balancer()
            self._start_aws(self._settings(secrets))
            for server in self._servers:
                server.wait_until_ready()
        except BaseException:
            self.close()
            raise
        self.tell(
            f"local AWS on {self.environment['AWS_ENDPOINT_URL']}, load balancer and DMS on {self.environment[DMS]}"
        )

    def _settings(self, secrets: Any) -> Path:
        settings = Settings(
            port=self._port,
            account=self.config.account,
            balancer_url=self.environment[ELBV2],
            clusters={
                f"{self.config.prefix}-{color.value}": Server(
                    host=server.host,
                    port=server.port,
                    admin_username=server.admin_username,
                    admin_password=server.admin_password,
                )
                for color in Color
                for server in [self.databases[color.value]]
            },
            ca_path=self.databases.ca_path,
            zone_name=self.config.domain.zone_name,
            hosted_zone_id=self.config.domain.hosted_zone_id,
            certificate_arn=str(self.config.front_door.certificate_arn),
            secrets=secrets,
            clock=self.clock,
        )
        path = self.folder / "settings.json"
        path.touch(mode=0o600)
        path.write_text(settings.model_dump_json(), "utf-8")
        return path

    def _start_balancer(self) -> None:
        self._servers.append(
            ServerProcess(
                "rehearsal.local_aws.balancer",
                ["-H", HOST, "-p", str(self._balancer_port)],
                environment={**self._program_environment(), "MOTO_ACCOUNT_ID": self.config.account},
                folder=self.folder,
                ready_url=f"{self.environment[DMS]}/moto-api/",
            )
        )

    def _start_aws(self, settings: Path) -> None:
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        inherited = {key: value for key, value in self.environment.items() if key not in ("AWS_ENDPOINT_URL",)}
        self._servers.append(
            ServerProcess(
                "rehearsal.local_aws.additions",
                [str(settings)],
                environment={
                    **self._program_environment(),
                    # Functions run as its children and inherit where ELBv2 and DMS are.
                    **inherited,
                    "TMPDIR": str(temporary),
                    "AUTH": "true",
                    "BIND_HOST": HOST,
                    "GATEWAY_PORT": str(self._port),
                    "MINISTACK_HOST": HOST,
                    "MINISTACK_ACCOUNT_ID": self.config.account,
                    "MINISTACK_REGION": REGION,
                    "SFN_WAIT_SCALE": f"{self.wait_scale:g}",
                    "SFTP_ENABLED": "0",
                    "IOT_MTLS_ENABLED": "0",
                },
                folder=self.folder,
                ready_url=f"{self.environment['AWS_ENDPOINT_URL']}/_ministack/health",
            )
        )

    def _program_environment(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(PROJECT),
        }

    def synthesize(self, project: Path = PROJECT, *, output: Path | None = None) -> Path:
        """Synthesize the stage and return the folder of its templates.

        Args:
            project: the folder whose cdk.json is read.
            output: where to; a folder in ours when absent.

        Raises:
            CdkError: see there.
        """
        self.tell(f"synthesizing the stage {STAGE}")
        return self._cdk().synthesize(project=project, stage=STAGE, output=output)

    def deploy(self, assembly: Path | None = None, *, arguments: Sequence[str] = ()) -> bool:
        """Deploy the stage; whether anything was changed.

        Args:
            assembly: synthesized templates; the project is synthesized when absent.
            arguments: further ones of ``cdk deploy``.

        Raises:
            CdkError: see there.
        """
        assembly = assembly or self.synthesize()
        cdk = self._cdk()
        if not self._bootstrapped:
            self.tell("bootstrapping")
            cdk.bootstrap(self.config.account, REGION)
            self._bootstrapped = True
        self.tell(f"deploying {self.stack_name}")
        changed = cdk.deploy(assembly, self.stack_name, arguments=arguments)
        for name in ("shared", "environments", "application_secret_arns", "admin_secret_arns"):
            self.__dict__.pop(name, None)
        return changed

    def destroy(self) -> None:
        """Take away the protection of load balancer and clusters, as a person would, and delete the stack.

        Raises:
            CdkError: see there.
        """
        elbv2, rds = self.client("elbv2"), self.client("rds")
        for balancer in elbv2.describe_load_balancers()["LoadBalancers"]:
            elbv2.modify_load_balancer_attributes(
                LoadBalancerArn=balancer["LoadBalancerArn"],
                Attributes=[{"Key": "deletion_protection.enabled", "Value": "false"}],
            )
        for cluster in rds.describe_db_clusters()["DBClusters"]:
            rds.modify_db_cluster(DBClusterIdentifier=cluster["DBClusterIdentifier"], DeletionProtection=False)
        self._cdk().destroy(self.folder / "cdk.out", self.stack_name)

    def _cdk(self) -> Cdk:
        return Cdk(environment=self.environment, folder=self.folder, tell=self.tell)

    def close(self) -> None:
        """End what was started and remove what was written."""
        for server in self._servers:
            server.stop()
        self._servers.clear()
        if not self._existed:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
