"""Do the rules bite? Break the real templates in one place and see whether the right rule fires.

Two kinds of mutants. Targeted ones say which rule has to fire on which resource. Blind ones know nothing of the
rules: they flip booleans, drop keys, conditions and relations, and open policies and address ranges wherever the
templates have such a thing, and any new finding counts. Their survivors show what the pack does not see.
"""

import argparse
import copy
import datetime
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import policy.rules  # noqa: F401  registers the rules
from policy.engine import EXPIRED_RULE, REGISTRY, UNUSED_RULE, Evaluation, evaluate
from policy.rules.access import SOURCE_AWARE, takes_no_resource
from policy.rules.monitoring import reports_stack_changes
from policy.rules.network import INTERFACES, POLICY_ABLE, service_of, subnets_of
from policy.rules.secrets import schedules_of
from policy.statements import RESOURCE_POLICIES
from policy.templates import NESTED_STACK, App, Resource, TemplateError, load

JSON: TypeAlias = Any


class Editor:
    """Changes copies of an app's templates; the originals stay as they are."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._changed: dict[Path, dict[str, Any]] = {}
        self._copied: set[int] = set()

    def resources(self, file: Path, template: Mapping[str, Any]) -> dict[str, Any]:
        """The resources of a template, free to be added to and taken from."""
        if file not in self._changed:
            self._changed[file] = {**template, "Resources": dict(template["Resources"])}
        found: dict[str, Any] = self._changed[file]["Resources"]
        return found

    def definition(self, resource: Resource) -> dict[str, Any]:
        """The definition of a resource, free to be changed."""
        resources = self.resources(resource.stack.file, resource.stack.template)
        if id(resource) not in self._copied:
            self._copied.add(id(resource))
            resources[resource.logical_id] = copy.deepcopy(resources[resource.logical_id])
        found: dict[str, Any] = resources[resource.logical_id]
        return found

    def put(self, resource: Resource, path: str, value: JSON) -> None:
        place, last = self._walk(resource, path, make=True)
        if isinstance(place, list) and last == len(place):
            place.append(value)
        else:
            place[last] = value

    def remove(self, resource: Resource, path: str) -> bool:
        """Whether there was something to remove."""
        try:
            place, last = self._walk(resource, path, make=False)
            del place[last]
        except (KeyError, IndexError, TypeError):
            return False
        return True

    def drop(self, resource: Resource) -> None:
        self.resources(resource.stack.file, resource.stack.template).pop(resource.logical_id, None)

    def retain_nothing(self, resource: Resource) -> None:
        self.definition(resource)["DeletionPolicy"] = "Delete"

    def app(self) -> App:
        return self._app.with_templates(self._changed)

    def _walk(self, resource: Resource, path: str, *, make: bool) -> tuple[Any, Any]:
        definition = self.definition(resource)
        place: Any = definition.setdefault("Properties", {})
        keys = path.split(".")
        for key in keys[:-1]:
            if isinstance(place, list):
                place = place[int(key)]
            elif make:
                place = place.setdefault(key, {})
            else:
                place = place[key]
        last = keys[-1]
        return place, int(last) if isinstance(place, list) else last


Change: TypeAlias = Callable[[Editor, Resource, App], bool]
"""Breaks something about a resource; False when there is nothing of the kind to break."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A way to break what one rule guards."""

    rule_id: str
    title: str
    change: Change


def put(path: str, value: JSON) -> Change:
    def change(editor: Editor, resource: Resource, _app: App) -> bool:
        editor.put(resource, path, value)
        return True

    return change


def remove(*paths: str) -> Change:
    def change(editor: Editor, resource: Resource, _app: App) -> bool:
        return all(editor.remove(resource, path) for path in paths)

    return change


def drop_referrers(*types: str) -> Change:
    """Delete every resource of these types that refers to the resource, in any stack."""

    def change(editor: Editor, resource: Resource, app: App) -> bool:
        found = app.referrers(resource, *types)
        for other in found:
            editor.drop(other)
        return bool(found)

    return change


def in_target(property_name: str, change_target: Change, *types: str) -> Change:
    """Change the resource that a property names instead."""

    def change(editor: Editor, resource: Resource, app: App) -> bool:
        target = app.target(resource[property_name], *types)
        return target is not None and change_target(editor, target, app)

    return change


def in_referrers(change_other: Change, *types: str) -> Change:
    """Change every resource of these types that refers to the resource instead."""

    def change(editor: Editor, resource: Resource, app: App) -> bool:
        changed = [change_other(editor, other, app) for other in app.referrers(resource, *types)]
        return any(changed)

    return change


def attribute(key: str, value: str) -> Change:
    """Set an attribute of a load balancer or target group."""

    def change(editor: Editor, resource: Resource, _app: App) -> bool:
        attributes = editor.definition(resource)["Properties"].setdefault("LoadBalancerAttributes", [])
        attributes[:] = [entry for entry in attributes if entry["Key"] != key]
        attributes.append({"Key": key, "Value": value})
        return True

    return change


def each_statement(path: str, edit: Callable[[dict[str, Any]], bool]) -> Change:
    """Edit the statements of a policy document; done when at least one was edited."""

    def change(editor: Editor, resource: Resource, _app: App) -> bool:
        document: Any = editor.definition(resource)["Properties"]
        for key in path.split("."):
            if not isinstance(document, dict) or key not in document:
                return False
            document = document[key]
        statements = document.get("Statement", []) if isinstance(document, dict) else []
        statements = statements if isinstance(statements, list) else [statements]
        edited = [edit(statement) for statement in statements]
        return any(edited)

    return change


def _no_condition_for_service(statement: dict[str, Any]) -> bool:
    principal = statement.get("Principal")
    for_service = isinstance(principal, dict) and "Service" in principal
    return for_service and statement.pop("Condition", None) is not None


def _no_condition_for_source_aware(statement: dict[str, Any]) -> bool:
    principal = statement.get("Principal")
    service = principal.get("Service", "") if isinstance(principal, dict) else ""
    return str(service).startswith(SOURCE_AWARE) and statement.pop("Condition", None) is not None


