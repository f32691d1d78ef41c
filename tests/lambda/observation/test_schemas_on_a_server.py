"""Schemas as a real server describes them."""

from __future__ import annotations

import json

import pytest

from database_access.credentials import DatabaseSecret
from database_access.deadline import Deadline
from database_access.session import Session, connector
from observation.schemas import differences, read_schema
from rehearsal.databases import DatabaseChain
from tests.support.account_database import AccountDatabase

pytestmark = pytest.mark.slow
TABLE = "CREATE TABLE payments.payments (id CHAR(36) PRIMARY KEY, amount DECIMAL(12,2) NOT NULL, KEY (amount))"


@pytest.fixture
def session(blue: AccountDatabase, server_of_this_module: DatabaseChain) -> Session:
    secret = DatabaseSecret.parse(json.dumps(blue.admin_document()), name="blue", pair=False)
    return connector(ca_path=server_of_this_module.ca_path)(secret, deadline=Deadline.after(30))


def test_the_same_statements_make_the_same_schema(blue: AccountDatabase, session: Session) -> None:
    blue.server.execute_unlogged(["CREATE DATABASE payments", TABLE])
    first = read_schema(session, "payments")
    blue.server.execute_unlogged(["DROP DATABASE payments", "CREATE DATABASE payments", TABLE])
    assert first
    assert differences({"blue": first, "green": read_schema(session, "payments")}) == ()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ("ADD COLUMN note VARCHAR(10)", "column payments.note"),
        ("MODIFY amount DECIMAL(14,2) NOT NULL", "decimal(14,2)"),
        ("MODIFY amount DECIMAL(12,2) NULL", "YES"),
        ("DROP KEY amount", "key payments.amount"),
        ("ADD UNIQUE KEY only_once (amount)", "key payments.only_once"),
    ],
)
def test_a_change_that_a_row_could_fail_on_is_seen(
    blue: AccountDatabase, session: Session, change: str, part: str
) -> None:
    blue.server.execute_unlogged(["CREATE DATABASE payments", TABLE])
    before = read_schema(session, "payments")
    blue.server.execute_unlogged([f"ALTER TABLE payments.payments {change}"])
    found = differences({"blue": before, "green": read_schema(session, "payments")})
    assert any(part in line for line in found), found
