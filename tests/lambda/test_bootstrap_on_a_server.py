"""The bootstrap on a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from database_access.credentials import DatabaseSecret
from database_access.deadline import Deadline
from database_access.errors import AccessDeniedError, DatabaseUnreachableError, LockNotAvailableError
from database_access.session import connector
from database_bootstrap.bootstrap import BootstrapError, DatabaseSecrets, bootstrap
from database_bootstrap.properties import BootstrapProperties
from database_bootstrap.schema_files import SchemaFile, load
from rehearsal.databases import DatabaseChain
from tests.support.account_database import APPLICATION, REPLICATION, AccountDatabase
from tests.support.crash_points import CrashError, Process
from tests.support.secrecy import new_password, overheard_errors

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]
ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"


def schema_files() -> tuple[SchemaFile, ...]:
    return load(
        PROJECT / "lambda" / "database_bootstrap" / "schema",
        payments=PROJECT / "service" / "payment_service" / "schema.sql",
    )


def properties(**changes: str) -> BootstrapProperties:
    return BootstrapProperties.parse(
        {
            "Environment": "blue",
            "AdminSecretArn": f"{ARN}admin",
            "ApplicationSecretArn": f"{ARN}application",
            "ReplicationSecretArn": f"{ARN}replication",
            "WriterAtCreation": "true",
            "BinlogRetentionHours": "168",
            "PaymentSchema": "payments",
            "ControlSchema": "blue_green_control",
            "LoopbackSchemas": ["loopback_blue_green", "loopback_legacy_blue"],
            "Revision": "1",
            **changes,
        }
    )


def secrets_of(database: AccountDatabase) -> DatabaseSecrets:
    def parsed(document: dict[str, Any], name: str, *, pair: bool) -> DatabaseSecret:
        return DatabaseSecret.parse(json.dumps(document), name=name, pair=pair)

    return DatabaseSecrets(
        admin=parsed(database.admin_document(), "admin", pair=False),
        application=parsed(database.pair_document(APPLICATION), "application", pair=True),
        replication=parsed(database.pair_document(REPLICATION), "replication", pair=True),
    )


def run(
    database: AccountDatabase,
    found: DatabaseSecrets,
    *,
    process: Process | None = None,
    **changes: str,
) -> dict[str, str]:
    connect = connector(ca_path=database.server.ca_path)
    with overheard_errors():
        return dict(
            bootstrap(
                properties(**changes),
                found=found,
                schema_files=schema_files(),
                connect=connect if process is None else process.connecting(connect),
                deadline=Deadline.after(60),
            )
        )


def picture(database: AccountDatabase, found: DatabaseSecrets) -> dict[str, object]:
    """Everything that the bootstrap is to bring about."""
    tables = database.server.query(
        "SELECT CONCAT(table_schema, '.', table_name) AS name FROM information_schema.tables"
        " WHERE table_schema IN ('payments', 'blue_green_control')"
    )
    schemas = database.server.query("SELECT schema_name AS name FROM information_schema.schemata")
    return {
        "schemas": {row["name"] for row in schemas},
        "tables": {row["name"] for row in tables},
        "locks": database.lock_states((*APPLICATION, *REPLICATION)),
        "grants": {name: database.grants(name) for name in (*APPLICATION, *REPLICATION)},
        "application": database.login(found.application),
        "replication": database.login(found.replication),
        "record": [
            (row["environment"], row["phase"], row["writer_at_creation"])
            for row in database.server.query("SELECT * FROM blue_green_control.bootstrap")
        ],
    }


def test_the_first_writer_ends_with_unlocked_application_accounts(blue: AccountDatabase) -> None:
    found = secrets_of(blue)
    run(blue, found)
    assert blue.lock_states() == {"payments_app_a": "unlocked", "payments_app_b": "unlocked"}
    assert blue.login(found.application) == "admitted"


def test_another_database_ends_with_locked_application_accounts_that_know_the_password(blue: AccountDatabase) -> None:
    found = secrets_of(blue)
    run(blue, found, WriterAtCreation="false")
    assert blue.lock_states() == {"payments_app_a": "locked", "payments_app_b": "locked"}
    assert blue.login(found.application) == "locked"


def test_every_schema_and_table_is_there(blue: AccountDatabase) -> None:
    found = secrets_of(blue)
    run(blue, found)
    seen = picture(blue, found)
    assert seen["tables"] == {
        "payments.payments",
        "payments.ledger_entries",
        "payments.balances",
        "blue_green_control.marker",
        "blue_green_control.heartbeat",
        "blue_green_control.bootstrap",
    }
    assert {"loopback_blue_green", "loopback_legacy_blue", "awsdms_control"} <= set(seen["schemas"])  # type: ignore[call-overload]


def test_the_application_may_do_what_the_service_does_and_nothing_else(blue: AccountDatabase) -> None:
    run(blue, secrets_of(blue))
    expected = {
        "GRANT SELECT, INSERT ON `payments`.`payments`",
        "GRANT INSERT ON `payments`.`ledger_entries`",
        "GRANT SELECT, INSERT, UPDATE ON `payments`.`balances`",
    }
    assert blue.grants("payments_app_a") == expected
    assert blue.grants("payments_app_b") == expected


def test_replication_may_read_the_log_and_write_the_replicated_schemas_and_nothing_else(blue: AccountDatabase) -> None:
    run(blue, secrets_of(blue))
    rows = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER"
    expected = {
        # MariaDB's name for REPLICATION CLIENT.
        "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.*",
        f"GRANT {rows}, CREATE TEMPORARY TABLES ON `payments`.*",
        f"GRANT {rows} ON `loopback\\_blue\\_green`.*",
        f"GRANT {rows} ON `loopback\\_legacy\\_blue`.*",
        "GRANT ALL PRIVILEGES ON `awsdms\\_control`.*",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON `blue_green_control`.`marker`",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON `blue_green_control`.`heartbeat`",
    }
    assert {_without_requirements(line) for line in blue.grants("dms_a")} == expected
    assert {_without_requirements(line) for line in blue.grants("dms_b")} == expected


def _without_requirements(line: str) -> str:
    return line.split(" IDENTIFIED ")[0]


def test_every_account_demands_tls(blue: AccountDatabase) -> None:
    run(blue, secrets_of(blue))
    rows = blue.server.query(
        "SELECT user AS name, ssl_type AS tls FROM mysql.user WHERE user IN %s", ((*APPLICATION, *REPLICATION),)
    )
    assert {row["name"]: row["tls"] for row in rows} == dict.fromkeys((*APPLICATION, *REPLICATION), "ANY")


def test_outside_rds_the_retention_is_the_servers_variable(blue: AccountDatabase) -> None:
    answer = run(blue, secrets_of(blue))
    assert answer["BinlogRetentionAdapter"] == "binlog_expire_logs_seconds"
    assert blue.server.query("SELECT @@GLOBAL.binlog_expire_logs_seconds AS s") == [{"s": 168 * 3600}]


def test_on_rds_the_retention_goes_through_its_stored_procedure(blue: AccountDatabase) -> None:
    """A procedure with RDS's name and arguments stands in for it; what is tested is which way is chosen."""
    blue.server.execute_unlogged(
        [
            "CREATE OR REPLACE TABLE mysql.rds_configuration (name VARCHAR(100) PRIMARY KEY, value VARCHAR(100))",
            "CREATE OR REPLACE PROCEDURE mysql.rds_set_configuration(IN n VARCHAR(100), IN v VARCHAR(100))"
            " REPLACE INTO mysql.rds_configuration VALUES (n, v)",
        ]
    )
    try:
        answer = run(blue, secrets_of(blue), BinlogRetentionHours="72")
        assert answer["BinlogRetentionAdapter"] == "mysql.rds_set_configuration"
        rows = blue.server.query("SELECT name, value FROM mysql.rds_configuration")
        assert rows == [{"name": "binlog retention hours", "value": "72"}]
    finally:
        blue.server.execute_unlogged(
            ["DROP PROCEDURE mysql.rds_set_configuration", "DROP TABLE mysql.rds_configuration"]
        )


