"""The header of an episode that a trainer has claimed."""

from rollout.episode.episode_records import EpisodeHeader, HistoryPolicy
from rollout.episode.episode_status import EpisodeStatus


def header(episode_id: str, min_version: int) -> EpisodeHeader:
    return EpisodeHeader(
        id=episode_id,
        status=EpisodeStatus.CLAIMED,
        kind="train",
        group_id="g",
        task_id="",
        key_id="",
        metadata_json="",
        created_ms=0,
        sealed_ms=0,
        settled_ms=0,
        num_turns=1,
        num_trainable_turns=1,
        num_trainable_tokens=1,
        num_output_tokens=1,
        min_version=min_version,
        max_version=min_version,
        num_rewards=1,
        outcome="succeeded",
        truncated=False,
        reason=None,
        policy_version=None,
        history=HistoryPolicy.STICKY,
    )
