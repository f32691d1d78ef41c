"""Runs a module, or a command, for as long as the process that started it lives, however that one ends.

    python rehearsal/local_aws/watched.py MODULE [ARGUMENT...]
    python rehearsal/local_aws/watched.py -- COMMAND [ARGUMENT...]

Standard input is a pipe that the starting process holds open and never writes to. The program leads a process group
of its own; the group ends with the pipe, functions that run included.
"""

import os
import runpy
import signal
import subprocess
import sys
import threading


def _end_with_the_pipe() -> None:
    # Not through sys.stdin, whose lock would be held while a child is made.
    while os.read(0, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    if os.getpgrp() != os.getpid():
        sys.exit("watched: must lead a process group of its own")
    threading.Thread(target=_end_with_the_pipe, daemon=True, name="watch").start()
    if sys.argv[1] == "--":
        # Not run by a shell, and by this project's own programs only.
        sys.exit(subprocess.call(sys.argv[2:], stdin=subprocess.DEVNULL))  # noqa: S603
    # The folder of this file would hide modules of the standard library's names; the module is found on PYTHONPATH.
    del sys.argv[0], sys.path[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
