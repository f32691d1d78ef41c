"""Documents on a terminal. Nothing is said by colour alone, and without a terminal there is none."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ops.bluegreen import documents as d
from ops.bluegreen.errors import CommandError
from verdict.wording import duration

PIPE_WIDTH: Final = 160
"""Columns where nobody says how wide the output is; a narrower table would cut what scripts look for."""

_PLAIN: Final[Mapping[str, Any]] = {"highlight": False, "markup": False, "emoji": False}
"""What stands in square brackets or between colons is the operator's text, not ours to interpret."""

GOOD, WARN, BAD, DIM, HEAD = "green", "yellow", "bold red", "dim", "bold"


def console(file: TextIO | None = None) -> Console:
    """A console for a stream. ``NO_COLOR``, ``TERM=dumb`` and pipes take the colour away."""
    stream = file or sys.stdout
    made = Console(file=stream, **_PLAIN)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made = Console(file=stream, width=PIPE_WIDTH, **_PLAIN)
    return made


def error(failure: CommandError) -> RenderableType:
    """A failure and what to do about it."""
    return Group(
        Text.assemble(("Error: ", BAD), failure.message), Text.assemble(("Next step: ", HEAD), failure.next_step)
    )


def effects(lines: Iterable[str], title: str) -> RenderableType:
    """What a command changes."""
    return Group(Text(title, style=HEAD), bullets(lines))


def bullets(lines: Iterable[str]) -> RenderableType:
    """Lines, each of which may wrap."""
    rows = Table.grid(padding=(0, 1))
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    for line in lines:
        rows.add_row("  -", line)
    return rows


