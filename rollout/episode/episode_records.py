"""Records of an episode besides its turns: what opens it, its header, and what the store returns."""

from enum import StrEnum

import msgspec

from rollout.episode.episode_status import DiscardReason, EpisodeStatus
from rollout.episode.reward import Rewards
from rollout.episode.trie import Trie
from rollout.episode.turn import Turn


class HistoryPolicy(StrEnum):
    """What a prompt holds if reasoning was sampled and the client did not send it back."""

    STICKY = "sticky"  # the reasoning as it was sampled and stored
    VERBATIM = "verbatim"  # only what the client sent, which makes a branch


class EpisodeSpec(msgspec.Struct, frozen=True, gc=False):
    """What an episode is opened with; for an id that exists all but the id is ignored."""

    id: str
    group_id: str | None = None
    group_size: int | None = None
    task_id: str = ""
    reward_deadline_seconds: float | None = None
    kind: str = "train"
    metadata_json: str = ""
    key_id: str = ""
    history: HistoryPolicy | None = None  # None: the project's
    is_named: bool = (
        True  # the caller names the episode or its group; one that does not is never refused
    )
    max_group_size: int = 65_536  # of a group whose size nobody states
    max_open_episodes: int = 0  # of its key; 0 is no limit
    is_trained: bool = True  # False: its project is served and never trained


class EpisodeHeader(msgspec.Struct, frozen=True, gc=False):
    """The state of an episode at one moment. Times are milliseconds, 0 for what has not happened."""

    id: str
    status: EpisodeStatus
    kind: str
    group_id: str
    task_id: str
    key_id: str
    metadata_json: str
    created_ms: int
    sealed_ms: int
    settled_ms: int
    num_turns: int
    num_trainable_turns: int
    num_trainable_tokens: int
    num_output_tokens: int
    min_version: int | None
    max_version: int | None
    num_rewards: int
    outcome: str
    truncated: bool
    reason: DiscardReason | None
    policy_version: int | None  # the version it was trained into
    history: HistoryPolicy

    @property
    def disposition(self) -> str | None:
        """`trained`, the reason it was discarded, or None while it is live."""
        if self.status is EpisodeStatus.TRAINED:
            return "trained"
        return self.reason.value if self.reason is not None else None


class EpisodeView(msgspec.Struct, frozen=True, gc=False):
    """One consistent reading of an episode."""

    header: EpisodeHeader
    turns: tuple[Turn, ...]
    rewards: Rewards
    advantages: bytes | None = None  # of its trained tokens (`advantages.py`), once it is trained

    def trie(self) -> Trie:
        """Its turns as a trie that knows what the rewards name."""
        rewards = self.rewards
        return Trie(self.turns, rewarded=rewards.choices, rewarded_turns=rewards.named_turns)


class ListedEpisode(msgspec.Struct, frozen=True, gc=False):
    """An episode in a list."""

    header: EpisodeHeader
    rewards: Rewards


class EpisodeSummary(msgspec.Struct, frozen=True, gc=False):
    """What a turn needs to know of its episode. Another one may have been opened under the id of one that was deleted."""

    id: str
    created_ms: int
    history: HistoryPolicy
    num_turns: int


class BegunTurn(msgspec.Struct, frozen=True, gc=False):
    """What a turn needs to start: the turns that the caller has not seen, and the recorded reply of a repeat.

    If the same call is being sampled for another attempt, nothing was begun: the caller waits and asks again.
    """

    header: EpisodeSummary
    turns: list[bytes]
    reply: bytes | None
    is_being_sampled: bool = False


class SettledEpisode(msgspec.Struct, frozen=True, gc=False):
    """An episode that the ledger must record; `sequence` acknowledges exactly this entry of the outbox."""

    header: EpisodeHeader
    reward: float
    sequence: int


# What Redis holds of fields that have few values.
_STATUSES = {status.value.encode(): status for status in EpisodeStatus}
_REASONS = {None: None, b"": None} | {reason.value.encode(): reason for reason in DiscardReason}
_HISTORIES = {None: HistoryPolicy.STICKY, b"": HistoryPolicy.STICKY} | {
    policy.value.encode(): policy for policy in HistoryPolicy
}


def parse_summary(episode_id: str, values: list[bytes | None]) -> EpisodeSummary:
    """Read what `begin.lua` answers."""
    created, history, turns = values
    return EpisodeSummary(episode_id, int(created or 0), _HISTORIES[history], int(turns or 0))


def parse_header(values: list[bytes | None]) -> EpisodeHeader:
    """Read the fields that `header.lua` asks Redis for; the record has the same ones in the same order.

    Lists and views read many: arguments by name and calls for single fields would treble its cost.
    """
    id_, status, kind, group, task, key, metadata = values[:7]
    created, sealed, settled, turns, trainable_turns, trainable_tokens, tokens = values[7:14]
    min_version, max_version, rewards, outcome, truncated, reason, version, history = values[14:]
    if status not in _STATUSES or reason not in _REASONS or history not in _HISTORIES:
        raise ValueError(f"no episode has {status!r}, {reason!r} and {history!r} in its header")
    return EpisodeHeader(
        id_.decode() if id_ else "",
        _STATUSES[status],
        kind.decode() if kind else "",
        group.decode() if group else "",
        task.decode() if task else "",
        key.decode() if key else "",
        metadata.decode() if metadata else "",
        int(created or 0),
        int(sealed or 0),
        int(settled or 0),
        int(turns or 0),
        int(trainable_turns or 0),
        int(trainable_tokens or 0),
        int(tokens or 0),
        int(min_version) if min_version else None,
        int(max_version) if max_version else None,
        int(rewards or 0),
        outcome.decode() if outcome else "",
        truncated == b"1",
        _REASONS[reason],
        int(version) if version else None,
        _HISTORIES[history],
    )
