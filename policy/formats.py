"""An evaluation as text for a terminal, as JSON, and as SARIF 2.1.0 for code scanning."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final

from policy.engine import PACK, PACK_VERSION, Evaluation, Finding, Rule
from policy.requirements import STANDARD

SARIF_VERSION: Final = "2.1.0"
SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def as_text(evaluation: Evaluation) -> str:
    """One paragraph for each finding, and a line that sums up."""
    paragraphs = [_paragraph(finding) for finding in evaluation.findings]
    return "\n\n".join([*paragraphs, summary(evaluation)])


def _paragraph(finding: Finding) -> str:
    place = f"{finding.resource.type} {finding.resource.logical_id} in {finding.resource.stack.file.name}"
    return "\n".join(
        (
            f"{finding.qualified_id} at {finding.resource.path}",
            f"  {finding.message}",
            f"  {finding.rule.fix}",
            f"  {place}; {STANDARD}: {', '.join(finding.rule.requirements)}",
        )
    )


def summary(evaluation: Evaluation) -> str:
    app = evaluation.app
    counts = (
        _count(len(evaluation.findings), "finding"),
        f"{len(evaluation.acknowledged)} acknowledged",
        f"{len(evaluation.undecided)} undecided",
    )
    checked = (
        _count(len(evaluation.rules), "rule"),
        _count(len(app.resources), "resource"),
        _count(len(app.stacks), "template"),
    )
    return f"{', '.join(counts)}: {', '.join(checked)}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def as_json(evaluation: Evaluation) -> str:
    return json.dumps(
        {
            "pack": PACK,
            "version": PACK_VERSION,
            "standard": STANDARD,
            "date": evaluation.today.isoformat(),
            "templates": len(evaluation.app.stacks),
            "resources": len(evaluation.app.resources),
            "rules": [rule.id for rule in evaluation.rules],
            "findings": [_as_dict(finding) for finding in evaluation.findings],
            "acknowledged": [_as_dict(finding) for finding in evaluation.acknowledged],
            "undecided": [_as_dict(finding) for finding in evaluation.undecided],
        },
        indent=2,
    )


def _as_dict(finding: Finding) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": finding.qualified_id,
        "requirements": list(finding.rule.requirements),
        "title": finding.rule.title,
        "stack": finding.resource.stack.name,
        "template": finding.resource.stack.file.name,
        "logicalId": finding.resource.logical_id,
        "type": finding.resource.type,
        "path": finding.resource.path,
        "property": finding.path,
        "seen": finding.seen,
        "allowed": finding.allowed,
        "fix": finding.rule.fix,
    }
    if finding.acknowledgement is not None:
        ack = finding.acknowledgement
        entry["acknowledgement"] = {
            "reason": ack.reason,
            "owner": ack.owner,
            "expires": ack.expires.isoformat(),
            "at": ack.at,
        }
    return entry


def as_sarif(evaluation: Evaluation, root: Path) -> str:
    """SARIF with the paths of the templates relative to `root`; acknowledged findings are suppressed results."""
    lines = _LineFinder()
    index = {rule.id: number for number, rule in enumerate(evaluation.rules)}
    results = [_result(finding, index, lines, root) for finding in (*evaluation.findings, *evaluation.acknowledged)]
    log = {
        "$schema": SARIF_SCHEMA,
        "version": SARIF_VERSION,
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": PACK,
                        "semanticVersion": PACK_VERSION,
                        "informationUri": "https://www.pcisecuritystandards.org/document_library/",
                        "rules": [_reporting_descriptor(rule) for rule in evaluation.rules],
                    }
                },
                "columnKind": "utf16CodeUnits",
                "results": results,
            }
        ],
    }
    return json.dumps(log, indent=2)


def _reporting_descriptor(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.title} {rule.why}"},
        "help": {"text": rule.fix, "markdown": f"{rule.why}\n\n**Fix:** {rule.fix}"},
        "defaultConfiguration": {"level": "error"},
        "properties": {
            "tags": ["security", *(f"{STANDARD} {number}" for number in rule.requirements)],
            "precision": "high",
            "security-severity": "7.0",
        },
    }


def _result(finding: Finding, index: dict[str, int], lines: "_LineFinder", root: Path) -> dict[str, Any]:
    file = finding.resource.stack.file
    uri = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()
    identity = "\n".join((finding.qualified_id, finding.resource.stack.name, finding.resource.logical_id, finding.path))
    result: dict[str, Any] = {
        "ruleId": finding.rule.id,
        "ruleIndex": index[finding.rule.id],
        "level": "error",
        "message": {"text": f"{finding.resource.path}: {finding.message}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": uri},
                    "region": {"startLine": lines.line(file, finding.resource.logical_id)},
                },
                "logicalLocations": [
                    {
                        "name": finding.resource.logical_id,
                        "fullyQualifiedName": finding.resource.path,
                        "kind": "resource",
                    }
                ],
            }
        ],
        "partialFingerprints": {"finding/v1": hashlib.sha256(identity.encode()).hexdigest()},
        "properties": {"acknowledgeAs": finding.qualified_id},
    }
    if finding.acknowledgement is not None:
        ack = finding.acknowledgement
        result["suppressions"] = [
            {
                "kind": "external",
                "status": "accepted",
                "justification": f"{ack.reason} ({ack.owner}, until {ack.expires.isoformat()})",
            }
        ]
    return result


class _LineFinder:
    """Finds the line at which a resource stands in its template."""

    def __init__(self) -> None:
        self._lines: dict[Path, dict[str, int]] = {}

    def line(self, file: Path, logical_id: str) -> int:
        if file not in self._lines:
            self._lines[file] = self._index(file)
        return self._lines[file].get(logical_id, 1)

    @staticmethod
    def _index(file: Path) -> dict[str, int]:
        found: dict[str, int] = {}
        if not file.is_file():
            return found
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            match = re.match(r'\s*"([A-Za-z0-9]+)":\s*\{', line)
            if match:
                found.setdefault(match[1], number)
        return found


def as_rule_list(rules: list[Rule]) -> str:
    width = max(len(rule.id) for rule in rules)
    return "\n".join(f"{rule.id:<{width}}  {rule.title}  [{', '.join(rule.requirements)}]" for rule in rules)


def as_explanation(rule: Rule) -> str:
    """Everything about a rule, with its first examples."""
    return "\n".join(
        (
            f"{rule.qualified_id}: {rule.title}",
            "",
            f"Why: {rule.why}",
            f"Fix: {rule.fix}",
            f"{STANDARD}: {', '.join(rule.requirements)}",
            f"Looks at: {', '.join(rule.types) or 'every resource'}",
            "",
            "Complies:",
            _indented(rule.complies[0]),
            "",
            "Does not comply:",
            _indented(rule.violates[0]),
        )
    )


def _indented(example: dict[str, Any]) -> str:
    return "\n".join(f"  {line}" for line in json.dumps(example, indent=2).splitlines())
