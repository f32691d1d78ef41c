"""What a deployed local stage leaves for other programs: ``.local/cloud.json``, and who runs it.

The process that runs the local AWS holds a lock as long as it lives, so a state that survived a crash is told from
one that is true.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

STATE: Final = "cloud.json"
LOCK: Final = "lock"


class StateFileError(Exception):
    """There is no local stage, or what is known of it cannot be read; the message says what to do."""


class BusyError(Exception):
    """Another process runs a local stage there.

    Attributes:
        process_id: its.
    """

    def __init__(self, process_id: int) -> None:
        super().__init__(f"process {process_id} runs the local stage already")
        self.process_id = process_id


@dataclass(frozen=True, kw_only=True)
class State:
    """A local stage that runs.

    Attributes:
        environment: what a process needs to talk to it.
        outputs: of the root stack.
        process_ids: the process that runs it first, then the servers of the local AWS.
        stack_name: of the root stack.
        parameter_path: SSM prefix under which everything else is found.
        simulated: resource types that are only recorded.
        databases: host and port, by name.
        ca_path: the authority of the databases' certificates, PEM.
    """

    environment: Mapping[str, str]
    outputs: Mapping[str, str]
    process_ids: Sequence[int]
    stack_name: str
    parameter_path: str
    simulated: Sequence[str]
    databases: Mapping[str, str]
    ca_path: str

    def write(self, folder: Path) -> None:
        """Put it in place at once, for its owner's eyes only."""
        path = folder / STATE
        temporary = path.with_suffix(".tmp")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")
        temporary.replace(path)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The stage that runs in the folder.

        Raises:
            StateFileError: none does.
        """
        if runner(folder) is None:
            raise StateFileError(f"no local stage runs in {folder}: run `make deploy-local`")
        try:
            document: Mapping[str, Any] = json.loads((folder / STATE).read_text("utf-8"))
            return cls(**document)
        except FileNotFoundError:
            raise StateFileError(f"the local stage in {folder} is not deployed yet: wait until it is") from None
        except (OSError, ValueError, TypeError) as error:
            raise StateFileError(f"{folder / STATE} cannot be read ({error}): run `make destroy-local`") from None


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Be the process that runs the stage in the folder.

    Raises:
        BusyError: another one is.
    """
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BusyError(int(file.read() or 0)) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def runner(folder: Path) -> int | None:
    """The id of the process that runs a stage in the folder; None when none does."""
    try:
        with (folder / LOCK).open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or 0)
            return None
    except FileNotFoundError:
        return None
