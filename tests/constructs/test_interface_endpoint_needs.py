"""Leaving out an endpoint that a workload needs is an error at synthesis."""

from __future__ import annotations

import re

import pytest

from blue_green.interface_endpoints import WORKLOADS, MissingEndpointError, require_endpoints
from stacks.config import KNOWN_ENDPOINTS


@pytest.mark.parametrize("service", sorted(WORKLOADS))
def test_an_endpoint_that_is_left_out_is_named_with_who_needs_it(service: str) -> None:
    rest = [each for each in KNOWN_ENDPOINTS if each != service]

    with pytest.raises(
        MissingEndpointError, match=rf"^network\.interface_endpoints: {re.escape(service)} \(.+\) is missing"
    ):
        require_endpoints(rest)


def test_all_that_are_left_out_are_named_at_once() -> None:
    rest = [each for each in KNOWN_ENDPOINTS if each not in ("kms", "logs")]

    with pytest.raises(MissingEndpointError, match=r"kms \(.+\), logs \(.+\) are missing"):
        require_endpoints(rest)


def test_the_known_services_are_enough() -> None:
    require_endpoints(KNOWN_ENDPOINTS)


def test_every_workload_needs_a_service_that_can_be_configured() -> None:
    assert set(WORKLOADS) <= set(KNOWN_ENDPOINTS)
