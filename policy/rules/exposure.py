"""Nothing that holds or guards account data can be reached, or opened, by the public."""

import re
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
from policy.rules.keys import CONDITION_UNSUPPORTED, guarded
from policy.statements import RESOURCE_POLICIES, Statement, is_account_root, resource_statements, statements
from policy.templates import App, Resource, render

_INSTANCE = {"Instance": resource("AWS::RDS::DBInstance", PubliclyAccessible=False)}


@rule(
    id="DatabaseNotPublic",
    requirements=["1.4.4"],
    title="A database has no public address.",
    why="A store of account data must not be reachable from a network that nobody trusts.",
    fix="Set PubliclyAccessible to false; left out, it follows the subnets.",
    types=["AWS::RDS::DBInstance", "AWS::Redshift::Cluster"],
    complies=[_INSTANCE],
    violates=[
        varied(_INSTANCE, "Instance.PubliclyAccessible", True),
        without(_INSTANCE, "Instance.PubliclyAccessible"),
    ],
)
def database_not_public(database: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(database["PubliclyAccessible"], "false", lambda v: v.flag is False)


_REPLICATION = {"Instance": resource("AWS::DMS::ReplicationInstance", PubliclyAccessible=False)}


@rule(
    id="ReplicationNotPublic",
    requirements=["1.4.4"],
    title="A DMS replication instance has no public address.",
    why="It reads every row; its default is a public address.",
    fix="Set PubliclyAccessible to false. Changing it replaces the instance.",
    types=["AWS::DMS::ReplicationInstance"],
    complies=[_REPLICATION],
    violates=[
        varied(_REPLICATION, "Instance.PubliclyAccessible", True),
        without(_REPLICATION, "Instance.PubliclyAccessible"),
    ],
)
def replication_not_public(instance: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(instance["PubliclyAccessible"], "false", lambda v: v.flag is False)


_BUCKET = {
    "Bucket": resource(
        "AWS::S3::Bucket",
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
        OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
    )
}


@rule(
    id="BucketBlocksPublicAccess",
    requirements=["1.4.4", "7.3.3"],
    title="A bucket blocks public access in all four ways.",
    why="One wrong policy or access list later must not open it.",
    fix="Set the four settings of PublicAccessBlockConfiguration to true.",
    types=["AWS::S3::Bucket"],
    complies=[_BUCKET],
    violates=[
        without(_BUCKET, "Bucket.PublicAccessBlockConfiguration"),
        varied(_BUCKET, "Bucket.PublicAccessBlockConfiguration.RestrictPublicBuckets", False),
        without(_BUCKET, "Bucket.PublicAccessBlockConfiguration.BlockPublicPolicy"),
    ],
)
def bucket_blocks_public_access(bucket: Resource, _app: App) -> Iterator[Objection]:
    for key in ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"):
        yield from expect_true(bucket["PublicAccessBlockConfiguration"][key])


@rule(
    id="BucketOwnerEnforced",
    requirements=["7.3.1", "7.2.2"],
    title="Access lists of a bucket are off.",
    why="Access must have one place where it is granted; lists on single objects escape every review.",
    fix="Set OwnershipControls to BucketOwnerEnforced.",
    types=["AWS::S3::Bucket"],
    complies=[_BUCKET],
    violates=[
        without(_BUCKET, "Bucket.OwnershipControls"),
        varied(_BUCKET, "Bucket.OwnershipControls.Rules.0.ObjectOwnership", "ObjectWriter"),
        varied(_BUCKET, "Bucket.AccessControl", "PublicRead"),
    ],
)
def bucket_owner_enforced(bucket: Resource, _app: App) -> Iterator[Objection]:
    ownership = bucket["OwnershipControls.Rules.0.ObjectOwnership"]
    yield from expect(ownership, "BucketOwnerEnforced", lambda v: v.text == "BucketOwnerEnforced")
    acl = bucket["AccessControl"]
    yield from expect(acl, "not set", lambda v: v.missing or v.text == "Private")


_SECRET_POLICY = {
    "Policy": resource(
        "AWS::SecretsManager::ResourcePolicy",
        SecretId="example",
        BlockPublicPolicy=True,
        ResourcePolicy={
            "Statement": [
                {
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "secretsmanager:GetSecretValue",
                    "Resource": "*",
                    "Condition": {"StringNotEquals": {"aws:PrincipalAccount": "111122223333"}},
                }
            ]
        },
    )
}
_OPEN = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}


@rule(
    id="ResourcePolicyNotPublic",
    requirements=["7.3.3", "1.4.4"],
    title="The policy of a bucket, topic, queue, secret, vault or repository admits nobody in general.",
    why="What is not expressly allowed to somebody must stay closed.",
    fix="Name the principals, or bind the statement to the account or the source by a condition.",
    types=[type_ for type_ in RESOURCE_POLICIES if type_ != "AWS::KMS::Key"],
    complies=[
        _SECRET_POLICY,
        {
            "Policy": resource(
                "AWS::SNS::TopicPolicy",
                PolicyDocument={
                    "Statement": {
                        **_OPEN,
                        "Action": "sns:Publish",
                        "Condition": {"StringEquals": {"aws:SourceAccount": "111122223333"}},
                    }
                },
            )
        },
    ],
    violates=[
        varied(_SECRET_POLICY, "Policy.ResourcePolicy.Statement.0", _OPEN),
        {"Policy": resource("AWS::S3::BucketPolicy", PolicyDocument={"Statement": [_OPEN]})},
        {
            "Queue": resource(
                "AWS::SQS::QueuePolicy", PolicyDocument={"Statement": {**_OPEN, "Principal": {"AWS": "*"}}}
            )
        },
    ],
)
def resource_policy_not_public(place: Resource, _app: App) -> Iterator[Objection]:
    for statement in resource_statements(place):
        restricted = guarded(statement) or any(
            key.startswith(("aws:principal", "aws:sourcevpc", "aws:sourcevpce")) for key in statement.condition_keys
        )
        if statement.allows and statement.for_everyone and not restricted:
            yield objection(statement.view["Principal"], "principals by name, or a condition that binds them")


_SERVICE_TOPIC = {
    "Policy": resource(
        "AWS::SNS::TopicPolicy",
        PolicyDocument={
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "cloudwatch.amazonaws.com"},
                    "Action": "sns:Publish",
                    "Resource": "*",
                    "Condition": {"StringEquals": {"aws:SourceAccount": "111122223333"}},
                }
            ]
        },
    )
}


