"""IAM policy documents as statements, whichever resource holds them."""

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from policy.templates import App, Resource, Unknown, Value, View, render

WILDCARD: Final = "*"

IDENTITY_POLICIES: Final = (
    "AWS::IAM::Policy",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::RolePolicy",
    "AWS::IAM::UserPolicy",
    "AWS::IAM::GroupPolicy",
    "AWS::IAM::Role",
    "AWS::IAM::User",
    "AWS::IAM::Group",
)

RESOURCE_POLICIES: Final = {
    "AWS::KMS::Key": "KeyPolicy",
    "AWS::S3::BucketPolicy": "PolicyDocument",
    "AWS::SNS::TopicPolicy": "PolicyDocument",
    "AWS::SQS::QueuePolicy": "PolicyDocument",
    "AWS::SecretsManager::ResourcePolicy": "ResourcePolicy",
    "AWS::Backup::BackupVault": "AccessPolicy",
    "AWS::ECR::Repository": "RepositoryPolicyText",
    "AWS::Events::EventBusPolicy": "Statement",
    "AWS::EFS::FileSystem": "FileSystemPolicy",
    "AWS::DynamoDB::Table": "ResourcePolicy.PolicyDocument",
    "AWS::Kinesis::ResourcePolicy": "ResourcePolicy",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy, with the place where it stands."""

    view: View
    effect: str
    actions: tuple[str, ...]
    resources: tuple[Value, ...]
    principals: tuple[tuple[str, str], ...]
    conditions: tuple[tuple[str, str, str], ...]

    @property
    def allows(self) -> bool:
        return self.effect == "Allow"

    @property
    def denies(self) -> bool:
        return self.effect == "Deny"

    @property
    def negated(self) -> tuple[str, ...]:
        """Which of NotAction, NotResource and NotPrincipal the statement uses."""
        return tuple(key for key in ("NotAction", "NotResource", "NotPrincipal") if not self.view[key].missing)

    @property
    def for_everyone(self) -> bool:
        return any(principal == WILDCARD for _, principal in self.principals)

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(principal for kind, principal in self.principals if kind == "Service")

    @property
    def condition_keys(self) -> frozenset[str]:
        return frozenset(key.lower() for _, key, _ in self.conditions)

    def covers(self, action: str) -> bool:
        """Whether the statement is about `action`, by name or by pattern."""
        return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in self.actions)


def statements(document: View) -> Iterator[Statement]:
    """The statements of a policy document, of a list of them, or of a single one."""
    document = document.document()
    if isinstance(document.value, Unknown):
        return
    entries = document["Statement"] if not document["Statement"].missing else document
    for view in entries.items():
        if not isinstance(view.value, dict) or view["Effect"].missing:
            continue
        yield Statement(
            view=view,
            effect=view["Effect"].text,
            actions=tuple(item.text for item in view["Action"].items()),
            resources=tuple(item.value for item in view["Resource"].items()),
            principals=tuple(_principals(view["Principal"])),
            conditions=tuple(_conditions(view["Condition"])),
        )


def _principals(view: View) -> Iterator[tuple[str, str]]:
    if isinstance(view.value, dict):
        for kind, entry in view.entries():
            for item in entry.items():
                yield kind, item.text
    elif not view.missing:
        for item in view.items():
            yield "AWS", item.text


def _conditions(view: View) -> Iterator[tuple[str, str, str]]:
    for operator, keys in view.entries():
        for key, entry in keys.entries():
            for item in entry.items():
                yield operator, key, item.text


def identity_documents(resource: Resource) -> Iterator[View]:
    """The policy documents that grant something to the role, user or group of `resource`."""
    if resource.type in ("AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group"):
        for policy in resource["Policies"].items():
            yield policy["PolicyDocument"]
    else:
        yield resource["PolicyDocument"]


def identity_statements(resource: Resource) -> Iterator[Statement]:
    for document in identity_documents(resource):
        yield from statements(document)


def resource_statements(resource: Resource) -> Iterator[Statement]:
    """The statements of the policy that `resource` carries or is, if it is of such a type."""
    path = RESOURCE_POLICIES.get(resource.type)
    if path is not None:
        yield from statements(resource[path])


def policies_of(app: App, resource: Resource, policy_type: str, property_name: str) -> Iterator[Statement]:
    """The statements of all policies of `policy_type` that name `resource` as theirs, in any stack."""
    for policy in app.referrers(resource, policy_type):
        if any(ref.resource is resource for ref in policy[property_name].references()):
            yield from resource_statements(policy)


_ACCOUNT: Final = re.compile(r"(?:arn:.+:iam::)?(\d{12}|\$\{AWS::AccountId\})(?::root)?")


def is_account_root(principal: str, place: Resource, *, benefit_of_doubt: bool = True) -> bool:
    """Whether a principal is the account that `place` belongs to.

    Templates that are meant for any account do not say which one is theirs; a number in them counts as their own
    if they get the benefit of the doubt.
    """
    account = _ACCOUNT.fullmatch(principal)
    if account is None:
        return False
    own = place.stack.root.account
    return account[1] == "${AWS::AccountId}" or account[1] == own or (own is None and benefit_of_doubt)


def names_everything(value: Value) -> bool:
    return render(value) == WILDCARD