def test_a_second_run_changes_nothing(blue: AccountDatabase) -> None:
    found = secrets_of(blue)
    run(blue, found)
    before = picture(blue, found)
    answer = run(blue, found)
    assert picture(blue, found) == before
    assert answer["FirstCreation"] == "complete before; no lock changed"


@pytest.mark.parametrize("at_creation", ["true", "false"])
@pytest.mark.parametrize("later", ["true", "false"])
@pytest.mark.parametrize("switched_to", ["LOCK", "UNLOCK"])
def test_a_later_run_never_moves_the_writer(
    blue: AccountDatabase, at_creation: str, later: str, switched_to: str
) -> None:
    found = secrets_of(blue)
    run(blue, found, WriterAtCreation=at_creation)
    for name in APPLICATION:
        blue.server.query(f"ALTER USER '{name}'@'%' ACCOUNT {switched_to}")
    before = blue.lock_states()
    run(blue, found, WriterAtCreation=later, Revision="2")
    assert blue.lock_states() == before


@pytest.mark.parametrize("lock", ["LOCK", "UNLOCK"])
@pytest.mark.parametrize("writer", ["true", "false"])
def test_accounts_that_somebody_else_made_keep_their_locks(blue: AccountDatabase, lock: str, writer: str) -> None:
    found = secrets_of(blue)
    for name in APPLICATION:
        blue.server.query(f"CREATE USER '{name}'@'%' IDENTIFIED BY '{new_password()}' ACCOUNT {lock}")
    before = blue.lock_states()
    run(blue, found, WriterAtCreation=writer)
    assert blue.lock_states() == before


