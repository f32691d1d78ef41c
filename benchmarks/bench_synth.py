"""How long a synthesis takes, as a ratio to that of an empty CDK app in the same run.

Both are started through the CDK command line, in turn, so that what else the machine does falls on both. A clock
alone would compare machines; the ratio compares what this project adds to what every CDK app in Python pays. The
ratio of processor time stands beside it: it is steadier on a machine that does other things too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
CDK = PROJECT / "node_modules" / ".bin" / "cdk"

GOAL = 2.5
"""Ratio to the empty app that is to be reached."""

EMPTY_APP = """\
import aws_cdk as cdk

app = cdk.App()
cdk.CfnWaitConditionHandle(cdk.Stack(app, "Empty"), "Nothing")
app.synth()
"""
"""One resource that is nothing: without any, the built-in validation refuses the template instead of looking at it."""

PHASES = """\
import json, os, sys, time
start = time.perf_counter()
marks = []
def mark(name):
    marks.append((name, time.perf_counter()))
sys.path[:0] = [os.getcwd(), os.path.join(os.getcwd(), "constructs")]
import aws_cdk as cdk
from stacks.context import load
from stacks.root import PaymentsStack
if WITH_PACKS:
    from policy.packs import add_packs
mark("import of libraries and stacks")
app = cdk.App()
config = load({key: app.node.try_get_context(key) for key in ("stage", "stages")})
PaymentsStack(app, config.prefix, config=config)
mark("construct tree")
if WITH_PACKS:
    add_packs(app)
try:
    app.synth()
finally:
    mark("synthesis")
    print(json.dumps([[name, end] for name, end in marks] + [["start", start]]), file=sys.stderr)
"""
"""What ``app.py`` does, with the time at which each part ends."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One command that ran.

    Attributes:
        seconds: wall clock.
        processor_seconds: of all its processes.
        peak_mib: largest sum of the resident memory of its processes, in MiB, pages that they share counted in each;
            0 where it was not watched.
    """

    seconds: float
    processor_seconds: float
    peak_mib: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Several runs of one command.

    Attributes:
        median_seconds: their median.
        lowest_seconds: the fastest.
        highest_seconds: the slowest.
        processor_seconds: median of the processor time.
        peak_mib: peak memory of a run that was watched.
    """

    median_seconds: float
    lowest_seconds: float
    highest_seconds: float
    processor_seconds: float
    peak_mib: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the benchmark found.

    Attributes:
        ratio: median over the pairs of this project's time to the empty app's.
        lowest_ratio: smallest ratio of a pair.
        highest_ratio: largest ratio of a pair.
        processor_ratio: median ratio of the processor time.
        goal: the ratio that is to be reached.
        project: this project.
        empty: the empty app.
        parts: seconds of what dominates, by name.
        machine: where it ran.
        date: when, UTC.
        runs: pairs that were measured.
    """

    ratio: float
    lowest_ratio: float
    highest_ratio: float
    processor_ratio: float
    goal: float
    project: Summary
    empty: Summary
    parts: Mapping[str, float]
    machine: str
    date: str
    runs: int

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.ratio <= self.goal


class CommandError(Exception):
    """A measured command failed; the message is the end of what it said."""


def run(command: Sequence[str], folder: Path, *, environment: Mapping[str, str], watched: bool = False) -> Sample:
    """Run ``command`` in ``folder`` and measure it.

    Args:
        watched: sample the memory of its processes every 50 ms; that costs time, so such a run is not for the clock.

    Raises:
        CommandError: it did not exit with 0.
    """
    start, before = time.perf_counter(), _processor_seconds()
    process = subprocess.Popen(
        command, cwd=folder, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    watch = _Watch(process.pid) if watched else None
    output, _ = process.communicate()
    seconds = time.perf_counter() - start
    if process.returncode:
        raise CommandError(f"{' '.join(command)} ended with {process.returncode}:\n{output[-2000:]}")
    return Sample(
        seconds=seconds,
        processor_seconds=_processor_seconds() - before,
        peak_mib=watch.stop() if watch else 0.0,
    )


def _processor_seconds() -> float:
    """Processor time of every process of ours that has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Watch:
    """Samples the resident memory of a process and all that it started, from /proc."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """End the watch; the peak in MiB."""
        self._ended.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._ended.wait(0.05):
            self._peak = max(self._peak, sum(_resident_mib(pid) for pid in _family(self._pid)))


def _family(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [pid, *(each for child in children for each in _family(child))]


def _resident_mib(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def median_ratio(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Median, smallest and largest ratio of the first to the second of each pair."""
    ratios = [ours / empty for ours, empty in pairs]
    return statistics.median(ratios), min(ratios), max(ratios)


