"""Bodies of the control plane, checked at the edge. Unknown fields are ignored, wrong ones are refused by name.

Times are integer seconds; every resource says its `object`; lists are objects with `data`.
"""

from typing import Annotated, Literal

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)

from gateway.families import ModelFacts
from rollout.episode import HistoryPolicy

# Strict: "1.0" and true are not rewards. Finite: NaN in one reward would spread to the whole batch.
# Bounded: beyond 1e15 the variance of a group no longer fits the trainer's float32.
RewardValue = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e15, le=1e15)]
RewardName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^|]+$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:\-]{0,127}$")]
# As long as the ledger's column, and without the control characters that PostgreSQL and our own errors refuse.
TaskId = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Scope = Literal["infer", "reward", "read", "admin"]


def writable(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Refuse what can be read from JSON but not be written: huge integers, half of a surrogate pair."""
    try:
        orjson.dumps(value)
    except TypeError as error:
        raise ValueError(str(error)) from None
    return value


class EpisodeWish(BaseModel):
    task_id: TaskId | None = None
    group_id: Identifier | None = None
    group_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    reward_deadline_seconds: Annotated[float, Field(gt=0, le=31_536_000)] | None = None  # a year
    metadata: Annotated[dict[str, JsonValue], AfterValidator(writable)] = {}
    history: HistoryPolicy | None = None  # the project's by default


class OpenedEpisode(BaseModel):
    object: Literal["episode"] = "episode"
    id: str
    api_key: str
    base_url: str
    group_id: str
    status: str
    history: HistoryPolicy


class RewardBody(BaseModel):
    value: RewardValue
    name: RewardName = "reward"
    turn_id: Annotated[str, StringConstraints(min_length=1)] | None = None
    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    choice_index: Annotated[int, Field(strict=True, ge=0, lt=128)] | None = None  # of n > 1 choices
    complete: bool = False  # seal the episode in the same call


class AddressedReward(RewardBody):
    completion_id: str | None = None
    episode_id: str | None = None

    @model_validator(mode="after")
    def _has_one_address(self) -> "AddressedReward":
        if (self.completion_id is None) == (self.episode_id is None):
            raise ValueError("give either completion_id or episode_id")
        return self


class RewardObject(BaseModel):
    object: Literal["reward"] = "reward"
    episode_id: str
    turn_id: str | None
    choice_index: int | None
    name: str
    value: float
    created: int
    amended: bool


class Completion(BaseModel):
    status: Literal["succeeded", "failed", "aborted"] = "succeeded"
    truncated: bool = False


class TurnObject(BaseModel):
    object: Literal["turn"] = "turn"
    id: str
    created: int
    kind: str
    policy_versions: list[int]
    context_tokens: int  # new in this turn; the rest of its prompt is in earlier turns
    output_tokens: list[int]
    finish_reasons: list[str]
    flags: list[list[str]]


class EpisodeObject(BaseModel):
    object: Literal["episode"] = "episode"
    id: str
    status: str
    kind: str
    group_id: str
    task_id: str
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
    reward: float | None  # all of them, weighted and added up


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
    orphaned: Literal["abandoned", "side", "passed_over"] | None  # why what was sampled does not
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


class EpisodeList(BaseModel):
    object: Literal["list"] = "list"
    data: list[EpisodeSummary]
    has_more: bool


class RewardList(BaseModel):
    object: Literal["list"] = "list"
    data: list[RewardObject]


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


class KeyWish(BaseModel):
    project: Name | None = None
    name: Annotated[str, StringConstraints(max_length=128)] = ""
    scopes: list[Scope] = ["infer", "reward", "read"]
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    max_concurrent: Annotated[int, Field(ge=1)] | None = None


class KeyObject(BaseModel):
    object: Literal["key"] = "key"
    id: str
    project: str
    name: str
    hint: str  # the beginning of the secret
    scopes: list[str]
    requests_per_minute: int | None
    max_concurrent: int | None
    created: int


class NewKey(KeyObject):
    key: str  # shown this once


class KeyList(BaseModel):
    object: Literal["list"] = "list"
    data: list[KeyObject]


class ProjectWish(BaseModel):
    name: Name
    history: HistoryPolicy | None = None  # None leaves it as it is, sticky at first


class ProjectObject(BaseModel):
    object: Literal["project"] = "project"
    id: str
    name: str
    created: int
    history: HistoryPolicy  # of episodes that name none


class ProjectList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ProjectObject]


class PolicyObject(BaseModel):
    object: Literal["policy"] = "policy"
    version: int
    parent: int | None
    path: str
    digest: str
    created: int
    is_active: bool


class PolicyList(BaseModel):
    object: Literal["list"] = "list"
    data: list[PolicyObject]


class SwapObject(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    engine: str
    version: int
    gap_seconds: float
    error: str | None


class Activation(BaseModel):
    object: Literal["policy.activation"] = "policy.activation"
    version: int | None
    pinned: bool
    swaps: list[SwapObject]


class TrainingObject(BaseModel):
    object: Literal["training"] = "training"
    step: int | None
    policy_version: int | None
    paused: bool
    backlog: dict[str, int]
    staleness: float | None
    metrics: dict[str, JsonValue]


class ModelObject(BaseModel):
    object: Literal["model"] = "model"
    id: str
    created: int
    owned_by: str = "turngate"
    rendering: ModelFacts  # how the model's messages become tokens and its tokens messages


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelObject]
