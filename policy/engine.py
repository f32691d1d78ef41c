"""Rules, and what comes of applying them to an app.

A rule is a plain function that looks at one resource and yields what it has to object to. Its surroundings
(numbers of the requirements, why, how to mend, examples) stand in the decorator, so that the list of rules,
the tests, the reports and the documentation all come from the same place.
"""

import copy
import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from policy.templates import App, Resource, View, render

PACK: Final = "PCI401"
PACK_VERSION: Final = "1.0.0"
METADATA_KEY: Final = "PCI401"
"""Key of the CloudFormation metadata that holds the acknowledgements of a resource."""
EXPIRED_RULE: Final = "AcknowledgementCurrent"
UNUSED_RULE: Final = "AcknowledgementNeeded"
MAX_SEEN_CHARACTERS: Final = 160

Template: TypeAlias = dict[str, Any]
"""Resources by logical id, as in the "Resources" of a CloudFormation template."""


@dataclass(frozen=True, kw_only=True)
class Objection:
    """Something at a place in the resource: not allowed, or (when not `certain`) not decidable.

    Attributes:
        view: the place.
        allowed: what would have been right, as a noun phrase.
        seen: the value found, in one line; the value at the place unless given.
        detail: tells several findings of one rule on one resource apart; part of the id to acknowledge.
    """

    view: View
    allowed: str
    seen: str = ""
    detail: str = ""
    certain: bool = True


