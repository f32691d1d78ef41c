"""Templates as one view: what is resolved across stacks, what stays unknown, and what bad input says."""

import json
from pathlib import Path
from typing import Any

import pytest

from policy.templates import App, Reference, TemplateError, Text, Unknown, Value, from_templates, load

KEY = {"Type": "AWS::KMS::Key", "Properties": {}}


def nested(file: str, **parameters: Any) -> dict[str, Any]:
    return {
        "Type": "AWS::CloudFormation::Stack",
        "Properties": {"TemplateURL": "https://example", "Parameters": parameters},
        "Metadata": {"aws:asset:path": file},
    }


def value_of(value: Any, **sections: Any) -> Value:
    """`value` as resolved in a stack with a key named Key."""
    template = {"Resources": {"Key": KEY, "Probe": {"Type": "Probe", "Properties": {"V": value}}}, **sections}
    return from_templates({"probe.json": template}).of_type("Probe")[0]["V"].value


def across_stacks() -> App:
    """A key in one nested stack, used by a cluster in a second one, through the root's parameters."""
    return from_templates(
        {
            "root.json": {
                "Resources": {
                    "Security": nested("security.json"),
                    "Database": nested("database.json", KeyArn={"Fn::GetAtt": ["Security", "Outputs.KeyArn"]}),
                }
            },
            "security.json": {
                "Resources": {"Key": KEY},
                "Outputs": {"KeyArn": {"Value": {"Fn::GetAtt": ["Key", "Arn"]}}},
            },
            "database.json": {
                "Parameters": {"KeyArn": {"Type": "String"}},
                "Resources": {
                    "Cluster": {"Type": "AWS::RDS::DBCluster", "Properties": {"KmsKeyId": {"Ref": "KeyArn"}}}
                },
            },
        }
    )


def test_a_parameter_of_a_nested_stack_leads_to_the_resource_of_another() -> None:
    app = across_stacks()
    (cluster,), (key,) = app.of_type("AWS::RDS::DBCluster"), app.of_type("AWS::KMS::Key")

    assert cluster["KmsKeyId"].value == Reference(key, "Arn")


def test_a_resource_knows_who_refers_to_it_from_another_stack() -> None:
    app = across_stacks()
    (key,) = app.of_type("AWS::KMS::Key")

    assert [r.logical_id for r in app.referrers(key, "AWS::RDS::DBCluster")] == ["Cluster"]


def test_a_resource_is_found_by_the_name_it_gives_itself() -> None:
    bucket = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "logs"}}
    probe = {"Type": "Probe", "Properties": {"Arn": "arn:aws:s3:::logs"}}
    app = from_templates({"t.json": {"Resources": {"Bucket": bucket, "Probe": probe}}})

    assert app.target(app.of_type("Probe")[0]["Arn"], "AWS::S3::Bucket") is app.of_type("AWS::S3::Bucket")[0]


def test_an_output_that_the_nested_stack_has_not_stays_unknown() -> None:
    app = from_templates(
        {
            "root.json": {
                "Resources": {
                    "One": nested("one.json"),
                    "Probe": {"Type": "Probe", "Properties": {"V": {"Fn::GetAtt": ["One", "Outputs.Nothing"]}}},
                }
            },
            "one.json": {"Resources": {"Key": KEY}},
        }
    )

    assert isinstance(app.of_type("Probe")[0]["V"].value, Unknown)


def test_parameters_that_go_round_in_a_circle_stay_unknown() -> None:
    stacks = {
        f"{name}.json": {
            "Parameters": {"In": {"Type": "String"}},
            "Resources": {"Probe": {"Type": "Probe", "Properties": {"V": {"Ref": "In"}}}},
            "Outputs": {"Out": {"Value": {"Ref": "In"}}},
        }
        for name in ("a", "b")
    }
    root = {
        "A": nested("a.json", In={"Fn::GetAtt": ["B", "Outputs.Out"]}),
        "B": nested("b.json", In={"Fn::GetAtt": ["A", "Outputs.Out"]}),
    }
    app = from_templates({"root.json": {"Resources": root}, **stacks})

    assert all(probe["V"].unknown for probe in app.of_type("Probe"))