def _set(key: str, value: JSON) -> Callable[[dict[str, Any]], bool]:
    def edit(statement: dict[str, Any]) -> bool:
        if statement.get("Effect") != "Allow":
            return False
        statement[key] = value
        return True

    return edit


def _deny_nothing(statement: dict[str, Any]) -> bool:
    if statement.get("Effect") == "Deny":
        statement["Effect"] = "Allow"
        return True
    return False


def _append(path: str, value: JSON) -> Change:
    def change(editor: Editor, resource: Resource, _app: App) -> bool:
        place: Any = editor.definition(resource)["Properties"]
        for key in path.split("."):
            place = place.setdefault(key, []) if isinstance(place, dict) else place[int(key)]
        if isinstance(place, list):
            place.append(value)
            return True
        return False

    return change


def _retain_nothing(editor: Editor, resource: Resource, _app: App) -> bool:
    editor.retain_nothing(resource)
    return True


def _container(key: str, value: JSON) -> Change:
    return put(f"ContainerDefinitions.0.{key}", value)


def _rule_of_group(direction: str, value: JSON) -> Change:
    """Replace what a rule of a security group admits, inline or as a resource of its own."""

    def change(editor: Editor, resource: Resource, _app: App) -> bool:
        if resource.type == "AWS::EC2::SecurityGroup":
            editor.put(resource, f"SecurityGroup{direction}", [value])
            return True
        for key in ("CidrIp", "SourceSecurityGroupId", "DestinationSecurityGroupId", "SourcePrefixListId",
                    "DestinationPrefixListId", "Description"):  # fmt: skip
            editor.remove(resource, key)
        for key, entry in value.items():
            editor.put(resource, key, entry)
        return True

    return change


def _open_route(editor: Editor, resource: Resource, app: App) -> bool:
    """Give the first subnet of the resource a route to an internet gateway."""
    gateways = app.of_type("AWS::EC2::InternetGateway")
    for _, subnet in subnets_of(resource, app):
        for association in app.referrers(subnet, "AWS::EC2::SubnetRouteTableAssociation"):
            table = app.target(association["RouteTableId"], "AWS::EC2::RouteTable")
            if table is None or not gateways or table.stack is not gateways[0].stack:
                continue
            resources = editor.resources(table.stack.file, table.stack.template)
            resources["MutantRoute"] = {
                "Type": "AWS::EC2::Route",
                "Properties": {
                    "RouteTableId": {"Ref": table.logical_id},
                    "DestinationCidrBlock": "0.0.0.0/0",
                    "GatewayId": {"Ref": gateways[0].logical_id},
                },
            }
            return True
    return False


def _no_tag(key: str) -> Change:
    def change(editor: Editor, resource: Resource, _app: App) -> bool:
        properties = editor.definition(resource)["Properties"]
        for name in ("Tags", "BackupVaultTags"):
            tags = properties.get(name)
            if isinstance(tags, list):
                properties[name] = [tag for tag in tags if tag["Key"] != key]
                return True
            if isinstance(tags, dict):
                tags.pop(key, None)
                return True
        return False

    return change


_PARAMETERS = "DBClusterParameterGroupName"
_OPEN_INGRESS = {"IpProtocol": "tcp", "FromPort": 3306, "ToPort": 3306, "CidrIp": "0.0.0.0/0", "Description": "mutant"}
_WIDE = {"IpProtocol": "-1", "CidrIp": "10.0.0.0/8", "Description": "mutant"}
_SHELL = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "52.0.0.0/16", "Description": "mutant"}
_MUTE = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "SourceSecurityGroupId": "sg-1"}
_OUT = {"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}
_ANYBODY = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}


def _parameter(name: str, value: str | None) -> Change:
    edit = remove(f"Parameters.{name}") if value is None else put(f"Parameters.{name}", value)
    return in_target(_PARAMETERS, edit)


def _grant(path: str, statement: dict[str, Any]) -> Change:
    def change(editor: Editor, resource: Resource, app: App) -> bool:
        if resource.type in ("AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group"):
            entry = {"PolicyName": "mutant", "PolicyDocument": {"Statement": [statement]}}
            return _append("Policies", entry)(editor, resource, app)
        return _append(path, statement)(editor, resource, app)

    return change


def _allow(**statement: JSON) -> Change:
    return _grant("PolicyDocument.Statement", {"Effect": "Allow", **statement})


