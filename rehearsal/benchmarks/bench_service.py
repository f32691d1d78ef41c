"""What one process of the payment service sustains on this machine, and where its knee is.

Open-loop load over TLS at several rates, into one service process that writes to the first of two replicating
MariaDB servers. Client, service and databases share the machine, so the numbers are a floor, not a ceiling.

    python -m rehearsal.benchmarks.bench_service [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from rehearsal.data_plane import DataPlane, LocalSecretsManager
from rehearsal.databases import DatabaseChain, DatabasesUnavailableError
from rehearsal.load import count_statuses, open_loop, percentile
from rehearsal.service_process import ServiceProcess

DEFAULT_RATES = (14, 50, 100, 200, 300, 400, 500, 600, 800)
WARM_UP_SECONDS = 2.0
# A request beyond this is a failure of the service, whatever it answers in the end.
CLIENT_TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One rate.

    Attributes:
        succeeded_per_second: Payments that were created, over the time until the last answer.
        refused: Answers 503: the queue was full.
        failed: Any other answer, or none.
        client_late_p99_ms: How late the client sent; the client is the limit when this is not small.
        service_cpu_percent: Of one core; one process cannot use more than 100 for its own code.
        database_cpu_percent: Of one core, of the server that is written to.
        others_cpu_percent: Of one core, of everything on the machine that is no part of the benchmark. When this is
            not small, the numbers say less about the service.
        memory_mib: Resident memory of the service at the end.
    """

    requests_per_second: float
    sent: int
    succeeded_per_second: float
    refused: int
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    client_late_p99_ms: float
    service_cpu_percent: float
    database_cpu_percent: float
    others_cpu_percent: float
    memory_mib: float


def find_knee(measurements: Sequence[Measurement], *, objective_ms: float) -> Measurement | None:
    """The highest rate up to which all succeeded with p99 within the objective; None when the lowest failed."""
    knee = None
    for measurement in sorted(measurements, key=lambda m: m.requests_per_second):
        if measurement.refused or measurement.failed or not measurement.p99_ms <= objective_ms:
            break
        knee = measurement
    return knee


def measure(service: ServiceProcess, *, databases: DatabaseChain, rate: float, seconds: float) -> Measurement:
    """Load the service at one rate."""
    own = [service.process_id, *(server.process_id for server in databases), os.getpid()]
    began, busy_before = time.monotonic(), machine_busy_seconds()
    before = [cpu_seconds(process_id) for process_id in own]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(
            open_loop(
                port=service.port,
                requests_per_second=rate,
                seconds=seconds,
                seed=time.monotonic_ns(),
                timeout_seconds=CLIENT_TIMEOUT_SECONDS,
            )
        )
    elapsed, busy = time.monotonic() - began, machine_busy_seconds() - busy_before
    used = [cpu_seconds(process_id) - earlier for process_id, earlier in zip(own, before, strict=True)]
    statuses = count_statuses(answers)
    latencies_ms = [1000 * answer.latency_seconds for answer in answers if answer.status == 201]
    return Measurement(
        requests_per_second=rate,
        sent=len(answers),
        succeeded_per_second=round(statuses[201] / elapsed, 1),
        refused=statuses[503],
        failed=len(answers) - statuses[201] - statuses[503],
        p50_ms=round(percentile(latencies_ms, 50), 1),
        p99_ms=round(percentile(latencies_ms, 99), 1),
        max_ms=round(max(latencies_ms, default=float("nan")), 1),
        client_late_p99_ms=round(1000 * percentile([answer.late_seconds for answer in answers], 99), 1),
        service_cpu_percent=round(100 * used[0] / elapsed),
        database_cpu_percent=round(100 * used[1] / elapsed),
        others_cpu_percent=max(0, round(100 * (busy - sum(used)) / elapsed)),
        memory_mib=round(resident_mib(service.process_id), 1),
    )


