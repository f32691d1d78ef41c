"""The service follows the writer: it loses nothing and pays nothing twice while the writer moves."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from rehearsal.data_plane import APPLICATION_USERNAMES, DataPlane, LocalSecretsManager
from rehearsal.load import Answer, count_statuses, open_loop
from rehearsal.service_process import ServiceProcess

pytestmark = pytest.mark.slow

ORDER: dict[str, Any] = {
    "amount": "12.30",
    "currency": "EUR",
    "debtor_account": "DEBTOR",
    "creditor_account": "CREDITOR",
    "payment_token": "tok_1a2b3c4d",
}


@contextmanager
def background(
    service: ServiceProcess, *, requests_per_second: float, seconds: float, seed: int = 0
) -> Iterator[Future[list[Answer]]]:
    """A load that runs while the block does its work; the block waits for its end."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(
            lambda: asyncio.run(
                open_loop(
                    port=service.port,
                    requests_per_second=requests_per_second,
                    seconds=seconds,
                    seed=seed,
                )
            )
        )


def pay(service: ServiceProcess, key: str | None = None) -> httpx.Response:
    with service.client() as client:
        return client.post("/payments", json=ORDER, headers={"Idempotency-Key": key or str(uuid4())})


@contextmanager
def paying(service: ServiceProcess) -> Iterator[Future[httpx.Response]]:
    """One request in the background, which has arrived when the block begins."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(pay, service)
        wait_until(lambda: "payment_holding 1.0" in metrics(service))
        yield answer


def metrics(service: ServiceProcess) -> str:
    with service.client() as client:
        return client.get("/metrics").text


def readiness(service: ServiceProcess) -> dict[str, Any]:
    with service.client() as client:
        answer = client.get("/health/ready")
    return {"code": answer.status_code, **answer.json()}


def wait_until(condition: Any, timeout_seconds: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def recorded_ids(data_plane: DataPlane, name: str) -> dict[str, str]:
    rows = data_plane.databases[name].query("SELECT id, recorded_in FROM payments.payments")
    return {row["id"]: row["recorded_in"] for row in rows}


def test_the_writer_moves_there_and_back_under_load_and_every_payment_is_made_once(
    data_plane: DataPlane, start_service: Any
) -> None:
    service = start_service()

    with background(service, requests_per_second=40, seconds=4) as load:
        time.sleep(1)
        data_plane.switch("blue", "green")
        time.sleep(1.2)
        data_plane.switch("green", "blue")
        answers = load.result()

    assert count_statuses(answers) == {201: len(answers)}
    data_plane.databases.wait_caught_up()
    recorded = recorded_ids(data_plane, "blue")
    assert set(recorded) == {answer.key for answer in answers}
    assert set(recorded.values()) == {"blue", "green"}
    assert data_plane.check_books() == []


def test_two_processes_write_only_to_the_new_writer_once_it_is_promoted(
    data_plane: DataPlane, start_service: Any
) -> None:
    services = [start_service(), start_service()]

    with (
        background(services[0], requests_per_second=30, seconds=2.5) as first,
        background(services[1], requests_per_second=30, seconds=2.5, seed=1) as second,
    ):
        time.sleep(1)
        data_plane.fence("blue")
        at_the_fence = set(recorded_ids(data_plane, "blue"))
        data_plane.databases.replication("blue", "green").wait_caught_up()
        data_plane.promote("green")
        answers = [*first.result(), *second.result()]

    assert count_statuses(answers) == {201: len(answers)}
    data_plane.databases.wait_caught_up()
    recorded = recorded_ids(data_plane, "blue")
    assert {key for key, database in recorded.items() if database == "blue"} == at_the_fence
    assert set(recorded) == {answer.key for answer in answers}


def test_sessions_killed_again_and_again_lose_and_double_nothing(data_plane: DataPlane, start_service: Any) -> None:
    service = start_service()
    blue = data_plane.databases["blue"]
    over = threading.Event()
    rounds = 0

    def kill_sessions() -> None:
        nonlocal rounds
        paid_before = 0
        with blue.connect() as connection, connection.cursor() as cursor:
            while not over.wait(0.1):
                # On a slow machine a payment may take longer than a round: let one through between two of them.
                cursor.execute("SELECT COUNT(*) AS n FROM payments.payments")
                (row,) = cursor.fetchall()
                if row["n"] > paid_before:
                    paid_before, rounds = row["n"], rounds + 1
                    for username in APPLICATION_USERNAMES:
                        cursor.execute("KILL USER %s", (username,))

    killer = threading.Thread(target=kill_sessions)
    killer.start()
    try:
        answers = asyncio.run(open_loop(port=service.port, requests_per_second=40, seconds=3, seed=7))
    finally:
        over.set()
        killer.join()

    assert rounds > 5
    assert count_statuses(answers) == {201: len(answers)}
    assert set(recorded_ids(data_plane, "blue")) == {answer.key for answer in answers}
    assert data_plane.check_books(["blue"]) == []


def test_a_request_is_held_while_there_is_no_writer_and_answered_by_the_next(
    data_plane: DataPlane, start_service: Any
) -> None:
    service = start_service("--hold-seconds=20")
    data_plane.fence("blue")

    with paying(service) as answer:
        time.sleep(0.5)
        assert not answer.done()
        data_plane.promote("green")

        assert answer.result(timeout=5).status_code == 201

    assert set(recorded_ids(data_plane, "green").values()) == {"green"}


def test_past_the_hold_a_request_is_answered_with_503_and_may_be_repeated(
    data_plane: DataPlane, start_service: Any
) -> None:
    service = start_service("--hold-seconds=1")
    key = str(uuid4())
    data_plane.fence("blue")
    started = time.monotonic()

    refused = pay(service, key)
    waited = time.monotonic() - started
    data_plane.promote("blue")
    repeated = pay(service, key)

    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["type"] == "urn:payment-service:problem:no-writer"
    assert "within 1 s; repeat it with the same Idempotency-Key" in refused.json()["detail"]
    assert 1 <= waited < 3
    assert repeated.status_code == 201


def test_a_service_that_starts_during_a_fence_is_ready_and_holds(data_plane: DataPlane, start_service: Any) -> None:
    data_plane.fence("blue")
    service = start_service("--hold-seconds=10")
    wait_until(lambda: len(readiness(service)["databases"]) == 2)
    assert readiness(service) == {
        "code": 200,
        "status": "ready",
        "writer": None,
        "databases": {"blue": "locked", "green": "locked"},
    }

    with paying(service) as answer:
        data_plane.promote("blue")

        assert answer.result(timeout=5).status_code == 201


def test_an_idle_service_notices_that_the_writer_moved(data_plane: DataPlane, start_service: Any) -> None:
    service = start_service()
    assert readiness(service)["writer"] == "blue"

    data_plane.switch("blue", "green")

    wait_until(lambda: readiness(service)["writer"] == "green", timeout_seconds=5)


def test_a_crashed_writer_is_found_again_when_it_is_back(data_plane: DataPlane, start_service: Any) -> None:
    service = start_service("--hold-seconds=20")
    data_plane.databases["blue"].kill()

    with paying(service) as answer:
        data_plane.databases["blue"].start()

        assert answer.result(timeout=10).status_code == 201


def test_a_writer_that_hangs_costs_time_but_no_second_payment(data_plane: DataPlane, start_service: Any) -> None:
    service = start_service("--hold-seconds=20")
    key = str(uuid4())
    process_id = data_plane.databases["blue"].process_id
    pay(service)

    os.kill(process_id, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(pay, service, key)
            # Longer than a transaction may take: the service has given its session up, the server has not.
            time.sleep(6)
            os.kill(process_id, signal.SIGCONT)

            assert answer.result(timeout=15).status_code in (200, 201)
    finally:
        os.kill(process_id, signal.SIGCONT)

    assert key in recorded_ids(data_plane, "blue")
    assert data_plane.check_books(["blue"]) == []


def test_a_server_that_has_become_read_only_is_not_the_writer(data_plane: DataPlane, start_service: Any) -> None:
    # What an Aurora instance says between its demotion and the move of the cluster's name.
    service = start_service("--hold-seconds=10")
    blue = data_plane.databases["blue"]
    pay(service)
    blue.query("SET GLOBAL read_only = 1")
    try:
        with paying(service) as answer:
            wait_until(lambda: readiness(service)["databases"]["blue"] == "read_only")
            blue.query("SET GLOBAL read_only = 0")

            assert answer.result(timeout=5).status_code == 201
    finally:
        blue.query("SET GLOBAL read_only = 0")


def test_two_databases_that_admit_are_no_writer_at_all(data_plane: DataPlane, start_service: Any) -> None:
    data_plane.promote("green")
    service = start_service("--hold-seconds=1", ready=False)

    refused = pay(service)
    data_plane.fence("green")
    accepted = pay(service)

    assert refused.status_code == 503
    assert service.log_events("more than one database admits the service")
    assert accepted.status_code == 201
    assert set(recorded_ids(data_plane, "blue").values()) == {"blue"}


def test_requests_beyond_the_queue_are_refused_at_once_and_the_others_are_served(
    data_plane: DataPlane, start_service: Any
) -> None:
    service = start_service("--sessions=2", "--queue=3", "--hold-seconds=20")
    data_plane.fence("blue")

    async def storm() -> tuple[list[tuple[float, httpx.Response]], list[httpx.Response]]:
        async with service.async_client() as client:

            async def send() -> tuple[float, httpx.Response]:
                started = time.monotonic()
                answer = await client.post("/payments", json=ORDER, headers={"Idempotency-Key": str(uuid4())})
                return time.monotonic() - started, answer

            requests = [asyncio.create_task(send()) for _ in range(20)]
            done: set[asyncio.Task[tuple[float, httpx.Response]]] = set()
            while len(done) < 15:
                done, _ = await asyncio.wait(requests, timeout=0.05, return_when=asyncio.ALL_COMPLETED)
            refused = [request.result() for request in done]
            await asyncio.to_thread(data_plane.promote, "blue")
            return refused, [(await request)[1] for request in requests if request not in done]

    refused, served = asyncio.run(storm())

    assert [answer.status_code for _, answer in refused] == [503] * 15
    assert {answer.json()["type"] for _, answer in refused} == {"urn:payment-service:problem:overloaded"}
    assert {answer.headers["retry-after"] for _, answer in refused} == {"1"}
    assert max(seconds for seconds, _ in refused) < 2
    assert [answer.status_code for answer in served] == [201] * 5


def test_a_queue_that_has_become_too_slow_is_not_made_longer(data_plane: DataPlane, start_service: Any) -> None:
    service = start_service("--sessions=1", "--hold-seconds=40")
    pay(service)

    async def crowd() -> tuple[float, httpx.Response, list[httpx.Response]]:
        async with service.async_client() as client:

            def send() -> asyncio.Task[httpx.Response]:
                return asyncio.create_task(
                    client.post("/payments", json=ORDER, headers={"Idempotency-Key": str(uuid4())})
                )

            with data_plane.databases["blue"].connect(autocommit=False) as blocker, blocker.cursor() as cursor:
                cursor.execute("SELECT * FROM payments.balances FOR UPDATE")
                waiting = [send() for _ in range(60)]
                # All have arrived, and one has waited in vain for its row lock: the service knows how slow it is now.
                while "payment_queue_waiting 59.0" not in (known := (await client.get("/metrics")).text) or (
                    'payment_retries_total{reason="conflict"}' not in known
                ):
                    await asyncio.sleep(0.05)
                started = time.monotonic()
                refused = await send()
                took = time.monotonic() - started
            return took, refused, await asyncio.gather(*waiting)

    took, refused, served = asyncio.run(crowd())

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["type"] == "urn:payment-service:problem:overloaded"
    assert took < 2
    # Those that were admitted before are served.
    assert {answer.status_code for answer in served} == {201}


def test_the_service_uses_no_more_sessions_than_it_was_given(data_plane: DataPlane, start_service: Any) -> None:
    service = start_service("--sessions=3")

    with background(service, requests_per_second=50, seconds=2) as load:
        seen = []
        while not load.done():
            (row,) = data_plane.databases["blue"].query(
                "SELECT COUNT(*) AS n FROM information_schema.processlist WHERE user IN %s",
                (APPLICATION_USERNAMES,),
            )
            seen.append(row["n"])
            time.sleep(0.05)

    assert count_statuses(load.result()) == {201: len(load.result())}
    # One more: the prober watches with an idle session, which the requests may need meanwhile.
    assert 1 <= max(seen) <= 4


def test_rotated_credentials_need_no_restart(data_plane: DataPlane, start_service: Any) -> None:
    service = start_service()
    blue = data_plane.databases["blue"]
    old, new = APPLICATION_USERNAMES
    pay(service)

    with background(service, requests_per_second=40, seconds=2) as load:
        time.sleep(0.5)
        data_plane.passwords["blue"] = "n" * 40
        blue.query(f"ALTER USER '{new}'@'%' IDENTIFIED BY '{'n' * 40}'")
        data_plane.store_secret("blue", username=new)
        time.sleep(0.5)
        # The harshest form: what the service still remembers is wrong from one moment to the next.
        blue.query(f"ALTER USER '{old}'@'%' IDENTIFIED BY 'gone'")
        blue.query(f"KILL USER '{old}'")
        answers = load.result()

    assert count_statuses(answers) == {201: len(answers)}
    users = blue.query("SELECT DISTINCT user FROM information_schema.processlist WHERE user LIKE 'payments%%'", ())
    assert users == [{"user": new}]


def test_a_wrong_password_is_no_fence_it_is_told_soon_and_mended_without_a_restart(
    data_plane: DataPlane, start_service: Any
) -> None:
    data_plane.store_secret("blue", password="wrong-password")
    service = start_service("--hold-seconds=40", ready=False)
    started = time.monotonic()

    refused = pay(service)
    waited = time.monotonic() - started
    data_plane.store_secret("blue")
    wait_until(lambda: readiness(service)["writer"] == "blue")
    accepted = pay(service)

    assert refused.status_code == 503
    assert 4 < waited < 15  # not the 40 s of a fence
    assert accepted.status_code == 201
    lines = service.log_events("database does not admit")
    assert {"database": "blue", "answer": "CREDENTIALS", "reason": "the credentials are refused (1045)"}.items() <= (
        next(line for line in lines if line["database"] == "blue").items()
    )
    assert "wrong-password" not in service.log_text()


@pytest.mark.parametrize(
    ("secret", "complaint"),
    [
        ("nonsense", "is not a JSON object"),
        ({"host": "127.0.0.1", "port": 3306, "username": "u"}, "needs the key password: a string that is not empty"),
        (
            {"host": "127.0.0.1", "port": "many", "username": "u", "password": "p"},
            "needs the key port: a number from 1 to 65535",
        ),
    ],
)
def test_a_secret_that_is_no_database_secret_is_named_and_mended_without_a_restart(
    data_plane: DataPlane, start_service: Any, secret: Any, complaint: str
) -> None:
    data_plane.secrets_manager.put("blue/application", secret)
    data_plane.store_secret("green", password="wrong-password")
    service = start_service(ready=False)
    wait_until(lambda: complaint in service.log_text())
    assert readiness(service)["code"] == 503

    data_plane.store_secret("blue")

    wait_until(lambda: readiness(service)["writer"] == "blue")


def test_a_database_whose_certificate_is_not_trusted_is_not_used(
    data_plane: DataPlane, secrets_manager: LocalSecretsManager, tmp_path: Any
) -> None:
    from rehearsal.databases.certificates import make_server_certificate

    with ServiceProcess(
        secret_arns=data_plane.secret_arns,
        database_ca=make_server_certificate(tmp_path).ca_path,
        environment=secrets_manager.environment,
        log_path=tmp_path / "service.log",
    ) as service:
        # Both have to have said so.
        wait_until(lambda: service.log_text().count("CERTIFICATE_VERIFY_FAILED") >= 2)

        assert readiness(service) == {
            "code": 503,
            "status": "no database answers",
            "writer": None,
            "databases": {"blue": "untrusted", "green": "untrusted"},
        }


def test_a_schema_without_tables_is_an_error_and_not_a_hold(data_plane: DataPlane, start_service: Any) -> None:
    service = start_service()
    data_plane.databases["blue"].execute_unlogged(["DROP TABLE payments.payments"])
    started = time.monotonic()

    answer = pay(service)

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert time.monotonic() - started < 3
    wait_until(lambda: service.log_events("request failed"))  # it is written after the answer
    (line,) = service.log_events("request failed")
    assert (line["exception"], line["database_error"]) == ("DatabaseError", 1146)
