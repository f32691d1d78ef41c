"""Least privilege: every grant names what may be done, to what, and by whom."""

import fnmatch
from collections.abc import Iterator

from policy.engine import Objection, expect, get_att, objection, resource, rule, varied, without
from policy.rules.transit import standalone
from policy.statements import (
    IDENTITY_POLICIES,
    Statement,
    identity_statements,
    is_account_root,
    names_everything,
    statements,
)
from policy.templates import App, Resource

WITHOUT_RESOURCES = (
    "autoscaling:describe*", "application-autoscaling:describe*", "cloudformation:liststacks",
    "cloudwatch:describealarms*", "cloudwatch:getmetricdata", "cloudwatch:getmetricstatistics",
    "cloudwatch:listmetrics", "cloudwatch:putmetricdata", "dms:describe*", "ec2:assignprivateipaddresses",
    "ec2:createnetworkinterface", "ec2:deletenetworkinterface", "ec2:describe*",
    "ec2:unassignprivateipaddresses", "ecr:getauthorizationtoken", "ecs:describetaskdefinition",
    "ecs:listclusters", "ecs:listtaskdefinitions", "elasticloadbalancing:describe*", "iam:listroles",
    "kms:listaliases", "kms:listkeys", "logs:createlogdelivery", "logs:deletelogdelivery",
    "logs:describeloggroups", "logs:describeresourcepolicies", "logs:getlogdelivery",
    "logs:listlogdeliveries", "logs:putresourcepolicy", "logs:updatelogdelivery",
    "rds:describedbengineversions", "route53:getchange", "route53:listhostedzones*",
    "s3:listallmybuckets", "secretsmanager:getrandompassword", "secretsmanager:listsecrets",
    "ssm:describeparameters", "ssmmessages:*", "sts:getcalleridentity", "tag:getresources", "wafv2:listwebacls",
    "xray:getsamplingrules", "xray:getsamplingtargets", "xray:puttelemetryrecords", "xray:puttracesegments",
)  # fmt: skip
"""Actions (as lower-case patterns) for which IAM knows no resources, so that "*" is all one can write."""

ESCALATING = (
    "iam:addusertogroup", "iam:attachgrouppolicy", "iam:attachrolepolicy", "iam:attachuserpolicy",
    "iam:createaccesskey", "iam:createloginprofile", "iam:createpolicyversion", "iam:putgrouppolicy",
    "iam:putrolepolicy", "iam:putuserpolicy", "iam:setdefaultpolicyversion", "iam:updateassumerolepolicy",
    "iam:updateloginprofile", "sts:assumerole",
)  # fmt: skip

POWERFUL = ("AdministratorAccess", "PowerUserAccess", "IAMFullAccess")


def _policy(**statement: object) -> dict[str, dict[str, object]]:
    return {
        "Policy": resource(
            "AWS::IAM::ManagedPolicy",
            PolicyDocument={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Action": "secretsmanager:GetSecretValue",
                        "Resource": "arn:aws:secretsmanager:us-east-1:111122223333:secret:app",
                        **statement,
                    }
                ],
            },
        )
    }


NARROW = _policy()


def _granted(place: Resource) -> Iterator[Statement]:
    yield from (statement for statement in identity_statements(place) if statement.allows)


@rule(
    id="PolicyNotAdministrator",
    requirements=["7.2.2", "7.2.5"],
    title="No policy grants every action.",
    why="Whoever takes such a role over owns the account.",
    fix="Name the actions that are needed.",
    types=IDENTITY_POLICIES,
    complies=[NARROW],
    violates=[_policy(Action="*", Resource="*"), _policy(Action=["s3:GetObject", "*"])],
)
def policy_not_administrator(place: Resource, _app: App) -> Iterator[Objection]:
    for statement in _granted(place):
        if "*" in statement.actions or "*:*" in statement.actions:
            yield objection(statement.view["Action"], "actions by name")


@rule(
    id="PolicyActionsNamed",
    requirements=["7.2.5"],
    title="A policy names actions, not whole services.",
    why="A wildcard grants tomorrow's actions of the service, too, and the deleting ones today.",
    fix="List the actions; a wildcard within one verb such as s3:GetObject* is fine.",
    types=IDENTITY_POLICIES,
    complies=[NARROW, _policy(Action="s3:GetObject*"), _policy(Action="ssmmessages:*", Resource="*")],
    violates=[_policy(Action="s3:*"), _policy(Action=["kms:Decrypt", "dynamodb:*"]), _policy(Action="iam:*Role")],
)
def policy_actions_named(place: Resource, _app: App) -> Iterator[Objection]:
    for statement in _granted(place):
        for action in statement.actions:
            service, _, name = action.partition(":")
            if name.startswith("*") and service != "*" and action.lower() not in WITHOUT_RESOURCES:
                yield objection(statement.view["Action"], "actions by name", seen=action, detail=action)


