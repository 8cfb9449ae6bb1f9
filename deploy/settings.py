"""The settings of the command itself: where things are on this machine.

The processes it starts read settings of their own, `TURNGATE_GATEWAY_…` and `TURNGATE_TRAINER_…`, which pass through.
An unknown `TURNGATE_…` name is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from deploy.errors import SettingsInvalid

PREFIX = "TURNGATE_"
RedisFsync: TypeAlias = Literal["always", "everysec"]
PROCESS_PREFIXES = ("TURNGATE_GATEWAY_", "TURNGATE_TRAINER_", "TURNGATE_DEMO_")
# Every process reads these names; in a stack their values come from the command line or the data directory.
SHARED = (
    "TURNGATE_REDIS_URL",
    "TURNGATE_MODEL_DIR",
    "TURNGATE_ENGINES",
    "TURNGATE_ENGINE_ADMIN_KEY",
)
# Gateway and trainer both read these; only the user sets them.
PASSED_ON = (
    "TURNGATE_BEST_MIN_EPISODES",
    "TURNGATE_FLAGGED_TOKENS",
    "TURNGATE_MAX_GROUP_SIZE",
    "TURNGATE_RETENTION_SECONDS",
    "TURNGATE_STORE_SHARDS",
)

# Agents and the client read these; a shell may hold them while the command runs.
OF_AGENTS = ("TURNGATE_BASE_URL", "TURNGATE_API_KEY", "TURNGATE_EPISODE")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    data_dir: Path = Field(
        default=Path(".turngate"),
        description="everything one stack keeps: Redis, ledger, weights, logs",
    )
    cache_dir: Path = Field(
        default=Path(".turngate/cache"), description="the demo's starter policy, made once"
    )
    engine_python: Path | None = Field(
        default=None,
        description="SGLang's interpreter; `.venv-engine` here or beside the sources by default",
    )
    database_url: str | None = Field(
        default=None, description="the ledger; SQLite in the data directory by default"
    )
    weights_dir: Path | None = Field(
        default=None, description="where policies are published; in the data directory by default"
    )
    redis_fsync: RedisFsync = Field(
        default="always",
        description="when Redis writes to its disk; `everysec` may lose turns of the last seconds",
    )
    gateways: int = Field(
        default=1, ge=1, description="gateway processes of `turngate up`, which share one port"
    )
    project: str = Field(default="default", description="the project whose episodes are trained")


def load_settings(environment: Mapping[str, str]) -> Settings:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | set(SHARED + PASSED_ON)
    mine = {name for name in environment if name.startswith(PREFIX)}
    others = mine - known - set(OF_AGENTS)
    unknown = {name for name in others if not name.startswith(PROCESS_PREFIXES)}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise SettingsInvalid(
            f"unknown settings: {names}; unset them, or name the process as in trainer.seed "
            f"(known: {', '.join(sorted(known))})"
        )
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsInvalid(str(error)) from None


def override(environment: Mapping[str, str], assignments: list[str]) -> dict[str, str]:
    """Add `NAME=VALUE` pairs; `trainer.group_size=4` is short for `TURNGATE_TRAINER_GROUP_SIZE=4`."""
    changed = dict(environment)
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator or not name:
            raise SettingsInvalid(f"--set takes NAME=VALUE, not {assignment!r}")
        variable = name.upper().replace(".", "_")
        changed[variable if variable.startswith(PREFIX) else PREFIX + variable] = value
    return changed


def passed_on(environment: Mapping[str, str], own_prefix: str | None) -> dict[str, str]:
    """The environment of a process: every variable that is not Turngate's, and those of Turngate's that it reads."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(PREFIX)
        or (own_prefix and (name.startswith(own_prefix) or name in PASSED_ON))
    }
