"""Moves the writer between two neighbours of the chain legacy – blue – green, in either direction by the same code.

The old writer is fenced (accounts locked, sessions ended), its last commits are awaited in the new one (a marker row),
and the new one is promoted (accounts unlocked). The truth is in the databases: whatever an earlier run left behind is
found there, and finished or undone. ``decision`` says what to do, ``protocol`` does it, ``find`` says who the writer
is.
"""

from writer_switch.database import ChainDatabase, Settings
from writer_switch.find import Verdict, WriterReport, find_writer
from writer_switch.outcome import Result, SwitchOutcome
from writer_switch.protocol import switch
from writer_switch.request import SwitchRequest

__all__ = [
    "ChainDatabase",
    "Result",
    "Settings",
    "SwitchOutcome",
    "SwitchRequest",
    "Verdict",
    "WriterReport",
    "find_writer",
    "switch",
]
