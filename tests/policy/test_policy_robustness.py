"""Templates of others hold anything: no rule may fall over them."""

import copy
import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from policy import rules
from policy.engine import REGISTRY, Template, evaluate
from policy.templates import from_templates

TODAY = datetime.date(2026, 11, 24)
ALL = list(REGISTRY.rules.values())
EXAMPLES: list[Template] = [example for rule in ALL for example in (*rule.complies, *rule.violates)]

assert rules.__all__, "importing the rules registers them"

intrinsics = st.sampled_from(
    [
        {"Ref": "Nowhere"},
        {"Ref": "AWS::NoValue"},
        {"Fn::GetAtt": ["Nowhere", "Arn"]},
        {"Fn::GetAtt": 5},
        {"Fn::Sub": "${Nowhere.Arn}/${AWS::Region}"},
        {"Fn::Join": ["", [{"Ref": "Nowhere"}, "x"]]},
        {"Fn::If": ["Unsure", {"a": 1}, []]},
        {"Fn::ImportValue": "elsewhere"},
        {"Fn::Select": [0, {"Ref": "Nowhere"}]},
    ]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.floats(allow_nan=False) | st.text(max_size=8) | intrinsics,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += places(item, (*path, index))
    return found


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_value_at_any_place_of_any_example_is_survived(data: st.DataObject) -> None:
    example = copy.deepcopy(data.draw(st.sampled_from(EXAMPLES)))
    path = data.draw(st.sampled_from([p for p in places(example) if len(p) > 2 and p[1] != "Type"] or [()]))
    if path:
        place: Any = example
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = data.draw(json_values)

    evaluation = evaluate(from_templates({"t.json": {"Resources": example}}), ALL, today=TODAY)

    assert all(finding.message for finding in evaluation.findings)
