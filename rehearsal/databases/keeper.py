"""Ends the servers of a run and removes its folder when the process that started them is gone, however it
ended.

Started as a program of its own with the folder as its argument. Its standard input is a pipe that the
starting process holds open and never writes to, so that it closes with that process, a SIGKILL included.
"""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path


def servers_of(folder: str) -> list[int]:
    """The ids of the running servers whose options file lies in the folder."""
    option = f"--defaults-file={folder}/".encode()
    found = []
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended while we looked
            if any(argument.startswith(option) for argument in command_line.read_bytes().split(b"\0")):
                found.append(int(command_line.parent.name))
    return found


def clear(folder: str) -> None:
    """Kill the servers of the folder, wait until they are gone, and remove the folder."""
    while running := servers_of(folder):
        for process_id in running:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        time.sleep(0.01)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    clear(sys.argv[1])
