"""Credentials lie in a secrets store, change every 30 days, and stand in no template."""

import re
from collections.abc import Iterator

from policy.engine import (
    Objection,
    expect,
    get_att,
    objection,
    ref,
    resource,
    rule,
    undecided,
    varied,
    without,
)
from policy.templates import App, Resource, Text, Value, View

MAX_ROTATION_DAYS = 30
MIN_PASSWORD_CHARACTERS = 15

_ROTATED = {
    "Secret": resource(
        "AWS::SecretsManager::Secret", GenerateSecretString={"PasswordLength": 40, "GenerateStringKey": "password"}
    ),
    "Rotation": resource("AWS::Lambda::Function", Handler="rotation.handler"),
    "Schedule": resource(
        "AWS::SecretsManager::RotationSchedule",
        SecretId=ref("Secret"),
        RotationLambdaARN=get_att("Rotation", "Arn"),
        RotationRules={"ScheduleExpression": "rate(30 days)"},
    ),
    "Permission": resource(
        "AWS::Lambda::Permission",
        Action="lambda:InvokeFunction",
        FunctionName=get_att("Rotation", "Arn"),
        Principal="secretsmanager.amazonaws.com",
        SourceAccount="111122223333",
    ),
}
_ATTACHED = {
    **_ROTATED,
    "Attachment": resource(
        "AWS::SecretsManager::SecretTargetAttachment",
        SecretId=ref("Secret"),
        TargetId="db",
        TargetType="AWS::RDS::DBCluster",
    ),
    "Schedule": varied(_ROTATED, "Schedule.SecretId", ref("Attachment"))["Schedule"],
}


def schedules_of(secret: Resource, app: App) -> list[Resource]:
    """The rotation schedules of a secret, in any stack, also by way of its attachment to a database."""
    found = app.referrers(secret, "AWS::SecretsManager::RotationSchedule")
    for attachment in app.referrers(secret, "AWS::SecretsManager::SecretTargetAttachment"):
        found = found + app.referrers(attachment, "AWS::SecretsManager::RotationSchedule")
    return found


@rule(
    id="SecretRotated",
    requirements=["8.6.3", "8.3.9"],
    title="A secret is rotated.",
    why="A password that leaked unnoticed is worth something only until the next rotation.",
    fix="Add an AWS::SecretsManager::RotationSchedule for the secret, in whichever stack.",
    types=["AWS::SecretsManager::Secret"],
    complies=[_ROTATED, _ATTACHED],
    violates=[without(_ROTATED, "Schedule"), varied(_ROTATED, "Schedule.SecretId", "arn:of:another")],
)
def secret_rotated(secret: Resource, app: App) -> Iterator[Objection]:
    if not schedules_of(secret, app):
        yield objection(secret.properties, "a rotation schedule", seen="none in any stack")


def rotation_days(schedule: Resource) -> float | None:
    """How many days lie between two rotations at most, or None when the schedule does not say."""
    rules = schedule["RotationRules"]
    days = rules["AutomaticallyAfterDays"].number
    if days is not None:
        return days
    expression = rules["ScheduleExpression"].text
    if match := re.fullmatch(r"rate\((\d+) (hour|day)s?\)", expression):
        return int(match[1]) / (24 if match[2] == "hour" else 1)
    if match := re.fullmatch(r"cron\((.+)\)", expression):
        return _cron_days(match[1].split())
    return None


def _cron_days(fields: list[str]) -> float | None:
    if len(fields) != 6:
        return None
    _, _, day_of_month, month, day_of_week, _ = fields
    if month == "*":
        every_month = day_of_month not in ("*", "?") and "/" not in day_of_month
        if every_month and "," not in day_of_month:
            return 31
        return 7 if day_of_week not in ("*", "?") else 1
    if match := re.fullmatch(r"(?:\d+|\*)/(\d+)", month):
        return 31 * int(match[1])
    return 366


