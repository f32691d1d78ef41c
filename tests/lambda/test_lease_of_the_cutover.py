"""Reading the lease: held, expired, absent, and everything that counts as unknown."""

from __future__ import annotations

from typing import Any

import pytest

from cutover_state.lease import Lease, LeaseUnreadableError, read_lease
from tests.support.local_aws import LocalAws


def test_a_lease_binds_until_it_expires() -> None:
    lease = Lease(holder="state machine", cutover_id="c1", expires_at=1000)
    assert [lease.is_held(now=now) for now in (999.9, 1000.0, 1000.1)] == [True, False, False]


def test_no_item_is_no_lease(aws: LocalAws) -> None:
    assert read_lease(aws.dynamodb(), table_name=aws.create_state_table()) is None


def test_the_item_is_read_as_it_is_written(aws: LocalAws) -> None:
    table = aws.create_state_table()
    aws.hold_lease(table, expires_at=1234)
    assert read_lease(aws.dynamodb(), table_name=table) == Lease(
        holder="state machine", cutover_id="cutover-7", expires_at=1234
    )


def test_a_table_that_is_not_there_is_unreadable(aws: LocalAws) -> None:
    with pytest.raises(LeaseUnreadableError, match="state table nowhere cannot be read"):
        read_lease(aws.dynamodb(), table_name="nowhere")


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"holder": {"S": "x"}, "cutover_id": {"S": "c"}},
        {"holder": {"S": "x"}, "cutover_id": {"S": "c"}, "expires_at": {"S": "soon"}},
        {"holder": {"N": "1"}, "cutover_id": {"S": "c"}, "expires_at": {"N": "5"}},
        {"holder": {"S": "x"}, "cutover_id": {"S": "c"}, "expires_at": {"N": "soon"}},
    ],
)
def test_an_item_of_another_layout_is_unreadable(item: dict[str, Any]) -> None:
    with pytest.raises(LeaseUnreadableError, match=r"must have holder \(S\), cutover_id \(S\) and expires_at \(N"):
        Lease.from_item(item)
