"""Answers of the calls that operate keys, projects, policies and training."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from rollout.episode.episode_records import HistoryPolicy


class KeyObject(BaseModel):
    object: Literal["key"] = "key"
    id: str
    project: str
    name: str
    hint: str  # the beginning of the secret
    scopes: list[str]
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None
    max_open_episodes: int | None = None
    grammars_per_minute: int | None = None
    created: int
    expires: int | None


class NewKey(KeyObject):
    key: str = Field(repr=False)  # shown only in this answer


class ProjectObject(BaseModel):
    object: Literal["project"] = "project"
    id: str
    name: str
    created: int
    history: HistoryPolicy  # for episodes that name none
    train: bool  # false: its episodes are recorded and never trained
    private_prefix_cache: bool  # engines keep its prompts apart from other projects'


class EvaluationObject(BaseModel):
    """What the held-out episodes of one policy earned."""

    model_config = ConfigDict(from_attributes=True)

    mean_reward: float
    episodes: int
    standard_error: float | None  # of the mean; null for one episode


class PolicyObject(BaseModel):
    object: Literal["policy"] = "policy"
    version: int
    parent: int | None
    path: str
    digest: str
    created: int
    is_active: bool
    is_on_disk: bool
    is_best: bool  # of those on disk with enough held-out episodes
    evaluation: EvaluationObject | None


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


class AdmissionObject(BaseModel):
    """Who holds how many of the places for episodes that may wait to be trained."""

    limit: int  # 0: none
    key_limit: int
    reserved: int
    claimed: int  # of these, by the trainer
    by_key: dict[str, int]


class TrainingObject(BaseModel):
    object: Literal["training"] = "training"
    step: int | None
    policy_version: int | None
    pinned: bool  # the policy is served until it is released, whatever is trained
    paused: bool
    backlog: dict[str, int]
    admission: AdmissionObject
    staleness: float | None
    metrics: dict[str, JsonValue]