def machine_busy_seconds() -> float:
    """Time that all cores together were not idle (proc(5), /proc/stat: all but idle and iowait)."""
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def cpu_seconds(process_id: int) -> float:
    """User and system time of a process so far (proc(5), fields utime and stime)."""
    # The command's name, in parentheses, may hold spaces.
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(process_id: int) -> float:
    """Resident memory of a process (proc(5), VmRSS)."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def run(*, rates: Sequence[float], seconds: float, objective_ms: float, quiet: bool) -> list[Measurement]:
    """Measure the rates from low to high; one rate beyond the knee is enough."""
    found: list[Measurement] = []
    with (
        DatabaseChain.start() as databases,
        LocalSecretsManager() as secrets_manager,
        TemporaryDirectory(prefix="bench-service-") as folder,
    ):
        plane = DataPlane(databases, secrets_manager, writer="blue")
        with ServiceProcess(
            secret_arns=plane.secret_arns,
            database_ca=databases.ca_path,
            environment=secrets_manager.environment,
            log_path=Path(folder) / "service.log",
        ) as service:
            service.wait_ready()
            measure(service, databases=databases, rate=min(100, max(rates)), seconds=WARM_UP_SECONDS)
            if not quiet:
                print(f"MariaDB {databases.software.version}, {os.cpu_count()} cores, {seconds:g} s for each rate")
                print(HEADER)
            for rate in sorted(rates):
                measurement = measure(service, databases=databases, rate=rate, seconds=seconds)
                found.append(measurement)
                if not quiet:
                    print(row(measurement), flush=True)
                if find_knee(found, objective_ms=objective_ms) is not measurement:
                    break
        databases.wait_caught_up(60)
        if wrong := plane.check_books():
            raise SystemExit("the books are wrong after the load: " + "; ".join(wrong[:5]))
    return found


HEADER = (
    "| req/s | sent | paid/s | refused | failed | p50 ms | p99 ms | max ms | client late p99 ms "
    "| service CPU % | database CPU % | others CPU % | service MiB |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(m: Measurement) -> str:
    """One line of the table."""
    values = [f"{m.requests_per_second:g}", *list(asdict(m).values())[1:]]
    return f"| {' | '.join(str(value) for value in values)} |"


def conclusion(measurements: Sequence[Measurement], *, objective_ms: float) -> str:
    """The sentence below the table."""
    knee = find_knee(measurements, objective_ms=objective_ms)
    if knee is None:
        return f"Knee: below the lowest rate; even there p99 was not within {objective_ms:g} ms."
    beyond = next((m for m in measurements if m.requests_per_second > knee.requests_per_second), None)
    if beyond is None:
        return f"Knee: not reached; {knee.requests_per_second:g} requests a second, the highest rate, were sustained."
    return (
        f"Knee: between {knee.requests_per_second:g} and {beyond.requests_per_second:g} requests a second "
        f"(all succeed, p99 within {objective_ms:g} ms)."
    )


def positive_numbers(text: str) -> list[float]:
    """The numbers of a comma-separated list."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number <= 5000 for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of rates from above 0 to 5000, such as 14,140")
    return numbers


def main(words: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench-service", description=__doc__)
    parser.add_argument("--rates", type=positive_numbers, default=list(DEFAULT_RATES), help="requests a second")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each rate, at most 60")
    parser.add_argument("--objective-ms", type=float, default=250.0, help="p99 that counts as sustained")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    arguments = parser.parse_args(words)
    if not 0 < arguments.seconds <= 60:
        parser.error(f"argument --seconds: {arguments.seconds:g} is not from above 0 to 60")
    try:
        found = run(
            rates=arguments.rates,
            seconds=arguments.seconds,
            objective_ms=arguments.objective_ms,
            quiet=arguments.json,
        )
    except DatabasesUnavailableError as error:
        print(f"bench-service: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        knee = find_knee(found, objective_ms=arguments.objective_ms)
        print(
            json.dumps(
                {
                    "objective_ms": arguments.objective_ms,
                    "knee_requests_per_second": None if knee is None else knee.requests_per_second,
                    "measurements": [asdict(measurement) for measurement in found],
                },
                indent=2,
            )
        )
    else:
        print(conclusion(found, objective_ms=arguments.objective_ms))
    return 0


if __name__ == "__main__":
    sys.exit(main())
