"""What goes wrong, drawn from a seed: each fault begins, and ends by itself or is ended."""

import asyncio
import os
import random
import resource
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis.asyncio

from tests.chaos.history import ledger_held
from tests.chaos.proxy import Proxy
from tests.chaos.service import Service

CLOCK_JUMP = "clock jump"
WEIGHTS = {
    "kill gateway": 22,
    "kill engine": 16,
    "kill trainer": 22,
    "kill redis": 10,
    "stop gateway": 5,
    "stop engine": 4,
    "stop trainer": 4,
    "stop redis": 4,
    "cut connections": 5,
    "slow redis": 4,
    "read-only redis": 4,
    "ledger away": 5,
    "disk full": 5,
}
RARE = {CLOCK_JUMP: 4}  # drawn only if they are named
FAULT_SECONDS = 4.0  # of those that do not end by themselves
CLOCK_SECONDS = 600  # longer than every lease and every deadline of the agents
SMALL_FILE = 4096  # bytes: no policy and no checkpoint fits


@dataclass
class Fault:
    kind: str
    target: str
    begun: float
    over: float = 0.0

    @property
    def is_kill(self) -> bool:
        return self.kind.startswith("kill")


@dataclass
class Faults:
    service: Service
    proxy: Proxy
    rng: random.Random
    weights: dict[str, int]
    in_order: list[str]  # kinds that come before those that are drawn
    told: Callable[[str], object]
    clock: Path | None = None  # the file that libfaketime reads
    seen: list[Fault] = field(default_factory=list)

    async def one(self) -> Fault:
        """Draw a fault and let it happen; returns when it is over, not when all has recovered."""
        kind, target = self._draw()
        while target is None:
            await asyncio.sleep(0.5)  # what was drawn is down already
            kind, target = self._draw()
        fault = Fault(kind, target, time.time())
        self.seen.append(fault)
        self.told(f"{time.strftime('%H:%M:%S')} {kind}: {target}")
        await self._happen(fault)
        fault.over = time.time()
        return fault

    def _draw(self) -> tuple[str, str | None]:
        drawn = self.rng.choices(list(self.weights), weights=list(self.weights.values()))[0]
        kind = self.in_order[0] if self.in_order else drawn
        verb, _, what = kind.partition(" ")
        if kind == "disk full":
            what = self.rng.choice(("trainer", "redis", "gateway"))
        target = self._target(what) if verb in ("kill", "stop", "disk") else what
        if self.in_order and target is not None:
            del self.in_order[0]
        return kind, target

    def _target(self, what: str) -> str | None:
        """A ready process of this sort. A gateway or an engine only while another is ready: that is what several are for."""
        processes = self.service.processes
        ready = [
            name
            for name, process in processes.items()
            if name.startswith(what) and process["state"] == "ready"
        ]
        enough = 2 if what in ("gateway", "engine") else 1
        return self.rng.choice(ready) if len(ready) >= enough else None

    async def _happen(self, fault: Fault) -> None:
        target = fault.target
        match fault.kind.partition(" ")[0]:
            case "kill":
                self._signal(target, signal.SIGKILL)
            case "stop":
                self._signal(target, signal.SIGSTOP)
                await asyncio.sleep(self.rng.choice((0.5, FAULT_SECONDS)))
                self._signal(target, signal.SIGCONT)
            case "cut":
                self.proxy.cut()
            case _:
                async with self._condition(fault.kind):
                    await asyncio.sleep(FAULT_SECONDS)

    def _signal(self, target: str, number: signal.Signals) -> None:
        pid = self.service.processes[target]["pid"]
        if pid is not None:
            with suppress(ProcessLookupError):
                (os.killpg if number != signal.SIGKILL else os.kill)(pid, number)

    def _condition(self, kind: str) -> AbstractAsyncContextManager[None]:
        conditions: dict[str, Callable[[], AbstractAsyncContextManager[None]]] = {
            "slow redis": self._slow_redis,
            "read-only redis": self._read_only_redis,
            "ledger away": self._ledger_away,
            CLOCK_JUMP: self._clock_jump,
            "disk full": self._disk_full,
        }
        return conditions[kind]()

    @asynccontextmanager
    async def _slow_redis(self) -> AsyncIterator[None]:
        """Every command of every client waits."""
        async with self._redis() as client:
            with suppress(redis.RedisError):
                await client.execute_command("CLIENT", "PAUSE", int(FAULT_SECONDS * 1000), "ALL")
        yield

    @asynccontextmanager
    async def _read_only_redis(self) -> AsyncIterator[None]:
        """It refuses writes with NOREPLICAS."""
        async with self._redis() as client:
            with suppress(redis.RedisError):
                await client.config_set("min-replicas-to-write", 1)
        try:
            yield
        finally:
            async with self._redis() as client:
                with suppress(redis.RedisError):  # a restarted one accepts them anyhow
                    await client.config_set("min-replicas-to-write", 0)

    def _ledger_away(self) -> AbstractAsyncContextManager[None]:
        return ledger_held(self.service.ledger_url)

    @asynccontextmanager
    async def _clock_jump(self) -> AsyncIterator[None]:
        """The time of day of all processes is ten minutes later, and then again what it was."""
        assert self.clock is not None, "this fault is drawn only if the clock can be changed"
        self.clock.write_text(f"+{CLOCK_SECONDS}\n")
        try:
            yield
        finally:
            self.clock.write_text("+0\n")

    @asynccontextmanager
    async def _disk_full(self) -> AsyncIterator[None]:
        """The writes of one process fail: what the kernel refuses for size, it also refuses for want of room."""
        pid = self.service.processes[self.seen[-1].target]["pid"]
        affected: list[int] = []
        with suppress(psutil.NoSuchProcess):
            affected = [pid, *(c.pid for c in psutil.Process(pid).children(recursive=True))]
        for each in affected:
            _limit(each, SMALL_FILE)
        try:
            yield
        finally:
            for each in affected:
                _limit(each, resource.RLIM_INFINITY)

    def _redis(self) -> "redis.asyncio.Redis":
        return redis.asyncio.Redis.from_url(
            self.service.ready.redis_url, socket_timeout=5, socket_connect_timeout=5
        )


def _limit(pid: int, size: int) -> None:
    with suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
