"""The load balancer of a rehearsal does what an application load balancer does; real HAProxy, real TLS."""

from __future__ import annotations

import ssl
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rehearsal.balancer import SIDE_HEADER, Balancer, HaproxySoftware, RuleFollower
from rehearsal.databases.certificates import make_server_certificate

pytestmark = pytest.mark.slow

TRUSTING = ssl.create_default_context()
TRUSTING.check_hostname = False
TRUSTING.verify_mode = ssl.CERT_NONE


class Target:
    """A target on TLS. Attributes: status: of its answers; healthy: of its health check."""

    def __init__(self, folder: Path) -> None:
        self.status = 200
        self.healthy = True
        target = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                is_check = self.path == "/health/ready"
                self.send_response((200 if target.healthy else 503) if is_check else target.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        folder.mkdir()
        certificate = make_server_certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate_path, certificate.key_path)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[Mapping[str, Target]]:
    made = {side: Target(tmp_path / side) for side in ("blue", "green")}
    yield made
    for target in made.values():
        target.close()


@pytest.fixture
def balancer(targets: Mapping[str, Target], haproxy: HaproxySoftware, tmp_path: Path) -> Iterator[Balancer]:
    groups = {side: [target.port] for side, target in targets.items()}
    with Balancer(groups=groups, folder=tmp_path / "balancer", software=haproxy) as running:
        running.wait_healthy({"blue": 1, "green": 1})
        yield running


def ask(balancer: Balancer, *, cookie: str = "") -> tuple[int, str, str]:
    """Status, who answered, and the cookie."""
    request = urllib.request.Request(
        f"https://127.0.0.1:{balancer.port}/", headers={"Cookie": cookie} if cookie else {}
    )
    try:
        with urllib.request.urlopen(request, context=TRUSTING, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.headers[SIDE_HEADER], answer.headers.get("Set-Cookie", "")
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get(SIDE_HEADER, ""), ""


def shares(balancer: Balancer, requests: int = 100) -> Counter[str]:
    return Counter(ask(balancer)[1] for _ in range(requests))


def test_requests_are_shared_by_weight(balancer: Balancer) -> None:
    assert shares(balancer, 20) == {"blue": 20}
    balancer.set_weights({"blue": 75, "green": 25})
    assert shares(balancer) == {"blue": 75, "green": 25}
    balancer.set_weights({"blue": 0, "green": 100})
    assert shares(balancer, 20) == {"green": 20}


def test_no_request_fails_while_weights_change(balancer: Balancer) -> None:
    statuses: list[int] = []
    stop = threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            statuses.append(ask(balancer)[0])

    threads = [threading.Thread(target=go_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    flip, deadline = 0, time.monotonic() + 30
    # As many as it takes for enough requests to meet a change.
    while (flip < 60 or len(statuses) < 40) and time.monotonic() < deadline:
        balancer.set_weights({"blue": 100 * (flip % 2), "green": 100 - 100 * (flip % 2)})
        time.sleep(0.005)
        flip += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert len(statuses) >= 40
    assert set(statuses) == {200}


def test_a_group_without_a_healthy_target_is_not_replaced_by_the_other(
    balancer: Balancer, targets: Mapping[str, Target]
) -> None:
    targets["blue"].healthy = False
    deadline = time.monotonic() + 20
    while balancer.counters()["blue"].healthy and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ask(balancer)[:2] == (503, "")
    assert balancer.counters()["blue"].targets == ()


def test_errors_of_targets_are_counted_apart_from_those_of_the_balancer(
    balancer: Balancer, targets: Mapping[str, Target]
) -> None:
    before = balancer.counters()["blue"]
    ask(balancer)
    targets["blue"].status = 500
    ask(balancer)
    counted = balancer.counters()["blue"].minus(before)
    assert (counted.requests, counted.target_5xx, counted.own_5xx) == (2, 1, 0)
    assert len(balancer.take_answers()) == 2


def test_counters_begin_anew_with_a_restart(balancer: Balancer) -> None:
    for _ in range(3):
        ask(balancer)
    before = balancer.counters()["blue"]
    balancer.set_weights({"blue": 0, "green": 100})
    balancer.restart()
    balancer.wait_healthy({"blue": 1, "green": 1})
    assert ask(balancer)[1] == "green"
    assert balancer.counters()["blue"].minus(before).requests == 0


def test_a_target_that_moved_is_found_at_its_new_port(
    balancer: Balancer, targets: Mapping[str, Target], tmp_path: Path
) -> None:
    other = Target(tmp_path / "other")
    try:
        other.status = 418
        balancer.set_target("blue", 0, other.port)
        assert ask(balancer)[0] == 418
    finally:
        other.close()


def test_with_stickiness_a_client_stays_where_it_was_first(balancer: Balancer) -> None:
    balancer.set_sticky(True)
    cookie = ask(balancer)[2].partition(";")[0]
    balancer.set_weights({"blue": 0, "green": 100})
    assert ask(balancer, cookie=cookie)[1] == "blue"
    assert ask(balancer)[1] == "green"
    balancer.set_sticky(False)
    assert ask(balancer, cookie=cookie)[1] == "green"


class Rule:
    """A listener rule as DescribeRules answers it, which may fail."""

    def __init__(self) -> None:
        self.weights = {"arn:blue": 100, "arn:green": 0}
        self.fails = False

    def describe_rules(self, **_: Any) -> Mapping[str, Any]:
        if self.fails:
            raise OSError("no connection")
        groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in self.weights.items()]
        return {"Rules": [{"Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]}]}


@contextmanager
def following(balancer: Balancer, rule: Any) -> Iterator[list[Mapping[str, int]]]:
    told: list[Mapping[str, int]] = []
    groups = {"blue": "arn:blue", "green": "arn:green"}
    with RuleFollower(
        balancer,
        rule,
        rule_arn="rule",
        target_groups=groups,
        seconds=0.01,
        tell=lambda weights, _: told.append(weights),
    ):
        yield told


def test_it_follows_a_listener_rule_and_keeps_the_weights_while_the_rule_cannot_be_read(balancer: Balancer) -> None:
    rule = Rule()
    with following(balancer, rule) as told:
        rule.weights = {"arn:blue": 40, "arn:green": 60}
        deadline = time.monotonic() + 10
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
        assert told == [{"blue": 40, "green": 60}]
        rule.fails = True
        time.sleep(0.1)
        assert balancer.weights == {"blue": 40, "green": 60}
        # HAProxy goes on in its round where the weights before had left it.
        assert shares(balancer)["green"] == pytest.approx(60, abs=2)
