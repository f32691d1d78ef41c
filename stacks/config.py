"""The configuration of a stage: what each value means, its default, and what is allowed for it alone.

Checks over several values, and how a stage is read from the CDK context, are in :mod:`stacks.context`.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

MANAGED_TAGS = ("Environment",)
"""Tag keys that the stacks set themselves."""

REQUIRED_TAGS = ("Project", "CostCenter")
"""Tag keys that a stage must give a value to; with ``Environment`` they stand on every taggable resource."""

DMS_IDENTIFIER_LENGTH = 31
"""Longest ``ResourceIdentifier`` that AWS DMS takes, in characters."""

ALB_IDLE_TIMEOUT_SECONDS = 60
"""How long the load balancer waits for an answer; a request that is held must be answered before."""


TAKEN_SCHEMAS = ("awsdms_control", "information_schema", "mysql", "performance_schema", "sys")
"""Schemas that are there already."""

NOT_ROUTABLE = tuple(ipaddress.ip_network(block) for block in ("0.0.0.0/8", "100.64.0.0/10", "224.0.0.0/3"))
RFC_1918 = tuple(ipaddress.ip_network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))

NEEDED_ENDPOINTS = (
    "backup",
    "dms",
    "ec2",
    "ecr.api",
    "ecr.dkr",
    "ecs",
    "elasticloadbalancing",
    "events",
    "kms",
    "lambda",
    "logs",
    "monitoring",
    "rds",
    "route53",
    "secretsmanager",
    "sns",
    "ssm",
    "states",
    "sts",
    "xray",
)
"""AWS services that workloads in the VPC call; :mod:`blue_green.interface_endpoints` says which, and why."""

KNOWN_ENDPOINTS = (
    *NEEDED_ENDPOINTS,
    "application-autoscaling",
    "cloudformation",
    "ecs-agent",
    "ecs-telemetry",
    "rds-data",
    "sqs",
    "ssmmessages",
    "sync-states",
)
"""PrivateLink services that the network can make an interface endpoint for, those that a bank's image may need too."""


class Color(Enum):
    """One of the two environments. They are built by the same code and differ in name, offset and identifiers."""

    BLUE = "blue"
    GREEN = "green"

    @property
    def title(self) -> str:
        """The name as construct ids and descriptions use it."""
        return self.value.capitalize()


class ConfigurationError(Exception):
    """The context does not describe a stage; ``mistakes`` has one line for each thing that is wrong."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


def shown(value: Any) -> str:
    """The value as a message shows it, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def unknown_value(value: Any, allowed: Sequence[str]) -> str:
    """A sentence that says that ``value`` is not among ``allowed``, with the nearest one."""
    close = difflib.get_close_matches(str(value), allowed, n=1)
    hint = f", did you mean {close[0]}?" if close else ""
    return f"{shown(value)} is not known{hint} (allowed: {', '.join(allowed)})"


