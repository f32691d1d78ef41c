"""Every request of CloudFormation is answered exactly once, in time, and its address stays secret."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from custom_resource import AnswerNotDeliveredError, MalformedRequestError, Request, serve
from tests.support.answer_receiver import SIGNATURE, Receiver, answer_receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with answer_receiver() as running:
        yield running


def parse(event: Mapping[str, Any]) -> Request:
    return Request.parse(event, physical_resource_id="our-name")


def succeed(request: Request, seconds: float) -> dict[str, str]:
    return {"Engine": "mariadb"}


def fail(request: Request, seconds: float) -> dict[str, str]:
    raise ValueError("WriterAtCreation must be true or false, got 'maybe'")


def test_success_carries_the_data_and_repeats_what_identifies_the_request(receiver: Receiver) -> None:
    serve(parse(receiver.event()), work=succeed, remaining_seconds=60)
    assert receiver.answers == [
        {
            "Status": "SUCCESS",
            "Reason": "",
            "PhysicalResourceId": "our-name",
            "StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/payments/1",
            "RequestId": "request-1",
            "LogicalResourceId": "Bootstrapped",
            "NoEcho": False,
            "Data": {"Engine": "mariadb"},
        }
    ]


def test_the_content_type_is_empty_as_the_signature_covers_it(receiver: Receiver) -> None:
    serve(parse(receiver.event()), work=succeed, remaining_seconds=60)
    assert receiver.headers[0]["Content-Type"] == ""


def test_a_failure_says_what_is_wrong(receiver: Receiver) -> None:
    assert serve(parse(receiver.event()), work=fail, remaining_seconds=60) is False
    [answer] = receiver.answers
    assert (answer["Status"], answer["Reason"]) == (
        "FAILED",
        "ValueError: WriterAtCreation must be true or false, got 'maybe'",
    )


def test_the_reason_is_concealed_before_it_is_sent(receiver: Receiver) -> None:
    serve(parse(receiver.event()), work=fail, remaining_seconds=60, conceal=lambda text: text.replace("maybe", "?"))
    assert "maybe" not in receiver.answers[0]["Reason"]


def test_a_long_reason_still_fits_into_an_answer(receiver: Receiver) -> None:
    def fail_at_length(request: Request, seconds: float) -> dict[str, str]:
        raise ValueError("x" * 100_000)

    serve(parse(receiver.event()), work=fail_at_length, remaining_seconds=60)
    assert len(receiver.answers[0]["Reason"]) == 2000


@pytest.mark.parametrize("request_type", ["Update", "Delete"])
def test_the_physical_name_never_changes(receiver: Receiver, request_type: str) -> None:
    serve(parse(receiver.event(request_type)), work=succeed, remaining_seconds=60)
    assert receiver.answers[0]["PhysicalResourceId"] == "given-before"


def test_work_that_never_ends_is_answered_before_the_function_is(receiver: Receiver) -> None:
    begun = time.monotonic()
    answered_after: list[float] = []

    def hang(request: Request, seconds: float) -> dict[str, str]:
        while not receiver.answers:
            time.sleep(0.01)
        answered_after.append(time.monotonic() - begun)
        return {}

    assert serve(parse(receiver.event()), work=hang, remaining_seconds=1.0) is False
    assert [answer["Status"] for answer in receiver.answers] == ["FAILED"]
    assert "time was nearly over" in receiver.answers[0]["Reason"]
    assert answered_after[0] < 1.0


def test_work_is_given_less_than_the_time_that_is_left(receiver: Receiver) -> None:
    given: list[float] = []

    def measure(request: Request, seconds: float) -> dict[str, str]:
        given.append(seconds)
        return {}

    serve(parse(receiver.event()), work=measure, remaining_seconds=900)
    assert given == [880]


def test_an_answer_that_is_refused_for_a_moment_is_sent_again(receiver: Receiver) -> None:
    receiver.statuses[:] = [503, 500]
    serve(parse(receiver.event()), work=succeed, remaining_seconds=60)
    assert len(receiver.answers) == 1


@pytest.mark.parametrize("statuses", [[403], [503] * 9], ids=["forbidden", "unavailable"])
def test_an_answer_that_is_not_taken_fails_the_function_without_the_address(
    receiver: Receiver, statuses: list[int]
) -> None:
    receiver.statuses[:] = statuses
    with pytest.raises(AnswerNotDeliveredError, match=r"127\.0\.0\.1 did not take the answer") as raised:
        serve(parse(receiver.event()), work=succeed, remaining_seconds=60)
    assert SIGNATURE not in str(raised.value)
    assert raised.value.__context__ is None


@pytest.mark.parametrize("work", [succeed, fail], ids=["success", "failure"])
def test_the_address_is_in_no_log_line_even_at_debug(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, work: Any
) -> None:
    logging.getLogger("urllib3").setLevel(logging.WARNING)  # as structured_log.configure does
    with caplog.at_level(logging.DEBUG):
        serve(parse(receiver.event()), work=work, remaining_seconds=60)
    assert caplog.records
    assert SIGNATURE not in caplog.text + "".join(str(vars(record)) for record in caplog.records)


def test_the_address_is_not_in_the_requests_representation(receiver: Receiver) -> None:
    assert SIGNATURE not in repr(parse(receiver.event()))


def test_service_token_and_timeout_are_no_properties(receiver: Receiver) -> None:
    event = receiver.event(Environment="blue", ServiceTimeout="900")
    assert parse(event).properties == {"Environment": "blue"}


@pytest.mark.parametrize("key", ["RequestType", "ResponseURL", "StackId", "RequestId", "LogicalResourceId"])
def test_an_event_that_is_no_request_is_refused(receiver: Receiver, key: str) -> None:
    event = receiver.event()
    del event[key]
    with pytest.raises(MalformedRequestError, match=f"lacks {key}"):
        parse(event)


def test_an_unknown_request_type_is_refused(receiver: Receiver) -> None:
    with pytest.raises(MalformedRequestError, match="RequestType must be Create, Update or Delete, got 'Drop'"):
        parse({**receiver.event(), "RequestType": "Drop"})


def test_an_address_of_another_kind_is_refused_without_being_shown(receiver: Receiver) -> None:
    with pytest.raises(MalformedRequestError, match=r"^ResponseURL must be an https address$"):
        parse({**receiver.event(), "ResponseURL": f"file:///etc/passwd?{SIGNATURE}"})
