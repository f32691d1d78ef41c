"""`python -m rehearsal.report record.json -o report.html`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rehearsal.record import Record, RecordError
from rehearsal.report import write_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report of a stored record; 0, or 2 when there is nothing to write it from or nowhere to put it."""
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal.report", description="Write the report of a rehearsal as one HTML file."
    )
    parser.add_argument("record", type=Path, help="the record that a rehearsal left, as JSON")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="where to write (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        write_report(Record.from_json(options.record.read_bytes()), options.output)
    except RecordError as error:
        print(f"{options.record}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename or options.record}: {error.strerror or error}", file=sys.stderr)
        return 2
    print(f"Written: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
