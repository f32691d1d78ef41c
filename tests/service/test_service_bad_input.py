"""What a client can do wrong over the wire: each mistake has one clear answer, and no card number is logged."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from payment_service.listener import make_server_context
from rehearsal.data_plane import DataPlane, LocalSecretsManager
from rehearsal.databases import DatabaseChain
from rehearsal.service_process import ServiceProcess

pytestmark = pytest.mark.slow

CARD_NUMBER = "4111111111111111"
ORDER: dict[str, Any] = {
    "amount": "12.30",
    "currency": "EUR",
    "debtor_account": "DEBTOR",
    "creditor_account": "CREDITOR",
    "payment_token": "tok_1a2b3c4d",
}


@pytest.fixture(scope="module")
def service(
    databases: DatabaseChain, secrets_manager: LocalSecretsManager, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    databases.reset()
    plane = DataPlane(databases, secrets_manager, writer="blue")
    with ServiceProcess(
        secret_arns=plane.secret_arns,
        database_ca=plane.databases.ca_path,
        environment=plane.secrets_manager.environment,
        log_path=tmp_path_factory.mktemp("service") / "service.log",
        arguments=["--read-timeout-seconds=0.5"],
    ) as process:
        process.wait_ready()
        yield process


@pytest.fixture(scope="module")
def client(service: ServiceProcess) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


def connect(service: ServiceProcess) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", service.port), timeout=10))


def exchange(service: ServiceProcess, *parts: bytes) -> tuple[bytes, dict[str, Any]]:
    """Send the parts and read until the service closes the connection; head and problem document."""
    with connect(service) as connection:
        for part in parts:
            connection.sendall(part)
        answer = b""
        while received := connection.recv(65536):
            answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, json.loads(body)


def post(client: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    return client.post(
        "/payments",
        content=content,
        headers={"Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
        | {name.replace("_", "-"): value for name, value in headers.items()},
    )


def head_of_post(header: str) -> bytes:
    return (
        f"POST /payments HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {uuid4()}\r\n"
        f"Content-Type: application/json\r\n{header}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        (
            {"currency": "EUX"},
            'currency "EUX" is not the code of a currency in ISO 4217 that payments are made in',
        ),
        ({"amount": "1.234"}, 'amount "1.234" has 3 digits after the decimal point; EUR has 2'),
        (
            {"amount": "1" * 13},
            'amount "1111111111111" has 13 digits before the decimal point; at most 12 are allowed',
        ),
        ({"amount": 12.3}, 'amount must be a string, such as "12.34": a JSON number is not exact everywhere'),
    ],
)
def test_an_invalid_payment_is_a_problem_document(client: httpx.Client, changes: dict[str, Any], detail: str) -> None:
    answer = post(client, json.dumps({**ORDER, **changes}).encode())

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == f"The payment is not valid: {detail}."


def test_malformed_json_is_told(client: httpx.Client) -> None:
    answer = post(client, b'{"amount": ')

    assert (answer.status_code, answer.json()["type"]) == (400, "urn:payment-service:problem:malformed-json")


def test_a_missing_idempotency_key_is_told(client: httpx.Client) -> None:
    answer = client.post("/payments", json=ORDER)

    assert answer.status_code == 400
    assert answer.json()["detail"] == "The header Idempotency-Key is required: a UUID."


def test_another_content_type_is_refused(client: httpx.Client) -> None:
    answer = post(client, json.dumps(ORDER).encode(), Content_Type="text/plain")

    assert answer.status_code == 415
    assert answer.json()["detail"] == "The body must have the Content-Type application/json."


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("PUT", "/payments", 405)])
def test_what_does_not_exist_is_a_problem_document(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_a_path_with_a_slash_too_much_is_not_redirected(client: httpx.Client) -> None:
    assert client.post("/payments/", json=ORDER, follow_redirects=False).status_code == 404


def test_a_body_that_announces_too_much_is_refused_before_it_is_read(service: ServiceProcess) -> None:
    head, problem = exchange(service, head_of_post("Content-Length: 16385"))

    assert head.startswith(b"HTTP/1.1 413 ")
    assert problem["detail"] == "The body is larger than 16384 bytes."


def test_a_body_that_does_not_announce_its_size_is_refused_when_it_is_too_large(service: ServiceProcess) -> None:
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"

    head, problem = exchange(service, head_of_post("Transfer-Encoding: chunked"), chunk, chunk, chunk)

    assert head.startswith(b"HTTP/1.1 413 ")
    assert problem["type"] == "urn:payment-service:problem:body-too-large"


def test_a_body_of_the_largest_size_is_read(client: httpx.Client) -> None:
    content = json.dumps(ORDER).encode()

    assert post(client, content + b" " * (16384 - len(content))).status_code == 201


def test_a_client_that_hangs_in_its_body_is_answered_and_cut_off(service: ServiceProcess) -> None:
    started = time.monotonic()

    head, problem = exchange(service, head_of_post("Content-Length: 200"), b'{"amount":')

    assert head.startswith(b"HTTP/1.1 408 ")
    assert problem["detail"] == "The body did not arrive within 0.5 s."
    assert 0.4 < time.monotonic() - started < 5


@pytest.mark.parametrize("begin", [b"POST /pay", b"POST /payments HTTP/1.1\r\nHost: x\r\nIdempo"])
def test_a_client_that_hangs_in_its_headers_is_answered_and_cut_off(service: ServiceProcess, begin: bytes) -> None:
    started = time.monotonic()

    head, problem = exchange(service, begin)

    assert head.startswith(b"HTTP/1.1 408 ")
    assert problem["detail"] == "The request did not arrive within 0.5 s."
    assert 0.4 < time.monotonic() - started < 5


def test_a_connection_without_a_request_is_closed_without_a_word(service: ServiceProcess) -> None:
    with connect(service) as connection:
        assert connection.recv(4096) == b""


def test_a_client_that_goes_away_in_its_body_is_no_failure_of_the_service(service: ServiceProcess) -> None:
    failures = len(service.log_events("request failed"))

    with connect(service) as connection:
        connection.sendall(head_of_post("Content-Length: 200") + b'{"amount":')

    deadline = time.monotonic() + 5
    while not any(line["status"] == 499 for line in service.log_events("request")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(service.log_events("request failed")) == failures


def test_an_idle_connection_between_two_requests_is_not_cut_off(client: httpx.Client) -> None:
    first = client.get("/health/live")
    time.sleep(1)

    second = client.get("/health/live")

    def connection_of(answer: httpx.Response) -> int:
        return int(answer.extensions["network_stream"].get_extra_info("client_addr")[1])

    assert connection_of(first) == connection_of(second)


def test_what_is_not_http_is_refused(service: ServiceProcess) -> None:
    with connect(service) as connection:
        connection.sendall(b"\x00\x01\x02 what is this\r\n\r\n")

        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_there_is_no_service_without_tls(service: ServiceProcess) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{service.port}/health/live", timeout=5)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(service: ServiceProcess, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version

    with context.wrap_socket(socket.create_connection(("127.0.0.1", service.port), timeout=5)) as connection:
        assert connection.version() == version.name.replace("_", ".")


def test_tls_below_1_2_is_not_spoken() -> None:
    # Many systems' OpenSSL no longer lets a client ask for less, so the listener's own setting is what can be seen.
    assert make_server_context().minimum_version == ssl.TLSVersion.TLSv1_2


def test_each_process_has_a_certificate_of_its_own(service: ServiceProcess) -> None:
    with connect(service) as connection:
        certificate = connection.getpeercert(binary_form=True)

    assert certificate is not None
    assert b"payment-service" in certificate


def test_a_card_number_anywhere_in_a_request_never_reaches_the_log(
    client: httpx.Client, service: ServiceProcess
) -> None:
    for name in [*ORDER, "reference", CARD_NUMBER]:
        assert post(client, json.dumps({**ORDER, name: CARD_NUMBER}).encode()).status_code == 422
    for content in (CARD_NUMBER.encode(), f'{{"amount": {CARD_NUMBER}'.encode()):
        assert post(client, content).status_code == 400
    assert post(client, b"{}", Idempotency_Key=CARD_NUMBER).status_code == 400
    assert post(client, b"{}", Content_Type=CARD_NUMBER).status_code == 415
    assert post(client, b"{}", X_Amzn_Trace_Id=CARD_NUMBER).status_code == 422
    assert client.get(f"/payments/{CARD_NUMBER}").status_code == 404
    assert client.get(f"/{CARD_NUMBER}?card={CARD_NUMBER}").status_code == 404
    assert client.request(CARD_NUMBER, "/payments").status_code in (400, 405)
    with connect(service) as connection:
        connection.sendall(f"{CARD_NUMBER} {CARD_NUMBER}\r\n\r\n".encode())
        connection.recv(4096)
    # All of it has been handled once the next request has been.
    marker = str(uuid4())
    post(client, json.dumps(ORDER).encode(), Idempotency_Key=marker)

    # A line is written after its answer.
    deadline = time.monotonic() + 10
    while marker not in (log := service.log_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)

    assert CARD_NUMBER not in log
    assert "411111" not in log


def test_neither_tokens_nor_accounts_are_logged(client: httpx.Client, service: ServiceProcess) -> None:
    order = {**ORDER, "payment_token": "tok_secret_of_mine", "debtor_account": "VERYPRIVATE"}

    assert post(client, json.dumps(order).encode()).status_code == 201

    assert "tok_secret_of_mine" not in service.log_text()
    assert "VERYPRIVATE" not in service.log_text()