def takes_no_resource(action: str) -> bool:
    """Whether IAM has no resource to name for the action."""
    return any(fnmatch.fnmatchcase(action.lower(), pattern) for pattern in WITHOUT_RESOURCES)


@rule(
    id="PolicyResourcesNamed",
    requirements=["7.2.5", "7.2.6"],
    title="A policy names the resources of its actions.",
    why="An action on everything reaches the stores and secrets of every other system in the account.",
    fix="Name the ARNs; where IAM has no resource for an action, put it into a statement of its own.",
    types=IDENTITY_POLICIES,
    complies=[NARROW, _policy(Action=["ecr:GetAuthorizationToken", "ec2:DescribeSubnets"], Resource="*")],
    violates=[
        _policy(Resource="*"),
        _policy(Action=["ecr:GetAuthorizationToken", "kms:Decrypt"], Resource="*"),
        _policy(Resource=["arn:aws:s3:::one/*", "*"]),
    ],
)
def policy_resources_named(place: Resource, _app: App) -> Iterator[Objection]:
    for statement in _granted(place):
        if not any(names_everything(item) for item in statement.resources):
            continue
        for action in statement.actions:
            if action != "*" and not takes_no_resource(action):
                yield objection(statement.view["Resource"], "ARNs", seen=f"* for {action}", detail=action)


@rule(
    id="PassRoleRestricted",
    requirements=["7.2.5"],
    title="A role may be passed on only by name, and only to a service that is named.",
    why="Who may pass any role to any service can run code with the rights of any role.",
    fix="Name the role's ARN in Resource, and the service in a condition on iam:PassedToService.",
    types=IDENTITY_POLICIES,
    complies=[
        NARROW,
        _policy(
            Action="iam:PassRole",
            Resource="arn:aws:iam::111122223333:role/task",
            Condition={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        ),
    ],
    violates=[
        _policy(Action="iam:PassRole", Resource="*"),
        _policy(Action="iam:PassRole", Resource="arn:aws:iam::111122223333:role/*"),
        _policy(Action="iam:PassRole", Resource="arn:aws:iam::111122223333:role/task"),
    ],
)
def pass_role_restricted(place: Resource, _app: App) -> Iterator[Objection]:
    for statement in _granted(place):
        if not statement.covers("iam:PassRole") or statement.actions == ("*",):
            continue
        for item in statement.view["Resource"].items():
            if item.text.endswith("*"):
                yield objection(item, "the ARN of one role", detail=item.text)
        if "iam:passedtoservice" not in statement.condition_keys:
            yield objection(statement.view["Condition"], "a condition on iam:PassedToService", detail="PassedToService")


@rule(
    id="PolicyNoEscalation",
    requirements=["7.2.5", "7.2.2"],
    title="No policy lets its holder grant itself more.",
    why="Changing policies, keys of users or trust of roles in general is as good as being administrator.",
    fix="Leave the action to the deployment role, or name the one role or user that it is about.",
    types=IDENTITY_POLICIES,
    complies=[NARROW, _policy(Action="sts:AssumeRole", Resource="arn:aws:iam::111122223333:role/reader")],
    violates=[
        _policy(Action="iam:AttachRolePolicy", Resource="*"),
        _policy(Action="sts:AssumeRole", Resource="*"),
        _policy(Action="iam:Put*", Resource="arn:aws:iam::111122223333:role/*"),
    ],
)
def policy_no_escalation(place: Resource, _app: App) -> Iterator[Objection]:
    for statement in _granted(place):
        if statement.actions == ("*",):
            continue
        wide = [item for item in statement.view["Resource"].items() if item.text.endswith("*")]
        for action in ESCALATING:
            if wide and statement.covers(action):
                yield objection(wide[0], "one role or user by name", seen=f"{action} on {wide[0].text}", detail=action)


@rule(
    id="PolicyNotInverted",
    requirements=["7.3.3", "7.2.5"],
    title="A policy says what is allowed, not what is not.",
    why="NotAction, NotResource and NotPrincipal with Allow grant everything that nobody thought of.",
    fix="List what is allowed.",
    types=IDENTITY_POLICIES,
    complies=[NARROW],
    violates=[
        without(_policy(NotAction="iam:*"), "Policy.PolicyDocument.Statement.0.Action"),
        without(_policy(NotResource="arn:aws:s3:::secret"), "Policy.PolicyDocument.Statement.0.Resource"),
    ],
)
def policy_not_inverted(place: Resource, _app: App) -> Iterator[Objection]:
    for statement in _granted(place):
        for key in statement.negated:
            yield objection(statement.view[key], key.removeprefix("Not"), detail=key)


ROLE = {
    "Role": resource(
        "AWS::IAM::Role",
        AssumeRolePolicyDocument={
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                    "Condition": {"StringEquals": {"aws:SourceAccount": "111122223333"}},
                }
            ]
        },
        ManagedPolicyArns=["arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"],
    )
}