@rule(
    id="ResourcePolicyServiceBound",
    requirements=["7.2.5", "7.3.3"],
    title="An AWS service may use a bucket, topic, queue, secret or vault only on behalf of our own resources.",
    why="A service acts for every customer; without a condition another customer's resource could make it act on "
    "ours (the confused deputy).",
    fix="Add a condition on aws:SourceAccount or aws:SourceArn. Logs written under /AWSLogs/ and the number of the "
    "account are bound by that path; EventBridge supports no condition in the policy of a topic.",
    types=[type_ for type_ in RESOURCE_POLICIES if type_ != "AWS::KMS::Key"],
    complies=[
        _SERVICE_TOPIC,
        varied(
            without(_SERVICE_TOPIC, "Policy.PolicyDocument.Statement.0.Condition"),
            "Policy.PolicyDocument.Statement.0.Principal.Service",
            "events.amazonaws.com",
        ),
        {
            "Policy": resource(
                "AWS::S3::BucketPolicy",
                PolicyDocument={
                    "Statement": {
                        "Effect": "Allow",
                        "Principal": {"Service": "delivery.logs.amazonaws.com"},
                        "Action": "s3:PutObject",
                        "Resource": {"Fn::Sub": "arn:aws:s3:::logs/front/AWSLogs/${AWS::AccountId}/*"},
                    }
                },
            )
        },
    ],
    violates=[without(_SERVICE_TOPIC, "Policy.PolicyDocument.Statement.0.Condition")],
)
def resource_policy_service_bound(place: Resource, _app: App) -> Iterator[Objection]:
    for statement in resource_statements(place):
        services = [s for s in statement.services if not _exempt(s, place, statement)]
        if statement.allows and services and not guarded(statement):
            yield objection(
                statement.view["Condition"],
                "a condition on aws:SourceAccount or aws:SourceArn",
                seen=f"none for {', '.join(services)}",
                detail=",".join(sorted(services)),
            )


_OWN_LOGS = re.compile(r"/AWSLogs/(\d{12}|\$\{AWS::AccountId\})(/|$)")


def _exempt(service: str, place: Resource, statement: Statement) -> bool:
    # EventBridge does not support conditions in the policy of a topic: it would deliver nothing.
    if place.type == "AWS::SNS::TopicPolicy" and service in CONDITION_UNSUPPORTED:
        return True
    # A service writes an account's logs under the number of that account; reading the ACL gives nothing away.
    own_logs = statement.resources and all(_OWN_LOGS.search(render(item)) for item in statement.resources)
    return bool(own_logs) or set(statement.actions) <= {"s3:GetBucketAcl"}


