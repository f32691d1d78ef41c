"""Taking, extending and giving up the lease of a cutover."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cutover_state.lease import (
    Lease,
    LeaseTakenError,
    LeaseUnreadableError,
    read_lease,
    release_lease,
    take_lease,
)
from tests.support.local_aws import LocalAws


class Table:
    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.name = aws.create_state_table()

    def take(self, cutover_id: str, *, now: float, until: int, dynamodb: Any = None) -> None:
        take_lease(
            dynamodb or self.aws.dynamodb(),
            table_name=self.name,
            lease=Lease(holder=f"holder of {cutover_id}", cutover_id=cutover_id, expires_at=until),
            now=now,
        )

    def release(self, cutover_id: str) -> None:
        release_lease(self.aws.dynamodb(), table_name=self.name, cutover_id=cutover_id)

    def read(self) -> Lease | None:
        return read_lease(self.aws.dynamodb(), table_name=self.name)


@pytest.fixture
def table(aws: LocalAws) -> Table:
    return Table(aws)


def test_a_free_lease_can_be_taken(table: Table) -> None:
    table.take("cutover-7", now=1000, until=1060)
    assert table.read() == Lease(holder="holder of cutover-7", cutover_id="cutover-7", expires_at=1060)


def test_a_lease_that_another_cutover_holds_cannot_be_taken(table: Table) -> None:
    table.take("cutover-7", now=1000, until=1060)
    with pytest.raises(LeaseTakenError, match=r"held by cutover-7 \(holder of cutover-7\) until 1060"):
        table.take("cutover-8", now=1059.9, until=1200)
    held = table.read()
    assert held is not None
    assert held.cutover_id == "cutover-7"


def test_the_same_cutover_extends_its_lease(table: Table) -> None:
    table.take("cutover-7", now=1000, until=1060)
    table.take("cutover-7", now=1030, until=1090)
    held = table.read()
    assert held is not None
    assert held.expires_at == 1090


def test_a_lease_that_has_expired_can_be_taken_by_another(table: Table) -> None:
    table.take("cutover-7", now=1000, until=1060)
    table.take("cutover-8", now=1060, until=1200)
    held = table.read()
    assert held is not None
    assert held.cutover_id == "cutover-8"


def test_a_cutover_whose_lease_was_taken_over_does_not_get_it_back(table: Table) -> None:
    table.take("cutover-7", now=1000, until=1060)
    table.take("cutover-8", now=1060, until=1200)
    with pytest.raises(LeaseTakenError, match="cutover-8"):
        table.take("cutover-7", now=1061, until=1300)


def test_a_lease_that_was_given_up_can_be_taken(table: Table) -> None:
    table.take("cutover-7", now=1000, until=1060)
    table.release("cutover-7")
    table.take("cutover-8", now=1001, until=1200)


def test_giving_up_the_lease_of_another_leaves_it(table: Table) -> None:
    table.take("cutover-8", now=1000, until=1060)
    table.release("cutover-7")
    assert table.read() is not None


def test_giving_up_no_lease_is_no_error(table: Table) -> None:
    table.release("cutover-7")


def test_of_cutovers_at_once_one_gets_it(table: Table) -> None:
    refused: list[str] = []

    def take(number: int) -> None:
        try:
            table.take(f"cutover-{number}", now=1000, until=1060, dynamodb=table.aws.client("dynamodb"))
        except LeaseTakenError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3


def test_an_item_that_cannot_be_understood_counts_as_held(table: Table) -> None:
    table.aws.dynamodb().put_item(
        TableName=table.name, Item={"pk": {"S": "LEASE"}, "sk": {"S": "cutover"}, "expires_at": {"N": "9999999999"}}
    )
    with pytest.raises(LeaseUnreadableError, match="the lease item must have"):
        table.take("cutover-7", now=1000, until=1060)
