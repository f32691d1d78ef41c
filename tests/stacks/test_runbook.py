"""The runbook has what the alarms point to."""

from __future__ import annotations

import re

import pytest

from policy.templates import Resource
from tests.support.synthesized import PROJECT, Synthesis, name_of, plain

RUNBOOK = (PROJECT / "docs" / "runbook.md").read_text()
QUESTIONS = ("**What it means.**", "**What to look at.**", "**What to do.**", "**How to know that it worked.**")
SECTIONS = {
    heading.lower().replace(" ", "-"): text
    for heading, text in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
}


def alarms(synthesis: Synthesis) -> list[Resource]:
    return synthesis.app.of_type("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")


def anchors(synthesis: Synthesis) -> set[str]:
    descriptions = [str(plain(each["AlarmDescription"])) for each in alarms(synthesis)]
    return {anchor for text in descriptions for anchor in re.findall(r"docs/runbook\.md#([\w-]+)", text)}


def test_every_section_that_an_alarm_names_exists_and_no_other(either: Synthesis) -> None:
    assert anchors(either) == set(SECTIONS)


@pytest.mark.parametrize("stack", ["Observability", "Cutover"])
def test_every_alarm_names_a_section(either: Synthesis, stack: str) -> None:
    assert [
        name_of(each)
        for each in alarms(either)
        if name_of(each).startswith(f"{stack}/") and "docs/runbook.md#" not in str(plain(each["AlarmDescription"]))
    ] == []


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_to_look_at_what_to_do_and_how_to_know(name: str) -> None:
    places = [SECTIONS[name].find(question) for question in QUESTIONS]

    assert -1 not in places
    assert places == sorted(places)


def test_every_alarm_of_the_controllers_is_in_the_table(prod: Synthesis) -> None:
    told = re.findall(r"`(\S+?)`", " ".join(re.findall(r"^\| (`.*?) \|", SECTIONS["controllers"], re.MULTILINE)))
    names = {name_of(each).partition("/")[2] for each in alarms(prod) if name_of(each).startswith("Cutover/")}

    endings = tuple(each.lstrip("…") for each in told)
    assert [name for name in names if not name.endswith(endings)] == []
    assert [each for each in endings if not any(name.endswith(each) for name in names)] == []


def test_every_parameter_that_the_runbook_reads_exists(prod: Synthesis) -> None:
    read = set(re.findall(r"\$\(get ([\w-]+)\)", RUNBOOK))
    written = {str(plain(each["Name"])) for each in prod.every("AWS::SSM::Parameter", "Configuration")}

    assert len(read) >= 4
    assert {f"/payments/prod/shared/{name}" for name in read} - written == set()
