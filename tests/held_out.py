"""Held-out episodes as an evaluator leaves them in the store: marked `side`, each of one version, rewarded."""

from collections.abc import Sequence
from uuid import uuid4

from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.reward import Reward
from rollout.store.store import Store
from tests.rollout.play import commit
from tests.rollout.turns import output, turn


async def hold_out(store: Store, version: int, rewards: Sequence[float]) -> None:
    """One episode for each reward; a settler has yet to tell the ledger."""
    for reward in rewards:
        name = f"ep_{uuid4().hex}"
        await store.open(EpisodeSpec(name, kind="side"))
        made = turn(f"turn_{name}", [1], output([2], version=version), kind="side")
        await commit(store, name, made)
        await store.reward(name, Reward(reward), complete=True)