def test_an_export_leads_to_the_resource_of_the_stack_that_exports_it() -> None:
    app = from_templates(
        {
            "one.json": {
                "Resources": {"Key": KEY},
                "Outputs": {"K": {"Value": {"Fn::GetAtt": ["Key", "Arn"]}, "Export": {"Name": "the-key"}}},
            },
            "two.json": {
                "Resources": {"Probe": {"Type": "Probe", "Properties": {"V": {"Fn::ImportValue": "the-key"}}}}
            },
        }
    )

    assert app.of_type("Probe")[0]["V"].value == Reference(app.of_type("AWS::KMS::Key")[0], "Arn")


def test_a_joined_text_keeps_the_reference_inside() -> None:
    value = value_of({"Fn::Join": ["", ["arn:", {"Ref": "AWS::Partition"}, ":key/", {"Ref": "Key"}]]})

    assert isinstance(value, Text)
    assert str(value) == "arn:${AWS::Partition}:key/${Key}"
    assert [part.resource.logical_id for part in value.parts if isinstance(part, Reference)] == ["Key"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Fn::Join": ["-", ["a", "b"]]}, "a-b"),
        ({"Fn::Sub": "a-${Literal}-${!Kept}"}, "a-b-${Kept}"),
        ({"Fn::Sub": ["${X}/${Literal}", {"X": "x"}]}, "x/b"),
        ({"Fn::Select": ["1", {"Fn::Split": [",", "a,b,c"]}]}, "b"),
        ({"Fn::FindInMap": ["Sizes", {"Ref": "Literal"}, "size"]}, "large"),
        ({"Fn::If": ["IsB", "yes", "no"]}, "yes"),
        ({"Fn::If": ["IsNotB", "yes", "no"]}, "no"),
        ({"Fn::If": ["Either", "yes", "no"]}, "yes"),
        ({"Fn::Base64": "text"}, "text"),
        ({"Ref": "Listed"}, ["a", "b"]),
        ({"A": {"Ref": "AWS::NoValue"}, "B": 1}, {"B": 1}),
        ({"A": {"Fn::If": ["IsNotB", 1, {"Ref": "AWS::NoValue"}]}}, {}),
        ([{"Ref": "AWS::NoValue"}, 1], [1]),
    ],
)
def test_functions_of_constants_are_computed(value: Any, expected: Value) -> None:
    resolved = value_of(
        value,
        Parameters={
            "Literal": {"Type": "String", "Default": "b"},
            "Listed": {"Type": "CommaDelimitedList", "Default": "a, b"},
        },
        Mappings={"Sizes": {"b": {"size": "large"}}},
        Conditions={
            "IsB": {"Fn::Equals": [{"Ref": "Literal"}, "b"]},
            "IsNotB": {"Fn::Not": [{"Condition": "IsB"}]},
            "Either": {"Fn::Or": [{"Condition": "IsNotB"}, {"Condition": "IsB"}]},
        },
    )

    assert resolved == expected


@pytest.mark.parametrize(
    "value",
    [
        {"Ref": "Secret"},
        {"Ref": "Stored"},
        {"Ref": "Given"},
        {"Ref": "Nowhere"},
        {"Ref": "AWS::AccountId"},
        {"Fn::GetAtt": ["Nowhere", "Arn"]},
        {"Fn::If": ["Unsure", "a", "b"]},
        {"Fn::GetAZs": ""},
        {"Fn::Select": [9, ["a"]]},
        {"Fn::Join": "broken"},
        {"Fn::NewFunction": {"Ref": "Key"}},
    ],
)
def test_what_only_a_deployment_knows_stays_unknown(value: Any) -> None:
    resolved = value_of(
        value,
        Parameters={
            "Secret": {"Type": "String", "NoEcho": True, "Default": "x"},
            "Stored": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/a"},
            "Given": {"Type": "String"},
        },
        Conditions={"Unsure": {"Fn::Equals": [{"Ref": "Given"}, "b"]}},
    )

    assert isinstance(resolved, Unknown)


def test_an_unknown_value_still_says_which_resources_are_in_it() -> None:
    resolved = value_of({"Fn::Select": [6, {"Fn::Split": [":", {"Fn::GetAtt": ["Key", "Arn"]}]}]})

    assert isinstance(resolved, Unknown)
    assert [reference.resource.logical_id for reference in resolved.references] == ["Key"]


def test_a_resource_whose_condition_is_false_is_not_there() -> None:
    app = from_templates(
        {
            "t.json": {
                "Conditions": {"Never": {"Fn::Equals": ["a", "b"]}},
                "Resources": {"Key": {**KEY, "Condition": "Never"}, "Other": KEY},
            }
        }
    )

    assert [resource.logical_id for resource in app.resources] == ["Other"]


