"""The scene of an audit, played once and put back in place for each test."""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rollout.audit.scene import Scene, opened


@dataclass(frozen=True)
class Played:
    """The ledger's file and the content of each key, after everything has happened."""

    project: str
    ledger: Path
    keys: dict[str, bytes]


@pytest.fixture(scope="session")
def played(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Played:
    file, project = tmp_path_factory.mktemp("audit") / "ledger.db", uuid.uuid4().hex

    async def play() -> dict[str, bytes]:
        async with opened(redis_url, project, file) as scene:
            await scene.play_everything()
            return {name: await scene.redis.dump(name) for name in await scene.keys()}

    return Played(project, file, asyncio.run(play()))


@pytest.fixture
async def scene(played: Played, redis_url: str, tmp_path: Path) -> AsyncIterator[Scene]:
    shutil.copy(played.ledger, tmp_path / "ledger.db")
    async with opened(redis_url, played.project, tmp_path / "ledger.db") as scene:
        await scene.redis.delete(*await scene.keys())
        for name, content in played.keys.items():
            await scene.redis.restore(name, 0, content)
        yield scene
