"""Ending the execution of a cutover that is taken back, whatever state it is in by then."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from cutover_settings import Settings
from cutover_wiring import Wiring

ARN = "arn:aws:states:us-east-1:123456789012:execution:cutover:cutover-7"


def stop(code: str, message: str) -> None:
    client = boto3.client(
        "stepfunctions", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
    )

    def make(_: str, **__: Any) -> Any:
        return client

    with Stubber(client) as stubbed:
        stubbed.add_client_error("stop_execution", service_error_code=code, service_message=message)
        Wiring(settings=Settings({}), client=make, who="rollback").stop(ARN, "complaints")


@pytest.mark.parametrize(
    ("code", "message"),
    [("ExecutionDoesNotExist", "gone"), ("ValidationException", "Execution is not running")],
)
def test_one_that_has_ended_is_left_alone(code: str, message: str) -> None:
    stop(code, message)


@pytest.mark.parametrize(
    ("code", "message"), [("ValidationException", "1 validation error"), ("AccessDeniedException", "not running")]
)
def test_any_other_failure_is_one(code: str, message: str) -> None:
    with pytest.raises(ClientError, match=code):
        stop(code, message)