def write(folder: Path, name: str, content: Any) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_the_environment_of_a_cdk_stack_fills_its_pseudo_parameters(tmp_path: Path) -> None:
    probe = {"Type": "Probe", "Properties": {"V": {"Fn::Sub": "${AWS::Partition} ${AWS::Region} ${AWS::AccountId}"}}}
    write(tmp_path, "One.template.json", {"Resources": {"Probe": probe}})
    stack = {
        "type": "aws:cloudformation:stack",
        "environment": "aws://111122223333/us-east-1",
        "properties": {"templateFile": "One.template.json"},
    }
    write(tmp_path, "manifest.json", {"version": "40.0.0", "artifacts": {"One": stack}})

    (probe_read,) = load(tmp_path).of_type("Probe")

    assert probe_read["V"].value == "aws us-east-1 111122223333"


def test_templates_of_a_nested_assembly_are_read_too(tmp_path: Path) -> None:
    write(tmp_path, "stage/One.template.json", {"Resources": {"Key": KEY}})
    stack = {"type": "aws:cloudformation:stack", "properties": {"templateFile": "One.template.json"}}
    write(tmp_path, "stage/manifest.json", {"artifacts": {"One": stack}})
    assembly = {"type": "cdk:cloud-assembly", "properties": {"directoryName": "stage"}}
    write(tmp_path, "manifest.json", {"artifacts": {"stage": assembly}})

    assert [stack.name for stack in load(tmp_path).stacks] == ["One"]


def test_a_folder_without_a_manifest_is_read_and_its_other_json_left_alone(tmp_path: Path) -> None:
    write(tmp_path, "network/vpc.json", {"Resources": {"Key": KEY}})
    write(tmp_path, "parameters.json", [{"ParameterKey": "a"}])
    write(tmp_path, "settings.json", {"Resources": "none"})

    assert [stack.name for stack in load(tmp_path).stacks] == ["vpc"]


def test_a_nested_stack_of_a_plain_folder_is_followed_by_its_url(tmp_path: Path) -> None:
    child = {
        "Parameters": {"KeyArn": {"Type": "String"}},
        "Resources": {"Probe": {"Type": "Probe", "Properties": {"V": {"Ref": "KeyArn"}}}},
    }
    parent = {
        "Type": "AWS::CloudFormation::Stack",
        "Properties": {"TemplateURL": "./child.json", "Parameters": {"KeyArn": {"Fn::GetAtt": ["Key", "Arn"]}}},
    }
    write(tmp_path, "child.json", child)
    write(tmp_path, "root.json", {"Resources": {"Key": KEY, "Child": parent}})

    app = load(tmp_path)

    assert app.of_type("Probe")[0]["V"].value == Reference(app.of_type("AWS::KMS::Key")[0], "Arn")


def test_one_template_by_itself_is_read(tmp_path: Path) -> None:
    assert len(load(write(tmp_path, "one.json", {"Resources": {"Key": KEY}})).resources) == 1


def test_a_template_nested_in_itself_is_refused(tmp_path: Path) -> None:
    stack = {"type": "aws:cloudformation:stack", "properties": {"templateFile": "a.json"}}
    write(tmp_path, "manifest.json", {"artifacts": {"a": stack}})
    write(tmp_path, "a.json", {"Resources": {"A": nested("a.json")}})

    with pytest.raises(TemplateError, match=r"a\.json: nested in itself"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no CloudFormation template"),
        ({"notes.json": {"a": 1}}, "no CloudFormation template"),
        ({"t.yaml": "Resources: {}"}, "no CloudFormation template"),
        ({"broken.json": '{"Resources": '}, r"broken\.json: not JSON"),
        ({"manifest.json": "[]"}, r"manifest\.json: not a template"),
        ({"manifest.json": {"artifacts": []}}, "not a CDK manifest"),
        (
            {"manifest.json": {"artifacts": {"One": {"type": "aws:cloudformation:stack"}}}},
            r"One\.template\.json: No such file",
        ),
        ({"t.json": {"Resources": {"A": {"Type": "X"}, "B": {"Typ": "Y"}}}}, "resource 'B' has no Type"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    for name, content in files.items():
        write(tmp_path, name, content)

    with pytest.raises(TemplateError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="no such file or folder"):
        load(tmp_path / "nowhere")
