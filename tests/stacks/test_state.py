"""The table that holds the state of the cutover."""

from __future__ import annotations

from tests.support.synthesized import Synthesis, plain


def test_the_table_holds_lease_desired_state_and_journal_under_two_keys(prod: Synthesis) -> None:
    table = prod.the("AWS::DynamoDB::Table", stack="State")

    assert plain(table["KeySchema"]) == [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ]
    assert plain(table["AttributeDefinitions"]) == [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "sk", "AttributeType": "S"},
    ]


def test_the_table_is_encrypted_under_the_key_of_functions(prod: Synthesis) -> None:
    table = prod.the("AWS::DynamoDB::Table", stack="State")

    assert plain(table["SSESpecification"]) == {
        "SSEEnabled": True,
        "SSEType": "KMS",
        "KMSMasterKeyId": "<Security/Functions>.Arn",
    }


def test_the_table_can_be_restored_to_any_second_and_is_not_deleted(prod: Synthesis) -> None:
    table = prod.the("AWS::DynamoDB::Table", stack="State")

    assert table["PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled"].value is True
    assert table["DeletionProtectionEnabled"].value is True
    assert table.deletion_policy == "Retain"
