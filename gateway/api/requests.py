"""Bodies of control-plane calls. Unknown fields are refused; an error names the wrong one."""

import json
from contextlib import suppress
from typing import Annotated, Literal

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StringConstraints,
    Tag,
    model_validator,
)

from gateway.access.caller import KeyLimits
from gateway.request.identifiers import Identifier, TaskId
from rollout.episode.episode_records import HistoryPolicy
from rollout.json_escapes import whole_characters

# Strict: "1.0" and true are not rewards. Finite: NaN in one reward would spread to the whole batch.
# Bounded: beyond 1e15 the variance of a group no longer fits the trainer's float32.
RewardValue = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e15, le=1e15)]
RewardName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^|]+$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$")]
Limit = Annotated[int, Field(ge=1, le=2**31 - 1)]
LIMITS = set(KeyLimits.__struct_fields__)
Scope = Literal["infer", "reward", "read", "observe", "admin"]


def writable(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Replace halves of characters, and refuse integers that JSON can be read to but not written from."""
    with suppress(TypeError):
        orjson.dumps(value)
        return value
    with suppress(TypeError, RecursionError):
        whole: dict[str, JsonValue] = json.loads(whole_characters(json.dumps(value)))
        orjson.dumps(whole)
        return whole
    raise ValueError("it has an integer of more than 64 bits, or is nested too deeply")


def whole_number(value: object) -> object:
    """8.0 is 8."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EpisodeBody(Body):
    task_id: TaskId | None = None
    group_id: Identifier | None = None
    group_size: Annotated[int, Field(ge=1, le=65_536)] | None = None
    reward_deadline_seconds: Annotated[float, Field(gt=0, le=31_536_000)] | None = None  # a year
    metadata: Annotated[dict[str, JsonValue], AfterValidator(writable)] = {}
    history: HistoryPolicy | None = None  # the project's by default


class RewardBody(Body):
    value: RewardValue
    name: RewardName = "reward"
    turn_id: Identifier | None = None
    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    choice_index: (
        Annotated[int, BeforeValidator(whole_number), Field(strict=True, ge=0, lt=128)] | None
    ) = None  # of n > 1 choices
    complete: bool = False  # seal the episode in the same call


class AddressedReward(RewardBody):
    completion_id: Identifier | None = None
    episode_id: Identifier | None = None

    @model_validator(mode="after")
    def _has_one_address(self) -> "AddressedReward":
        if (self.completion_id is None) == (self.episode_id is None):
            raise ValueError("give either completion_id or episode_id")
        return self


def one_or_many(body: object) -> str:
    return MANY if isinstance(body, list) else ONE


MAX_REWARDS = (
    2000  # of one list: they are one transaction, which stops Redis for as long as it takes
)
ONE, MANY = (
    "(one)",
    "(many)",
)  # the union's branches in the place of an error; no field has such a name
Rewards = Annotated[
    Annotated[AddressedReward, Tag(ONE)]
    | Annotated[list[AddressedReward], Field(max_length=MAX_REWARDS), Tag(MANY)],
    Discriminator(one_or_many),
]


class Completion(Body):
    status: Literal["succeeded", "failed", "aborted"] = "succeeded"
    truncated: bool = False


class KeyBody(Body):
    project: Name | None = None
    name: Annotated[str, StringConstraints(max_length=128)] = ""
    scopes: list[Scope] = ["infer", "reward", "read"]
    expires_in_seconds: Annotated[int, Field(ge=1, le=315_360_000)] | None = None  # ten years
    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None  # of prompts and outputs
    max_concurrent: Limit | None = None  # model calls at a time
    max_open_episodes: Limit | None = None
    grammars_per_minute: Limit | None = None  # model calls under a grammar

    @property
    def limits(self) -> dict[str, int]:
        """The limits that are set, by their names in KeyLimits."""
        return self.model_dump(include=LIMITS, exclude_none=True)


class ProjectBody(Body):
    name: Name
    history: HistoryPolicy | None = None  # null leaves it as it is, sticky at first
    train: bool | None = (
        None  # null leaves it as it is, true at first; false serves and records only
    )
    private_prefix_cache: bool | None = None  # the same, false at first

    @property
    def settings(self) -> dict[str, bool]:
        """The settings that are named, as the ledger names them."""
        named = {"trains": self.train, "private_prefix_cache": self.private_prefix_cache}
        return {name: value for name, value in named.items() if value is not None}
