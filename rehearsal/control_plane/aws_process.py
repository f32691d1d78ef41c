"""moto's server as a process of its own, with what it lacks and the cutover needs.

- CloudWatch: the trimmed count, ``TC(2:)``: how many values lie at a bound or above.
- Target health: a target is unhealthy while a tag ``unhealthy`` of its target group names it.
- Throttling: while a tag ``throttle`` stands on the target groups, ``ModifyRule`` is answered with ``Throttling``.

    python -m rehearsal.control_plane.aws_process PORT

It ends when its standard input does, so that it never outlives who started it.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from typing import Any

from moto.cloudwatch.models import MetricDatum, Statistics
from moto.elbv2.exceptions import ELBClientError
from moto.elbv2.models import ELBv2Backend, FakeHealthStatus, FakeTargetGroup
from moto.server import main

UNHEALTHY_TAG = "unhealthy"
THROTTLE_TAG = "throttle"
_TRIMMED_COUNT = re.compile(r"TC\(([0-9.]*):([0-9.]*)\)")


def _extend_cloudwatch() -> None:
    known = Statistics.get_statistics_for_type

    def statistics(self: Statistics, stat: str) -> Any:
        found = _TRIMMED_COUNT.fullmatch(stat)
        if found is None:
            return known(self, stat)
        least, most = float(found[1] or "-inf"), float(found[2] or "inf")
        return float(sum(isinstance(m, MetricDatum) and least <= m.value <= most for m in self.metric_data))

    Statistics.get_statistics_for_type = statistics  # type: ignore[method-assign]


def _extend_load_balancing() -> None:
    known_health, known_modify = FakeTargetGroup.health_for, ELBv2Backend.modify_rule

    def tag(backend: Any, arn: str, key: str) -> str:
        found = backend.tagging_service.list_tags_for_resource(arn)["Tags"]
        return next((str(each["Value"]) for each in found if each["Key"] == key), "")

    def health_for(self: FakeTargetGroup, target: dict[str, Any], ec2_backend: Any) -> FakeHealthStatus:
        from moto.elbv2.models import elbv2_backends

        backend = elbv2_backends[ec2_backend.account_id][ec2_backend.region_name]
        if target["Id"] in tag(backend, self.arn, UNHEALTHY_TAG).split():
            return FakeHealthStatus(
                target["Id"], str(target.get("Port", self.port)), self.health_check_port, "unhealthy",
                "Target.FailedHealthChecks", "Health checks failed",
            )  # fmt: skip
        return known_health(self, target, ec2_backend)

    def modify_rule(self: ELBv2Backend, *arguments: Any, **named: Any) -> Any:
        if any(tag(self, arn, THROTTLE_TAG) for arn in self.target_groups):
            raise ELBClientError("Throttling", "Rate exceeded")
        return known_modify(self, *arguments, **named)

    FakeTargetGroup.health_for = health_for  # type: ignore[method-assign]
    ELBv2Backend.modify_rule = modify_rule  # type: ignore[method-assign]


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    _extend_cloudwatch()
    _extend_load_balancing()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main(["-H", "127.0.0.1", "-p", sys.argv[1]])
