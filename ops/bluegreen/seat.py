"""What every command has: the stage, the two streams, and the question before anything is changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import click
from rich.console import Console, RenderableType

from ops.bluegreen import screen
from ops.bluegreen.documents import Document
from ops.bluegreen.errors import refused
from ops.bluegreen.stage import Stage, find_target


@dataclass(frozen=True)
class Seat:
    """Where an operator sits.

    Attributes:
        target: options that say which stage is meant.
        as_json: standard output holds one JSON document and nothing else.
        dry_run: nothing is changed.
        yes: nothing is asked.
        open_stage: opens the stage of a target.
    """

    target: Mapping[str, Any]
    as_json: bool = False
    dry_run: bool = False
    yes: bool = False
    open_stage: Callable[..., Stage] = Stage.open

    @cached_property
    def stage(self) -> Stage:
        """The stage, looked up when it is first needed."""
        return self.open_stage(find_target(**self.target))

    @cached_property
    def out(self) -> Console:
        """Standard output: the result."""
        return screen.console(sys.stdout)

    @cached_property
    def err(self) -> Console:
        """Standard error: everything else."""
        return screen.console(sys.stderr)

    def show(self, document: Document, page: RenderableType) -> None:
        """The result: as JSON, or as a page."""
        if self.as_json:
            sys.stdout.write(json.dumps(document.model_dump(mode="json"), indent=2) + "\n")
            sys.stdout.flush()
        else:
            self.out.print(page)

    def tell(self, line: str) -> None:
        """A line on what happens."""
        self.err.print(line)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Say what takes its time: a spinner on a terminal, else a line."""
        if self.err.is_terminal:
            with self.err.status(what):
                yield
        else:
            self.tell(f"{what} ...")
            yield

    def confirm(self, thing: str, effect: Iterable[str], *, typed: str | None = None) -> None:
        """Name the thing and the effect, and ask.

        Args:
            thing: what is about to be changed, as a question would name it.
            typed: what the operator has to type instead of ``y``.

        Raises:
            CommandError: the answer is no, or nobody can be asked.
        """
        self.err.print(screen.effects(effect, f"{thing} on {self.stage.target.name}:"))
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise refused(
                f"not confirmed, so nothing was changed: {thing}",
                next_step="answer on a terminal, or say --yes if you have read the effect; --dry-run shows it only",
            )
        if typed is not None:
            agreed = click.prompt(f"To go on, type {typed}", err=True, default="", show_default=False) == typed
        else:
            agreed = click.confirm("Go on?", err=True, default=False)
        if not agreed:
            raise refused(f"not confirmed, so nothing was changed: {thing}", next_step="call again when you are sure")
