"""The migration on one machine: real databases, services, load balancer and load, and the runtime as it is deployed."""

import sys
from pathlib import Path

# lambda/ and service/ are source roots, not packages: see "Layout" in README.md.
for _root in ("lambda", "service"):
    _path = str(Path(__file__).resolve().parents[1] / _root)
    if _path not in sys.path:
        sys.path.append(_path)
