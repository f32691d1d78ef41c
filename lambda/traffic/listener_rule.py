"""The weighted listener rule of the load balancer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from traffic import weights as w

if TYPE_CHECKING:
    from mypy_boto3_elbv2 import ElasticLoadBalancingv2Client


class ListenerRule:
    """Weights of the target groups of one rule.

    One ``ModifyRule`` carries all weights, so that there is no instant at which the old one is lowered and the new one
    not yet raised. Whoever follows the rule weight by weight has to raise first.
    """

    def __init__(
        self,
        elbv2: ElasticLoadBalancingv2Client,
        *,
        rule_arn: str,
        target_groups: Mapping[str, str],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Args: target_groups: ARN of each side's target group."""
        self._elbv2 = elbv2
        self._rule_arn = rule_arn
        self._target_groups = dict(target_groups)
        self._sleep = sleep

    @property
    def sides(self) -> tuple[str, ...]:
        """Names of the environments."""
        return tuple(self._target_groups)

    def read(self) -> dict[str, int]:
        """The weights that are set now.

        Raises:
            TrafficError: the rule cannot be read, or does not forward to our target groups.
        """
        try:
            rules = self._elbv2.describe_rules(RuleArns=[self._rule_arn])["Rules"]
        except (ClientError, BotoCoreError) as error:
            raise w.TrafficError(f"listener rule {self._rule_arn} cannot be read: {error}") from None
        actions = [action for rule in rules for action in rule.get("Actions", [])]
        if [action.get("Type") for action in actions] != ["forward"]:
            # Writing replaces all actions: one that we do not know would be lost.
            kinds = ", ".join(str(action.get("Type")) for action in actions) or "none"
            raise w.TrafficError(f"listener rule {self._rule_arn} must have one action, a forward; it has {kinds}")
        groups = {
            group.get("TargetGroupArn", ""): group.get("Weight", 0)
            for group in actions[0].get("ForwardConfig", {}).get("TargetGroups", [])
        }
        if set(groups) != set(self._target_groups.values()):
            raise w.TrafficError(
                f"listener rule {self._rule_arn} must forward to the target groups of {', '.join(sorted(self.sides))}; "
                f"it forwards to {', '.join(sorted(groups)) or 'none'}"
            )
        return {side: groups[arn] for side, arn in self._target_groups.items()}

    def write(self, wanted: Mapping[str, int]) -> None:
        """Set the weights and read them back; doing it twice changes nothing.

        Raises:
            WeightsError: nobody may set these weights.
            TrafficError: they were not set, or do not read back.
        """
        w.check(wanted, sides=self.sides)
        try:
            self._elbv2.modify_rule(
                RuleArn=self._rule_arn,
                Actions=[
                    {
                        "Type": "forward",
                        "ForwardConfig": {
                            "TargetGroups": [
                                {"TargetGroupArn": arn, "Weight": wanted[side]}
                                for side, arn in self._target_groups.items()
                            ],
                            # A stuck client would not follow the weights.
                            "TargetGroupStickinessConfig": {"Enabled": False},
                        },
                    }
                ],
            )
        except (ClientError, BotoCoreError) as error:
            raise w.TrafficError(
                f"listener rule {self._rule_arn} cannot be set to {w.shown(wanted)}: {error}"
            ) from None
        w.verify(self.read, wanted, what=f"listener rule {self._rule_arn}", sleep=self._sleep)
