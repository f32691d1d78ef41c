"""Payments through the running service: recorded once, exactly, and readable afterwards."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import httpx
import pytest

from rehearsal.data_plane import DataPlane, LocalSecretsManager, schema_statements
from rehearsal.databases import DatabaseChain
from rehearsal.service_process import ServiceProcess

pytestmark = pytest.mark.slow

ORDER: dict[str, Any] = {
    "amount": "12.30",
    "currency": "EUR",
    "debtor_account": "DE89370400440532013000",
    "creditor_account": "ACME",
    "payment_token": "tok_1a2b3c4d",
    "reference": "Grüße 🙂",
}


@pytest.fixture(scope="module")
def plane(databases: DatabaseChain, secrets_manager: LocalSecretsManager) -> DataPlane:
    databases.reset()
    return DataPlane(databases, secrets_manager, writer="blue")


@pytest.fixture(scope="module")
def service(plane: DataPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(
        secret_arns=plane.secret_arns,
        database_ca=plane.databases.ca_path,
        environment=plane.secrets_manager.environment,
        log_path=tmp_path_factory.mktemp("service") / "service.log",
    ) as process:
        process.wait_ready()
        yield process


@pytest.fixture(scope="module")
def client(service: ServiceProcess) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def pay(client: httpx.Client, key: str, **changes: Any) -> httpx.Response:
    return client.post("/payments", json={**ORDER, **changes}, headers={"Idempotency-Key": key})


def test_a_payment_is_created_at_its_location(client: httpx.Client) -> None:
    key = str(uuid4())

    answer = pay(client, key)

    assert answer.status_code == 201
    assert answer.headers["location"] == f"/payments/{key}"
    document = answer.json()
    assert document.pop("created_at").endswith("Z")
    assert document == {"id": key, **ORDER}
    assert client.get(answer.headers["location"]).json() == answer.json()


def test_a_payment_writes_exact_entries_and_balances(client: httpx.Client, plane: DataPlane) -> None:
    key, account = str(uuid4()), f"A{uuid4().hex[:20]}"
    pay(client, str(uuid4()), amount="0.10", creditor_account=account)
    pay(client, key, amount="0.20", creditor_account=account)

    rows = plane.databases["blue"].query(
        "SELECT account, amount FROM payments.ledger_entries WHERE payment_id = %s ORDER BY amount", (key,)
    )
    assert rows == [
        {"account": ORDER["debtor_account"], "amount": Decimal("-0.2000")},
        {"account": account, "amount": Decimal("0.2000")},
    ]
    balance = plane.databases["blue"].query("SELECT amount FROM payments.balances WHERE account = %s", (account,))
    assert balance == [{"amount": Decimal("0.3000")}]


@pytest.mark.parametrize(
    ("amount", "currency"), [("100", "JPY"), ("0.001", "KWD"), ("0.0001", "CLF"), ("999999999999.99", "USD")]
)
def test_the_amount_keeps_the_digits_of_its_currency(client: httpx.Client, amount: str, currency: str) -> None:
    key = str(uuid4())
    pay(client, key, amount=amount, currency=currency)

    found = client.get(f"/payments/{key}").json()

    assert (found["amount"], found["currency"]) == (amount, currency)


def test_a_repeated_request_is_answered_from_the_stored_row(client: httpx.Client, plane: DataPlane) -> None:
    key = str(uuid4())
    first = pay(client, key)

    second = pay(client, key.upper(), amount="12.3")

    assert second.status_code == 200
    assert second.headers["idempotent-replayed"] == "true"
    assert second.json() == first.json()
    assert plane.databases["blue"].query("SELECT COUNT(*) AS n FROM payments.payments WHERE id = %s", (key,)) == [
        {"n": 1}
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": "12.31"},
        {"currency": "USD"},
        {"debtor_account": "OTHER"},
        {"creditor_account": "OTHER"},
        {"payment_token": "tok_other1"},
        {"reference": None},
        {"reference": "grüße 🙂"},
    ],
)
def test_a_repeated_key_with_a_different_payment_is_a_conflict(client: httpx.Client, changes: dict[str, Any]) -> None:
    key = str(uuid4())
    first = pay(client, key)

    answer = pay(client, key, **changes)

    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:payment-service:problem:idempotency-key-reused"
    assert client.get(f"/payments/{key}").json() == first.json()


def test_of_many_equal_requests_at_once_one_creates_and_the_others_repeat(
    service: ServiceProcess, plane: DataPlane
) -> None:
    key = str(uuid4())

    async def all_at_once() -> list[httpx.Response]:
        async with service.async_client() as client:
            return await asyncio.gather(
                *(client.post("/payments", json=ORDER, headers={"Idempotency-Key": key}) for _ in range(30))
            )

    answers = asyncio.run(all_at_once())

    assert sorted(answer.status_code for answer in answers) == [200] * 29 + [201]
    assert len({answer.text for answer in answers}) == 1
    assert plane.databases["blue"].query(
        "SELECT COUNT(*) AS n FROM payments.ledger_entries WHERE payment_id = %s", (key,)
    ) == [{"n": 2}]


def test_payments_in_both_directions_between_two_accounts_do_not_block_each_other(
    service: ServiceProcess,
) -> None:
    left, right = (f"A{uuid4().hex[:20]}" for _ in range(2))

    async def all_at_once() -> list[httpx.Response]:
        async with service.async_client() as client:
            return await asyncio.gather(
                *(
                    client.post(
                        "/payments",
                        json={**ORDER, "debtor_account": debtor, "creditor_account": creditor},
                        headers={"Idempotency-Key": str(uuid4())},
                    )
                    for debtor, creditor in [(left, right), (right, left)] * 20
                )
            )

    assert [answer.status_code for answer in asyncio.run(all_at_once())] == [201] * 40
    with service.client() as client:
        assert 'payment_retries_total{reason="conflict"}' not in client.get("/metrics").text


def test_an_unknown_payment_is_not_found(client: httpx.Client) -> None:
    answer = client.get(f"/payments/{uuid4()}")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:payment-service:problem:payment-not-found"


def test_an_id_that_is_no_uuid_is_not_found(client: httpx.Client) -> None:
    answer = client.get("/payments/12")

    assert answer.status_code == 404
    assert answer.json()["detail"] == "No payment has this id: ids are UUIDs."


def test_the_service_lives_and_is_ready_and_names_the_writer(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {
        "status": "ready",
        "writer": "blue",
        "databases": {"blue": "writer", "green": "locked"},
    }


def test_metrics_tell_requests_writer_and_outcomes(client: httpx.Client) -> None:
    pay(client, str(uuid4()))

    text = client.get("/metrics").text

    assert 'http_request_duration_seconds_count{method="POST",route="/payments",status="201"}' in text
    assert 'payment_writer{database="blue"} 1.0' in text
    assert 'payments_total{outcome="created"}' in text
    assert "process_resident_memory_bytes" in text


def test_each_request_leaves_one_log_line_with_the_trace_of_the_balancer(
    client: httpx.Client, service: ServiceProcess
) -> None:
    key = str(uuid4())
    trace = "Root=1-67891233-abcdef012345678912345678"

    client.post(
        "/payments",
        content=json.dumps(ORDER),
        headers={"Idempotency-Key": key, "Content-Type": "application/json", "X-Amzn-Trace-Id": trace},
    )

    # The line is written after the answer.
    deadline = time.monotonic() + 10
    while not (lines := [line for line in service.log_events("request") if line.get("payment_id") == key]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (line,) = lines
    assert {name: line[name] for name in ("method", "route", "status", "outcome", "database", "trace")} == {
        "method": "POST",
        "route": "/payments",
        "status": 201,
        "outcome": "created",
        "database": "blue",
        "trace": trace,
    }


def test_the_books_are_right_and_alike_on_both_sides(client: httpx.Client, plane: DataPlane) -> None:
    pay(client, str(uuid4()))
    plane.databases.wait_caught_up()

    assert plane.check_books() == []


def test_the_check_of_the_books_finds_what_is_wrong(plane: DataPlane, client: httpx.Client) -> None:
    key = str(uuid4())
    pay(client, key, creditor_account="WRONG")
    plane.databases.wait_caught_up()
    green = plane.databases["green"]
    damage = "UPDATE payments.balances SET amount = amount + %s WHERE account = 'WRONG'"
    try:
        green.execute_unlogged([damage % "1", f"DELETE FROM payments.payments WHERE id = '{key}'"])

        found = plane.check_books()
    finally:
        # Green again has what blue has, for the other tests.
        green.execute_unlogged([damage % "-1"])
        row = plane.databases["blue"].query("SELECT * FROM payments.payments WHERE id = %s", (key,))[0]
        with green.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION sql_log_bin = 0")
            marks = ", ".join(["%s"] * len(row))
            cursor.execute(f"INSERT INTO payments.payments VALUES ({marks})", tuple(row.values()))

    assert sorted(line.partition(": ")[2][:20] or line for line in found) == [
        "an entry belongs to ",
        "an entry belongs to ",
        "blue and green differ",
        "the balance of WRONG",
    ]


def test_the_schema_may_be_applied_again(plane: DataPlane, client: httpx.Client) -> None:
    before = plane.databases["blue"].query("SELECT COUNT(*) AS n FROM payments.payments")

    plane.databases["blue"].execute_unlogged(["USE payments", *schema_statements()])

    assert plane.databases["blue"].query("SELECT COUNT(*) AS n FROM payments.payments") == before


def test_every_table_has_a_primary_key_and_a_transactional_engine(plane: DataPlane) -> None:
    tables = plane.databases["blue"].query(
        "SELECT t.table_name AS name, t.engine AS engine, c.constraint_type AS kind "
        "FROM information_schema.tables t LEFT JOIN information_schema.table_constraints c "
        "ON c.table_schema = t.table_schema AND c.table_name = t.table_name AND c.constraint_type = 'PRIMARY KEY' "
        "WHERE t.table_schema = 'payments'"
    )

    assert {(t["name"], t["engine"], t["kind"]) for t in tables} == {
        (name, "InnoDB", "PRIMARY KEY") for name in ("payments", "ledger_entries", "balances")
    }
