"""The local AWS as a program: ministack, and what the templates need that it has not got.

    python -m rehearsal.local_aws.additions SETTINGS.json

Everything that reaches into ministack's private parts is in this module, and requirements-dev.in pins ministack's
version for that reason. What is added:

- provisioners of resource types that its CloudFormation does not know; those of ELBv2 and DMS call moto, because
  ministack drops the weights of a listener rule and has no DMS;
- clusters that lead to real database servers, and functions that trust these servers' authority;
- the permissions of roles, as far as ministack knows what a request is about;
- a clock for functions and alarms that can run faster than ours;
- alarms over metric math, by dimension, over missing data; the trimmed count as statistic;
- what exists before a deployment: the hosted zone and the secrets of the on-premises database.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from uuid import uuid4

import boto3
import pymysql
from botocore.config import Config

from rehearsal.clock import LONGEST_REAL_SLEEP_SECONDS, Clock
from rehearsal.local_aws.alarm_evaluation import calculate, next_state, window
from rehearsal.local_aws.master_user import make_master
from rehearsal.local_aws.settings import REGION, Server, Settings

Properties = dict[str, Any]
Created = tuple[str, dict[str, Any]]
"""Physical id, and the attributes that Fn::GetAtt finds."""

RECORDED_ONLY: Final = (
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::DMS::Certificate",
    "AWS::DMS::EventSubscription",
    "AWS::EC2::TransitGatewayAttachment",
    "AWS::SecretsManager::RotationSchedule",
    "AWS::WAFv2::LoggingConfiguration",
)
"""Types that no service here can create: they are in the stack, have an id, and do nothing."""

NESTED_STACK: Final = "AWS::CloudFormation::Stack"

ALARM_SECONDS: Final = 2.0
"""How often alarms look at their metrics without being told of a new value."""

ASSUMED: Final = "ASIA"
"""How the access keys of roles begin, those of functions among them; other keys are the account's own here."""

UNKNOWN_RESOURCES: Final = ("ecs:DescribeServices", "route53:GetChange")
"""Actions that ministack does not judge by the resource that AWS does: by the cluster, and by none."""

UNKNOWN_CONDITIONS: Final = ("cloudwatch:namespace", "iam:passedtoservice", "kms:viaservice")
"""Keys of a request that ministack does not know, in lower case; what asks for them is taken to be met."""

_OVER_TLS: Final = "aws:securetransport"

SHORTEST_TICK_SECONDS: Final = 0.5
"""Between two looks at the rules that run every so often, however fast the clock runs."""

_TAGS: Final = {"Tags", "HealthCheckTags"}
_TRIMMED_COUNT: Final = re.compile(r"TC\((?P<low>\d+(\.\d+)?)?:(?P<high>\d+(\.\d+)?)?\)")


class Provisioner:
    """A resource type: how to create and delete it, and which changes need a new one.

    Args:
        create: gets the logical id, the properties and the name of the stack.
        delete: gets the physical id and the properties.
        update: changes it in place: gets the physical id and the new properties, and returns the attributes.
        create_only: properties whose change makes a new resource; all of them when there is no ``update``.
        sends_all: a change of the tags sends the other properties again, too.
    """

    def __init__(
        self,
        create: Callable[[str, Properties, str], Created],
        delete: Callable[[str, Properties], None],
        *,
        update: Callable[[str, Properties], dict[str, Any]] | None = None,
        create_only: tuple[str, ...] = (),
        sends_all: bool = False,
    ) -> None:
        self._create = create
        self._delete = delete
        self._update = update
        self._create_only = create_only
        self._sends_all = sends_all

    def handlers(self) -> dict[str, Any]:
        """The entry of ministack's table."""
        return {
            "create": self._create,
            "update": self._change,
            "update_with_logical_id": True,
            "delete": self._delete,
        }

    def _change(self, physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str) -> Created:
        changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        if changed <= _TAGS and not self._sends_all:
            return physical_id, {}
        if self._update is None or changed & set(self._create_only):
            # The engine deletes the one before when the update is through, as CloudFormation does.
            return self._create(logical_id, new, stack)
        return physical_id, self._update(physical_id, new)


def tell_provisioners(settings: Settings) -> None:
    """Add to the table of provisioners what it has not got."""
    from ministack.services.cloudformation import provisioners

    table = provisioners._RESOURCE_HANDLERS
    ours = {
        **{name: Provisioner(_record(name), lambda *_: None) for name in RECORDED_ONLY},
        **_network_types(),
        **_other_types(),
        **BalancerTypes(settings).every(),
        **ReplicationTypes(settings).every(),
        "AWS::CloudWatch::CompositeAlarm": _composite_alarms(),
    }
    table.update({name: provisioner.handlers() for name, provisioner in ours.items()})
    _delete_nested_stacks_by_policy(table)
    _keep_attributes_in_nested_stacks()
    _tell_of_stacks()
    _refer_to_secrets_by_arn(table)
    _lead_clusters_to_servers(table, settings)
    _let_functions_trust(table, settings.ca_path)
    _let_alarms_calculate(settings.clock)


