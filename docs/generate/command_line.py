"""The reference of the operators' command line, from its commands, its exit codes and its models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import click

from ops.bluegreen.cli import cli
from ops.bluegreen.documents import SCHEMAS, Document
from ops.bluegreen.errors import Exit

INTRODUCTION = """\
# Command line

`bluegreen` shows a stage and moves it. It is in `.venv/bin` once `make synth` or `make setup` has run, and works over
whatever AWS credentials the shell has. This page is generated from its commands: `make docs`.

```sh
source .venv/bin/activate
bluegreen status                 # the default stage of cdk.json
bluegreen --stage staging status
bluegreen --local status         # the local AWS of make deploy-local
eval "$(bluegreen completion bash)"
```

**It changes production only through the runtime.** It starts the state machine, writes orders under the same
conditions as the controller writes, and calls the rollback, the preflight and the replication control. Each of these
checks what is asked for and journals who asked: the caller's ARN.

**It asks first.** Whatever changes something names the thing and the effect, and waits for `y`; accepting a loss of
data is typed out. `--yes` answers beforehand, `--dry-run` looks and says what would be done. Without a terminal and
without `--yes` it refuses.

**Every command can print JSON**, with `--json`: one document on standard output, and everything else on standard
error. `bluegreen schema status` prints the JSON schema of that command; the members of all are below. A command that
fails prints an `error` document. Members are never taken away or renamed within a major version.

**It needs two roles and no more.** The stack `cutover` has one for looking and one for moving; their ARNs are the
parameters `cutover/observer-role-arn` and `cutover/operator-role-arn` under the path of the stage. People of the
account assume them with a second factor. Observers see everything but the databases' own word on who writes, which
takes a function that could move the writer. Who lacks a permission is told which action on which resource it is.

**It works without colour**: nothing is said by colour alone, and `NO_COLOR`, `TERM=dumb` and pipes take it away.

## What is what

| to | call |
|---|---|
| see what serves, what writes and how the cutover stands | `bluegreen status`, `--watch` draws it again and again |
| know whether a cutover could begin, and what it would do | `bluegreen preflight green`, `bluegreen plan green` |
| move payments and writer to green, step by step | `bluegreen shift green` |
| admit payments from the legacy system to AWS, up to a tenth by itself | `bluegreen admit aws --up-to 10` |
| answer the question that a cutover asks | `bluegreen approve` |
| hold it, and let it go on | `bluegreen pause`, `bluegreen resume` |
| take everything back at once | `bluegreen rollback` |
| take it back step by step | `bluegreen rollback --gradual` |
| know why it did what it did | `bluegreen explain`, `bluegreen history` |
| start the replication after the first deployment | `bluegreen replication start` |
| know what is wrong with the account or with your permissions | `bluegreen doctor` |

A cutover moves everything or nothing: the runtime knows none that ends with half of what it moves. `--up-to` and
`switch-writer` therefore leave a cutover under way that asks before it goes on, for up to five days; then it goes
back by itself.
"""


def document() -> str:
    """The page."""
    return "\n".join([INTRODUCTION, *_exit_codes(), *_target(), *_commands(), *_documents()]).rstrip() + "\n"


def cell(text: str) -> str:
    """Text in a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _exit_codes() -> Iterator[str]:
    yield from ("## Exit codes", "", "| code | meaning |", "|---|---|")
    for each in Exit:
        yield f"| {int(each)} | {cell(each.meaning)} |"
    yield ""


def _target() -> Iterator[str]:
    yield from ("## Options of every command", "", "They may stand before or after the command.", "")
    yield from _options(cli.params)
    yield ""


def _commands() -> Iterator[str]:
    yield from ("## Commands", "")
    for words, each in walk(cli):
        name = " ".join(words)
        yield from (f"### {name}", "")
        yield from (_paragraphs(each.help or ""), "")
        for argument in each.params:
            if isinstance(argument, click.Argument):
                yield from (f"Argument: {_argument(argument)}", "")
        shown = [option for option in each.params if isinstance(option, click.Option) and not option.hidden]
        if shown:
            yield from (*_options(shown), "")


def walk(group: click.Group, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that name it, in their order."""
    for name in sorted(group.commands):
        each = group.commands[name]
        if isinstance(each, click.Group):
            yield from walk(each, (*before, name))
        else:
            yield (*before, name), each


def _options(options: Sequence[click.Parameter]) -> Iterator[str]:
    yield from ("| option | meaning |", "|---|---|")
    for each in options:
        assert isinstance(each, click.Option)
        names = ", ".join(f"`{name}`" for name in (*each.opts, *each.secondary_opts))
        value = "" if each.is_flag else f" `{each.make_metavar(click.Context(cli))}`"
        default = f" Default: {each.default}." if each.show_default and each.default is not None else ""
        yield f"| {names}{value} | {cell((each.help or '') + default)} |"


def _argument(argument: click.Argument) -> str:
    """What an argument may be."""
    name = (argument.metavar or argument.human_readable_name).upper()
    if argument.nargs == -1:
        return f"{name}, any number of them."
    allowed = (
        " or ".join(f"`{each}`" for each in argument.type.choices) if isinstance(argument.type, click.Choice) else ""
    )
    default = f"; `{argument.default}` when it is left out" if isinstance(argument.default, str) else ""
    optional = "" if argument.required or default else "; it may be left out"
    return f"{name}, {allowed}{default}{optional}."


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()))


def _documents() -> Iterator[str]:
    yield from ("## Members of the documents", "")
    by_model: dict[type[Document], list[str]] = {}
    for name, model in SCHEMAS.items():
        by_model.setdefault(model, []).append(name)
    told: set[str] = set()
    for model, names in by_model.items():
        schema = model.model_json_schema()
        yield from (f"### `{model.__name__}`", "", f"Printed by {', '.join(f'`{each}`' for each in names)}.", "")
        yield from (*_members(schema), "")
        for name, inner in schema.get("$defs", {}).items():
            if name not in told:
                told.add(name)
                yield from (f"#### `{name}`", "", *_members(inner), "")


def _members(schema: dict[str, Any]) -> Iterator[str]:
    yield from ("| member | type | meaning |", "|---|---|---|")
    for name, each in schema["properties"].items():
        yield f"| `{name}` | {cell(_type(each))} | {cell(each.get('description', ''))} |"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f'"{each}"' for each in schema["enum"])
    if "const" in schema:
        return f'"{schema["const"]}"'
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"object of {_type(inner)}" if isinstance(inner, dict) else "object"
    kind = schema.get("type", "any value")
    return "time" if schema.get("format") == "date-time" else str(kind)
