"""Short ways for tests to bring episodes to where the test starts."""

import hashlib

from rollout.episode.attempt import Attempt
from rollout.episode.episode_records import EpisodeSpec
from rollout.episode.group import Claim
from rollout.episode.reward import Reward
from rollout.episode.turn import Turn, encode_turn
from rollout.policies import Policy
from rollout.store.store import Store
from tests.rollout.turns import output, turn


def own_group(episode_id: str) -> str:
    """The group of an episode that names none."""
    digest = hashlib.sha1(episode_id.encode(), usedforsecurity=False).hexdigest()
    return f"grp_{digest[:24]}"


async def commit(store: Store, episode_id: str, made: Turn, reply: bytes = b"") -> int:
    attempt = Attempt(made.id, made.retry_key, made.body_digest)
    return await store.commit(
        episode_id, made, encoded=encode_turn(made), attempt=attempt, reply=reply
    )


async def play(
    store: Store,
    episode_id: str,
    *,
    group: str | None = None,
    size: int | None = None,
    version: int = 1,
    value: float | None = 1.0,
) -> None:
    """Open, take one turn, and complete with a reward unless it is None."""
    await store.open(EpisodeSpec(episode_id, group_id=group, group_size=size))
    await commit(
        store, episode_id, turn(f"turn of {episode_id}", [1], output([2], version=version))
    )
    if value is not None:
        await store.reward(episode_id, Reward(value), complete=True)


async def claim(
    store: Store, owner: str = "trainer", *, groups: int = 10, version: int = 1, staleness: int = 1
) -> list[Claim]:
    return await store.claim(
        owner, groups=groups, version=version, max_staleness=staleness, lease_seconds=30
    )


def policy(version: int) -> Policy:
    return Policy(version, f"/weights/v{version:08}", version - 1 if version else None, "digest", 7)