def _record(kind: str) -> Callable[[str, Properties, str], Created]:
    short = kind.rsplit("::", 1)[-1].lower()

    def create(logical_id: str, _: Properties, stack: str) -> Created:
        return f"{short}-{logical_id}-{uuid4().hex[:8]}", {}

    return create


def _done(response: tuple[Any, ...]) -> bytes:
    """The body of an answer of one of ministack's operations.

    Raises:
        ValueError: it refused; the reason becomes the resource's event.
    """
    status, _, body = response[:3]
    text = body if isinstance(body, bytes) else str(body).encode()
    if status >= 400:
        raise ValueError(text.decode(errors="replace"))
    return text


def _found(pattern: str, body: bytes) -> str:
    match = re.search(pattern, body.decode())
    if match is None:
        raise ValueError(f"{pattern} is not in the answer {body!r}")
    return match[1]


# Network.


def _network_types() -> dict[str, Provisioner]:
    from ministack.services import ec2

    def allocate(_: str, props: Properties, __: str) -> Created:
        allocation = _found("<allocationId>(.*?)<", _done(ec2._allocate_address({"Domain": "vpc"})))
        address = ec2._addresses[allocation]["PublicIp"]
        return address, {"AllocationId": allocation, "PublicIp": address}

    def release(physical_id: str, _: Properties) -> None:
        for allocation, address in list(ec2._addresses.items()):
            if address["PublicIp"] == physical_id:
                _done(ec2._release_address({"AllocationId": allocation}))

    def open_gateway(_: str, props: Properties, __: str) -> Created:
        wanted = {"SubnetId": props["SubnetId"], "AllocationId": props["AllocationId"]}
        gateway = _found("<natGatewayId>(.*?)<", _done(ec2._create_nat_gateway(wanted)))
        return gateway, {"NatGatewayId": gateway}

    def close_gateway(physical_id: str, _: Properties) -> None:
        _done(ec2._delete_nat_gateway({"NatGatewayId": physical_id}))

    def log_flow(_: str, props: Properties, __: str) -> Created:
        wanted = {
            "ResourceId.1": props["ResourceId"],
            "ResourceType": props["ResourceType"],
            "TrafficType": props["TrafficType"],
            "LogDestinationType": props["LogDestinationType"],
            "LogGroupName": props["LogGroupName"],
        }
        flow_log = _found("<item>(fl-.*?)<", _done(ec2._create_flow_logs(wanted)))
        return flow_log, {"Id": flow_log}

    def stop_log(physical_id: str, _: Properties) -> None:
        _done(ec2._delete_flow_logs({"FlowLogId.1": physical_id}))

    def rule(direction: str) -> Provisioner:
        authorize = ec2._authorize_sg_ingress if direction == "Ingress" else ec2._authorize_sg_egress
        revoke = ec2._revoke_sg_ingress if direction == "Ingress" else ec2._revoke_sg_egress

        def create(logical_id: str, props: Properties, stack: str) -> Created:
            wanted = _permission(props)
            rule_id = _found("<securityGroupRuleId>(.*?)<", _done(authorize(wanted)))
            return rule_id, {"Id": rule_id}

        def delete(_: str, props: Properties) -> None:
            # It goes with its group.
            if props["GroupId"] in ec2._security_groups:
                _done(revoke(_permission(props)))

        return Provisioner(create, delete)

    return {
        "AWS::EC2::EIP": Provisioner(allocate, release),
        "AWS::EC2::NatGateway": Provisioner(open_gateway, close_gateway),
        "AWS::EC2::FlowLog": Provisioner(log_flow, stop_log),
        "AWS::EC2::SecurityGroupIngress": rule("Ingress"),
        "AWS::EC2::SecurityGroupEgress": rule("Egress"),
    }


def _permission(props: Properties) -> dict[str, str]:
    """A rule of a security group as parameters of the request."""
    wanted = {"GroupId": props["GroupId"], "IpPermissions.1.IpProtocol": str(props["IpProtocol"])}
    for name in ("FromPort", "ToPort"):
        if name in props:
            wanted[f"IpPermissions.1.{name}"] = str(props[name])
    for names, key in (
        (("CidrIp",), "IpRanges.1.CidrIp"),
        (("CidrIpv6",), "Ipv6Ranges.1.CidrIpv6"),
        (("SourceSecurityGroupId", "DestinationSecurityGroupId"), "Groups.1.GroupId"),
        (("SourcePrefixListId", "DestinationPrefixListId"), "PrefixListIds.1.PrefixListId"),
    ):
        for name in names:
            if name in props:
                wanted[f"IpPermissions.1.{key}"] = props[name]
    return wanted


# Services that have the resource, but not for CloudFormation.


