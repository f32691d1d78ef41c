"""Deploy a stage without undoing a shift: ``make deploy STAGE=prod``.

A change set is prepared and looked at, nested stacks included, and executed only when it leaves alone what a cutover
moves and what replicates.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess  # nosec: it runs the CDK command line of this project
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TextIO

PROJECT: Final = Path(__file__).resolve().parents[1]

# constructs/ and lambda/ are source roots, not packages.
sys.path[1:1] = [str(PROJECT / "constructs"), str(PROJECT / "lambda")]

import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402

from cutover_state.lease import LeaseTakenError  # noqa: E402
from ops.deployment_aws import Aws, DeploymentError, command  # noqa: E402
from ops.deployment_decision import Decision, Obstacle, Options, cutover_obstacles, decide  # noqa: E402

DEPLOYED, REFUSED, BAD_INPUT, FAILED = 0, 1, 2, 3

LONGEST_CALL_SECONDS: Final = 330
"""The replication control may take five minutes."""

EPILOG = """\
exit codes:
  0  deployed, or nothing to deploy
  1  refused: a cutover runs, or the change set touches routing or a running replication task; nothing was changed
  2  bad input
  3  AWS or the CDK failed; what was changed is said above
"""


@dataclass(frozen=True, kw_only=True)
class Result:
    """How it ended.

    Attributes:
        outcome: ``deployed``, ``nothing to deploy``, ``refused`` or ``failed``.
        problems: what failed, one sentence each.
    """

    outcome: str
    obstacles: tuple[Obstacle, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """See the help."""
        return {"refused": REFUSED, "failed": FAILED}.get(self.outcome, DEPLOYED)

    def document(self, *, stack: str) -> dict[str, Any]:
        """The result as JSON has it."""
        return {
            "stack": stack,
            "outcome": self.outcome,
            "obstacles": [{"what": each.what, "remedy": each.remedy} for each in self.obstacles],
            "problems": list(self.problems),
        }


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One guarded deployment.

    Attributes:
        aws: the stage.
        prepare: has the CDK make the change set of this name, without executing it; false when it failed.
        confirm: asks the operator to type the name of the stack, after the line that it is given.
        now: epoch seconds.
    """

    aws: Aws
    options: Options
    prepare: Callable[[str], bool]
    confirm: Callable[[str], bool]
    now: Callable[[], float] = time.time

    def run(self) -> Result:
        """Deploy, or say why not."""
        try:
            return self._run()
        except DeploymentError as error:
            return Result(outcome="failed", problems=(str(error),))

    def _run(self) -> Result:
        status = self.aws.stack_status()
        if status is not None and status.endswith("_IN_PROGRESS"):
            busy = Obstacle(what=f"{self.aws.stack} is {status}", remedy="wait for the other deployment to end")
            return Result(outcome="refused", obstacles=(busy,))
        first = status is None
        if not first and (obstacles := self._cutover()):
            return Result(outcome="refused", obstacles=obstacles)
        change_set = f"deploy-guard-{int(self.now())}"
        if not self.prepare(change_set):
            return Result(outcome="failed", problems=("the CDK could not prepare the change set",))
        changes = self.aws.changes(change_set)
        if changes is None:
            return Result(outcome="nothing to deploy")
        decision = Decision()
        if not first:
            decision = decide(changes, task_statuses=self.aws.task_statuses(), options=self.options)
            obstacles = decision.obstacles or self._unconfirmed(decision)
            # Once more: the change set took minutes.
            if obstacles := (*obstacles, *self._cutover()):
                self.aws.delete_change_set(change_set)
                return Result(outcome="refused", obstacles=obstacles)
            try:
                held = self.aws.hold(change_set)
            except LeaseTakenError as error:
                self.aws.delete_change_set(change_set)
                begun = Obstacle(what=str(error), remedy="deploy when it has been given up")
                return Result(outcome="refused", obstacles=(begun,))
            try:
                return replace(self, aws=held)._execute(change_set, decision)
            finally:
                held.release()
        return self._execute(change_set, decision)

    def _cutover(self) -> tuple[Obstacle, ...]:
        run, lease = self.aws.cutover()
        return cutover_obstacles(run, lease, now=self.now())

    def _unconfirmed(self, decision: Decision) -> tuple[Obstacle, ...]:
        if not decision.sends_levers or self.confirm(
            f"Live weights go back to those of the creation until the reconciler has run. To go on, type "
            f"{self.aws.stack}: "
        ):
            return ()
        return (Obstacle(what="--allow-routing was not confirmed", remedy=f"type {self.aws.stack} when asked"),)

    def _execute(self, change_set: str, decision: Decision) -> Result:
        problems: list[str] = []
        stopping = decision.stops_tasks
        try:
            if stopping:
                self.aws.replicate("stop")
            self.aws.execute(change_set)
        except DeploymentError as error:
            problems.append(str(error))
        except KeyboardInterrupt:
            problems.append("interrupted, and AWS deploys on")
            # A task that runs again too early would make the deployment fail.
            problems.extend(self._afterwards(self.aws.settle, "Look at the stack"))
        finally:
            if decision.sends_levers:
                problems.extend(self._afterwards(self.aws.reconcile, "It runs again within a minute"))
            if stopping:
                resume = "Resume the replication yourself: call the replication control with the action start"
                problems.extend(self._afterwards(lambda: self.aws.replicate("start"), resume))
        return Result(outcome="failed" if problems else "deployed", problems=tuple(problems))

    def _afterwards(self, do: Callable[[], object], otherwise: str) -> tuple[str, ...]:
        try:
            do()
        except DeploymentError as error:
            return (f"{error}. {otherwise}",)
        return ()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="make deploy",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--stage", help="stage of cdk.json; the default one when left out")
    made.add_argument(
        "--stop-tasks",
        action="store_true",
        help="stop the replication tasks when the change set touches one that runs, and resume them afterwards, "
        "also when the deployment fails",
    )
    made.add_argument(
        "--allow-routing",
        action="store_true",
        help="deploy although live weights are sent again, after a typed confirmation; the reconciler runs afterwards",
    )
    made.add_argument("--json", action="store_true", help="the result as JSON on standard output")
    made.add_argument("--revert-drift", action="store_true", help=argparse.SUPPRESS)
    return made