@rule(
    id="SecretRotationInterval",
    requirements=["8.6.3", "8.3.9"],
    title="A secret is rotated every 30 days or more often.",
    why="How often follows from the risk; for the credentials of a payment database we hold 30 days.",
    fix="Set RotationRules.AutomaticallyAfterDays or ScheduleExpression to at most 30 days, e.g. rate(30 days).",
    types=["AWS::SecretsManager::RotationSchedule"],
    complies=[
        _ROTATED,
        varied(_ROTATED, "Schedule.RotationRules", {"AutomaticallyAfterDays": 30}),
        varied(_ROTATED, "Schedule.RotationRules", {"ScheduleExpression": "cron(0 8 1,15 * ? *)"}),
    ],
    violates=[
        varied(_ROTATED, "Schedule.RotationRules", {"AutomaticallyAfterDays": 90}),
        varied(_ROTATED, "Schedule.RotationRules", {"ScheduleExpression": "rate(31 days)"}),
        varied(_ROTATED, "Schedule.RotationRules", {"ScheduleExpression": "cron(0 8 1 */3 ? *)"}),
        varied(_ROTATED, "Schedule.RotationRules", {"ScheduleExpression": "cron(0 8 1 * ? *)"}),
        without(_ROTATED, "Schedule.RotationRules"),
    ],
)
def secret_rotation_interval(schedule: Resource, _app: App) -> Iterator[Objection]:
    rules = schedule["RotationRules"]
    allowed = f"at most {MAX_ROTATION_DAYS} days"
    if rules.unknown or rules["ScheduleExpression"].unknown or rules["AutomaticallyAfterDays"].unknown:
        yield undecided(rules, allowed)
        return
    days = rotation_days(schedule)
    if days is None or days > MAX_ROTATION_DAYS:
        yield objection(rules, allowed)


@rule(
    id="SecretRotationPermitted",
    requirements=["8.6.3", "10.7.2"],
    title="Secrets Manager may call the function that rotates a secret.",
    why="Without the permission the schedule stands in the template and no rotation ever happens.",
    fix="Add an AWS::Lambda::Permission for secretsmanager.amazonaws.com on the function.",
    types=["AWS::SecretsManager::RotationSchedule"],
    applies=lambda schedule, _app: not schedule["RotationLambdaARN"].missing,
    complies=[_ROTATED],
    violates=[
        without(_ROTATED, "Permission"),
        varied(_ROTATED, "Permission.Principal", "events.amazonaws.com"),
        varied(_ROTATED, "Permission.FunctionName", "another"),
    ],
)
def secret_rotation_permitted(schedule: Resource, app: App) -> Iterator[Objection]:
    place = schedule["RotationLambdaARN"]
    function = app.target(place, "AWS::Lambda::Function")
    if function is None:
        yield undecided(place, "a function of the app")
        return
    for permission in app.referrers(function, "AWS::Lambda::Permission"):
        names_function = app.target(permission["FunctionName"], "AWS::Lambda::Function") is function
        if names_function and permission["Principal"].text == "secretsmanager.amazonaws.com":
            return
    yield objection(place, "a function with a permission for Secrets Manager", seen=f"{function.path} has none")


@rule(
    id="SecretPasswordStrong",
    requirements=["8.3.6", "8.6.3"],
    title="A generated password is long and of several kinds of characters.",
    why="At least 12 characters of letters and digits are asked for, 15 for accounts that are changed less often; "
    "length costs a machine nothing.",
    fix=f"Set PasswordLength to {MIN_PASSWORD_CHARACTERS} or more (32 when left out); exclude neither letters nor "
    "digits.",
    types=["AWS::SecretsManager::Secret"],
    applies=lambda secret, _app: not secret["GenerateSecretString"].missing,
    complies=[_ROTATED, without(_ROTATED, "Secret.GenerateSecretString.PasswordLength")],
    violates=[
        varied(_ROTATED, "Secret.GenerateSecretString.PasswordLength", 8),
        varied(_ROTATED, "Secret.GenerateSecretString.ExcludeNumbers", True),
        varied(_ROTATED, "Secret.GenerateSecretString.ExcludeLowercase", True),
    ],
)
def secret_password_strong(secret: Resource, _app: App) -> Iterator[Objection]:
    generate = secret["GenerateSecretString"]
    length = generate["PasswordLength"]
    yield from expect(
        length,
        f"at least {MIN_PASSWORD_CHARACTERS} characters",
        lambda v: v.missing or (v.number is not None and v.number >= MIN_PASSWORD_CHARACTERS),
    )
    for key in ("ExcludeNumbers", "ExcludeLowercase", "ExcludeUppercase"):
        yield from expect(generate[key], "false", lambda v: v.flag is not True)


