"""The statements of a payment: payment, ledger entries and balances in one transaction."""

from __future__ import annotations

from datetime import UTC

from payment_service.database import Connection, DatabaseError, Failure
from payment_service.payments import Payment, PaymentOrder

_COLUMNS = "id, amount, currency, debtor_account, creditor_account, payment_token, reference, recorded_in, created_at"
_INSERT_PAYMENT = f"INSERT INTO payments ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608
_INSERT_ENTRIES = (
    "INSERT INTO ledger_entries (payment_id, account, currency, amount) VALUES (%s, %s, %s, %s), (%s, %s, %s, %s)"
)
_ADD_TO_BALANCES = (
    "INSERT INTO balances (account, currency, amount) VALUES (%s, %s, %s), (%s, %s, %s) "
    "ON DUPLICATE KEY UPDATE amount = amount + VALUES(amount)"
)
_SELECT_PAYMENT = f"SELECT {_COLUMNS} FROM payments WHERE id = %s"  # noqa: S608


async def write(connection: Connection, payment: Payment) -> Payment | None:
    """Write the payment without committing, or find the one that has its key already.

    Returns:
        None when it is written and `commit` is to follow; the stored payment when the key exists, the
        transaction then being over.

    Raises:
        DatabaseError: Any error, classified. After CONFLICT the transaction is rolled back and may be
            repeated.
    """
    order = payment.order
    try:
        await connection.execute(
            _INSERT_PAYMENT,
            (
                payment.payment_id,
                order.amount,
                order.currency,
                order.debtor_account,
                order.creditor_account,
                order.payment_token,
                order.reference,
                payment.recorded_in,
                payment.created_at.replace(tzinfo=None),
            ),
        )
        # Always in the order of the accounts, so that two payments cannot wait for each other.
        movements = sorted([(order.debtor_account, -order.amount), (order.creditor_account, order.amount)])
        await connection.execute(
            _INSERT_ENTRIES,
            tuple(
                value
                for account, amount in movements
                for value in (payment.payment_id, account, order.currency, amount)
            ),
        )
        # Last, because all payments of an account wait for each other from here to the commit.
        await connection.execute(
            _ADD_TO_BALANCES,
            tuple(value for account, amount in movements for value in (account, order.currency, amount)),
        )
    except DatabaseError as error:
        if error.failure not in (Failure.DUPLICATE, Failure.CONFLICT):
            raise
        # 1213 has rolled back already, 1205 only its statement.
        await connection.rollback()
        if error.failure is Failure.CONFLICT:
            raise
        if (stored := await find(connection, payment.payment_id)) is None:
            # It was there, and its transaction was rolled back meanwhile.
            raise DatabaseError(Failure.CONFLICT, code=error.code) from None
        return stored
    return None


async def find(connection: Connection, payment_id: str) -> Payment | None:
    """The payment with this id, or None.

    Raises:
        DatabaseError: Any error, classified.
    """
    rows = await connection.execute(_SELECT_PAYMENT, (payment_id,))
    await connection.rollback()
    if not rows:
        return None
    found_id, amount, currency, debtor, creditor, token, reference, recorded_in, created_at = rows[0]
    return Payment(
        payment_id=found_id,
        # Not validated again: what was stored stays readable when the rules for new payments change.
        order=PaymentOrder.model_construct(
            amount=amount,
            currency=currency,
            debtor_account=debtor,
            creditor_account=creditor,
            payment_token=token,
            reference=reference,
        ),
        recorded_in=recorded_in,
        created_at=created_at.replace(tzinfo=UTC),
    )
