"""Folders that are laid out at synthesis."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blue_green import staged_folder
from blue_green.staged_folder import copy_source, digest, staged


@pytest.fixture(autouse=True)
def staging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of the test's own."""
    monkeypatch.setattr(staged_folder, "STAGING", tmp_path / "staged")
    return tmp_path / "staged"


def write(text: str) -> Callable[[Path], None]:
    def lay_out(folder: Path) -> None:
        (folder / "file.txt").write_text(text)

    return lay_out


def test_the_same_content_lies_in_the_same_folder() -> None:
    assert staged("layer", write("a")) == staged("layer", write("a"))


def test_other_content_lies_elsewhere_and_leaves_the_first_alone() -> None:
    first, second = staged("layer", write("a")), staged("layer", write("b"))

    assert first != second
    assert (first / "file.txt").read_text() == "a"
    assert (second / "file.txt").read_text() == "b"


def test_nothing_but_what_is_kept_is_left_behind(staging: Path) -> None:
    staged("layer", write("a"))
    staged("layer", write("a"))

    assert [each.name.partition("-")[0] for each in staging.iterdir()] == ["layer"]


def test_a_lay_out_that_fails_leaves_nothing(staging: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError("PyMySQL is not installed here")

    with pytest.raises(RuntimeError, match="not installed"):
        staged("layer", fail)

    assert list(staging.iterdir()) == []


def test_syntheses_at_the_same_time_do_not_disturb_each_other() -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda number: staged("layer", write(str(number % 2))), range(64)))

    assert [(each / "file.txt").read_text() for each in folders] == [str(number % 2) for number in range(64)]
    assert len(set(folders)) == 2


def test_the_digest_sees_names_and_contents(tmp_path: Path) -> None:
    folders = []
    for number, (name, text) in enumerate([("a", "bc"), ("ab", "c"), ("a", "bd")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_text(text)
        folders.append(digest(folder))

    assert len(set(folders)) == 3


def test_a_copy_has_no_caches_and_nothing_that_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("package/handler.py", "package/__pycache__/handler.pyc", "notes.md"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("x")

    copy_source(source, tmp_path / "target", "*.md")

    found = [str(each.relative_to(tmp_path / "target")) for each in (tmp_path / "target").rglob("*") if each.is_file()]
    assert found == ["package/handler.py"]