@rule(
    id="SecretNoLiteral",
    requirements=["8.6.2"],
    title="A secret's value is generated, not written in the template.",
    why="Templates lie in repositories, buckets and consoles, for everybody who may read those.",
    fix="Use GenerateSecretString, or create the secret empty and put the value in out of band.",
    types=["AWS::SecretsManager::Secret"],
    complies=[_ROTATED],
    violates=[{"Secret": resource("AWS::SecretsManager::Secret", SecretString='{"password":"correct horse"}')}],
)
def secret_no_literal(secret: Resource, _app: App) -> Iterator[Objection]:
    place = secret["SecretString"]
    if not place.missing and not place.unknown:
        yield objection(place, "GenerateSecretString", seen="a literal value")


_CLUSTER = {
    **_ROTATED,
    "Cluster": resource(
        "AWS::RDS::DBCluster",
        MasterUsername={"Fn::Sub": "{{resolve:secretsmanager:${Secret}:SecretString:username}}"},
        MasterUserPassword={"Fn::Sub": "{{resolve:secretsmanager:${Secret}:SecretString:password}}"},
    ),
}
_PASSWORDS = {
    "AWS::RDS::DBCluster": "MasterUserPassword",
    "AWS::RDS::DBInstance": "MasterUserPassword",
    "AWS::Redshift::Cluster": "MasterUserPassword",
    "AWS::DocDB::DBCluster": "MasterUserPassword",
    "AWS::ElastiCache::ReplicationGroup": "AuthToken",
    "AWS::AmazonMQ::Broker": "Users",
}


def from_secret_store(value: Value) -> bool:
    text = str(value) if isinstance(value, (str, Text)) else ""
    return text.startswith(("{{resolve:secretsmanager:", "{{resolve:ssm-secure:"))


@rule(
    id="DatabasePasswordFromSecret",
    requirements=["8.6.2"],
    title="The password of a database comes from a secret.",
    why="A password in a template or in a parameter is known to everybody who ever deployed it.",
    fix="Use ManageMasterUserPassword, or a {{resolve:secretsmanager:...}} reference.",
    types=list(_PASSWORDS),
    complies=[_CLUSTER, {"Cluster": resource("AWS::RDS::DBCluster", ManageMasterUserPassword=True)}],
    violates=[
        varied(_CLUSTER, "Cluster.MasterUserPassword", "correct-horse-battery"),
        {"Cache": resource("AWS::ElastiCache::ReplicationGroup", AuthToken="correct-horse-battery")},
    ],
)
def database_password_from_secret(database: Resource, _app: App) -> Iterator[Objection]:
    place = database[_PASSWORDS[database.type]]
    for item in place.items():
        password = item["Password"] if isinstance(item.value, dict) else item
        if password.unknown:
            yield objection(password, "a reference to a secret", seen="a parameter or computed value")
        elif not from_secret_store(password.value):
            yield objection(password, "a reference to a secret", seen="a literal value")


_ENDPOINT = {
    "Endpoint": resource(
        "AWS::DMS::Endpoint",
        EndpointType="source",
        EngineName="aurora",
        MySqlSettings={
            "SecretsManagerSecretId": "arn:aws:secretsmanager:us-east-1:111122223333:secret:dms",
            "SecretsManagerAccessRoleArn": "arn:aws:iam::111122223333:role/dms",
        },
    )
}


