"""What is uploaded: the code of the functions, their layer, and what the image is built from."""

from __future__ import annotations

import hashlib
import importlib
import json
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.synthesized import PROJECT, Synthesis, name_of


def asset(synthesis: Synthesis, type_: str, path: str) -> Path:
    """The folder of a resource's asset."""
    metadata = synthesis.the(type_, path).metadata
    return synthesis.folder / str(metadata["aws:asset:path"])


def function(synthesis: Synthesis, path: str) -> Path:
    return asset(synthesis, "AWS::Lambda::Function", path)


def packages(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Network/CloseDefaultGroup/", {"default_security_group", "custom_resource", "database_access"}),
        ("Database/Blue/Functions/Bootstrap/", {"database_bootstrap", "custom_resource", "database_access"}),
    ],
)
def test_a_function_is_uploaded_with_its_package_and_what_it_shares(
    prod: Synthesis, path: str, expected: set[str]
) -> None:
    assert packages(function(prod, path)) == expected


def test_no_cache_of_python_is_uploaded(either: Synthesis) -> None:
    caches = [each for folder in either.folder.glob("asset.*") for each in folder.rglob("__pycache__")]

    assert caches == []


def test_every_function_can_be_imported_from_what_is_uploaded(prod: Synthesis) -> None:
    """With its layer and what the runtime has, as Lambda does: a shared package that is left out is noticed here."""
    failures = {}
    for each in prod.every("AWS::Lambda::Function"):
        handler = str(each["Handler"].value).rpartition(".")[0]
        code = prod.folder / str(each.metadata["aws:asset:path"])
        libraries = Path(importlib.import_module("boto3").__file__ or "").parents[1]
        program = (
            f"import sys; sys.path = [p for p in sys.path if p]; sys.path[:0] = [{str(code)!r}, {str(libraries)!r}]; "
            f"import importlib; importlib.import_module({handler!r})"
        )
        ran = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, cwd=code)
        if ran.returncode:
            failures[name_of(each)] = ran.stderr.strip().splitlines()[-1]

    assert failures == {}


def test_the_bootstrap_brings_the_schema_of_the_service(prod: Synthesis) -> None:
    uploaded = function(prod, "Database/Blue/Functions/Bootstrap/") / "database_bootstrap" / "schema"

    assert (uploaded / "payments.sql").read_bytes() == (
        PROJECT / "service" / "payment_service" / "schema.sql"
    ).read_bytes()
    assert (uploaded / "control.sql").is_file()


def test_both_databases_are_bootstrapped_by_the_same_code(prod: Synthesis) -> None:
    assert function(prod, "Database/Blue/Functions/Bootstrap/") == function(prod, "Database/Green/Functions/Bootstrap/")


def test_the_layer_has_the_driver_and_the_authorities(prod: Synthesis) -> None:
    layer = asset(prod, "AWS::Lambda::LayerVersion", "Database/RuntimeLayer")

    assert packages(layer) == {"python", "certificates"}
    assert packages(layer / "python") == {"pymysql"}
    assert packages(layer / "certificates") == {"databases.pem"}


def subjects(file: Path) -> set[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str(file))
    return {hashlib.sha256(each).hexdigest() for each in context.get_ca_certs(binary_form=True)}


def test_with_a_legacy_database_its_authority_is_trusted_too(prod: Synthesis, staging: Synthesis) -> None:
    legacy = PROJECT / "docs" / "examples" / "on-premises-ca.pem"
    files = [
        asset(each, "AWS::Lambda::LayerVersion", "Database/RuntimeLayer") / "certificates" / "databases.pem"
        for each in (prod, staging)
    ]

    assert subjects(files[1]) == subjects(files[0]) | subjects(legacy)
    assert not subjects(files[0]) & subjects(legacy)


def image(synthesis: Synthesis) -> Path:
    [assets] = synthesis.folder.glob("*.assets.json")
    [found] = json.loads(assets.read_text())["dockerImages"].values()
    return synthesis.folder / str(found["source"]["directory"])


def test_the_image_is_built_from_the_service_with_the_authorities(prod: Synthesis) -> None:
    folder = image(prod)

    assert (folder / "Dockerfile").read_bytes() == (PROJECT / "service" / "Dockerfile").read_bytes()
    assert (folder / "payment_service" / "__main__.py").is_file()
    assert len(subjects(folder / "certificates" / "databases.pem")) == 3


def test_no_secret_and_no_notes_go_into_the_image(prod: Synthesis) -> None:
    wrong = [each.name for each in image(prod).rglob("*") if each.suffix in (".key", ".md", ".in", ".env")]

    assert wrong == []
