"""What holds over all templates together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Any

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER  # type: ignore[import-untyped]  # it has no types

from policy.templates import NESTED_STACK, Resource, View, references_in
from stacks.config import Color
from tests.support.synthesized import CONTEXT, ROOT, STACKS, Synthesis, Variation, name_of, plain, tags_of

REGION = "us-east-1"


# Nested stacks.


def dependencies(synthesis: Synthesis) -> dict[str, set[str]]:
    """The nested stacks that each one needs, by a reference or by DependsOn."""
    resources = synthesis.stacks[ROOT].resources
    names = {logical_id: _nested(each) for logical_id, each in resources.items()}
    return {
        names[logical_id]: {
            names[other]
            for other in (
                *_logical_ids(each.definition.get("Properties", {})),
                *each.definition.get("DependsOn", []),
            )
            if other in names
        }
        for logical_id, each in resources.items()
    }


def _nested(resource: Resource) -> str:
    """The name of a nested stack by the resource that it is in the root."""
    return name_of(resource).split("/")[0].removesuffix(".NestedStack")


def _logical_ids(value: Any) -> Iterator[str]:
    match value:
        case {"Fn::GetAtt": [str(logical_id), *_]}:
            yield logical_id
        case {"Ref": str(logical_id)}:
            yield logical_id
        case dict():
            for item in value.values():
                yield from _logical_ids(item)
        case list():
            for item in value:
                yield from _logical_ids(item)


def test_nested_stacks_do_not_need_each_other_in_a_circle(either: Synthesis) -> None:
    needs = dependencies(either)

    assert set(needs) == set(STACKS)
    TopologicalSorter(needs).prepare()  # raises CycleError, which names the circle


def test_a_nested_stack_refers_only_to_those_declared_before_it(either: Synthesis) -> None:
    needs = dependencies(either)

    assert sum(map(len, needs.values())) > 20
    assert {
        (one, other) for one, others in needs.items() for other in others if STACKS.index(other) >= STACKS.index(one)
    } == set()


def test_every_stack_is_declared_in_the_order_of_the_design(either: Synthesis) -> None:
    declared = [_nested(each) for each in either.stacks[ROOT].resources.values()]

    assert declared == list(STACKS)


@pytest.mark.parametrize(("section", "most"), [("Resources", 500), ("Parameters", 200), ("Outputs", 200)])
def test_a_template_is_within_the_limits_of_cloudformation(either: Synthesis, section: str, most: int) -> None:
    assert {name: n for name, each in either.stacks.items() if (n := len(each.section(section))) > most} == {}


def test_a_template_is_small_enough_to_be_uploaded(either: Synthesis) -> None:
    """1 MB from S3 (CloudFormation quotas)."""
    assert [name for name, file in either.files.items() if file.stat().st_size > 1_000_000] == []


# Encryption.

STORES: Mapping[str, tuple[str, ...]] = {
    "AWS::Backup::BackupVault": ("EncryptionKeyArn",),
    "AWS::DMS::Endpoint": ("KmsKeyId",),
    "AWS::DMS::ReplicationInstance": ("KmsKeyId",),
    "AWS::DynamoDB::Table": ("SSESpecification.KMSMasterKeyId",),
    "AWS::ECS::Cluster": ("Configuration.ManagedStorageConfiguration.FargateEphemeralStorageKmsKeyId",),
    "AWS::Lambda::Function": ("KmsKeyArn",),
    "AWS::Logs::LogGroup": ("KmsKeyId",),
    "AWS::RDS::DBCluster": ("KmsKeyId",),
    "AWS::RDS::DBInstance": ("PerformanceInsightsKMSKeyId",),
    "AWS::SNS::Topic": ("KmsMasterKeyId",),
    "AWS::SQS::Queue": ("KmsMasterKeyId",),
    "AWS::SecretsManager::Secret": ("KmsKeyId",),
    "AWS::StepFunctions::StateMachine": ("EncryptionConfiguration.KmsKeyId",),
}
"""Where a type that keeps data names its key."""

NO_CUSTOMER_KEY = {
    # Elastic Load Balancing delivers access logs to buckets under S3's own key only; the finding is acknowledged.
    "FrontDoor/AccessLogs",
}

KEEPS_DATA = re.compile(r"Kms|KMS|EncryptionKey|SSE")


def test_every_store_names_a_customer_managed_key_of_the_security_stack(either: Synthesis) -> None:
    keys = {id(each) for each in either.every("AWS::KMS::Key", "Security")}
    without = [
        f"{name_of(resource)}: {path}"
        for type_, paths in STORES.items()
        for resource in either.every(type_)
        for path in paths
        if not {id(each.resource) for each in references_in(resource[path].value)} & keys
    ]

    assert without == []


def test_a_store_without_a_customer_managed_key_is_known_by_name(either: Synthesis) -> None:
    assert {name_of(each) for each in either.every("AWS::S3::Bucket")} == NO_CUSTOMER_KEY


def test_the_list_of_stores_has_every_type_here_that_can_have_a_key(either: Synthesis) -> None:
    """By the schemas of CloudFormation: a type with a property for a key is a store, or is known not to be one."""
    other = {
        "AWS::KMS::Key",
        "AWS::KMS::Alias",
        # The bucket above.
        "AWS::S3::Bucket",
        # For volumes of a task that outlive it, of which there are none.
        "AWS::ECS::Service",
        # For a rotation function of Secrets Manager's making; ours is a function of the list.
        "AWS::SecretsManager::RotationSchedule",
    }
    types = {each.type for each in either.app.resources if each.type.startswith("AWS::")}
    with_key = {type_ for type_ in types if any(KEEPS_DATA.search(name) for name in _properties(type_))}

    assert with_key - other <= set(STORES)


def _properties(type_: str) -> set[str]:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(region=REGION, resource_type=type_).schema
    definitions = schema.get("definitions", {})
    return {
        *schema.get("properties", {}),
        *(name for each in definitions.values() for name in each.get("properties", {})),
    }


# Tags.


def taggable(type_: str) -> bool:
    """Whether CloudFormation can tag the type, by the schemas that cfn-lint brings."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(region=REGION, resource_type=type_).schema
    tagging = schema.get("tagging", {})
    if "taggable" in tagging:
        return bool(tagging["taggable"])
    return any(name.endswith("Tags") for name in schema.get("properties", {}))


