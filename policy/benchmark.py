"""What the pack costs: of a synthesis, and against asking the CDK for each resource across the language bridge.

Each measurement is one synthesis of the app of `app.py` in a process of its own, the kinds alternating, so that the
machine's other work falls on all of them alike.
"""

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

PROJECT: Final = Path(__file__).resolve().parents[1]
TIME_LINE: Final = re.compile(r"^bench (\w+) ([0-9.]+)$", re.MULTILINE)

CHILD: Final = """
import runpy, sys, time
started = time.perf_counter()
import policy.benchmark
policy.benchmark.install(sys.argv[1])
try:
    runpy.run_path("app.py", run_name="__main__")
finally:
    print(f"bench total {time.perf_counter() - started:.4f}")
"""


def install(kind: str) -> None:
    """Replace what the app adds as packs: "none", "pack" (ours), or "bridge" (one visit per resource)."""
    import aws_cdk as cdk

    started = time.perf_counter()
    from policy.plugin import PciDss401Checks

    print(f"bench import {time.perf_counter() - started:.4f}")
    import policy.packs

    def add_packs(app: cdk.App) -> None:
        if kind == "pack":
            cdk.Validations.of(app).add_plugins(_timed(PciDss401Checks()))
        elif kind == "bridge":
            cdk.Validations.of(app).add_plugins(_timed(_bridge_plugin()))

    policy.packs.add_packs = add_packs


def _timed(plugin: Any) -> Any:
    validate: Callable[[Any], Any] = plugin.validate

    def timed(context: Any) -> Any:
        started = time.perf_counter()
        report = validate(context)
        print(f"bench validate {time.perf_counter() - started:.4f}")
        return report

    plugin.validate = timed
    return plugin


def _bridge_plugin() -> Any:
    """A plugin that reads each resource through the bridge, as a rule pack over constructs has to in Python.

    It decides nothing: the time is that of fetching the resources alone.
    """
    import aws_cdk as cdk
    import jsii

    @jsii.implements(cdk.IPolicyValidationPlugin)
    class BridgePlugin:
        @property
        def name(self) -> str:
            return "Bridge"

        @property
        def version(self) -> str:
            return "1.0.0"

        @property
        def rule_ids(self) -> list[str]:
            return []

        def validate(self, context: cdk.IPolicyValidationContext) -> cdk.PolicyValidationPluginReport:
            resources = 0
            for node in context.app_construct.node.find_all():
                if isinstance(node, cdk.CfnResource):
                    resources += 1
                    cdk.Stack.of(node).resolve(node._cfn_properties)
            return cdk.PolicyValidationPluginReport(success=True, violations=[], metadata={"resources": str(resources)})

    return BridgePlugin()


def synthesize(kind: str) -> dict[str, float]:
    """Synthesize the app with one kind of packs; the seconds by name: total, and validate where it ran."""
    context = json.loads((PROJECT / "cdk.json").read_text())["context"]
    context |= {"aws:cdk:enable-path-metadata": True, "aws:cdk:enable-asset-metadata": True}
    with tempfile.TemporaryDirectory() as out:
        environment = {**os.environ, "CDK_OUTDIR": out, "CDK_CONTEXT_JSON": json.dumps(context)}
        run = subprocess.run(  # noqa: S603 our own script, in our own interpreter
            [sys.executable, "-c", CHILD, kind],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    seconds = {name: float(value) for name, value in TIME_LINE.findall(run.stdout)}
    if run.returncode or "total" not in seconds:
        raise SystemExit(f"bench-policy: the app does not synthesize:\n{run.stderr[-2000:]}")
    return seconds


def engine(path: Path, repetitions: int) -> tuple[list[float], str]:
    """Seconds to load and check the templates at `path`, and how much that was."""
    import policy.rules  # noqa: F401  registers the rules
    from policy.engine import REGISTRY, evaluate
    from policy.formats import summary
    from policy.templates import load

    rules = list(REGISTRY.rules.values())
    today = datetime.datetime.now(datetime.UTC).date()
    seconds = []
    text = ""
    for _ in range(repetitions):
        started = time.perf_counter()
        evaluation = evaluate(load(path), rules, today=today)
        seconds.append(time.perf_counter() - started)
        text = summary(evaluation)
    return seconds, text


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the medians, and fail when the pack costs more than the share that is allowed."""
    parser = argparse.ArgumentParser(prog="bench-policy", description=__doc__)
    parser.add_argument("path", type=Path, help="synthesized templates")
    parser.add_argument("--rounds", type=int, default=3, help="syntheses of each kind [3]")
    parser.add_argument("--allowed-share", type=float, default=0.10, help="of a synthesis [0.10]")
    options = parser.parse_args(arguments)

    seconds, text = engine(options.path, 7)
    print(f"Engine alone: {statistics.median(seconds):.3f} s (median of {len(seconds)}); {text}")

    runs: dict[str, list[dict[str, float]]] = {"none": [], "pack": [], "bridge": []}
    for number in range(options.rounds):
        for kind, results in runs.items():
            results.append(synthesize(kind))
            print(f"  round {number + 1}, {kind}: {results[-1]['total']:.2f} s", flush=True)

    bare = statistics.median(run["total"] for run in runs["none"])
    pack = statistics.median(run["import"] + run["validate"] for run in runs["pack"])
    bridge = statistics.median(run["validate"] for run in runs["bridge"])
    share = pack / bare
    print(f"Synthesis without packs: {bare:.2f} s (median of {options.rounds}).")
    print(f"This pack, its import and one call for the app: {pack:.3f} s, {100 * share:.1f} % of that.")
    print(f"One visit per resource through the bridge, without any rule: {bridge:.3f} s, {100 * bridge / bare:.1f} %.")
    if share > options.allowed_share:
        print(f"bench-policy: more than {100 * options.allowed_share:.0f} % of a synthesis", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
