"""``python -m ops.bluegreen.install``: put the command ``bluegreen`` beside the Python that runs this.

Nothing is built and nothing is downloaded: the command is a file that runs this checkout.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2]

# A line that begins with #! may be too short for the path of an environment, and must not hold spaces: the shell starts
# Python instead, for which the first line is a string.
SCRIPT: Final = """\
#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys

sys.path[0] = {project!r}

from ops.bluegreen.cli import main

sys.exit(main())
"""


def script(*, python: Path, project: Path) -> str:
    """The text of the command.

    Raises:
        ValueError: the path of Python cannot stand in it.
    """
    if any(sign in str(python) for sign in "\"$`\\'\n"):
        raise ValueError(f"{python}: allowed is a path without quotes, dollar signs, backslashes and new lines")
    return SCRIPT.format(python=python, project=str(project))


def main() -> int:
    """Write the command."""
    python = Path(sys.executable)
    command = python.parent / "bluegreen"
    try:
        text = script(python=python, project=PROJECT)
        command.write_text(text)
        command.chmod(0o755)
    except (OSError, ValueError) as error:
        print(f"{command} cannot be written: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
