"""The checks find what they are for; each test breaks one thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from rehearsal.checks import (
    ALONE,
    ANSWERED,
    BALANCED,
    CROSSED,
    EQUAL,
    FOLLOWED,
    KEPT,
    ONCE,
    PAUSED,
    Books,
    broken,
    promises,
)
from rehearsal.client_process import Paid
from rehearsal.record import Event

BEGAN = 1_790_000_000.0


def paid(number: int, *, side: str = "blue", status: int = 201, failures: tuple[str, ...] = ()) -> Paid:
    return Paid(
        key=f"key-{number}",
        due=BEGAN + number,
        done=BEGAN + number + 0.01,
        status=status,
        side=side,
        replayed=False,
        failures=failures,
        order={
            "amount": "12.30",
            "currency": "EUR",
            "debtor_account": "D1",
            "creditor_account": "C1",
            "payment_token": f"token-{number}",
        },
    )


def row(number: int, database: str = "blue", **changes: Any) -> dict[str, Any]:
    return {
        "id": f"key-{number}",
        "amount": Decimal("12.3000"),
        "currency": "EUR",
        "debtor_account": "D1",
        "creditor_account": "C1",
        "payment_token": f"token-{number}",
        "recorded_in": database,
        "created_at": datetime.fromtimestamp(BEGAN + number, UTC).replace(tzinfo=None),
        **changes,
    }


ALL = [paid(number) for number in range(6)]
ROWS = [row(number, "blue" if number < 3 else "green") for number in range(6)]


def books(rows: Sequence[dict[str, Any]] = ROWS, **changes: Any) -> Books:
    found = Books(
        rows={"blue": rows, "green": rows},
        imbalances={"blue": [], "green": []},
        checksums={"blue": (1, 2, 3), "green": (1, 2, 3)},
        differing=0,
        writer="green",
    )
    return replace(found, **changes)


def found_broken(these: Sequence[Paid] = ALL, held: Books | None = None, **options: Any) -> list[str]:
    options = {
        "switches": [("blue", "green")],
        "longest_pause_ms": 1500.0,
        "most_writers": 1,
        "began": BEGAN,
        **options,
    }
    return broken(promises(these, held or books(), **options))


def test_when_all_is_well_nothing_is_broken() -> None:
    assert found_broken() == []


def test_without_a_payment_nothing_is_shown() -> None:
    assert ANSWERED in found_broken([], books(rows=[]), switches=[])


def test_a_payment_that_failed_is_noticed_and_may_be_tolerated() -> None:
    these = [*ALL[:5], replace(ALL[5], status=503)]
    assert found_broken(these) == [ANSWERED]
    assert found_broken(these, tolerated_failures=1) == []


@pytest.mark.parametrize("database", ["blue", "green"])
def test_an_acknowledged_payment_must_be_in_every_database(database: str) -> None:
    rows = {"blue": ROWS, "green": ROWS, database: ROWS[1:]}
    assert KEPT in found_broken(held=replace(books(), rows=rows))


@pytest.mark.parametrize("change", [{"amount": Decimal("12.31")}, {"creditor_account": "C2"}])
def test_an_acknowledged_payment_must_be_stored_as_it_was_ordered(change: dict[str, Any]) -> None:
    assert found_broken(held=books([row(0, **change), *ROWS[1:]])) == [KEPT]


def test_a_payment_that_was_not_acknowledged_need_not_be_there() -> None:
    these = [replace(ALL[0], status=0), *ALL[1:]]
    assert found_broken(these, books(ROWS[1:]), tolerated_failures=1) == []


def test_a_payment_that_is_booked_under_two_keys_is_noticed() -> None:
    twice = row(5, "green", id="key-9", payment_token="token-4")
    assert found_broken([*ALL[:5], replace(ALL[5], key="key-9")], books([*ROWS[:5], twice])) == [KEPT, ONCE]


def test_a_payment_that_nobody_ordered_is_noticed() -> None:
    assert found_broken(held=books([*ROWS, row(7, "green")])) == [ONCE]


def test_balances_that_do_not_add_up_are_noticed_although_all_databases_agree() -> None:
    wrong = ["the balance of C1 is 1 and its entries add up to 2"]
    assert found_broken(held=books(imbalances={"blue": wrong, "green": wrong})) == [BALANCED]


def test_databases_that_differ_are_noticed() -> None:
    assert found_broken(held=books(checksums={"blue": (1, 2, 3), "green": (1, 2, 4)}, differing=1)) == [EQUAL]


def test_a_switch_after_which_everybody_writes_to_the_old_database_is_noticed() -> None:
    assert found_broken(held=books([row(number, "blue") for number in range(6)])) == [CROSSED]


def test_commits_on_both_sides_of_a_switch_are_noticed() -> None:
    rows = [row(number, "blue" if number in (0, 1, 3) else "green") for number in range(6)]
    assert found_broken(held=books(rows)) == [CROSSED]


def test_two_writers_at_once_are_noticed() -> None:
    assert found_broken(most_writers=2) == [ALONE]


def test_a_pause_that_is_too_long_is_noticed() -> None:
    assert found_broken(longest_pause_ms=999.0) == [PAUSED]


def weights(at: float, blue: int) -> Event:
    return Event(at=at, kind="weights", text="", details={"blue": blue, "green": 100 - blue})


def test_requests_to_a_side_without_weight_are_noticed() -> None:
    assert found_broken(events=[weights(0, 100)]) == []
    assert found_broken(events=[weights(0, 0)]) == [FOLLOWED]


def test_requests_that_were_due_before_the_weights_changed_may_go_by_the_old_ones() -> None:
    assert found_broken(events=[weights(5.2, 0)]) == []


def test_clients_may_keep_an_answer_of_name_servers_for_its_ttl() -> None:
    these = [replace(each, side="legacy") for each in ALL]
    events = [Event(at=0.0, kind="dns", text="", details={"legacy": 0, "aws": 100})]
    assert found_broken(these, events=events, ttl_seconds=10.0) == []
    assert found_broken(these, events=events, ttl_seconds=2.0) == [FOLLOWED]


def test_the_pause_is_between_the_last_commit_on_the_old_and_the_first_on_the_new() -> None:
    late = ROWS[3]["created_at"] + timedelta(milliseconds=400)
    [crossing] = books([*ROWS[:3], {**ROWS[3], "created_at": late}, *ROWS[4:]]).crossings
    assert (crossing.old, crossing.new, crossing.pause_ms) == ("blue", "green", 1400.0)
