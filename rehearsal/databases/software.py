"""Where the MariaDB server comes from: an installed one, or Debian's packages unpacked into a private folder.

Neither root nor the system's package lists are needed or touched: apt-get works on lists and a cache of our
own, verifies the archive's signatures with the system's keyring as usual, and dpkg only unpacks.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

CACHE_VARIABLE = "REHEARSAL_CACHE"
PACKAGES = ("mariadb-server-core", "mariadb-client-core")
# ACCOUNT LOCK came with 10.4.2 and the privilege BINLOG ADMIN with 10.5.2 (MariaDB release notes).
OLDEST_VERSION = (10, 5)
COMMAND_TIMEOUT_SECONDS = 300

# Where an installed server may lie although an ordinary user's PATH does not name it.
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin", "/usr/libexec")


class DatabasesUnavailableError(Exception):
    """No MariaDB server can be had on this machine; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Software:
    """A MariaDB server that runs on this machine.

    Attributes:
        mariadbd: The server.
        install_db: The script that makes a data directory.
        base_folder: What the server calls basedir: it finds its messages and its system tables below it.
        library_folders: Put before the system's libraries when the server runs; empty for an installed
            server.
        version: As the server prints it, for example ``10.11.19-MariaDB``.
        origin: ``installed`` or ``unpacked``.
    """

    mariadbd: Path
    install_db: Path
    base_folder: Path
    library_folders: tuple[Path, ...]
    version: str
    origin: str

    def environment(self) -> dict[str, str]:
        """The environment in which the programs find their libraries."""
        return with_libraries(os.environ, self.library_folders)


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The private folder of the downloads: ``REHEARSAL_CACHE`` when it is set, else build/cache of the
    project."""
    override = environment.get(CACHE_VARIABLE)
    return Path(override).absolute() if override else Path(__file__).resolve().parents[2] / "build" / "cache"


def obtain(cache: Path | None = None) -> Software:
    """The installed server when there is one, else the unpacked one, downloaded at its first use (about 30
    MB).

    Raises:
        DatabasesUnavailableError: Neither can be had.
    """
    return find_installed() or fetch(cache or cache_folder())


def find_installed() -> Software | None:
    """The server of the system, or None where there is none, or one that is too old or not MariaDB."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS])
    mariadbd, install_db = shutil.which("mariadbd", path=path), shutil.which("mariadb-install-db", path=path)
    if not mariadbd or not install_db:
        return None
    try:
        return _checked(
            mariadbd=Path(mariadbd).resolve(),
            install_db=Path(install_db).resolve(),
            base_folder=Path(mariadbd).resolve().parents[1],
            library_folders=(),
            origin="installed",
        )
    except DatabasesUnavailableError:
        return None


def fetch(cache: Path) -> Software:
    """The server of Debian's packages, downloaded into the cache unless it is there already.

    Raises:
        DatabasesUnavailableError: apt-get or dpkg is missing or fails, or the server does not run here.
    """
    root = unpack(cache, name="mariadb", program="mariadbd", packages=PACKAGES)
    return _checked(
        mariadbd=root / "usr/sbin/mariadbd",
        install_db=root / "usr/bin/mariadb-install-db",
        base_folder=root / "usr",
        library_folders=library_folders(root),
        origin="unpacked",
    )


def unpack(cache: Path, *, name: str, program: str, packages: Sequence[str]) -> Path:
    """A folder with Debian's packages and what they depend on, downloaded into the cache unless it is there already.

    Raises:
        DatabasesUnavailableError: apt-get or dpkg is missing or fails.
    """
    if missing := [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]:
        raise DatabasesUnavailableError(
            f"no {program} is installed, and {' and '.join(missing)} cannot be found to unpack one"
        )
    folder = cache / f"{name}-{_codename()}-{platform.machine()}"
    root = folder / "root"
    with _locked(folder):
        if not root.is_dir():
            _download_and_unpack(folder, root, program=program, packages=packages)
    return root


def data_template(software: Software, cache: Path) -> Path:
    """A data directory as the server makes it at installation, made once for each version and then copied.

    Raises:
        DatabasesUnavailableError: The installation script fails.
    """
    folder = cache / "mariadb-data"
    template = folder / software.version
    with _locked(folder):
        if template.is_dir():
            return template
        unfinished = Path(mkdtemp(prefix="unfinished-", dir=folder))
        try:
            _run(
                [
                    str(software.install_db),
                    "--no-defaults",
                    f"--basedir={software.base_folder}",
                    f"--datadir={unfinished}",
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--innodb-log-file-size=16M",
                    *(["--user=root"] if os.geteuid() == 0 else []),
                ],
                environment=software.environment(),
            )
            unfinished.rename(template)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return template