def _other_types() -> dict[str, Provisioner]:
    from ministack.services import backup, route53, waf

    def check_health(logical_id: str, props: Properties, stack: str) -> Created:
        check = str(uuid4())
        reference = f"{stack}/{logical_id}/{check}"
        with route53._lock:
            route53._health_checks[check] = {
                "id": check,
                "caller_reference": reference,
                "config": dict(props["HealthCheckConfig"]),
                "version": 1,
            }
            route53._hc_caller_refs[reference] = check
        return check, {"HealthCheckId": check}

    def forget_health(physical_id: str, _: Properties) -> None:
        route53._delete_health_check(physical_id)

    def select(_: str, props: Properties, __: str) -> Created:
        answer = json.loads(_done(backup._create_selection(props["BackupPlanId"], props)))
        return f"{props['BackupPlanId']}_{answer['SelectionId']}", {"Id": answer["SelectionId"]}

    def deselect(physical_id: str, _: Properties) -> None:
        plan, selection = physical_id.rsplit("_", 1)
        backup._delete_selection(plan, selection)

    def associate(_: str, props: Properties, __: str) -> Created:
        _done(waf._associate_web_acl({"WebACLArn": props["WebACLArn"], "ResourceArn": props["ResourceArn"]}))
        return f"{props['WebACLArn']}|{props['ResourceArn']}", {}

    def part(_: str, props: Properties) -> None:
        waf._disassociate_web_acl({"ResourceArn": props["ResourceArn"]})

    return {
        "AWS::Route53::HealthCheck": Provisioner(check_health, forget_health),
        "AWS::Backup::BackupSelection": Provisioner(select, deselect),
        "AWS::WAFv2::WebACLAssociation": Provisioner(associate, part),
    }


# The load balancer, which is moto's.


def _moto(settings: Settings, service: str) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=settings.balancer_url,
        region_name=REGION,
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - moto takes any
        config=Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=5, read_timeout=20),
    )


def _called(logical_id: str, *, most: int = 32) -> str:
    """A generated name, unlike any before, so that a resource can be made beside the one that it replaces."""
    return f"{logical_id[: most - 13]}-{uuid4().hex[:12]}"


