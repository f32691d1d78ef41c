"""Keys: who may use them, how they change, and how they end."""

from collections.abc import Iterator

from policy.engine import (
    Objection,
    expect,
    expect_true,
    get_att,
    objection,
    ref,
    resource,
    rule,
    varied,
    without,
)
from policy.statements import Statement, is_account_root, resource_statements
from policy.templates import App, Resource

ACCOUNT_ROOT = {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}

_DELEGATED = {"Effect": "Allow", "Principal": ACCOUNT_ROOT, "Action": "kms:*", "Resource": "*"}
_LOGS = {
    "Effect": "Allow",
    "Principal": {"Service": "logs.us-east-1.amazonaws.com"},
    "Action": ["kms:Encrypt*", "kms:Decrypt*", "kms:GenerateDataKey*"],
    "Resource": "*",
    "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": "arn:aws:logs:us-east-1:111122223333:*"}},
}
KEY = {
    "Key": {
        **resource(
            "AWS::KMS::Key",
            EnableKeyRotation=True,
            KeyPolicy={"Version": "2012-10-17", "Statement": [_DELEGATED, _LOGS]},
        ),
        "DeletionPolicy": "Retain",
    }
}

# Delivery from EventBridge to an encrypted topic fails, silently, when the key asks for a source account.
CONDITION_UNSUPPORTED = ("events.amazonaws.com",)

GUARDS = (
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceorgid",
    "aws:sourceorgpaths",
    "kms:viaservice",
    "kms:calleraccount",
    "kms:grantisforawsresource",
    "aws:principalorgid",
)


def guarded(statement: Statement) -> bool:
    """Whether a condition ties the statement to an account, an organization or a source."""
    keys = statement.condition_keys
    return any(key in GUARDS or key.startswith("kms:encryptioncontext") for key in keys)


def _symmetric(key: Resource, _app: App) -> bool:
    return key["KeySpec"].text in ("", "SYMMETRIC_DEFAULT") and key["Origin"].text in ("", "AWS_KMS")


