"""Real MariaDB servers that replicate to one another, for the tests and for the rehearsal.

    with DatabaseChain.start(("blue", "green")) as databases:
        databases["blue"].query("SELECT 1")
        databases.replication("blue", "green").delay(seconds=1)

Neighbours in the chain replicate both ways, over TLS, the payment and the control schema only. Nothing on the
system is touched, everything listens on the loopback interface, and nothing is left when the block ends or
the process dies.
"""

from rehearsal.databases.chain import REPLICATED_SCHEMAS, DatabaseChain, Replication, ReplicationError
from rehearsal.databases.server import DatabaseServer, ServerError
from rehearsal.databases.software import DatabasesUnavailableError, Software, obtain

__all__ = [
    "REPLICATED_SCHEMAS",
    "DatabaseChain",
    "DatabaseServer",
    "DatabasesUnavailableError",
    "Replication",
    "ReplicationError",
    "ServerError",
    "Software",
    "obtain",
]
