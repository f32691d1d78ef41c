"""What a role may do, worked out of all policies in the templates that bear on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from policy.statements import Statement, identity_statements
from policy.templates import App, Resource, references_in
from tests.support.synthesized import plain

POLICIES = ("AWS::IAM::ManagedPolicy", "AWS::IAM::Policy", "AWS::IAM::RolePolicy")


@dataclass(frozen=True)
class Permissions:
    """What a role may do.

    Attributes:
        on: actions by resource; a resource that is restricted by conditions has them behind it in brackets.
        of_aws: names of the policies of AWS that it has; what they hold is AWS's.
    """

    on: Mapping[str, set[str]] = field(default_factory=dict)
    of_aws: frozenset[str] = frozenset()


def permissions_of(app: App, role: Resource) -> Permissions:
    """Everything that the policies of a role allow.

    Raises:
        ValueError: a statement is not of the plain kind (Allow, Action, Resource) that can be told this way.
    """
    on: dict[str, set[str]] = {}
    for statement in _statements(app, role):
        if not statement.allows or statement.negated or statement.principals:
            raise ValueError(f"{role.path}: a statement that is not a plain Allow: {statement.view.value}")
        conditions = ", ".join(f"{operator} {key}={value}" for operator, key, value in sorted(statement.conditions))
        for resource in statement.resources:
            place = f"{plain(resource)} [{conditions}]" if conditions else str(plain(resource))
            on.setdefault(place, set()).update(statement.actions)
    names = [str(plain(each)) for each in role["ManagedPolicyArns"].items()]
    return Permissions(on, frozenset(name.rpartition("/")[2] for name in names if name.startswith("arn:aws:iam::aws:")))


def _statements(app: App, role: Resource) -> Iterator[Statement]:
    yield from identity_statements(role)
    attached = {id(reference.resource) for reference in references_in(role["ManagedPolicyArns"].value)}
    for policy in app.of_type(*POLICIES):
        named = {
            id(reference.resource) for key in ("Roles", "RoleName") for reference in references_in(policy[key].value)
        }
        if id(policy) in attached or id(role) in named:
            yield from identity_statements(policy)
