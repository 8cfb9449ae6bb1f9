"""Making engines serve a policy: pause, load, resume.

A paused engine puts its running requests back in the queue with the tokens they have; after the load they go on under
the new policy. Their readers see a gap between two tokens and no error.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager

import anyio
import msgspec

from rollout.engine.errors import EngineError, EngineTimeout
from rollout.engine.sglang.control_path import EngineControl
from rollout.policies import Policy, verify

RESUME_ATTEMPTS = 3
LOAD_SECONDS = 600.0  # a 70B model from a network disk


class Swap(msgspec.Struct, frozen=True):
    """How one engine fared. The gap is how long it sampled nothing."""

    engine: str
    version: int
    gap_seconds: float
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


async def swap(
    engines: Iterable[EngineControl], policy: Policy, *, load_seconds: float = LOAD_SECONDS
) -> list[Swap]:
    """Make every engine serve this policy, all at the same time; one that fails does not stop the others.

    Raises PolicyDamaged before any engine is paused.
    """
    await asyncio.to_thread(verify, policy)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_swap_one(engine, policy, load_seconds)) for engine in engines]
    return [task.result() for task in running]


async def reconcile(
    engines: Iterable[EngineControl],
    *,
    recorded: Callable[[], Awaitable[Policy | None]],
    lock: AbstractAsyncContextManager[object],
) -> list[Swap]:
    """Swap those engines that do not serve the recorded policy; under the lock, since many may try at once."""
    async with lock:
        policy = await recorded()
        if policy is None:
            return []
        behind = [engine for engine in engines if await _differs(engine, policy)]
        return await swap(behind, policy) if behind else []


async def _differs(engine: EngineControl, policy: Policy) -> bool:
    """An engine that does not answer cannot be swapped."""
    try:
        return (await engine.model_info()).policy_version != policy.version
    except EngineError:
        return False


async def _swap_one(engine: EngineControl, policy: Policy, load_seconds: float) -> Swap:
    started = time.monotonic()
    error = None
    try:
        try:
            await engine.pause()
            await engine.load(policy.path, policy.version, timeout=load_seconds)
        finally:
            with anyio.CancelScope(shield=True):
                await _resume(engine)
        serving = (await engine.model_info()).policy_version
        if serving != policy.version:
            error = f"serves version {serving} after loading {policy.version}"
    except EngineError as failure:
        error = failure.why
    return Swap(engine.url, policy.version, time.monotonic() - started, error)


async def _resume(engine: EngineControl) -> None:
    """A paused engine is a hung one, so a resume that timed out is tried again; it is idempotent."""
    for _ in range(RESUME_ATTEMPTS - 1):
        try:
            return await engine.resume()
        except EngineTimeout:
            continue
    return await engine.resume()
