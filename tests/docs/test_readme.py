"""What the README and the other pages say exists, exists."""

from __future__ import annotations

import copy
import os
import re
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from docs.generate import costs
from docs.generate.synthesis import file_stem, nested_stacks
from stacks import context as stage_context
from stacks.config import ConfigurationError
from tests.support.synthesized import CONTEXT, PROJECT, Synthesis

README = (PROJECT / "README.md").read_text()
PAGES = sorted(
    [
        PROJECT / "README.md",
        PROJECT / "CONTRIBUTING.md",
        PROJECT / "CHANGELOG.md",
        *(PROJECT / "docs").glob("*.md"),
        *(PROJECT / "docs" / "decisions").glob("*.md"),
    ]
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MAKE = re.compile(r"`make ([a-z][a-z-]*)(?=[` ])")
PATH = re.compile(r"`((?:stacks|constructs|lambda|service|policy|rehearsal|docs|tests|benchmarks)/[\w./-]*)`")


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Cells of the rows below the head of each table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for before, line in zip(["", *lines], lines, strict=False)
        if before and not set(line) <= set("|-: ") and not line.startswith("| asked for")
    ]


REQUIREMENTS = [row for row in rows(section("What is asked for, and where it is")) if len(row) == 4]


def anchors(page: Path) -> set[str]:
    """Anchors that GitHub makes of the headings."""
    headings = [line.lstrip("#").strip() for line in page.read_text().splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (PROJECT / "Makefile").read_text(), re.MULTILINE))


def test_the_table_has_a_row_for_every_nested_stack(prod: Synthesis) -> None:
    named = {row[1].strip("`") for row in REQUIREMENTS}
    assert named == {file_stem(name) for name in nested_stacks(prod.app)} | {"root"}


@pytest.mark.parametrize("row", REQUIREMENTS, ids=lambda row: row[0][:50])
def test_the_resources_of_a_requirement_are_in_its_stack(row: list[str], prod: Synthesis) -> None:
    stacks = {file_stem(name): stack for name, stack in nested_stacks(prod.app).items()}
    stacks["root"] = next(stack for stack in prod.app.stacks if stack.parent is None)
    present = {resource.type for resource in stacks[row[1].strip("`")].resources.values()}
    wanted = set(re.findall(r"`((?:AWS|Custom)::[\w:]+)`", row[2]))
    assert wanted, "a row names at least one resource type"
    assert wanted <= present


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text()):
        if target.startswith(("https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_and_make_target_of_a_page_exists(page: Path) -> None:
    text = page.read_text()
    paths = [path for path in PATH.findall(text) if not (PROJECT / path).exists() and "*" not in path]
    # Pages say of two paths that they must not exist.
    assert set(paths) <= {"constructs/__init__.py", "lambda/__init__.py"}
    assert set(MAKE.findall(text)) <= make_targets()


def test_the_architecture_page_links_the_file_of_every_nested_stack(prod: Synthesis) -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text()
    linked = re.findall(r"\| \[(\w+)\]\(\.\./stacks/(\w+)\.py\)", page)
    assert linked == [(file_stem(name), file_stem(name)) for name in nested_stacks(prod.app)]


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    commands = section("Two commands").partition("```sh\n")[2].partition("```")[0].split("\n")
    test_command = commands[1]
    script = (PROJECT / ".ci" / "run").read_text()
    assert test_command == "make test"
    assert script.rstrip().splitlines()[-1] == test_command
    assert (PROJECT / ".ci" / "run").stat().st_mode & 0o111


def test_continuous_integration_fails_when_the_tests_fail(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_bytes((PROJECT / ".ci" / "run").read_bytes())
    (tmp_path / "Makefile").write_text("test:\n\t@echo CI=$$CI\n\t@exit 3\n")
    # A make above us, `make test`, would have this one say which folder it enters.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    done = subprocess.run(
        ["bash", ".ci/run"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert done.stdout.startswith("CI=")
    assert done.stdout.strip() != "CI="


def test_the_refused_configuration_in_the_readme_is_refused_like_that() -> None:
    shown = next(line for line in README.splitlines() if line.startswith("stages.prod."))
    changed = copy.deepcopy(dict(CONTEXT))
    changed["stages"]["prod"].setdefault("compute", {})["max_tasks"] = 2
    with pytest.raises(ConfigurationError) as refused:
        stage_context.load(changed)
    assert refused.value.mistakes == (shown,)


def test_the_sum_in_the_readme_is_near_the_computed_one(prod: Synthesis) -> None:
    said = re.search(r"About \$([\d,]+) a month", README)
    assert said
    computed = sum(
        (item.monthly for stack in nested_stacks(prod.app).values() for item in costs.items_of(prod.app, stack)),
        Decimal(0),
    )
    assert abs(Decimal(said[1].replace(",", "")) - computed) <= computed * Decimal("0.05")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_parameter_that_a_page_reads_is_written(page: Path, prod: Synthesis) -> None:
    text = page.read_text()
    read = set(re.findall(r"--name (/payments/prod/[\w/-]+)", text))
    read |= {f"/payments/prod/shared/{name}" for name in re.findall(r"\$\(get ([a-z][a-z-]+)\)", text)}
    assert read <= {parameter["Name"].text for parameter in prod.every("AWS::SSM::Parameter")}


def test_the_layout_names_every_folder() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    folders = {name.split("/")[0] for name in tracked if "/" in name and not name.startswith(".")}
    named = set(re.findall(r"\]\((\w+)\)", section("Layout")))
    assert folders <= named | {"docs"}


def test_source_roots_are_no_packages() -> None:
    assert [root for root in ("constructs", "lambda", "service") if (PROJECT / root / "__init__.py").exists()] == []