def table(*heads: str) -> Table:
    """An empty table."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style=HEAD)
    for head in heads:
        # A name that is cut in the middle is no name: it is wrapped.
        made.add_column(head, overflow="fold")
    return made


def section(title: str, content: RenderableType) -> RenderableType:
    """A part of a page under its title."""
    return Group(Text(title, style="bold underline"), Padding(content, (0, 0, 1, 2), expand=False))


def clock(moment: datetime | None) -> str:
    """A time as the journal has it, in UTC."""
    return "never" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")


def status(found: d.Status) -> RenderableType:
    """The page of ``status``."""
    parts: list[RenderableType] = [
        Text.assemble((found.stage, HEAD), f"  {clock(found.at)} UTC"),
        Text(""),
        section("Serves and writes", _serves(found)),
        section("Cutover", _cutover(found.cutover)),
        section("Environments", _environments(found)),
        section("Replication", tasks(found.replication)),
        section("Alarms", _alarms(found.alarms)),
        section("Rotation", _rotations(found)),
    ]
    if found.decisions:
        parts.append(section("Last decisions", entries(found.decisions, wide=False)))
    if found.unread:
        parts.append(section("Could not be read", _unread(found.unread)))
    return Group(*parts)


def _serves(found: d.Status) -> RenderableType:
    rows = Table.grid(padding=(0, 2))
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    serving = found.serving
    if serving is None:
        rows.add_row("traffic", Text("could not be read", style=BAD))
    else:
        if serving.shares:
            rows.add_row("payments", _shares(serving.shares))
        rows.add_row("load balancer", _weights(serving.weights))
        rows.add_row("DNS", _weights(serving.records))
        for line in serving.drift:
            rows.add_row("drift", Text(line, style=BAD))
    rows.add_row("writer", _writer(found.writer))
    return rows


def _shares(shares: dict[str, float]) -> Text:
    text = Text()
    for side, share in shares.items():
        if text:
            text.append("   ")
        text.append(f"{side} {share:g} %", style=HEAD if share else DIM)
    return text


def _weights(weights: dict[str, int]) -> Text:
    if not weights:
        return Text("could not be read", style=BAD)
    return Text("   ".join(f"{side} {weight} %" for side, weight in weights.items()))


def _writer(writer: d.Writer | None) -> Text:
    if writer is None:
        return Text("could not be read", style=BAD)
    if writer.verdict == "not asked":
        text = Text.assemble((writer.recorded or "unknown", HEAD), " by the state table")
        return text.append(f" ({writer.remark})", style=DIM)
    if writer.verdict == "one" and not writer.remark:
        return Text.assemble((writer.admitting[0], HEAD), " (the databases say so)")
    names = ", ".join(writer.admitting) or "none"
    return Text.assemble((names, HEAD), (f"  {writer.remark}", BAD))


def _cutover(cutover: d.Cutover | None) -> RenderableType:
    if cutover is None:
        return Text("none ever ran", style=DIM)
    style = {"succeeded": GOOD, "stuck": BAD, "rolling back": WARN, "rolled back": WARN, "refused": WARN}
    rows = Table.grid(padding=(0, 2))
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row("id", Text.assemble(cutover.cutover_id, f"  {cutover.source} to {cutover.target}"))
    phase = Text(cutover.phase, style=style.get(cutover.phase, HEAD))
    if not cutover.over:
        phase.append(
            f", step {cutover.step} of {cutover.steps} ({cutover.step_phase}{', held' if cutover.held else ''}), "
            f"{cutover.weight_percent} % to {cutover.source if cutover.returning else cutover.target}",
            style="",
        )
        if cutover.returning:
            phase.append(", on its way back", style=WARN)
    rows.add_row("phase", phase)
    rows.add_row("because", Text(cutover.reason or "nothing is noted"))
    if cutover.question:
        rows.add_row("asks", Text(cutover.question, style=WARN))
    if cutover.order:
        rows.add_row("order", Text(f"{cutover.order}, not looked at yet", style=WARN))
    if cutover.left is not None:
        rows.add_row("time left", Text(_left(cutover)))
    rows.add_row("begun", Text(f"{clock(cutover.started_at)} UTC by {who(cutover.requested_by)}"))
    if not cutover.over:
        rows.add_row("looked at", Text(f"{clock(cutover.looked_at)} UTC"))
    if cutover.next_step:
        rows.add_row("next step", Text(cutover.next_step))
    return rows


def _left(cutover: d.Cutover) -> str:
    left = cutover.left
    assert left is not None
    whole = f"the cutover {duration(left.cutover_least_seconds)} to {duration(left.cutover_most_seconds)}"
    if cutover.step_phase == "gate":
        return f"{duration(left.phase_most_seconds)} for an answer; {whole}"
    if cutover.step_phase == "watch":
        return f"this step {duration(left.phase_least_seconds)} to {duration(left.phase_most_seconds)}; {whole}"
    return whole


def _environments(found: d.Status) -> RenderableType:
    made = table("environment", "tasks", "targets", "deployment")
    for side, each in found.environments.items():
        made.add_row(
            side,
            _of(each.running_tasks, each.desired_tasks, "running"),
            _of(each.healthy_targets, each.registered_targets, "healthy"),
            Text("unknown", style=WARN)
            if each.deploying is None
            else Text("under way", style=WARN)
            if each.deploying
            else Text("none", style=DIM),
        )
    return made


def _of(have: int | None, want: int | None, word: str) -> Text:
    if have is None or want is None:
        return Text("unknown", style=WARN)
    return Text(f"{have} of {want} {word}", style="" if have >= want > 0 else BAD)


def tasks(found: Sequence[d.ReplicationTask]) -> RenderableType:
    """The replication tasks."""
    if not found:
        return Text("nothing is known", style=WARN)
    made = table("task", "status", "lag", "rows that differ")
    for each in found:
        made.add_row(
            each.identifier,
            Text(each.status, style=GOOD if each.status == "running" else BAD),
            Text("not reported", style=WARN) if each.lag_seconds is None else Text(f"{each.lag_seconds:g} s"),
            Text("not reported", style=WARN)
            if each.validation_failures is None
            else Text(str(each.validation_failures), style=BAD if each.validation_failures else ""),
        )
    return made


def _alarms(found: Sequence[d.Alarm]) -> RenderableType:
    if not found:
        return Text("nothing is known", style=WARN)
    loud = [each for each in found if each.state != "OK"]
    if not loud:
        return Text(f"all {len(found)} are OK", style=GOOD)
    made = table("alarm", "state", "concerns")
    for each in sorted(loud, key=lambda alarm: alarm.state):
        made.add_row(
            short_alarm(each.name),
            Text(each.state, style=BAD if each.state == "ALARM" else WARN),
            ", ".join(each.concerns),
        )
    rest = len(found) - len(loud)
    return Group(made, Text(f"{rest} others are OK", style=DIM)) if rest else made


_GENERATED: Final = re.compile(r"^.*-(?P<id>[A-Za-z]\w*?)[0-9A-F]{8}-[0-9A-Za-z]{10,14}$")
_COMPOSITE: Final = re.compile(r"^[a-z0-9]+(?P<id>[A-Z]\w*?)[0-9A-F]{8}$")


def short_alarm(name: str) -> str:
    """The name of an alarm without what CloudFormation puts around it; ``--json`` has the whole."""
    found = _GENERATED.match(name) or _COMPOSITE.match(name)
    return found["id"] if found else name


def _rotations(found: d.Status) -> RenderableType:
    lines: list[RenderableType] = []
    under_way = [each.secret for each in found.rotations if each.under_way]
    due = sorted(each.next_at for each in found.rotations if each.next_at is not None)
    lines += [Text(f"under way: {name}", style=WARN) for name in under_way]
    if found.restarts_owed:
        lines.append(Text("a rotation still has to restart replication tasks", style=WARN))
    if due:
        lines.append(Text(f"the next one is due {clock(due[0])} UTC"))
    elif found.rotations and not lines:
        lines.append(Text("none is under way, and none is scheduled", style=DIM))
    return Group(*lines) if lines else Text("nothing is known", style=WARN)


def _unread(found: Sequence[d.Unread]) -> RenderableType:
    made = table("what", "why", "next step")
    for each in found:
        made.add_row(each.what, Text(each.why, style=BAD), each.next_step)
    return made


def entries(found: Sequence[d.Entry], *, wide: bool = True) -> RenderableType:
    """Entries of the journal."""
    if not found:
        return Text("no entries", style=DIM)
    heads = ("at (UTC)", "cutover", "who", "what", "why") if wide else ("at (UTC)", "who", "what", "why")
    made = table(*heads)
    for each in found:
        cells = [clock(each.at), *([each.cutover_id] if wide else []), who(each.who), each.what, _why(each)]
        made.add_row(*cells)
    return made


def who(arn: str) -> str:
    """The person's or function's name without what is the same for all."""
    return re.split("[/:]", arn)[-1] if arn.startswith("arn:") else arn


def _why(each: d.Entry) -> str:
    if each.before is not None and each.after is not None and set(each.before) == set(each.after):
        changed = {name for name in each.after if each.after[name] != each.before[name]}
        numbers = all(isinstance(each.after[name], int | str) for name in changed)
        if changed and numbers and each.what in ("set weights", "weights set", "switch the writer", "put drift right"):
            moved = ", ".join(f"{name} {each.before[name]} -> {each.after[name]}" for name in sorted(changed))
            return f"{each.why} ({moved})"
    return each.why


def plan(found: d.Plan) -> RenderableType:
    """A plan, and what is checked."""
    made = table("step", "share", "asks first", "writer", "watched for", "deadline")
    for number, each in enumerate(found.steps, start=1):
        made.add_row(
            str(number),
            f"{each.weight_percent} % to {found.target}",
            f"{each.question} ({duration(each.gate_timeout_seconds or 0)})" if each.question else "",
            "switches" if each.switch_writer else "",
            duration(each.watch_seconds),
            duration(each.deadline_seconds),
        )
    took = f"at least {duration(found.least_seconds)}, at most {duration(found.most_seconds)}"
    if found.expected_seconds is not None:
        took += f"; about {duration(found.expected_seconds)} at {found.requests_per_second:g} requests a second"
    return Group(
        Text(f"From {found.source} to {found.target}: {took}.", style=HEAD),
        Text(""),
        made,
        Text(""),
        effects(found.checks, "What is checked"),
    )


def preflight(found: d.Preflight) -> RenderableType:
    """Whether a cutover could begin."""
    if found.ready:
        return Text.assemble(("Ready. ", GOOD), f"Nothing speaks against {found.source} to {found.target}.")
    return Group(
        Text.assemble(("Not ready. ", BAD), f"Against {found.source} to {found.target}:"),
        bullets(found.reasons),
    )


def explanation(found: d.Explanation) -> RenderableType:
    """Why a cutover is where it is."""
    parts: list[RenderableType] = [
        Text.assemble((found.cutover_id, HEAD), f"  {found.phase}"),
        Text(f"Because: {found.why}"),
        Text(""),
    ]
    if found.decision is not None:
        parts.append(section("The decision", entries([found.decision], wide=False)))
    if found.findings:
        made = table("check", "outcome", "reason", "numbers")
        styles = {"pass": GOOD, "hold": WARN, "roll back": BAD}
        for each in found.findings:
            numbers = ", ".join(f"{name} {_number(value)}" for name, value in each.values.items())
            made.add_row(each.check, Text(each.outcome, style=styles.get(each.outcome, "")), each.reason, numbers)
        parts.append(section("What each check found", made))
    if found.evidence is not None:
        parts.append(section("The evidence now", _evidence(found.evidence)))
    if found.actions:
        parts.append(section("What was done", entries(found.actions, wide=False)))
    return Group(*parts)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _evidence(found: d.Evidence) -> RenderableType:
    seen = "" if found.bad_percent_seen is None else f" ({found.bad_percent_seen:.3g} %)"
    lines = [
        f"{found.environment}: {found.bad:,} bad of {found.requests:,}{seen}; tolerated are "
        f"{found.tolerated_percent:g} %, found and taken back are {found.bad_percent:g} %",
    ]
    if found.other is not None:
        lines.append(f"{found.other} meanwhile: {found.other_bad:,} bad of {found.other_requests:,}")
    lines.append(f"health: {found.health:.2f}, shown at {found.healthy_at:.2f} or less")
    lines.append(f"blame: {found.blame:.2f}, rolled back at {found.roll_back_at:.2f} or more")
    if found.missing_samples:
        lines.append(f"minutes without numbers: {found.missing_samples}")
    if found.proved:
        lines.append("health is shown; the step is watched until its time is over")
    else:
        lines.append(f"{found.good_requests_needed:,} good requests in a row would show health")
    return Group(*(Text(line) for line in lines))


def doctor(found: d.Doctor) -> RenderableType:
    """What is misconfigured."""
    made = table("check", "result", "found", "next step")
    styles = {"ok": GOOD, "problem": BAD, "unknown": WARN}
    for each in found.checks:
        found_words = " ".join(short_alarm(word) for word in each.found.split(" "))
        made.add_row(each.name, Text(each.result, style=styles[each.result]), found_words, each.next_step)
    problems = sum(each.result == "problem" for each in found.checks)
    unknown = sum(each.result == "unknown" for each in found.checks)
    summary = (
        Text("Everything that was looked at is well.", style=GOOD)
        if not problems and not unknown
        else Text(f"{problems} problems, {unknown} could not be looked at.", style=BAD if problems else WARN)
    )
    return Group(Text(f"{found.stage}, as {found.caller}"), Text(""), made, Text(""), summary)
