"""`python -m policy cdk.out`: PCI DSS 4.0.1 over any folder of JSON templates, with or without the CDK.

Exit status: 0 nothing found, 1 findings, 2 the input cannot be read or is wrong.
"""

import argparse
import datetime
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

import policy.rules  # noqa: F401  registers the rules
from policy.engine import REGISTRY, Rule, evaluate
from policy.formats import as_explanation, as_json, as_rule_list, as_sarif, as_text
from policy.templates import TemplateError, load

CLEAN: Final = 0
FINDINGS: Final = 1
UNREADABLE: Final = 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(UNREADABLE, f"{self.prog}: {message}\n")


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; write YYYY-MM-DD") from None


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="policy",
        description="Check CloudFormation templates (JSON) against rules for PCI DSS 4.0.1.",
        epilog="Exit status: 0 nothing found, 1 findings, 2 the input cannot be read.",
    )
    parser.add_argument("path", nargs="?", type=Path, default=Path("cdk.out"), help="folder or template [cdk.out]")
    parser.add_argument("--format", choices=("text", "json", "sarif"), default="text", help="output [text]")
    parser.add_argument("--rules", metavar="ID[,ID...]", help="apply these rules only")
    parser.add_argument("--date", type=_date, metavar="YYYY-MM-DD", help="when acknowledgements must be valid [today]")
    parser.add_argument("--list-rules", action="store_true", help="list the rules and stop")
    parser.add_argument("--explain", metavar="ID", help="explain a rule, with examples, and stop")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        rules = _selected(options.rules)
        if options.list_rules:
            print(as_rule_list(rules))
            return CLEAN
        if options.explain:
            (rule,) = REGISTRY.select([options.explain])
            print(as_explanation(rule))
            return CLEAN
        app = load(options.path)
    except (TemplateError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return UNREADABLE
    today = options.date or datetime.datetime.now(datetime.UTC).date()
    evaluation = evaluate(app, rules, today=today)
    if options.format == "json":
        print(as_json(evaluation))
    elif options.format == "sarif":
        print(as_sarif(evaluation, options.path if options.path.is_dir() else options.path.parent))
    else:
        print(as_text(evaluation))
    return FINDINGS if evaluation.findings else CLEAN


def _selected(ids: str | None) -> list[Rule]:
    if ids is None:
        return list(REGISTRY.rules.values())
    return REGISTRY.select(part.strip() for part in ids.split(","))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        # Whoever reads has read enough, e.g. `| head`; Python would complain once more when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FINDINGS)