CATALOGUE: Final = tuple(
    Mutation(rule_id, title, change)
    for rule_id, title, change in (
        ("DatabaseStorageEncrypted", "encryption off", put("StorageEncrypted", False)),
        ("DatabaseCustomerManagedKey", "key removed", remove("KmsKeyId")),
        ("PerformanceInsightsCustomerManagedKey", "AWS's key", lambda editor, place, _app: _aws_key(editor, place)),
        ("BucketEncrypted", "encryption removed", remove("BucketEncryption")),
        ("TableCustomerManagedKey", "key removed", remove("SSESpecification")),
        ("LogGroupCustomerManagedKey", "key removed", remove("KmsKeyId")),
        ("SecretCustomerManagedKey", "key removed", remove("KmsKeyId")),
        ("TopicCustomerManagedKey", "AWS's key", put("KmsMasterKeyId", "alias/aws/sns")),
        ("QueueCustomerManagedKey", "key removed", remove("KmsMasterKeyId")),
        ("VaultCustomerManagedKey", "key removed", remove("EncryptionKeyArn")),
        ("ReplicationCustomerManagedKey", "key removed", remove("KmsKeyId")),
        ("ContainerStorageCustomerManagedKey", "key removed", remove("Configuration.ManagedStorageConfiguration")),
        ("KeyRotated", "rotation off", put("EnableKeyRotation", False)),
        ("KeyPolicyNotPublic", "everybody admitted", each_statement("KeyPolicy", _set("Principal", "*"))),
        ("KeyPolicyNotPublic", "everybody added", _append("KeyPolicy.Statement", _ANYBODY)),
        (
            "KeyPolicyLeastPrivilege",
            "every action for a role",
            _append(
                "KeyPolicy.Statement",
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": "arn:aws:iam::111122223333:role/app"},
                    "Action": "kms:*",
                    "Resource": "*",
                },
            ),
        ),
        ("KeyPolicyServiceBound", "conditions dropped", each_statement("KeyPolicy", _no_condition_for_service)),
        ("KeyDeletionDelayed", "seven days", put("PendingWindowInDays", 7)),
        ("KeyRetained", "deleted with the stack", _retain_nothing),
        ("KeyEnabled", "disabled", put("Enabled", False)),
        (
            "LogGroupKeyAdmitsLogs",
            "key policy emptied",
            in_target("KmsKeyId", put("KeyPolicy.Statement", []), "AWS::KMS::Key"),
        ),
        (
            "TopicKeyAdmitsPublishers",
            "key policy emptied",
            in_target("KmsMasterKeyId", put("KeyPolicy.Statement", []), "AWS::KMS::Key"),
        ),
        ("ListenerEncrypted", "plain HTTP", put("Protocol", "TCP")),
        ("ListenerTlsPolicy", "policy removed", remove("SslPolicy")),
        ("ListenerTlsPolicy", "TLS 1.0 admitted", put("SslPolicy", "ELBSecurityPolicy-2016-08")),
        ("ListenerCertificate", "no certificate", remove("Certificates")),
        ("CertificateKeyStrong", "short key", put("KeyAlgorithm", "RSA_1024")),
        ("CertificateRenewsItself", "by e-mail", put("ValidationMethod", "EMAIL")),
        ("TargetGroupEncrypted", "plain HTTP", put("Protocol", "HTTP")),
        ("DatabaseRequiresTls", "TLS optional", _parameter("require_secure_transport", "OFF")),
        ("DatabaseRequiresTls", "no parameter group", remove(_PARAMETERS)),
        ("DatabaseTlsVersion", "TLS 1.0", _parameter("tls_version", "TLSv1,TLSv1.2")),
        ("DatabaseTlsVersion", "server's default", _parameter("tls_version", None)),
        ("ReplicationEndpointTls", "no TLS", put("SslMode", "none")),
        ("ReplicationEndpointTls", "certificate unchecked", put("SslMode", "require")),
        ("ReplicationEndpointCertificate", "no authority", remove("CertificateArn")),
        ("BucketRefusesPlainHttp", "policy dropped", drop_referrers("AWS::S3::BucketPolicy")),
        (
            "BucketRefusesPlainHttp",
            "denial turned round",
            in_referrers(each_statement("PolicyDocument", _deny_nothing), "AWS::S3::BucketPolicy"),
        ),
        ("TopicRefusesPlainHttp", "policy dropped", drop_referrers("AWS::SNS::TopicPolicy")),
        ("QueueRefusesPlainHttp", "policy dropped", drop_referrers("AWS::SQS::QueuePolicy")),
        ("SubscriptionEncrypted", "plain HTTP", put("Protocol", "http")),
        ("HealthCheckEncrypted", "plain HTTP", put("HealthCheckConfig.Type", "HTTP")),
        ("InboundNotOpen", "database port open", _rule_of_group("Ingress", _OPEN_INGRESS)),
        ("AdministrationPortsClosed", "SSH open", _rule_of_group("Ingress", _SHELL)),
        ("InboundPortsNamed", "all ports", _rule_of_group("Ingress", _WIDE)),
        ("InboundPurposeStated", "no description", _rule_of_group("Ingress", _MUTE)),
        ("OutboundRestricted", "everything may leave", _rule_of_group("Egress", _OUT)),
        ("SubnetNoPublicAddress", "public addresses", put("MapPublicIpOnLaunch", True)),
        ("FlowLogsComplete", "flow log dropped", drop_referrers("AWS::EC2::FlowLog")),
        ("FlowLogsComplete", "accepted only", in_referrers(put("TrafficType", "ACCEPT"), "AWS::EC2::FlowLog")),
        ("WorkloadInPrivateSubnet", "route to the internet", _open_route),
        ("DatabaseSubnetIsolated", "route to the internet", _open_route),
        (
            "TaskNoPublicAddress",
            "public address",
            put("NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp", "ENABLED"),
        ),
        ("FunctionInVpc", "outside", remove("VpcConfig")),
        ("EndpointPolicyRestricted", "no policy", lambda editor, place, _app: _no_endpoint_policy(editor, place)),
        ("EndpointPolicyRestricted", "everything", put("PolicyDocument", {"Statement": [_ANYBODY]})),
        ("EndpointPrivateNames", "public names", put("PrivateDnsEnabled", False)),
        ("InternetGatewayNeeded", "nothing public", lambda editor, place, app: _make_internal(editor, place, app)),
        (
            "BalancerDropsInvalidHeaders",
            "passed on",
            attribute("routing.http.drop_invalid_header_fields.enabled", "false"),
        ),
        ("BalancerDesyncMitigation", "monitor", attribute("routing.http.desync_mitigation_mode", "monitor")),
        ("DatabaseNotPublic", "public", put("PubliclyAccessible", True)),
        ("ReplicationNotPublic", "public", put("PubliclyAccessible", True)),
        ("BucketBlocksPublicAccess", "block removed", remove("PublicAccessBlockConfiguration")),
        ("BucketOwnerEnforced", "lists on", remove("OwnershipControls")),
        (
            "ResourcePolicyNotPublic",
            "everybody added",
            lambda editor, place, app: _open_policy(editor, place, app),
        ),
        (
            "ResourcePolicyServiceBound",
            "unbound service added",
            lambda editor, place, app: _unbound_service(editor, place, app),
        ),
        ("FunctionPermissionBound", "source removed", lambda editor, place, _app: _unbind(editor, place)),
        ("FunctionPermissionBound", "everybody", put("Principal", "*")),
        ("PublicBalancerBehindWaf", "association dropped", drop_referrers("AWS::WAFv2::WebACLAssociation")),
        ("RecoveryPointsUndeletable", "deletion allowed", remove("AccessPolicy")),
        ("PolicyNotAdministrator", "administrator", _allow(Action="*", Resource="*")),
        ("PolicyActionsNamed", "whole service", _allow(Action="s3:*", Resource="arn:aws:s3:::one")),
        ("PolicyResourcesNamed", "all resources", _allow(Action="secretsmanager:GetSecretValue", Resource="*")),
        ("PassRoleRestricted", "any role", _allow(Action="iam:PassRole", Resource="*")),
        ("PolicyNoEscalation", "attach any policy", _allow(Action="iam:AttachRolePolicy", Resource="*")),
        ("PolicyNotInverted", "all but IAM", _allow(NotAction="iam:*", Resource="arn:aws:s3:::one")),
        (
            "RoleTrustNamed",
            "everybody",
            each_statement("AssumeRolePolicyDocument", _set("Principal", {"AWS": "*"})),
        ),
        (
            "RoleTrustServiceBound",
            "conditions dropped",
            each_statement("AssumeRolePolicyDocument", _no_condition_for_source_aware),
        ),
        (
            "RoleWithoutPowerfulPolicy",
            "administrator",
            put("ManagedPolicyArns", ["arn:aws:iam::aws:policy/AdministratorAccess"]),
        ),
        ("TaskRolesSeparated", "no role of its own", remove("TaskRoleArn")),
        ("FunctionRoleOwn", "another's role", lambda editor, place, app: _share_role(editor, place, app)),
        ("DatabaseIamAuthentication", "off", put("EnableIAMDatabaseAuthentication", False)),
        ("SecretRotated", "schedule dropped", lambda editor, place, app: _drop_schedules(editor, place, app)),
        ("SecretRotationInterval", "every 90 days", put("RotationRules", {"AutomaticallyAfterDays": 90})),
        (
            "SecretRotationPermitted",
            "permission dropped",
            in_target("RotationLambdaARN", drop_referrers("AWS::Lambda::Permission"), "AWS::Lambda::Function"),
        ),
        ("SecretPasswordStrong", "eight characters", put("GenerateSecretString.PasswordLength", 8)),
        ("SecretNoLiteral", "literal", put("SecretString", '{"password":"correct horse"}')),
        ("DatabasePasswordFromSecret", "literal", put("MasterUserPassword", "correct-horse-battery")),
        ("ReplicationPasswordFromSecret", "literal", put("Password", "correct-horse-battery")),
        ("EnvironmentNoCredentials", "password", lambda editor, place, app: _leak(editor, place, app)),
        ("TemplateNoCredentials", "access key", put("Mutant", "AKIA" + "IOSFODNN7EXAMPLE")),
        ("ParameterNotStoredPlain", "password", put("Name", "/payments/password")),
        ("SecretUsed", "users dropped", lambda editor, place, app: _drop_users(editor, place, app)),
        ("LogGroupRetention", "three months", put("RetentionInDays", 90)),
        ("LogGroupRetention", "for ever", remove("RetentionInDays")),
        ("LogGroupRetained", "deleted with the stack", _retain_nothing),
        (
            "LogBucketRetention",
            "three months",
            put("LifecycleConfiguration", {"Rules": [{"Status": "Enabled", "ExpirationInDays": 90}]}),
        ),
        ("LogBucketLocked", "no lock", remove("ObjectLockEnabled")),
        ("LogBucketLocked", "no retention", remove("ObjectLockConfiguration")),
        ("BucketVersioned", "suspended", put("VersioningConfiguration.Status", "Suspended")),
        ("BucketAccessLogged", "not logged", remove("LoggingConfiguration")),
        ("BalancerAccessLogs", "off", attribute("access_logs.s3.enabled", "false")),
        ("WafLogged", "logging dropped", drop_referrers("AWS::WAFv2::LoggingConfiguration")),
        ("DatabaseAudited", "audit off", _parameter("server_audit_logging", "0")),
        ("DatabaseAudited", "sign-ins only", _parameter("server_audit_events", "CONNECT")),
        ("DatabaseLogsExported", "no export", remove("EnableCloudwatchLogsExports")),
        ("DatabaseGeneralLogOff", "general log on", _parameter("general_log", "1")),
        ("StateMachineLogged", "off", put("LoggingConfiguration.Level", "OFF")),
        ("ContainerLogged", "no log", remove("ContainerDefinitions.0.LogConfiguration")),
        ("ShellIntoContainerLogged", "shell unrecorded", lambda editor, place, app: _shell(editor, place, app)),
        ("FunctionLogGroupOwned", "Lambda's own group", remove("LoggingConfig")),
        ("ReplicationLogged", "no log", put("ReplicationTaskSettings", '{"Logging": {"EnableLogging": false}}')),
        (
            "ReplicationLogsNoRows",
            "debug",
            put(
                "ReplicationTaskSettings",
                '{"Logging": {"EnableLogging": true, "LogComponents": '
                '[{"Id": "TARGET_APPLY", "Severity": "LOGGER_SEVERITY_DETAILED_DEBUG"}]}}',
            ),
        ),
        ("ZoneQueriesLogged", "not logged", remove("QueryLoggingConfig")),
        ("AlarmActs", "no action", lambda editor, place, app: _silence(editor, place, app)),
        ("AlertTopicHasSubscriber", "subscriptions dropped", drop_referrers("AWS::SNS::Subscription")),
        ("RotationFailureAlarmed", "alarms dropped", drop_referrers("AWS::CloudWatch::Alarm")),
        ("BackupFailureReported", "no notification", remove("Notifications")),
        ("WafAlarmed", "alarms dropped", lambda editor, _place, app: _drop_waf_alarms(editor, app)),
        ("StateMachineFailureAlarmed", "alarms dropped", lambda editor, place, app: _drop_watchers(editor, place, app)),
        ("StateMachineCustomerManagedKey", "key removed", remove("EncryptionConfiguration")),
        ("StoreEncrypted", "encryption off", put("Encrypted", False)),
        ("StreamEncrypted", "encryption removed", remove("StreamEncryption")),
        ("CacheAndSearchTls", "TLS off", put("TransitEncryptionEnabled", False)),
        ("EdgeTlsVersion", "TLS 1.0", put("SecurityPolicy", "TLS_1_0")),
        ("NetworkAclNoOpenAdministration", "everything", lambda editor, place, _app: _open_acl(editor, place)),
        ("FunctionUrlAuthenticated", "anybody", put("AuthType", "NONE")),
        ("ApiMethodAuthorized", "anybody", put("AuthorizationType", "NONE")),
        ("ApiAccessLogged", "not logged", remove("AccessLogSetting")),
        ("SecretPolicyBlocksPublic", "not checked", remove("BlockPublicPolicy")),
        ("EndpointServiceAccepts", "by itself", put("AcceptanceRequired", False)),
        ("TrailComplete", "one region", put("IsMultiRegionTrail", False)),
        ("TrailTamperEvident", "no digests", put("EnableLogFileValidation", False)),
        ("DetectorEnabled", "off", put("Enable", False)),
        ("InstanceMetadataTokens", "no tokens", put("LaunchTemplateData.MetadataOptions.HttpTokens", "optional")),
        ("ShellSessionTimeout", "an hour", put("Content.inputs.idleSessionTimeout", "60")),
        ("NoLongLivedKeys", "password", put("LoginProfile", {"Password": "example"})),
        ("TaskVolumeEncrypted", "plain NFS", put("Volumes.0.EFSVolumeConfiguration.TransitEncryption", "DISABLED")),
        ("DeadLettersAlarmed", "alarms dropped", drop_referrers("AWS::CloudWatch::Alarm")),
        (
            "DatabaseEnhancedMonitoring",
            "off",
            lambda editor, place, app: _no_monitoring(editor, place, app),
        ),
        ("AlertDeliveryLogged", "not logged", remove("DeliveryStatusLogging")),
        ("EventSubscriptionEnabled", "off", put("Enabled", False)),
        ("EventRuleActs", "off", put("State", "DISABLED")),
        ("EventRuleActs", "no target", put("Targets", [])),
        ("StackChangeReported", "rules dropped", lambda editor, _place, app: _untold(editor, app, _drop)),
        (
            "StackChangeReported",
            "rules off",
            lambda editor, _place, app: _untold(editor, app, put("State", "DISABLED")),
        ),
        (
            "StackChangeReported",
            "deletions only",
            lambda editor, _place, app: _untold(
                editor, app, put("EventPattern.detail.status-details.status", ["DELETE_COMPLETE"])
            ),
        ),
        ("DatabaseInBackupPlan", "selection dropped", lambda editor, _place, app: _drop_selections(editor, app)),
        ("BackupPlanFrequentAndKept", "one day", put("BackupPlan.BackupPlanRule.0.Lifecycle.DeleteAfterDays", 1)),
        ("DatabaseBackupRetention", "one day", put("BackupRetentionPeriod", 1)),
        ("DeletionProtected", "off", lambda editor, place, app: _unprotect(editor, place, app)),
        ("StoreSurvivesStack", "deleted with the stack", _retain_nothing),
        (
            "TablePointInTimeRecovery",
            "off",
            put("PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled", False),
        ),
        ("DatabaseSessionTimeout", "eight hours", _parameter("interactive_timeout", "28800")),
        ("BalancerIdleTimeout", "over an hour", attribute("idle_timeout.timeout_seconds", "4000")),
        ("ComponentTagged", "no environment", _no_tag("Environment")),
        ("TasksInheritTags", "no propagation", put("PropagateTags", "NONE")),
        ("SecurityGroupDescribed", "nothing said", put("GroupDescription", "sg")),
        ("FunctionDescribed", "nothing said", remove("Description")),
        ("SnapshotsInheritTags", "off", put("CopyTagsToSnapshot", False)),
        ("FunctionEnvironmentCustomerManagedKey", "key removed", remove("KmsKeyArn")),
        (
            "ResourcePolicyActionsNamed",
            "any action for a service",
            lambda e, place, app: _unbound_service(e, place, app),
        ),
        ("WafManagedRules", "rules removed", put("Rules", [])),
        ("WafManagedRules", "one removed", lambda editor, place, _app: _fewer_managed_rules(editor, place)),
        ("WafBlocks", "only counts", put("Rules.0.OverrideAction", {"Count": {}})),
        ("WafRateLimit", "rules removed", put("Rules", [])),
        ("WafMeasured", "no metrics", put("VisibilityConfig.CloudWatchMetricsEnabled", False)),
        ("FunctionRuntimeSupported", "past its end", put("Runtime", "python3.8")),
        ("DatabaseEngineSupported", "past its end", put("EngineVersion", "5.7.mysql_aurora.2.11.1")),
        ("DatabaseEngineSupported", "left open", remove("EngineVersion")),
        ("MinorUpgradesAutomatic", "off", put("AutoMinorVersionUpgrade", False)),
        ("ImageImmutable", "latest", _container("Image", "payments:latest")),
        ("ContainerReadOnly", "writable", _container("ReadonlyRootFilesystem", False)),
        ("ContainerNotRoot", "root", _container("User", "root")),
        ("ContainerNotPrivileged", "privileged", _container("Privileged", True)),
        ("TaskNamespacesOwn", "host's processes", put("PidMode", "host")),
        ("RepositoryImmutable", "mutable", put("ImageTagMutability", "MUTABLE")),
        ("RepositoryScanned", "no scan", remove("ImageScanningConfiguration")),
        ("PlatformCurrent", "old platform", put("PlatformVersion", "1.3.0")),
        ("DatabaseNoLocalInfile", "on", _parameter("local_infile", "1")),
        ("DefaultSecurityGroupUnused", "no groups", lambda editor, place, _app: _no_groups(editor, place)),
    )
)
"""Ways to break what a rule guards, each to be tried on every resource that the rule passes."""


