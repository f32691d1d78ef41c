"""``python -m ops.bluegreen``: the same as the command ``bluegreen``."""

from __future__ import annotations

import sys

from ops.bluegreen.cli import main

if __name__ == "__main__":
    sys.exit(main())
