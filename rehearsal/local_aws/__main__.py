"""Deploy the stage ``local`` on this machine, leave it running, and end it: ``make deploy-local``.

A process in the background holds the database servers and the local AWS; ``deploy`` starts it and shows what it does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from rehearsal.databases import DatabaseChain, DatabasesUnavailableError, ServerError
from rehearsal.local_aws.cdk import PROJECT, Cdk, CdkError
from rehearsal.local_aws.cloud import DATABASES, STAGE, DeployedStage, FunctionError, LocalCloud
from rehearsal.local_aws.processes import ProcessError
from rehearsal.local_aws.state_file import STATE, BusyError, State, StateFileError, held, runner

DONE, FAILED, BAD_INPUT = 0, 1, 2
FOLDER: Final = PROJECT / ".local"
LOG: Final = "local.log"
STOP_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
_LOCAL_FAILURES: Final = (
    BusyError,
    CdkError,
    DatabasesUnavailableError,
    FunctionError,
    ProcessError,
    ServerError,
    StateFileError,
)

EPILOG = """\
exit codes:
  0  done
  1  it failed; the reason is said above, and nothing is left running that was not before
  2  bad input
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit code."""
    options = _parser().parse_args(arguments)
    folder: Path = options.folder.resolve()
    try:
        return {"deploy": _deploy, "destroy": _destroy, "status": _status, "serve": _serve}[options.command](
            folder, options
        )
    except _LOCAL_FAILURES as error:
        print(f"\n{error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal.local_aws",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("deploy", "destroy", "status", "serve"), metavar="deploy|destroy|status")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where it keeps what it writes (default: .local)")
    parser.add_argument(
        "--wait-scale",
        type=_scale,
        default=1.0,
        metavar="SHARE",
        help="waits of the state machine take this share of their time, above 0 and at most 1 (default: 1)",
    )
    return parser


def _scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and at most 1, got {text!r}")
    return value


def _deploy(folder: Path, options: argparse.Namespace) -> int:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if runner(folder) is not None:
        return _deploy_again(folder)
    for left in (folder / STATE, folder / LOG):
        left.unlink(missing_ok=True)
    log = folder / LOG
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - this program
            [
                *(sys.executable, "-m", "rehearsal.local_aws", "serve"),
                *("--folder", str(folder), "--wait-scale", f"{options.wait_scale:g}"),
            ],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _show_until(log, lambda: (folder / STATE).exists() or process.poll() is not None)
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
        raise StateFileError("interrupted; everything that was started has ended") from None
    if not (folder / STATE).exists():
        return FAILED
    _tell_outputs(State.read(folder))
    return DONE


def _show_until(log: Path, ended: Callable[[], bool]) -> None:
    """Print what is written to the log, until ``ended`` says so and all of it was printed."""
    with log.open(encoding="utf-8", errors="replace") as lines:
        while True:
            last = ended()
            for line in lines:
                print(line, end="", flush=True)
            if last:
                return
            time.sleep(_POLL_SECONDS)


def _deploy_again(folder: Path) -> int:
    state = State.read(folder)
    cdk = Cdk(environment=state.environment, folder=folder, tell=_say)
    changed = cdk.deploy(cdk.synthesize(project=PROJECT, stage=STAGE), state.stack_name)
    print(f"\n{state.stack_name} was {'updated' if changed else 'deployed already; nothing to update'}.")
    return DONE


def _destroy(folder: Path, _: argparse.Namespace) -> int:
    process_id = runner(folder)
    if process_id is None:
        print("No local stage runs.")
    else:
        os.kill(process_id, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while runner(folder) is not None:
            if time.monotonic() > deadline:
                # What it started ends with it: each has a pipe to it, and ends when that closes.
                os.kill(process_id, signal.SIGKILL)
                deadline = time.monotonic() + STOP_SECONDS
            time.sleep(_POLL_SECONDS)
        print("The local stage has ended: databases, local AWS and functions.")
    shutil.rmtree(folder, ignore_errors=True)
    return DONE


def _status(folder: Path, _: argparse.Namespace) -> int:
    state = State.read(folder)
    stage = DeployedStage(state.environment, state.stack_name, state.parameter_path)
    [stack] = stage.client("cloudformation").describe_stacks(StackName=state.stack_name)["Stacks"]
    print(f"{state.stack_name} is {stack['StackStatus']}, weights {dict(stage.weights())}.")
    writer = stage.invoke("writer-switch", {"operation": "find_writer"})
    print(f"The writer is {writer['writer'] or 'not known'}.")
    _tell_outputs(state)
    return DONE


def _tell_outputs(state: State) -> None:
    print("\nOutputs:")
    for name, value in sorted(state.outputs.items()):
        print(f"  {name:24} {value}")
    print("\nServers:")
    print(f"  {'local AWS':24} {state.environment['AWS_ENDPOINT_URL']}")
    for name, address in state.databases.items():
        print(f"  {name + ' database':24} {address}")
    print("\nSimulated: in the stack, and without effect here:")
    for kind in state.simulated:
        print(f"  {kind}")
    print("\nIt runs until `make destroy-local`. docs/local-aws.md says how to use it.")


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


class _StoppedError(BaseException):
    """Somebody asked for the end; not an Exception, so that nothing takes it for a failure."""


def _serve(folder: Path, options: argparse.Namespace) -> int:
    """Run in the background until terminated."""

    def stop(_: int, __: FrameType | None) -> None:
        raise _StoppedError

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        with held(folder):
            _say("starting three database servers")
            with (
                DatabaseChain.start(DATABASES, folder=None) as databases,
                LocalCloud(databases, folder, _say, options.wait_scale) as cloud,
            ):
                cloud.start()
                cloud.deploy()
                _say("starting the replication tasks")
                cloud.start_replication()
                _state_of(cloud).write(folder)
                while True:
                    signal.pause()
    except _StoppedError:
        return DONE


def _state_of(cloud: LocalCloud) -> State:
    return State(
        environment=dict(cloud.environment),
        outputs=dict(cloud.outputs),
        process_ids=[os.getpid(), *cloud.process_ids],
        stack_name=cloud.stack_name,
        parameter_path=cloud.parameter_path,
        simulated=list(cloud.simulated),
        databases={server.name: f"{server.host}:{server.port}" for server in cloud.databases},
        ca_path=str(cloud.databases.ca_path),
    )


if __name__ == "__main__":
    sys.exit(main())