@rule(
    id="RoleTrustNamed",
    requirements=["7.3.3", "7.2.5"],
    title="A role says who may take it on.",
    why="Trust in everybody, or in a whole other account without an external id, gives the role away.",
    fix="Name services or roles; for another account add a condition on sts:ExternalId or aws:PrincipalArn.",
    types=["AWS::IAM::Role"],
    complies=[ROLE],
    violates=[
        varied(ROLE, "Role.AssumeRolePolicyDocument.Statement.0.Principal", "*"),
        varied(ROLE, "Role.AssumeRolePolicyDocument.Statement.0.Principal", {"AWS": "*"}),
        varied(
            without(ROLE, "Role.AssumeRolePolicyDocument.Statement.0.Condition"),
            "Role.AssumeRolePolicyDocument.Statement.0.Principal",
            {"AWS": "arn:aws:iam::999988887777:root"},
        ),
        varied(ROLE, "Role.AssumeRolePolicyDocument.Statement.0.Action", "*"),
    ],
)
def role_trust_named(role: Resource, _app: App) -> Iterator[Objection]:
    for statement in statements(role["AssumeRolePolicyDocument"]):
        if not statement.allows:
            continue
        for kind, principal in statement.principals:
            own = is_account_root(principal, role, benefit_of_doubt=False)
            whole_account = kind == "AWS" and principal.endswith(":root") and not own
            if principal == "*" or (whole_account and not statement.conditions):
                yield objection(statement.view["Principal"], "services or roles by name", seen=principal)
        if any(not action.startswith("sts:") or action.endswith(":*") for action in statement.actions):
            yield objection(statement.view["Action"], "the actions of taking on a role by name")


SOURCE_AWARE = (
    "backup.amazonaws.com",
    "dms.",
    "ecs-tasks.amazonaws.com",
    "monitoring.rds.amazonaws.com",
    "scheduler.amazonaws.com",
    "states.amazonaws.com",
    "vpc-flow-logs.amazonaws.com",
)
"""Services, by the start of their names, that tell IAM on whose behalf they take a role on."""


@rule(
    id="RoleTrustServiceBound",
    requirements=["7.2.5", "7.3.3"],
    title="An AWS service takes a role on only on behalf of our own resources.",
    why="A service acts for every customer; without a condition another customer's resource could make it take on "
    "our role (the confused deputy).",
    fix="Add a condition on aws:SourceAccount or aws:SourceArn to the trust policy.",
    types=["AWS::IAM::Role"],
    complies=[
        ROLE,
        varied(ROLE, "Role.AssumeRolePolicyDocument.Statement.0.Principal.Service", "lambda.amazonaws.com"),
    ],
    violates=[without(ROLE, "Role.AssumeRolePolicyDocument.Statement.0.Condition")],
)
def role_trust_service_bound(role: Resource, _app: App) -> Iterator[Objection]:
    for statement in statements(role["AssumeRolePolicyDocument"]):
        services = [service for service in statement.services if service.startswith(SOURCE_AWARE)]
        bound = statement.condition_keys & {"aws:sourceaccount", "aws:sourcearn"}
        if statement.allows and services and not bound:
            yield objection(
                statement.view["Condition"],
                "a condition on aws:SourceAccount or aws:SourceArn",
                seen=f"none for {', '.join(services)}",
                detail=",".join(services),
            )


@rule(
    id="RoleWithoutPowerfulPolicy",
    requirements=["7.2.2", "7.2.5"],
    title="No role, user or group carries a managed policy that grants far too much.",
    why="AWS's policies for administrators and power users are for people in an emergency, not for workloads.",
    fix="Attach a policy of the app with the actions needed.",
    types=["AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group"],
    complies=[ROLE],
    violates=[
        varied(ROLE, "Role.ManagedPolicyArns", ["arn:aws:iam::aws:policy/AdministratorAccess"]),
        varied(
            ROLE, "Role.ManagedPolicyArns.0", {"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/AmazonS3FullAccess"}
        ),
    ],
)
def role_without_powerful_policy(place: Resource, _app: App) -> Iterator[Objection]:
    for item in place["ManagedPolicyArns"].items():
        name = item.text.rsplit("/", 1)[-1]
        aws_managed = ":iam::aws:policy/" in item.text
        if aws_managed and (name in POWERFUL or name.endswith("FullAccess")):
            yield objection(item, "a policy with the actions needed", seen=name, detail=name)


