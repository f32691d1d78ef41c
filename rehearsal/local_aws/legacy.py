"""The on-premises database as it is before the deployment: its schemas, its accounts, and the secrets with these.

What the bootstrap function does to a database in AWS, somebody has done to this one by hand (docs/configuration.md,
``legacy_database``); here the function's own code does it.
"""

from __future__ import annotations

import json
import secrets
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2]
sys.path.append(str(PROJECT / "lambda"))  # a source root, not a package

from database_access.credentials import DatabaseSecret  # noqa: E402
from database_access.deadline import Deadline  # noqa: E402
from database_access.session import connector  # noqa: E402
from database_bootstrap.bootstrap import DatabaseSecrets, bootstrap  # noqa: E402
from database_bootstrap.properties import BootstrapProperties  # noqa: E402
from database_bootstrap.schema_files import load  # noqa: E402
from rehearsal.databases import DatabaseServer  # noqa: E402
from rehearsal.local_aws.master_user import make_master  # noqa: E402
from rehearsal.local_aws.settings import KnownSecret  # noqa: E402
from stacks.config import LegacyDatabase, StageConfig  # noqa: E402

ADMIN: Final = "payments_admin"
APPLICATION: Final = ("payments_app_a", "payments_app_b")
REPLICATION: Final = ("dms_a", "dms_b")
_BINLOG_RETENTION_HOURS: Final = 24
_DEADLINE_SECONDS: Final = 60.0


def prepare_legacy(server: DatabaseServer, stage: StageConfig) -> tuple[KnownSecret, ...]:
    """Make schemas and accounts, unlocked, and return the secrets that name them.

    Raises:
        DatabaseAccessError: the server is out of reach or refuses.
    """
    named = stage.legacy_database
    if named is None:
        raise ValueError("the stage has no legacy_database")
    documents = {
        "admin": server.secret(ADMIN, _password()),
        "application": server.secret(APPLICATION[0], _password(), APPLICATION[1]),
        "replication": server.secret(REPLICATION[0], _password(), REPLICATION[1]),
    }
    with closing(server.connect()) as connection:
        make_master(connection, ADMIN, str(documents["admin"]["password"]))  # type: ignore[arg-type]
    texts = {name: json.dumps(document) for name, document in documents.items()}
    arns = _arns(named)
    bootstrap(
        BootstrapProperties(
            environment=server.name,
            admin_secret_arn=arns["admin"],
            application_secret_arn=arns["application"],
            replication_secret_arn=arns["replication"],
            writer_at_creation=True,
            binlog_retention_hours=_BINLOG_RETENTION_HOURS,
            payment_schema=stage.database.payment_schema,
            control_schema=stage.database.control_schema,
            loopback_schemas=("loopback_legacy_blue",),
            revision="1",
        ),
        found=DatabaseSecrets(
            admin=DatabaseSecret.parse(texts["admin"], name="admin", pair=False),
            application=DatabaseSecret.parse(texts["application"], name="application", pair=True),
            replication=DatabaseSecret.parse(texts["replication"], name="replication", pair=True),
        ),
        schema_files=load(
            PROJECT / "lambda" / "database_bootstrap" / "schema",
            payments=PROJECT / "service" / "payment_service" / "schema.sql",
        ),
        connect=connector(ca_path=server.ca_path),
        deadline=Deadline.after(_DEADLINE_SECONDS),
    )
    return tuple(KnownSecret(arn=arns[name], document=text) for name, text in texts.items())


def _arns(named: LegacyDatabase) -> dict[str, str]:
    return {
        "admin": named.admin_secret_arn,
        "application": named.application_secret_arn,
        "replication": named.secret_arn,
    }


def _password() -> str:
    return secrets.token_urlsafe(30)
