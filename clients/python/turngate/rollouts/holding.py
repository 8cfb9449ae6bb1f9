"""Holds the policy still while it is evaluated: engines go on serving one version, whatever the trainer publishes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from turngate.client import AsyncTurngate
from turngate.errors import PermissionDenied, PolicyMoves

SWAP_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Held:
    """`version` is None while nothing was published yet, and where the policy may move."""

    model: str
    version: int | None


@asynccontextmanager
async def held_policy(turngate: AsyncTurngate) -> AsyncIterator[Held]:
    """Pin the policy that is served, and release it. One that is pinned already stays so.

    Before the first policy is published there is none to pin: training is paused instead, so that none is published.
    """
    try:
        training = await turngate.training()
        active = next((policy for policy in await turngate.policies() if policy.is_active), None)
        if active is None and not training.paused:
            await turngate.pause_training()
        if active is not None and not training.pinned:
            await turngate.activate(active.version)
    except PermissionDenied as error:
        raise PolicyMoves(
            "evaluate() pins the policy, which needs a key with the scope admin; "
            "use one, or pass hold=False and read in the result which versions played"
        ) from error
    try:
        if active is None:
            yield Held("policy", None)
        else:
            await _until_served(turngate, f"policy@{active.version}")
            yield Held(f"policy@{active.version}", active.version)
    finally:
        if active is None and not training.paused:
            await turngate.resume_training()
        if active is not None and not training.pinned:
            await turngate.release()


async def _until_served(turngate: AsyncTurngate, model: str) -> None:
    """Engines that serve another version swap first."""
    ends = time.monotonic() + SWAP_SECONDS
    while all(served.id != model for served in await turngate.models()):
        if time.monotonic() > ends:
            raise PolicyMoves(
                f"no engine serves {model} after {SWAP_SECONDS:.0f} seconds; `turngate status` shows the engines"
            )
        await asyncio.sleep(0.2)


@asynccontextmanager
async def moving_policy() -> AsyncIterator[Held]:
    """Hold nothing: the policy may change between two attempts and within one."""
    yield Held("policy", None)