@rule(
    id="NoLongLivedKeys",
    requirements=["8.6.2", "8.3.9", "8.6.3"],
    title="No access key or password of a user is made by a template.",
    why="Keys that do not expire are the ones that are found in repositories; a role's are gone within hours.",
    fix="Let people sign in through an identity provider, and workloads use roles.",
    types=["AWS::IAM::AccessKey", "AWS::IAM::User"],
    complies=[{"User": resource("AWS::IAM::User", UserName="emergency")}],
    violates=[
        {"Key": resource("AWS::IAM::AccessKey", UserName="deploy")},
        {"User": resource("AWS::IAM::User", LoginProfile={"Password": "example"})},
    ],
)
def no_long_lived_keys(place: Resource, _app: App) -> Iterator[Objection]:
    if place.type == "AWS::IAM::AccessKey":
        yield objection(place.properties, "roles", seen="an access key")
    elif not place["LoginProfile"].missing:
        yield objection(place["LoginProfile"], "sign-in through an identity provider", seen="a password")


TASK = {
    "Execution": resource("AWS::IAM::Role", AssumeRolePolicyDocument={}),
    "Task": resource("AWS::IAM::Role", AssumeRolePolicyDocument={}),
    "Definition": resource(
        "AWS::ECS::TaskDefinition",
        ExecutionRoleArn=get_att("Execution", "Arn"),
        TaskRoleArn=get_att("Task", "Arn"),
        ContainerDefinitions=[],
    ),
}


@rule(
    id="TaskRolesSeparated",
    requirements=["7.2.5", "2.2.3"],
    title="A container's own role is not the role that starts it.",
    why="The role that starts tasks reads images and secrets for all of them; the application needs only its own.",
    fix="Set TaskRoleArn to a role of its own, different from ExecutionRoleArn.",
    types=["AWS::ECS::TaskDefinition"],
    complies=[TASK],
    violates=[
        without(TASK, "Definition.TaskRoleArn"),
        varied(TASK, "Definition.TaskRoleArn", get_att("Execution", "Arn")),
    ],
)
def task_roles_separated(task: Resource, _app: App) -> Iterator[Objection]:
    own, starts = task["TaskRoleArn"], task["ExecutionRoleArn"]
    if own.missing or own.value == starts.value:
        yield objection(own, "a role of its own")


_FUNCTIONS = {
    "RoleA": resource("AWS::IAM::Role", AssumeRolePolicyDocument={}),
    "RoleB": resource("AWS::IAM::Role", AssumeRolePolicyDocument={}),
    "One": resource("AWS::Lambda::Function", Role=get_att("RoleA", "Arn")),
    "Two": resource("AWS::Lambda::Function", Role=get_att("RoleB", "Arn")),
}


@rule(
    id="FunctionRoleOwn",
    requirements=["7.2.5"],
    title="Every function has a role of its own.",
    why="A shared role gives each function the rights of all the others.",
    fix="Give the function its own role with what it alone needs.",
    types=["AWS::Lambda::Function"],
    complies=[_FUNCTIONS],
    violates=[varied(_FUNCTIONS, "Two.Role", get_att("RoleA", "Arn"))],
)
def function_role_own(function: Resource, app: App) -> Iterator[Objection]:
    role = app.target(function["Role"], "AWS::IAM::Role")
    if role is None:
        return
    others = [
        other.path
        for other in app.referrers(role, "AWS::Lambda::Function")
        if other is not function and app.target(other["Role"], "AWS::IAM::Role") is role
    ]
    if others:
        yield objection(function["Role"], "a role of its own", seen=f"{role.path}, also of {', '.join(others)}")


_IAM_DATABASE = {
    "Cluster": resource("AWS::RDS::DBCluster", Engine="aurora-mysql", EnableIAMDatabaseAuthentication=True)
}


@rule(
    id="DatabaseIamAuthentication",
    requirements=["7.3.1", "8.3.1"],
    title="People sign in to a database with their own IAM identity.",
    why="Access for analysis and repair should need no shared password, and end when the person's role ends.",
    fix="Set EnableIAMDatabaseAuthentication to true.",
    types=["AWS::RDS::DBCluster", "AWS::RDS::DBInstance"],
    applies=standalone,
    complies=[_IAM_DATABASE],
    violates=[
        without(_IAM_DATABASE, "Cluster.EnableIAMDatabaseAuthentication"),
        varied(_IAM_DATABASE, "Cluster.EnableIAMDatabaseAuthentication", False),
    ],
)
def database_iam_authentication(database: Resource, _app: App) -> Iterator[Objection]:
    yield from expect(database["EnableIAMDatabaseAuthentication"], "true", lambda v: v.flag is True)
