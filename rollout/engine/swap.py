"""Making engines serve a policy: pause, load, resume.

A paused engine puts its running requests back in the queue with the tokens they have; after the load they go on under
the new policy. Their readers see a gap between two tokens and no error.
"""

import asyncio
import time
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import anyio
import msgspec
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from rollout.engine.engine import Engine
from rollout.engine.errors import EngineError, EngineTimeout
from rollout.policies import Policy, verify
from rollout.served_model import ServedModel

RESUME_ATTEMPTS = 3
LOAD_SECONDS = 600.0  # a 70B model from a network disk
LOCK_SECONDS = 15.0  # until another process swaps if the holder of the lock died in a swap


class PolicySource(Protocol):
    """The store of one project, as far as a swap needs it."""

    project: str

    async def policy(self) -> Policy | None: ...
    def lock(self, name: str, *, lease_seconds: float) -> AbstractAsyncContextManager[bool]: ...


class Swap(msgspec.Struct, frozen=True):
    """The result for one engine. The gap is the time in which it sampled nothing."""

    engine: str
    model: ServedModel
    gap_seconds: float
    error: str | None = None

    @property
    def version(self) -> int:
        return self.model.version

    @property
    def ok(self) -> bool:
        return self.error is None


async def swap(
    engines: Iterable[Engine], policy: Policy, *, project: str = "default"
) -> list[Swap]:
    """Make every engine serve this policy, all at the same time; one that fails does not stop the others.

    Raises PolicyDamaged before any engine is paused.
    """
    await asyncio.to_thread(verify, policy)
    model = ServedModel(project, policy.version)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(_swap_one(e, model, policy.path)) for e in engines]
    return [task.result() for task in running]


async def reconcile(engines: Iterable[Engine], store: PolicySource) -> list[Swap] | None:
    """Swap those engines that do not serve the recorded policy; None if another process is doing it already."""
    async with store.lock("swap", lease_seconds=LOCK_SECONDS) as is_held:
        if not is_held:
            return None
        policy = await store.policy()
        if policy is None:
            return []
        model = ServedModel(store.project, policy.version)
        outdated = [engine for engine in engines if await _serves_another(engine, model)]
        return await swap(outdated, policy, project=store.project) if outdated else []


async def _serves_another(engine: Engine, model: ServedModel) -> bool:
    """An engine that does not answer cannot be swapped."""
    try:
        return await engine.served_model() != model
    except EngineError:
        return False


async def _swap_one(engine: Engine, model: ServedModel, path: str) -> Swap:
    started = time.monotonic()
    error = None
    try:
        try:
            await engine.pause()
            await engine.load(path, model, timeout=LOAD_SECONDS)
        finally:
            with anyio.CancelScope(shield=True):
                await _resume(engine)
        served = await engine.served_model()
        if served != model:
            error = f"serves version {served.version} after loading {model.version}"
    except EngineError as failure:
        error = failure.why
    return Swap(engine.url, model, time.monotonic() - started, error)


@retry(
    retry=retry_if_exception_type(EngineTimeout),
    stop=stop_after_attempt(RESUME_ATTEMPTS),
    reraise=True,
)
async def _resume(engine: Engine) -> None:
    """Retried, because an engine that stays paused answers no call; resuming twice does no harm."""
    await engine.resume()
