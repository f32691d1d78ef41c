"""Which SQL files are applied where, and that only statements that can be repeated are."""

from __future__ import annotations

from pathlib import Path

import pytest

from database_bootstrap.schema_files import SchemaFileError, load, split_statements

PROJECT = Path(__file__).parents[2]
TABLE = "CREATE TABLE IF NOT EXISTS t (id INT PRIMARY KEY)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "control.sql").write_text(f"{TABLE};")
    (tmp_path / "payments.sql").write_text(f"{TABLE};")
    return tmp_path


def test_our_own_files_and_the_services_file_can_be_loaded() -> None:
    files = load(
        PROJECT / "lambda" / "database_bootstrap" / "schema",
        payments=PROJECT / "service" / "payment_service" / "schema.sql",
    )
    assert [(file.purpose, len(file.statements)) for file in files] == [("control", 3), ("payments", 3)]


def test_files_come_in_the_order_of_their_names(folder: Path) -> None:
    assert [file.purpose for file in load(folder)] == ["control", "payments"]


def test_a_file_for_no_schema_is_refused(folder: Path) -> None:
    (folder / "other.sql").write_text(TABLE)
    with pytest.raises(SchemaFileError, match=r"other\.sql is for no schema; known are control\.sql and payments\.sql"):
        load(folder)


@pytest.mark.parametrize("name", ["control", "payments"])
def test_a_file_that_was_not_staged_is_named(folder: Path, name: str) -> None:
    (folder / f"{name}.sql").unlink()
    with pytest.raises(SchemaFileError, match=rf"{name}\.sql is missing"):
        load(folder)


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE t (id INT)", "DROP TABLE t", "USE mysql", "INSERT INTO t VALUES (1)"]
)
def test_a_statement_that_cannot_be_repeated_is_refused(folder: Path, statement: str) -> None:
    (folder / "payments.sql").write_text(f"{TABLE};\n{statement};")
    with pytest.raises(SchemaFileError, match="must begin with CREATE TABLE IF NOT EXISTS"):
        load(folder)


def test_comments_and_semicolons_in_texts_do_not_end_a_statement() -> None:
    script = """
    -- a comment; with a semicolon
    CREATE TABLE a (x INT COMMENT 'one; two -- three', `semi;colon` INT); # another; one
    /* a; block */ CREATE TABLE b (x CHAR(1) DEFAULT "\\";", y CHAR(2) DEFAULT 'it''s;')
    """
    assert split_statements(script) == (
        "CREATE TABLE a (x INT COMMENT 'one; two -- three', `semi;colon` INT)",
        "CREATE TABLE b (x CHAR(1) DEFAULT \"\\\";\", y CHAR(2) DEFAULT 'it''s;')",
    )


def test_two_minus_signs_without_a_space_are_no_comment() -> None:
    assert split_statements("SELECT 5--3;") == ("SELECT 5--3",)


def test_an_empty_script_has_no_statements() -> None:
    assert split_statements(" ;; -- nothing\n") == ()
