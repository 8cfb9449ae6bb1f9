"""What `python -m gateway` reads from its environment, once, at start.

Names shared by all processes are `TURNGATE_…`, the gateway's own `TURNGATE_GATEWAY_…`. A name that nobody knows is refused
instead of ignored: a misspelt limit is worse than none.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_PREFIX = "TURNGATE_"
_OWN_PREFIX = "TURNGATE_GATEWAY_"
# Prefixes that other processes of the same machine own.
_FOREIGN_PREFIXES = ("TURNGATE_TRAINER_", "TURNGATE_ENGINE_SERVER_", "TURNGATE_DEMO_")


class SettingsError(ValueError):
    """The environment does not describe a gateway; the message names each variable."""


def _shared(name: str) -> AliasChoices:
    return AliasChoices(_PREFIX + name.upper())


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=_OWN_PREFIX, frozen=True, extra="ignore", populate_by_name=True
    )

    redis_url: str = Field(validation_alias=_shared("redis_url"))
    database_url: str = Field(
        default="sqlite:///turngate.db", validation_alias=_shared("database_url")
    )
    weights_dir: Path = Field(default=Path("weights"), validation_alias=_shared("weights_dir"))
    project: str = Field(default="default", validation_alias=_shared("project"))
    model_dir: Path = Field(validation_alias=_shared("model_dir"))
    engines: Annotated[tuple[str, ...], NoDecode] = Field(
        min_length=1, validation_alias=_shared("engines")
    )
    engine_admin_key: SecretStr | None = Field(
        default=None, validation_alias=_shared("engine_admin_key")
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    metrics_port: int = Field(default=9100, ge=0, le=65535)
    admin_key: SecretStr = Field(min_length=8)
    ready_file: Path | None = None
    base_url: str | None = None  # what clients are told; the listener's own address by default
    max_body_bytes: int = Field(default=32 * 1024 * 1024, gt=0)
    max_output_tokens: int = Field(default=16_384, gt=0)  # when a call names no max_tokens
    tool_format: str | None = None  # read off the chat template by default
    reasoning_format: str | None = None
    shutdown_seconds: float = Field(default=60.0, gt=0)  # for running turns to finish

    @field_validator("engines", mode="before")
    @classmethod
    def _split_engines(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(url.strip().rstrip("/") for url in value.split(",") if url.strip())
        return value


def load_settings() -> Settings:
    """Read the environment or say, per variable, what is wrong."""
    known = _known_names()
    mine = {name for name in os.environ if name.startswith(_PREFIX)}
    unknown = {n for n in mine - known if not n.startswith(_FOREIGN_PREFIXES)}
    if unknown:
        raise SettingsError(
            f"unknown settings: {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}"
        )
    try:
        return Settings()
    except ValidationError as error:
        problems = (f"{_variable(e['loc'])}: {e['msg']}" for e in error.errors())
        raise SettingsError("; ".join(problems)) from None


def _known_names() -> set[str]:
    return {_variable((name,)) for name in Settings.model_fields}


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "?"
    field = Settings.model_fields.get(name)
    if field is not None and isinstance(field.validation_alias, AliasChoices):
        return str(field.validation_alias.choices[0])
    return name if name.startswith(_PREFIX) else _OWN_PREFIX + name.upper()
