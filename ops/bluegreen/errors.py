"""How a command can end other than well: with a message, the next step, and an exit code that scripts can rely on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)


class Exit(IntEnum):
    """Exit codes."""

    DONE = 0
    REFUSED = 1
    BAD_INPUT = 2
    FAILED = 3
    NOT_ALLOWED = 4
    PERSON_NEEDED = 5
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """One line for the help."""
        return {
            Exit.DONE: "done, or there was nothing to do",
            Exit.REFUSED: "refused, not confirmed, or not well: the reasons are given, and the command changed nothing",
            Exit.BAD_INPUT: "bad input; nothing was changed",
            Exit.FAILED: "AWS or a function failed; the message says what to do",
            Exit.NOT_ALLOWED: "a permission or credentials are missing; the message names the action and the resource",
            Exit.PERSON_NEEDED: "a person is needed: the cutover is stuck, or the databases do not agree who writes",
            Exit.INTERRUPTED: "interrupted; what was asked for before goes on in AWS",
        }[self]


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A permission that the caller lacks.

    Attributes:
        action: IAM action, such as ``dynamodb:GetItem``.
        resource: ARN, or ``*`` where AWS does not say.
    """

    action: str
    resource: str


class CommandError(Exception):
    """A command ends here.

    Attributes:
        message: what is wrong, in one or a few lines.
        next_step: what to do about it.
        exit_code: see :class:`Exit`.
        missing: the permission that is missing, if that is the reason.
    """

    def __init__(self, message: str, *, next_step: str, exit_code: Exit, missing: Missing | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.exit_code = exit_code
        self.missing = missing

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "error": {
                "message": self.message,
                "next_step": self.next_step,
                "exit_code": int(self.exit_code),
                "missing_permission": vars(self.missing) if self.missing else None,
            }
        }


DENIED: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AccessDeniedFault",
        "AuthorizationError",
        "AuthorizationErrorException",
        "UnauthorizedOperation",
        "Client.UnauthorizedOperation",
    }
)
"""Error codes with which AWS services say that a permission is missing."""

STALE: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "AuthFailure",
    }
)
"""Error codes for credentials that are none, or none any more."""

_SENTENCE: Final = re.compile(
    r"not authorized to perform:? (?P<action>[\w-]+:\w+)(?: on (?:the )?resource:? (?P<resource>arn:[^\s,]+|\*))?"
)
_SERVICE_AND_OPERATION: Final = re.compile(r"\((?P<code>[\w.]+)\) when calling the (?P<operation>\w+) operation")

# The services that the command line calls, by the operation; for messages of AWS that do not name the action.
_PREFIXES: Final = {
    "DescribeRules": "elasticloadbalancing",
    "DescribeTargetHealth": "elasticloadbalancing",
    "ListResourceRecordSets": "route53",
    "GetItem": "dynamodb",
    "PutItem": "dynamodb",
    "Query": "dynamodb",
    "Scan": "dynamodb",
    "DescribeAlarms": "cloudwatch",
    "GetMetricData": "cloudwatch",
    "DescribeReplicationTasks": "dms",
    "DescribeConnections": "dms",
    "DescribeServices": "ecs",
    "DescribeTaskDefinition": "ecs",
    "DescribeSecret": "secretsmanager",
    "GetParameter": "ssm",
    "GetParametersByPath": "ssm",
    "Invoke": "lambda",
    "StartExecution": "states",
    "GetRole": "iam",
    "GetServiceQuota": "servicequotas",
    "DescribeVpcEndpoints": "ec2",
}


def missing_permission(text: str) -> Missing | None:
    """The permission that a message of AWS says is missing, wherever in a text it stands."""
    found = _SENTENCE.search(text)
    if found:
        return Missing(action=found["action"], resource=(found["resource"] or "*").rstrip("."))
    named = _SERVICE_AND_OPERATION.search(text)
    if named and named["code"] in DENIED:
        operation = named["operation"]
        action = "InvokeFunction" if operation == "Invoke" else operation
        return Missing(action=f"{_PREFIXES.get(operation, 'unknown')}:{action}", resource="*")
    return None


NO_CREDENTIALS: Final = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    ProfileNotFound,
)
SIGN_IN: Final = "sign in (aws sso login), or set AWS_PROFILE to a profile that works"


def explained(error: Exception) -> CommandError:
    """What a failure means to an operator."""
    if isinstance(error, CommandError):
        return error
    text = _one_line(str(error))
    missing = missing_permission(text)
    if missing is not None:
        return not_allowed(missing)
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    if isinstance(error, NO_CREDENTIALS) or code in STALE or any(f"({each})" in text for each in STALE):
        return CommandError(f"no valid credentials: {text}", next_step=SIGN_IN, exit_code=Exit.NOT_ALLOWED)
    if isinstance(error, ConnectionError):
        return CommandError(
            text,
            next_step="look at the network and at --region; for the local AWS, run `make deploy-local` again",
            exit_code=Exit.FAILED,
        )
    if isinstance(error, ClientError | BotoCoreError):
        return CommandError(
            text, next_step="try again; `bluegreen doctor` says what else is wrong", exit_code=Exit.FAILED
        )
    return CommandError(text or type(error).__name__, next_step="run `bluegreen doctor`", exit_code=Exit.FAILED)


def not_allowed(missing: Missing) -> CommandError:
    """The caller lacks a permission."""
    where = "on all resources" if missing.resource == "*" else f"on {missing.resource}"
    return CommandError(
        f"not allowed: {missing.action} {where}",
        next_step="assume the stage's operator role (or its observer role, for looking only), or ask for this "
        "permission",
        exit_code=Exit.NOT_ALLOWED,
        missing=missing,
    )


def refused(message: str, *, next_step: str) -> CommandError:
    """Nothing is changed, for a reason that lies in how things stand."""
    return CommandError(message, next_step=next_step, exit_code=Exit.REFUSED)


def bad_input(
    message: str, *, next_step: str = "correct it and call again; --help says what is allowed"
) -> CommandError:
    """The command line asks for something that cannot be."""
    return CommandError(message, next_step=next_step, exit_code=Exit.BAD_INPUT)


def _one_line(text: str) -> str:
    return " ".join(text.split())