class BalancerTypes:
    """Types of ELBv2. moto has subnets of its own, so the load balancer lies in these; nothing else differs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._elbv2 = _moto(settings, "elbv2")

    def every(self) -> dict[str, Provisioner]:
        prefix = "AWS::ElasticLoadBalancingV2::"
        return {
            f"{prefix}LoadBalancer": Provisioner(
                self._create_balancer,
                lambda arn, _: self._elbv2.delete_load_balancer(LoadBalancerArn=arn),
                update=self._update_balancer,
                create_only=("Scheme", "Type", "Name"),
            ),
            f"{prefix}TargetGroup": Provisioner(
                self._create_group,
                lambda arn, _: self._elbv2.delete_target_group(TargetGroupArn=arn),
                update=self._update_group,
                create_only=("Port", "Protocol", "TargetType", "VpcId", "Name"),
            ),
            f"{prefix}Listener": Provisioner(
                self._create_listener,
                lambda arn, _: self._elbv2.delete_listener(ListenerArn=arn),
                update=self._update_listener,
                create_only=("LoadBalancerArn",),
            ),
            f"{prefix}ListenerRule": Provisioner(
                self._create_rule,
                lambda arn, _: self._elbv2.delete_rule(RuleArn=arn),
                update=self._update_rule,
                create_only=("ListenerArn",),
                # The worst that CloudFormation may do to weights that were shifted.
                sends_all=True,
            ),
        }

    def _create_balancer(self, logical_id: str, props: Properties, stack: str) -> Created:
        subnets = _moto(self._settings, "ec2").describe_subnets()["Subnets"]
        [made] = self._elbv2.create_load_balancer(
            Name=props.get("Name") or _called(logical_id),
            Subnets=[each["SubnetId"] for each in subnets[: len(props["Subnets"])]],
            SecurityGroups=props.get("SecurityGroups", []),
            Scheme=props["Scheme"],
            Type=props["Type"],
            Tags=props.get("Tags", []),
        )["LoadBalancers"]
        return made["LoadBalancerArn"], self._update_balancer(made["LoadBalancerArn"], props)

    def _update_balancer(self, arn: str, props: Properties) -> dict[str, Any]:
        self._elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=props["LoadBalancerAttributes"])
        [found] = self._elbv2.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"]
        return {
            "LoadBalancerArn": arn,
            "DNSName": found["DNSName"],
            "CanonicalHostedZoneID": found["CanonicalHostedZoneId"],
            "LoadBalancerFullName": arn.partition(":loadbalancer/")[2],
            "LoadBalancerName": found["LoadBalancerName"],
        }

    def _create_group(self, logical_id: str, props: Properties, stack: str) -> Created:
        [vpc] = _moto(self._settings, "ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        [made] = self._elbv2.create_target_group(
            Name=props.get("Name") or _called(logical_id),
            VpcId=vpc["VpcId"],
            Tags=props.get("Tags", []),
            **{key: props[key] for key in ("Protocol", "Port", "TargetType")},
            **self._health(props),
        )["TargetGroups"]
        return made["TargetGroupArn"], self._group_attributes(made["TargetGroupArn"], props)

    def _health(self, props: Properties) -> dict[str, Any]:
        keys = [key for key in props if key.startswith("HealthCheck") or key.endswith("ThresholdCount")]
        return {key: props[key] for key in (*keys, "Matcher") if key in props}

    def _update_group(self, arn: str, props: Properties) -> dict[str, Any]:
        self._elbv2.modify_target_group(TargetGroupArn=arn, **self._health(props))
        return self._group_attributes(arn, props)

    def _group_attributes(self, arn: str, props: Properties) -> dict[str, Any]:
        self._elbv2.modify_target_group_attributes(
            TargetGroupArn=arn, Attributes=props.get("TargetGroupAttributes", [])
        )
        full_name = arn.rpartition(":")[2]
        return {
            "TargetGroupArn": arn,
            "TargetGroupFullName": full_name,
            "TargetGroupName": full_name.split("/")[1],
        }

    def _listener(self, props: Properties) -> dict[str, Any]:
        taken = ("Port", "Protocol", "DefaultActions", "SslPolicy")
        wanted: dict[str, Any] = {key: props[key] for key in taken if key in props}
        if "Certificates" in props:
            wanted["Certificates"] = [{"CertificateArn": self._certificate()}]
        return wanted

    def _certificate(self) -> str:
        """moto wants the certificate in its own ACM, which chooses the ARN."""
        acm = _moto(self._settings, "acm")
        for each in acm.list_certificates()["CertificateSummaryList"]:
            if each["DomainName"] == self._settings.zone_name:
                return str(each["CertificateArn"])
        return str(acm.request_certificate(DomainName=self._settings.zone_name)["CertificateArn"])

    def _create_listener(self, _: str, props: Properties, __: str) -> Created:
        [made] = self._elbv2.create_listener(
            LoadBalancerArn=props["LoadBalancerArn"], Tags=props.get("Tags", []), **self._listener(props)
        )["Listeners"]
        return made["ListenerArn"], {"ListenerArn": made["ListenerArn"]}

    def _update_listener(self, arn: str, props: Properties) -> dict[str, Any]:
        self._elbv2.modify_listener(ListenerArn=arn, **self._listener(props))
        return {"ListenerArn": arn}

    def _create_rule(self, _: str, props: Properties, __: str) -> Created:
        [made] = self._elbv2.create_rule(
            ListenerArn=props["ListenerArn"],
            Conditions=props["Conditions"],
            Actions=props["Actions"],
            Priority=int(props["Priority"]),
            Tags=props.get("Tags", []),
        )["Rules"]
        return made["RuleArn"], {"RuleArn": made["RuleArn"], "IsDefault": False}

    def _update_rule(self, arn: str, props: Properties) -> dict[str, Any]:
        # The whole rule, as CloudFormation sends it: a change of any property resets the weights.
        self._elbv2.modify_rule(RuleArn=arn, Conditions=props["Conditions"], Actions=props["Actions"])
        [rule] = self._elbv2.describe_rules(RuleArns=[arn])["Rules"]
        if rule["Priority"] != str(props["Priority"]):
            # moto takes a rule's own priority for one that is in use.
            self._elbv2.set_rule_priorities(RulePriorities=[{"RuleArn": arn, "Priority": int(props["Priority"])}])
        return {"RuleArn": arn, "IsDefault": False}


# Replication, which is moto's.


def _no_effect(_: str, __: Properties) -> dict[str, Any]:
    """A change in place of something that moto records and cannot change."""
    return {}


class ReplicationTypes:
    """Types of DMS. The tasks have a status that can be started and stopped; the servers replicate by themselves."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._dms = _moto(settings, "dms")

    def every(self) -> dict[str, Provisioner]:
        dms = self._dms
        return {
            "AWS::DMS::ReplicationSubnetGroup": Provisioner(
                self._create_subnets,
                lambda name, _: dms.delete_replication_subnet_group(ReplicationSubnetGroupIdentifier=name),
                update=_no_effect,
            ),
            "AWS::DMS::ReplicationInstance": Provisioner(
                self._create_instance,
                lambda arn, _: dms.delete_replication_instance(ReplicationInstanceArn=arn),
                update=self._update_instance,
                create_only=("ReplicationInstanceIdentifier", "KmsKeyId", "ReplicationSubnetGroupIdentifier"),
            ),
            "AWS::DMS::Endpoint": Provisioner(
                self._create_endpoint,
                lambda arn, _: dms.delete_endpoint(EndpointArn=arn),
                update=_no_effect,
            ),
            "AWS::DMS::ReplicationTask": Provisioner(
                self._create_task,
                lambda arn, _: dms.delete_replication_task(ReplicationTaskArn=arn),
                update=self._update_task,
                create_only=("ReplicationTaskIdentifier",),
            ),
        }

    def _create_subnets(self, logical_id: str, props: Properties, stack: str) -> Created:
        name = _called(logical_id).lower()
        self._dms.create_replication_subnet_group(
            ReplicationSubnetGroupIdentifier=name,
            ReplicationSubnetGroupDescription=props["ReplicationSubnetGroupDescription"],
            SubnetIds=props["SubnetIds"],
        )
        return name, {}

    def _create_instance(self, _: str, props: Properties, __: str) -> Created:
        made = self._dms.create_replication_instance(
            ReplicationInstanceIdentifier=props["ReplicationInstanceIdentifier"], **self._instance(props)
        )
        return made["ReplicationInstance"]["ReplicationInstanceArn"], {}

    def _instance(self, props: Properties) -> dict[str, Any]:
        taken = ("ReplicationInstanceClass", "AllocatedStorage", "EngineVersion", "MultiAZ")
        return {key: props[key] for key in taken}

    def _update_instance(self, arn: str, props: Properties) -> dict[str, Any]:
        self._dms.modify_replication_instance(ReplicationInstanceArn=arn, **self._instance(props))
        return {}

    def _create_endpoint(self, logical_id: str, props: Properties, stack: str) -> Created:
        made = self._dms.create_endpoint(
            EndpointIdentifier=_called(logical_id),
            EndpointType=props["EndpointType"],
            EngineName=props["EngineName"],
            SslMode=props["SslMode"],
        )["Endpoint"]
        return made["EndpointArn"], {"ExternalId": ""}

    def _create_task(self, _: str, props: Properties, __: str) -> Created:
        taken = (
            "ReplicationTaskIdentifier",
            "SourceEndpointArn",
            "TargetEndpointArn",
            "ReplicationInstanceArn",
            "MigrationType",
            "TableMappings",
            "ReplicationTaskSettings",
        )
        made = self._dms.create_replication_task(**{key: props[key] for key in taken})
        return made["ReplicationTask"]["ReplicationTaskArn"], {}

    def _update_task(self, arn: str, _: Properties) -> dict[str, Any]:
        """moto cannot change a task; what is said of one that runs is what AWS says."""
        filters = [{"Name": "replication-task-arn", "Values": [arn]}]
        [found] = self._dms.describe_replication_tasks(Filters=filters)["ReplicationTasks"]
        if found["Status"] == "running":
            raise ValueError(f"Task {arn} cannot be modified while it is running (InvalidResourceStateFault)")
        return {}


