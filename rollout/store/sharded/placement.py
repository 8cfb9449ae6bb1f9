"""Which shard a group, an episode or an API key belongs to. It follows from the name alone, so that every process agrees.

An episode lies in the shard of its group. One that names none has a group of its own, whose name is a digest of the episode's id
(`lua/functions/opening.lua`).
"""

import hashlib
from zlib import crc32


def shard_of(name: str, num_shards: int) -> int:
    """The shard of a group, a key, a label or a session."""
    return crc32(name.encode(errors="surrogateescape")) % num_shards


def shard_of_episode(episode_id: str, num_shards: int) -> int:
    """The shard of an episode that names no group."""
    return shard_of(own_group(episode_id), num_shards)


def own_group(episode_id: str) -> str:
    """The group of an episode that names none."""
    digest = hashlib.sha1(episode_id.encode(errors="surrogateescape"), usedforsecurity=False)
    return f"grp_{digest.hexdigest()[:24]}"
