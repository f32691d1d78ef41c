"""Picture, costs and configuration reference: generated, and as the templates and models are now."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from decimal import Decimal
from pathlib import Path

import pytest

from docs.generate import configuration, costs, pages, picture
from docs.generate.prices import PRICES
from docs.generate.synthesis import file_stem, nested_stacks, references
from policy.templates import App
from stacks import context as stage_context
from stacks.config import StageConfig
from tests.support.synthesized import PROJECT, Synthesis, Variation

SVG = "{http://www.w3.org/2000/svg}"


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]  # noqa: S314 - our own file


def assert_fresh(name: str, expected: str) -> None:
    actual = (PROJECT / name).read_text()
    assert actual == expected, f"{name} is stale: run `{pages.COMMAND}`"


def test_the_picture_in_the_repository_is_that_of_the_templates(prod: Synthesis) -> None:
    assert_fresh(pages.PICTURE, picture.draw(prod.app))


def test_the_costs_in_the_repository_are_those_of_the_templates(prod: Synthesis) -> None:
    assert_fresh(pages.COSTS, costs.document(prod.app))


def test_the_configuration_reference_in_the_repository_is_that_of_the_models() -> None:
    assert_fresh(pages.CONFIGURATION, configuration.document())


def test_a_page_that_differs_is_named_with_the_command_that_mends_it(prod: Synthesis, tmp_path: Path) -> None:
    written = pages.of(prod.app)
    for name, content in written.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert pages.stale(written, tmp_path) == []
    (tmp_path / pages.COSTS).write_text("old")
    (tmp_path / pages.PICTURE).unlink()
    assert pages.stale(written, tmp_path) == [pages.PICTURE, pages.COSTS]


@pytest.mark.slow
def test_the_command_says_that_the_pages_are_fresh() -> None:
    # Node.js of the environment, as make has it: an older one complains on standard error.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"],
        cwd=PROJECT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_nested_stack_is_in_the_picture_twice_but_the_network(prod: Synthesis) -> None:
    # Once as a box and once among the references.
    said = words(picture.draw(prod.app))
    for name in nested_stacks(prod.app):
        assert said.count(file_stem(name)) == 2, name


def test_the_picture_has_an_arrow_for_every_pair_of_stacks_that_refer_to_each_other(prod: Synthesis) -> None:
    root = ET.fromstring(picture.draw(prod.app))  # noqa: S314 - our own file
    tips = {path.findtext(f"{SVG}title") for path in root.iter(f"{SVG}path") if "reference " in path.get("class", "")}
    expected = {
        f"{file_stem(user)} uses {count} output{'s' if count > 1 else ''} of {file_stem(used)}"
        for (user, used), count in references(prod.app).items()
    }
    assert tips == expected


def test_the_picture_follows_the_reader_into_the_dark(prod: Synthesis) -> None:
    svg = picture.draw(prod.app)
    assert "@media (prefers-color-scheme: dark)" in svg
    assert set(picture.LIGHT) == set(picture.DARK)


def test_the_picture_is_that_of_other_templates_when_the_configuration_changes(variation: Variation) -> None:
    changed = variation("docs-other", compute__max_tasks=20, compute__peak_requests_per_second=400)
    assert "8 to 20 Fargate tasks" in words(picture.draw(changed.app))


def test_every_resource_type_has_a_price_or_is_said_to_have_none(either: Synthesis) -> None:
    assert costs.unknown_types(either.app) == []


def test_a_resource_type_without_a_price_is_named() -> None:
    app = App()
    app.add_stack("root", Path("root.json"), {"Resources": {"New": {"Type": "AWS::New::Thing"}}})
    with pytest.raises(ValueError, match=r"does not say what these cost: AWS::New::Thing"):
        costs.document(app.complete())


def test_a_class_without_a_price_is_named(variation: Variation) -> None:
    changed = variation("docs-class", database__instance_class="r7g.16xlarge")
    with pytest.raises(ValueError, match=r"no price for aurora:db\.r7g\.16xlarge"):
        costs.document(changed.app)


def test_the_costs_count_what_is_in_the_templates(prod: Synthesis) -> None:
    stacks = nested_stacks(prod.app)
    counted = {
        (name, item.price): item.quantity for name, stack in stacks.items() for item in costs.items_of(prod.app, stack)
    }
    config = prod.config
    zones = len(config.availability_zones)
    assert counted["Network", "nat"] == zones
    assert counted["Network", "endpoint"] == zones * len(config.network.interface_endpoints)
    assert counted["Database", f"aurora:db.{config.database.instance_class}"] == 4
    assert counted["Database", "secret"] == 6
    assert counted["Replication", f"dms:{config.replication.instance_class}"] == 2
    assert counted["Compute", "fargate:vcpu"] == 2 * config.compute.min_tasks * Decimal(config.compute.cpu_units) / 1024
    assert counted["Security", "key"] == 6


def test_the_sum_of_the_stacks_is_the_sum_of_the_lines(prod: Synthesis) -> None:
    page = costs.document(prod.app)
    by_stack, _, rest = page.partition("## Line by line")
    by_line = rest.partition("## By use")[0]
    lines = [row.split(" | ")[-2] for row in by_line.splitlines() if row.startswith("| ") and "$" in row]
    total = sum(Decimal(amount.strip("$").replace(",", "")) for amount in lines)
    assert f"| **all** | **${total:,.2f}** |" in by_stack


def test_every_price_is_a_positive_amount_with_a_unit() -> None:
    assert all(price.usd > 0 and price.unit for price in PRICES.values())


def test_every_key_of_the_configuration_has_a_meaning() -> None:
    assert [key.path for key in configuration.every_key() if not key.meaning.strip()] == []


def test_the_reference_names_every_key_of_the_models() -> None:
    named = {key.path for key in configuration.every_key()}
    schema = StageConfig.model_json_schema()

    def walk(part: dict[str, object], prefix: str) -> list[str]:
        found = []
        properties = part.get("properties", {})
        assert isinstance(properties, dict)
        for name, value in properties.items():
            text = str(value)
            inner = next((each for each in schema["$defs"] if f"'#/$defs/{each}'" in text), None)
            path = f"{prefix}{name}"
            if inner is None:
                found.append(path)
            else:
                found += walk(schema["$defs"][inner], f"{path}[]." if value.get("type") == "array" else f"{path}.")
        return found

    assert set(walk(schema, "")) - {"name"} <= named


def test_every_rule_over_several_keys_has_an_example() -> None:
    rules = {check.__name__ for _, check in stage_context._checks}
    assert {refusal.rule for refusal in configuration.REFUSALS} == rules


def test_what_the_reference_says_of_a_network_is_what_the_models_demand() -> None:
    (cidr,) = (key for key in configuration.every_key() if key.path == "network.cidr")
    assert cidr.default == '`"10.20.0.0/16"`'
    assert "/16 to /20" in cidr.allowed
    assert "private address space" in cidr.allowed
