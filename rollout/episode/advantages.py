"""The advantages of an episode's trained tokens, as the store keeps them beside the turns.

One float32 per trained token in the order of the episode's rows, or a single one if all are equal, as they are if
advantages are computed per episode.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from rollout.episode.episode_status import DiscardReason
from rollout.episode.sequences import TokenSequence

ADVANTAGE = np.dtype("<f4")


class Credit(msgspec.Struct, frozen=True, gc=False):
    """One episode's packed advantages, and how many of its tokens reached a gradient."""

    advantages: bytes
    num_tokens: int
    left_out: DiscardReason | None = None  # why the episode does not train although its group does


def pack_advantages(advantages: Iterable[NDArray[np.float32]]) -> bytes:
    """The advantages of the trained tokens, one array per row."""
    values = np.concatenate([np.empty(0, ADVANTAGE), *advantages]).astype(ADVANTAGE)
    return (values[:1] if (values == values[:1]).all() else values).tobytes()


def unpack_advantages(data: bytes, rows: Sequence[TokenSequence]) -> list[NDArray[np.float32]]:
    """One array per row with one entry per token, 0 where the action mask is false."""
    num_trained = sum(int(row.action_mask.sum()) for row in rows)
    values = np.broadcast_to(np.frombuffer(data, ADVANTAGE), num_trained)
    spread = [np.zeros(len(row), np.float32) for row in rows]
    done = 0
    for entry, row in zip(spread, rows, strict=True):
        size = int(row.action_mask.sum())
        entry[row.action_mask] = values[done : done + size]
        done += size
    return spread
