"""The settings that the gateway and the trainer share, and how either reads its own.

Shared names are `TURNGATE_…`, a process's own `TURNGATE_<PROCESS>_…`. A name that no process reads is refused,
because a misspelt limit would not hold.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rollout.suggestions import nearest

PREFIX = "TURNGATE_"
# Agents and the client read these; a shell may hold them while a process runs.
OF_AGENTS = frozenset({"TURNGATE_BASE_URL", "TURNGATE_API_KEY", "TURNGATE_EPISODE"})
FlaggedTokens = Literal["train", "correct", "mask", "refuse"]
PROCESS_PREFIXES = ("TURNGATE_GATEWAY_", "TURNGATE_TRAINER_", "TURNGATE_ENGINE_", "TURNGATE_DEMO_")


class SettingsError(ValueError):
    """The environment is wrong or incomplete; the message names each variable and the remedy."""


class SharedSettings(BaseSettings):
    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    # Both URLs can have a password in them.
    redis_url: str = Field(
        validation_alias="TURNGATE_REDIS_URL", description="the episode store", repr=False
    )
    model_dir: Path = Field(
        validation_alias="TURNGATE_MODEL_DIR",
        description="Hugging Face directory of the starting policy: configuration, tokenizer, template, weights",
    )
    database_url: str = Field(
        default="sqlite+aiosqlite:///turngate.db",
        validation_alias="TURNGATE_DATABASE_URL",
        repr=False,
        description="the ledger; SQLite or postgresql+asyncpg",
    )
    weights_dir: Path = Field(
        default=Path("weights"),
        validation_alias="TURNGATE_WEIGHTS_DIR",
        description="where policies are published; engines read it",
    )
    project: str = Field(
        default="default",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$",
        validation_alias="TURNGATE_PROJECT",
        description="the project whose episodes are trained",
    )
    engines: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        validate_default=True,
        validation_alias="TURNGATE_ENGINES",
        description="URLs of the engines, comma separated; http:// is SGLang, other kinds are kind+http://",
    )
    engine_admin_key: SecretStr | None = Field(
        default=None,
        validation_alias="TURNGATE_ENGINE_ADMIN_KEY",
        description="the key of the engines, sent with every call to them",
    )
    best_min_episodes: int = Field(
        default=30,
        ge=1,
        validation_alias="TURNGATE_BEST_MIN_EPISODES",
        description="held-out episodes that a policy needs before it can be the best",
    )
    max_group_size: int = Field(
        default=64,
        ge=1,
        validation_alias="TURNGATE_MAX_GROUP_SIZE",
        description="most episodes of a group; a call that states a larger size is refused",
    )
    retention_seconds: float = Field(
        default=3600.0,
        gt=0,
        validation_alias="TURNGATE_RETENTION_SECONDS",
        description="how long Redis keeps an episode's tokens after it has ended; the ledger keeps how it ended",
    )
    store_shards: int = Field(
        default=1,
        ge=1,
        le=64,
        validation_alias="TURNGATE_STORE_SHARDS",
        description="over how many parts of Redis each project is spread, which a Redis Cluster keeps on several nodes; gateways and trainer "
        "need the same number, which changes only while no episode is live",
    )
    flagged_tokens: FlaggedTokens = Field(
        default="correct",
        validation_alias="TURNGATE_FLAGGED_TOKENS",
        description="tokens sampled under a grammar, penalties, top-p, top-k, min-p or greedily: train them as others, "
        "correct them by their importance weight, mask them, or refuse calls that ask for such sampling",
    )

    @field_validator("engines", mode="before")
    @classmethod
    def _split_engines(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(url.strip().rstrip("/") for url in value.split(",") if url.strip())
        return value

    @field_validator("engine_admin_key")
    @classmethod
    def _check_engine_admin_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not set(key.get_secret_value()).isdisjoint("\r\n"):
            raise ValueError("the key has a line break; write it without")
        return key

    @classmethod
    def load(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the settings; SettingsError names, for each wrong variable, the problem and the remedy."""
        known = {cls.variable(name) for name in cls.model_fields}
        unknown = [n for n in environment if cls._is_own(n) and n not in known | OF_AGENTS]
        if unknown:
            raise SettingsError("; ".join(_remedy(name, known) for name in sorted(unknown)))
        try:
            return cls()
        except ValidationError as error:
            problems = (f"{cls.variable(str(e['loc'][0]))}: {_problem(e)}" for e in error.errors())
            raise SettingsError("; ".join(problems)) from None

    @classmethod
    def variable(cls, name: str) -> str:
        """The environment variable that sets a field."""
        field = cls.model_fields.get(name)
        alias = field.validation_alias if field is not None else name
        return alias if isinstance(alias, str) else cls.model_config["env_prefix"] + name.upper()

    @classmethod
    def _is_own(cls, name: str) -> bool:
        others = (prefix for prefix in PROCESS_PREFIXES if prefix != cls.model_config["env_prefix"])
        return name.startswith(PREFIX) and not name.startswith(tuple(others))


def _problem(error: ErrorDetails) -> str:
    """What is wrong with a value, and the most similar choice if it had to be one of several."""
    choices = re.findall(r"'([^']+)'", str(error.get("ctx", {}).get("expected", "")))
    near = nearest(str(error["input"]), choices)
    problem = error["msg"].removeprefix("Value error, ")
    return problem + (f"; did you mean {near}?" if near else "")


def _remedy(name: str, known: set[str]) -> str:
    near = nearest(name, sorted(known))
    return f"unknown setting {name}: " + (f"did you mean {near}?" if near else "unset it")
