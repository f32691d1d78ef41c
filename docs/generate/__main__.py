"""``python -m docs.generate``: write the generated parts of the documentation, or say which are stale."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

# constructs/ is a source root, as in app.py.
sys.path.append(str(Path(__file__).resolve().parents[2] / "constructs"))

from docs.generate import pages
from docs.generate.synthesis import PROJECT


def main() -> int:
    """Write the pages, or with ``--check`` compare them; 1 when one is stale."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a file is stale")
    arguments = parser.parse_args()
    # What the CDK checks by itself is the business of `make synth`.
    os.environ.setdefault("CDK_VALIDATION", "false")
    with tempfile.TemporaryDirectory() as folder:
        written = pages.render(Path(folder))
    stale = pages.stale(written)
    if arguments.check:
        for name in stale:
            print(f"{name} is stale: run `{pages.COMMAND}`", file=sys.stderr)
        return 1 if stale else 0
    _write(written)
    print(f"Written: {', '.join(stale) or 'nothing, all is fresh'}")
    return 0


def _write(written: Mapping[str, str]) -> None:
    for name, content in written.items():
        (PROJECT / name).write_text(content)


if __name__ == "__main__":
    sys.exit(main())
