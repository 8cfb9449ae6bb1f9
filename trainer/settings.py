"""What the trainer is told at start, all of it from the environment, all of it checked before a weight is loaded.

Names shared with the other processes are `TURNGATE_…`; the trainer's own are `TURNGATE_TRAINER_…`, and an unknown one of those is refused.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "TURNGATE_TRAINER_"


def _shared(name: str) -> str:
    return f"TURNGATE_{name}"


class Settings(BaseSettings):
    """Defaults of the algorithm are the measured recipe of the demo's small policy; units are in the names."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", populate_by_name=True
    )

    # shared with the gateway and the engines
    model_dir: Path = Field(validation_alias=_shared("MODEL_DIR"))
    redis_url: str = Field("redis://127.0.0.1:6379/0", validation_alias=_shared("REDIS_URL"))
    database_url: str = Field(
        "sqlite+aiosqlite:///turngate.db", validation_alias=_shared("DATABASE_URL")
    )
    weights_dir: Path = Field(Path("weights"), validation_alias=_shared("WEIGHTS_DIR"))
    project: str = Field("default", validation_alias=_shared("PROJECT"))
    engines: Annotated[tuple[str, ...], NoDecode] = Field((), validation_alias=_shared("ENGINES"))
    engine_admin_key: str | None = Field(None, validation_alias=_shared("ENGINE_ADMIN_KEY"))

    # this process
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(9102, ge=0, le=65535)  # 0: a free one, named in the ready file
    ready_file: Path | None = None
    checkpoint_dir: Path = Path("checkpoints")
    checkpoint_every_steps: int = Field(20, ge=1)
    checkpoints_kept: int = Field(2, ge=1)
    policies_kept: int = Field(
        4, ge=2
    )  # published directories on disk; an engine may still load the last but one
    seed: int = 0

    # the feed
    groups_per_batch: int = Field(8, ge=1)
    group_size: int = Field(8, ge=1)  # expected episodes per group; sizes admission only
    max_staleness: int = Field(4, ge=0)  # versions; 0 trains on the served policy's episodes alone
    lease_seconds: float = Field(60.0, gt=0)
    reward_weights: dict[str, float] = Field(default_factory=dict)  # by reward name; 1 where absent

    # the learner
    dtype: Literal["float32", "bfloat16"] = "float32"
    tensor_parallel: int = Field(1, ge=1)
    pipeline_parallel: int = Field(1, ge=1)
    sequence_parallel: bool = False
    tokens_per_microbatch: int = Field(8192, ge=1)
    learning_rate: float = Field(
        3e-4, gt=0
    )  # for the demo's 0.35M parameters; billions want about 1e-6
    warmup_steps: int = Field(0, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    clip_gradient_norm: float = Field(1.0, ge=0)  # 0: off

    # the loss
    clip_low: float = Field(0.2, gt=0, lt=1)
    clip_high: float = Field(0.28, gt=0)
    correction: Literal["icepop", "tis"] = "icepop"
    correction_low: float = Field(0.5, ge=0)
    correction_high: float = Field(5.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _split_engines(cls, values: dict[str, object]) -> dict[str, object]:
        for key in ("engines", _shared("ENGINES")):
            if isinstance(text := values.get(key), str):
                values[key] = tuple(part.strip() for part in text.split(",") if part.strip())
        return values

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings; an unknown `TURNGATE_TRAINER_*` name is an error that names the nearest known one."""
        known = {
            f"{PREFIX}{name.upper()}"
            for name, field in cls.model_fields.items()
            if not field.validation_alias
        }
        for name in environment:
            if name.upper().startswith(PREFIX) and name.upper() not in known:
                near = difflib.get_close_matches(name.upper(), sorted(known), n=1)
                remedy = f"did you mean {near[0]}?" if near else "unset it"
                raise ValueError(f"unknown setting {name}: {remedy}")
        return cls()

    @property
    def episodes_per_batch(self) -> int:
        return self.groups_per_batch * self.group_size

    @property
    def max_live_episodes(self) -> int:
        """More than this would be stale by the time it is trained."""
        return (self.max_staleness + 1) * self.episodes_per_batch