def _open_acl(editor: Editor, entry: Resource) -> bool:
    for key, value in (("CidrBlock", "0.0.0.0/0"), ("Protocol", -1)):
        editor.put(entry, key, value)
    return True


def _drop(editor: Editor, place: Resource, _app: App) -> bool:
    editor.drop(place)
    return True


def _untold(editor: Editor, app: App, change_rule: Change) -> bool:
    """Change every rule of EventBridge that reports changes of stacks, and tell no topic of a nested one."""
    for stack in app.of_type(NESTED_STACK):
        editor.remove(stack, "NotificationARNs")
    rules = [event_rule for event_rule in app.of_type("AWS::Events::Rule") if reports_stack_changes(event_rule)]
    changed = [change_rule(editor, event_rule, app) for event_rule in rules]
    return any(changed)


def _drop_watchers(editor: Editor, machine: Resource, app: App) -> bool:
    watchers = app.referrers(machine, "AWS::CloudWatch::Alarm") + [
        event_rule for event_rule in app.of_type("AWS::Events::Rule") if "aws.states" in event_rule["EventPattern"].text
    ]
    for watcher in watchers:
        editor.drop(watcher)
    return bool(watchers)


def _aws_key(editor: Editor, database: Resource) -> bool:
    cluster = database.type.endswith("Cluster")
    editor.put(database, f"PerformanceInsights{'Kms' if cluster else 'KMS'}KeyId", "alias/aws/rds")
    return True


