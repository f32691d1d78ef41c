"""The reference of the command line is that of its commands, and what other pages call exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from docs.generate import command_line, pages
from ops.bluegreen.cli import PROGRAM, cli
from ops.bluegreen.documents import SCHEMAS
from ops.bluegreen.errors import Exit
from tests.support.synthesized import PROJECT

CALL = re.compile(r"(?:^|[`\s])(bluegreen(?: [a-z-]+| --?[a-z-]+(?:[ =][\w./-]+)?)+)", re.MULTILINE)
PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")])


def test_the_page_in_the_repository_is_that_of_the_commands() -> None:
    actual = (PROJECT / pages.COMMAND_LINE).read_text()
    assert actual == command_line.document(), f"{pages.COMMAND_LINE} is stale: run `{pages.COMMAND}`"


def test_every_command_exit_code_and_document_is_told() -> None:
    page = command_line.document()
    for words, each in command_line.walk(cli):
        assert f"### {' '.join(words)}\n" in page
        assert each.help, words
    assert all(f"| {int(code)} |" in page for code in Exit)
    assert all(f"### `{model.__name__}`" in page for model in SCHEMAS.values())


def calls(page: Path) -> list[str]:
    return [found.group(1) for found in CALL.finditer(page.read_text())]


def test_pages_call_the_command_line_at_all() -> None:
    assert sum(len(calls(page)) for page in PAGES) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_command_that_a_page_calls_exists_with_its_options(page: Path) -> None:
    wrong = []
    for call in calls(page):
        words = shlex.split(call)[1:]
        known: click.Command = cli
        options = {option for each in cli.params for option in each.opts}
        for word in words:
            if word.startswith("-"):
                if word.partition("=")[0] not in options | {"--help", "-h"}:
                    wrong.append(f"{call}: {word}")
            elif isinstance(known, click.Group) and word in known.commands:
                known = known.commands[word]
                options |= {option for each in known.params for option in (*each.opts, *each.secondary_opts)}
            elif isinstance(known, click.Group) and known is cli and words[0] == word:
                wrong.append(f"{call}: no command {word}")
    assert wrong == [], f"{PROGRAM} has no such thing"
