"""Databases for tests: SQLite always, and a real PostgreSQL server of its own where Debian's packages are."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _programs() -> Path | None:
    """The folder of PostgreSQL's programs."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a server that listens at a socket in a folder of its own, and at no port."""
    programs = _programs()
    if programs is None:
        pytest.skip("there are no programs of PostgreSQL (apt install postgresql)")
    pytest.importorskip("psycopg")
    as_nobody = ["runuser", "-u", "nobody", "--"] if os.getuid() == 0 else []  # it refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="maquette-postgres-", dir="/tmp"))
    if as_nobody:
        shutil.chown(folder, "nobody")
    quick = "-c fsync=off -c max_connections=200"  # its own durability is not what is tested here

    def run(*words: str) -> None:
        done = subprocess.run([*as_nobody, *words], cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    data = str(folder / "data")
    try:
        run(str(programs / "initdb"), "-D", data, "-U", "maquette", "-A", "trust", "-N", "-E", "UTF8")
        listen = f"-k {folder} -c listen_addresses='' {quick}"
        run(str(programs / "pg_ctl"), "-D", data, "-l", str(folder / "log"), "-o", listen, "-w", "start")
        yield f"postgresql://maquette@/postgres?host={folder}"
    finally:
        with contextlib.suppress(AssertionError):
            run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/server.db"
    address = request.getfixturevalue("postgres")
    import psycopg

    name = f"t{abs(hash(str(tmp_path))) % 10**12}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    return address.replace("/postgres?", f"/{name}?")
