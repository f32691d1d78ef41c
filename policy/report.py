"""The matrix for an auditor: requirement, rules, resources, and what came of it.

The HTML page stands alone (no script, no font, no picture from elsewhere) and lists every resource. The Markdown
twin says the same per kind of resource, so that it changes when the evidence does and not with every name.
"""

import argparse
import datetime
import html
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import policy.rules  # noqa: F401  registers the rules
from policy.engine import REGISTRY, Evaluation, Finding, Outcome, Rule, evaluate
from policy.formats import summary
from policy.requirements import REQUIREMENTS, SECTIONS, STANDARD, Requirement
from policy.templates import TemplateError, load


class Status(Enum):
    """What the templates say about a requirement, as far as the rules go."""

    FINDINGS = "findings"
    ACKNOWLEDGED = "acknowledged"
    PASSES = "passes"
    NO_RESOURCE = "no such resource"
    ELSEWHERE = "not decidable from templates"


@dataclass(frozen=True, slots=True)
class RuleEvidence:
    """One rule and its outcomes."""

    rule: Rule
    outcomes: tuple[Outcome, ...]

    @property
    def open_findings(self) -> list[Finding]:
        return [finding for outcome in self.outcomes for finding in outcome.open_findings]

    @property
    def acknowledged(self) -> list[Finding]:
        return [f for outcome in self.outcomes for f in outcome.findings if f.acknowledgement is not None]

    @property
    def passing(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if not outcome.findings and not outcome.undecided]

    @property
    def undecided(self) -> list[Finding]:
        return [finding for outcome in self.outcomes for finding in outcome.undecided]

    @property
    def status(self) -> Status:
        if self.open_findings:
            return Status.FINDINGS
        if self.acknowledged:
            return Status.ACKNOWLEDGED
        if self.undecided:
            return Status.ELSEWHERE
        return Status.PASSES if self.outcomes else Status.NO_RESOURCE


@dataclass(frozen=True, slots=True)
class RequirementEvidence:
    """One requirement with the rules that bear on it."""

    requirement: Requirement
    rules: tuple[RuleEvidence, ...]

    @property
    def status(self) -> Status:
        if not self.rules:
            return Status.ELSEWHERE
        found = {evidence.status for evidence in self.rules}
        order = (Status.FINDINGS, Status.ACKNOWLEDGED, Status.ELSEWHERE, Status.PASSES, Status.NO_RESOURCE)
        return next(status for status in order if status in found)


def matrix(evaluation: Evaluation) -> list[RequirementEvidence]:
    """Every requirement of the standard in order, with the evidence there is."""
    outcomes: dict[str, list[Outcome]] = {}
    for outcome in evaluation.outcomes:
        outcomes.setdefault(outcome.rule.id, []).append(outcome)
    return [
        RequirementEvidence(
            requirement,
            tuple(
                RuleEvidence(rule, tuple(outcomes.get(rule.id, ())))
                for rule in evaluation.rules
                if requirement.number in rule.requirements
            ),
        )
        for requirement in REQUIREMENTS.values()
    ]


def section_of(number: str) -> str:
    return number.split(".", 1)[0]


def _rows_by_section(rows: Iterable[RequirementEvidence]) -> dict[str, list[RequirementEvidence]]:
    sections: dict[str, list[RequirementEvidence]] = {number: [] for number in SECTIONS}
    for row in rows:
        sections[section_of(row.requirement.number)].append(row)
    return sections


def _kinds(outcomes: Iterable[Outcome]) -> str:
    """How many resources of each kind, e.g. "2 RDS::DBCluster, 1 S3::Bucket"."""
    counts = Counter(outcome.resource.type.removeprefix("AWS::") for outcome in outcomes)
    return ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))


_INTRODUCTION: Final = (
    f"Each requirement of {STANDARD} with the rules that give evidence for it, the resources they looked at, and the "
    "outcome. The rules read the synthesized templates; what a template cannot show has to be shown by whoever is "
    "named. A pass says that the templates hold what the rule looks for: it is evidence for an assessment, not the "
    "assessment. The subjects of the requirements are paraphrased; the standard itself is the authority."
)