def _checked(
    *, mariadbd: Path, install_db: Path, base_folder: Path, library_folders: tuple[Path, ...], origin: str
) -> Software:
    output = _run([str(mariadbd), "--no-defaults", "--version"], environment=with_libraries({}, library_folders))
    found = re.search(r"Ver (\d+)\.(\d+)(\S*)", output)
    if found is None or "MariaDB" not in output:
        raise DatabasesUnavailableError(f"{mariadbd} is not a MariaDB server, it says: {output.strip()}")
    if (int(found[1]), int(found[2])) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise DatabasesUnavailableError(f"{mariadbd} is MariaDB {found[1]}.{found[2]}; {oldest} or newer is needed")
    return Software(
        mariadbd=mariadbd,
        install_db=install_db,
        base_folder=base_folder,
        library_folders=library_folders,
        version=f"{found[1]}.{found[2]}{found[3]}",
        origin=origin,
    )


def _download_and_unpack(folder: Path, root: Path, *, program: str, packages: Sequence[str]) -> None:
    apt = folder / "apt"
    for name in ("lists/partial", "cache/archives/partial", "log"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    options = [
        f"Dir::State::lists={apt / 'lists'}",
        f"Dir::State::extended_states={apt / 'extended_states'}",
        f"Dir::Cache={apt / 'cache'}",
        f"Dir::Log={apt / 'log'}",
        "Debug::NoLocking=1",  # the locks belong to root
        "APT::Install-Recommends=false",
        "APT::Sandbox::User=root",  # root's apt-get may not write here as the user _apt
        "Acquire::Languages=none",
        "Acquire::Retries=2",
    ]
    command = ["apt-get", "--quiet", *(argument for option in options for argument in ("-o", option))]
    try:
        _run([*command, "update"])
        update_failure = ""
    except DatabasesUnavailableError as error:
        # One unreachable source, such as a third party's, does not matter when the packages can be had all
        # the same.
        update_failure = f"; before that, {error}"
    try:
        _run([*command, "--yes", "--download-only", "install", *packages])
    except DatabasesUnavailableError as error:
        raise DatabasesUnavailableError(f"{error}{update_failure}") from None
    archives = sorted((apt / "cache/archives").glob("*.deb"))
    if not archives:
        raise DatabasesUnavailableError(
            f"apt-get downloaded nothing for {', '.join(packages)}: installed, but no {program} is found"
        )
    unfinished = Path(mkdtemp(prefix="unfinished-", dir=folder))
    try:
        for archive in archives:
            _run(["dpkg", "--extract", str(archive), str(unfinished)])
        unfinished.rename(root)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    shutil.rmtree(apt)


def library_folders(root: Path) -> tuple[Path, ...]:
    """Where the shared libraries of an unpacked folder lie."""
    libraries = [*root.glob("usr/lib/*/lib*.so*"), *root.glob("lib/*/lib*.so*")]
    return tuple(sorted({library.parent for library in libraries if library.parent.name != "mysql"}))


def with_libraries(environment: Mapping[str, str], folders: tuple[Path, ...]) -> dict[str, str]:
    """The environment in which a program finds the libraries of these folders before the system's."""
    if not folders:
        return dict(environment)
    known = environment.get("LD_LIBRARY_PATH")
    return {
        **environment,
        "LD_LIBRARY_PATH": os.pathsep.join([*map(str, folders), *([known] if known else [])]),
    }


def _codename() -> str:
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")
    except OSError:
        return "unknown"


def _run(command: list[str], *, environment: Mapping[str, str] | None = None) -> str:
    """What the command prints, or DatabasesUnavailableError with its last words."""
    try:
        finished = subprocess.run(  # noqa: S603 (fixed programs, no shell)
            command,
            env=None if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
    except OSError as error:
        raise DatabasesUnavailableError(f"{command[0]} cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise DatabasesUnavailableError(f"{command[0]} took longer than {COMMAND_TIMEOUT_SECONDS} s") from None
    if finished.returncode != 0:
        last_words = " | ".join(finished.stdout.strip().splitlines()[-5:])
        what = " ".join([command[0], *(word for word in command[1:] if word.isalpha())])
        raise DatabasesUnavailableError(f"{what} ended with {finished.returncode}: {last_words}")
    return finished.stdout


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time: pytest-xdist starts several that all want the software at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
