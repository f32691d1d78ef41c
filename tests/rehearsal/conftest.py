"""Where HAProxy cannot be had, tests are skipped with the reason, and fail where CI is set."""

from __future__ import annotations

import os

import pytest

from rehearsal.balancer import BalancerUnavailableError, HaproxySoftware, obtain_haproxy


@pytest.fixture(scope="session")
def haproxy() -> HaproxySoftware:
    """The HAProxy to run."""
    try:
        return obtain_haproxy()
    except BalancerUnavailableError as error:
        reason = f"no HAProxy to test with: {error}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