# Where ministack's CloudFormation is not like AWS.


def _delete_nested_stacks_by_policy(table: dict[str, Any]) -> None:
    """A nested stack keeps what its template retains, and fails when something cannot be deleted."""
    from ministack.services import cloudformation
    from ministack.services.cloudformation import engine, provisioners, stacks

    def delete(physical_id: str, _: Properties) -> None:
        name = provisioners._nested_stack_lookup_name(physical_id)
        stack = cloudformation._stacks.get(name)
        if not stack:
            return
        template, resources = stack["_template"], stack["_resources"]
        failed = []
        for logical_id in reversed(engine._topological_sort(template["Resources"], stack["_conditions"])):
            resource = resources.get(logical_id)
            if resource is None:
                continue
            kind, found, props = (resource[key] for key in ("ResourceType", "PhysicalResourceId", "Properties"))
            policy = stacks._resource_policy(
                template["Resources"].get(logical_id),
                "DeletionPolicy",
                resources,
                stack["_resolved_params"],
                stack["_conditions"],
                template.get("Mappings", {}),
                name,
                physical_id,
            )
            event = partial(stacks._add_event, physical_id, name, logical_id, kind, physical_id=found)
            if policy in provisioners._RETAINING_POLICIES:
                event("DELETE_SKIPPED")
            else:
                try:
                    if policy == "Snapshot":
                        provisioners._snapshot_resource(kind, found, props)
                    provisioners._delete_resource(kind, found, props, name, logical_id)
                except Exception as error:
                    event("DELETE_FAILED", str(error))
                    failed.append(logical_id)
                    continue
                event("DELETE_COMPLETE")
            del resources[logical_id]
        stack["StackStatus"] = "DELETE_FAILED" if failed else "DELETE_COMPLETE"
        stacks._add_event(physical_id, name, name, NESTED_STACK, stack["StackStatus"])
        if failed:
            raise ValueError(f"The following resource(s) failed to delete: [{', '.join(failed)}].")

    table[NESTED_STACK] = {**table[NESTED_STACK], "delete": delete}