def as_markdown(evaluation: Evaluation) -> str:
    """The matrix in Markdown: per kind of resource, without dates, so that it is stable."""
    rows = matrix(evaluation)
    lines = [
        f"# {STANDARD}: what the templates show",
        "",
        "<!-- Made by `make pci-report`; a test fails when it is stale. -->",
        "",
        _INTRODUCTION,
        "",
        f"{len(evaluation.rules)} rules; {len(evaluation.findings)} open findings; "
        f"{len(evaluation.acknowledged)} acknowledged, listed at the end with reason, owner and date.",
    ]
    for number, entries in _rows_by_section(rows).items():
        lines += ["", f"## {number}. {SECTIONS[number]}", ""]
        lines += [
            "| Requirement | Subject | Outcome | Rules and resources | Shown besides by |",
            "|---|---|---|---|---|",
        ]
        for row in entries:
            rules = "<br>".join(_markdown_rule(evidence) for evidence in row.rules) or "–"
            requirement = row.requirement
            cells = (requirement.number, requirement.subject, row.status.value, rules, requirement.shown_by)
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Acknowledged findings", ""]
    lines += ["| Finding | Resource | Reason | Owner | Until |", "|---|---|---|---|---|"]
    accepted = {_ack_row(finding) for finding in evaluation.acknowledged}
    lines += sorted(accepted) or ["| none | | | | |"]
    lines += ["", "## Rules", "", "| Rule | What must hold | Requirements |", "|---|---|---|"]
    lines += [
        f"| `{rule.id}` | {_cell(rule.title)} | {', '.join(rule.requirements)} |"
        for rule in sorted(evaluation.rules, key=lambda rule: rule.id)
    ]
    return "\n".join(lines) + "\n"


def _markdown_rule(evidence: RuleEvidence) -> str:
    if not evidence.outcomes:
        return f"`{evidence.rule.id}`: no such resource"
    parts = []
    if evidence.open_findings:
        parts.append(f"**{len(evidence.open_findings)} findings**")
    if evidence.acknowledged:
        parts.append(f"{len(evidence.acknowledged)} acknowledged")
    if evidence.undecided:
        parts.append(f"{len(evidence.undecided)} undecided")
    if evidence.passing:
        parts.append(f"passes: {_kinds(evidence.passing) if evidence.rule.types else 'every resource'}")
    return f"`{evidence.rule.id}` {'; '.join(parts)}"


def _ack_row(finding: Finding) -> str:
    ack = finding.acknowledgement
    assert ack is not None
    return (
        f"| `{finding.id}` | {finding.resource.path} | {_cell(ack.reason)} | {_cell(ack.owner)} | "
        f"{ack.expires.isoformat()} |"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def as_html(evaluation: Evaluation) -> str:
    """The matrix as one page that needs nothing else."""
    rows = matrix(evaluation)
    counts = Counter(row.status for row in rows)
    tiles = "".join(
        f'<li class="{_css(status)}"><b>{counts[status]}</b> {html.escape(status.value)}</li>' for status in Status
    )
    navigation = "".join(f'<a href="#r{number}">{number}</a>' for number in SECTIONS)
    sections = "".join(
        f'<section id="r{number}"><h2>{number}. {html.escape(SECTIONS[number])}</h2>'
        f"{''.join(_html_row(row) for row in entries)}</section>"
        for number, entries in _rows_by_section(rows).items()
    )
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{STANDARD}: evidence from the templates</title><style>{_CSS}</style></head><body>"
        f"<header><h1>{STANDARD}: evidence from the templates</h1>"
        f"<p>{html.escape(_INTRODUCTION)}</p>"
        f"<p>{html.escape(summary(evaluation))} As of {evaluation.today.isoformat()}.</p>"
        f'<ul class="tiles">{tiles}</ul><nav aria-label="Sections">{navigation}'
        '<a href="#acknowledged">acknowledged</a></nav></header>'
        f"<main>{sections}{_html_acknowledged(evaluation)}</main></body></html>\n"
    )


def _css(status: Status) -> str:
    return status.name.lower().replace("_", "-")


def _html_row(row: RequirementEvidence) -> str:
    requirement = row.requirement
    rules = "".join(_html_rule(evidence) for evidence in row.rules)
    besides = "Shown by" if not row.rules else "Besides, shown by"
    return (
        f'<details id="r{requirement.number}"><summary><span class="number">{requirement.number}</span> '
        f"<span>{html.escape(requirement.subject)}</span> "
        f'<span class="status {_css(row.status)}">{html.escape(row.status.value)}</span></summary>'
        f"{rules}<p>{besides}: {html.escape(requirement.shown_by)}.</p></details>"
    )


