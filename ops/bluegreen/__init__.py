"""The operators' command line ``bluegreen``: look at a stage, move it, take it back, and ask why it moved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2]

# lambda/ is a source root, not a package: the runtime's own code reads and writes what the command line shows and asks.
if str(PROJECT / "lambda") not in sys.path:
    sys.path.append(str(PROJECT / "lambda"))
