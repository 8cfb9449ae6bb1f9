"""The embedded Redis: protected, and nothing acknowledged is lost."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
import redis

from deploy.settings import RedisFsync
from deploy.stack import ports
from deploy.stack.process import ProcessState
from deploy.stack.redis_server import answers, redis_spec, redis_url
from deploy.stack.supervisor import Supervisor
from tests.deploy.stage import Stage
from tests.deploy.test_supervisor import running

PASSWORD = "correct-horse"


async def test_a_killed_redis_comes_back_with_everything_it_acknowledged(tmp_path: Path) -> None:
    """SIGKILL right after a write loses nothing: the restarted server has it."""
    stage, port = Stage(tmp_path), ports.free_ports(1)[0]
    async with running(started(stage, port)):
        with redis.Redis.from_url(redis_url(port, PASSWORD)) as client:
            client.set("episode", "ep_91")
        os.kill(stage.statuses["redis"].pid or 0, signal.SIGKILL)
        await stage.until(
            lambda now: now["redis"].restarts == 1 and now["redis"].state is ProcessState.READY
        )
        with redis.Redis.from_url(redis_url(port, PASSWORD)) as client:
            kept = client.get("episode")

    assert kept == b"ep_91"


async def test_redis_refuses_those_without_the_password(tmp_path: Path) -> None:
    """The generated password is required, and is not on the command line for all to read."""
    stage, port = Stage(tmp_path), ports.free_ports(1)[0]
    async with running(started(stage, port)):
        right, wrong = await answers(port, PASSWORD), await answers(port, "guess")
        pid = stage.statuses["redis"].pid
        command_line = await asyncio.to_thread(Path(f"/proc/{pid}/cmdline").read_text)
        with redis.Redis(port=port) as client, pytest.raises(redis.AuthenticationError):
            client.get("episode")

    assert (right, wrong) == (True, False)
    assert PASSWORD not in command_line
    assert (tmp_path / "redis.conf").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_redis_syncs_as_the_setting_says(tmp_path: Path, fsync: RedisFsync) -> None:
    """The server that runs has the setting's value."""
    stage, port = Stage(tmp_path), ports.free_ports(1)[0]
    async with running(started(stage, port, fsync=fsync)):
        with redis.Redis.from_url(redis_url(port, PASSWORD), decode_responses=True) as client:
            configured = client.config_get("appendfsync")

    assert configured == {"appendfsync": fsync}


def started(stage: Stage, port: int, *, fsync: RedisFsync = "always") -> Supervisor:
    return stage.supervisor(redis_spec(stage.directory, port=port, password=PASSWORD, fsync=fsync))
