"""Alarms, targets, services, replication tasks and rotations, against moto."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest
from botocore.stub import Stubber

from observation.alarms import AlarmsUnreadableError, read_alarms
from observation.environments import EnvironmentUnreadableError, Service, Targets, read_services, read_targets
from observation.replication import ReplicationUnreadableError, Task, read_tasks
from observation.rotations import RotationUnreadableError, read_rotations
from observation.schemas import differences
from tests.support.levers_in_aws import create_target_group
from tests.support.local_aws import LocalAws


def create_alarms(aws: LocalAws, count: int) -> list[str]:
    cloudwatch = aws.shared_client("cloudwatch")
    names = [f"alarm-{uuid4()}" for _ in range(count)]
    for name in names:
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            MetricName="Bad",
            Namespace="Payments",
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanThreshold",
        )
    return names


class TestAlarms:
    def test_the_state_of_each_is_read(self, aws: LocalAws) -> None:
        firing, quiet, blind = create_alarms(aws, 3)
        for name, state in ((firing, "ALARM"), (quiet, "OK"), (blind, "INSUFFICIENT_DATA")):
            aws.shared_client("cloudwatch").set_alarm_state(AlarmName=name, StateValue=state, StateReason="test")
        assert read_alarms(aws.shared_client("cloudwatch"), [firing, quiet, blind]) == {
            firing: "ALARM",
            quiet: "OK",
            blind: "INSUFFICIENT_DATA",
        }

    def test_a_composite_alarm_is_read_too(self, aws: LocalAws) -> None:
        """moto fails at PutCompositeAlarm: what CloudWatch says of one comes from botocore's Stubber."""
        client = aws.client("cloudwatch")
        with Stubber(client) as stub:
            stub.add_response(
                "describe_alarms",
                {"MetricAlarms": [], "CompositeAlarms": [{"AlarmName": "harm", "StateValue": "ALARM"}]},
                {"AlarmNames": ["harm"], "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]},
            )
            assert read_alarms(client, ["harm"]) == {"harm": "ALARM"}

    def test_one_that_does_not_exist_says_so(self, aws: LocalAws) -> None:
        assert read_alarms(aws.shared_client("cloudwatch"), ["nowhere"]) == {"nowhere": "ABSENT"}

    def test_more_than_fit_into_one_call_are_asked_for_in_parts(self, aws: LocalAws) -> None:
        names = create_alarms(aws, 2) + [f"absent-{number}" for number in range(150)]
        states = read_alarms(aws.shared_client("cloudwatch"), [*names[2:], *names[:2]])
        assert len(states) == 152
        assert sum(state == "ABSENT" for state in states.values()) == 150

    def test_none_need_no_call(self, aws: LocalAws) -> None:
        client = aws.client("cloudwatch")
        with Stubber(client):
            assert read_alarms(client, []) == {}

    def test_a_refusal_is_an_error(self, aws: LocalAws) -> None:
        """moto refuses nobody: the refusal comes from botocore's Stubber."""
        client = aws.client("cloudwatch")
        with Stubber(client) as stub:
            stub.add_client_error("describe_alarms", "AccessDenied", "not allowed")
            with pytest.raises(AlarmsUnreadableError, match=r"cannot be asked for alarms: .*AccessDenied"):
                read_alarms(client, ["a"])


class TestTargets:
    def test_registered_targets_are_counted(self, aws: LocalAws) -> None:
        vpc = aws.shared_client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
        group = create_target_group(aws, vpc)
        assert read_targets(aws.shared_client("elbv2"), {"blue": group}) == {"blue": Targets(healthy=0, registered=0)}

    def test_only_healthy_ones_count_as_healthy_and_leaving_ones_not_at_all(self, aws: LocalAws) -> None:
        """moto's targets are always healthy: the states come from botocore's Stubber."""
        client = aws.client("elbv2")
        states = ["healthy", "unhealthy", "initial", "draining", "unavailable", "healthy"]
        with Stubber(client) as stub:
            stub.add_response(
                "describe_target_health",
                {"TargetHealthDescriptions": [{"TargetHealth": {"State": state}} for state in states]},
                {"TargetGroupArn": "arn"},
            )
            assert read_targets(client, {"blue": "arn"}) == {"blue": Targets(healthy=2, registered=5)}

    def test_a_group_that_is_not_there_is_an_error(self, aws: LocalAws) -> None:
        arn = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/none/1"
        with pytest.raises(
            EnvironmentUnreadableError, match=r"the targets of green cannot be read: .*TargetGroupNotFound"
        ):
            read_targets(aws.shared_client("elbv2"), {"green": arn})


class TestServices:
    def create(self, aws: LocalAws) -> tuple[Any, str, str]:
        ecs = aws.shared_client("ecs")
        cluster, service = f"cluster-{uuid4()}", f"service-{uuid4()}"
        ecs.create_cluster(clusterName=cluster)
        ecs.register_task_definition(
            family="payments", containerDefinitions=[{"name": "payments", "image": "x", "memory": 512}]
        )
        ecs.create_service(cluster=cluster, serviceName=service, taskDefinition="payments", desiredCount=3)
        return ecs, cluster, service

    def test_a_service_is_read_by_environment(self, aws: LocalAws) -> None:
        ecs, cluster, service = self.create(aws)
        [found] = read_services(ecs, cluster=cluster, services={"blue": service}).values()
        # moto's first deployment stays under way.
        assert (found.desired, found.deploying) == (3, True)

    def test_a_service_that_was_deleted_does_not_exist(self, aws: LocalAws) -> None:
        ecs, cluster, service = self.create(aws)
        ecs.delete_service(cluster=cluster, service=service, force=True)
        with pytest.raises(EnvironmentUnreadableError, match=f"the service {service} of blue does not exist in"):
            read_services(ecs, cluster=cluster, services={"blue": service})

    def test_a_service_that_never_was_does_not_exist(self, aws: LocalAws) -> None:
        ecs, cluster, _ = self.create(aws)
        with pytest.raises(EnvironmentUnreadableError, match="the service none of green does not exist in"):
            read_services(ecs, cluster=cluster, services={"green": "none"})

    def test_a_cluster_that_is_not_there_is_an_error(self, aws: LocalAws) -> None:
        with pytest.raises(
            EnvironmentUnreadableError, match=r"the services of nowhere cannot be read: .*ClusterNotFound"
        ):
            read_services(aws.shared_client("ecs"), cluster="nowhere", services={"green": "none"})

    @pytest.mark.parametrize(
        ("deployments", "deploying"),
        [
            ([{"rolloutState": "COMPLETED"}], False),
            ([{"rolloutState": "IN_PROGRESS"}], True),
            ([{"rolloutState": "COMPLETED"}, {"rolloutState": "COMPLETED"}], True),
            ([{"rolloutState": "FAILED"}], False),
            ([], False),
        ],
    )
    def test_a_deployment_under_way_is_seen(
        self, aws: LocalAws, deployments: list[dict[str, Any]], deploying: bool
    ) -> None:
        """moto's deployments never progress: their states come from botocore's Stubber."""
        client = aws.client("ecs")
        service = {
            "serviceName": "s",
            "status": "ACTIVE",
            "desiredCount": 2,
            "runningCount": 2,
            "deployments": deployments,
        }
        with Stubber(client) as stub:
            stub.add_response("describe_services", {"services": [service]}, {"cluster": "c", "services": ["s"]})
            assert read_services(client, cluster="c", services={"blue": "s"}) == {
                "blue": Service(desired=2, running=2, deploying=deploying)
            }


class TestTasks:
    def put(self, aws: LocalAws, identifier: str, **values: float) -> None:
        names = {"source": "CDCLatencySource", "target": "CDCLatencyTarget", "failed": "ValidationFailedOverallCount"}
        aws.shared_client("cloudwatch").put_metric_data(
            Namespace="AWS/DMS",
            MetricData=[
                {
                    "MetricName": names[name],
                    "Value": value,
                    "Dimensions": [
                        {"Name": "ReplicationInstanceIdentifier", "Value": "instance"},
                        {"Name": "ReplicationTaskIdentifier", "Value": identifier},
                    ],
                }
                for name, value in values.items()
            ],
        )

    def read(self, aws: LocalAws, *identifiers: str, now: float = 0) -> tuple[Task, ...]:
        return read_tasks(
            aws.dms(),
            aws.shared_client("cloudwatch"),
            instance="instance",
            identifiers=identifiers,
            now=now or time.time() + 60,
        )

    def test_a_task_has_its_status_the_larger_lag_and_what_differs(self, aws: LocalAws) -> None:
        identifier = aws.create_replication_task().rsplit(":", 1)[-1]
        self.put(aws, identifier, source=1.5, target=4.0, failed=2)
        assert self.read(aws, identifier) == (
            Task(identifier=identifier, status="running", lag_seconds=4.0, validation_failures=2),
        )

    def test_half_a_lag_is_no_lag(self, aws: LocalAws) -> None:
        identifier = aws.create_replication_task().rsplit(":", 1)[-1]
        self.put(aws, identifier, source=1.5)
        [task] = self.read(aws, identifier)
        assert task.lag_seconds is None

    def test_what_was_reported_long_ago_does_not_count(self, aws: LocalAws) -> None:
        identifier = aws.create_replication_task().rsplit(":", 1)[-1]
        self.put(aws, identifier, source=1.5, target=4.0, failed=2)
        [task] = self.read(aws, identifier, now=time.time() + 3600)
        assert (task.lag_seconds, task.validation_failures) == (None, None)

    def test_a_task_that_is_not_there_is_absent(self, aws: LocalAws) -> None:
        [task] = self.read(aws, "NOWHERE")
        assert task == Task(identifier="NOWHERE", status="absent", lag_seconds=None, validation_failures=None)

    def test_no_tasks_are_none(self, aws: LocalAws) -> None:
        assert self.read(aws) == ()

    def test_a_refusal_is_an_error(self, aws: LocalAws) -> None:
        """moto refuses nobody: the refusal comes from botocore's Stubber."""
        client = aws.client("dms")
        with Stubber(client) as stub:
            stub.add_client_error("describe_replication_tasks", "AccessDeniedFault", "not allowed")
            with pytest.raises(ReplicationUnreadableError, match=r"cannot be read: .*AccessDeniedFault"):
                read_tasks(client, aws.shared_client("cloudwatch"), instance="i", identifiers=["A"], now=time.time())


class TestRotations:
    def test_a_secret_at_rest_is_not_under_way(self, aws: LocalAws) -> None:
        arn = aws.create_secret({"username": "a"})
        [rotation] = read_rotations(aws.secrets_manager(), [arn])
        assert (rotation.secret, rotation.under_way, rotation.next_at) == (arn, False, None)

    def test_a_pending_version_is_a_rotation_under_way(self, aws: LocalAws) -> None:
        arn = aws.create_secret({"username": "a"})
        aws.begin_rotation(arn)
        [rotation] = read_rotations(aws.secrets_manager(), [arn])
        assert rotation.under_way

    def test_a_pending_version_that_has_become_current_is_a_rotation_that_has_ended(self, aws: LocalAws) -> None:
        arn = aws.create_secret({"username": "a"})
        version = aws.begin_rotation(arn)
        secrets = aws.secrets_manager()
        secrets.put_secret_value(
            SecretId=arn, ClientRequestToken=version, SecretString="{}", VersionStages=["AWSPENDING", "AWSCURRENT"]
        )
        [rotation] = read_rotations(secrets, [arn])
        assert not rotation.under_way

    def test_a_secret_that_is_not_there_is_an_error(self, aws: LocalAws) -> None:
        with pytest.raises(RotationUnreadableError, match=r"secret nowhere cannot be described: .*ResourceNotFound"):
            read_rotations(aws.secrets_manager(), ["nowhere"])


COLUMN = ("column", "payments", "amount", "3", "decimal(12,2)", "NO", "None", "")


class TestSchemas:
    def test_equal_schemas_have_no_difference(self) -> None:
        assert differences({"blue": frozenset({COLUMN}), "green": frozenset({COLUMN})}) == ()

    def test_what_one_alone_has_is_named(self) -> None:
        key = ("key", "payments", "PRIMARY", "1", "id", "0")
        assert differences({"blue": frozenset({COLUMN, key}), "green": frozenset({COLUMN})}) == (
            "blue alone has key payments.PRIMARY (1, id, 0)",
        )

    def test_a_column_of_another_type_is_named_on_both_sides(self) -> None:
        other = (*COLUMN[:4], "decimal(14,2)", *COLUMN[5:])
        assert len(differences({"blue": frozenset({COLUMN}), "green": frozenset({other})})) == 2

    def test_two_empty_schemas_are_not_alike_but_suspicious(self) -> None:
        assert differences({"blue": frozenset(), "green": frozenset()}) == (
            "blue has no table",
            "green has no table",
        )

    def test_no_databases_have_no_difference(self) -> None:
        assert differences({}) == ()