def _fewer_managed_rules(editor: Editor, acl: Resource) -> bool:
    for index, entry in enumerate(acl["Rules"].items()):
        if entry["Statement.ManagedRuleGroupStatement.Name"].text == "AWSManagedRulesCommonRuleSet":
            return editor.remove(acl, f"Rules.{index}")
    return False


def _no_endpoint_policy(editor: Editor, endpoint: Resource) -> bool:
    # Of the services that are not known to take a policy, none is asked for.
    return service_of(endpoint) in POLICY_ABLE and editor.remove(endpoint, "PolicyDocument")


def _make_internal(editor: Editor, _attachment: Resource, app: App) -> bool:
    balancers = app.of_type("AWS::ElasticLoadBalancingV2::LoadBalancer")
    for balancer in balancers:
        editor.put(balancer, "Scheme", "internal")
    for gateway in app.of_type("AWS::EC2::NatGateway"):
        editor.drop(gateway)
    return bool(balancers)


def _open_policy(editor: Editor, place: Resource, app: App) -> bool:
    path = RESOURCE_POLICIES[place.type]
    if place[path].missing:
        editor.put(place, path, {"Statement": [_ANYBODY]})
        return True
    return _append(f"{path}.Statement", _ANYBODY)(editor, place, app)


def _unbound_service(editor: Editor, place: Resource, app: App) -> bool:
    path = RESOURCE_POLICIES[place.type]
    statement = {"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "*", "Resource": "*"}
    if place[path].missing:
        editor.put(place, path, {"Statement": [statement]})
        return True
    return _append(f"{path}.Statement", statement)(editor, place, app)


def _unbind(editor: Editor, permission: Resource) -> bool:
    removed = [editor.remove(permission, key) for key in ("SourceArn", "SourceAccount")]
    return any(removed)


def _share_role(editor: Editor, function: Resource, app: App) -> bool:
    others = [o for o in app.of_type("AWS::Lambda::Function") if o is not function and o.stack is function.stack]
    if not others:
        return False
    editor.put(others[0], "Role", editor.definition(function)["Properties"]["Role"])
    return True


def _drop_schedules(editor: Editor, secret: Resource, app: App) -> bool:
    schedules = schedules_of(secret, app)
    for schedule in schedules:
        editor.drop(schedule)
    return bool(schedules)


def _drop_users(editor: Editor, secret: Resource, app: App) -> bool:
    attachments = app.referrers(secret, "AWS::SecretsManager::SecretTargetAttachment")
    users = {id(other): other for place in (secret, *attachments) for other in app.referrers(place)}
    for other in users.values():
        editor.drop(other)
    return bool(users)


def _leak(editor: Editor, place: Resource, _app: App) -> bool:
    if place.type == "AWS::Lambda::Function":
        editor.put(place, "Environment.Variables.DB_PASSWORD", "horse")
    elif place.type == "AWS::ECS::TaskDefinition":
        editor.put(place, "ContainerDefinitions.0.Environment", [{"Name": "DB_PASSWORD", "Value": "horse"}])
    else:
        return False
    return True


def _shell(editor: Editor, service: Resource, app: App) -> bool:
    editor.put(service, "EnableExecuteCommand", True)
    cluster = app.target(service["Cluster"], "AWS::ECS::Cluster")
    if cluster is not None:
        editor.remove(cluster, "Configuration.ExecuteCommandConfiguration")
    return True


def _silence(editor: Editor, alarm: Resource, app: App) -> bool:
    editor.put(alarm, "AlarmActions", [])
    for other in app.referrers(alarm):
        editor.drop(other)
    return True


def _drop_waf_alarms(editor: Editor, app: App) -> bool:
    alarms = [a for a in app.of_type("AWS::CloudWatch::Alarm") if a["Namespace"].text == "AWS/WAFV2"]
    for alarm in alarms:
        editor.drop(alarm)
    return bool(alarms)


def _no_monitoring(editor: Editor, database: Resource, app: App) -> bool:
    editor.put(database, "MonitoringInterval", 0)
    return True


def _drop_selections(editor: Editor, app: App) -> bool:
    selections = app.of_type("AWS::Backup::BackupSelection")
    for selection in selections:
        editor.drop(selection)
    return bool(selections)


def _unprotect(editor: Editor, place: Resource, app: App) -> bool:
    if place.type == "AWS::ElasticLoadBalancingV2::LoadBalancer":
        return attribute("deletion_protection.enabled", "false")(editor, place, app)
    editor.put(
        place, "DeletionProtectionEnabled" if place.type == "AWS::DynamoDB::Table" else "DeletionProtection", False
    )
    return True


def _no_groups(editor: Editor, place: Resource) -> bool:
    return editor.remove(place, INTERFACES[place.type])


EXPLAINED: Final = tuple(
    (re.compile(what), re.compile(type_), reason)
    for what, type_, reason in (
        (r"widen KeyPolicy\.Statement\.0\.Action", "KMS::Key", "the account itself has every action already"),
        (r"widen PolicyDocument\.Statement\.\d\.Action", "VPCEndpoint", "its resources stay named"),
        (
            r"widen .*Resource$",
            "TopicPolicy|QueuePolicy|BucketPolicy|BackupVault",
            "a resource's policy reaches no other resource",
        ),
        (r"widen .*Action$", "BucketPolicy", "only the owner's account or reading of the ACL is meant"),
        (r"remove .*Condition$", "IAM::(Managed)?Policy", "a further bound where the resources are named already"),
        (r"remove .*Condition$", "BucketPolicy", "the path with the account's number binds it as well"),
        (r"remove key KmsKeyArn", "Lambda::Function", "the function has no environment to encrypt"),
        (r"flip .*ExcludePunctuation", "Secret", "length is asked for, punctuation is not"),
        (r"set DeletionPolicy", "SubnetGroup|Policy|Role|LogStream", "holds no data"),
        (r"flip (EnablePerformanceInsights|PerformanceInsightsEnabled)", "RDS", "a means of diagnosis, not a control"),
        (r"flip (AllowMajorVersionUpgrade|MultiAZ|AutoMinorVersionUpgrade)", "DMS", "availability and timing"),
        (r"flip WriterAtCreation", "Custom", "says which database starts as the writer"),
        (r"flip EnableDns", "EC2::VPC", "without names nothing is reached at all"),
        (r"flip .*SampledRequests", "WAFv2", "samples may hold what clients sent; they are not asked for"),
        (r"flip .*(Stickiness|TargetGroupAttributes)", "ElasticLoadBalancing", "routing of traffic"),
        (r"flip .*LoadBalancerAttributes", "ElasticLoadBalancing", "routing of traffic"),
        (r"flip .*(EvaluateTargetHealth|EnableSNI)", "Route53", "routing of traffic"),
        (r"flip .*(DeploymentConfiguration|Essential|InitProcess|MountPoints)", "ECS", "how tasks start and stop"),
        (r"flip .*ReturnData", "Alarm", "which of two series is shown"),
        (r"flip .*EnableContinuousBackup", "BackupPlan", "daily points are kept besides"),
        (r"remove Parameters\.(binlog|auto_increment|slow|long|log_output|time_zone)", "RDS", "replication, diagnosis"),
        (r"remove Parameters\.(general_log|local_infile)", "RDS", "off unless it is turned on"),
        (r"remove key .*ReusePeriod", "StateMachine", "how often the same data key is used"),
        (r"flip (LoggingConfiguration|TracingConfiguration)", "StateMachine", "how much of an execution is shown"),
        (r"drop resource", "DMS::EventSubscription", "tells of the replication, whose alarms stay"),
    )
)
"""Blind mutants that change no control of the standard: what was done, on which type, and why that is so."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mutation on one resource, and whether it was noticed."""

    title: str
    resource: Resource
    rule_id: str
    killed: bool

    @property
    def explanation(self) -> str:
        """Why a blind mutant need not be noticed; "" when nobody has said so."""
        for what, type_, reason in EXPLAINED:
            if what.match(self.title) and type_.search(self.resource.type):
                return reason
        return ""


@dataclass(slots=True)
class Score:
    """Mutants with their fate, and the rules that had nothing to be tried on."""

    mutants: list[Mutant] = field(default_factory=list)
    without_resource: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        return sum(mutant.killed for mutant in self.mutants)

    @property
    def survivors(self) -> list[Mutant]:
        return [mutant for mutant in self.mutants if not mutant.killed]

    @property
    def unexplained(self) -> list[Mutant]:
        return [mutant for mutant in self.survivors if not mutant.explanation]

    @property
    def rules_tried(self) -> set[str]:
        return {mutant.rule_id for mutant in self.mutants}

    def __str__(self) -> str:
        share = 100 * self.killed / len(self.mutants) if self.mutants else 0
        explained = len(self.survivors) - len(self.unexplained)
        return (
            f"{self.killed} of {len(self.mutants)} mutants noticed ({share:.1f} %), {explained} survivors explained, "
            f"{len(self.unexplained)} not"
        )


def _evaluated(app: App, rule_ids: Sequence[str], today: datetime.date) -> Evaluation:
    return evaluate(app, REGISTRY.select(rule_ids), today=today)


def _seen(evaluation: Evaluation) -> set[tuple[str, str, str, str]]:
    """What identifies a finding, whoever accepts it."""
    return {
        (finding.id, finding.resource.stack.name, finding.resource.logical_id, finding.seen)
        for finding in (*evaluation.findings, *evaluation.acknowledged)
    }


def targeted(app: App, *, today: datetime.date, each: int | None = None) -> Score:
    """Try every mutation of the catalogue on every resource that its rule passes, or on the first `each` of them."""
    score = Score()
    by_rule: dict[str, list[Mutation]] = {}
    for mutation in CATALOGUE:
        by_rule.setdefault(mutation.rule_id, []).append(mutation)
    for rule_id in REGISTRY.rules:
        if rule_id in (EXPIRED_RULE, UNUSED_RULE):
            continue
        before = _evaluated(app, [rule_id], today)
        seen = _seen(before)
        passing = [outcome.resource for outcome in before.outcomes if not outcome.findings]
        if not passing:
            score.without_resource.append(rule_id)
        for mutation in by_rule.get(rule_id, ()):
            tried = 0
            for resource in passing:
                editor = Editor(app)
                if tried == each or not mutation.change(editor, resource, app):
                    continue
                tried += 1
                after = _evaluated(editor.app(), [rule_id], today)
                killed = bool(_seen(after) - seen)
                score.mutants.append(Mutant(mutation.title, resource, rule_id, killed))
    return score


BlindChange: TypeAlias = tuple[str, str, Callable[[dict[str, Any]], None]]
"""What was done, the place without list positions, and the change of the definition."""


def blind(app: App, *, today: datetime.date, each: int = 2) -> Score:
    """Break whatever looks like a control, `each` times per kind of resource and place; any new finding counts."""
    everything = [rule_id for rule_id in REGISTRY.rules if rule_id != UNUSED_RULE]
    seen = _seen(_evaluated(app, everything, today))
    score = Score()
    tried: dict[tuple[str, str, str], int] = {}
    for resource in app.resources:
        for operator, place, change in _blind_changes(resource):
            key = (operator, resource.type, place)
            if tried.get(key, 0) >= each:
                continue
            tried[key] = tried.get(key, 0) + 1
            editor = Editor(app)
            if operator == "drop resource":
                editor.drop(resource)
            else:
                change(editor.definition(resource))
            killed = bool(_seen(_evaluated(editor.app(), everything, today)) - seen)
            score.mutants.append(Mutant(f"{operator} {place}".strip(), resource, "", killed))
    return score


_CONTROLS: Final = (
    "AWS::SecretsManager::RotationSchedule", "AWS::WAFv2::WebACLAssociation", "AWS::WAFv2::LoggingConfiguration",
    "AWS::EC2::FlowLog", "AWS::Backup::BackupSelection", "AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy",
    "AWS::SNS::Subscription", "AWS::SQS::QueuePolicy", "AWS::DMS::EventSubscription",
)  # fmt: skip


def _blind_changes(resource: Resource) -> Iterator[BlindChange]:
    if resource.type in _CONTROLS:
        yield "drop resource", "", lambda definition: None
    if resource.deletion_policy in ("Retain", "Snapshot"):
        yield "set", "DeletionPolicy Delete", lambda definition: definition.update(DeletionPolicy="Delete")
    yield from _in_properties(resource.definition.get("Properties", {}), ())


def _in_properties(value: Any, path: tuple[str | int, ...]) -> Iterator[BlindChange]:
    if isinstance(value, dict):
        for key, item in value.items():
            here = (*path, key)
            if isinstance(item, bool):
                yield "flip", _name(here), _setter(here, not item)
            elif item in ("true", "false"):
                yield "flip", _name(here), _setter(here, "false" if item == "true" else "true")
            elif "Kms" in key or "KMS" in key or key == "EncryptionKeyArn":
                yield "remove key", _name(here), _remover(here)
            elif key == "Condition" and isinstance(item, dict) and "Effect" in value:
                yield "remove", _name(here), _remover(here)
            elif key in ("Resource", "Action") and _grants_more(value, key):
                yield "widen", _name(here), _setter(here, "*")
            elif key in ("CidrIp", "SourceSecurityGroupId", "DestinationSecurityGroupId") and item != "0.0.0.0/0":
                yield "open", _name(here), _opener(path)
            elif key in ("RetentionInDays", "BackupRetentionPeriod", "DeleteAfterDays"):
                yield "shorten", _name(here), _setter(here, 1)
            elif key == "Parameters" and not path and isinstance(item, dict) and "Family" in value:
                for name in item:
                    yield "remove", _name((*here, name)), _remover((*here, name))
            if key != "Parameters":
                yield from _in_properties(item, here)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _in_properties(item, (*path, index))


def _grants_more(statement: Mapping[str, Any], key: str) -> bool:
    """Whether a star for `key` would let the statement reach further."""
    if statement.get("Effect") != "Allow" or statement[key] == "*":
        return False
    actions = statement.get("Action", [])
    actions = actions if isinstance(actions, list) else [actions]
    return key == "Action" or not all(isinstance(a, str) and takes_no_resource(a) for a in actions)


def _name(path: tuple[str | int, ...]) -> str:
    """The place as a pattern; which of the statements of a policy it is stays to be told apart."""
    return ".".join(
        "*" if isinstance(part, int) and path[index - 1] != "Statement" else str(part)
        for index, part in enumerate(path)
    )


def _parent(definition: dict[str, Any], path: tuple[str | int, ...]) -> Any:
    place: Any = definition["Properties"]
    for part in path[:-1]:
        place = place[part]
    return place


def _setter(path: tuple[str | int, ...], value: JSON) -> Callable[[dict[str, Any]], None]:
    def change(definition: dict[str, Any]) -> None:
        _parent(definition, path)[path[-1]] = value

    return change


def _remover(path: tuple[str | int, ...]) -> Callable[[dict[str, Any]], None]:
    def change(definition: dict[str, Any]) -> None:
        del _parent(definition, path)[path[-1]]

    return change


def _opener(path: tuple[str | int, ...]) -> Callable[[dict[str, Any]], None]:
    def change(definition: dict[str, Any]) -> None:
        place: Any = definition["Properties"]
        for part in path:
            place = place[part]
        for key in ("CidrIp", "SourceSecurityGroupId", "DestinationSecurityGroupId"):
            place.pop(key, None)
        place["CidrIp"] = "0.0.0.0/0"

    return change


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both scores for the templates at a path, with the survivors."""
    parser = argparse.ArgumentParser(prog="mutations", description=__doc__)
    parser.add_argument("path", type=Path)
    options = parser.parse_args(arguments)
    try:
        app = load(options.path)
    except TemplateError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    today = datetime.datetime.now(datetime.UTC).date()
    aimed, unaimed = targeted(app, today=today), blind(app, today=today)
    for name, score in (("Targeted", aimed), ("Blind", unaimed)):
        print(f"{name}: {score}.")
        for mutant in score.survivors:
            why = mutant.explanation or "NOT EXPLAINED"
            what = f"{mutant.rule_id} {mutant.title}".strip()
            print(f"  survived: {what} on {mutant.resource.type} {mutant.resource.path}: {why}")
    print(f"Rules tried on the templates: {len(aimed.rules_tried)}; by their examples only:")
    untried = [rule_id for rule_id in REGISTRY.rules if rule_id not in aimed.rules_tried]
    print("  " + ", ".join(untried))
    return 0


if __name__ == "__main__":
    sys.exit(main())