@rule(
    id="ResourcePolicyActionsNamed",
    requirements=["7.2.5", "7.3.3"],
    title="The policy of a bucket, topic, queue, secret or vault allows actions by name.",
    why="Who may write a log or publish an alert must not also be able to delete it or to change the policy.",
    fix="Name the actions; only the account itself may have all.",
    types=[type_ for type_ in RESOURCE_POLICIES if type_ != "AWS::KMS::Key"],
    complies=[_SERVICE_TOPIC],
    violates=[
        varied(_SERVICE_TOPIC, "Policy.PolicyDocument.Statement.0.Action", "sns:*"),
        varied(_SERVICE_TOPIC, "Policy.PolicyDocument.Statement.0.Action", ["sns:Publish", "*"]),
    ],
)
def resource_policy_actions_named(place: Resource, _app: App) -> Iterator[Objection]:
    for statement in resource_statements(place):
        everything = [action for action in statement.actions if action == "*" or action.endswith(":*")]
        others = [p for kind, p in statement.principals if kind != "AWS" or not is_account_root(p, place)]
        if statement.allows and everything and others:
            seen = f"{', '.join(everything)} for {', '.join(sorted(others))}"
            yield objection(statement.view["Action"], "actions by name", seen=seen)


_PERMISSION = {
    "Function": resource("AWS::Lambda::Function", Runtime="python3.13"),
    "Permission": resource(
        "AWS::Lambda::Permission",
        Action="lambda:InvokeFunction",
        FunctionName=get_att("Function", "Arn"),
        Principal="sns.amazonaws.com",
        SourceArn="arn:aws:sns:us-east-1:111122223333:alarms",
    ),
}


@rule(
    id="FunctionPermissionBound",
    requirements=["7.2.5", "7.3.3"],
    title="A function may be called by a service only on behalf of our own resources.",
    why="Without a source, another customer's topic or bucket could call the function; with Principal * anybody.",
    fix="Set SourceArn or SourceAccount, and a Principal by name.",
    types=["AWS::Lambda::Permission"],
    complies=[_PERMISSION],
    violates=[
        without(_PERMISSION, "Permission.SourceArn"),
        varied(_PERMISSION, "Permission.Principal", "*"),
    ],
)
def function_permission_bound(permission: Resource, _app: App) -> Iterator[Objection]:
    principal = permission["Principal"]
    yield from expect(principal, "a principal by name", lambda v: v.text != "*")
    bound = any(not permission[key].missing for key in ("SourceArn", "SourceAccount", "PrincipalOrgID"))
    if principal.text.endswith(".amazonaws.com") and not bound:
        yield objection(permission["SourceArn"], "SourceArn or SourceAccount", seen=f"none for {principal.text}")