def test_every_resource_that_can_bear_tags_bears_the_three(either: Synthesis) -> None:
    bearing = [each for each in either.app.resources if each.type.startswith("AWS::") and taggable(each.type)]
    without = [name_of(each) for each in bearing if not {"Environment", "Project", "CostCenter"} <= set(tags_of(each))]

    assert len(bearing) > 200
    assert without == []


@pytest.mark.parametrize(
    "type_",
    [
        "AWS::Backup::BackupPlan",
        "AWS::Backup::BackupVault",
        "AWS::CloudWatch::CompositeAlarm",
        "AWS::CloudWatch::Dashboard",
        "AWS::DMS::ReplicationTask",
        "AWS::EC2::VPCEndpoint",
        "AWS::ElasticLoadBalancingV2::ListenerRule",
        "AWS::IAM::ManagedPolicy",
        "AWS::RDS::DBCluster",
        "AWS::Route53::HealthCheck",
        "AWS::SSM::Parameter",
    ],
)
def test_the_schemas_are_read_right(type_: str) -> None:
    """What is known of single types, so that a change of the schemas' form does not empty the test above."""
    assert taggable(type_) is (type_ != "AWS::IAM::ManagedPolicy")


@pytest.mark.parametrize("type_", ["AWS::DMS::Certificate", "AWS::Route53::RecordSet", "AWS::KMS::Alias"])
def test_what_cannot_be_tagged_is_not_asked_for_tags(type_: str) -> None:
    assert not taggable(type_)


def test_the_tags_have_the_configured_values(either: Synthesis) -> None:
    configured = {"Project": "payments", "CostCenter": "payments-platform"}
    wrong = [
        name_of(each)
        for each in either.app.resources
        if (tags := tags_of(each)) and {key: tags.get(key) for key in configured} != configured
    ]

    assert wrong == []


