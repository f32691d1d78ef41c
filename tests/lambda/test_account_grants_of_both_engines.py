"""Grants read from SHOW GRANTS as MySQL and MariaDB print it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_access.errors import DatabaseAccessError, InvalidNameError
from database_access.grants import Grant, changes, parse_grants
from database_access.names import account, identifier, schema_in_grant

MYSQL = [
    "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO `dms_a`@`%`",
    "GRANT ALL PRIVILEGES ON `awsdms\\_control`.* TO `dms_a`@`%`",
    "GRANT SELECT (`a`, `b`), INSERT ON `payments`.`payments` TO `dms_a`@`%`",
]
MARIADB = [
    "GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `dms_a`@`%` IDENTIFIED BY PASSWORD '*AB' REQUIRE SSL",
    "GRANT ALL PRIVILEGES ON `awsdms\\_control`.* TO `dms_a`@`%`",
    "GRANT SELECT (`a`, `b`), INSERT ON `payments`.`payments` TO `dms_a`@`%`",
]
EXPECTED = {
    Grant("*.*", "REPLICATION SLAVE"),
    Grant("*.*", "REPLICATION CLIENT"),
    Grant("`awsdms\\_control`.*", "ALL PRIVILEGES"),
    Grant("`payments`.`payments`", "SELECT (`a`, `b`)"),
    Grant("`payments`.`payments`", "INSERT"),
}


@pytest.mark.parametrize("lines", [MYSQL, MARIADB], ids=["mysql", "mariadb"])
def test_the_same_rights_are_the_same_grants(lines: list[str]) -> None:
    assert parse_grants(lines) == EXPECTED


def test_usage_is_no_right() -> None:
    assert parse_grants(["GRANT USAGE ON *.* TO `a`@`%` REQUIRE SSL"]) == frozenset()


def test_a_grant_on_a_procedure_keeps_its_kind() -> None:
    line = "GRANT EXECUTE ON PROCEDURE `payments`.`tidy` TO `a`@`%`"
    assert parse_grants([line]) == {Grant("PROCEDURE `payments`.`tidy`", "EXECUTE")}


@pytest.mark.parametrize(
    "line",
    [
        "GRANT `rds_superuser_role`@`%` TO `a`@`%`",
        "GRANT SELECT ON *.* TO `a`@`%` IDENTIFIED BY PASSWORD '*SECRETHASH' WITH GRANT OPTION",
    ],
)
def test_what_cannot_be_mirrored_is_refused_without_the_hash(line: str) -> None:
    with pytest.raises(DatabaseAccessError, match="has a role or a grant option") as raised:
        parse_grants([line])
    assert "SECRETHASH" not in str(raised.value)


grants = st.frozensets(
    st.builds(Grant, st.sampled_from(["*.*", "`p`.*", "`p`.`t`"]), st.sampled_from(["SELECT", "INSERT", "UPDATE"]))
)


@given(wanted=grants, present=grants)
def test_the_changes_make_the_one_set_into_the_other(wanted: frozenset[Grant], present: frozenset[Grant]) -> None:
    found = changes(wanted=wanted, present=present)
    assert (present | set(found.to_give)) - set(found.to_take) == wanted
    assert not set(found.to_give) & present
    assert set(found.to_take) <= present


@pytest.mark.parametrize("name", ["", "A", "1a", "a-b", "a`b", "a b", "a;", "ä", "a" * 65, "a\n"])
def test_a_schema_name_of_another_alphabet_is_refused(name: str) -> None:
    with pytest.raises(InvalidNameError, match="a schema or table name must be"):
        identifier(name)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a`b", "a'@'%", "ä", "a" * 33, "a\n"])
def test_an_account_name_of_another_alphabet_is_refused(name: str) -> None:
    with pytest.raises(InvalidNameError, match="an account name must be"):
        account(name)


def test_in_a_grant_on_a_schema_an_underscore_means_itself() -> None:
    assert schema_in_grant("blue_green_control") == "`blue\\_green\\_control`"
