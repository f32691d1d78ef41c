"""moto's server, for ELBv2 and DMS, as a program; a replication task that was made is ready, as in AWS.

    python -m rehearsal.local_aws.balancer -H 127.0.0.1 -p PORT

It reaches into moto's models, which requirements-dev.in pins.
"""

from __future__ import annotations

from typing import Any

from moto.dms import models
from moto.server import main


def let_new_tasks_be_ready() -> None:
    """moto 5.2.5 leaves a new task ``creating`` for ever."""
    made = models.DatabaseMigrationServiceBackend.create_replication_task

    def create(*arguments: Any, **named: Any) -> models.FakeReplicationTask:
        return made(*arguments, **named).ready()

    models.DatabaseMigrationServiceBackend.create_replication_task = create  # type: ignore[method-assign]


if __name__ == "__main__":
    let_new_tasks_be_ready()
    main()