def test_the_environment_tag_tells_blue_green_and_shared_apart(either: Synthesis) -> None:
    """What stands under the construct of an environment, or is named after one, belongs to it and to nobody else."""
    wrong = {
        name_of(each): tags["Environment"]
        for each in either.app.resources
        if (tags := tags_of(each)) and tags["Environment"] != _environment(name_of(each))
    }

    assert wrong == {}


def _environment(name: str) -> str:
    # A task between two databases belongs to neither, nor do its alarms.
    own = re.search(r"(?:^|/)(Blue|Green)(?!To)", name)
    return own[1].lower() if own else "shared"


# Segmentation.


def rules(synthesis: Synthesis, direction: str) -> list[tuple[str, View]]:
    """Every rule of a direction with the group that it belongs to, wherever it stands."""
    alone = [
        (str(plain(each["GroupId"])), each.properties)
        for each in synthesis.every(f"AWS::EC2::SecurityGroup{direction}")
    ]
    inside = [
        (f"<{name_of(each)}>.GroupId", rule)
        for each in synthesis.every("AWS::EC2::SecurityGroup")
        for rule in each[f"SecurityGroup{direction}"].items()
    ]
    return alone + inside


def test_nothing_admits_everybody_but_the_load_balancer_on_443(either: Synthesis) -> None:
    open_ = {
        (group, plain(rule["FromPort"]), plain(rule["ToPort"]))
        for group, rule in rules(either, "Ingress")
        if plain(rule["CidrIp"]) == "0.0.0.0/0" or not rule["CidrIpv6"].missing
    }

    assert open_ == {("<Network/LoadBalancer>.GroupId", 443, 443)}


def test_nothing_may_send_to_everybody(either: Synthesis) -> None:
    assert [
        group
        for group, rule in rules(either, "Egress")
        if plain(rule["CidrIp"]) == "0.0.0.0/0" or not rule["CidrIpv6"].missing
    ] == []


def test_only_compute_sends_outside_and_only_to_configured_destinations(prod: Synthesis) -> None:
    destinations = {each.cidr for each in prod.config.network.egress_destinations}
    outside = {
        (group, plain(rule["CidrIp"]))
        for group, rule in rules(prod, "Egress")
        if not rule["CidrIp"].missing and plain(rule["CidrIp"]) != "255.255.255.255/32"
    }

    services = [f"<Network/{color}Service>.GroupId" for color in ("Blue", "Green")]
    assert outside == {(service, each) for service in services for each in destinations}


def test_no_rule_opens_all_ports_or_all_protocols(either: Synthesis) -> None:
    wide = [
        group
        for direction in ("Ingress", "Egress")
        for group, rule in rules(either, direction)
        if rule["IpProtocol"].value in ("-1", -1) or plain(rule["FromPort"]) in (None, 0, -1)
    ]

    assert wide == []


# Blue and green.

HASH = re.compile(r"(?<=[A-Za-z])[0-9A-F]{8}(?![0-9A-F])")
# A schema of both, such as loopback_blue_green, is named after the pair.
NAME = re.compile(r"Blue|Green|blue(?!_green)|(?<!blue_)green")
OTHER = {"Blue": "Green", "Green": "Blue", "blue": "green", "green": "blue"}


def of_environment(synthesis: Synthesis, color: Color, *, mirrored: bool = False) -> dict[str, Any]:
    """Everything that belongs to one environment; ``mirrored`` exchanges the names of the two everywhere."""
    found = {}
    for each in synthesis.app.resources:
        name = name_of(each)
        if _environment(name) == color.value:
            content = {
                "Type": each.type,
                "Properties": plain(each.properties.value),
                "DeletionPolicy": each.deletion_policy,
                "DependsOn": sorted(
                    name_of(each.stack.resources[other]) for other in each.definition.get("DependsOn", [])
                ),
            }
            found[_neutral(name, mirrored)] = json.loads(_neutral(json.dumps(content), mirrored))
    return found


def _neutral(text: str, mirrored: bool) -> str:
    """Without the hashes that the CDK makes of names."""
    return HASH.sub("", re.sub(NAME, lambda match: OTHER[match[0]], text) if mirrored else text)


