"""SIGTERM ends the service without failing a request that it has accepted."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from rehearsal.data_plane import DataPlane
from rehearsal.service_process import ServiceProcess

pytestmark = pytest.mark.slow

ORDER: dict[str, Any] = {
    "amount": "12.30",
    "currency": "EUR",
    "debtor_account": "DEBTOR",
    "creditor_account": "CREDITOR",
    "payment_token": "tok_1a2b3c4d",
}


def pay(service: ServiceProcess) -> httpx.Response:
    with service.client() as client:
        return client.post("/payments", json=ORDER, headers={"Idempotency-Key": str(uuid4())})


def wait_for_event(service: ServiceProcess, event: str) -> None:
    deadline = time.monotonic() + 5
    while not service.log_events(event):
        assert time.monotonic() < deadline, f"no event {event!r}"
        time.sleep(0.01)


def test_it_is_not_ready_at_once_but_still_serves_while_balancers_notice(start_service: Any) -> None:
    service = start_service("--drain-seconds=1.5")

    service.terminate()
    wait_for_event(service, "draining")
    with service.client() as client:
        readiness = client.get("/health/ready")
    payment = pay(service)

    assert (readiness.status_code, readiness.json()["status"]) == (503, "draining")
    assert payment.status_code == 201
    # The next request of this client shall go to another process.
    assert payment.headers["connection"] == "close"
    assert service.wait(10) == 0


def test_a_held_request_is_finished_before_the_process_ends(data_plane: DataPlane, start_service: Any) -> None:
    service = start_service("--drain-seconds=0", "--hold-seconds=20")
    data_plane.fence("blue")

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(pay, service)
        with service.client() as client:
            while "payment_holding 1.0" not in client.get("/metrics").text:
                time.sleep(0.02)
        service.terminate()
        wait_for_event(service, "draining")
        time.sleep(0.5)
        with pytest.raises(httpx.ConnectError):
            pay(service)
        data_plane.promote("blue")

        assert answer.result(10).status_code == 201
    assert service.wait(10) == 0


def test_a_client_that_keeps_its_connection_does_not_keep_the_process(start_service: Any) -> None:
    service = start_service("--drain-seconds=0")

    with service.client() as client:
        client.get("/health/live")
        started = time.monotonic()
        service.terminate()

        assert service.wait(20) == 0
    assert time.monotonic() - started < 5


def test_a_second_signal_skips_the_waiting(start_service: Any) -> None:
    service = start_service("--drain-seconds=60")

    service.terminate()
    wait_for_event(service, "draining")
    service.terminate()

    assert service.wait(10) == 0
