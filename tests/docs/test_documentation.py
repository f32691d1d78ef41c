"""What any page says exists, exists: links and anchors, make targets, commands with their options, plans, settings."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from cutover_plan import Direction, parse_plan
from ops.bluegreen.cli import cli
from tests.support.synthesized import PROJECT
from verdict import Settings

TRACKED = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True,
                         check=False).stdout.splitlines()  # fmt: skip
PAGES = sorted(PROJECT / name for name in TRACKED if name.endswith(".md") and (PROJECT / name).exists())
MAKEFILE = (PROJECT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
SHELLS = ("sh", "bash", "console", "")


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    """All tokens of a page, those within lines too."""
    blocks = MarkdownIt("commonmark").enable("table").parse(page.read_text())
    return tuple(each for block in blocks for each in (block, *(block.children or ())))


@cache
def anchors(page: Path) -> set[str]:
    """Anchors as GitHub makes them of headings; a heading that comes again gets a number."""
    found: dict[str, int] = {}
    made = set()
    parsed = tokens(page)
    for before, token in itertools.pairwise(parsed):
        if before.type != "heading_open":
            continue
        words = "".join(each.content for each in token.children or () if each.type in ("text", "code_inline"))
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        count = found[slug] = found.get(slug, -1) + 1
        made.add(f"{slug}-{count}" if count else slug)
    return made


def links(page: Path) -> Iterator[str]:
    """Targets of links and pictures that are in this project."""
    for token in tokens(page):
        target = token.attrGet("href") or token.attrGet("src")
        if isinstance(target, str) and not re.match(r"[a-z]+:", target):
            yield unquote(target)


def commands(page: Path, program: str) -> list[list[str]]:
    """Every call of the program, from blocks for a shell and from code within a line, in words."""
    found = []
    for token in tokens(page):
        if token.type == "fence" and token.info.strip() in SHELLS:
            lines = token.content.replace("\\\n", " ").splitlines()
        elif token.type == "code_inline":
            lines = [token.content]
        else:
            continue
        found += [line.strip().removeprefix("$ ") for line in lines]
    return [shlex.split(line, comments=True) for line in found if line.split()[:1] == [program]]


def relative(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def test_there_are_pages() -> None:
    assert len(PAGES) > 70


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_link_and_anchor_of_a_page_leads_somewhere(page: Path) -> None:
    broken = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        exists = path.exists() and path.is_relative_to(PROJECT)
        if not exists or (anchor and (path.suffix != ".md" or anchor not in anchors(path))):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_make_target_of_a_page_exists(page: Path) -> None:
    named = {word for words in commands(page, "make") for word in words[1:] if re.fullmatch(r"[a-z][a-z-]*", word)}
    assert named <= TARGETS


def check(words: list[str]) -> None:
    """Read a command line as the program would, and do nothing.

    Raises:
        click.ClickException: an unknown command or option, a wrong or a missing value.
    """
    command: click.Command = cli
    context = cli.make_context("bluegreen", list(words), resilient_parsing=not words)
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        if not rest:
            return
        name, found, after = command.resolve_command(context, rest)
        assert found is not None
        # A group without a command is named as a whole, which is no call.
        context = found.make_context(name, list(after), parent=context, resilient_parsing=not after)
        command = found


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_command_of_the_operators_that_a_page_shows_is_understood(page: Path) -> None:
    refused = []
    for words in commands(page, "bluegreen"):
        try:
            check(words[1:])
        except click.ClickException as error:
            refused.append(f"{shlex.join(words)}: {error.format_message()}")
        except click.exceptions.Exit:  # --help
            continue
    assert refused == []


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    for wrong in (["promenade"], ["status", "--wach"], ["shift", "teal"], ["history", "--last", "many"]):
        with pytest.raises(click.ClickException):
            check(wrong)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_plan_that_a_page_shows_is_a_plan(page: Path) -> None:
    for token in tokens(page):
        if token.type == "fence" and token.info.strip() == "json" and '"steps"' in token.content:
            plan = parse_plan(json.loads(token.content), direction=Direction.BLUE_TO_GREEN)
            assert plan.steps[-1].weight_percent == 100


def test_the_settings_of_the_verdict_are_those_of_the_page() -> None:
    page = (PROJECT / "docs" / "adapting.md").read_text()
    table = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]+) \|", page, re.MULTILINE))
    settings = Settings().to_json()
    limits = settings.pop("limits")
    # One minute is what CloudWatch has.
    settings.pop("period_seconds")
    assert set(table) == {*settings, *(f"limits.{name}" for name in limits)}
    for name, value in settings.items():
        told = [float(number) for number in table[name].split(",")]
        assert told == [float(each) for each in (value if isinstance(value, list) else [value])]
    for name in ("validation_failures_maximum", "missing_seconds_maximum"):
        assert int(table[f"limits.{name}"]) == limits[name]


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [PROJECT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in links(page):
            path = (page.parent / target.partition("#")[0]).resolve() if target.partition("#")[0] else page
            if path.suffix == ".md" and path.exists():
                waiting.append(path)
            elif path.is_dir():
                waiting += path.glob("*.md")
    assert [relative(page) for page in PAGES if page not in reached] == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_a_page_has_one_title_and_skips_no_level(page: Path) -> None:
    levels = [int(token.tag[1]) for token in tokens(page) if token.type == "heading_open"]
    assert levels[:1] == [1]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
