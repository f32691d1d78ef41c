"""The weights of the pair of DNS records, against moto's Route 53."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from cutover_state.levers import Kind
from tests.support.levers_in_aws import HOST, LeversInAws
from tests.support.throttling import throttling
from traffic.weighted_records import WeightedRecords
from traffic.weights import RETRYING, TrafficError, WeightsError


def records_of(levers: LeversInAws, route53: Any = None, **options: Any) -> WeightedRecords:
    options.setdefault("name", HOST)
    options.setdefault("sleep", lambda _: None)
    return WeightedRecords(
        route53 or levers.aws.shared_client("route53"), hosted_zone_id=levers.hosted_zone_id, **options
    )


def watched(levers: LeversInAws) -> tuple[Any, list[str]]:
    route53 = levers.aws.client("route53")
    calls: list[str] = []
    route53.meta.events.register("before-call", lambda model, **_: calls.append(model.name))
    return route53, calls


def test_weights_are_read_by_side(levers: LeversInAws) -> None:
    assert records_of(levers).read() == {"legacy": 100, "aws": 0}


def test_the_longest_time_that_resolvers_keep_an_answer_is_read(levers: LeversInAws) -> None:
    legacy: dict[str, Any] = {**levers.record_sets()["legacy"], "Weight": 100}

    def put(record: dict[str, Any]) -> None:
        levers.aws.shared_client("route53").change_resource_record_sets(
            HostedZoneId=levers.hosted_zone_id,
            ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]},
        )

    assert records_of(levers).ttl_seconds() == 60
    put({**legacy, "TTL": 300})
    try:
        assert records_of(levers).ttl_seconds() == 300
    finally:
        put(legacy)


@pytest.mark.parametrize("name", [HOST, f"{HOST}.", HOST.upper()])
def test_the_name_is_found_however_it_is_written(levers: LeversInAws, name: str) -> None:
    assert records_of(levers, name=name).read() == {"legacy": 100, "aws": 0}


@pytest.mark.parametrize("percent", [1, 50, 100, 0])
def test_weights_read_back_as_they_were_written(levers: LeversInAws, percent: int) -> None:
    records_of(levers).write({"aws": percent, "legacy": 100 - percent})
    assert levers.live()[Kind.FRONT_DOOR] == {"legacy": 100 - percent, "aws": percent}


def test_both_records_change_in_one_batch(levers: LeversInAws) -> None:
    route53, calls = watched(levers)
    records_of(levers, route53).write({"legacy": 0, "aws": 100})
    assert calls == ["ListResourceRecordSets", "ChangeResourceRecordSets", "ListResourceRecordSets"]


def test_everything_but_the_weights_stays_as_it_is(levers: LeversInAws) -> None:
    before = levers.record_sets()
    records_of(levers).write({"legacy": 30, "aws": 70})
    assert levers.record_sets() == before


def test_weights_that_are_set_already_are_submitted_again_so_that_their_spreading_can_be_waited_for(
    levers: LeversInAws,
) -> None:
    """Whoever set them may have died before they were INSYNC."""
    route53, calls = watched(levers)
    records_of(levers, route53).write({"legacy": 100, "aws": 0})
    assert "ChangeResourceRecordSets" in calls


@pytest.mark.parametrize("weights", [{"legacy": 0, "aws": 0}, {"aws": 100}, {"legacy": 1, "aws": 100}])
def test_weights_that_nobody_may_set_reach_no_record(levers: LeversInAws, weights: dict[str, int]) -> None:
    with pytest.raises(WeightsError):
        records_of(levers).write(weights)
    assert levers.live()[Kind.FRONT_DOOR] == {"legacy": 100, "aws": 0}


def test_a_pair_without_a_side_is_refused(own_levers: LeversInAws) -> None:
    own_levers.upsert({"Weight": 100, **own_levers.record_sets()["legacy"]}, action="DELETE")
    with pytest.raises(TrafficError, match=r"must have exactly the weighted records legacy, aws; it has aws$"):
        records_of(own_levers).read()


def test_a_third_record_of_the_name_is_refused_because_it_takes_a_share(own_levers: LeversInAws) -> None:
    own_levers.upsert(
        {"SetIdentifier": "forgotten", "Weight": 5, "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.9"}]}
    )
    with pytest.raises(TrafficError, match=r"it has aws, forgotten, legacy"):
        records_of(own_levers).write({"legacy": 50, "aws": 50})


def test_records_that_are_not_weighted_are_refused(levers: LeversInAws) -> None:
    with pytest.raises(TrafficError, match=r"blue\.pay\.example\.com\. must have exactly the weighted records"):
        records_of(levers, name=f"blue.{HOST}").read()


def test_a_name_without_records_is_refused(levers: LeversInAws) -> None:
    with pytest.raises(TrafficError, match=r"it has none$"):
        records_of(levers, name="nowhere.example.com").read()


def test_a_zone_that_is_not_there_cannot_be_read(levers: LeversInAws) -> None:
    records = WeightedRecords(levers.aws.shared_client("route53"), hosted_zone_id="ZNOWHERE", name=HOST)
    with pytest.raises(TrafficError, match=r"cannot be read in hosted zone ZNOWHERE: .*NoSuchHostedZone"):
        records.read()


def test_throttling_is_waited_out_with_the_retries_that_the_functions_use(levers: LeversInAws) -> None:
    with throttling(levers.aws.endpoint_url) as throttle:
        route53 = boto3.client(
            "route53",
            endpoint_url=throttle.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=RETRYING,
        )
        throttle.left = 2
        records_of(levers, route53).write({"legacy": 20, "aws": 80})
    assert len(throttle.refused) == 2
    assert levers.live()[Kind.FRONT_DOOR] == {"legacy": 20, "aws": 80}


class Spreading:
    """Route 53 with a change that takes time to spread.

    moto's changes are INSYNC at once, so what Route 53 says in between comes from botocore's Stubber here, which
    refuses any call that is not the expected one.
    """

    def __init__(self, levers: LeversInAws) -> None:
        self.route53 = levers.aws.client("route53")
        self.stub = Stubber(self.route53)
        self.slept: list[float] = []
        self.records = WeightedRecords(
            self.route53, hosted_zone_id="Z1", name=HOST, sleep=self.slept.append, insync_seconds=10
        )

    def reads(self, *, legacy: int, aws: int) -> None:
        pair = [
            {"Name": f"{HOST}.", "Type": "A", "SetIdentifier": side, "Weight": weight}
            for side, weight in (("legacy", legacy), ("aws", aws))
        ]
        self.stub.add_response(
            "list_resource_record_sets",
            {"ResourceRecordSets": pair, "IsTruncated": False, "MaxItems": "10"},
            {"HostedZoneId": "Z1", "StartRecordName": f"{HOST}.", "StartRecordType": "A", "MaxItems": "10"},
        )

    def submits(self) -> None:
        self.stub.add_response(
            "change_resource_record_sets",
            {"ChangeInfo": self._info("PENDING")},
            {"HostedZoneId": "Z1", "ChangeBatch": ANY},
        )

    def says(self, *statuses: str) -> None:
        for status in statuses:
            self.stub.add_response("get_change", {"ChangeInfo": self._info(status)}, {"Id": "C1"})

    @staticmethod
    def _info(status: str) -> dict[str, Any]:
        return {"Id": "C1", "Status": status, "SubmittedAt": "2026-11-24T18:00:00Z"}


@pytest.fixture
def spreading(levers: LeversInAws) -> Spreading:
    return Spreading(levers)


def test_a_change_is_waited_for_until_every_server_has_it(spreading: Spreading) -> None:
    spreading.reads(legacy=100, aws=0)
    spreading.submits()
    spreading.says("PENDING", "PENDING", "INSYNC")
    spreading.reads(legacy=90, aws=10)
    with spreading.stub:
        spreading.records.write({"legacy": 90, "aws": 10})
        spreading.stub.assert_no_pending_responses()
    assert spreading.slept == [2, 2, 2]


def test_a_change_that_is_never_insync_is_an_error_that_says_what_may_be(spreading: Spreading) -> None:
    spreading.reads(legacy=100, aws=0)
    spreading.submits()
    spreading.says(*["PENDING"] * 5)
    with (
        spreading.stub,
        pytest.raises(TrafficError, match=r"change C1 is not INSYNC after 10 s; part of the servers may still answer"),
    ):
        spreading.records.write({"legacy": 90, "aws": 10})
    assert sum(spreading.slept) == 10


def test_a_change_that_cannot_be_asked_about_is_an_error(spreading: Spreading) -> None:
    spreading.reads(legacy=100, aws=0)
    spreading.submits()
    spreading.stub.add_client_error("get_change", "AccessDenied", "not allowed")
    with spreading.stub, pytest.raises(TrafficError, match=r"change C1 cannot be read: .*AccessDenied"):
        spreading.records.write({"legacy": 90, "aws": 10})


def test_a_change_that_is_refused_is_an_error(spreading: Spreading) -> None:
    spreading.reads(legacy=100, aws=0)
    spreading.stub.add_client_error("change_resource_record_sets", "PriorRequestNotComplete", "wait")
    with (
        spreading.stub,
        pytest.raises(TrafficError, match=r"cannot be set to aws 10, legacy 90: .*PriorRequestNotComplete"),
    ):
        spreading.records.write({"legacy": 90, "aws": 10})


def test_weights_that_do_not_read_back_are_an_error(spreading: Spreading) -> None:
    spreading.reads(legacy=100, aws=0)
    spreading.submits()
    spreading.says("INSYNC")
    for _ in range(12):
        spreading.reads(legacy=100, aws=0)
    with spreading.stub, pytest.raises(TrafficError, match=r"wanted aws 10, legacy 90, but it reads aws 0, legacy 100"):
        spreading.records.write({"legacy": 90, "aws": 10})
