"""What each account may do, and why; nothing else is granted.

The grants are made anew on every run, and what an account has beyond them is left alone: taking rights away from a
database in service is a decision of its own.
"""

from __future__ import annotations

from typing import Final

from database_access.grants import Grant
from database_access.names import identifier, schema_in_grant
from database_bootstrap.properties import DMS_CONTROL_SCHEMA, BootstrapProperties

# Table of the payment service, privilege; and what the service does with it (service/payment_service).
APPLICATION_PRIVILEGES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("payments", ("SELECT", "INSERT")),
    ("ledger_entries", ("INSERT",)),
    ("balances", ("SELECT", "INSERT", "UPDATE")),
)

# DMS user guide, "Using a MySQL-compatible database as a target": what a target account needs on the schemas.
_ROWS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_TABLES: Final = ("ALTER", "CREATE", "DROP", "INDEX")
_TEMPORARY: Final = ("CREATE TEMPORARY TABLES",)
_REPLICATED_CONTROL_TABLES: Final = ("marker", "heartbeat")


def application_grants(properties: BootstrapProperties) -> tuple[Grant, ...]:
    """Rows of three tables, never a DELETE, never another schema."""
    schema = identifier(properties.payment_schema)
    return tuple(
        Grant(f"{schema}.{identifier(table)}", privilege)
        for table, privileges in APPLICATION_PRIVILEGES
        for privilege in privileges
    )


def replication_grants(properties: BootstrapProperties) -> tuple[Grant, ...]:
    """Source and target in one account: each task reads one database of a pair and writes the other, and back."""
    return (*source_grants(properties), *target_grants(properties))


def source_grants(properties: BootstrapProperties) -> tuple[Grant, ...]:
    """Reading the binary log and the rows (DMS user guide, "Using a MySQL-compatible database as a source")."""
    return (
        # The position in the binary log.
        Grant("*.*", "REPLICATION CLIENT"),
        # The events of the binary log.
        Grant("*.*", "REPLICATION SLAVE"),
        # The rows: full load and validation.
        Grant(f"{schema_in_grant(properties.payment_schema)}.*", "SELECT"),
        *(
            Grant(f"{identifier(properties.control_schema)}.{identifier(table)}", "SELECT")
            for table in _REPLICATED_CONTROL_TABLES
        ),
    )


def target_grants(properties: BootstrapProperties) -> tuple[Grant, ...]:
    """Writing the rows, DMS's own tables, and the mark by which a task knows what the other one wrote."""
    payments = f"{schema_in_grant(properties.payment_schema)}.*"
    loopbacks = [f"{schema_in_grant(schema)}.*" for schema in properties.loopback_schemas]
    return (
        # As documented: rows, and the columns that DMS carries over when they are added at the source.
        *(Grant(payments, privilege) for privilege in (*_ROWS, *_TABLES, *_TEMPORARY)),
        # Rows only: the bootstrap makes these tables, and the tasks leave the tables of the target as they are.
        *(
            Grant(f"{identifier(properties.control_schema)}.{identifier(table)}", privilege)
            for table in _REPLICATED_CONTROL_TABLES
            for privilege in _ROWS
        ),
        # The table awsdms_loopback_prevention, which DMS creates in the schema and writes with every transaction.
        *(Grant(scope, privilege) for scope in loopbacks for privilege in (*_ROWS, *_TABLES)),
        # Exceptions, status, suspended tables, validation failures: DMS's schema alone, documented as ALL.
        Grant(f"{schema_in_grant(DMS_CONTROL_SCHEMA)}.*", "ALL PRIVILEGES"),
    )