@rule(
    id="KeyRotated",
    requirements=["3.7.4"],
    title="A key is rotated every year or more often.",
    why="A key has a life span; material that is replaced limits what one leak can open.",
    fix="Set EnableKeyRotation to true; RotationPeriodInDays, if set, to at most 365.",
    types=["AWS::KMS::Key"],
    applies=_symmetric,
    complies=[KEY, varied(KEY, "Key.RotationPeriodInDays", 180)],
    violates=[
        varied(KEY, "Key.EnableKeyRotation", False),
        without(KEY, "Key.EnableKeyRotation"),
        varied(KEY, "Key.RotationPeriodInDays", 2000),
    ],
)
def key_rotated(key: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_true(key["EnableKeyRotation"])
    period = key["RotationPeriodInDays"]
    yield from expect(period, "at most 365 days", lambda v: v.missing or (v.number is not None and v.number <= 365))


@rule(
    id="KeyPolicyNotPublic",
    requirements=["3.6.1.3", "7.3.3"],
    title="The policy of a key admits nobody in general.",
    why="As few as possible may use a key; a policy that names everybody leaves that to chance.",
    fix="Name the principals, or bind the statement to the account by kms:CallerAccount and kms:ViaService.",
    types=["AWS::KMS::Key"],
    complies=[
        KEY,
        varied(
            KEY,
            "Key.KeyPolicy.Statement.1",
            {
                **_LOGS,
                "Principal": "*",
                "Condition": {"StringEquals": {"kms:CallerAccount": "111122223333"}},
            },
        ),
    ],
    violates=[
        varied(KEY, "Key.KeyPolicy.Statement.0.Principal", "*"),
        varied(KEY, "Key.KeyPolicy.Statement.0.Principal", {"AWS": ["*"]}),
    ],
)
def key_policy_not_public(key: Resource, _app: App) -> Iterator[Objection]:
    for statement in resource_statements(key):
        if statement.allows and statement.for_everyone and not guarded(statement):
            yield objection(statement.view["Principal"], "principals by name, or a condition on the caller")


@rule(
    id="KeyPolicyLeastPrivilege",
    requirements=["3.6.1.3", "7.2.5"],
    title="The policy of a key gives every right to nobody but the account itself.",
    why="Who may use a key must not also be able to change its policy or schedule its deletion.",
    fix="Name the actions; leave kms:* to the root of the account, which only delegates to IAM policies.",
    types=["AWS::KMS::Key"],
    complies=[KEY],
    violates=[
        varied(KEY, "Key.KeyPolicy.Statement.1.Action", "kms:*"),
        varied(KEY, "Key.KeyPolicy.Statement.0.Principal", {"AWS": "arn:aws:iam::111122223333:role/app"}),
    ],
)
def key_policy_least_privilege(key: Resource, _app: App) -> Iterator[Objection]:
    for statement in resource_statements(key):
        if not statement.allows or not any(action in ("kms:*", "*") for action in statement.actions):
            continue
        others = [p for kind, p in statement.principals if kind != "AWS" or not is_account_root(p, key)]
        if others:
            yield objection(statement.view["Action"], "single actions", seen=f"kms:* for {', '.join(sorted(others))}")


@rule(
    id="KeyPolicyServiceBound",
    requirements=["3.6.1.3", "7.2.5"],
    title="An AWS service may use a key only on behalf of our own resources.",
    why="A service acts for every customer; without a condition another customer's resource could make it use "
    "our key (the confused deputy).",
    fix="Add aws:SourceAccount, aws:SourceArn, kms:ViaService or the encryption context as a condition. "
    "EventBridge is exempt: with a condition it drops what it should deliver.",
    types=["AWS::KMS::Key"],
    complies=[
        KEY,
        varied(
            KEY,
            "Key.KeyPolicy.Statement.1",
            {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "kms:Decrypt",
                "Resource": "*",
            },
        ),
    ],
    violates=[without(KEY, "Key.KeyPolicy.Statement.1.Condition")],
)
def key_policy_service_bound(key: Resource, _app: App) -> Iterator[Objection]:
    for statement in resource_statements(key):
        services = [s for s in statement.services if s not in CONDITION_UNSUPPORTED]
        if statement.allows and services and not guarded(statement):
            yield objection(
                statement.view["Condition"],
                "a condition on the source account, source ARN or encryption context",
                seen=f"none for {', '.join(sorted(services))}",
                detail=",".join(sorted(services)),
            )


@rule(
    id="KeyDeletionDelayed",
    requirements=["3.7.5"],
    title="A key that is to be deleted waits 30 days.",
    why="With the key, everything encrypted under it is gone for good; the wait is the time to notice a mistake.",
    fix="Leave PendingWindowInDays out, or set it to 30.",
    types=["AWS::KMS::Key"],
    complies=[KEY, varied(KEY, "Key.PendingWindowInDays", 30)],
    violates=[varied(KEY, "Key.PendingWindowInDays", 7)],
)
def key_deletion_delayed(key: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(
        key["PendingWindowInDays"], "30 days", lambda v: v.missing or (v.number is not None and v.number >= 30)
    )


@rule(
    id="KeyRetained",
    requirements=["3.7.5"],
    title="Deleting a stack does not delete its keys.",
    why="Snapshots, backups and logs outlive the stack and can be read only as long as their key exists.",
    fix="Set DeletionPolicy to Retain (removal_policy=RemovalPolicy.RETAIN in the CDK).",
    types=["AWS::KMS::Key"],
    complies=[KEY],
    violates=[{"Key": {**KEY["Key"], "DeletionPolicy": "Delete"}}, {"Key": resource("AWS::KMS::Key")}],
)
def key_retained(key: Resource, _app: App) -> Iterator[Objection]:
    if key.deletion_policy not in ("Retain", "RetainExceptOnCreate"):
        yield objection(key.properties, "DeletionPolicy Retain", seen=f"DeletionPolicy {key.deletion_policy}")


@rule(
    id="KeyEnabled",
    requirements=["3.7.3"],
    title="A key in use is enabled.",
    why="A disabled key makes the stores under it unreadable to their owners.",
    fix="Leave Enabled out, or set it to true.",
    types=["AWS::KMS::Key"],
    complies=[KEY],
    violates=[varied(KEY, "Key.Enabled", False)],
)
def key_enabled(key: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(key["Enabled"], "true", lambda v: v.missing or v.flag is True)


_LOGGED = {**KEY, "Log": resource("AWS::Logs::LogGroup", KmsKeyId=get_att("Key", "Arn"))}


@rule(
    id="LogGroupKeyAdmitsLogs",
    requirements=["10.2.1", "10.7.2"],
    title="The key of a log group admits CloudWatch Logs.",
    why="Otherwise the group cannot be made, or stops taking entries once the key's policy is narrowed.",
    fix="Allow the service principal logs.<region>.amazonaws.com to encrypt and decrypt in the key's policy.",
    types=["AWS::Logs::LogGroup"],
    applies=lambda group, app: app.target(group["KmsKeyId"], "AWS::KMS::Key") is not None,
    complies=[_LOGGED],
    violates=[without(_LOGGED, "Key.KeyPolicy.Statement.1")],
)
def log_group_key_admits_logs(group: Resource, app: App) -> Iterator[Objection]:
    key = app.target(group["KmsKeyId"], "AWS::KMS::Key")
    if key is not None and not admits_service(key, "logs.", "kms:Decrypt"):
        yield objection(group["KmsKeyId"], "a key whose policy admits the service logs", seen=f"{key.path} does not")


_SERVED_TOPIC = {
    "Key": {
        **resource(
            "AWS::KMS::Key",
            EnableKeyRotation=True,
            KeyPolicy={
                "Statement": [
                    _DELEGATED,
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "cloudwatch.amazonaws.com"},
                        "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
                        "Resource": "*",
                        "Condition": {"StringEquals": {"aws:SourceAccount": "111122223333"}},
                    },
                ]
            },
        ),
    },
    "Topic": resource("AWS::SNS::Topic", KmsMasterKeyId=ref("Key")),
    "Alarm": resource("AWS::CloudWatch::Alarm", AlarmActions=[ref("Topic")]),
}


def _publishers(topic: Resource, app: App) -> dict[str, str]:
    """The services that publish to the topic, each with an example of why."""
    found: dict[str, str] = {}
    for type_, service in _PUBLISHING.items():
        for resource_ in app.referrers(topic, type_):
            found.setdefault(service, resource_.path)
    return found


_PUBLISHING = {
    "AWS::CloudWatch::Alarm": "cloudwatch.amazonaws.com",
    "AWS::CloudWatch::CompositeAlarm": "cloudwatch.amazonaws.com",
    "AWS::Events::Rule": "events.amazonaws.com",
    "AWS::Backup::BackupVault": "backup.amazonaws.com",
    "AWS::DMS::EventSubscription": "dms.amazonaws.com",
    "AWS::RDS::EventSubscription": "events.rds.amazonaws.com",
}


@rule(
    id="TopicKeyAdmitsPublishers",
    requirements=["10.7.2", "12.10.5"],
    title="The key of a topic admits the services that publish to it.",
    why="If the alarm's service may not use the key, the alert is dropped without a trace: the alarm looks fine "
    "and nobody is told.",
    fix="Allow kms:Decrypt and kms:GenerateDataKey* to the service principals of the publishers in the key's policy.",
    types=["AWS::SNS::Topic"],
    applies=lambda topic, app: (
        app.target(topic["KmsMasterKeyId"], "AWS::KMS::Key") is not None and bool(_publishers(topic, app))
    ),
    complies=[_SERVED_TOPIC],
    violates=[
        without(_SERVED_TOPIC, "Key.KeyPolicy.Statement.1"),
        varied(_SERVED_TOPIC, "Key.KeyPolicy.Statement.1.Action", ["kms:Decrypt"]),
    ],
)
def topic_key_admits_publishers(topic: Resource, app: App) -> Iterator[Objection]:
    key = app.target(topic["KmsMasterKeyId"], "AWS::KMS::Key")
    if key is None:
        return
    for service, example in _publishers(topic, app).items():
        for action in ("kms:Decrypt", "kms:GenerateDataKey"):
            if not admits_service(key, service, action):
                yield objection(
                    topic["KmsMasterKeyId"],
                    f"a key whose policy gives {service} the action {action}",
                    seen=f"{key.path} does not, and {example} publishes here",
                    detail=service,
                )
                break


def admits_service(key: Resource, service: str, action: str) -> bool:
    """Whether the key's policy lets a service, named in full or by its start, take `action`."""
    return any(
        statement.allows
        and any(principal.startswith(service) for principal in statement.services)
        and statement.covers(action)
        for statement in resource_statements(key)
    )
