"""Records of rehearsals that never ran, with everything in them that a report has to show."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from rehearsal.record import ComparisonRow, Event, FaultResult, Promise, Record, Sample

# Until when, phase, percent on aws, percent on green, writer.
MIGRATION = (
    (20, "idle", 0, 0, "legacy"),
    (40, "admitting 50 %", 50, 0, "legacy"),
    (70, "admitted", 100, 0, "legacy"),
    (72, "switching the writer", 100, 0, None),
    (110, "watching", 100, 0, "blue"),
    (140, "shifting to 25 %", 100, 25, "blue"),
    (170, "shifting to 75 %", 100, 75, "blue"),
    (171, "switching the writer", 100, 75, None),
    (220, "watching", 100, 100, "green"),
    (222, "rolling back", 100, 0, None),
    (260, "rolled back", 100, 0, "blue"),
)


def migration_samples(*, rate: float = 14, per_second: int = 1, seed: int = 3) -> list[Sample]:
    """A whole migration, with some failures around the first switch and lag that is unknown for a while."""
    source = random.Random(seed)  # noqa: S311 (figures, not secrets)
    samples = []
    for number in range(1, MIGRATION[-1][0] * per_second + 1):
        at = number / per_second
        _, phase, aws, green, writer = next(step for step in MIGRATION if at <= step[0])
        requests = max(0, round(source.gauss(rate / per_second, 2)))
        on_aws = requests * aws // 100
        samples.append(
            Sample(
                at=at,
                weights={"blue": 100 - green, "green": green},
                dns={"legacy": 100 - aws, "aws": aws},
                writer=writer,
                requests=requests,
                errors=2 if 70 < at <= 71 else 0,
                p50_ms=source.uniform(3, 6),
                p95_ms=source.uniform(8, 14) if writer else source.uniform(300, 500),
                p99_ms=source.uniform(15, 30) if writer else source.uniform(500, 1600),
                by_side={
                    "legacy": requests - on_aws,
                    "blue": on_aws - on_aws * green // 100,
                    "green": on_aws * green // 100,
                },
                lag_ms={
                    "legacy-blue": source.uniform(400, 1100),
                    "blue-green": None if 150 <= at < 160 else source.uniform(300, 900),
                },
                phase=phase,
                verdict="hold" if 40 <= at < 50 else "roll back" if at > 220 else "pass",
            )
        )
    return samples


def migration_record(*, samples: Sequence[Sample] | None = None, **changes: Any) -> Record:
    """All sections filled; `changes` replaces fields."""
    kept = Promise(name="No acknowledged payment is lost", kept=True, measured="0 of 3,640", allowed="0")
    broken = Promise(name="No request fails", kept=False, measured="2 of 3,640", allowed="0")
    values: dict[str, Any] = {
        "title": "Rehearsal of a whole migration",
        "scenario": "migration",
        "started_at": "2026-11-24T21:40:00+00:00",
        "seed": 7,
        "rate": 14.0,
        "delay_seconds": 1.0,
        "versions": {"MariaDB": "10.11.19", "HAProxy": "2.6.12", "aws-cdk-lib": "2.275.0"},
        "samples": migration_samples() if samples is None else samples,
        "events": [
            Event(at=20, kind="dns", text="Half of the clients come to AWS.", details={"legacy": 50, "aws": 50}),
            Event(at=40, kind="dns", text="All clients come to AWS.", details={"legacy": 0, "aws": 100}),
            Event(at=70.2, kind="writer", text="The writer moves from legacy to blue.", details={"pause_ms": 1480.2}),
            Event(at=110, kind="weights", text="Green gets 25 %.", details={"blue": 75, "green": 25}),
            Event(at=140, kind="weights", text="Green gets 75 %.", details={"blue": 25, "green": 75}),
            Event(at=170.1, kind="writer", text="The writer moves from blue to green.", details={"pause_ms": 612.0}),
            Event(at=219, kind="fault", text="Green answers with 500.", details={"share": 1.0}),
            Event(at=219.5, kind="alarm", text="The alarm on green's errors fires.", details={}),
            Event(at=220, kind="rollback", text="Everything goes back to blue.", details={"took_ms": 820}),
        ],
        "promises": [
            kept,
            broken,
            Promise(name="The writer is closed for a short time", kept=True, measured="1,480 ms", allowed="3,000 ms"),
        ],
        "decisions": [
            *(
                Event(at=at, kind="decision", text="Hold: too few requests.", details={"requests": at, "wanted": 60})
                for at in (41, 44, 47)
            ),
            Event(at=50, kind="decision", text="Pass.", details={"requests": 70, "bad": 0, "ratio": -7.1234567}),
        ],
        "faults": [
            FaultResult(
                scenario="Green answers 500",
                group="fault",
                must_happen="All traffic goes back to blue, nothing is lost.",
                happened="Rolled back 0.8 s after the first bad answer.",
                passed=True,
                promises=[kept],
                seconds=31.2,
            ),
            FaultResult(
                scenario="Replication stops during the drain",
                group="fault",
                must_happen="The old writer is opened again.",
                happened="It stayed closed.",
                passed=False,
                promises=[kept, broken],
                seconds=44.0,
            ),
            FaultResult(
                scenario="No drain",
                group="negative control",
                must_happen="The checksums differ.",
                happened="They differ in 14 rows.",
                passed=True,
                promises=[],
                seconds=25.0,
            ),
        ],
        "comparison": [
            ComparisonRow(
                method="This cutover",
                sent=3640,
                failed=0,
                lost=0,
                diverged=0,
                duplicated=0,
                pause_ms=612.4,
                rollback_ms=820.0,
                remark="",
            ),
            ComparisonRow(
                method="Stop, switch, start",
                sent=3640,
                failed=412,
                lost=0,
                diverged=0,
                duplicated=0,
                pause_ms=29_400.0,
                rollback_ms=31_000.0,
                remark="Nobody can pay meanwhile.",
            ),
            ComparisonRow(
                method="Both write",
                sent=3640,
                failed=0,
                lost=31,
                diverged=57,
                duplicated=4,
                pause_ms=0.0,
                rollback_ms=None,
                remark="The later write wins.",
            ),
        ],
        "simulated": ["AWS::WAFv2::WebACL", "AWS::Backup::BackupVault"],
    }
    return Record(**{**values, **changes})
