"""The harness itself: what the tests of the data plane take for granted about their databases."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from rehearsal.databases import (
    DatabaseChain,
    DatabaseServer,
    DatabasesUnavailableError,
    ReplicationError,
    ServerError,
    Software,
)
from rehearsal.databases.certificates import make_server_certificate
from rehearsal.databases.keeper import servers_of
from rehearsal.databases.software import cache_folder, fetch

pytestmark = pytest.mark.slow

SCHEMA = (
    "CREATE DATABASE payments",
    "CREATE DATABASE elsewhere",
    "CREATE TABLE payments.entries (id INT AUTO_INCREMENT PRIMARY KEY, place VARCHAR(9) NOT NULL)",
    "CREATE TABLE elsewhere.entries LIKE payments.entries",
)


def write(server: DatabaseServer, schema: str = "payments") -> None:
    server.query(f"INSERT INTO {schema}.entries (place) VALUES (%s)", (server.name,))


def entries(server: DatabaseServer, schema: str = "payments") -> list[tuple[int, str]]:
    return [(row["id"], row["place"]) for row in server.query(f"SELECT id, place FROM {schema}.entries ORDER BY id")]


def accounts(server: DatabaseServer) -> set[str]:
    return {row["User"] for row in server.query("SELECT User FROM mysql.user")}


@pytest.fixture
def pair(fresh_databases: DatabaseChain) -> DatabaseChain:
    fresh_databases.execute_everywhere(SCHEMA)
    return fresh_databases


def test_what_one_side_commits_arrives_on_the_other_in_both_directions(pair: DatabaseChain) -> None:
    write(pair["blue"])
    write(pair["green"])

    pair.wait_caught_up()

    # Offsets 1 and 2 keep the keys apart, and nothing goes round in circles.
    assert entries(pair["blue"]) == entries(pair["green"]) == [(1, "blue"), (2, "green")]


def test_only_the_replicated_schemas_are_carried(pair: DatabaseChain) -> None:
    write(pair["blue"], "elsewhere")
    write(pair["blue"])

    pair.wait_caught_up()

    assert entries(pair["green"]) == [(1, "blue")]
    assert entries(pair["green"], "elsewhere") == []


def test_the_name_of_a_replicated_schema_is_no_pattern(pair: DatabaseChain) -> None:
    # Underscores in a filter match any character unless they are escaped.
    pair.execute_everywhere(
        [
            "CREATE DATABASE blueXgreenXcontrol",
            "CREATE TABLE blueXgreenXcontrol.entries LIKE payments.entries",
        ]
    )

    write(pair["blue"], "blueXgreenXcontrol")
    pair.wait_caught_up()

    assert entries(pair["green"], "blueXgreenXcontrol") == []


def test_accounts_and_their_locks_stay_where_they_are_made(pair: DatabaseChain) -> None:
    pair.execute_everywhere(["CREATE USER application@'%' IDENTIFIED BY 'secret' REQUIRE SSL ACCOUNT LOCK"])

    # With the binary log on and a replicated schema as the default, as the cutover's own connection may have
    # it.
    with pair["blue"].connect(database="payments") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE USER intruder@'%' IDENTIFIED BY 'secret'")
        cursor.execute("ALTER USER application@'%' ACCOUNT UNLOCK")
    write(pair["blue"])
    pair.wait_caught_up()

    assert "intruder" not in accounts(pair["green"])
    with pytest.raises(pymysql.OperationalError) as refusal:
        pair["green"].connect(user="application", password="secret")
    assert refusal.value.args[0] == 4151
    pair["blue"].connect(user="application", password="secret").close()


def test_a_delayed_direction_lags_and_the_other_does_not(pair: DatabaseChain) -> None:
    pair.replication("blue", "green").delay(seconds=1)
    started = time.monotonic()
    write(pair["blue"])
    write(pair["green"])

    pair.replication("green", "blue").wait_caught_up()
    back = time.monotonic() - started
    pair.replication("blue", "green").wait_caught_up()
    forth = time.monotonic() - started

    # The delay counts whole seconds of the commit's time stamp, so that one second may be shorter by nearly
    # one.
    assert back < forth
    assert pair.replication("blue", "green").status()["SQL_Delay"] == 1


def test_a_delay_of_two_seconds_takes_more_than_one(pair: DatabaseChain) -> None:
    pair.delay_replication(seconds=2)
    started = time.monotonic()
    write(pair["blue"])

    with pytest.raises(ReplicationError, match=r"replication from blue to green did not catch up within 0\.2 s"):
        pair.wait_caught_up(timeout_seconds=0.2)
    pair.wait_caught_up()

    assert time.monotonic() - started > 1
    assert entries(pair["green"]) == [(1, "blue")]


def test_stopped_replication_carries_nothing_until_it_starts_again(pair: DatabaseChain) -> None:
    pair.stop_replication()
    write(pair["blue"])
    with pytest.raises(ReplicationError, match="Slave_SQL_Running No"):
        pair.wait_caught_up(timeout_seconds=0.3)
    assert entries(pair["green"]) == []

    pair.start_replication()
    pair.wait_caught_up()

    assert entries(pair["green"]) == [(1, "blue")]


def test_a_connection_without_tls_is_refused(pair: DatabaseChain) -> None:
    blue = pair["blue"]

    with pytest.raises(pymysql.OperationalError) as refusal:
        pymysql.connect(
            host=blue.host,
            port=blue.port,
            user=blue.admin_username,
            password=blue.admin_password,
            ssl_disabled=True,
        )

    assert refusal.value.args[0] in (1045, 3159)


def test_replication_runs_over_verified_tls(pair: DatabaseChain) -> None:
    status = pair.replication("blue", "green").status()

    assert (status["Master_SSL_Allowed"], status["Master_SSL_Verify_Server_Cert"]) == ("Yes", "Yes")


def test_an_authority_of_another_run_is_not_trusted(pair: DatabaseChain, tmp_path: Path) -> None:
    blue = pair["blue"]

    with pytest.raises(pymysql.OperationalError, match="certificate verify failed"):
        pymysql.connect(
            host=blue.host,
            port=blue.port,
            user=blue.admin_username,
            password=blue.admin_password,
            ssl_ca=str(make_server_certificate(tmp_path).ca_path),
            # PyMySQL verifies nothing when it is given the authority alone.
            ssl_verify_cert=True,
            ssl_verify_identity=True,
        )


def test_a_killed_server_comes_back_with_its_data_and_catches_up(pair: DatabaseChain) -> None:
    blue, green = pair["blue"], pair["green"]
    write(green)
    pair.wait_caught_up()

    green.kill()
    with pytest.raises(pymysql.OperationalError):
        green.connect()
    with pytest.raises(ServerError, match="green does not run"):
        _ = green.process_id
    write(blue)
    green.start()
    pair.start_replication()
    pair.wait_caught_up()

    assert entries(green) == entries(blue) == [(2, "green"), (3, "blue")]


def test_a_restart_keeps_port_and_accounts(pair: DatabaseChain) -> None:
    green = pair["green"]
    port, process_id = green.port, green.process_id

    green.restart()

    assert green.query("SELECT 1 AS one") == [{"one": 1}]
    assert green.port == port
    assert green.process_id != process_id


def test_reset_leaves_nothing_of_the_test_before(pair: DatabaseChain) -> None:
    pair.delay_replication(seconds=30)
    pair["blue"].query("CREATE USER leftover@'%' IDENTIFIED BY 'secret'")
    write(pair["blue"])
    pair["green"].kill()

    pair.reset()

    for server in pair:
        assert "leftover" not in accounts(server)
        assert "payments" not in {row["Database"] for row in server.query("SHOW DATABASES")}
    pair.execute_everywhere(SCHEMA)
    write(pair["blue"])
    pair.wait_caught_up(timeout_seconds=5)
    assert entries(pair["green"]) == [(1, "blue")]


@pytest.fixture(scope="module")
def three(mariadb: Software) -> Iterator[DatabaseChain]:
    with DatabaseChain.start(("legacy", "blue", "green"), software=mariadb) as chain:
        yield chain


def test_in_a_chain_of_three_every_change_arrives_everywhere_once(three: DatabaseChain) -> None:
    three.execute_everywhere([*SCHEMA, "CREATE TABLE payments.counter (id INT PRIMARY KEY, n INT) ENGINE=InnoDB"])
    three["legacy"].query("INSERT INTO payments.counter VALUES (1, 0)")
    three.wait_caught_up()

    # Each writes in its turn, as the one writer does; an update applied a second time would undo a later one.
    for name in ("legacy", "blue", "green", "blue", "legacy"):
        write(three[name])
        three[name].query("UPDATE payments.counter SET n = n + 1")
        three.wait_caught_up()

    expected = [(1, "legacy"), (2, "blue"), (3, "green"), (5, "blue"), (7, "legacy")]
    for server in three:
        assert entries(server) == expected
        assert server.query("SELECT n FROM payments.counter") == [{"n": 5}]
    for replication in three.replications:
        replication.wait_running()


def test_accounts_stay_where_they_are_made_in_a_chain_of_three(three: DatabaseChain) -> None:
    three["blue"].query("CREATE USER intruder@'%' IDENTIFIED BY 'secret'")
    three["blue"].query("CREATE DATABASE IF NOT EXISTS unrelated")

    three.wait_caught_up()

    for name in ("legacy", "green"):
        assert "intruder" not in accounts(three[name])
        assert {"Database": "unrelated"} not in three[name].query("SHOW DATABASES")


def test_a_chain_needs_two_different_names(mariadb: Software) -> None:
    with pytest.raises(ValueError, match=r"two or more different names, got \['blue', 'blue'\]"):
        DatabaseChain(("blue", "blue"), replicated_schemas=("payments",), software=mariadb)


def test_nothing_is_left_when_the_chain_is_closed(mariadb: Software) -> None:
    with DatabaseChain.start(("blue", "green"), software=mariadb) as chain:
        folder = chain["blue"].folder.parent
        assert len(servers_of(str(folder))) == 2

    assert servers_of(str(folder)) == []
    assert not folder.exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_process_dies(mariadb: Software, how: signal.Signals) -> None:
    program = (
        "import time\n"
        "from rehearsal.databases import DatabaseChain\n"
        "chain = DatabaseChain.start()\n"
        "print(chain['blue'].folder.parent, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert len(servers_of(str(folder))) == 2

        process.send_signal(how)

    deadline = time.monotonic() + 10
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
    assert servers_of(str(folder)) == []


def test_a_server_that_does_not_start_says_why(mariadb: Software) -> None:
    with DatabaseChain.start(("blue", "green"), software=mariadb) as chain:
        green = chain["green"]
        green.stop()
        (green.folder / "data" / "ibdata1").write_bytes(b"not a tablespace")

        with pytest.raises(ServerError, match=r"green ended while it started; its log:\n[\s\S]*InnoDB"):
            green.start()


def test_the_cache_folder_can_be_chosen() -> None:
    assert cache_folder({"REHEARSAL_CACHE": "/somewhere/else"}) == Path("/somewhere/else")
    assert cache_folder({}).parts[-2:] == ("build", "cache")


def test_a_machine_without_apt_is_told_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DatabasesUnavailableError, match="no mariadbd is installed, and apt-get and dpkg cannot be"):
        fetch(tmp_path / "cache")


def test_a_failed_download_is_told_in_the_words_of_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy on a port where nothing listens: the network is as good as gone.
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    configuration = tmp_path / "apt.conf"
    configuration.write_text('Acquire::http::Proxy "http://127.0.0.1:9"; Acquire::Retries "0";\n')
    monkeypatch.setenv("APT_CONFIG", str(configuration))

    with pytest.raises(DatabasesUnavailableError, match=r"apt-get install ended with 100: .*mariadb-server-core"):
        fetch(tmp_path / "cache")


@pytest.mark.parametrize(("ci", "outcome"), [("", "skipped"), ("true", "failed")])
def test_without_databases_tests_are_skipped_with_the_reason_and_fail_in_ci(
    tmp_path: Path, ci: str, outcome: str
) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(databases):\n    pass\n")
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho no network; exit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    program = (
        "import sys, pytest, rehearsal.databases.software as software\n"
        "software.SYSTEM_FOLDERS = ()\n"
        "sys.exit(pytest.main(['-p', 'rehearsal.databases.pytest_plugin', '-rs', *sys.argv[1:]]))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, "-c", os.devnull, "--rootdir", str(tmp_path), str(tmp_path)],
        env={
            **os.environ,
            "CI": ci,
            "PATH": f"{tmp_path}:/usr/bin",
            "REHEARSAL_CACHE": str(tmp_path / "cache"),
            "PYTEST_ADDOPTS": "-p no:cacheprovider",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert f"1 {outcome}" in finished.stdout.replace("1 error", "1 failed")
    assert "no databases to test with: apt-get install ended with 100: no network" in finished.stdout