@pytest.mark.parametrize("writer", ["true", "false"])
def test_it_can_die_after_any_statement_and_run_again(blue: AccountDatabase, writer: str) -> None:
    """Each crash point in turn: at no moment is a database that is not the writer open, and the rerun ends right."""
    found = secrets_of(blue)
    whole = Process()
    run(blue, found, process=whole, WriterAtCreation=writer)
    expected = picture(blue, found)
    for point, effect in enumerate(whole.effects, start=1):
        blue.clean()
        process = Process(dies_after=point)
        with pytest.raises(CrashError):
            run(blue, found, process=process, WriterAtCreation=writer)
        process.bury()
        if writer == "false":
            assert "unlocked" not in blue.lock_states().values(), f"open after {effect} ({point})"
        run(blue, found, WriterAtCreation=writer)
        assert picture(blue, found) == expected, f"after a crash at {effect} ({point})"
    print(f"crash points of the bootstrap (writer {writer}): {len(whole.effects)}")
    assert len(whole.effects) > 20


def test_the_first_run_decides_about_the_writer_even_when_it_died(blue: AccountDatabase) -> None:
    found = secrets_of(blue)
    process = Process(dies_after=_effects_until_the_first_account(blue, found))
    with pytest.raises(CrashError):
        run(blue, found, process=process, WriterAtCreation="false")
    process.bury()
    run(blue, found, WriterAtCreation="true")
    assert blue.lock_states() == {"payments_app_a": "locked", "payments_app_b": "locked"}


def _effects_until_the_first_account(blue: AccountDatabase, found: DatabaseSecrets) -> int:
    whole = Process()
    run(blue, found, process=whole, WriterAtCreation="false")
    blue.clean()
    return next(place for place, effect in enumerate(whole.effects, start=1) if effect.startswith("CREATE USER"))


