"""What `python -m trainer` reads from its environment, once, before a weight is loaded.

Names shared by all processes are `TURNGATE_…`, the trainer's own `TURNGATE_TRAINER_…`. An unknown one of those is refused instead of
ignored: a misspelt learning rate is worse than none. Defaults of the algorithm are the measured recipe of the demo's small policy.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_OWN_PREFIX = "TURNGATE_TRAINER_"


class SettingsError(ValueError):
    """The environment does not describe a trainer; the message names each variable and the remedy."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=_OWN_PREFIX, frozen=True, extra="ignore")

    # shared with the gateway
    redis_url: str = Field(validation_alias="TURNGATE_REDIS_URL")
    model_dir: Path = Field(validation_alias="TURNGATE_MODEL_DIR")
    database_url: str = Field(
        default="sqlite+aiosqlite:///turngate.db", validation_alias="TURNGATE_DATABASE_URL"
    )
    weights_dir: Path = Field(default=Path("weights"), validation_alias="TURNGATE_WEIGHTS_DIR")
    project: str = Field(default="default", validation_alias="TURNGATE_PROJECT")
    engines: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), validation_alias="TURNGATE_ENGINES"
    )
    engine_admin_key: SecretStr | None = Field(
        default=None, validation_alias="TURNGATE_ENGINE_ADMIN_KEY"
    )

    # this process
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(
        default=9102, ge=0, le=65535
    )  # 0: a free one, named in the ready file
    ready_file: Path | None = None
    checkpoint_dir: Path = Path("checkpoints")
    checkpoint_every_steps: int = Field(default=20, ge=1)
    checkpoints_kept: int = Field(default=2, ge=1)
    policies_kept: int = Field(
        default=8, ge=2
    )  # published directories; an engine may still be loading one
    seed: int = 0

    # the feed
    groups_per_batch: int = Field(default=8, ge=1)
    group_size: int = Field(default=8, ge=1)  # expected episodes per group; it sizes admission
    max_staleness: int = Field(default=4, ge=0)  # policy versions
    lease_seconds: float = Field(default=60.0, gt=0)

    # the learner
    dtype: Literal["float32", "bfloat16"] = "float32"
    tensor_parallel: int = Field(default=1, ge=1)
    pipeline_parallel: int = Field(default=1, ge=1)
    sequence_parallel: bool = False
    tokens_per_microbatch: int = Field(default=8192, ge=1)
    learning_rate: float = Field(
        default=3e-4, gt=0
    )  # the demo's; billions of parameters want about 1e-6
    warmup_steps: int = Field(default=0, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_gradient_norm: float = Field(default=1.0, ge=0)  # 0: off

    # the loss
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    clip_high: float = Field(default=0.28, gt=0)
    correction: Literal["icepop", "tis"] = "icepop"
    correction_low: float = Field(default=0.5, ge=0)
    correction_high: float = Field(default=5.0, gt=0)

    @field_validator("engines", mode="before")
    @classmethod
    def _split_engines(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(url.strip().rstrip("/") for url in value.split(",") if url.strip())
        return value

    @property
    def max_live_episodes(self) -> int:
        """A group beyond this would be stale by the time it is trained."""
        return (self.max_staleness + 1) * self.groups_per_batch * self.group_size


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings or say, per variable, what is wrong and what to do about it."""
    known = {_variable(name) for name in Settings.model_fields}
    unknown = [n for n in environment if n.startswith(_OWN_PREFIX) and n not in known]
    if unknown:
        raise SettingsError("; ".join(_remedy(name, known) for name in sorted(unknown)))
    try:
        return Settings()
    except ValidationError as error:
        problems = (f"{_variable(str(e['loc'][0]))}: {e['msg']}" for e in error.errors())
        raise SettingsError("; ".join(problems)) from None


def _remedy(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"unknown setting {name}: " + (f"did you mean {near[0]}?" if near else "unset it")


def _variable(name: str) -> str:
    field = Settings.model_fields.get(name)
    alias = field.validation_alias if field is not None else name
    return alias if isinstance(alias, str) else _OWN_PREFIX + name.upper()