def measure(runs: int, tell: Progress) -> Result:
    """Measure ``runs`` pairs, and then the parts of a synthesis.

    Raises:
        CommandError: a synthesis failed.
    """
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    environment |= {"CDK_DISABLE_VERSION_CHECK": "1", "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1"}
    environment.pop("CDK_VALIDATION", None)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        empty_app = scratch / "empty"
        empty_app.mkdir()
        (empty_app / "app.py").write_text(EMPTY_APP)
        (empty_app / "cdk.json").write_text(json.dumps(_empty_configuration()))

        def synthesize(folder: Path, *, watched: bool = False) -> Sample:
            command = [str(CDK), "synth", "--quiet", "--output", str(scratch / f"out-{folder.name}")]
            return run(command, folder, environment=environment, watched=watched)

        tell("first runs, which fill caches and tell the memory")
        peaks = {folder: synthesize(folder, watched=True).peak_mib for folder in (PROJECT, empty_app)}
        samples: dict[Path, list[Sample]] = {PROJECT: [], empty_app: []}
        for number in range(1, runs + 1):
            # The order changes from pair to pair, so that neither always follows the other.
            for folder in (PROJECT, empty_app) if number % 2 else (empty_app, PROJECT):
                samples[folder].append(synthesize(folder))
            ours, empty = samples[PROJECT][-1].seconds, samples[empty_app][-1].seconds
            tell(f"pair {number} of {runs}: {ours:.1f} s to {empty:.1f} s, {ours / empty:.2f}")
        tell("parts")
        parts = _parts(scratch, environment, min(runs, 3))
    pairs = list(zip(samples[PROJECT], samples[empty_app], strict=True))
    ratio, lowest, highest = median_ratio([(ours.seconds, empty.seconds) for ours, empty in pairs])
    processor_ratio, _, _ = median_ratio([(ours.processor_seconds, empty.processor_seconds) for ours, empty in pairs])
    return Result(
        ratio=ratio,
        lowest_ratio=lowest,
        highest_ratio=highest,
        processor_ratio=processor_ratio,
        goal=GOAL,
        project=_summary(samples[PROJECT], peaks[PROJECT]),
        empty=_summary(samples[empty_app], peaks[empty_app]),
        parts=parts,
        machine=_machine(),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        runs=runs,
    )


def _empty_configuration() -> dict[str, object]:
    """``cdk.json`` of the empty app, with the feature flags of this project."""
    context = json.loads((PROJECT / "cdk.json").read_text())["context"]
    flags = {key: value for key, value in context.items() if key.startswith("@")}
    return {"app": "python3 app.py", "versionReporting": False, "context": flags}


def _summary(samples: Sequence[Sample], peak_mib: float) -> Summary:
    seconds = [sample.seconds for sample in samples]
    return Summary(
        median_seconds=statistics.median(seconds),
        lowest_seconds=min(seconds),
        highest_seconds=max(seconds),
        processor_seconds=statistics.median(sample.processor_seconds for sample in samples),
        peak_mib=peak_mib,
    )


def _parts(scratch: Path, environment: Mapping[str, str], runs: int) -> dict[str, float]:
    """Seconds of each part of ``app.py``: medians; packs and validation are differences of runs with and without."""
    context = json.loads((PROJECT / "cdk.json").read_text())["context"]
    # As the command line hands them over; it adds where resources and assets come from.
    context |= {"aws:cdk:enable-path-metadata": True, "aws:cdk:enable-asset-metadata": True}
    given = {**environment, "CDK_CONTEXT_JSON": json.dumps(context), "CDK_OUTDIR": str(scratch / "out-parts")}
    whole = _phases(given, runs, packs=True)
    without_validation = _phases({**given, "CDK_VALIDATION": "false"}, runs, packs=True)
    bare = _phases({**given, "CDK_VALIDATION": "false"}, runs, packs=False)
    validation = whole["synthesis"] - without_validation["synthesis"]
    packs = without_validation["synthesis"] - bare["synthesis"]
    return {
        **whole,
        "of which synthesis: templates and assets": bare["synthesis"],
        "of which synthesis: policy packs": packs,
        "of which synthesis: built-in validation": validation,
    }


def _phases(environment: Mapping[str, str], runs: int, *, packs: bool) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, "-c", f"WITH_PACKS = {packs}\n{PHASES}"],
            cwd=PROJECT,
            env=dict(environment),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CommandError(f"the measured app ended with {done.returncode}:\n{done.stderr[-2000:]}")
        marks = json.loads(next(line for line in reversed(done.stderr.splitlines()) if line.startswith("[[")))
        before = marks.pop()[1]
        for part, end in marks:
            found.setdefault(part, []).append(end - before)
            before = end
    return {part: statistics.median(seconds) for part, seconds in found.items()}


def _machine() -> str:
    node = subprocess.run(
        [str(Path(sys.executable).parent / "node"), "--version"], capture_output=True, text=True, check=False
    ).stdout.strip()
    versions = f"Python {platform.python_version()}, Node {node}"
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {versions}"


class Progress:
    """Tells on standard error how far the benchmark is."""

    def __call__(self, text: str) -> None:
        """Say ``text``."""
        print(text, file=sys.stderr, flush=True)


def report(result: Result) -> str:
    """The result as a person reads it."""
    verdict = "met" if result.met else "not met"
    lines = [
        f"Synthesis of the default stage with all packs, {result.runs} pairs, {result.date}",
        result.machine,
        "",
        f"{'':18}   median  fastest  slowest processor  peak memory",
    ]
    for name, summary in (("this project", result.project), ("empty CDK app", result.empty)):
        times = (summary.median_seconds, summary.lowest_seconds, summary.highest_seconds, summary.processor_seconds)
        lines.append(f"{name:18}{''.join(f'{seconds:7.1f} s' for seconds in times)} {summary.peak_mib:9.0f} MiB")
    lines += [
        "",
        f"ratio {result.ratio:.2f} (from {result.lowest_ratio:.2f} to {result.highest_ratio:.2f}), "
        f"of processor time {result.processor_ratio:.2f}; goal {result.goal}: {verdict}",
        "",
        "what takes the time:",
    ]
    lines += [f"  {seconds:5.2f} s  {part}" for part, seconds in result.parts.items()]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 also when the goal is not met, 1 when a synthesis failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_synth", description=__doc__)
    parser.add_argument("--runs", type=_positive, default=7, metavar="N", help="pairs to measure (default 7)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)
    if not CDK.is_file():
        print(f"{CDK} does not exist; run `make setup` first", file=sys.stderr)
        return 1
    try:
        result = measure(options.runs, Progress())
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({**asdict(result), "met": result.met}, indent=2) if options.json else report(result))
    return 0


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
