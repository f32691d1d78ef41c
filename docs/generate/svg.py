"""Just enough SVG for the pictures: shapes whose colours follow the reader's light or dark scheme."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

FONT = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in user units."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    @property
    def centre(self) -> float:
        return self.x + self.width / 2


@dataclass
class Drawing:
    """A picture of ``width`` by ``height`` user units, drawn in the order of the calls."""

    width: int
    height: int
    title: str
    description: str
    light: Mapping[str, str]
    dark: Mapping[str, str]
    style: str
    _parts: list[str] = field(default_factory=list)

    def rectangle(self, box: Box, classes: str, *, radius: float = 8, tip: str = "") -> None:
        self._add(
            f'<rect class="{classes}" x="{_number(box.x)}" y="{_number(box.y)}" '
            f'width="{_number(box.width)}" height="{_number(box.height)}" rx="{_number(radius)}"',
            "rect",
            tip,
        )

    def text(self, x: float, y: float, content: str, classes: str = "", *, anchor: str = "start") -> None:
        anchored = "" if anchor == "start" else f' text-anchor="{anchor}"'
        classed = f' class="{classes}"' if classes else ""
        self._parts.append(f'<text{classed} x="{_number(x)}" y="{_number(y)}"{anchored}>{escape(content)}</text>')

    def path(self, points: str, classes: str, *, head: str = "", tip: str = "") -> None:
        """A line along ``points`` (path data), with the arrow ``head`` at its end."""
        marker = f' marker-end="url(#{head})"' if head else ""
        self._add(f'<path class="{classes}" d="{points}"{marker}', "path", tip)

    def circle(self, x: float, y: float, radius: float, classes: str) -> None:
        self._parts.append(f'<circle class="{classes}" cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}"/>')

    def _add(self, opened: str, element: str, tip: str) -> None:
        self._parts.append(f"{opened}><title>{escape(tip)}</title></{element}>" if tip else f"{opened}/>")

    def render(self, heads: Iterable[str]) -> str:
        """The SVG document, with an arrow head for each of ``heads``, named like the class that colours it."""
        markers = "".join(
            f'<marker id="{head}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path class="head-{head}" d="M0 0.5 L8 4 L0 7.5 Z"/></marker>'
            for head in heads
        )
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img" '
                f"aria-labelledby={quoteattr('title description')} font-family={quoteattr(FONT)}>",
                f'<title id="title">{escape(self.title)}</title>',
                f'<desc id="description">{escape(self.description)}</desc>',
                "<style>",
                f":root {{ color-scheme: light dark; {_variables(self.light)} }}",
                f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(self.dark)} }} }}",
                self.style.strip(),
                "</style>",
                f"<defs>{markers}</defs>",
                *self._parts,
                "</svg>",
                "",
            ]
        )


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def _number(value: float) -> str:
    """The shortest decimal form, so that equal pictures are equal bytes."""
    return f"{value:.1f}".rstrip("0").rstrip(".")
