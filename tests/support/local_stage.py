"""The deployed local stage as a test drives it: begin a cutover, wait for it, give an order, look at what is true."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql

from cutover_state.journal import Entry, Journal
from cutover_state.run import Phase, Run, RunConflictError, RunStore
from database_access.credentials import DatabaseSecret
from rehearsal.local_aws import LocalCloud
from tests.support.local_metrics import LocalMetrics

PATIENCE_SECONDS = 120.0
TARGETS = 3
ACCOUNT_LOCKED = 4151
POLL_SECONDS = 15


class LocalStage:
    """Attributes:
    assembly: what was deployed first.
    metrics: what CloudWatch hears.
    """

    def __init__(self, cloud: LocalCloud, assembly: Path) -> None:
        self.cloud = cloud
        self.assembly = assembly
        self.metrics = LocalMetrics(cloud)
        self._dynamodb = cloud.client("dynamodb")
        self._number = 0

    def register_targets(self) -> None:
        for arn in self.cloud.target_groups.values():
            self.cloud.client("elbv2").register_targets(
                TargetGroupArn=arn, Targets=[{"Id": f"10.22.0.{number}", "Port": 8443} for number in range(TARGETS)]
            )

    # A cutover.

    def begin(self, source: str, target: str, *steps: Mapping[str, Any], poll: int = POLL_SECONDS) -> str:
        """Start the state machine once nothing speaks against the cutover; the cutover's id.

        Args:
            poll: seconds of the clock between two looks.
        """
        document = {"from": source, "to": target, "steps": list(steps)}
        request = {"from": source, "to": target, "requested_by": "ada", "plan": document}
        self.wait_until(lambda: not self._reasons(request), lambda: f"preflight: {self._reasons(request)}")
        self._number += 1
        name = f"cutover-{self._number}"
        self.cloud.client("stepfunctions").start_execution(
            stateMachineArn=self.cloud.state_machine_arn,
            name=name,
            input=json.dumps({**request, "poll_seconds": poll, "settle_seconds": 0}),
        )
        self.wait_until(lambda: self.run is not None and self.run.cutover_id == name, lambda: f"{name} did not begin")
        return name

    def _reasons(self, request: Mapping[str, Any]) -> Sequence[str]:
        reasons: Sequence[str] = self.cloud.invoke("preflight", {**request, "dry_run": True})["reasons"]
        return reasons

    @property
    def run(self) -> Run | None:
        return RunStore(self._dynamodb, table_name=self.cloud.state_table_name).read()

    @property
    def now(self) -> Run:
        run = self.run
        assert run is not None
        return run

    def wait_for_phase(self, phase: Phase) -> None:
        def reached() -> bool:
            found = self.now.phase
            assert found is phase or not found.is_over, f"not {phase.value} but {self.story()}"
            return found is phase

        self.wait_until(reached, lambda: f"not {phase.value} but {self.story()}")

    def wait_for_gate(self) -> None:
        self.wait_until(lambda: self.now.position.get("phase") == "gate", lambda: f"at no gate but {self.story()}")

    def wait_for_look(self) -> None:
        """Until the controller has just looked."""
        looks = self.now.looks
        self.wait_until(lambda: self.now.looks > looks, lambda: f"nobody looks: {self.story()}")

    def fire(self, name: str) -> None:
        """Put the alarm that has ``name`` in its name into ALARM, as a metric beyond its threshold does."""
        cloudwatch = self.cloud.client("cloudwatch")
        [alarm] = [
            alarm["AlarmName"]
            for page in cloudwatch.get_paginator("describe_alarms").paginate(AlarmTypes=["MetricAlarm"])
            for alarm in page["MetricAlarms"]
            if name in alarm["AlarmName"]
        ]
        cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a test")

    def order(self, kind: str) -> None:
        """What the operators' command line writes."""
        runs = RunStore(self._dynamodb, table_name=self.cloud.state_table_name)
        while True:
            found = self.now
            order = {"kind": kind, "step": found.position["step"], "actor": "ada", "automatic": False}
            with suppress(RunConflictError):
                runs.write(replace(found, order=order))
                return

    def journal(self) -> Sequence[Entry]:
        """Of the cutover under way."""
        table = self.cloud.state_table_name
        return tuple(Journal(self._dynamodb, table_name=table, cutover_id=self.now.cutover_id, who="test").entries())

    def story(self) -> str:
        """Where the cutover is, and its journal."""
        run = self.now
        lines = [f"{run.phase.value}, {run.reason}, {run.position}"]
        return "\n".join([*lines, *(f"{entry.what}: {entry.why}" for entry in self.journal())])

    def drifts(self) -> Sequence[str]:
        """What the reconciler put right during the cutover."""
        return [entry.why for entry in self.journal() if entry.what == "drift put right"]

    # What is true.

    @property
    def writer(self) -> str | None:
        """The only database that admits the application, asked by logging in; None when it is not one."""
        admitting = [name for name in self.cloud.databases.names if self.admits(name)]
        return admitting[0] if len(admitting) == 1 else None

    def admits(self, name: str) -> bool:
        """Whether the database lets the payment service in with its secret."""
        text = self.cloud.client("secretsmanager").get_secret_value(SecretId=self.cloud.application_secret_arns[name])[
            "SecretString"
        ]
        secret = DatabaseSecret.parse(text, name=name, pair=True)
        server = self.cloud.databases[name]
        assert (secret.host, secret.port) == (server.host, server.port)
        try:
            server.connect(user=secret.username, password=secret.password).close()
        except pymysql.MySQLError as error:
            if error.args[0] == ACCOUNT_LOCKED:
                return False
            raise
        return True

    def checksums(self) -> Mapping[tuple[str, str], int]:
        """Of every table of payments and of the bootstrap's record, by database and table."""
        tables = [f"payments.{table}" for table in ("payments", "ledger_entries", "balances")]
        return {
            (server.name, row["Table"]): row["Checksum"]
            for server in self.cloud.databases
            for row in server.query(f"CHECKSUM TABLE {', '.join([*tables, 'blue_green_control.bootstrap'])}")
        }

    def records(self) -> Mapping[str, int]:
        """Weights of the DNS records, by their set identifier."""
        sets = self.cloud.client("route53").list_resource_record_sets(HostedZoneId=self.cloud.hosted_zone_id)
        return {each["SetIdentifier"]: each["Weight"] for each in sets["ResourceRecordSets"] if "SetIdentifier" in each}

    def status(self) -> str:
        [stack] = self.cloud.client("cloudformation").describe_stacks(StackName=self.cloud.stack_name)["Stacks"]
        return str(stack["StackStatus"])

    def wait_until(self, done: Callable[[], bool], otherwise: Callable[[], str]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not done():
            assert time.monotonic() < deadline, otherwise()
            time.sleep(0.2)


def step(weight: int, *, watch: int = 60, **more: Any) -> dict[str, Any]:
    """A step of a plan that is watched for a minute of the clock, and for an hour at most."""
    return {"weight_percent": weight, "watch_seconds": watch, "deadline_seconds": watch + 3600, **more}


def project_with(folder: Path, change: Callable[[dict[str, Any]], None], *, project: Path) -> Path:
    """A folder with a cdk.json in which ``change`` has changed the stage ``local``."""
    document = json.loads((project / "cdk.json").read_text("utf-8"))
    document["app"] = f"python3 {project / 'app.py'}"
    change(document["context"]["stages"]["local"])
    folder.mkdir()
    (folder / "cdk.json").write_text(json.dumps(document), "utf-8")
    return folder


def edited(assembly: Path, target: Path, edits: Mapping[str, Callable[[dict[str, Any]], None]]) -> Path:
    """A copy of an assembly with templates changed.

    Args:
        edits: changes of a template by a part of its file's name; the root template's is its whole name.
    """
    shutil.copytree(assembly, target)
    [assets] = target.glob("*.assets.json")
    root = f"{assets.name.partition('.')[0]}.template.json"
    # The root template last: it names the others, which get new names here.
    for part in sorted({*edits, root}, key=root.startswith):
        files = json.loads(assets.read_text("utf-8"))["files"]
        [(name, path)] = [
            (name, target / asset["source"]["path"])
            for name, asset in files.items()
            if part in asset["source"]["path"] and asset["source"]["path"].endswith(".template.json")
        ]
        template = json.loads(path.read_text("utf-8"))
        if part in edits:
            edits[part](template)
        path.write_text(json.dumps(template), "utf-8")
        # Under its old name it counts as uploaded.
        renamed = hashlib.sha256(path.read_bytes()).hexdigest()
        for each in target.glob("*.json"):
            each.write_text(each.read_text("utf-8").replace(name, renamed), "utf-8")
    return target


def last(template: dict[str, Any], name: str, resource: Mapping[str, Any]) -> None:
    """Add a resource to the root template that is made after every nested stack."""
    nested = [each for each, found in template["Resources"].items() if found["Type"] == "AWS::CloudFormation::Stack"]
    template["Resources"][name] = {**resource, "DependsOn": nested}
