"""``python -m docs.generate.session``: record a session at the command line, a cutover and its rollback, as a picture.

Nothing of it is played: the stage is deployed into a local AWS by the CDK, the state machine runs, and the databases
are real ones. It takes minutes, so `make docs` leaves it out: `make record-session` makes the picture anew.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

# constructs/ and lambda/ are source roots, as in app.py.
sys.path.append(str(Path(__file__).resolve().parents[2] / "constructs"))
sys.path.append(str(Path(__file__).resolve().parents[2] / "lambda"))

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from docs.generate.synthesis import PROJECT
from ops.bluegreen.errors import Exit
from rehearsal.databases.software import obtain
from tests.support.deployed_seat import PACE, Seat, deployed_seat, plan_file, watched

PICTURE: Final = "docs/session.svg"
SCENES: Final = "build/session.json"
"""What was recorded, for drawing it anew: ``python -m docs.generate.session --redraw``."""

COLUMNS: Final = 104
TITLE: Final = "bluegreen: a cutover from blue to green, and back"

# High contrast on a dark ground, in the light and in the dark scheme of the reader's page.
THEME: Final = TerminalTheme(
    (24, 27, 33),
    (222, 226, 233),
    [
        (72, 79, 91),
        (255, 123, 114),
        (126, 211, 133),
        (238, 198, 90),
        (121, 192, 255),
        (210, 168, 255),
        (86, 212, 221),
        (222, 226, 233),
    ],
    [
        (140, 149, 163),
        (255, 161, 152),
        (150, 230, 155),
        (248, 216, 130),
        (165, 214, 255),
        (226, 197, 255),
        (140, 230, 236),
        (255, 255, 255),
    ],
)

# rich's own has fonts of another site in it, which no page of ours loads.
FORMAT: Final = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>TITLE</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""

SHORTENED: Final = re.compile(r" --(?:poll|settle)-seconds \d+| --plan \S+")
"""Options of the recording, which an operator does not give."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A command as it was typed, and what it printed, with its colours."""

    typed: str
    shown: str


def play(seat: Seat, folder: Path) -> Iterable[Scene]:
    """The session: begin, look, approve, look, ask what a rollback does, roll back, ask why."""

    def scene(*words: str, code: Exit = Exit.DONE) -> Scene:
        ended = seat.run(*words, FORCE_COLOR="1", COLUMNS=str(COLUMNS))
        if ended.returncode != code:
            raise SystemExit(f"bluegreen {' '.join(words)} ended with {ended.returncode}: {ended.stdout}{ended.stderr}")
        typed = SHORTENED.sub("", " ".join(f'"{word}"' if " " in word else word for word in words))
        return Scene(typed=f"bluegreen {typed}", shown=ended.stdout)

    gate = {"question": "Switch the writing database from blue to green?", "timeout_seconds": 7200}
    file = plan_file(
        folder, watched(10), watched(50), watched(50, seconds=900, switch_writer=True, gate=gate), watched(100)
    )
    seat.stage.wait_until(
        lambda: seat.run("preflight", "green").returncode == Exit.DONE, lambda: seat.run("preflight", "green").stdout
    )
    yield scene("shift", "green", "--plan", file, "--yes", *PACE)
    seat.stage.wait_for_gate()
    yield scene("status")
    yield scene("approve", "--step", "3", "--yes")
    seat.stage.wait_until(lambda: _counted(seat), seat.stage.story)
    yield scene("explain")
    yield scene("rollback", "--dry-run")
    yield scene("rollback", "--reason", "card network reports declines", "--yes")
    yield scene("history", "--cutover", seat.cutover().cutover_id, "--last", "8")


def _counted(seat: Seat) -> bool:
    """Whether the step that is watched has seen requests."""
    evidence = seat.document("explain").evidence
    return evidence is not None and evidence.requests > 0


def prepare(seat: Seat, folder: Path) -> None:
    """Bring the traffic and the writer to blue."""
    seat.document("replication", "start", "--yes")
    seat.begin(
        "admit",
        "aws",
        "--plan",
        plan_file(folder, watched(100, seconds=180), watched(100, seconds=180, switch_writer=True)),
    )
    if seat.run("status", "--until-over", "--interval", "15").returncode != Exit.DONE:
        raise SystemExit(seat.stage.story())


def draw(scenes: Iterable[Scene]) -> str:
    """The session as a picture."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    for number, scene in enumerate(scenes):
        if number:
            console.print()
        console.print(Text.assemble(("$ ", "bold green"), (scene.typed, "bold")))
        # Lines are padded for the terminal; the picture needs no blanks.
        lines = [line.rstrip() for line in scene.shown.rstrip("\n").split("\n")]
        console.print(Text.from_ansi("\n".join(lines)))
    return console.export_svg(title=TITLE, theme=THEME, code_format=FORMAT.replace("TITLE", TITLE), unique_id="session")


def main() -> int:
    """Record the session and write the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with deployed_seat(obtain(), folder) as seat:
            prepare(seat, folder)
            scenes = list(play(seat, folder))
    (PROJECT / SCENES).parent.mkdir(exist_ok=True)
    (PROJECT / SCENES).write_text(json.dumps([asdict(each) for each in scenes], indent=2) + "\n")
    return redraw()


def redraw() -> int:
    """Draw what was recorded last."""
    scenes = [Scene(**each) for each in json.loads((PROJECT / SCENES).read_text())]
    (PROJECT / PICTURE).write_text(draw(scenes))
    print(f"Written: {PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(redraw() if sys.argv[1:] == ["--redraw"] else main())
