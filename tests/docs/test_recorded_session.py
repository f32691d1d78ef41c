"""The picture of a session: drawn as a reader needs it, and of commands that there are."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from docs.generate import session
from docs.generate.session import Scene, draw
from ops.bluegreen.cli import cli
from tests.support.synthesized import PROJECT

SVG = "{http://www.w3.org/2000/svg}"
PICTURE = (PROJECT / session.PICTURE).read_text()


def lines(svg: str) -> list[str]:
    """The text of each line, from top to bottom."""
    found: dict[str, str] = {}
    for each in ET.fromstring(svg).iter(f"{SVG}text"):  # noqa: S314 - our own file
        if each.get("y") and "title" not in each.get("class", ""):
            found[each.get("y", "")] = found.get(each.get("y", ""), "") + (each.text or "")
    return [found[y].replace("\xa0", " ").strip() for y in sorted(found, key=float)]


def test_it_shows_a_cutover_and_its_rollback_by_commands_that_exist() -> None:
    typed = [line for line in lines(PICTURE) if line.startswith("$ ")]
    commands = [line.split()[2] for line in typed]
    assert set(commands) <= set(cli.commands)
    assert commands.index("shift") < commands.index("approve") < commands.index("rollback")


def test_it_asks_nothing_of_other_sites_and_names_itself() -> None:
    assert re.findall(r"https?://[^\"\s]+", PICTURE) == ["http://www.w3.org/2000/svg"]
    assert f"<title>{session.TITLE}</title>" in PICTURE


def test_what_was_printed_is_drawn_with_its_colours_and_without_padding() -> None:
    svg = draw([Scene(typed="bluegreen status", shown="\x1b[32mall well\x1b[0m   \nnext    \n")])
    assert lines(svg) == ["$ bluegreen status", "all well", "next"]
    assert "#7ed385" in svg