def differences(one: Any, other: Any, path: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict) and set(one) == set(other):
        for key in one:
            yield from differences(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        # The resources of a policy and what a resource waits for are sets.
        if path.endswith(("/Resource", "/DependsOn")):
            one, other = sorted(one), sorted(other)
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, f"{path}/{index}")
    elif one != other:
        yield path


def test_blue_and_green_have_the_same_resources(either: Synthesis) -> None:
    blue, green = of_environment(either, Color.BLUE), of_environment(either, Color.GREEN, mirrored=True)

    assert len(blue) > 60
    assert set(blue) == set(green)


MEANT = {
    # Generated keys of the two never collide.
    "Database/Blue/Database/Parameters/Properties/Parameters/auto_increment_offset",
    # One database is writable at first.
    "Database/Blue/Functions/Bootstrapped/Default/Properties/WriterAtCreation",
    # No two rules of a listener have the same.
    "FrontDoor/BluePreview/Properties/Priority",
    # The order of the databases and of the tasks is that of the chain, whoever reads it.
    "Compute/Blue/Payments/Task/Properties/ContainerDefinitions/0/Command/1",
    "Compute/Blue/Payments/Task/Properties/ContainerDefinitions/0/Command/3",
    "Database/Blue/Functions/Rotation/Function/Properties/Environment/Variables/REPLICATION_TASK_ARNS",
}


def test_blue_and_green_differ_in_name_offsets_and_identifiers_only(prod: Synthesis) -> None:
    blue, green = of_environment(prod, Color.BLUE), of_environment(prod, Color.GREEN, mirrored=True)

    assert {path for name in blue for path in differences(blue[name], green.get(name), name)} == MEANT


# Logical ids of what holds data: a new id would make CloudFormation create an empty one and delete the old.

STATEFUL_TYPES = (
    "AWS::Backup::BackupVault",
    "AWS::DynamoDB::Table",
    "AWS::KMS::Key",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBInstance",
    "AWS::S3::Bucket",
    "AWS::SecretsManager::Secret",
)

STATEFUL = {
    "Backup/Vault": "Vault23237E5B",
    "State/State": "State1C20CC9A",
    "Security/Database": "DatabaseB269D8BB",
    "Security/Secrets": "SecretsA3BCC2E9",
    "Security/Logs": "Logs6819BB44",
    "Security/Backup": "BackupDA3807AC",
    "Security/Storage": "Storage07F31EBC",
    "Security/Functions": "Functions1094A112",
    "Database/Blue/Database/Cluster": "BlueDatabaseCluster81F1D4E1",
    "Database/Green/Database/Cluster": "GreenDatabaseCluster5909F1B3",
    "Database/Blue/Database/Cluster/Writer": "BlueDatabaseClusterWriterC51CAC5A",
    "Database/Blue/Database/Cluster/Reader": "BlueDatabaseClusterReader2F70E02F",
    "Database/Green/Database/Cluster/Writer": "GreenDatabaseClusterWriter74D9BAA6",
    "Database/Green/Database/Cluster/Reader": "GreenDatabaseClusterReader2B7E308C",
    "FrontDoor/AccessLogs": "AccessLogs8B620ECA",
    "Database/Blue/Database/Secrets/Admin": "BlueDatabaseSecretsAdminF4822FAC",
    "Database/Blue/Database/Secrets/Application": "BlueDatabaseSecretsApplicationB47CC196",
    "Database/Blue/Database/Secrets/Replication": "BlueDatabaseSecretsReplication02D71CA6",
    "Database/Green/Database/Secrets/Admin": "GreenDatabaseSecretsAdmin58A963F1",
    "Database/Green/Database/Secrets/Application": "GreenDatabaseSecretsApplication8B1056FF",
    "Database/Green/Database/Secrets/Replication": "GreenDatabaseSecretsReplication16287BF9",
}


def stateful(synthesis: Synthesis) -> dict[str, str]:
    return {name_of(each): each.logical_id for type_ in STATEFUL_TYPES for each in synthesis.every(type_)}


def test_what_holds_data_keeps_its_logical_id(either: Synthesis) -> None:
    assert stateful(either) == STATEFUL


