"""A real PostgreSQL for tests, on a unix socket."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """Where the newest installed PostgreSQL has its programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return found[-1] if found else None


@contextmanager
def running_postgres() -> Iterator[str]:
    """The URL of a server that lives as long as the block; it refuses to run as root, so root runs it as nobody."""
    binaries = programs()
    assert binaries is not None, "install PostgreSQL, for example with `apt install postgresql`"
    as_user = (
        ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        if os.getuid() == 0
        else []
    )
    with tempfile.TemporaryDirectory(prefix="tg-pg-") as name:
        directory = Path(name)
        if as_user:
            shutil.chown(directory, "nobody", "nogroup")
        data = directory / "data"
        make = [binaries / "initdb", "-D", data, "-U", "turngate", "-A", "trust", "--no-sync"]
        subprocess.run([*as_user, *make], check=True, capture_output=True)
        settings = ["-D", data, "-k", directory, "-c", "listen_addresses=", "-c", "fsync=off"]
        with (directory / "log").open("wb") as log:
            server = subprocess.Popen(
                [*as_user, binaries / "postgres", *settings], stdout=log, stderr=log
            )
        try:
            ready = [binaries / "pg_isready", "-h", directory, "-t", "1"]
            while subprocess.run(ready, check=False, capture_output=True).returncode:
                assert server.poll() is None, (directory / "log").read_text()
            yield f"postgresql://turngate@/postgres?host={directory}"
        finally:
            server.terminate()
            server.wait(timeout=20)