Check: TypeAlias = Callable[[Resource, App], Iterable[Objection]]
Applies: TypeAlias = Callable[[Resource, App], bool]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule of the pack.

    Attributes:
        requirements: numbers of PCI DSS 4.0.1 that the rule gives evidence for.
        types: resource types that it looks at; empty for all.
        applies: which resources of these types it is about.
        complies: templates on which it must find nothing.
        violates: templates on which it must find something.
    """

    id: str
    requirements: tuple[str, ...]
    title: str
    why: str
    fix: str
    types: tuple[str, ...]
    check: Check
    applies: Applies
    complies: tuple[Template, ...]
    violates: tuple[Template, ...]

    @property
    def qualified_id(self) -> str:
        return f"{PACK}::{self.id}"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A finding accepted beside the resource."""

    id: str
    reason: str
    owner: str
    expires: datetime.date
    at: str

    def current(self, today: datetime.date) -> bool:
        return today <= self.expires


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a resource breaks, and where; `acknowledgement` when it is accepted for now."""

    rule: Rule
    resource: Resource
    path: str
    seen: str
    allowed: str
    detail: str
    acknowledgement: Acknowledgement | None = None

    @property
    def id(self) -> str:
        """The id to acknowledge the finding by, without the name of the pack."""
        return f"{self.rule.id}[{self.detail}]" if self.detail else self.rule.id

    @property
    def qualified_id(self) -> str:
        return f"{PACK}::{self.id}"

    @property
    def message(self) -> str:
        return f"{self.rule.title} {self.path or 'Resource'}: {self.seen}; allowed: {self.allowed}."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one rule says about one resource: passes when nothing is found and nothing left open."""

    rule: Rule
    resource: Resource
    findings: tuple[Finding, ...]
    undecided: tuple[Finding, ...]

    @property
    def open_findings(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.acknowledgement is None)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcomes of all rules on all resources."""

    app: App
    rules: tuple[Rule, ...]
    outcomes: tuple[Outcome, ...]
    today: datetime.date

    @property
    def findings(self) -> list[Finding]:
        """The findings that nobody has acknowledged, or not for today."""
        return [finding for outcome in self.outcomes for finding in outcome.open_findings]

    @property
    def acknowledged(self) -> list[Finding]:
        return [f for outcome in self.outcomes for f in outcome.findings if f.acknowledgement is not None]

    @property
    def undecided(self) -> list[Finding]:
        return [finding for outcome in self.outcomes for finding in outcome.undecided]


@dataclass
class Registry:
    """The rules by id, in the order in which they were defined."""

    rules: dict[str, Rule] = field(default_factory=dict)

    def add(self, rule: Rule) -> None:
        if rule.id in self.rules:
            raise ValueError(f"rule {rule.id} is defined twice")
        self.rules[rule.id] = rule

    def select(self, ids: Iterable[str]) -> list[Rule]:
        """The rules named, qualified or not.

        Raises:
            ValueError: for an id that no rule has.
        """
        selected = []
        for given in ids:
            rule_id = given.removeprefix(f"{PACK}::")
            if rule_id not in self.rules:
                raise ValueError(f"unknown rule {given!r}; --list-rules shows the {len(self.rules)} there are")
            selected.append(self.rules[rule_id])
        return selected


REGISTRY: Final = Registry()


def _always(_resource: Resource, _app: App) -> bool:
    return True


def rule(
    *,
    id: str,
    requirements: Sequence[str],
    title: str,
    why: str,
    fix: str,
    types: Sequence[str],
    complies: Sequence[Template],
    violates: Sequence[Template],
    applies: Applies = _always,
    registry: Registry = REGISTRY,
) -> Callable[[Check], Check]:
    """Register the decorated function as a rule of the pack."""

    def register(check: Check) -> Check:
        registry.add(
            Rule(
                id=id,
                requirements=tuple(requirements),
                title=title,
                why=why,
                fix=fix,
                types=tuple(types),
                check=check,
                applies=applies,
                complies=tuple(complies),
                violates=tuple(violates),
            )
        )
        return check

    return register


def evaluate(app: App, rules: Iterable[Rule], *, today: datetime.date) -> Evaluation:
    """Apply `rules` to every resource of `app`, once."""
    selected = tuple(rules)
    acknowledged = {id(resource): acknowledgements(resource) for resource in app.resources}
    outcomes: list[Outcome] = []
    used: set[tuple[str, str]] = set()
    for rule_ in selected:
        if rule_.id in (EXPIRED_RULE, UNUSED_RULE):
            continue
        for resource in app.of_type(*rule_.types) if rule_.types else app.resources:
            if not rule_.applies(resource, app):
                continue
            findings: dict[tuple[str, str], Finding] = {}
            undecided: list[Finding] = []
            for objection in rule_.check(resource, app):
                finding = _finding(rule_, resource, objection)
                if not objection.certain:
                    undecided.append(finding)
                    continue
                for ack in acknowledged[id(resource)]:
                    if ack.id == finding.qualified_id:
                        used.add((ack.id, ack.at))
                        if ack.current(today):
                            finding = _accepted(finding, ack)
                findings[(finding.id, finding.path)] = finding
            outcomes.append(Outcome(rule_, resource, tuple(findings.values()), tuple(undecided)))
    outcomes.extend(_housekeeping(app, selected, acknowledged, used, today))
    return Evaluation(app, selected, tuple(outcomes), today)


def _finding(rule_: Rule, resource: Resource, objection: Objection) -> Finding:
    seen = objection.seen or render(objection.view.value)
    if len(seen) > MAX_SEEN_CHARACTERS:
        seen = seen[: MAX_SEEN_CHARACTERS - 1] + "…"
    path = f"Properties.{objection.view.path}" if objection.view.path else ""
    # The CDK reads "::" and brackets in an id as its own punctuation.
    detail = re.sub(r"[\[\](){}]", "", objection.detail)
    return Finding(rule_, resource, path, seen, objection.allowed, detail)


def _accepted(finding: Finding, ack: Acknowledgement) -> Finding:
    return Finding(finding.rule, finding.resource, finding.path, finding.seen, finding.allowed, finding.detail, ack)


def acknowledgements(resource: Resource) -> list[Acknowledgement]:
    """The acknowledgements in the metadata of `resource`; an unreadable date counts as long past."""
    entry = resource.metadata.get(METADATA_KEY)
    records = entry.get("acknowledged", []) if isinstance(entry, dict) else []
    found = []
    for record in records if isinstance(records, list) else []:
        if not isinstance(record, dict) or not isinstance(record.get("id"), str):
            continue
        try:
            expires = datetime.date.fromisoformat(str(record.get("expires")))
        except ValueError:
            expires = datetime.date.min
        found.append(
            Acknowledgement(
                id=record["id"],
                reason=str(record.get("reason", "")),
                owner=str(record.get("owner", "")),
                expires=expires,
                at=str(record.get("at", resource.path)),
            )
        )
    return found


def _housekeeping(
    app: App,
    rules: Sequence[Rule],
    acknowledged: Mapping[int, list[Acknowledgement]],
    used: set[tuple[str, str]],
    today: datetime.date,
) -> Iterator[Outcome]:
    """Acknowledgements that have expired, and those that no finding needs, each reported once."""
    by_id = {rule_.id: rule_ for rule_ in rules}
    checked = {rule_.qualified_id for rule_ in rules}
    for resource in app.resources:
        acks = acknowledged[id(resource)]
        if not acks:
            continue
        if EXPIRED_RULE in by_id:
            expired = [
                Finding(
                    by_id[EXPIRED_RULE],
                    resource,
                    f"Metadata.{METADATA_KEY}",
                    f"{ack.id} accepted by {ack.owner or 'nobody'} until {ack.expires.isoformat()}",
                    f"a date from {today.isoformat()} on",
                    ack.id.replace("[", "<").replace("]", ">"),
                )
                for ack in acks
                if not ack.current(today)
            ]
            yield Outcome(by_id[EXPIRED_RULE], resource, tuple(expired), ())
    if UNUSED_RULE not in by_id:
        return
    reported: set[tuple[str, str]] = set()
    for resource in app.resources:
        unused = []
        for ack in acknowledged[id(resource)]:
            rule_id = ack.id.split("[", 1)[0]
            ours = ack.id.startswith(f"{PACK}::")
            known = rule_id in checked or rule_id.removeprefix(f"{PACK}::") not in REGISTRY.rules
            if ours and known and (ack.id, ack.at) not in used and (ack.id, ack.at) not in reported:
                reported.add((ack.id, ack.at))
                unused.append(
                    Finding(
                        by_id[UNUSED_RULE],
                        resource,
                        f"Metadata.{METADATA_KEY}",
                        f"{ack.id} acknowledged at {ack.at}, and nothing there to accept",
                        "acknowledgements of findings that exist",
                        ack.id.replace("[", "<").replace("]", ">"),
                    )
                )
        if acknowledged[id(resource)]:
            yield Outcome(by_id[UNUSED_RULE], resource, tuple(unused), ())


def objection(view: View, allowed: str, *, seen: str = "", detail: str = "") -> Objection:
    return Objection(view=view, allowed=allowed, seen=seen, detail=detail)


def undecided(view: View, allowed: str) -> Objection:
    """The value shows only after deployment: neither a pass nor a finding."""
    return Objection(view=view, allowed=allowed, certain=False)


def expect(view: View, allowed: str, holds: Callable[[View], bool]) -> Iterator[Objection]:
    """Object unless `holds`; a value that only a deployment knows is left undecided."""
    if view.unknown:
        yield undecided(view, allowed)
    elif not holds(view):
        yield objection(view, allowed)


def expect_true(view: View, allowed: str = "true") -> Iterator[Objection]:
    yield from expect(view, allowed, lambda v: v.flag is True)


def expect_not_true(view: View, allowed: str = "false or not set") -> Iterator[Objection]:
    yield from expect(view, allowed, lambda v: v.flag is not True)


def expect_at_least(view: View, minimum: float, unit: str = "") -> Iterator[Objection]:
    allowed = f"at least {minimum:g}{' ' + unit if unit else ''}"
    yield from expect(view, allowed, lambda v: v.number is not None and v.number >= minimum)


def varied(template: Template, path: str, value: Any) -> Template:
    """A copy of an example with another value at `path`, e.g. "Key.EnableKeyRotation".

    The path starts with the logical id and goes on inside its Properties; list elements are numbers.
    """
    changed = copy.deepcopy(template)
    parent, last = _walk(changed, path)
    parent[last] = value
    return changed


def without(template: Template, path: str) -> Template:
    """A copy of an example without the resource or the property at `path`."""
    changed = copy.deepcopy(template)
    if "." not in path:
        del changed[path]
        return changed
    parent, last = _walk(changed, path)
    del parent[last]
    return changed


def _walk(template: Template, path: str) -> tuple[Any, Any]:
    logical_id, *keys = path.split(".")
    place: Any = template[logical_id].setdefault("Properties", {})
    for key in keys[:-1]:
        place = place[int(key)] if key.isdigit() else place.setdefault(key, {})
    last = keys[-1]
    return place, int(last) if last.isdigit() else last


def resource(type_: str, **properties: Any) -> dict[str, Any]:
    """A resource of an example."""
    return {"Type": type_, "Properties": properties}


def ref(logical_id: str) -> dict[str, str]:
    return {"Ref": logical_id}


def get_att(logical_id: str, attribute: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [logical_id, attribute]}
