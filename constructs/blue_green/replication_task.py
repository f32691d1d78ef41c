"""What a DMS task between two MySQL databases is told: tables, settings, and how it knows its own echo."""

from __future__ import annotations

import json

VALIDATION_THREADS = 5


CONTROL_TABLES = ("heartbeat", "marker")
"""Tables of the control schema that replicate; what the bootstrap notes there belongs to one database."""


def table_mappings(*, payment_schema: str, control_schema: str) -> str:
    """Selection of every table of the payments, of marker and heartbeat, and of nothing else, as JSON.

    They travel in one task, because only within a task is the order of commits kept.
    """
    tables = [(payment_schema, "%"), *((control_schema, table) for table in CONTROL_TABLES)]
    return json.dumps(
        {
            "rules": [
                {
                    "rule-type": "selection",
                    "rule-id": str(number),
                    "rule-name": f"{schema}-{'all' if table == '%' else table}",
                    "object-locator": {"schema-name": schema, "table-name": table},
                    "rule-action": "include",
                }
                for number, (schema, table) in enumerate(tables, start=1)
            ]
        }
    )


def task_settings(*, loopback_schema: str, follows_ddl: bool) -> str:
    """Settings of a task of a pair, as JSON.

    Args:
        loopback_schema: schema in both databases in which DMS notes what it applied. A transaction that touches its
            table is an echo and is left out by the task of the other direction.
        follows_ddl: whether changes of the schema are applied too. Loopback prevention does not see them, so only
            one task of a pair may follow them.
    """
    return json.dumps(
        {
            "TargetMetadata": {
                "SupportLobs": True,
                "LimitedSizeLobMode": True,
                "LobMaxSize": 32,
                # Loopback prevention works with transactions, which batch apply would merge.
                "BatchApplyEnabled": False,
                "ParallelApplyThreads": 0,
            },
            "LoopbackPreventionSettings": {
                "EnableLoopbackPrevention": True,
                "SourceSchema": loopback_schema,
                "TargetSchema": loopback_schema,
            },
            "FullLoadSettings": {
                # The bootstrap made the tables, with keys and auto-increment that DMS would not carry over.
                "TargetTablePrepMode": "DO_NOTHING",
                "StopTaskCachedChangesApplied": False,
                "StopTaskCachedChangesNotApplied": False,
                "MaxFullLoadSubTasks": 8,
                "TransactionConsistencyTimeout": 600,
                "CommitRate": 10000,
            },
            "ChangeProcessingDdlHandlingPolicy": {
                "HandleSourceTableDropped": False,
                "HandleSourceTableTruncated": False,
                "HandleSourceTableAltered": follows_ddl,
            },
            "ChangeProcessingTuning": {
                "MemoryLimitTotal": 1024,
                "MemoryKeepTime": 60,
                # Without batches every transaction is applied as soon as it is read: the lag bounds the write pause.
                "MinTransactionSize": 1000,
                "CommitTimeout": 1,
                "StatementCacheSize": 50,
            },
            "ValidationSettings": {
                "EnableValidation": True,
                "ValidationMode": "ROW_LEVEL",
                "ThreadCount": VALIDATION_THREADS,
                "FailureMaxCount": 10000,
                "TableFailureMaxCount": 1000,
                "RecordFailureDelayLimitInMinutes": 5,
                "HandleCollationDiff": False,
            },
            "ControlTablesSettings": {
                "ControlSchema": "awsdms_control",
                "HistoryTimeslotInMinutes": 5,
                "HistoryTableEnabled": True,
                "SuspendedTablesTableEnabled": True,
                "StatusTableEnabled": True,
            },
            "ErrorBehavior": {
                # A row that cannot be applied means that the databases differ: stop and tell, never go on without it.
                "DataErrorPolicy": "STOP_TASK",
                "DataTruncationErrorPolicy": "STOP_TASK",
                "DataErrorEscalationPolicy": "STOP_TASK",
                "DataErrorEscalationCount": 0,
                "TableErrorPolicy": "STOP_TASK",
                "TableErrorEscalationPolicy": "STOP_TASK",
                "TableErrorEscalationCount": 0,
                "RecoverableErrorCount": -1,
                "RecoverableErrorInterval": 5,
                "RecoverableErrorThrottling": True,
                "RecoverableErrorThrottlingMax": 60,
                "RecoverableErrorStopRetryAfterThrottlingMax": False,
                "ApplyErrorDeletePolicy": "STOP_TASK",
                "ApplyErrorInsertPolicy": "STOP_TASK",
                "ApplyErrorUpdatePolicy": "STOP_TASK",
                "ApplyErrorEscalationPolicy": "STOP_TASK",
                "ApplyErrorEscalationCount": 0,
                "ApplyErrorFailOnTruncationDdl": True,
                "FullLoadIgnoreConflicts": False,
                "FailOnTransactionConsistencyBreached": True,
                "FailOnNoTablesCaptured": True,
            },
            # Validation metrics are only sent by a task that logs.
            "Logging": {
                "EnableLogging": True,
                "LogComponents": [
                    {"Id": component, "Severity": "LOGGER_SEVERITY_DEFAULT"}
                    for component in (
                        "SOURCE_UNLOAD",
                        "SOURCE_CAPTURE",
                        "TARGET_LOAD",
                        "TARGET_APPLY",
                        "TASK_MANAGER",
                        "VALIDATOR_EXT",
                    )
                ],
            },
        }
    )
