"""The payment service's own statements, as the accounts that the bootstrap makes and the rotation changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from cutover_state.restart import RestartStore
from database_access.credentials import DatabaseSecret
from database_access.deadline import Deadline
from database_access.session import connector, tls_context
from database_bootstrap.bootstrap import DatabaseSecrets, bootstrap
from database_bootstrap.properties import BootstrapProperties
from database_bootstrap.schema_files import load
from payment_service import ledger
from payment_service.credentials import REREAD_SECONDS, SecretCredentials
from payment_service.database import Database
from payment_service.payments import Payment, PaymentOrder
from secret_rotation.replication_tasks import ReplicationTasks
from secret_rotation.request import RotationRequest, Settings, Step
from secret_rotation.rotation import Rotation
from tests.support.account_database import APPLICATION, REPLICATION, AccountDatabase
from tests.support.local_aws import LocalAws

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def bootstrapped(blue: AccountDatabase, aws: LocalAws) -> Iterator[tuple[dict[str, str], Callable[[], None]]]:
    """The ARNs of the secrets of a database that the bootstrap made, and a way to rotate the application pair."""
    documents = {
        "admin": blue.admin_document(),
        "application": blue.pair_document(APPLICATION),
        "replication": blue.pair_document(REPLICATION),
    }
    arns = {name: aws.create_secret(document) for name, document in documents.items()}
    connect = connector(ca_path=blue.server.ca_path)
    deadline = Deadline.after(60)
    bootstrap(
        BootstrapProperties.parse(
            {
                "Environment": "blue",
                "AdminSecretArn": arns["admin"],
                "ApplicationSecretArn": arns["application"],
                "ReplicationSecretArn": arns["replication"],
                "WriterAtCreation": "true",
                "BinlogRetentionHours": "168",
                "PaymentSchema": "payments",
                "ControlSchema": "blue_green_control",
                "LoopbackSchemas": ["loopback_blue_green"],
                "Revision": "1",
            }
        ),
        found=DatabaseSecrets(
            **{
                name: DatabaseSecret.parse(json.dumps(document), name=name, pair=name != "admin")
                for name, document in documents.items()
            }
        ),
        schema_files=load(
            PROJECT / "lambda" / "database_bootstrap" / "schema",
            payments=PROJECT / "service" / "payment_service" / "schema.sql",
        ),
        connect=connect,
        deadline=deadline,
    )
    table_name = aws.create_state_table()
    settings = Settings.parse(
        {
            **{f"{name.upper()}_SECRET_ARN": arn for name, arn in arns.items()},
            "STATE_TABLE_NAME": table_name,
            "REPLICATION_TASK_ARNS": "[]",
            "DATABASE_CA_PATH": str(blue.server.ca_path),
        }
    )
    rotation = Rotation(
        settings=settings,
        secrets_manager=aws.secrets_manager(),
        dynamodb=aws.dynamodb(),
        connect=connect,
        tasks=ReplicationTasks(
            dms=aws.dms(),
            store=RestartStore(aws.dynamodb(), table_name=table_name),
            task_arns=(),
            owner="test",
            deadline=deadline,
        ),
        deadline=deadline,
    )

    def rotate() -> None:
        version_id = aws.begin_rotation(arns["application"])
        for step in Step:
            rotation.run(RotationRequest(step=step, secret_arn=arns["application"], version_id=version_id))

    yield arns, rotate
    aws.dynamodb().delete_table(TableName=table_name)


def payment() -> Payment:
    return Payment(
        payment_id=str(uuid4()),
        order=PaymentOrder.model_validate(
            {
                "currency": "EUR",
                "amount": "12.30",
                "debtor_account": "DE89370400440532013000",
                "creditor_account": "merchant-1",
                "payment_token": "token-12345678",
            }
        ),
        recorded_in="blue",
        created_at=datetime(2026, 11, 24, 12, tzinfo=UTC),
    )


async def pay(database: Database, written: Payment) -> Payment | None:
    """Write the payment, write it again, and find it."""
    connection = await database.connect()
    try:
        assert await ledger.write(connection, written) is None
        await connection.commit()
        assert await ledger.write(connection, written) == written
        return await ledger.find(connection, written.payment_id)
    finally:
        connection.close()


def service(blue: AccountDatabase, aws: LocalAws, secret_arn: str) -> Database:
    return Database(
        name="blue",
        schema="payments",
        credentials=SecretCredentials(client=aws.secrets_manager(), secret_arn=secret_arn),
        tls=tls_context(blue.server.ca_path),
    )


def test_the_service_can_do_its_work_with_what_is_granted(
    blue: AccountDatabase, aws: LocalAws, bootstrapped: tuple[dict[str, str], Callable[[], None]]
) -> None:
    arns, _ = bootstrapped
    written = payment()
    assert asyncio.run(pay(service(blue, aws, arns["application"]), written)) == written


def test_the_service_keeps_working_while_its_secret_is_rotated_again_and_again(
    blue: AccountDatabase, aws: LocalAws, bootstrapped: tuple[dict[str, str], Callable[[], None]]
) -> None:
    """The credentials that it remembers outlive one rotation; after the second it reads them anew."""
    arns, rotate = bootstrapped

    async def pay_and_rotate() -> list[bool]:
        database = service(blue, aws, arns["application"])
        paid = []
        for _ in range(4):
            written = payment()
            paid.append(await pay(database, written) == written)
            await asyncio.to_thread(rotate)
            # Two rotations within the second in which the secret is not read again are not meant here.
            await asyncio.sleep(REREAD_SECONDS)
        return paid

    assert asyncio.run(pay_and_rotate()) == [True] * 4
