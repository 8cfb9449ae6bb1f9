"""Episodes, their turns, their rewards, and the sequences that train."""

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["succeeded", "failed", "aborted"]
Status = Literal["open", "sealed", "rewarded", "claimed", "trained", "discarded"]
History = Literal["sticky", "verbatim"]


@dataclass(frozen=True, slots=True)
class Opened:
    """What an agent needs to play an episode."""

    id: str
    group_id: str
    status: str
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewReward:
    """A reward to be posted, addressed by an episode or by the id of a completion that an SDK got back."""

    value: float
    episode_id: str | None = None
    completion_id: str | None = None
    turn_id: str | None = None
    choice_index: int | None = None
    name: str = "reward"
    complete: bool = False
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class RewardAnswer:
    """A reward as it was recorded."""

    episode_id: str
    turn_id: str | None
    choice_index: int | None
    name: str
    value: float
    created: int
    amended: bool


@dataclass(frozen=True, slots=True)
class RecordedReward:
    name: str
    value: float
    turn_id: str | None = None
    choice_index: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    id: str
    created: int
    kind: str
    policy_versions: list[int]
    context_tokens: int
    output_tokens: list[int]  # of each choice
    finish_reasons: list[str]
    flags: list[list[str]]


@dataclass(frozen=True, slots=True)
class EpisodeSummary:
    id: str
    status: str
    kind: str
    group_id: str
    task_id: str
    metadata: dict[str, object]
    created: int
    sealed: int | None
    settled: int | None
    outcome: str | None
    truncated: bool
    disposition: str | None
    policy_version: int | None
    num_turns: int
    reward: float | None = None  # the weighted sum of all its rewards


@dataclass(frozen=True, slots=True)
class EpisodeDetail(EpisodeSummary):
    turns: list[Turn] = field(default_factory=list)
    rewards: list[RecordedReward] = field(default_factory=list)
    history: str | None = None

    @property
    def policy_versions(self) -> set[int]:
        """Every version that sampled one of its tokens."""
        return {version for turn in self.turns for version in turn.policy_versions}


@dataclass(frozen=True, slots=True)
class Segment:
    start: int
    end: int
    turn: int | None
    text: str


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """A row that a trainer receives."""

    ids: list[int]
    action_mask: list[bool]
    behavior_logprobs: list[float]
    versions: list[int]
    turns: list[int]
    flags: list[int]
    advantages: list[float] | None
    segments: list[Segment]


@dataclass(frozen=True, slots=True)
class GroupMember:
    id: str
    status: str


@dataclass(frozen=True, slots=True)
class Group:
    id: str
    status: str
    size: int | None
    members: list[GroupMember]
    num_sealed: int
    num_rewarded: int
    deadline: int | None