@pytest.mark.parametrize("name", STACKS)
def test_a_nested_stack_keeps_its_logical_id(prod: Synthesis, name: str) -> None:
    """A new one would replace the stack with everything in it."""
    logical_ids = {_nested(each): each.logical_id for each in prod.every(NESTED_STACK)}

    assert re.fullmatch(rf"{name}NestedStack{name}NestedStackResource[0-9A-F]{{8}}", logical_ids[name])


def test_what_holds_data_survives_its_stack(either: Synthesis) -> None:
    kept: dict[str, Resource] = {name_of(each): each for type_ in STATEFUL_TYPES for each in either.every(type_)}
    # The cluster leaves a snapshot; its instances hold nothing that the cluster does not.
    lost = {
        name: each.deletion_policy
        for name, each in kept.items()
        if each.type != "AWS::RDS::DBInstance" and each.deletion_policy not in ("Retain", "Snapshot")
    }

    assert lost == {}


# Byte for byte.

UUID = "1234abcd-12ab-34cd-56ef-1234567890ab"

UNRELATED: Mapping[str, Any] = {
    "compute__image": "registry.example.com/payments@sha256:" + "0" * 64,
    "compute__cpu_units": 2048,
    "compute__memory_mib": 8192,
    "compute__max_tasks": 30,
    "compute__peak_requests_per_second": 300,
    "compute__hold_seconds": 30,
    "alarms": {"errors_percent": 5.0, "replication_lag_seconds": 30, "emails": ["others@example.com"]},
    "database__instance_class": "r7g.4xlarge",
    "database__port": 3400,
    "database__backup_retention_days": 14,
    "database__binlog_retention_hours": 72,
    "database__payment_schema": "ledger",
    "backup__retention_days": 14,
    "backup__vault_lock": {},
    "replication__instance_class": "dms.r6i.2xlarge",
    "replication__create_account_roles": True,
    "network__egress_destinations": [{"name": "another acquirer", "cidr": "203.0.113.128/25", "port": 9443}],
    "network__preview_cidrs": ["198.51.100.0/24"],
    "network__cidr": "10.30.0.0/16",
    "front_door__rate_limit_per_five_minutes": 100_000,
    "front_door__slow_start_seconds": 120,
    "front_door__deregistration_delay_seconds": 120,
    "front_door__http_redirect": True,
    "front_door__certificate_arn": f"arn:aws:acm:us-east-1:111122223333:certificate/{UUID}",
    "legacy_database": CONTEXT["stages"]["staging"]["legacy_database"],
    "log_retention_days": 731,
    "termination_protection": False,
    "availability_zones": ["us-east-1b", "us-east-1c", "us-east-1d"],
}
"""Every key of the configuration that has nothing to do with where requests go."""


def test_routing_stays_the_same_byte_for_byte_whatever_else_changes(prod: Synthesis, variation: Variation) -> None:
    """CloudFormation sends a changed resource as a whole, and so would undo a shift of the live weights."""
    synthesis = variation("everything-else", **UNRELATED)

    assert synthesis.files["Routing"].read_bytes() == prod.files["Routing"].read_bytes()


@pytest.mark.parametrize(
    "name", ["Network", "Database", "Replication", "FrontDoor", "Compute", "Observability", "Backup"]
)
def test_what_else_changes_does_change_the_other_templates(prod: Synthesis, variation: Variation, name: str) -> None:
    synthesis = variation("everything-else", **UNRELATED)

    assert synthesis.files[name].read_bytes() != prod.files[name].read_bytes()


def test_routing_changes_with_what_it_is_made_of(prod: Synthesis, variation: Variation) -> None:
    synthesis = variation("another-host", domain__record_name="pay")

    assert synthesis.files["Routing"].read_bytes() != prod.files["Routing"].read_bytes()


def test_the_unrelated_changes_are_all_keys_but_those_of_routing_identity_and_tags(prod: Synthesis) -> None:
    """So that a key that is added later cannot be forgotten above."""
    related = {"name", "project", "account", "region", "tags", "domain", "legacy_endpoint"}
    touched = {key.partition("__")[0] for key in UNRELATED}

    assert touched | related == set(type(prod.config).model_fields)
