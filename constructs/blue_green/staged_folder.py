"""Folders that are laid out at synthesis, for assets that no folder of the project holds as they are needed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
STAGING = PROJECT / "build" / "staged"


def staged(name: str, lay_out: Callable[[Path], None]) -> Path:
    """Let ``lay_out`` fill an empty folder, and return where it is kept: under its name and the digest of its content.

    What is kept is never written again, so that syntheses that run at the same time do not take each other's files
    away, and each stage finds its own.
    """
    STAGING.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=STAGING, prefix=f".{name}-") as temporary:
        fresh = Path(temporary) / "content"
        fresh.mkdir()
        lay_out(fresh)
        kept = STAGING / f"{name}-{digest(fresh)}"
        if not kept.exists():
            try:
                fresh.rename(kept)
            except OSError:
                # Another synthesis was faster; its content is the same.
                if not kept.is_dir():
                    raise
    return kept


def digest(folder: Path) -> str:
    """Digest of the names and contents of every file under ``folder``."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        found.update(f"{path.relative_to(folder).as_posix()}\n{len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()[:16]


def copy_source(source: Path, target: Path, *left_out: str) -> None:
    """Copy the folder ``source`` without Python's caches and without what matches ``left_out``."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", *left_out), dirs_exist_ok=True)
