"""The runbook has a page for each alarm, and for each state in which a cutover can stop."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cutover_state.run import Phase
from policy.templates import Resource
from tests.support.synthesized import PROJECT, Synthesis, name_of, plain
from writer_switch import Result

FOLDER = PROJECT / "docs"
RUNBOOK = (FOLDER / "runbook.md").read_text()
PAGES = sorted((FOLDER / "runbook").glob("*.md"))
QUESTIONS = ("## What it means", "## What to look at", "## What to do", "## How to know that it worked")
SECTIONS = {
    heading.lower().replace(" ", "-"): text
    for heading, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
}
NEED_NOTHING = {Result.SWITCHED, Result.ALREADY_SWITCHED, Result.WOULD_SWITCH}


def rows(section: str) -> list[tuple[list[str], Path]]:
    """What each row of the section's table names in code, and the page that it leads to."""
    found = re.findall(r"^\| (`.*?) \| \[[^\]]+\]\((runbook/[\w-]+\.md)\) \|$", SECTIONS[section], re.MULTILINE)
    return [(re.findall(r"`([^`]+)`", names), FOLDER / page) for names, page in found]


def alarms(synthesis: Synthesis) -> list[Resource]:
    return synthesis.app.of_type("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")


def anchors(alarm: Resource) -> set[str]:
    return set(re.findall(r"docs/runbook\.md#([\w-]+)", str(plain(alarm["AlarmDescription"]))))


def test_the_section_that_an_alarm_names_exists(either: Synthesis) -> None:
    assert {anchor for each in alarms(either) for anchor in anchors(each)} <= set(SECTIONS)


@pytest.mark.parametrize("stack", ["Observability", "Cutover"])
def test_every_alarm_names_a_section(either: Synthesis, stack: str) -> None:
    assert [
        name_of(each) for each in alarms(either) if name_of(each).startswith(f"{stack}/") and len(anchors(each)) != 1
    ] == []


@pytest.mark.parametrize("section", ["environment", "replication", "rotation", "firewall", "legacy", "controllers"])
def test_the_table_of_a_section_has_the_alarms_that_name_it_and_no_other(either: Synthesis, section: str) -> None:
    names = {name_of(each).partition("/")[2] for each in alarms(either) if section in anchors(each)}
    if section == "environment":
        # ECS acts on this one; nobody is told of it, so its description names no section.
        names |= {name_of(each).partition("/")[2] for each in alarms(either) if name_of(each).startswith("Compute/")}
    endings = [name.lstrip("…") for told, _ in rows(section) for name in told]

    assert names
    assert [name for name in names if sum(name.endswith(ending) for ending in endings) < 1] == []
    assert [ending for ending in endings if not any(name.endswith(ending) for name in names)] == []


def test_every_phase_of_a_cutover_has_a_page() -> None:
    told = {name for names, _ in rows("where-a-cutover-can-stop") for name in names}

    assert told == {phase.value for phase in Phase}


def test_every_result_of_a_writer_switch_that_needs_somebody_has_a_page() -> None:
    told = {name for names, _ in rows("how-a-switch-of-the-writer-can-end") for name in names}

    assert told == {result.value for result in Result if result not in NEED_NOTHING}
    for result in NEED_NOTHING:
        assert f"`{result.value}`" in SECTIONS["how-a-switch-of-the-writer-can-end"]


def test_every_page_is_in_the_runbook_once() -> None:
    listed = [page for section in SECTIONS for _, page in rows(section)]

    assert sorted(listed) == PAGES
    assert len(PAGES) > 30


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_it_means_what_to_look_at_what_to_do_and_how_to_know(page: Path) -> None:
    text = page.read_text()
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)

    assert [part.partition("\n")[0] for part in parts[1:]] == list(QUESTIONS)
    assert all(len(part.split()) > 8 for part in parts)
    assert text.startswith("# ")


def test_every_parameter_that_the_runbook_reads_exists(prod: Synthesis) -> None:
    read = set(re.findall(r"\$\(get ([\w-]+)\)", RUNBOOK))
    written = {str(plain(each["Name"])) for each in prod.every("AWS::SSM::Parameter", "Configuration")}

    assert len(read) >= 4
    assert {f"/payments/prod/shared/{name}" for name in read} - written == set()
