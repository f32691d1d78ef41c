"""``constructs/`` and ``lambda/`` are source roots, not packages."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.support.synthesized import PROJECT


@pytest.mark.parametrize("root", ["constructs", "lambda", "service"])
def test_a_source_root_is_no_package(root: str) -> None:
    """``constructs/__init__.py`` would shadow the library of that name, and nothing could be synthesized."""
    assert not (PROJECT / root / "__init__.py").exists()


@pytest.mark.parametrize("root", ["constructs", "lambda"])
def test_git_would_not_take_one(root: str) -> None:
    answer = subprocess.run(["git", "check-ignore", "--quiet", f"{root}/__init__.py"], cwd=PROJECT)

    assert answer.returncode == 0


@pytest.mark.parametrize("root", ["constructs", "lambda"])
def test_what_stands_in_a_source_root_is_a_package_of_its_own(root: str) -> None:
    folders = [each for each in (PROJECT / root).iterdir() if each.is_dir() and each.name != "__pycache__"]

    assert folders
    assert [each.name for each in folders if not (each / "__init__.py").is_file()] == []


def test_the_constructs_are_imported_under_one_name_only() -> None:
    """The library ``constructs`` takes our folder in, so that ``constructs.blue_green`` would be a second module."""
    wrong = [
        str(path.relative_to(PROJECT))
        for folder in ("stacks", "constructs", "policy", "tests")
        for path in (PROJECT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("constructs.")
    ]

    assert wrong == []


def test_the_library_is_not_shadowed() -> None:
    code = "import constructs; print(constructs.__file__)"

    shown = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)

    assert "site-packages" in shown.stdout
