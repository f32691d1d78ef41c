"""The protocol between CloudFormation and the function behind a custom resource.

CloudFormation waits, for an hour by default, until a JSON document is PUT to a pre-signed address of Amazon S3. So
each invocation answers exactly once, whatever happens, and before Lambda ends it. The address is a credential: it
appears in no message and no log line.

Rules: "Custom resource request and response reference", AWS CloudFormation user guide.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlsplit

import urllib3

log = logging.getLogger(__name__)

# The whole answer may have 4,096 bytes; what is not the reason needs far less than the rest.
_LONGEST_REASON: Final = 2000
_ANSWER_TIMEOUT_SECONDS: Final = 5.0
_LONGEST_RESERVE_SECONDS: Final = 20.0


class MalformedRequestError(Exception):
    """The event is no request of CloudFormation; nobody can be answered."""


class AnswerNotDeliveredError(Exception):
    """Amazon S3 did not take the answer. Raised out of the function, so that Lambda runs it again."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What CloudFormation asks for.

    Attributes:
        request_type: Create, Update or Delete.
        response_url: Where the answer goes; a credential.
        physical_resource_id: The resource's name. Always the same for one resource of one stack: a new name
            would make CloudFormation delete the old resource.
        properties: As the template has them, all leaves texts; without ServiceToken and ServiceTimeout.
    """

    request_type: str
    response_url: str = field(repr=False)
    stack_id: str
    request_id: str
    logical_resource_id: str
    physical_resource_id: str
    properties: Mapping[str, Any]

    @classmethod
    def parse(cls, event: Mapping[str, Any], *, physical_resource_id: str) -> Self:
        """Read the event.

        Args:
            physical_resource_id: The name of a resource that has none yet.

        Raises:
            MalformedRequestError: A member is missing, or the address is none.
        """
        required = ("RequestType", "ResponseURL", "StackId", "RequestId", "LogicalResourceId")
        missing = [key for key in required if not isinstance(event.get(key), str)]
        if missing:
            raise MalformedRequestError(f"the event lacks {', '.join(missing)}: not a request of CloudFormation")
        if event["RequestType"] not in ("Create", "Update", "Delete"):
            raise MalformedRequestError(f"RequestType must be Create, Update or Delete, got {event['RequestType']!r}")
        if urlsplit(event["ResponseURL"]).scheme not in ("https", "http"):
            raise MalformedRequestError("ResponseURL must be an https address")
        ours = {"ServiceToken", "ServiceTimeout"}
        return cls(
            request_type=event["RequestType"],
            response_url=event["ResponseURL"],
            stack_id=event["StackId"],
            request_id=event["RequestId"],
            logical_resource_id=event["LogicalResourceId"],
            physical_resource_id=event.get("PhysicalResourceId") or physical_resource_id,
            properties={k: v for k, v in event.get("ResourceProperties", {}).items() if k not in ours},
        )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """SUCCESS with data, or FAILED with a reason that an operator can act on."""

    succeeded: bool
    reason: str = ""
    data: Mapping[str, str] = field(default_factory=dict)

    def body(self, request: Request) -> bytes:
        document = {
            "Status": "SUCCESS" if self.succeeded else "FAILED",
            "Reason": self.reason[:_LONGEST_REASON],
            "PhysicalResourceId": request.physical_resource_id,
            "StackId": request.stack_id,
            "RequestId": request.request_id,
            "LogicalResourceId": request.logical_resource_id,
            "NoEcho": False,
            "Data": dict(self.data),
        }
        return json.dumps(document).encode()


class Answerer:
    """Answers a request once; what is said after the first answer is not sent."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._lock = threading.Lock()
        self._answered = False

    def answer(self, answer: Answer) -> bool:
        """Send the answer unless there was one; whether it was sent.

        Raises:
            AnswerNotDeliveredError: Amazon S3 did not take it.
        """
        with self._lock:
            if self._answered:
                return False
            _put(self._request.response_url, answer.body(self._request))
            self._answered = True
        log.info(
            "CloudFormation answered",
            extra={
                "fields": {
                    "request_type": self._request.request_type,
                    "logical_resource_id": self._request.logical_resource_id,
                    "status": "SUCCESS" if answer.succeeded else "FAILED",
                    "reason": answer.reason,
                    "data": dict(answer.data),
                }
            },
        )
        return True


def serve(
    request: Request,
    *,
    work: Callable[[Request, float], Mapping[str, str]],
    remaining_seconds: float,
    conceal: Callable[[str], str] = str,
) -> bool:
    """Run the work and answer: SUCCESS with its data, or FAILED with its error's text; whether it succeeded.

    A watchdog answers FAILED shortly before the time is over, should the work neither end nor notice.

    Args:
        work: Gets the request and the seconds that it may take.
        remaining_seconds: Until Lambda ends the function.
        conceal: Strikes out of an error's text what nobody may see.

    Raises:
        AnswerNotDeliveredError: Amazon S3 did not take the answer.
    """
    answerer = Answerer(request)
    reserve = min(_LONGEST_RESERVE_SECONDS, remaining_seconds / 4)
    watchdog = threading.Timer(remaining_seconds - reserve / 2, _answer_too_late, [answerer])
    watchdog.daemon = True
    watchdog.start()
    try:
        answer = Answer(succeeded=True, data=work(request, remaining_seconds - reserve))
    except Exception as error:  # every failure must be answered, or the stack hangs for an hour
        log.exception("%s failed", request.logical_resource_id)
        answer = Answer(succeeded=False, reason=conceal(f"{type(error).__name__}: {error}"))
    finally:
        watchdog.cancel()
    return answerer.answer(answer) and answer.succeeded


def _answer_too_late(answerer: Answerer) -> None:
    try:
        answerer.answer(Answer(succeeded=False, reason="the function's time was nearly over; run the deployment again"))
    except AnswerNotDeliveredError:
        log.exception("the watchdog could not answer")


def _put(url: str, body: bytes) -> None:
    """PUT to a pre-signed address, whose signature covers an empty content type."""
    timeout = urllib3.Timeout(connect=_ANSWER_TIMEOUT_SECONDS, read=_ANSWER_TIMEOUT_SECONDS)
    try:
        with urllib3.PoolManager() as pool:
            response = pool.request(
                "PUT",
                url,
                body=body,
                headers={"Content-Type": ""},
                timeout=timeout,
                retries=urllib3.Retry(
                    total=2, redirect=False, backoff_factor=0.2, status_forcelist=(500, 503), allowed_methods=None
                ),
            )
    except urllib3.exceptions.HTTPError as error:
        failure = type(error).__name__
    else:
        if response.status == 200:
            return
        failure = f"status {response.status}"
    # Without urllib3's text, which quotes the signed address, and outside the except clause, so without its chain.
    raise AnswerNotDeliveredError(f"{urlsplit(url).hostname} did not take the answer: {failure}")