@rule(
    id="ReplicationPasswordFromSecret",
    requirements=["8.6.2", "8.3.2"],
    title="A DMS endpoint reads its credentials from Secrets Manager.",
    why="A password given to the endpoint stays there, unrotated, and in every template that set it.",
    fix="Set SecretsManagerSecretId and SecretsManagerAccessRoleArn in the settings of the engine; leave Username "
    "and Password out.",
    types=["AWS::DMS::Endpoint"],
    complies=[_ENDPOINT, {"Endpoint": resource("AWS::DMS::Endpoint", EngineName="s3")}],
    violates=[
        varied(_ENDPOINT, "Endpoint.Password", "correct-horse-battery"),
        varied(_ENDPOINT, "Endpoint.MySqlSettings", {"ServerName": "db", "Username": "dms", "Password": "horse"}),
        varied(_ENDPOINT, "Endpoint.Password", {"Fn::Sub": "{{resolve:secretsmanager:x:SecretString:password}}"}),
    ],
)
def replication_password_from_secret(endpoint: Resource, _app: App) -> Iterator[Objection]:
    if not endpoint["Password"].missing:
        yield objection(endpoint["Password"], "SecretsManagerSecretId instead", seen="a password")
    for key, settings in endpoint.properties.entries():
        if key.endswith("Settings") and not settings["Password"].missing:
            yield objection(settings["Password"], "SecretsManagerSecretId instead", seen="a password")


CREDENTIAL_NAME = re.compile(
    r"(?i)(password|passwd|passphrase|secret|token|api_?key|private_?key|access_?key|credential)"
)
NO_CREDENTIAL = re.compile(r"(?i)(_?(arn|name|id|path|url|ttl|days|length|timeout|version))$")
_TASK = {
    "Task": resource(
        "AWS::ECS::TaskDefinition",
        ContainerDefinitions=[
            {
                "Name": "app",
                "Environment": [{"Name": "ADMIN_SECRET_ARN", "Value": "arn:aws:secretsmanager:x"}],
                "Secrets": [{"Name": "DB_PASSWORD", "ValueFrom": "arn:aws:secretsmanager:x"}],
            }
        ],
    )
}


def environments(place: Resource) -> Iterator[tuple[str, View]]:
    """The environment variables that a function, container or build project is given."""
    if place.type == "AWS::Lambda::Function":
        yield from place["Environment.Variables"].entries()
    elif place.type == "AWS::ECS::TaskDefinition":
        for container in place["ContainerDefinitions"].items():
            for variable in container["Environment"].items():
                yield variable["Name"].text, variable["Value"]
    else:
        for variable in place["Environment.EnvironmentVariables"].items():
            if variable["Type"].text in ("", "PLAINTEXT"):
                yield variable["Name"].text, variable["Value"]


@rule(
    id="EnvironmentNoCredentials",
    requirements=["8.6.2", "8.3.2"],
    title="No environment variable holds a credential.",
    why="Environment variables show in consoles, in dumps and in child processes.",
    fix="Pass the ARN of a secret and read it at run time, or use Secrets with ValueFrom in a container.",
    types=["AWS::Lambda::Function", "AWS::ECS::TaskDefinition", "AWS::CodeBuild::Project"],
    complies=[_TASK],
    violates=[
        varied(_TASK, "Task.ContainerDefinitions.0.Environment.0", {"Name": "DB_PASSWORD", "Value": "horse"}),
        {"Function": resource("AWS::Lambda::Function", Environment={"Variables": {"API_KEY": "abc123"}})},
        {
            "Function": resource(
                "AWS::Lambda::Function",
                Environment={"Variables": {"TOKEN": "{{resolve:secretsmanager:x:SecretString:token}}"}},
            )
        },
    ],
)
def environment_no_credentials(place: Resource, _app: App) -> Iterator[Objection]:
    for name, view in environments(place):
        if not CREDENTIAL_NAME.search(name) or NO_CREDENTIAL.search(name):
            continue
        if any(ref_.resource.type == "AWS::SecretsManager::Secret" for ref_ in view.references()):
            continue
        if view.text.startswith("arn:"):
            continue
        yield objection(view, "the ARN of a secret", seen=f"{name} with a value", detail=name)