def _matching(pattern: str, allowed: str) -> AfterValidator:
    """A check against ``pattern`` whose message says what is ``allowed``."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"must be {allowed}")
        return value

    return AfterValidator(check)


def _ipv4_network(value: str) -> str:
    try:
        network = ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"must be an IPv4 CIDR block whose host bits are zero ({error})") from None
    if network.version != 4:
        raise ValueError("must be an IPv4 CIDR block")
    # Python also takes an address alone, and a mask in place of the length; EC2 takes neither.
    if str(network) != value:
        raise ValueError(f"must be written as {network}")
    return value


def _vpc_network(value: str) -> str:
    network = ipaddress.ip_network(value)
    if not 16 <= network.prefixlen <= 20:
        raise ValueError("must be /16 to /20: a smaller block cannot hold nine subnets with room to grow")
    if not any(network.subnet_of(block) for block in RFC_1918):  # type: ignore[arg-type]
        raise ValueError("must be private address space (RFC 1918)")
    return value


def _destination(value: str) -> str:
    if ipaddress.ip_network(value).prefixlen < 16:
        raise ValueError("is wider than /16; name the destination's own networks")
    return value


def _not_everybody(value: str) -> str:
    if ipaddress.ip_network(value).prefixlen < 8:
        raise ValueError("is wider than /8 and would show the idle environment to the internet")
    return value


def _endpoint_name(value: str) -> str:
    if value not in KNOWN_ENDPOINTS:
        raise ValueError(unknown_value(value, KNOWN_ENDPOINTS))
    return value


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"must name {value} only once")
    return values


_DISTINCT = AfterValidator(_distinct)


def _three(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(values) != 3 or len(set(values)) != 3:
        raise ValueError("must be three different zones")
    return values


def _database_port(value: int) -> int:
    if not 1150 <= value <= 65535:
        raise ValueError("must be from 1150 to 65535, which Aurora MySQL takes")
    if value == 3306:
        raise ValueError("must not be MySQL's default, which scanners try first")
    return value


def _performance_insights_days(value: int) -> int:
    if value not in (7, 731) and (value % 31 or not 31 <= value <= 713):
        raise ValueError("must be 7, a multiple of 31 up to 713 (31 x 23), or 731")
    return value


def _public_address(value: str) -> str:
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        raise ValueError("must be an IPv4 address such as 198.51.100.10") from None
    # ("Values that you specify when you create or update health checks", Route 53 developer guide)
    if address.is_loopback or address.is_link_local or any(address in block for block in (*RFC_1918, *NOT_ROUTABLE)):
        raise ValueError("must be a public address: Route 53 checks the health of no private one")
    return value


def _schema_of_ours(value: str) -> str:
    if value in TAKEN_SCHEMAS or value.startswith("loopback_"):
        raise ValueError(
            f"must not be a schema that MySQL or replication uses ({', '.join(TAKEN_SCHEMAS)}, loopback_*)"
        )
    return value


def _port(value: int) -> int:
    if not 1 <= value <= 65535:
        raise ValueError("must be a port from 1 to 65535")
    return value


DOMAIN_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
DomainName = Annotated[
    str,
    StringConstraints(max_length=253),
    _matching(rf"{DOMAIN_LABEL}(\.{DOMAIN_LABEL})+", "a lower-case domain name such as payments.example.com"),
]
Cidr = Annotated[str, AfterValidator(_ipv4_network)]
VpcCidr = Annotated[Cidr, AfterValidator(_vpc_network)]
PreviewCidr = Annotated[Cidr, AfterValidator(_not_everybody)]
EndpointName = Annotated[str, AfterValidator(_endpoint_name)]
PublicIPv4 = Annotated[str, AfterValidator(_public_address)]
Port = Annotated[int, AfterValidator(_port)]
SecretArn = Annotated[
    str,
    _matching(
        r"arn:aws:secretsmanager:us-east-1:\d{12}:secret:[\w/+=.@-]+-[A-Za-z0-9]{6}",
        "the complete ARN of a secret in us-east-1, with its random suffix",
    ),
]
SchemaName = Annotated[
    str,
    _matching(r"[a-z][a-z0-9_]{0,62}", "a schema name: a letter, then letters, digits and underscores"),
    AfterValidator(_schema_of_ours),
]
DatabaseInstanceClass = Annotated[
    str, _matching(r"(r\d\w*|x2\w*)\.\d*x?large", "a memory-optimised Aurora class such as r7g.large")
]
# Log groups take only these retention periods; PCI DSS 4.0.1 asks for twelve months of audit history (10.5.1).
RetentionDays = Literal[365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]


class Model(BaseModel):
    """Base of every part of the configuration: unknown keys are refused, values cannot change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=False)


def _as_tuple(value: Any) -> Any:
    """JSON has lists; the configuration holds tuples, which cannot change."""
    return tuple(value) if isinstance(value, list) else value


def _tuple_of(min_length: int = 0) -> tuple[BeforeValidator, Any]:
    return BeforeValidator(_as_tuple), Field(min_length=min_length)


class EgressDestination(Model):
    """A network outside AWS that the payment service may call: a card network or an acquirer.

    Attributes:
        name: what the security group rule says it is for.
        cidr: the destination; a block wider than /16 is refused.
        port: its TCP port.
    """

    name: Annotated[
        str,
        _matching(r"[\w .:/()#,@+=&;{}!$*-]{1,100}", "1 to 100 letters, digits or characters of ._-:/()#,@+=&;{}!$*"),
    ]
    cidr: Annotated[Cidr, AfterValidator(_destination)]
    port: Port = 443


