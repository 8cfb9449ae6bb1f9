"""The embedded Redis: a real server on loopback, with a password and an append-only file that survives a crash."""

import asyncio
from pathlib import Path

from deploy.settings import RedisFsync
from deploy.stack.process import Launch, ProcessSpec
from deploy.stack.programs import redis_server

HOST = "127.0.0.1"
PROBE_SECONDS = 1.0
LOADING_SECONDS = 1800.0  # it reads its append-only file first, which may hold tens of gigabytes

# With `appendfsync always` every reply waits until its log entry is on disk. `everysec` postpones the write itself while a sync
# is running, and a server killed then loses turns that it has acknowledged.
CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir "{directory}"
appendonly yes
appendfsync {fsync}
save ""
maxmemory-policy noeviction
daemonize no
"""


def redis_url(port: int, password: str) -> str:
    return f"redis://:{password}@{HOST}:{port}/0"


def configured_url(directory: Path, password: str) -> str:
    """The address of the server that was started last in this directory."""
    settings = dict(
        line.split(" ", 1) for line in (directory / "redis.conf").read_text().splitlines()
    )
    return redis_url(int(settings["port"]), password)


def redis_spec(directory: Path, *, port: int, password: str, fsync: RedisFsync) -> ProcessSpec:
    """The password is in a file and not on the command line, which every user of the machine can read."""
    configuration = directory / "redis.conf"

    async def launch() -> Launch:
        configuration.touch(mode=0o600)
        configuration.write_text(
            CONFIGURATION.format(
                host=HOST, port=port, password=password, directory=directory, fsync=fsync
            )
        )
        return Launch((redis_server(), str(configuration)))

    async def is_ready() -> bool:
        return await answers(port, password)

    return ProcessSpec(
        "redis", launch, is_ready, ready_seconds=LOADING_SECONDS, is_alive=is_ready, stage=0
    )


async def answers(port: int, password: str) -> bool:
    """Whether a server with this password answers a ping; a server that is still loading its file does not."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(f"AUTH {password}\r\nPING\r\n".encode())
            replies = await reader.readline(), await reader.readline()
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return replies == (b"+OK\r\n", b"+PONG\r\n")
