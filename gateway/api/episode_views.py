"""Episodes as the control plane shows them."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import orjson

from gateway.api.responses import (
    EpisodeDetail,
    EpisodeSummary,
    GroupMember,
    GroupObject,
    MediaObject,
    SegmentObject,
    SequenceObject,
    SequencesView,
    TurnObject,
)
from gateway.api.span_tree import flag_names
from gateway.api.token_text import TokenText
from rollout.episode.advantages import unpack_advantages
from rollout.episode.episode_records import EpisodeHeader, EpisodeView, ListedEpisode
from rollout.episode.group import GroupView
from rollout.episode.reward import Rewards
from rollout.episode.sequences import TokenSequence, linearize
from rollout.episode.turn import Turn
from rollout.ledger.records import LedgerEpisode
from rollout.tokenizer.tokenizer import Tokenizer


def episode_fields(header: EpisodeHeader | LedgerEpisode) -> dict[str, Any]:
    """The fields that every view of an episode has."""
    return {
        "id": header.id,
        "status": header.status.value,
        "kind": header.kind,
        "group_id": header.group_id,
        "task_id": header.task_id,
        "key_id": header.key_id,
        "metadata": orjson.loads(header.metadata_json) if header.metadata_json else {},
        "created": header.created_ms // 1000,
        "sealed": _seconds(header.sealed_ms),
        "settled": _seconds(header.settled_ms),
        "outcome": header.outcome or None,
        "truncated": header.truncated,
        "disposition": header.disposition,
        "policy_version": header.policy_version,
        "num_turns": header.num_turns,
    }


def detail(episode: EpisodeView) -> EpisodeDetail:
    rewards = episode.rewards
    return EpisodeDetail(
        **episode_fields(episode.header),
        turns=[_turn(turn) for turn in episode.turns],
        rewards=_rewards(rewards),
        reward=_total(rewards),
        history=episode.header.history,
    )


def summary(episode: ListedEpisode) -> EpisodeSummary:
    return EpisodeSummary(**episode_fields(episode.header), reward=_total(episode.rewards))


def remembered(episode: LedgerEpisode) -> EpisodeDetail:
    """An episode whose data has expired: the ledger knows only how it ended."""
    return EpisodeDetail(
        **episode_fields(episode), turns=[], rewards=[], reward=episode.reward, history=None
    )


def sequences(episode: EpisodeView, tokenizer: Tokenizer) -> SequencesView:
    """What a trainer would receive if the episode were claimed now; for a trained one, with its tokens' advantages."""
    rows = linearize(episode.trie(), episode.header.id)
    text = TokenText(tokenizer)
    packed = episode.advantages
    advantages = [None] * len(rows) if packed is None else unpack_advantages(packed, rows)
    shown = [
        SequenceObject(
            ids=row.tokens.tolist(),
            action_mask=row.action_mask.tolist(),
            behavior_logprobs=row.behavior_logprobs.tolist(),
            versions=row.versions.tolist(),
            turns=row.turns.tolist(),
            flags=row.flags.tolist(),
            advantages=None if each is None else each.tolist(),
            segments=list(_segments(row, text)),
            media=[MediaObject.model_validate(image) for image in row.media],
        )
        for row, each in zip(rows, advantages, strict=True)
    ]
    return SequencesView(id=episode.header.id, data=shown)


def _segments(row: TokenSequence, text: TokenText) -> Iterator[SegmentObject]:
    """Runs of tokens that train for the same turn, or for none."""
    ids, turns = row.tokens.tolist(), row.turns.tolist()
    end = 0
    for turn, run in groupby(turns):
        start, end = end, end + len(list(run))
        words = text.of(ids[start:end], before=ids[:start], is_continued=end < len(ids))
        yield SegmentObject(start=start, end=end, turn=None if turn < 0 else turn, text=words)


def group(view: GroupView) -> GroupObject:
    return GroupObject(
        id=view.id,
        status=view.status.value,
        size=view.size,
        members=[GroupMember(id=id_, status=status.value) for id_, status in view.members],
        num_sealed=view.num_sealed,
        num_rewarded=view.num_rewarded,
        deadline=_seconds(view.deadline_ms),
        deliveries=view.deliveries,
    )


def _turn(turn: Turn) -> TurnObject:
    versions = {i.version for output in turn.outputs for i in output.versions}
    return TurnObject(
        id=turn.id,
        created=turn.created_ms // 1000,
        kind=turn.kind,
        policy_versions=sorted(versions),
        context_tokens=len(turn.context_ids),
        output_tokens=[output.num_tokens for output in turn.outputs],
        finish_reasons=[output.finish_reason for output in turn.outputs],
        flags=[flag_names(output.flags) for output in turn.outputs],
        found_by=turn.found_by,
        thread=turn.thread,
        client=turn.client,
        notes=list(turn.notes),
    )


def _total(rewards: Rewards) -> float | None:
    return rewards.total if rewards.values else None


def _rewards(rewards: Rewards) -> list[dict[str, Any]]:
    return [
        {
            "turn_id": place.turn_id,
            "choice_index": place.choice,
            "name": place.name,
            "value": value,
        }
        for place, value in rewards.values.items()
    ]


def _seconds(milliseconds: int | None) -> int | None:
    return milliseconds // 1000 if milliseconds else None
