"""The generated files, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from docs.generate import command_line, configuration, costs, picture
from docs.generate.synthesis import PROJECT, synthesize
from policy.templates import App

COMMAND = "make docs"

PICTURE = "docs/architecture.svg"
COSTS = "docs/costs.md"
CONFIGURATION = "docs/configuration.md"
COMMAND_LINE = "docs/command-line.md"


def render(folder: Path) -> dict[str, str]:
    """Every generated file with what it must hold, from templates synthesized into ``folder``."""
    return of(synthesize(folder))


def of(app: App) -> dict[str, str]:
    """Every generated file with what it must hold, from the templates of ``app``."""
    return {
        PICTURE: picture.draw(app),
        COSTS: costs.document(app),
        CONFIGURATION: configuration.document(),
        COMMAND_LINE: command_line.document(),
    }


def stale(written: Mapping[str, str], project: Path = PROJECT) -> list[str]:
    """Names of the files in ``project`` that do not hold what is ``written``."""
    return [
        name
        for name, content in written.items()
        if not (project / name).is_file() or (project / name).read_text() != content
    ]
