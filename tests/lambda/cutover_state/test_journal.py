"""The journal: append-only, in the order in which things happened, and complete."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from cutover_state.journal import Entry, Journal
from cutover_state.layout import StateUnreadableError
from tests.support.local_aws import LocalAws
from tests.support.throttling import throttling
from traffic.weights import RETRYING

NOON = datetime(2026, 11, 24, 12, 0, 0, 5, tzinfo=UTC)


@pytest.fixture
def table(aws: LocalAws) -> str:
    return aws.create_state_table()


@pytest.fixture
def journal(aws: LocalAws, table: str) -> Callable[..., Journal]:
    def make(*, dynamodb: Any = None, cutover_id: str = "cutover-7", **options: Any) -> Journal:
        return Journal(
            dynamodb or aws.dynamodb(), table_name=table, cutover_id=cutover_id, who="function step", **options
        )

    return make


def test_an_entry_reads_as_it_was_appended(journal: Callable[..., Journal]) -> None:
    appended = journal().append(
        "set weights",
        "step 2 begins",
        before={"blue": 95, "green": 5},
        after={"blue": 90, "green": 10},
        details={"step": 2},
    )
    assert list(journal().entries()) == [appended]


def test_an_entry_can_name_the_person_who_asked(journal: Callable[..., Journal]) -> None:
    entry = journal().append("abort", "too many complaints", who="arn:aws:iam::123456789012:user/ada")
    assert entry.who == "arn:aws:iam::123456789012:user/ada"


def test_every_cutover_has_its_own_journal(journal: Callable[..., Journal]) -> None:
    journal(cutover_id="cutover-7").append("a", "b")
    assert list(journal(cutover_id="cutover-8").entries()) == []


def test_times_are_in_utc_whatever_the_clock_says(journal: Callable[..., Journal]) -> None:
    east = timezone(timedelta(hours=2))
    entry = journal(now=lambda: NOON.astimezone(east)).append("a", "b")
    assert entry.document()["at"] == "2026-11-24T12:00:00.000005+00:00"


def test_entries_of_one_microsecond_keep_their_order(journal: Callable[..., Journal]) -> None:
    written = journal(now=lambda: NOON)
    for number in range(20):
        written.append(str(number), "same time")
    assert [entry.what for entry in written.entries()] == [str(number) for number in range(20)]


def test_a_whole_second_sorts_before_its_fractions(journal: Callable[..., Journal]) -> None:
    whole = NOON.replace(microsecond=0)
    times = iter([whole, whole + timedelta(microseconds=1), whole + timedelta(seconds=1)])
    written = journal(now=lambda: next(times))
    for what in ("first", "second", "third"):
        written.append(what, "")
    assert [entry.what for entry in written.entries()] == ["first", "second", "third"]


def test_a_clock_that_is_set_back_does_not_turn_cause_and_effect_around(journal: Callable[..., Journal]) -> None:
    times = iter([NOON, NOON - timedelta(seconds=3)])
    written = journal(now=lambda: next(times))
    written.append("intention", "")
    written.append("result", "")
    assert [entry.what for entry in written.entries()] == ["intention", "result"]


def test_authors_at_once_in_one_microsecond_lose_nothing(aws: LocalAws, journal: Callable[..., Journal]) -> None:
    def write(author: int) -> None:
        mine = journal(dynamodb=aws.client("dynamodb"), now=lambda: NOON)
        for number in range(5):
            mine.append(f"{author}.{number}", "")

    threads = [threading.Thread(target=write, args=(author,)) for author in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [entry.what for entry in journal().entries()]
    assert sorted(found) == [f"{author}.{number}" for author in range(4) for number in range(5)]
    assert [what for what in found if what.startswith("2.")] == [f"2.{number}" for number in range(5)]


def test_no_entry_takes_the_place_of_another(journal: Callable[..., Journal], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes draw the same suffix in the same microsecond: the second one has to draw again."""
    same, other = uuid.UUID(int=1 << 120), uuid.UUID(int=2 << 120)
    drawn = iter([same, same, other])
    # Not the function itself: botocore draws, too.
    monkeypatch.setattr("cutover_state.journal.uuid", SimpleNamespace(uuid4=lambda: next(drawn)))
    first = journal(now=lambda: NOON).append("first", "")
    second = journal(now=lambda: NOON).append("second", "")
    assert list(journal().entries()) == [first, second]
    assert next(drawn, None) is None


def test_an_entry_whose_answer_was_lost_is_not_written_twice(aws: LocalAws, journal: Callable[..., Journal]) -> None:
    """botocore sends the call again; to the table that is the same entry under the same key."""
    dynamodb = aws.client("dynamodb")
    answers = iter([True, False])

    def lose_the_answer(**_: Any) -> int | None:
        return 0 if next(answers) else None

    dynamodb.meta.events.register("needs-retry.dynamodb.PutItem", lose_the_answer, unique_id="lost")
    journal(dynamodb=dynamodb).append("once", "")
    assert [entry.what for entry in journal().entries()] == ["once"]


def test_throttling_is_waited_out(aws: LocalAws, journal: Callable[..., Journal]) -> None:
    with throttling(aws.endpoint_url) as throttle:
        dynamodb = boto3.client(
            "dynamodb",
            endpoint_url=throttle.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=RETRYING,
        )
        throttle.left = 2
        journal(dynamodb=dynamodb).append("patience", "")
    assert len(throttle.refused) == 2
    assert [entry.what for entry in journal().entries()] == ["patience"]


def test_all_pages_are_read(journal: Callable[..., Journal]) -> None:
    """A page of DynamoDB holds 1 MB."""
    written = journal()
    for number in range(4):
        written.append(str(number), "x" * 350_000)
    assert [entry.what for entry in written.entries()] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    "item", [{}, {"entry": {"S": "no JSON"}}, {"entry": {"S": "[]"}}, {"entry": {"S": '{"at": "yesterday"}'}}]
)
def test_an_item_of_another_layout_is_a_clear_error(
    aws: LocalAws, table: str, journal: Callable[..., Journal], item: dict[str, Any]
) -> None:
    aws.dynamodb().put_item(TableName=table, Item={"pk": {"S": "JOURNAL#cutover-7"}, "sk": {"S": "2026#1"}, **item})
    with pytest.raises(StateUnreadableError, match=r"the journal entry 2026#1 must have entry \(S\)"):
        list(journal().entries())


def test_an_entry_survives_its_document() -> None:
    entry = Entry(cutover_id="c", at=NOON, who="w", what="x", why="y", before=None, after={"a": 1}, details={"n": 2})
    assert Entry.from_document(entry.document()) == entry
