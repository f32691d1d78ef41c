"""The pack on the templates of this app: nothing open, every rule bites, and the documents are current."""

import datetime
import html
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from policy import rules
from policy.engine import EXPIRED_RULE, REGISTRY, UNUSED_RULE, Evaluation, evaluate
from policy.formats import as_text
from policy.mutations import CATALOGUE, blind, targeted
from policy.report import Status, as_html, as_markdown, matrix
from policy.requirements import REQUIREMENTS, SECTIONS
from tests.support.synthesized import Synthesis

PROJECT = Path(__file__).resolve().parents[2]
MATRIX = PROJECT / "docs" / "pci-dss-4.0.1.md"
TODAY = datetime.date(2026, 11, 24)
ALL = list(REGISTRY.rules.values())

pytestmark = pytest.mark.slow

assert rules.__all__, "importing the rules registers them"


@pytest.fixture(scope="module")
def evaluation(prod: Synthesis) -> Evaluation:
    return evaluate(prod.app, ALL, today=TODAY)


def test_nothing_is_open(either: Synthesis) -> None:
    evaluation = evaluate(either.app, ALL, today=TODAY)

    assert evaluation.findings == [], as_text(evaluation)


def test_nothing_is_left_undecided(evaluation: Evaluation) -> None:
    assert [finding.message for finding in evaluation.undecided] == []


def test_the_validation_report_of_the_cdk_agrees(prod: Synthesis, evaluation: Evaluation) -> None:
    (report,) = [part for part in prod.report["pluginReports"] if part["pluginName"] == "PCI401"]

    assert report["conclusion"] == "success"
    assert report["violations"] == []
    suppressed = {
        (violation["ruleName"], construct["cloudFormationResource"]["logicalId"])
        for violation in report["suppressedViolations"]
        for construct in violation["violatingConstructs"]
    }
    assert suppressed == {(finding.id, finding.resource.logical_id) for finding in evaluation.acknowledged}


def test_every_acknowledgement_ends_within_400_days_of_its_making(evaluation: Evaluation) -> None:
    latest = TODAY + datetime.timedelta(days=400)

    assert [
        f.resource.path for f in evaluation.acknowledged if f.acknowledgement and f.acknowledgement.expires > latest
    ] == []


def test_every_targeted_mutant_is_noticed_by_its_rule(prod: Synthesis) -> None:
    score = targeted(prod.app, today=TODAY, each=2)

    assert [(mutant.rule_id, mutant.title, mutant.resource.path) for mutant in score.survivors] == []
    assert len(score.mutants) > 200


def test_every_rule_with_a_resource_here_is_tried_by_a_mutation(evaluation: Evaluation) -> None:
    passed = {o.rule.id for o in evaluation.outcomes if not o.findings} - {EXPIRED_RULE, UNUSED_RULE}

    assert passed - {mutation.rule_id for mutation in CATALOGUE} == set()


def test_blind_mutants_are_noticed_or_explained(prod: Synthesis) -> None:
    score = blind(prod.app, today=TODAY, each=1)

    controls = score.killed + len(score.unexplained)
    assert score.killed >= 0.95 * controls, [
        f"{mutant.title} on {mutant.resource.path}" for mutant in score.unexplained
    ]


def test_the_engine_is_much_faster_than_a_synthesis(prod: Synthesis) -> None:
    started = time.perf_counter()
    evaluate(Synthesis(prod.config, prod.folder).app, ALL, today=TODAY)

    # 0.15 s on a quiet machine; the bound leaves room for one that is not.
    assert time.perf_counter() - started < 3


def test_the_matrix_in_the_documents_is_current(evaluation: Evaluation) -> None:
    assert MATRIX.read_text() == as_markdown(evaluation), "stale: run `make pci-report`"


def test_the_matrix_has_every_requirement_once_and_says_who_shows_what_templates_cannot(evaluation: Evaluation) -> None:
    rows = matrix(evaluation)

    assert [row.requirement.number for row in rows] == list(REQUIREMENTS)
    assert all(row.requirement.shown_by for row in rows)
    assert {row.status for row in rows} >= {Status.PASSES, Status.ELSEWHERE}
    assert {number.split(".")[0] for number in REQUIREMENTS} == set(SECTIONS)


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)
        else:
            assert tag != "script"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _parsed(evaluation: Evaluation) -> Iterator[_References]:
    parser = _References()
    parser.feed(as_html(evaluation))
    yield parser


def test_the_page_is_well_formed_and_needs_nothing_from_elsewhere(evaluation: Evaluation) -> None:
    (parser,) = _parsed(evaluation)

    assert parser.open == []
    assert all(reference.startswith("#") for reference in parser.found)
    assert "<script" not in as_html(evaluation)
    assert "url(" not in as_html(evaluation)
    assert "@import" not in as_html(evaluation)


def test_the_page_serves_light_and_dark(evaluation: Evaluation) -> None:
    assert "color-scheme:light dark" in as_html(evaluation)
    assert "@media(prefers-color-scheme:dark)" in as_html(evaluation)


def test_the_page_lists_every_resource_of_a_rule(evaluation: Evaluation) -> None:
    page = as_html(evaluation)

    for outcome in evaluation.outcomes:
        assert outcome.resource.path in page


def test_the_page_says_why_a_finding_is_accepted(evaluation: Evaluation) -> None:
    page = as_html(evaluation)
    for finding in evaluation.acknowledged:
        assert finding.acknowledgement is not None
        assert html.escape(finding.acknowledgement.reason) in page
