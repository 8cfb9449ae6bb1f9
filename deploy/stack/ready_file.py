"""The file in which a process of ours says where it listens, once it can be used; and the wait for such things."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class ReadyFile:
    path: Path

    @classmethod
    def of(cls, name: str, run: Path) -> "ReadyFile":
        return cls(run / f"{name}.ready.json")

    def clear(self) -> None:
        """Forget what an earlier run of the process wrote."""
        self.path.unlink(missing_ok=True)

    async def is_written(self) -> bool:
        return self.path.exists()

    def read(self) -> dict[str, Any]:
        content = json.loads(self.path.read_text())
        assert isinstance(content, dict)
        return content


async def poll_until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that another program does and does not announce; the caller sets the deadline."""
    while not await condition():  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)
