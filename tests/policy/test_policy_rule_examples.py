"""Every rule against its own examples: the examples are the tests."""

import datetime
import re

import pytest

from policy import rules
from policy.engine import EXPIRED_RULE, REGISTRY, UNUSED_RULE, Evaluation, Rule, Template, evaluate
from policy.requirements import REQUIREMENTS
from policy.templates import from_templates

TODAY = datetime.date(2026, 11, 24)
ALL = list(REGISTRY.rules.values())

assert rules.__all__, "importing the rules registers them"


def _evaluate(rule: Rule, example: Template) -> Evaluation:
    app = from_templates({"example.json": {"Resources": example}})
    with_others = rule.id in (EXPIRED_RULE, UNUSED_RULE)
    return evaluate(app, ALL if with_others else [rule], today=TODAY)


def _examples(kind: str) -> tuple[list[tuple[Rule, Template]], list[str]]:
    numbered = [(rule, number, example) for rule in ALL for number, example in enumerate(getattr(rule, kind))]
    return [(rule, example) for rule, _, example in numbered], [f"{rule.id}-{n}" for rule, n, _ in numbered]


COMPLYING, COMPLYING_IDS = _examples("complies")
VIOLATING, VIOLATING_IDS = _examples("violates")


@pytest.mark.parametrize(("rule", "example"), COMPLYING, ids=COMPLYING_IDS)
def test_a_complying_example_gives_no_finding(rule: Rule, example: Template) -> None:
    evaluation = _evaluate(rule, example)
    found = [o for o in evaluation.outcomes if o.rule is rule]

    assert [f.message for o in found for f in (*o.open_findings, *o.undecided)] == []


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.id)
def test_a_rule_is_about_a_resource_of_some_complying_example(rule: Rule) -> None:
    outcomes = [o for example in rule.complies for o in _evaluate(rule, example).outcomes if o.rule is rule]

    assert outcomes, "no complying example holds a resource that the rule looks at"


@pytest.mark.parametrize(("rule", "example"), VIOLATING, ids=VIOLATING_IDS)
def test_a_violating_example_gives_a_finding(rule: Rule, example: Template) -> None:
    assert rule.id in {finding.rule.id for finding in _evaluate(rule, example).findings}


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.id)
def test_a_rule_says_all_that_a_reader_needs(rule: Rule) -> None:
    assert rule.complies
    assert rule.violates
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", rule.id)
    for text in (rule.title, rule.why, rule.fix):
        assert text.endswith((".", ").")), text
        assert len(text) > 15, text


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.id)
def test_a_rule_cites_requirements_of_the_standard(rule: Rule) -> None:
    assert rule.requirements
    assert set(rule.requirements) <= set(REQUIREMENTS)


def test_the_pack_has_at_least_sixty_rules() -> None:
    assert len(ALL) >= 60


def test_a_finding_names_resource_place_value_and_what_is_allowed() -> None:
    rule = REGISTRY.rules["DatabaseStorageEncrypted"]

    (finding,) = _evaluate(rule, rule.violates[0]).findings

    assert finding.resource.path == "example/Cluster"
    assert finding.path == "Properties.StorageEncrypted"
    assert (finding.seen, finding.allowed) == ("false", "true")
    assert finding.qualified_id == "PCI401::DatabaseStorageEncrypted"


SECRETS_IN_EXAMPLES = ("horse", "abc123", "IOSFODNN7EXAMPLE", "MIIE")


def test_no_finding_tells_the_credential_that_it_found() -> None:
    examples = [
        example for rule in ALL for example in rule.violates if any(s in str(example) for s in SECRETS_IN_EXAMPLES)
    ]
    app = from_templates({f"{n}.json": {"Resources": example} for n, example in enumerate(examples)})

    findings = evaluate(app, ALL, today=TODAY).findings

    assert len(examples) > 8
    assert [f.message for f in findings if any(secret in f.message for secret in SECRETS_IN_EXAMPLES)] == []