_CREDENTIALS = (
    (re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"), "an AWS access key id"),
    (re.compile(r"-----BEGIN (RSA |EC |OPENSSH |ENCRYPTED )?PRIVATE KEY-----"), "a private key"),
    (re.compile(r"\b[a-z][a-z0-9+]*://[^\s/:@{}$]+:[^\s/:@{}$]+@"), "a password in a URL"),
    (re.compile(r"\bghp_[A-Za-z0-9]{36}\b"), "a GitHub token"),
    (re.compile(r"\bxox[baprs]-[A-Za-z0-9-]{10,}"), "a Slack token"),
)
_ANYTHING = {"Parameter": resource("AWS::SSM::Parameter", Type="String", Value="https://pay.example.com/")}


def _texts(view: View) -> Iterator[View]:
    if isinstance(view.value, dict):
        for _, entry in view.entries():
            yield from _texts(entry)
    elif isinstance(view.value, list):
        for item in view.items():
            yield from _texts(item)
    elif isinstance(view.value, (str, Text)):
        yield view


@rule(
    id="TemplateNoCredentials",
    requirements=["8.6.2"],
    title="No property of any resource holds a credential.",
    why="Whatever stands in a template stands in the repository, in the deployment bucket and in the console.",
    fix="Put the credential into Secrets Manager, rotate it, and refer to it by ARN.",
    types=[],
    complies=[_ANYTHING],
    violates=[
        varied(_ANYTHING, "Parameter.Value", "AKIA" + "IOSFODNN7EXAMPLE"),
        varied(_ANYTHING, "Parameter.Value", "mysql://app:horse@db.example.com/payments"),
        varied(_ANYTHING, "Parameter.Value", "-----BEGIN " + "PRIVATE KEY-----\nMIIE"),
    ],
)
def template_no_credentials(place: Resource, _app: App) -> Iterator[Objection]:
    for view in _texts(place.properties):
        text = view.text
        if len(text) < 12:
            continue
        for pattern, name in _CREDENTIALS:
            if pattern.search(text):
                yield objection(view, "no credential", seen=name)


_PARAMETER_NAME = re.compile(r"(?i)(password|secret|token|apikey|privatekey)$")


@rule(
    id="ParameterNotStoredPlain",
    requirements=["8.3.2", "8.6.2"],
    title="No parameter of Systems Manager holds a credential in the clear.",
    why="A String parameter is readable by whoever may read parameters; CloudFormation cannot make encrypted ones.",
    fix="Keep the credential in Secrets Manager and the ARN in the parameter.",
    types=["AWS::SSM::Parameter"],
    complies=[_ANYTHING, varied(_ANYTHING, "Parameter.Name", "/payments/blue/secret-arn")],
    violates=[varied(_ANYTHING, "Parameter.Name", "/payments/blue/password")],
)
def parameter_not_stored_plain(parameter: Resource, _app: App) -> Iterator[Objection]:
    name = parameter["Name"].text
    if _PARAMETER_NAME.search(name.replace("-", "").replace("_", "")):
        yield objection(parameter["Value"], "the ARN of a secret", seen=f"the value of {name}")


@rule(
    id="SecretUsed",
    requirements=["2.2.4", "8.6.3"],
    title="Every secret is used by something.",
    why="A credential that nobody needs still opens the door, and nobody notices when it is lost.",
    fix="Remove the secret, or grant it to the role that reads it.",
    types=["AWS::SecretsManager::Secret"],
    complies=[_CLUSTER],
    violates=[_ROTATED],
)
def secret_used(secret: Resource, app: App) -> Iterator[Objection]:
    itself = (
        "AWS::SecretsManager::RotationSchedule",
        "AWS::SecretsManager::SecretTargetAttachment",
        "AWS::SecretsManager::ResourcePolicy",
    )
    users = [other for other in app.referrers(secret) if other.type not in itself]
    for attachment in app.referrers(secret, "AWS::SecretsManager::SecretTargetAttachment"):
        users += [other for other in app.referrers(attachment) if other.type not in itself]
    if not users:
        yield objection(secret.properties, "a resource that reads it", seen="none in any stack")