def test_a_run_that_died_after_unlocking_does_not_undo_a_later_fence(blue: AccountDatabase) -> None:
    """The record still says that the creation is going on, but a marker says that the writer was switched since."""
    found = secrets_of(blue)
    whole = Process()
    run(blue, found, process=whole)
    blue.clean()
    process = Process(dies_after=len(whole.effects) - 1)
    with pytest.raises(CrashError):
        run(blue, found, process=process)
    process.bury()
    assert blue.lock_states() == {"payments_app_a": "unlocked", "payments_app_b": "unlocked"}
    for name in APPLICATION:
        blue.server.query(f"ALTER USER '{name}'@'%' ACCOUNT LOCK")
    blue.server.query(
        "INSERT INTO blue_green_control.marker (marker_id, cutover_id, old_writer, new_writer)"
        " VALUES (UUID(), 'c1', 'blue', 'green')"
    )
    run(blue, found)
    assert blue.lock_states() == {"payments_app_a": "locked", "payments_app_b": "locked"}


def test_a_password_that_no_longer_fits_is_set_and_the_lock_is_left(blue: AccountDatabase) -> None:
    run(blue, secrets_of(blue), WriterAtCreation="false")
    renewed = secrets_of(blue)
    assert blue.login(renewed.application) == "denied"
    run(blue, renewed, WriterAtCreation="false")
    assert blue.login(renewed.application) == "locked"
    assert blue.login(renewed.replication) == "admitted"


def test_it_waits_for_the_controller_of_the_accounts(blue: AccountDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("database_bootstrap.bootstrap._CONTROLLER_LOCK_WAIT_SECONDS", 0.2)
    with blue.server.connect() as other, other.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('blue_green_controller', 0)")
        with pytest.raises(LockNotAvailableError, match="a writer switch or a rotation is at work"):
            run(blue, secrets_of(blue))


def test_accounts_stay_in_their_database_while_replication_runs(fresh_databases: DatabaseChain) -> None:
    database = AccountDatabase.on(fresh_databases["blue"])
    run(database, secrets_of(database))
    fresh_databases.wait_caught_up()
    green = AccountDatabase(server=fresh_databases["green"], admin_password="")
    assert green.lock_states((*APPLICATION, *REPLICATION)) == dict.fromkeys((*APPLICATION, *REPLICATION), "absent")


def test_a_wrong_admin_password_is_named_at_once(blue: AccountDatabase) -> None:
    found = secrets_of(blue)
    blue.server.query(f"ALTER USER 'payments_admin'@'%' IDENTIFIED BY '{new_password()}'")
    with pytest.raises(AccessDeniedError, match="account payments_admin is not admitted with the password of secret"):
        run(blue, found)


def test_a_database_that_never_answers_is_given_up_at_the_deadline(blue: AccountDatabase) -> None:
    found = secrets_of(blue)
    with pytest.raises(DatabaseUnreachableError, match=r"cannot be reached: .* \(after \d+ attempts\)"):
        bootstrap(
            properties(),
            found=DatabaseSecrets(
                admin=_elsewhere(found.admin),
                application=_elsewhere(found.application),
                replication=_elsewhere(found.replication),
            ),
            schema_files=schema_files(),
            connect=connector(ca_path=blue.server.ca_path),
            deadline=Deadline.after(4),
        )


def _elsewhere(secret: DatabaseSecret) -> DatabaseSecret:
    return DatabaseSecret.parse(
        json.dumps({**secret.document, "port": 9}), name=secret.name, pair=secret.alternate_username is not None
    )


def test_secrets_of_two_databases_are_refused(blue: AccountDatabase) -> None:
    found = secrets_of(blue)
    mixed = DatabaseSecrets(admin=found.admin, application=_elsewhere(found.application), replication=found.replication)
    with pytest.raises(BootstrapError, match="host and port must be those of the admin secret"):
        run(blue, mixed)