def _keep_attributes_in_nested_stacks() -> None:
    """What an update of a nested stack leaves alone keeps its attributes; ministack forgets them."""
    from ministack.services import cloudformation
    from ministack.services.cloudformation import provisioners

    ministacks = provisioners._update_resource

    def update(
        kind: str,
        physical_id: str,
        old: Properties,
        new: Properties,
        stack: str,
        logical_id: str | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> Created:
        if attributes is None:
            resources = (cloudformation._stacks.get(stack) or {}).get("_resources", {})
            attributes = resources.get(logical_id, {}).get("Attributes")
        updated, found = ministacks(kind, physical_id, old, new, stack, logical_id, attributes)
        return updated, found if found or updated != physical_id else (attributes or {})

    provisioners._update_resource = update


def _tell_of_stacks() -> None:
    """EventBridge hears of the status of every stack, nested ones too."""
    from ministack.services import eventbridge
    from ministack.services.cloudformation import stacks

    ministacks = stacks._add_event

    def add(
        stack_id: str,
        stack_name: str,
        logical_id: str,
        kind: str,
        status: str,
        reason: str = "",
        physical_id: str = "",
        detailed_status: str = "",
    ) -> None:
        ministacks(stack_id, stack_name, logical_id, kind, status, reason, physical_id, detailed_status)
        if kind != NESTED_STACK or logical_id != stack_name:
            return
        detail = {"stack-id": stack_id, "status-details": {"status": status, "status-reason": reason}}
        entry = {
            "Source": "aws.cloudformation",
            "DetailType": "CloudFormation Stack Status Change",
            "Detail": json.dumps(detail),
            "Resources": [stack_id],
        }
        eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)

    stacks._add_event = add


def _refer_to_secrets_by_arn(table: dict[str, Any]) -> None:
    """Ref of a secret is its ARN."""
    from ministack.services import secretsmanager

    ministacks = dict(table["AWS::SecretsManager::Secret"])

    def named(arn: str) -> str:
        key, _ = secretsmanager._resolve(arn)
        return str(key)

    def create(logical_id: str, props: Properties, stack: str) -> Created:
        _, attributes = ministacks["create"](logical_id, props, stack)
        return attributes["Arn"], attributes

    def update(arn: str, old: Properties, new: Properties, stack: str, logical_id: str) -> Created:
        _, attributes = ministacks["update"](named(arn), old, new, stack, logical_id)
        return attributes["Arn"], attributes

    def delete(arn: str, props: Properties) -> None:
        ministacks["delete"](named(arn), props)

    table["AWS::SecretsManager::Secret"] = {**ministacks, "create": create, "update": update, "delete": delete}


# Permissions.


def enforce_permissions() -> None:
    """Roles may do what their policies say, and nothing else. ministack does this when AUTH is set, for everybody.

    The deploying roles of the CDK are left out: what they may do is not ours. Requests come over plain HTTP here, and
    count as if they came over TLS.
    """
    from ministack.core import iam_evaluator
    from ministack.services import sts

    ministacks_enforce, ministacks_met = iam_evaluator.enforce, iam_evaluator._conditions_met

    def enforce(access_key: str, action: str, *request: Any, **named: Any) -> Any:
        role = str((sts._sessions.get(access_key) or {}).get("Arn", ""))
        if not access_key.startswith(ASSUMED) or "/cdk-" in role or action in UNKNOWN_RESOURCES:
            return None
        return ministacks_enforce(access_key, action, *request, **named)

    def met(conditions: Mapping[str, Mapping[str, Any]] | None, context: Any) -> bool:
        known: dict[str, dict[str, Any]] = {}
        for operator, keys in (conditions or {}).items():
            for key, expected in keys.items():
                if key.lower() == _OVER_TLS:
                    if "true" not in str(expected).lower():
                        return False
                elif key.lower() not in UNKNOWN_CONDITIONS:
                    known.setdefault(operator, {})[key] = expected
        return bool(ministacks_met(known, context))

    iam_evaluator.enforce = enforce
    iam_evaluator._conditions_met = met


# Clusters and functions.


def _lead_clusters_to_servers(table: dict[str, Any], settings: Settings) -> None:
    """The cluster's endpoint is a real server, and the server has the cluster's master user."""
    from ministack.services import rds
    from ministack.services.cloudformation import engine, provisioners

    ministacks = dict(table["AWS::RDS::DBCluster"])

    def create(logical_id: str, props: Properties, stack: str) -> Created:
        identifier, _ = ministacks["create"](logical_id, props, stack)
        return identifier, lead(identifier, props)

    def update(identifier: str, old: Properties, new: Properties, stack: str, logical_id: str) -> Created:
        changed, _ = ministacks["update"](identifier, old, new, stack, logical_id)
        return changed, lead(changed, new)

    def lead(identifier: str, props: Properties) -> dict[str, Any]:
        server = settings.clusters.get(identifier)
        if server is None:
            known = ", ".join(sorted(settings.clusters))
            raise ValueError(f"cluster {identifier} has no server here; there are servers for {known}")
        cluster = rds._clusters[identifier]
        cluster.update(Endpoint=server.host, ReaderEndpoint=server.host, Port=server.port)
        # In a nested stack ministack leaves references to secrets as they are.
        master, _ = engine._resolve_dynamic_references(
            {key: props[key] for key in ("MasterUsername", "MasterUserPassword")}
        )
        cluster["MasterUsername"] = master["MasterUsername"]
        with closing(_connect(server, settings.ca_path)) as connection:
            make_master(connection, master["MasterUsername"], master["MasterUserPassword"])
        attributes: dict[str, Any] = provisioners._rds_db_cluster_attrs(cluster)
        return attributes

    def delete(identifier: str, props: Properties) -> None:
        if rds._clusters.get(identifier, {}).get("DeletionProtection"):
            raise ValueError(f"Cannot delete protected Cluster {identifier}, please disable deletion protection")
        ministacks["delete"](identifier, props)

    table["AWS::RDS::DBCluster"] = {**ministacks, "create": create, "update": update, "delete": delete}


