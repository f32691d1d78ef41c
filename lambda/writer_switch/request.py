"""What the function is asked and how it is configured, checked before anything else; all mistakes are named at once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

DATABASE_NAMES: Final = ("legacy", "blue", "green")
# A service holds a request for 15 s by default; the drain must leave room for ending sessions and for a second run.
DEFAULT_DRAIN_TIMEOUT_SECONDS: Final = 5.0
LONGEST_DRAIN_TIMEOUT_SECONDS: Final = 30.0
SHORTEST_DRAIN_TIMEOUT_SECONDS: Final = 0.1
# The length of the column marker.cutover_id.
_LONGEST_CUTOVER_ID: Final = 128


class SwitchRequestError(Exception):
    """The event asks for something that cannot be; one clause for each mistake."""


class SettingsError(Exception):
    """Environment variables are missing or wrong; one clause for each."""


@dataclass(frozen=True, kw_only=True)
class SwitchRequest:
    """One switch.

    Attributes:
        old: The database that the writer leaves.
        new: Its neighbour, which the writer goes to.
        drain_timeout_seconds: From the marker's writing to its arrival, and for a database that stops answering.
        accept_data_loss: A person said that payments may be lost: go on where a machine must not.
        dry_run: Check everything, change nothing.
    """

    cutover_id: str
    old: str
    new: str
    drain_timeout_seconds: float = DEFAULT_DRAIN_TIMEOUT_SECONDS
    accept_data_loss: bool = False
    dry_run: bool = False

    @classmethod
    def parse(cls, event: Mapping[str, Any], *, chain: Sequence[str]) -> Self:
        """Raises: SwitchRequestError: A member is missing, unknown or wrong."""
        known = ("cutover_id", "from", "to", "drain_timeout_seconds", "accept_data_loss", "dry_run")
        mistakes = [f"{key} is missing" for key in ("cutover_id", "from", "to") if key not in event]
        mistakes += [f"{key} is not known; known are {', '.join(known)}" for key in sorted(set(event) - set(known))]
        cutover_id = event.get("cutover_id", "-")
        if not isinstance(cutover_id, str) or not 1 <= len(cutover_id) <= _LONGEST_CUTOVER_ID:
            mistakes.append(f"cutover_id must be a text of 1 to {_LONGEST_CUTOVER_ID} characters, got {cutover_id!r}")
        mistakes += [
            f"{key} must be one of {', '.join(chain)}, got {event[key]!r}"
            for key in ("from", "to")
            if key in event and event[key] not in chain
        ]
        timeout = event.get("drain_timeout_seconds", DEFAULT_DRAIN_TIMEOUT_SECONDS)
        if not _is_number(timeout) or not SHORTEST_DRAIN_TIMEOUT_SECONDS <= timeout <= LONGEST_DRAIN_TIMEOUT_SECONDS:
            mistakes.append(
                f"drain_timeout_seconds must be a number from {SHORTEST_DRAIN_TIMEOUT_SECONDS:g} to "
                f"{LONGEST_DRAIN_TIMEOUT_SECONDS:g}, got {timeout!r}"
            )
        mistakes += [
            f"{key} must be true or false, got {event[key]!r}"
            for key in ("accept_data_loss", "dry_run")
            if not isinstance(event.get(key, False), bool)
        ]
        if not mistakes and abs(chain.index(event["from"]) - chain.index(event["to"])) != 1:
            mistakes.append(
                f"from and to must be neighbours in the chain {' – '.join(chain)}, got {event['from']} and "
                f"{event['to']}"
            )
        if mistakes:
            raise SwitchRequestError("; ".join(mistakes))
        return cls(
            cutover_id=cutover_id,
            old=event["from"],
            new=event["to"],
            drain_timeout_seconds=float(timeout),
            accept_data_loss=event.get("accept_data_loss", False),
            dry_run=event.get("dry_run", False),
        )


@dataclass(frozen=True, kw_only=True)
class SecretArns:
    """The two secrets of one database that a switch needs."""

    admin: str
    application: str


@dataclass(frozen=True, kw_only=True)
class HandlerSettings:
    """The function's environment.

    Attributes:
        chain: The names of the databases, neighbours side by side.
        secret_arns: By name.
    """

    chain: tuple[str, ...]
    secret_arns: Mapping[str, SecretArns]
    state_table_name: str
    database_ca_path: Path

    @classmethod
    def parse(cls, environment: Mapping[str, str]) -> Self:
        """Raises: SettingsError: Variables are missing or wrong."""
        mistakes = [
            f"{name} is not set"
            for name in ("WRITER_SWITCH_DATABASES", "CHAIN", "STATE_TABLE_NAME", "DATABASE_CA_PATH")
            if not environment.get(name)
        ]
        chain = _chain(environment.get("CHAIN", ""))
        if environment.get("CHAIN") and not chain:
            mistakes.append(
                f"CHAIN must be a JSON list of two or three different names of {', '.join(DATABASE_NAMES)}, got "
                f"{environment['CHAIN']!r}"
            )
        arns = _secret_arns(environment.get("WRITER_SWITCH_DATABASES", ""))
        if environment.get("WRITER_SWITCH_DATABASES") and arns is None:
            mistakes.append(
                "WRITER_SWITCH_DATABASES must be a JSON object of a name to "
                '{"admin_secret_arn": …, "application_secret_arn": …}, each the ARN of a secret'
            )
        if chain and arns is not None and set(chain) != set(arns):
            mistakes.append(
                f"WRITER_SWITCH_DATABASES must name the databases of CHAIN, {', '.join(chain)}, got "
                f"{', '.join(sorted(arns)) or 'none'}"
            )
        if mistakes:
            raise SettingsError("; ".join(mistakes))
        return cls(
            chain=chain,
            secret_arns=arns or {},
            state_table_name=environment["STATE_TABLE_NAME"],
            database_ca_path=Path(environment["DATABASE_CA_PATH"]),
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _chain(text: str) -> tuple[str, ...]:
    found = _json(text)
    if not isinstance(found, list) or not 2 <= len(found) <= len(DATABASE_NAMES):
        return ()
    if any(name not in DATABASE_NAMES for name in found) or len(set(found)) != len(found):
        return ()
    return tuple(found)


def _secret_arns(text: str) -> Mapping[str, SecretArns] | None:
    found = _json(text)
    if not isinstance(found, dict):
        return None
    arns = {}
    for name, entry in found.items():
        if not isinstance(entry, dict) or set(entry) != {"admin_secret_arn", "application_secret_arn"}:
            return None
        if not all(isinstance(arn, str) and arn.startswith("arn:") and ":secret:" in arn for arn in entry.values()):
            return None
        arns[name] = SecretArns(admin=entry["admin_secret_arn"], application=entry["application_secret_arn"])
    return arns
