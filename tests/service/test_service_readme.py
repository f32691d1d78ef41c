"""The README's own example runs as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rehearsal.databases import Software

README = Path(__file__).parents[2] / "service" / "README.md"


@pytest.mark.slow
def test_the_example_moves_the_writer_and_says_so(
    mariadb: Software, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)

    exec(compile(example, str(README), "exec"), {})  # noqa: S102 (our own text)

    assert "'databases': {" in capsys.readouterr().out
