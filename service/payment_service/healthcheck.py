"""Health check of the container: ``python -m payment_service.healthcheck [port]`` ends with 0 when it answers.

It asks /health/live. An orchestrator kills a container whose check fails, and readiness is not worth a death.
"""

from __future__ import annotations

import http.client
import ssl
import sys

DEFAULT_PORT = 8443
TIMEOUT_SECONDS = 4.0


def main(words: list[str]) -> int:
    """0 when the service answers on the loopback interface, 1 with one line on standard error when not."""
    port = int(words[0]) if words else DEFAULT_PORT
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificate is made by the process that is asked, on this same host.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS, context=context)
    try:
        connection.request("GET", "/health/live")
        status = connection.getresponse().status
    except OSError as error:
        print(f"the service does not answer on port {port}: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    if status != http.client.OK:
        print(f"the service answers on port {port} with {status}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
