"""The weights of the listener rule, against moto's load balancer."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from cutover_state.levers import Kind
from tests.support.levers_in_aws import LeversInAws, create_target_group, forward
from tests.support.local_aws import LocalAws
from tests.support.throttling import throttling
from traffic.listener_rule import ListenerRule
from traffic.weights import RETRYING, TrafficError, WeightsError


def rule_of(levers: LeversInAws, elbv2: Any = None, **options: Any) -> ListenerRule:
    return ListenerRule(
        elbv2 or levers.aws.shared_client("elbv2"),
        rule_arn=levers.rule_arn,
        target_groups=levers.target_groups,
        sleep=lambda _: None,
        **options,
    )


def rule_in_aws(levers: LeversInAws) -> dict[str, Any]:
    [rule] = levers.aws.shared_client("elbv2").describe_rules(RuleArns=[levers.rule_arn])["Rules"]
    return dict(rule)


def test_weights_are_read_by_environment(levers: LeversInAws) -> None:
    assert rule_of(levers).read() == {"blue": 100, "green": 0}


@pytest.mark.parametrize("green", [1, 50, 100, 0])
def test_weights_read_back_as_they_were_written(levers: LeversInAws, green: int) -> None:
    rule_of(levers).write({"green": green, "blue": 100 - green})
    assert levers.live()[Kind.ENVIRONMENT] == {"blue": 100 - green, "green": green}


def test_both_weights_change_in_one_call(levers: LeversInAws) -> None:
    elbv2 = levers.aws.client("elbv2")
    calls: list[str] = []
    elbv2.meta.events.register("before-call", lambda model, **_: calls.append(model.name))
    rule_of(levers, elbv2).write({"blue": 0, "green": 100})
    assert calls == ["ModifyRule", "DescribeRules"]


def test_writing_leaves_the_conditions_and_the_priority_alone(levers: LeversInAws) -> None:
    before = rule_in_aws(levers)
    rule_of(levers).write({"blue": 40, "green": 60})
    after = rule_in_aws(levers)
    assert (after["Conditions"], after["Priority"]) == (before["Conditions"], before["Priority"])


def test_writing_ends_stickiness_because_a_stuck_client_cannot_be_shifted(own_levers: LeversInAws) -> None:
    blue, green = own_levers.target_groups.values()
    own_levers.aws.shared_client("elbv2").modify_rule(
        RuleArn=own_levers.rule_arn, Actions=[forward({blue: 100, green: 0}, sticky=True)]
    )
    rule_of(own_levers).write({"blue": 90, "green": 10})
    [action] = rule_in_aws(own_levers)["Actions"]
    assert action["ForwardConfig"]["TargetGroupStickinessConfig"]["Enabled"] is False


@pytest.mark.parametrize("weights", [{"blue": 0, "green": 0}, {"blue": 100}, {"blue": 50, "green": 51}])
def test_weights_that_nobody_may_set_reach_no_load_balancer(levers: LeversInAws, weights: dict[str, int]) -> None:
    with pytest.raises(WeightsError):
        rule_of(levers).write(weights)
    assert levers.live()[Kind.ENVIRONMENT] == {"blue": 100, "green": 0}


def test_a_rule_that_forwards_elsewhere_is_refused(aws: LocalAws, own_levers: LeversInAws) -> None:
    vpc = aws.shared_client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    blue, _ = own_levers.target_groups.values()
    foreign = create_target_group(aws, vpc)
    aws.shared_client("elbv2").modify_rule(RuleArn=own_levers.rule_arn, Actions=[forward({blue: 100, foreign: 0})])
    with pytest.raises(TrafficError, match=r"must forward to the target groups of blue, green; it forwards to .*tg-"):
        rule_of(own_levers).read()


def test_a_rule_without_one_of_the_environments_is_refused(own_levers: LeversInAws) -> None:
    blue, _ = own_levers.target_groups.values()
    own_levers.aws.shared_client("elbv2").modify_rule(RuleArn=own_levers.rule_arn, Actions=[forward({blue: 1})])
    with pytest.raises(TrafficError, match=r"must forward to the target groups of blue, green"):
        rule_of(own_levers).read()


def test_a_rule_that_does_not_forward_is_refused(own_levers: LeversInAws) -> None:
    own_levers.aws.shared_client("elbv2").modify_rule(
        RuleArn=own_levers.rule_arn,
        Actions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}],
    )
    with pytest.raises(TrafficError, match=r"must have one action, a forward; it has fixed-response"):
        rule_of(own_levers).read()


def test_a_rule_with_an_action_before_the_forward_is_refused_because_writing_would_drop_it(
    own_levers: LeversInAws,
) -> None:
    blue, green = own_levers.target_groups.values()
    own_levers.aws.shared_client("elbv2").modify_rule(
        RuleArn=own_levers.rule_arn,
        Actions=[
            {
                "Type": "authenticate-cognito",
                "Order": 1,
                "AuthenticateCognitoConfig": {
                    "UserPoolArn": "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_a",
                    "UserPoolClientId": "client",
                    "UserPoolDomain": "domain",
                },
            },
            {**forward({blue: 100, green: 0}), "Order": 2},
        ],
    )
    with pytest.raises(TrafficError, match=r"must have one action, a forward; it has authenticate-cognito, forward"):
        rule_of(own_levers).read()


def test_a_rule_that_is_gone_cannot_be_read(own_levers: LeversInAws) -> None:
    own_levers.aws.shared_client("elbv2").delete_rule(RuleArn=own_levers.rule_arn)
    with pytest.raises(TrafficError, match=r"cannot be read: .*RuleNotFound"):
        rule_of(own_levers).read()


def test_a_rule_that_is_gone_cannot_be_set(own_levers: LeversInAws) -> None:
    own_levers.aws.shared_client("elbv2").delete_rule(RuleArn=own_levers.rule_arn)
    with pytest.raises(TrafficError, match=r"cannot be set to blue 90, green 10: .*RuleNotFound"):
        rule_of(own_levers).write({"blue": 90, "green": 10})


def test_a_load_balancer_that_does_not_answer_is_a_traffic_error(levers: LeversInAws) -> None:
    nowhere = boto3.client(
        "elbv2",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=RETRYING.merge(type(RETRYING)(retries={"mode": "standard", "total_max_attempts": 1})),
    )
    with pytest.raises(TrafficError, match=r"cannot be read: Could not connect"):
        rule_of(levers, nowhere).read()


def test_throttling_is_waited_out_with_the_retries_that_the_functions_use(levers: LeversInAws) -> None:
    with throttling(levers.aws.endpoint_url) as throttle:
        elbv2 = boto3.client(
            "elbv2",
            endpoint_url=throttle.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=RETRYING,
        )
        throttle.left = 2
        rule_of(levers, elbv2).write({"blue": 30, "green": 70})
    assert len(throttle.refused) == 2
    assert levers.live()[Kind.ENVIRONMENT] == {"blue": 30, "green": 70}


def test_weights_that_do_not_read_back_are_an_error(levers: LeversInAws) -> None:
    """moto always sets what it is told: that the rule still reads as before comes from botocore's Stubber."""
    blue, green = levers.target_groups.values()
    elbv2 = levers.aws.client("elbv2")
    unchanged = {"Rules": [{"RuleArn": levers.rule_arn, "Actions": [forward({blue: 100, green: 0})]}]}
    with Stubber(elbv2) as stub:
        stub.add_response(
            "modify_rule",
            {"Rules": []},
            {"RuleArn": levers.rule_arn, "Actions": [forward({blue: 90, green: 10})]},
        )
        for _ in range(12):
            stub.add_response("describe_rules", unchanged, {"RuleArns": [levers.rule_arn]})
        with pytest.raises(TrafficError, match=r"wanted blue 90, green 10, but it reads blue 100, green 0"):
            rule_of(levers, elbv2).write({"blue": 90, "green": 10})
        stub.assert_no_pending_responses()
