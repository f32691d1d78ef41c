"""Ends what a rehearsal has started when the rehearsal is gone, however it ended.

Started as a program of its own, with the folder of the rehearsal as its argument. Its standard input is a pipe that the
rehearsal holds open: a line for each process, its id and when it began, by which another process that has the same id
later is told apart. When the pipe closes, a SIGKILL of the rehearsal included, it kills what still runs and removes the
folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class Watchdog:
    """The program, seen from the rehearsal. A context manager."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: removed at the end."""
        self._process = subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-I", "-S", __file__, str(folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def watch(self, process_id: int) -> None:
        """End this process, too."""
        began = beginning(process_id)
        if began is not None and self._process.stdin is not None:
            self._process.stdin.write(f"{process_id} {began}\n".encode())
            self._process.stdin.flush()

    def close(self) -> None:
        """Now."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def beginning(process_id: int) -> str | None:
    """When a process began, in the kernel's ticks; None when it does not run."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return None
    # The name of the program, in parentheses, may hold spaces.
    return text.rpartition(")")[2].split()[19]


def end(lines: list[str]) -> None:
    """Kill those that still are what they were."""
    for line in lines:
        process_id, began = line.split()
        if beginning(int(process_id)) == began:
            with suppress(ProcessLookupError):
                os.kill(int(process_id), signal.SIGKILL)


if __name__ == "__main__":
    end(sys.stdin.read().splitlines())
    shutil.rmtree(sys.argv[1], ignore_errors=True)
