"""Answers of the control plane. Times are integer seconds; `object` names the kind of a resource; lists have `data`."""

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from gateway.families.model_facts import ModelFacts
from rollout.episode.episode_records import HistoryPolicy

Listed = TypeVar("Listed")


class OpenedEpisode(BaseModel):
    object: Literal["episode"] = "episode"
    id: str
    api_key: str = Field(repr=False)
    base_url: str
    group_id: str
    status: str
    history: HistoryPolicy


class RewardObject(BaseModel):
    object: Literal["reward"] = "reward"
    episode_id: str
    turn_id: str | None
    choice_index: int | None
    name: str
    value: float
    created: int
    amended: bool


class TurnObject(BaseModel):
    object: Literal["turn"] = "turn"
    id: str
    created: int
    kind: str
    policy_versions: list[int]
    context_tokens: int  # new in this turn; earlier turns have the rest of its prompt
    output_tokens: list[int]
    finish_reasons: list[str]
    flags: list[list[str]]
    found_by: str  # what named the episode, or how the gateway found it
    thread: str
    client: str
    notes: list[str]  # what the gateway left out of the body or brought to another form


class EpisodeObject(BaseModel):
    object: Literal["episode"] = "episode"
    id: str
    status: str
    kind: str
    group_id: str
    task_id: str
    key_id: str  # of the API key that opened it
    metadata: dict[str, JsonValue]
    created: int
    sealed: int | None
    settled: int | None
    outcome: str | None
    truncated: bool
    disposition: str | None
    policy_version: int | None
    num_turns: int


class EpisodeSummary(EpisodeObject):
    reward: float | None  # the weighted sum of all its rewards


class EpisodeDetail(EpisodeSummary):
    turns: list[TurnObject]
    rewards: list[dict[str, JsonValue]]
    history: HistoryPolicy | None  # None once the episode's data has expired


class MediaObject(BaseModel):
    """An image, by the SHA-256 of its bytes, and the tokens that stand for it."""

    model_config = ConfigDict(from_attributes=True)

    digest: str
    start: int
    length: int


class SpanObject(BaseModel):
    id: str
    parent: str | None
    offset: int  # how many of the parent's tokens come before
    kind: Literal["context", "sampled", "forced"]
    turn_id: str
    turn_kind: str
    choice_index: int | None  # which of its turn's outputs; null for context
    tokens: list[int]
    text: str
    behavior_logprobs: list[float] | None
    versions: list[tuple[int, int, int]]
    flags: list[str]
    trains: bool
    orphaned: (
        Literal["abandoned", "side", "passed_over", "lost"] | None
    )  # why a sampled span never trains
    action_mask: list[bool]
    rows: list[tuple[int, int, int]]  # tokens [start, end) train in that row of `?view=sequences`
    media: list[MediaObject]


class SegmentObject(BaseModel):
    start: int
    end: int
    turn: int | None  # that sampled tokens [start, end); null where nothing trains
    text: str


class SequenceObject(BaseModel):
    ids: list[int]
    action_mask: list[bool]
    behavior_logprobs: list[float]
    versions: list[int]
    turns: list[int]
    flags: list[int]  # bits of OutputFlags, per token
    advantages: list[float] | None  # null until a policy is trained on the episode
    segments: list[SegmentObject]
    media: list[MediaObject]


class TokensView(BaseModel):
    object: Literal["episode.tokens"] = "episode.tokens"
    id: str
    data: list[SpanObject]


class SequencesView(BaseModel):
    object: Literal["episode.sequences"] = "episode.sequences"
    id: str
    data: list[SequenceObject]


class ListObject(BaseModel, Generic[Listed]):
    object: Literal["list"] = "list"
    data: list[Listed]


class EpisodePage(ListObject[EpisodeSummary]):
    has_more: bool


class GroupMember(BaseModel):
    id: str
    status: str


class GroupObject(BaseModel):
    object: Literal["group"] = "group"
    id: str
    status: str
    size: int | None
    members: list[GroupMember]
    num_sealed: int
    num_rewarded: int
    deadline: int | None
    deliveries: int


class Deleted(BaseModel):
    object: str
    id: str
    deleted: Literal[True] = True


class ModelObject(BaseModel):
    object: Literal["model"] = "model"
    id: str
    created: int
    owned_by: str = "turngate"
    rendering: ModelFacts  # how the model's messages become tokens and its tokens messages