def _connect(server: Server, ca_path: Path) -> Any:
    return pymysql.connect(
        host=server.host,
        port=server.port,
        user=server.admin_username,
        password=server.admin_password,
        ssl_ca=str(ca_path),
        ssl_verify_cert=True,
        ssl_verify_identity=True,
        connect_timeout=10,
        read_timeout=30,
    )


def _let_functions_trust(table: dict[str, Any], ca_path: Path) -> None:
    """The layer trusts the authorities of RDS, at a path of /opt; here the servers have another authority."""
    ministacks = dict(table["AWS::Lambda::Function"])

    def changed(props: Properties) -> Properties:
        variables = props.get("Environment", {}).get("Variables", {})
        if "DATABASE_CA_PATH" not in variables:
            return props
        return {**props, "Environment": {"Variables": {**variables, "DATABASE_CA_PATH": str(ca_path)}}}

    def create(logical_id: str, props: Properties, stack: str) -> Created:
        made: Created = ministacks["create"](logical_id, changed(props), stack)
        return made

    def update(physical_id: str, old: Properties, new: Properties, stack: str, logical_id: str) -> Created:
        made: Created = ministacks["update"](physical_id, old, changed(new), stack, logical_id)
        return made

    table["AWS::Lambda::Function"] = {**ministacks, "create": create, "update": update}


def let_schedules_run_by(clock: Clock) -> None:
    """Rules of EventBridge that run every so often do so by the clock."""
    from ministack.services import eventbridge

    eventbridge._now_ts = clock.now
    eventbridge._SCHEDULER_TICK_INTERVAL = max(SHORTEST_TICK_SECONDS, clock.ours(eventbridge._SCHEDULER_TICK_INTERVAL))


def let_functions_run_by(clock: Clock) -> None:
    """Functions see the clock's time of day, and sleep by it when they wait for AWS.

    What polls a database sleeps less than a second, and measures by the monotonic clock: it runs in real time, as the
    databases do, and so does the time that a function has.
    """
    from ministack.core import lambda_runtime

    beginning = f"""
import time
_real_time, _real_sleep, _scale = time.time, time.sleep, {clock.scale!r}
time.time = lambda: {clock.origin!r} + (_real_time() - {clock.started!r}) * _scale
time.sleep = lambda seconds: _real_sleep(seconds if seconds < {LONGEST_REAL_SLEEP_SECONDS} else seconds / _scale)
"""
    script = lambda_runtime._PYTHON_WORKER_SCRIPT.replace("time.time()", "_real_time()")
    lambda_runtime._PYTHON_WORKER_SCRIPT = beginning + script


# Alarms.


def _composite_alarms() -> Provisioner:
    from ministack.services import cloudwatch

    def put(name: str, props: Properties) -> dict[str, Any]:
        _done(cloudwatch._put_composite_alarm({}, {**props, "AlarmName": name}, False, True))
        return {"Arn": cloudwatch._composite_alarms[name]["AlarmArn"]}

    def create(logical_id: str, props: Properties, stack: str) -> Created:
        name = props.get("AlarmName") or _called(logical_id, most=255)
        return name, put(name, props)

    return Provisioner(
        create,
        lambda name, _: cloudwatch._composite_alarms.pop(name, None),
        update=put,
        create_only=("AlarmName",),
    )


def _let_alarms_calculate(clock: Clock) -> None:
    """Alarms over several metrics, each of its own dimensions, with the rules for missing data."""
    from ministack.services import cloudwatch
    from ministack.services.cloudformation import provisioners

    ministacks_record = provisioners._cw_metric_alarm_record
    ministacks_value = cloudwatch._stat_value

    def record(name: str, props: Properties) -> dict[str, Any]:
        queries = props.get("Metrics") or [_as_query(props)]
        metric = next(each["MetricStat"] for each in queries if "MetricStat" in each)
        flat = {
            **{key: value for key, value in props.items() if key != "Metrics"},
            **{key: metric["Metric"][key] for key in ("Namespace", "MetricName")},
            "Dimensions": metric["Metric"].get("Dimensions", []),
            "Period": metric["Period"],
        }
        return {**ministacks_record(name, flat), "Metrics": queries}

    def value(stats: Mapping[str, float], statistic: str, points: Any = None) -> Any:
        trimmed = _TRIMMED_COUNT.fullmatch(statistic)
        if trimmed is None:
            return ministacks_value(stats, statistic, points)
        low, high = float(trimmed["low"] or "-inf"), float(trimmed["high"] or "inf")
        samples = cloudwatch._percentile_samples(points or [])
        return None if samples is None else float(sum(weight for each, weight in samples if low < each <= high))

    def evaluate(alarm: dict[str, Any]) -> None:
        state, reason = _evaluated(alarm, clock.now())
        old = alarm["StateValue"]
        if state == old:
            return
        alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=int(clock.now()))
        cloudwatch._record_history(alarm["AlarmName"], old, state, reason)
        cloudwatch._dispatch_alarm_actions(alarm, old, state, reason)
        cloudwatch._evaluate_parent_alarms(alarm)

    # All that it does with time is to ask for it.
    cloudwatch.time = SimpleNamespace(time=clock.now)
    provisioners._cw_metric_alarm_record = record
    cloudwatch._stat_value = value
    cloudwatch._evaluate_alarm = evaluate
    threading.Thread(target=_evaluate_again_and_again, daemon=True, name="alarms").start()


