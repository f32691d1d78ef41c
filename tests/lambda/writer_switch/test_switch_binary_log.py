"""Telling a client's payments in the binary log from what replication applied."""

from __future__ import annotations

import pytest

from database_access.server import Engine, Server
from writer_switch.binary_log import BinaryLogError, Event, Position, events_since, own_commits, position

OURS = 1
NEIGHBOUR = 2


def transaction(*tables: str, server_id: int = OURS, begin: str = "Gtid", end: str = "Xid") -> list[Event]:
    """As SHOW BINLOG EVENTS lists it; the words are those of MariaDB 10.11."""
    return [
        Event(kind=begin, server_id=server_id, info="BEGIN GTID 1-1-1" if begin == "Gtid" else "BEGIN"),
        Event(kind="Annotate_rows", server_id=server_id, info="insert into payments.payments values (payments.x)"),
        *(Event(kind="Table_map", server_id=server_id, info=f"table_id: 18 ({table})") for table in tables),
        Event(kind="Write_rows_v1", server_id=server_id, info="table_id: 18 flags: STMT_END_F"),
        Event(kind=end, server_id=server_id, info="COMMIT /* xid=50 */" if end == "Xid" else "COMMIT"),
    ]


def count(*transactions: list[Event]) -> int:
    events = [event for each in transactions for event in each]
    return own_commits(events, server_id=OURS, payment_schema="payments")


def test_a_clients_payment_is_counted_once() -> None:
    assert count(transaction("payments.payments", "payments.balances")) == 1


def test_a_payment_of_a_server_without_gtid_is_counted() -> None:
    assert count(transaction("payments.payments", begin="Query", end="Query")) == 1


def test_a_payment_of_mysql_is_counted() -> None:
    anonymous = Event(kind="Anonymous_Gtid", server_id=OURS, info="SET @@SESSION.GTID_NEXT= 'ANONYMOUS'")
    assert count([anonymous, *transaction("payments.payments", begin="Query")]) == 1


def test_what_native_replication_applied_is_not_a_clients() -> None:
    assert count(transaction("payments.payments", server_id=NEIGHBOUR)) == 0


def test_what_dms_applied_is_not_a_clients() -> None:
    applied = transaction("loopback_blue_green.awsdms_loopback_prevention", "payments.payments")
    assert count(applied) == 0


def test_a_client_among_replicated_transactions_is_found() -> None:
    replicated = transaction("payments.payments", server_id=NEIGHBOUR)
    marked = transaction("loopback_blue_green.awsdms_loopback_prevention", "payments.payments")
    assert count(replicated, marked, transaction("payments.payments"), marked, replicated) == 1


def test_markers_heartbeats_and_account_statements_are_no_payments() -> None:
    lock = [
        Event(kind="Gtid", server_id=OURS, info="GTID 1-1-9"),
        Event(kind="Query", server_id=OURS, info="ALTER USER payments_app_a ACCOUNT LOCK"),
    ]
    assert count(transaction("blue_green_control.marker"), lock, transaction("blue_green_control.heartbeat")) == 0


def test_a_transaction_that_was_rolled_back_is_no_payment() -> None:
    begun = transaction("payments.payments")[:-1]
    ended = Event(kind="Query", server_id=OURS, info="ROLLBACK")
    assert count([*begun, ended], transaction("blue_green_control.heartbeat")) == 0


class Answers:
    """A server that answers by rote: what a statement of another engine is called, and what it refuses."""

    def __init__(self, **rows: list[tuple[object, ...]]) -> None:
        self.rows = rows
        self.statements: list[str] = []

    def query(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        self.statements.append(statement)
        return self.rows.get(statement.split()[1].lower(), [])

    def execute(self, statement: str, *parameters: object) -> int:
        raise AssertionError("nothing is changed")

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("engine", "version", "statement"),
    [
        (Engine.MYSQL, "8.0.44", "SHOW MASTER STATUS"),
        (Engine.MYSQL, "8.4.3", "SHOW BINARY LOG STATUS"),
        (Engine.MARIADB, "10.11.19-MariaDB", "SHOW MASTER STATUS"),
    ],
)
def test_the_position_is_asked_for_in_the_words_of_the_engine(engine: Engine, version: str, statement: str) -> None:
    answers = Answers(master=[("binlog.000001", 4)], binary=[("binlog.000001", 4)])
    found = position(answers, Server(engine=engine, version=version, procedures=frozenset()))
    assert answers.statements == [statement]
    assert found == Position(file="binlog.000001", offset=4)


def test_a_server_without_a_binary_log_proves_nothing() -> None:
    with pytest.raises(BinaryLogError, match="writes no binary log"):
        position(Answers(), Server(engine=Engine.MARIADB, version="10.11", procedures=frozenset()))


def test_a_purged_file_proves_nothing() -> None:
    with pytest.raises(BinaryLogError, match="purged"):
        events_since(Answers(binary=[("binlog.000002", 100)]), Position(file="binlog.000001", offset=4))


def test_too_many_events_prove_nothing() -> None:
    event = ("binlog.000001", 4, "Xid", 1, 5, "COMMIT")
    answers = Answers(binary=[("binlog.000001", 100)], binlog=[event] * 20_000)
    with pytest.raises(BinaryLogError, match="20,000"):
        events_since(answers, Position(file="binlog.000001", offset=4))
