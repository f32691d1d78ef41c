"""Mistakes in JSON that people write are reported all at once, each on one line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checked_json import DocumentError, Reader, parse_object, shown

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON at line 1, column 1"),
        ("{", "no JSON at line 1, column 2"),
        ("[1]", r"\[1\], allowed: a JSON object"),
        ("null", "null, allowed: a JSON object"),
        ('{"a": 1, "a": 2}', 'the key "a" stands twice'),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('{"a": -Infinity}', "-Infinity is no number of JSON"),
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "allowed: a JSON object"),
    ],
)
def test_text_that_is_no_object_is_refused_with_one_line(text: str, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason) as caught:
        parse_object(text, name="plan")

    assert len(str(caught.value).splitlines()) == 1


def test_every_mistake_is_noted_with_key_value_and_what_is_allowed() -> None:
    reader = Reader({"count": True, "share": "x", "flag": 1, "name": "a\nb", "kind": "z", "inner": {"deep": 7, "?": 1}})
    reader.integer("count", minimum=1, maximum=2000)
    reader.number("share", above=0, below=100, unit="percent")
    reader.boolean("flag", default=False)
    reader.line("name", longest=10)
    reader.choice("kind", allowed=["a", "b"])
    reader.integer("absent", minimum=0, maximum=1)
    inner = reader.object_at("inner")
    assert inner is not None
    inner.integer("deep", minimum=0, maximum=5)
    inner.finish()
    reader.finish()

    assert reader.mistakes == [
        "count: true, allowed: a whole number from 1 to 2,000",
        'share: "x", allowed: a number above 0 and below 100 percent',
        "flag: 1, allowed: true or false",
        'name: "a\\nb", allowed: 1 to 10 printable characters on one line',
        'kind: "z", allowed: a or b',
        "absent: missing, allowed: a whole number from 0 to 1",
        "inner.deep: 7, allowed: a whole number from 0 to 5",
        "inner.?: unknown key, allowed: deep",
    ]


@pytest.mark.parametrize("value", [60, 60.0])
def test_a_whole_number_may_be_written_with_a_decimal_point(value: float) -> None:
    assert Reader({"key": value}).integer("key", minimum=0, maximum=100) == 60


@pytest.mark.parametrize("value", [[], [2, 1], [1, 1], [0.5], [float("inf")], "x", [True], [2, 3, 4]])
def test_numbers_that_are_not_ascending_or_out_of_bounds_are_noted(value: object) -> None:
    reader = Reader({"key": value})
    reader.numbers("key", above=0.9, below=10, most=2)

    assert len(reader.mistakes) == 1


@given(json_values)
def test_any_value_is_shown_on_one_short_line(value: Any) -> None:
    text = shown(value)

    assert len(text.splitlines()) == 1
    assert len(text) <= 60


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_any_object_is_read_without_an_exception_and_every_mistake_is_one_line(members: dict[str, Any]) -> None:
    reader = Reader({**members, "list": members.get("list", [members])})
    reader.integer("a", minimum=0, maximum=10)
    reader.number("b", above=0, below=1)
    for inner in reader.objects_at("list", most=3):
        if inner is not None:
            inner.boolean("c", default=True)
            inner.finish()
    reader.finish()

    assert all(len(mistake.splitlines()) == 1 for mistake in reader.mistakes)