@rule(
    id="FunctionUrlAuthenticated",
    requirements=["7.3.2", "8.3.1"],
    title="The URL of a function asks who calls.",
    why="AuthType NONE lets everybody on the internet run the function.",
    fix="Set AuthType to AWS_IAM.",
    types=["AWS::Lambda::Url"],
    complies=[{"Url": resource("AWS::Lambda::Url", AuthType="AWS_IAM")}],
    violates=[{"Url": resource("AWS::Lambda::Url", AuthType="NONE")}],
)
def function_url_authenticated(url: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(url["AuthType"], "AWS_IAM", lambda v: v.text == "AWS_IAM")


@rule(
    id="ApiMethodAuthorized",
    requirements=["7.3.2", "8.3.1"],
    title="A method of an API asks who calls.",
    why="An open method is an open door to what lies behind the API.",
    fix="Set AuthorizationType to AWS_IAM, CUSTOM or COGNITO_USER_POOLS; OPTIONS may stay open.",
    types=["AWS::ApiGateway::Method", "AWS::ApiGatewayV2::Route"],
    complies=[
        {"Method": resource("AWS::ApiGateway::Method", HttpMethod="POST", AuthorizationType="AWS_IAM")},
        {"Method": resource("AWS::ApiGateway::Method", HttpMethod="OPTIONS", AuthorizationType="NONE")},
    ],
    violates=[
        {"Method": resource("AWS::ApiGateway::Method", HttpMethod="POST", AuthorizationType="NONE")},
        {"Route": resource("AWS::ApiGatewayV2::Route", RouteKey="GET /payments")},
    ],
)
def api_method_authorized(method: Resource, _app: App) -> Iterator[Objection]:
    if method["HttpMethod"].text == "OPTIONS" or method["RouteKey"].text.startswith("OPTIONS"):
        return
    yield from expect(
        method["AuthorizationType"], "AWS_IAM, CUSTOM, JWT or a user pool", lambda v: v.text not in ("", "NONE")
    )


@rule(
    id="SecretPolicyBlocksPublic",
    requirements=["7.3.3"],
    title="The policy of a secret is checked for being public before it takes effect.",
    why="Secrets Manager can refuse a policy that would open the secret to many accounts.",
    fix="Set BlockPublicPolicy to true.",
    types=["AWS::SecretsManager::ResourcePolicy"],
    complies=[_SECRET_POLICY],
    violates=[without(_SECRET_POLICY, "Policy.BlockPublicPolicy")],
)
def secret_policy_blocks_public(policy: Resource, _app: App) -> Iterator[Objection]:
    yield from expect_true(policy["BlockPublicPolicy"])


_FRONT = {
    "Balancer": resource("AWS::ElasticLoadBalancingV2::LoadBalancer", Scheme="internet-facing", Type="application"),
    "Acl": resource("AWS::WAFv2::WebACL", Scope="REGIONAL"),
    "Association": resource(
        "AWS::WAFv2::WebACLAssociation", ResourceArn=ref("Balancer"), WebACLArn=get_att("Acl", "Arn")
    ),
}


@rule(
    id="PublicBalancerBehindWaf",
    requirements=["6.4.2", "1.4.1"],
    title="A public application load balancer stands behind a web application firewall.",
    why="A public web application needs an automatic defence that finds and stops attacks, active all the time.",
    fix="Add an AWS::WAFv2::WebACLAssociation, in whichever stack.",
    types=["AWS::ElasticLoadBalancingV2::LoadBalancer"],
    applies=lambda balancer, _app: (
        balancer["Scheme"].text != "internal" and balancer["Type"].text in ("", "application")
    ),
    complies=[_FRONT],
    violates=[without(_FRONT, "Association")],
)
def public_balancer_behind_waf(balancer: Resource, app: App) -> Iterator[Objection]:
    associations = app.referrers(balancer, "AWS::WAFv2::WebACLAssociation")
    if not any(not association["WebACLArn"].missing for association in associations):
        yield objection(balancer.properties, "an association with a web ACL", seen="none in any stack")


@rule(
    id="EndpointServiceAccepts",
    requirements=["1.2.2", "1.4.1"],
    title="Connections to an endpoint service of ours are accepted one by one.",
    why="Otherwise every admitted account opens a connection into the network by itself.",
    fix="Set AcceptanceRequired to true.",
    types=["AWS::EC2::VPCEndpointService"],
    complies=[{"Service": resource("AWS::EC2::VPCEndpointService", AcceptanceRequired=True)}],
    violates=[{"Service": resource("AWS::EC2::VPCEndpointService", AcceptanceRequired=False)}],
)
def endpoint_service_accepts(service: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(service["AcceptanceRequired"], "true", lambda v: v.missing or v.flag is True)


_VAULT = {
    "Vault": resource(
        "AWS::Backup::BackupVault",
        AccessPolicy={
            "Statement": [
                {
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": ["backup:DeleteRecoveryPoint", "backup:UpdateRecoveryPointLifecycle"],
                    "Resource": "*",
                }
            ]
        },
    )
}


@rule(
    id="RecoveryPointsUndeletable",
    requirements=["10.3.2", "12.10.1"],
    title="Nobody deletes or shortens a recovery point by hand.",
    why="Whoever destroys data destroys its backups first.",
    fix="Deny backup:DeleteRecoveryPoint and backup:UpdateRecoveryPointLifecycle to everybody in AccessPolicy, or "
    "set LockConfiguration.",
    types=["AWS::Backup::BackupVault"],
    complies=[_VAULT, {"Vault": resource("AWS::Backup::BackupVault", LockConfiguration={"MinRetentionDays": 7})}],
    violates=[
        without(_VAULT, "Vault.AccessPolicy"),
        varied(_VAULT, "Vault.AccessPolicy.Statement.0.Action", ["backup:DeleteRecoveryPoint"]),
        varied(_VAULT, "Vault.AccessPolicy.Statement.0.Effect", "Allow"),
    ],
)
def recovery_points_undeletable(vault: Resource, _app: App) -> Iterator[Objection]:
    if not vault["LockConfiguration"].missing:
        return
    denied = [s for s in statements(vault["AccessPolicy"]) if s.denies and s.for_everyone]
    for action in ("backup:DeleteRecoveryPoint", "backup:UpdateRecoveryPointLifecycle"):
        if not any(statement.covers(action) for statement in denied):
            yield objection(vault["AccessPolicy"], "a denial for everybody, or a lock", seen=f"{action} not denied")
