"""Keys of the state table (partition key ``pk``, sort key ``sk``, both strings).

| pk              | sk                       | what                                                    |
|-----------------|--------------------------|---------------------------------------------------------|
| LEASE           | cutover                  | who may shift traffic and switch the writer             |
| DESIRED         | current                  | the weights and the writer that should be               |
| JOURNAL#<id>    | <ISO time>#<number>-<id> | what was decided and done, append-only                  |
| RUN             | current                  | the cutover that runs, or ran last                      |
| RESTART         | <ARN of the secret>      | replication tasks that must be restarted, and how far   |
| RESTART         | CLAIM                    | which rotation is restarting tasks right now            |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

LEASE_PARTITION: Final = "LEASE"
LEASE_SORT: Final = "cutover"
DESIRED_PARTITION: Final = "DESIRED"
DESIRED_SORT: Final = "current"
RUN_PARTITION: Final = "RUN"
RUN_SORT: Final = "current"
JOURNAL_PARTITION_PREFIX: Final = "JOURNAL#"
RESTART_PARTITION: Final = "RESTART"
RESTART_CLAIM_SORT: Final = "CLAIM"


class StateUnreadableError(Exception):
    """An item of the state table is not of the layout; the message says which and what it must have."""


def key(partition: str, sort: str) -> dict[str, AttributeValueTypeDef]:
    """The key of an item, as the low-level client wants it."""
    return {"pk": {"S": partition}, "sk": {"S": sort}}
