"""Mistakes in cdk.json: one line each, with the key, the value and what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.config import KNOWN_ENDPOINTS, ConfigurationError, LegacyDatabase
from stacks.context import load
from tests.support.synthesized import CONTEXT, changed

ZONES = ["us-east-1a", "us-east-1b", "us-east-1c"]
STAGES = ", ".join(sorted(CONTEXT["stages"]))
UUID = "12345678-1234-1234-1234-123456789012"
LEGACY_DATABASE: dict[str, Any] = CONTEXT["stages"]["staging"]["legacy_database"]
TAGS = {"Project": "payments", "CostCenter": "payments-platform"}


def mistakes(**changes: Any) -> list[str]:
    """What is said of the default stage with ``changes`` to it."""
    stage = changed(CONTEXT["stages"]["prod"], **changes)
    with pytest.raises(ConfigurationError) as caught:
        load({"stage": "prod", "stages": {"prod": stage}})
    return list(caught.value.mistakes)


def destination(**values: Any) -> list[dict[str, Any]]:
    return [{"name": "card network", "cidr": "192.0.2.0/24", **values}]


BAD: list[tuple[dict[str, Any], str]] = [
    # Identity
    ({"account": "1111"}, "account: must be an AWS account id of twelve digits, in quotes, got '1111'"),
    ({"account": 111122223333}, "account: must be a text, got 111122223333"),
    ({"account": None}, "account: is missing and has no default"),
    ({"region": "eu-west-1"}, "region: must be 'us-east-1', got 'eu-west-1'"),
    ({"project": "Payments"}, "project: must be lower-case letters, digits and single hyphens, got 'Payments'"),
    (
        {"project": "payments-platform"},
        "project: with the name of the stage it makes payments-platform-prod, 22 characters; at most 16 leave room for "
        "the identifiers of the DMS tasks",
    ),
    ({"name": "prod"}, "name: is the key under stages and cannot be set"),
    ({"termination_protection": "yes"}, "termination_protection: must be true or false, got 'yes'"),
    (
        {"log_retention_days": 30},
        "log_retention_days: must be 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653, got 30",
    ),
    # Tags
    ({"tags": None}, "tags: is missing and has no default"),
    ({"tags": ["payments"]}, "tags: must be an object, got ['payments']"),
    (
        {"tags": {"Project": "payments"}},
        "tags.CostCenter: is missing; Project and CostCenter are required",
    ),
    ({"tags": {**TAGS, "CostCenter": ""}}, "tags.CostCenter: must have at least 1 character(s), got ''"),
    ({"tags": {**TAGS, "CostCenter": 4711}}, "tags.CostCenter: must be a text, got 4711"),
    (
        {"tags": {**TAGS, "Owner": "<team>"}},
        "tags.Owner: must be letters, digits and . : / = + - @, got '<team>'",
    ),
    (
        {"tags": {**TAGS, "Environment": "prod"}},
        "tags.Environment: is set by the stacks themselves (blue, green or shared) and cannot be configured",
    ),
    (
        {"tags": {**TAGS, "environment": "prod"}},
        "tags.environment: is set by the stacks themselves (blue, green or shared) and cannot be configured",
    ),
    ({"tags": {**TAGS, "aws:owner": "me"}}, "tags.aws:owner: must not start with aws:, which AWS reserves"),
    (
        {"tags": {**TAGS, "project": "other"}},
        "tags.project: differs from Project in case only, which IAM refuses",
    ),
    (
        {"tags": {**TAGS, **{f"Key{number}": "x" for number in range(48)}}},
        "tags: are 50; at most 49 leave room for those that the stacks set themselves",
    ),
    # Zones and networks
    ({"availability_zones": ZONES[:2]}, f"availability_zones: must be three different zones, got {ZONES[:2]}"),
    (
        {"availability_zones": [*ZONES[:2], ZONES[0]]},
        f"availability_zones: must be three different zones, got {[*ZONES[:2], ZONES[0]]}",
    ),
    ({"availability_zones": "us-east-1a"}, "availability_zones: must be a list, got 'us-east-1a'"),
    (
        {"availability_zones": [*ZONES[:2], "us-west-2a"]},
        "availability_zones.2: must be a zone of us-east-1 such as us-east-1a, got 'us-west-2a'",
    ),
    ({"network": None}, "network: is missing and has no default"),
    ({"network": "10.20.0.0/16"}, "network: must be an object, got '10.20.0.0/16'"),
    (
        {"network__cidr": "10.20.0.0/21"},
        "network.cidr: must be /16 to /20: a smaller block cannot hold nine subnets with room to grow, got "
        "'10.20.0.0/21'",
    ),
    (
        {"network__cidr": "10.0.0.0/15"},
        "network.cidr: must be /16 to /20: a smaller block cannot hold nine subnets with room to grow, got "
        "'10.0.0.0/15'",
    ),
    (
        {"network__cidr": "10.20.0.1/16"},
        "network.cidr: must be an IPv4 CIDR block whose host bits are zero (10.20.0.1/16 has host bits set), got "
        "'10.20.0.1/16'",
    ),
    (
        {"network__cidr": "ten"},
        "network.cidr: must be an IPv4 CIDR block whose host bits are zero ('ten' does not appear to be an IPv4 or "
        "IPv6 network), got 'ten'",
    ),
    ({"network__cidr": "fd00::/16"}, "network.cidr: must be an IPv4 CIDR block, got 'fd00::/16'"),
    (
        {"network__cidr": "10.20.0.0/255.255.0.0"},
        "network.cidr: must be written as 10.20.0.0/16, got '10.20.0.0/255.255.0.0'",
    ),
    ({"network__cidr": "8.8.0.0/16"}, "network.cidr: must be private address space (RFC 1918), got '8.8.0.0/16'"),
    (
        {"network__egress_destinations": destination(cidr="10.20.1.0/24")},
        "network.egress_destinations.0.cidr: 10.20.1.0/24 overlaps network.cidr 10.20.0.0/16; a destination lies "
        "outside the VPC",
    ),
    (
        {"network__egress_destinations": destination(cidr="0.0.0.0/0")},
        "network.egress_destinations.0.cidr: is wider than /16; name the destination's own networks, got '0.0.0.0/0'",
    ),
    (
        {"network__egress_destinations": destination(port=65536)},
        "network.egress_destinations.0.port: must be a port from 1 to 65535, got 65536",
    ),
    (
        {"network__egress_destinations": destination(name="<card>")},
        "network.egress_destinations.0.name: must be 1 to 100 letters, digits or characters of "
        "._-:/()#,@+=&;{}!$*, got '<card>'",
    ),
    (
        {"network__egress_destinations": destination() * 2},
        "network.egress_destinations.1: 192.0.2.0/24 port 443 is named already; each destination must be named only "
        "once",
    ),
    ({"network__preview_cidrs": []}, "network.preview_cidrs: must have at least 1 entry, got []"),
    (
        {"network__preview_cidrs": ["0.0.0.0/0"]},
        "network.preview_cidrs.0: is wider than /8 and would show the idle environment to the internet, got "
        "'0.0.0.0/0'",
    ),
    (
        {"network__preview_cidrs": ["1.0.0.0/8", "2.0.0.0/8", "3.0.0.0/8", "4.0.0.0/8", "5.0.0.0/8"]},
        "network.preview_cidrs: must have at most 4 entries, got "
        "['1.0.0.0/8', '2.0.0.0/8', '3.0.0.0/8', '4.0.0.0/8', '5.0...",
    ),
    (
        {"network__preview_cidrs": ["203.0.113.0/24"] * 2},
        "network.preview_cidrs: must name 203.0.113.0/24 only once, got ['203.0.113.0/24', '203.0.113.0/24']",
    ),
    (
        {"network__interface_endpoints": [*KNOWN_ENDPOINTS, "s3express"]},
        f"network.interface_endpoints.{len(KNOWN_ENDPOINTS)}: 's3express' is not known (allowed: "
        f"{', '.join(KNOWN_ENDPOINTS)}), got 's3express'",
    ),
    (
        {"network__interface_endpoints": [each for each in KNOWN_ENDPOINTS if each != "kms"]},
        "network.interface_endpoints: kms (functions decrypt under customer-managed keys) is missing, and workloads in "
        "the VPC need them",
    ),
    # Names
    (
        {"domain__zone_name": "payments"},
        "domain.zone_name: must be a lower-case domain name such as payments.example.com, got 'payments'",
    ),
    (
        {"domain__zone_name": "Payments.example.com"},
        "domain.zone_name: must be a lower-case domain name such as payments.example.com, got 'Payments.example.com'",
    ),
    (
        {"domain__hosted_zone_id": "/hostedzone/Z0123456789"},
        "domain.hosted_zone_id: must be a hosted zone id such as Z0123456789ABCDEFGHIJ, got '/hostedzone/Z0123456789'",
    ),
    ({"domain__record_name": "a.b"}, "domain.record_name: must be one lower-case DNS label, got 'a.b'"),
    (
        {"domain__record_name": "green"},
        "domain.record_name: green is the name of an environment; choose another label",
    ),
    ({"legacy_endpoint__addresses": []}, "legacy_endpoint.addresses: must have at least 1 entry, got []"),
    (
        {"legacy_endpoint__addresses": ["198.51.100"]},
        "legacy_endpoint.addresses.0: must be an IPv4 address such as 198.51.100.10, got '198.51.100'",
    ),
    (
        {"legacy_endpoint__addresses": ["10.1.2.3"]},
        "legacy_endpoint.addresses.0: must be a public address: Route 53 checks the health of no private one, got "
        "'10.1.2.3'",
    ),
    (
        {"legacy_endpoint__addresses": ["198.51.100.1", "198.51.100.1"]},
        "legacy_endpoint.addresses: must name 198.51.100.1 only once, got ['198.51.100.1', '198.51.100.1']",
    ),
    (
        {"legacy_endpoint__health_path": "health"},
        "legacy_endpoint.health_path: must be a path that starts with /, got 'health'",
    ),
    ({"legacy_endpoint__port": 0}, "legacy_endpoint.port: must be a port from 1 to 65535, got 0"),
    # The legacy database
    (
        {"legacy_database": {**LEGACY_DATABASE, "secret_arn": "legacy/replication"}},
        "legacy_database.secret_arn: must be the complete ARN of a secret in us-east-1, with its random suffix, got "
        "'legacy/replication'",
    ),
    (
        {"legacy_database": {**LEGACY_DATABASE, "secret_key_arn": "alias/legacy"}},
        "legacy_database.secret_key_arn: must be the ARN of a KMS key in us-east-1, got 'alias/legacy'",
    ),
    (
        {"legacy_database": {**LEGACY_DATABASE, "cidr": "10.20.3.0/24"}},
        "legacy_database.cidr: 10.20.3.0/24 overlaps network.cidr 10.20.0.0/16; they must be apart",
    ),
    (
        {"legacy_database": {**LEGACY_DATABASE, "ca_certificate_file": "docs/nothing.pem"}},
        "legacy_database.ca_certificate_file: 'docs/nothing.pem' cannot be read; name a PEM file, relative to the "
        "project",
    ),
    (
        {"legacy_database": {**LEGACY_DATABASE, "ca_certificate_file": "cdk.json"}},
        "legacy_database.ca_certificate_file: 'cdk.json' holds no certificates; name a PEM file, relative to the "
        "project",
    ),
    (
        {"legacy_database": {**LEGACY_DATABASE, "transit_gateway_id": "tgw-1"}},
        "legacy_database.transit_gateway_id: must be a transit gateway id such as tgw-0123456789abcdef0, got 'tgw-1'",
    ),
    # The databases
    ({"database__port": 3306}, "database.port: must not be MySQL's default, which scanners try first, got 3306"),
    ({"database__port": 1149}, "database.port: must be from 1150 to 65535, which Aurora MySQL takes, got 1149"),
    ({"database__port": 65536}, "database.port: must be from 1150 to 65535, which Aurora MySQL takes, got 65536"),
    ({"database__port": "3307"}, "database.port: must be a whole number, got '3307'"),
    ({"database__port": True}, "database.port: must be a whole number, got True"),
    (
        {"database__instance_class": "db.r7g.large"},
        "database.instance_class: must be a memory-optimised Aurora class such as r7g.large, got 'db.r7g.large'",
    ),
    (
        {"database__backup_retention_days": 6},
        "database.backup_retention_days: must be at least 7, got 6",
    ),
    (
        {"database__performance_insights_days": 30},
        "database.performance_insights_days: must be 7, a multiple of 31 up to 713 (31 x 23), or 731, got 30",
    ),
    (
        {"database__monitoring_interval_seconds": 0},
        "database.monitoring_interval_seconds: must be 1, 5, 10, 15, 30 or 60, got 0",
    ),
    ({"database__binlog_retention_hours": 2161}, "database.binlog_retention_hours: must be at most 2160, got 2161"),
    (
        {"database__payment_schema": "payments-1"},
        "database.payment_schema: must be a schema name: a letter, then letters, digits and underscores, got "
        "'payments-1'",
    ),
    (
        {"database__payment_schema": "mysql"},
        "database.payment_schema: must not be a schema that MySQL or replication uses (awsdms_control, "
        "information_schema, mysql, performance_schema, sys, loopback_*), got 'mysql'",
    ),
    (
        {"database__payment_schema": "blue_green_control"},
        "database.control_schema: blue_green_control must differ from database.payment_schema",
    ),
    (
        {"replication__instance_class": "r6i.large"},
        "replication.instance_class: must be a DMS instance class such as dms.r6i.large, got 'r6i.large'",
    ),
    (
        {"replication__engine_version": "3.6"},
        "replication.engine_version: must be a DMS version such as 3.6.1, got '3.6'",
    ),
    ({"replication__allocated_storage_gib": 49}, "replication.allocated_storage_gib: must be at least 50, got 49"),
    # The front door
    (
        {"front_door__certificate_arn": f"arn:aws:acm:eu-west-1:111122223333:certificate/{UUID}"},
        "front_door.certificate_arn: must be the ARN of an ACM certificate in us-east-1, got "
        "'arn:aws:acm:eu-west-1:111122223333:certificate/12345678-...",
    ),
    (
        {"front_door__rate_limit_per_five_minutes": 9},
        "front_door.rate_limit_per_five_minutes: must be at least 10, got 9",
    ),
    ({"front_door__slow_start_seconds": 29}, "front_door.slow_start_seconds: must be at least 30, got 29"),
    (
        {"front_door__deregistration_delay_seconds": 44},
        "front_door.deregistration_delay_seconds: 44 must not be less than compute.hold_seconds 45",
    ),
    # The service
    (
        {"compute__image": "payments:latest"},
        "compute.image: must be an image reference with its digest, such as registry/name@sha256:<64 hex digits>, got "
        "'payments:latest'",
    ),
    ({"compute__cpu_units": 1000}, "compute.cpu_units: must be 512, 1024, 2048 or 4096, got 1000"),
    (
        {"compute__memory_mib": 1024},
        "compute.memory_mib: 1024 does not go with cpu_units 1024; allowed are 2048 to 8192 in steps of 1024",
    ),
    ({"compute__max_tasks": 2}, "compute.max_tasks: must be at least 3, got 2"),
    (
        {"compute__peak_requests_per_second": 1000},
        "compute.max_tasks: 12 must be at least 20, which 1000 requests a second need at 50 a task",
    ),
    ({"compute__hold_seconds": 51}, "compute.hold_seconds: must be at most 50, got 51"),
    ({"compute__cpu_target_percent": 91}, "compute.cpu_target_percent: must be at most 90, got 91"),
    # Alarms
    ({"alarms__errors_percent": 0}, "alarms.errors_percent: must be more than 0.0, got 0"),
    ({"alarms__errors_percent": "2"}, "alarms.errors_percent: must be a number, got '2'"),
    ({"alarms__latency_p99_seconds": 61}, "alarms.latency_p99_seconds: must be at most 60.0, got 61"),
    ({"alarms__replication_lag_seconds": 0}, "alarms.replication_lag_seconds: must be at least 1, got 0"),
    ({"alarms__database_cpu_percent": 101}, "alarms.database_cpu_percent: must be at most 100, got 101"),
    ({"alarms__evaluation_minutes": 0}, "alarms.evaluation_minutes: must be at least 1, got 0"),
    (
        {"alarms__emails": []},
        "alarms.emails: must name an address at least, or alarms and cutovers would tell nobody",
    ),
    ({"alarms__emails": ["oncall"]}, "alarms.emails.0: must be an e-mail address, got 'oncall'"),
    (
        {"alarms__emails": ["a@example.com", "a@example.com"]},
        "alarms.emails: must name a@example.com only once, got ['a@example.com', 'a@example.com']",
    ),
    # Backup
    ({"backup__retention_days": 36}, "backup.retention_days: must be at most 35, got 36"),
    (
        {"backup__retention_days": 8},
        "backup.retention_days: 8 must equal database.backup_retention_days 7",
    ),
    (
        {"backup__schedule": "daily"},
        "backup.schedule: must be a cron expression of six fields such as cron(0 3 * * ? *), got 'daily'",
    ),
    (
        {"backup__vault_lock": {"min_retention_days": 8}},
        "backup.retention_days: 7 must lie between backup.vault_lock.min_retention_days 8 and "
        "backup.vault_lock.max_retention_days 35, or every job fails",
    ),
    (
        {"backup__vault_lock": {"min_retention_days": 36}},
        "backup.vault_lock.min_retention_days: 36 must not be more than backup.vault_lock.max_retention_days 35",
    ),
    (
        {"backup__vault_lock": {"changeable_for_days": 2}},
        "backup.vault_lock.changeable_for_days: must be at least 3, got 2",
    ),
    # Unknown keys
    (
        {"weights": {"blue": 100}},
        "weights: is not a key of the configuration (allowed: account, alarms, availability_zones, backup, compute, "
        "database, domain, front_door, legacy_database, legacy_endpoint, log_retention_days, network, project, region, "
        "replication, tags, termination_protection)",
    ),
    ({"network__cird": "10.20.0.0/16"}, "network.cird: is not a key of the configuration, did you mean cidr?"),
    (
        {"backup__vault_lock": {"max_retention": 35}},
        "backup.vault_lock.max_retention: is not a key of the configuration, did you mean max_retention_days?",
    ),
]


@pytest.mark.parametrize(("changes", "line"), BAD, ids=[f"{n}-{line.split(':')[0]}" for n, (_, line) in enumerate(BAD)])
def test_a_mistake_is_told_in_one_line_with_its_key_and_what_is_allowed(changes: dict[str, Any], line: str) -> None:
    assert mistakes(**changes) == [f"stages.prod.{line}"]


def test_one_run_shows_all_mistakes() -> None:
    found = mistakes(
        account="1",
        tags={"Project": "payments", "aws:x": "y"},
        network__cidr="10.20.0.0/24",
        network__egress_destinations=[*destination(cidr="0.0.0.0/0"), *destination(port=0)],
        database__port=3306,
        backup__retention_days=8,
        wieghts=1,
    )

    assert [line.split(": ")[0].removeprefix("stages.prod.") for line in found] == [
        "account",
        "network.cidr",
        "network.egress_destinations.0.cidr",
        "network.egress_destinations.1.port",
        "database.port",
        "wieghts",
        "tags.CostCenter",
        "tags.aws:x",
        "backup.retention_days",
    ]


def test_every_destination_that_overlaps_is_told() -> None:
    found = mistakes(
        network__egress_destinations=[*destination(cidr="10.20.1.0/24"), *destination(cidr="10.20.2.0/24")]
    )

    assert len(found) == 2


def test_a_mistake_in_one_value_does_not_hide_what_is_wrong_between_others() -> None:
    found = mistakes(alarms__errors_percent=0, compute__memory_mib=1024)

    assert [line.split(": ")[0] for line in found] == [
        "stages.prod.alarms.errors_percent",
        "stages.prod.compute.memory_mib",
    ]


def test_every_key_that_an_optional_part_lacks_is_told() -> None:
    found = mistakes(legacy_database={"port": 3306})

    assert sorted(found) == sorted(
        f"stages.prod.legacy_database.{key}: is missing and has no default"
        for key, field in LegacyDatabase.model_fields.items()
        if field.is_required()
    )
    assert len(found) >= 6


@pytest.mark.parametrize(
    ("context", "line"),
    [
        (
            {"stage": "nope", "stages": CONTEXT["stages"]},
            f"stage: 'nope' is not known (allowed: {STAGES})",
        ),
        (
            {"stage": "stagin", "stages": CONTEXT["stages"]},
            f"stage: 'stagin' is not known, did you mean staging? (allowed: {STAGES})",
        ),
        ({"stages": CONTEXT["stages"]}, f"stage: None is not known (allowed: {STAGES})"),
        ({"stage": "prod"}, "stages: must be an object of stages by name in the context of cdk.json"),
        ({"stage": "prod", "stages": {}}, "stages: must be an object of stages by name in the context of cdk.json"),
        ({"stage": "prod", "stages": {"prod": 5}}, "stages.prod: must be an object, got 5"),
    ],
)
def test_a_stage_that_is_not_there_is_told(context: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(context)

    assert list(caught.value.mistakes) == [line]


@pytest.mark.parametrize("name", ["Prod", "prod_1", "prod--1", "1prod", "prod-"])
def test_a_stage_has_a_name_that_identifiers_can_hold(name: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({"stage": name, "stages": {name: CONTEXT["stages"]["prod"]}})

    assert list(caught.value.mistakes) == [
        f"stages.{name}.name: must be lower-case letters, digits and single hyphens, got '{name}'"
    ]