class Network(Model):
    """The VPC.

    Attributes:
        cidr: the VPC's block; /16 to /20, so that each of the nine subnets has room.
        interface_endpoints: AWS services reached over PrivateLink; those that workloads need cannot be left out.
        egress_destinations: networks outside AWS that the payment service may call through the NAT gateways.
        preview_cidrs: networks that may reach ``blue.`` and ``green.`` directly; at most four, because the
            load balancer counts condition values and takes five.
    """

    cidr: VpcCidr = "10.20.0.0/16"
    interface_endpoints: Annotated[tuple[EndpointName, ...], *_tuple_of(), _DISTINCT] = NEEDED_ENDPOINTS
    egress_destinations: Annotated[tuple[EgressDestination, ...], *_tuple_of()] = ()
    preview_cidrs: Annotated[tuple[PreviewCidr, ...], *_tuple_of(1), Field(max_length=4), _DISTINCT]


class Domain(Model):
    """Names under which clients find the system.

    Attributes:
        zone_name: the public hosted zone.
        hosted_zone_id: its id; the zone exists already, because legacy traffic uses it.
        record_name: the label of the payments host in the zone, such as ``api``.
    """

    zone_name: DomainName
    hosted_zone_id: Annotated[str, _matching(r"Z[A-Z0-9]{7,31}", "a hosted zone id such as Z0123456789ABCDEFGHIJ")]
    record_name: Annotated[str, _matching(DOMAIN_LABEL, "one lower-case DNS label")] = "api"

    @property
    def payments_host(self) -> str:
        """The host name that clients use, shared by the legacy system and AWS."""
        return f"{self.record_name}.{self.zone_name}"

    def environment_host(self, color: Color) -> str:
        """The host name that reaches one environment only."""
        return f"{color.value}.{self.zone_name}"


class LegacyEndpoint(Model):
    """The on-premises system's front door, the other side of the weighted DNS records.

    Attributes:
        addresses: its public IPv4 addresses.
        port: where it answers HTTPS.
        health_path: what the Route 53 health check asks for.
    """

    addresses: Annotated[tuple[PublicIPv4, ...], *_tuple_of(1), Field(max_length=8), _DISTINCT]
    port: Port = 443
    health_path: Annotated[str, _matching(r"/[\x21-\x7e]*", "a path that starts with /")] = "/"


class LegacyDatabase(Model):
    """The on-premises MySQL database, when it joins the chain legacy - blue - green.

    Attributes:
        secret_arn: secret with username, password, host and port for the replication account.
        secret_key_arn: the key that its secrets are encrypted with.
        admin_secret_arn: the same for the account that locks the application's accounts when the writer switches.
        application_secret_arn: the same for the application account that the services use.
        cidr: network in which it lives, routed through ``transit_gateway_id``.
        port: its TCP port.
        ca_certificate_file: PEM file of the authority that signed its certificate, relative to the project.
        transit_gateway_id: the transit gateway that leads on-premises.
    """

    secret_arn: SecretArn
    secret_key_arn: Annotated[
        str,
        _matching(r"arn:aws:kms:us-east-1:\d{12}:key/[0-9a-f-]{36}", "the ARN of a KMS key in us-east-1"),
    ]
    admin_secret_arn: SecretArn
    application_secret_arn: SecretArn
    cidr: Cidr
    port: Port = 3306
    ca_certificate_file: Annotated[str, StringConstraints(min_length=1)]
    transit_gateway_id: Annotated[
        str, _matching(r"tgw-[0-9a-f]{17}", "a transit gateway id such as tgw-0123456789abcdef0")
    ]


class Database(Model):
    """Both Aurora MySQL clusters.

    Attributes:
        instance_class: class of writer and reader.
        port: TCP port; not 3306, which scanners try first.
        backup_retention_days: automated backups, in days.
        performance_insights_days: retention of Performance Insights: 7, a multiple of 31 up to 713, or 731.
        monitoring_interval_seconds: granularity of enhanced monitoring.
        binlog_retention_hours: how long changes stay readable for replication that was stopped.
        payment_schema: schema that replicates between the databases.
        control_schema: schema of the cutover's marker and heartbeat; it replicates too.
    """

    instance_class: DatabaseInstanceClass = "r7g.large"
    port: Annotated[int, AfterValidator(_database_port)] = 3307
    backup_retention_days: Annotated[int, Field(ge=7, le=35)] = 7
    performance_insights_days: Annotated[int, AfterValidator(_performance_insights_days)] = 7
    monitoring_interval_seconds: Literal[1, 5, 10, 15, 30, 60] = 15
    binlog_retention_hours: Annotated[int, Field(ge=24, le=2160)] = 168
    payment_schema: SchemaName = "payments"
    control_schema: SchemaName = "blue_green_control"


