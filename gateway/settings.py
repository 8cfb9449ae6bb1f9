"""What `python -m gateway` reads from its environment, once, at start."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from gateway.families.registry import call_formats, reasoning_formats
from rollout.settings import SharedSettings


class Settings(SharedSettings):
    model_config = SettingsConfigDict(env_prefix="TURNGATE_GATEWAY_")

    host: str = Field(default="127.0.0.1", description="where the endpoints and /metrics listen")
    port: int = Field(
        default=8000, ge=0, le=65535, description="0 takes a free port, which the ready file names"
    )
    share_port: bool = Field(
        default=False,
        description="several gateways of one user listen on this port, and the kernel spreads connections over them",
    )
    workers: int = Field(
        default=1,
        ge=1,
        description="processes that serve these ports together, each up to one core; with 2 or more a small parent starts them, "
        "and SIGHUP replaces them one by one",
    )
    metrics_port: int = Field(default=9100, ge=0, le=65535, description="the same, for /metrics")
    admin_key: SecretStr = Field(
        min_length=8, description="the root key, which rules every project and creates other keys"
    )
    admin_listener: Literal["api", "metrics"] = Field(
        default="api",
        description="where keys, projects, policies and training are operated; `turngate up` needs `api`",
    )
    ready_file: Path | None = Field(
        default=None, description="the gateway writes its host and ports here when it serves"
    )
    base_url: str | None = Field(
        default=None,
        description="base URL in answers to clients; by default the listener's own address",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="web pages that may call the gateway from a browser, as https://chat.example.com, comma separated; "
        "* is every page",
    )
    max_body_bytes: int | None = Field(
        default=None,
        gt=0,
        description="a larger body is 413; by default 4 MiB and 32 bytes for each token of the context, "
        "and 32 MiB more if the model sees images",
    )
    max_connections: int = Field(
        default=4096, gt=0, description="clients that are connected at the same time; more get 503"
    )
    slow_client_seconds: int = Field(
        default=15,
        gt=0,
        description="a client that takes longer to send headers, to send a body (with a second more for each 10 kB) or to "
        "take a part of a reply is cut off",
    )
    keep_alive_seconds: float = Field(
        default=15.0,
        ge=0,
        description="after this silence a stream gets its headers, if it has none yet, and a keep-alive, and another after each "
        "such silence; an error after that is an event of the stream; 0 waits for the model however long it takes",
    )
    stream_window_ms: int = Field(
        default=10,
        ge=0,
        le=1000,
        description="a stream sends its first tokens at once, then those that come within this time as one event; its end never "
        "waits; 0 sends what the engine sends as it comes",
    )
    max_output_tokens: int = Field(
        default=16_384, gt=0, description="limit for a call without max_tokens"
    )
    max_call_tokens: int = Field(
        default=262_144, gt=0, description="limit of n * max_tokens of one call"
    )
    history_memory_mib: int = Field(
        default=640,
        gt=0,
        description="MiB for what each worker remembers of open episodes; what it forgets is read from Redis again when it is needed",
    )
    start_seconds: float = Field(
        default=60.0,
        gt=0,
        description="how long a starting gateway waits for Redis and the ledger before it gives up",
    )
    silence_seconds: float = Field(
        default=60.0,
        gt=0,
        description="an unfinished episode gives its place of admission back after this time without a call",
    )
    tool_format: str | None = Field(
        default=None, description="by default the one that the chat template shows"
    )
    reasoning_format: str | None = Field(default=None, description="the same, for reasoning")
    shutdown_seconds: float = Field(
        default=60.0, gt=0, description="time for running turns to finish at shutdown"
    )

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(each.strip().rstrip("/") for each in value.split(",") if each.strip())
        return value

    @field_validator("engines")
    @classmethod
    def _has_an_engine(cls, engines: tuple[str, ...]) -> tuple[str, ...]:
        if not engines:
            raise ValueError("name at least one engine")
        return engines

    @field_validator("tool_format")
    @classmethod
    def _knows_the_tool_format(cls, name: str | None) -> str | None:
        return _one_of(name, call_formats())

    @field_validator("reasoning_format")
    @classmethod
    def _knows_the_reasoning_format(cls, name: str | None) -> str | None:
        return _one_of(name, reasoning_formats())


def _one_of(name: str | None, known: Iterable[str]) -> str | None:
    if name is not None and name not in known:
        raise ValueError(f"{name} is not one of {', '.join(sorted(known))}")
    return name
