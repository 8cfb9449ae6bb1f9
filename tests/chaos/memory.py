"""What each process holds while the service runs: memory, files, sockets; Redis's data, and the disk."""

import asyncio
import os
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import psutil
import redis.asyncio

from tests.chaos.service import Service

SAMPLE_SECONDS = 5.0
MB = 2**20


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    value: float


@dataclass
class Held:
    """Samples by (process, what); a restarted process begins a new series, and the longest is judged."""

    series: dict[tuple[str, str, int], list[Sample]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def add(self, process: str, what: str, value: float, *, life: int = 0) -> None:
        self.series[process, what, life].append(Sample(time.time(), value))

    def longest(self) -> dict[tuple[str, str], list[Sample]]:
        found: dict[tuple[str, str], list[Sample]] = {}
        for (process, what, _), samples in self.series.items():
            if len(samples) > len(found.get((process, what), [])):
                found[process, what] = samples
        return found


def thirds(samples: list[Sample]) -> tuple[float, float, float]:
    """The mean of each third of the time."""
    size = max(1, len(samples) // 3)
    parts = samples[:size], samples[size : 2 * size], samples[2 * size :] or samples[-1:]
    first, middle, last = (mean(s.value for s in part or samples) for part in parts)
    return first, middle, last


async def observe(service: Service, held: Held) -> None:
    """Sample until cancelled."""
    while True:
        for name, process in service.processes.items():
            if process["pid"] is not None and process["state"] == "ready":
                _process(held, name, process["pid"])
        held.add("disk", "MB", _size(service.data_dir) / MB)
        with suppress(redis.RedisError, OSError, TimeoutError):
            client = redis.asyncio.Redis.from_url(service.ready.redis_url, socket_timeout=2)
            async with client:
                info = await client.info("memory")
            held.add("redis data", "MB", info["used_memory"] / MB)
        await asyncio.sleep(SAMPLE_SECONDS)


def _process(held: Held, name: str, pid: int) -> None:
    with suppress(psutil.Error):
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
        held.add(name, "MB", sum(p.memory_info().rss for p in family) / MB, life=pid)
        held.add(name, "files", sum(p.num_fds() for p in family), life=pid)
        held.add(name, "sockets", sum(len(p.net_connections()) for p in family), life=pid)


def _size(directory: Path) -> int:
    """Of its files, while other processes write and delete them."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                total += Path(folder, name).lstat().st_size
    return total
