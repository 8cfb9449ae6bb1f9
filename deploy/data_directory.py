"""The directory in which the stack of one machine keeps everything; `./.turngate` by default.

lock            held by the `turngate up` that owns the directory, with its pid inside
state.json      what runs: the supervisor's processes, for `status` and for the next `up` after a kill
secrets.json    generated at first start, readable by the owner only
stack.json      the model of this directory, and the last port of its gateway
redis/ weights/ checkpoints/ turngate.db    must survive a restart
logs/ run/      may be deleted while nothing runs
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import DataDirectoryInUse

OWNER_ONLY = 0o700
SUPERVISOR_LOG = "supervisor.log"  # of a detached `up`, which still writes to it


@dataclass(frozen=True, slots=True)
class DataDirectory:
    root: Path

    @classmethod
    def create(cls, root: Path) -> "DataDirectory":
        directory = cls(root.resolve())
        directory.root.mkdir(parents=True, exist_ok=True)
        directory.root.chmod(OWNER_ONLY)
        for part in (directory.redis, directory.weights, directory.logs, directory.run):
            part.mkdir(exist_ok=True)
        return directory

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def weights(self) -> Path:
        return self.root / "weights"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.json"

    @property
    def stack(self) -> Path:
        return self.root / "stack.json"

    @property
    def database_url(self) -> str:
        return f"sqlite+aiosqlite:///{self.root / 'turngate.db'}"

    @property
    def model(self) -> Path | None:
        """The model it was made for, if it still exists."""
        remembered = Path(read_json(self.stack).get("model", ""))
        return remembered if (remembered / "config.json").exists() else None

    def fresh_logs(self) -> Path:
        """The log directory; logs of the last run are renamed to `….log.1`."""
        for log in self.logs.glob("*.log"):
            if log.name != SUPERVISOR_LOG:
                log.replace(log.with_name(f"{log.name}.1"))
        return self.logs

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the directory's lock; the kernel releases it when this process ends, also by a kill."""
        with (self.root / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataDirectoryInUse(
                    f"{self.root} is in use by turngate up, pid {self.owner()}; "
                    "stop it with `turngate down`, or give this one another --data-dir"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
            lock.truncate(0)

    def owner(self) -> int | None:
        """The pid of the `turngate up` that holds the lock, if one does."""
        file = self.root / "lock"
        if not file.exists():
            return None
        with file.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = lock.read()
                return int(pid) if pid else None
        return None


def read_json(file: Path) -> dict[str, Any]:
    """An absent or half-written file reads as an empty object."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(file: Path, content: object) -> None:
    """Replace the file in one step; only the owner may read it."""
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump(content, stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