class Replication(Model):
    """The DMS replication instance and its tasks.

    Attributes:
        instance_class: class of the replication instance.
        allocated_storage_gib: its disk, for cached changes and logs.
        engine_version: DMS version, pinned.
        create_account_roles: make ``dms-vpc-role`` and ``dms-cloudwatch-logs-role``. They are unique in an
            account, so exactly one stack, or nobody, may create them.
    """

    instance_class: Annotated[
        str, _matching(r"dms\.(t3|c[5-7]i?|r[5-7]i?)\.\w+", "a DMS instance class such as dms.r6i.large")
    ] = "dms.r6i.large"
    allocated_storage_gib: Annotated[int, Field(ge=50, le=6144)] = 100
    engine_version: Annotated[str, _matching(r"3\.\d+\.\d+", "a DMS version such as 3.6.1")] = "3.6.1"
    create_account_roles: bool = False


class FrontDoor(Model):
    """The load balancer and what protects it.

    Attributes:
        certificate_arn: ACM certificate for the three host names; made and validated over DNS when absent.
        http_redirect: listen on port 80 and redirect to 443; otherwise port 80 is closed.
        rate_limit_per_five_minutes: requests of one address in five minutes before WAF blocks it; the default is
            more than twelve times what all clients together send on average, so that only a flood meets it.
        slow_start_seconds: time over which a new task is given its full share.
        deregistration_delay_seconds: time that requests under way have when a task leaves; not shorter than
            the hold of the payment service, or a held request would be cut off.
    """

    certificate_arn: (
        Annotated[
            str,
            _matching(
                r"arn:aws:acm:us-east-1:\d{12}:certificate/[0-9a-f-]{36}",
                "the ARN of an ACM certificate in us-east-1",
            ),
        ]
        | None
    ) = None
    http_redirect: bool = False
    rate_limit_per_five_minutes: Annotated[int, Field(ge=10, le=2_000_000_000)] = 50_000
    slow_start_seconds: Annotated[int, Field(ge=30, le=900)] = 30
    deregistration_delay_seconds: Annotated[int, Field(ge=0, le=3600)] = 60


# Valid memory in MiB for each CPU value of a Fargate task (the "Task CPU and memory" table of the ECS guide).
FARGATE_MEMORY_MIB: Mapping[int, tuple[int, ...]] = {
    512: tuple(range(1024, 4097, 1024)),
    1024: tuple(range(2048, 8193, 1024)),
    2048: tuple(range(4096, 16385, 1024)),
    4096: tuple(range(8192, 30721, 1024)),
}


class Compute(Model):
    """The payment service in each environment.

    Attributes:
        image: image with its digest; the reference service in ``service/`` is built when absent.
        cpu_units: CPU of a task, 1024 being one vCPU.
        memory_mib: memory of a task.
        peak_requests_per_second: load that one environment must carry alone.
        requests_per_second_per_task: load that one task carries with room to spare.
        max_tasks: upper bound of scaling in one environment.
        cpu_target_percent: average CPU that scaling aims at.
        hold_seconds: how long a request waits for a writer before it is answered with 503.
    """

    image: (
        Annotated[
            str,
            _matching(
                r"[a-z0-9][a-z0-9.-]*(:\d+)?(/[a-z0-9._-]+)+(:[\w.-]+)?@sha256:[0-9a-f]{64}",
                "an image reference with its digest, such as registry/name@sha256:<64 hex digits>",
            ),
        ]
        | None
    ) = None
    cpu_units: Literal[512, 1024, 2048, 4096] = 1024
    memory_mib: int = 2048
    peak_requests_per_second: Annotated[int, Field(ge=1, le=100_000)] = 140
    requests_per_second_per_task: Annotated[int, Field(ge=1, le=10_000)] = 50
    max_tasks: Annotated[int, Field(ge=3, le=500)] = 12
    cpu_target_percent: Annotated[int, Field(ge=10, le=90)] = 50
    hold_seconds: Annotated[int, Field(ge=5, le=ALB_IDLE_TIMEOUT_SECONDS - 10)] = 45

    @property
    def min_tasks(self) -> int:
        """Floor of scaling: it carries the whole load without scaling out, and has a task in every zone."""
        return max(3, math.ceil(self.peak_requests_per_second / self.requests_per_second_per_task))