def _evaluate_again_and_again() -> None:
    from ministack import app
    from ministack.services import cloudwatch

    while True:
        time.sleep(ALARM_SECONDS)
        if app._MAIN_LOOP is not None:
            app._MAIN_LOOP.call_soon_threadsafe(cloudwatch._evaluate_all_alarms)


def _as_query(props: Properties) -> dict[str, Any]:
    metric = {key: props[key] for key in ("Namespace", "MetricName", "Dimensions") if key in props}
    statistic = props.get("ExtendedStatistic") or props.get("Statistic", "Average")
    return {
        "Id": "m1",
        "ReturnData": True,
        "MetricStat": {"Metric": metric, "Period": int(props.get("Period", 60)), "Stat": statistic},
    }


def _evaluated(alarm: dict[str, Any], now: float) -> tuple[str, str]:
    """The state of a metric alarm, and why."""
    period, count = int(alarm["Period"]), int(alarm["EvaluationPeriods"])
    queries = alarm.get("Metrics") or [_as_query(alarm)]
    series = {
        each["Id"]: _series(each["MetricStat"], now=now, period=period, count=count + 1)
        for each in queries
        if "MetricStat" in each
    }
    current = int(now // period) * period
    periods = window(now, period=period, count=count, with_current=any(current in values for values in series.values()))
    [answer] = [each for each in queries if each.get("ReturnData", True)]
    found = calculate(answer.get("Expression") or answer["Id"], series, periods=periods)
    values = [found.get(each) for each in periods]
    state = next_state(
        values,
        comparison=alarm["ComparisonOperator"],
        threshold=float(alarm["Threshold"]),
        datapoints_to_alarm=int(alarm.get("DatapointsToAlarm") or count),
        treat_missing_data=alarm["TreatMissingData"],
        state=alarm["StateValue"],
    )
    shown = ", ".join("no data" if each is None else f"{each:g}" for each in values)
    return state, f"Threshold crossed: {shown}; {alarm['ComparisonOperator']} {alarm['Threshold']:g}"


def _series(metric: Mapping[str, Any], *, now: float, period: int, count: int) -> dict[int, float]:
    from ministack.services import cloudwatch

    name = metric["Metric"]
    dimensions = cloudwatch._dims_key(cloudwatch._dims_from_list(name.get("Dimensions", [])))
    points = cloudwatch._metrics.get((name["Namespace"], name["MetricName"], dimensions)) or []
    first = int(now // period) * period - period * (count - 1)
    buckets: dict[int, list[Any]] = {}
    for point in points:
        if first <= point["Timestamp"] <= now:
            buckets.setdefault(int(point["Timestamp"] // period) * period, []).append(point)
    values = {
        at: cloudwatch._stat_value(cloudwatch._calc_stats(bucket), metric["Stat"], bucket)
        for at, bucket in buckets.items()
    }
    return {at: float(value) for at, value in values.items() if value is not None}


# What exists before a deployment.


def _make_what_exists(settings: Settings) -> None:
    from ministack.services import route53, secretsmanager

    zone = f"{settings.zone_name}."
    route53._zones[settings.hosted_zone_id] = {
        "id": settings.hosted_zone_id,
        "name": zone,
        "caller_reference": "exists before the deployment",
        "comment": "",
        "private": False,
        "vpcs": [],
    }
    route53._records[settings.hosted_zone_id] = route53._default_records(zone)
    for secret in settings.secrets:
        name = secret.arn.rpartition(":")[2].rpartition("-")[0]
        _done(secretsmanager._create_secret({"Name": name, "SecretString": secret.document}))
        # The stage names the ARN with its suffix, which the service would draw.
        secretsmanager._secrets[name]["ARN"] = secret.arn


def main() -> None:
    """Run until terminated."""
    settings = Settings.model_validate_json(Path(sys.argv[1]).read_text("utf-8"))
    sys.argv[1:] = []
    from ministack import app

    # Functions inherit the environment, and import nothing but what was deployed.
    os.environ.pop("PYTHONPATH", None)
    tell_provisioners(settings)
    enforce_permissions()
    let_functions_run_by(settings.clock)
    let_schedules_run_by(settings.clock)
    _make_what_exists(settings)
    app.main()


if __name__ == "__main__":
    os.umask(0o077)
    main()
