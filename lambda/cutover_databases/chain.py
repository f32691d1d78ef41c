"""Making the chain of databases from the environment of a function."""

from __future__ import annotations

import time
from collections.abc import Callable

from cutover_databases.databases import Chain
from cutover_wiring import Wiring
from database_access.deadline import Deadline
from database_access.session import connector
from writer_switch.handler import chain_of, refusal
from writer_switch.request import HandlerSettings


def make_chain(wiring: Wiring, *, deadline: Deadline, now: Callable[[], float] = time.time) -> Chain:
    """The chain that the environment describes, with its secrets read.

    Raises:
        SettingsError: variables are missing or wrong.
    """
    settings = HandlerSettings.parse(wiring.settings.environment)
    return Chain(
        databases=chain_of(wiring.aws("secretsmanager"), settings),
        connect=connector(ca_path=settings.database_ca_path),
        schema=wiring.settings.text("PAYMENT_SCHEMA"),
        authorize=lambda cutover_id: refusal(
            wiring.dynamodb, settings.state_table_name, cutover_id, until=now() + deadline.remaining_seconds()
        ),
        deadline=deadline,
    )