class Alarms(Model):
    """Thresholds of the alarms.

    Attributes:
        errors_percent: share of answers 5xx in an environment.
        latency_p99_seconds: slowest acceptable 99th percentile of the answers.
        replication_lag_seconds: CDC latency at source and target.
        database_cpu_percent: CPU of a database instance.
        database_connections: open connections of a database instance.
        database_free_memory_mib: memory that must stay free.
        evaluation_minutes: consecutive one-minute samples that have to be bad.
        emails: addresses that are told.
    """

    errors_percent: Annotated[float, Field(gt=0, le=100)] = 2.0
    latency_p99_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    replication_lag_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    database_cpu_percent: Annotated[int, Field(ge=1, le=100)] = 80
    database_connections: Annotated[int, Field(ge=1, le=16_000)] = 800
    database_free_memory_mib: Annotated[int, Field(ge=64)] = 1024
    evaluation_minutes: Annotated[int, Field(ge=1, le=60)] = 3
    emails: Annotated[
        tuple[Annotated[str, _matching(r"[^@\s]+@[^@\s]+\.[^@\s]+", "an e-mail address")], ...],
        *_tuple_of(),
        _DISTINCT,
    ] = ()


class VaultLock(Model):
    """AWS Backup Vault Lock.

    Attributes:
        min_retention_days: jobs that keep less fail.
        max_retention_days: jobs that keep more fail.
        changeable_for_days: when set, the lock cannot be removed by anybody after so many days (compliance
            mode), and the stack cannot be deleted; without it the lock is in governance mode.
    """

    min_retention_days: Annotated[int, Field(ge=1)] = 7
    max_retention_days: Annotated[int, Field(ge=1)] = 35
    changeable_for_days: Annotated[int, Field(ge=3)] | None = None


class Backup(Model):
    """AWS Backup of both clusters.

    Attributes:
        retention_days: how long recovery points are kept; continuous backup allows 1 to 35.
        schedule: cron expression of the daily snapshot, in UTC.
        vault_lock: protects the vault even from administrators.
    """

    retention_days: Annotated[int, Field(ge=7, le=35)] = 7
    schedule: Annotated[
        str, _matching(r"cron\((\S+ ){5}\S+\)", "a cron expression of six fields such as cron(0 3 * * ? *)")
    ] = "cron(0 3 * * ? *)"
    vault_lock: VaultLock | None = None


TagValue = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256),
    _matching(r"[\w .:/=+@-]+", "letters, digits and . : / = + - @"),
]


class StageConfig(Model):
    """Everything that one stage of the infrastructure is made from.

    Attributes:
        name: name of the stage, the key under ``stages``.
        project: short name of the system; with the stage it prefixes what needs a known name.
        account: AWS account of the deployment.
        region: us-east-1, where the PrivateLink endpoint of Route 53 is.
        availability_zones: three zones by name, so that synthesis needs no look-up.
        tags: ``Project`` and ``CostCenter`` and any further tag for every resource.
        termination_protection: refuse to delete the root stack.
        log_retention_days: retention of every log group.
    """

    name: Annotated[str, _matching(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "lower-case letters, digits and single hyphens")]
    project: Annotated[
        str, _matching(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", "lower-case letters, digits and single hyphens")
    ] = "payments"
    account: Annotated[str, _matching(r"\d{12}", "an AWS account id of twelve digits, in quotes")]
    region: Literal["us-east-1"] = "us-east-1"
    availability_zones: Annotated[
        tuple[Annotated[str, _matching(r"us-east-1[a-f]", "a zone of us-east-1 such as us-east-1a")], ...],
        *_tuple_of(),
        AfterValidator(_three),
    ] = ("us-east-1a", "us-east-1b", "us-east-1c")
    tags: dict[Annotated[str, _matching(r"[\w .:/=+@-]{1,128}", "letters, digits and . : / = + - @")], TagValue]
    termination_protection: bool = True
    log_retention_days: RetentionDays = 400
    network: Network
    domain: Domain
    legacy_endpoint: LegacyEndpoint
    legacy_database: LegacyDatabase | None = None
    database: Database = Database()
    replication: Replication = Replication()
    front_door: FrontDoor = FrontDoor()
    compute: Compute = Compute()
    alarms: Alarms = Alarms()
    backup: Backup = Backup()

    @property
    def prefix(self) -> str:
        """What identifiers that must be known beforehand start with."""
        return f"{self.project}-{self.name}"

    @property
    def parameter_path(self) -> str:
        """Path in Parameter Store under which operators and programs find the stage."""
        return f"/{self.project}/{self.name}"