def main(words: Sequence[str] | None = None, *, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """Deploy the stage that the command line names; the exit code."""
    out, err = out or sys.stdout, err or sys.stderr
    arguments = parser().parse_args(words)

    def tell(line: str) -> None:
        print(line, file=err, flush=True)

    if arguments.revert_drift:
        tell("Refused. --revert-drift would put live weights back to those of the creation: the reconciler keeps them")
        return REFUSED
    try:
        stage, stack, path, region = read_stage(PROJECT, arguments.stage)
    except ValueError as error:
        tell(f"The configuration in cdk.json has mistakes:\n{error}")
        return BAD_INPUT
    session = boto3.Session(region_name=region)

    def client(service: str) -> Any:
        return session.client(  # type: ignore[call-overload]  # any service
            service,
            config=Config(
                retries={"mode": "standard", "max_attempts": 5},
                # The client must not give up, and call again, before the function has ended.
                read_timeout=LONGEST_CALL_SECONDS,
            ),
        )

    def confirm(question: str) -> bool:
        tell(question)
        try:
            return input() == stack
        except EOFError:
            return False

    result = Deployment(
        aws=Aws(client=client, stack=stack, path=path, tell=tell),
        options=Options(stop_tasks=arguments.stop_tasks, allow_routing=arguments.allow_routing),
        prepare=lambda name: prepare(command([cdk()], stage=stage, stack=stack, change_set=name)),
        confirm=confirm,
    ).run()
    show(result, stack=stack, as_json=arguments.json, out=out, err=err)
    return result.exit_code


def read_stage(project: Path, name: str | None) -> tuple[str, str, str, str]:
    """Name, root stack, path of the parameters and region of a stage of ``cdk.json``.

    Raises:
        ValueError: the configuration has mistakes, or there is no such stage.
    """
    from stacks import context
    from stacks.config import ConfigurationError

    try:
        given: Mapping[str, Any] = json.loads((project / "cdk.json").read_text())["context"]
        config = context.load({"stage": name or given.get("stage"), "stages": given.get("stages")})
    except (ConfigurationError, OSError, KeyError) as error:
        raise ValueError(str(error)) from None
    return config.name, config.prefix, config.parameter_path, config.region


def cdk() -> str:
    """The CDK command line of the project."""
    return str(PROJECT / "node_modules" / ".bin" / "cdk")


def prepare(words: Sequence[str]) -> bool:
    """Run the CDK; its output goes to standard error, so that standard output keeps the result only."""
    return subprocess.run(words, cwd=PROJECT, stdout=sys.stderr, env=dict(os.environ)).returncode == 0  # noqa: S603


def show(result: Result, *, stack: str, as_json: bool, out: TextIO, err: TextIO) -> None:
    """Say how it ended: one line for each obstacle."""
    if as_json:
        print(json.dumps(result.document(stack=stack), indent=2), file=out)
        return
    for obstacle in result.obstacles:
        print(f"- {obstacle.sentence}", file=err)
    for problem in result.problems:
        print(f"- {problem}", file=err)
    print(f"{stack}: {result.outcome}", file=out)


if __name__ == "__main__":
    sys.exit(main())