def _html_rule(evidence: RuleEvidence) -> str:
    rule = evidence.rule
    outcomes = "".join(_html_outcome(outcome) for outcome in evidence.outcomes)
    many = len(evidence.outcomes) > _FOLD_ABOVE and not evidence.open_findings
    table = f"<table><tr><th>Resource</th><th>Kind</th><th>Outcome</th></tr>{outcomes}</table>"
    if not evidence.outcomes:
        table = "<p>No resource of this kind in the templates.</p>"
    elif many:
        table = f"<details><summary>{len(evidence.outcomes)} resources</summary>{table}</details>"
    return (
        f'<article><h3>{html.escape(rule.id)} <span class="status {_css(evidence.status)}">'
        f"{html.escape(evidence.status.value)}</span></h3>"
        f"<p>{html.escape(rule.title)} {html.escape(rule.why)}</p>{table}</article>"
    )


_FOLD_ABOVE: Final = 12


def _html_outcome(outcome: Outcome) -> str:
    notes = []
    for finding in outcome.findings:
        ack = finding.acknowledgement
        if ack is None:
            notes.append(f"finding: {finding.path} {finding.seen}; allowed: {finding.allowed}")
        else:
            notes.append(f"acknowledged: {finding.id}: {ack.reason} ({ack.owner}, until {ack.expires.isoformat()})")
    notes += [f"undecided: {finding.path}" for finding in outcome.undecided]
    text = "<br>".join(html.escape(note) for note in notes) or "pass"
    return (
        f"<tr><td>{html.escape(outcome.resource.path)}</td>"
        f"<td>{html.escape(outcome.resource.type.removeprefix('AWS::'))}</td><td>{text}</td></tr>"
    )


def _html_acknowledged(evaluation: Evaluation) -> str:
    rows = []
    for finding in evaluation.acknowledged:
        ack = finding.acknowledgement
        if ack is not None:
            cells = (finding.qualified_id, finding.resource.path, ack.reason, ack.owner, ack.expires.isoformat())
            rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    body = "".join(rows) or '<tr><td colspan="5">none</td></tr>'
    return (
        '<section id="acknowledged"><h2>Acknowledged findings</h2><table><tr><th>Finding</th><th>Resource</th>'
        f"<th>Reason</th><th>Owner</th><th>Until</th></tr>{body}</table></section>"
    )


_CSS: Final = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--soft:#f3f5f7;--line:#d5dae0;--muted:#57606a;
--pass:#116329;--ack:#7d4e00;--find:#a40e26;--none:#57606a;--link:#0a58ca}
@media(prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e6e9ed;--soft:#1d2127;--line:#343b44;--muted:#9aa4af;
--pass:#5bd27f;--ack:#f0b95a;--find:#ff8a8f;--none:#9aa4af;--link:#7fb3ff}}
body{background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:70rem;padding:1rem}
h1{font-size:1.6rem}h2{border-bottom:1px solid var(--line);margin-top:2rem;padding-bottom:.3rem}
h3{font-size:1rem;margin:.8rem 0 .2rem}
a{color:var(--link)}nav a{margin-right:.8rem}
.tiles{display:flex;flex-wrap:wrap;gap:.6rem;list-style:none;padding:0}
.tiles li{border:1px solid var(--line);border-left:.4rem solid var(--none);border-radius:.3rem;padding:.4rem .8rem}
.tiles .findings{border-left-color:var(--find)}.tiles .acknowledged{border-left-color:var(--ack)}
.tiles .passes{border-left-color:var(--pass)}
section>details{border:1px solid var(--line);border-radius:.3rem;margin:.3rem 0;padding:.3rem .8rem}
summary{cursor:pointer}.number{display:inline-block;font-weight:600;min-width:5rem}
.status{border:1px solid currentColor;border-radius:1rem;font-size:.8rem;padding:0 .5rem;white-space:nowrap}
.status.passes{color:var(--pass)}.status.acknowledged{color:var(--ack)}.status.findings{color:var(--find)}
.status.no-resource,.status.elsewhere{color:var(--none)}
article{background:var(--soft);border-radius:.3rem;margin:.5rem 0;padding:.2rem .8rem .6rem}
table{border-collapse:collapse;display:block;overflow-x:auto;font-size:.9rem}
td,th{border:1px solid var(--line);padding:.2rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{color:var(--muted);font-weight:600}
@media print{details{display:block}details>*{display:block}}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the matrix of the templates at a path; returns the exit status of `python -m policy`."""
    parser = argparse.ArgumentParser(prog="pci-report", description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--html", type=Path, required=True)
    parser.add_argument("--markdown", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        app = load(options.path)
    except TemplateError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    evaluation = evaluate(app, REGISTRY.rules.values(), today=datetime.datetime.now(datetime.UTC).date())
    for file, text in ((options.html, as_html(evaluation)), (options.markdown, as_markdown(evaluation))):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        print(f"Written: {file}")
    print(summary(evaluation))
    return 1 if evaluation.findings else 0


if __name__ == "__main__":
    sys.exit(main())
