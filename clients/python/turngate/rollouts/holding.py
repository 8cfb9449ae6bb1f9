"""Holds the policy still while it is evaluated: engines go on serving one version, whatever the trainer publishes."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

from turngate.client import AsyncTurngate
from turngate.errors import PermissionDenied, PolicyMoves

SWAP_SECONDS = 120.0


class Undo(StrEnum):
    """What ends a hold; nothing if somebody else holds the policy too."""

    NOTHING = ""
    RELEASE = "release"
    RESUME_TRAINING = "resume_training"


@dataclass(frozen=True, slots=True)
class Held:
    """`version` is None while nothing was published yet, and where the policy may move."""

    model: str
    version: int | None
    undo: Undo = Undo.NOTHING

    @classmethod
    def of_header(cls, header: Mapping[str, object]) -> "Held | None":
        """What an interrupted run held, which a kill may have left held."""
        if not header:
            return None
        model = str(header.get("model", ""))
        version = model.partition("@")[2]
        return cls(model, int(version) if version else None, Undo(str(header.get("undo", ""))))


@asynccontextmanager
async def held_policy(turngate: AsyncTurngate, earlier: Held | None = None) -> AsyncIterator[Held]:
    """Pin the policy that is served, or the one that `earlier` names, and release it. One that somebody pinned stays so.

    Before the first policy is published there is none to pin: training is paused instead, so that none is published.
    """
    try:
        held = await _hold(turngate, earlier or Held("policy", None))
    except PermissionDenied as error:
        raise PolicyMoves(
            "evaluate() pins the policy, which needs a key with the scope admin; "
            "use one, or pass hold=False and read in the result which versions played"
        ) from error
    try:
        if held.version is not None:
            await _until_served(turngate, held.model)
        yield held
    finally:
        if held.undo is Undo.RELEASE:
            await turngate.release()
        elif held.undo is Undo.RESUME_TRAINING:
            await turngate.resume_training()


async def _hold(turngate: AsyncTurngate, earlier: Held) -> Held:
    training = await turngate.training()
    active = next((policy for policy in await turngate.policies() if policy.is_active), None)
    if active is None:
        is_ours = not training.paused or earlier.undo is Undo.RESUME_TRAINING
        if not training.paused:
            await turngate.pause_training()
        return Held("policy", None, Undo.RESUME_TRAINING if is_ours else Undo.NOTHING)
    version = active.version if earlier.version is None else earlier.version
    if training.pinned and active.version != version:
        raise PolicyMoves(
            f"policy {active.version} is pinned, and the evaluation that resumes is of policy {version}; "
            "release() the pin, or name another file"
        )
    if not training.pinned:
        await turngate.activate(version)
    is_ours = not training.pinned or earlier.undo is Undo.RELEASE
    return Held(f"policy@{version}", version, Undo.RELEASE if is_ours else Undo.NOTHING)


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
