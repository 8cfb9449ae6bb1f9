"""What every kind of inference server offers; the gateway, the pool and the swap know no more of it than this.

A kind lives in a folder of its own, which alone knows the server's words, and is one line of `factory.py`.
"""

from collections.abc import AsyncGenerator, Iterable
from typing import Protocol

import msgspec

from rollout.engine.generation import Chunk, Deadlines, GenerateRequest
from rollout.engine.grammar import Grammar
from rollout.served_model import ServedModel

CONTROL_SECONDS = 10.0


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of engine can do for a call."""

    grammars: frozenset[type[Grammar]] = frozenset()
    max_top_k: int | None = None  # the largest for which it has sampling logprobs; None: any

    @classmethod
    def common(cls, engines: Iterable["Engine"]) -> "Capabilities":
        """What every one of these engines can do."""
        each = [engine.capabilities for engine in engines]
        limits = [one.max_top_k for one in each if one.max_top_k is not None]
        grammars = frozenset.intersection(*(one.grammars for one in each)) if each else frozenset()
        return cls(grammars=grammars, max_top_k=min(limits, default=None))


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What every engine of a deployment is opened with."""

    project: str = "default"  # whose policies it serves
    admin_key: str | None = None
    deadlines: Deadlines = Deadlines()
    vocab_size: int | None = None  # None: ids are not checked
    stream_window_seconds: float = 0.0  # tokens that come within it, after the first, are one chunk


class Engine(Protocol):
    """One server. Opening it connects to nothing; every failure of a method is an EngineError."""

    @property
    def url(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...

    async def generate(self, request: GenerateRequest) -> Chunk:
        """The whole answer at once."""

    def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk]:
        """The answer as it is sampled. Close it with `aclosing`: leaving it early stops the sampling."""

    async def abort(self, call_id: str) -> None:
        """Stop sampling for this call; its reader gets EngineAborted. An unknown call is no error."""

    async def served_model(self, *, timeout: float = CONTROL_SECONDS) -> ServedModel:
        """What it serves; answers while paused."""

    async def pause(self) -> None:
        """Sample nothing until resumed; running calls keep the tokens they have."""

    async def resume(self) -> None:
        """Go on after a pause; resuming twice is no error."""

    async def load(self, path: str, model: ServedModel, *, timeout: float) -> None:
        """Replace the weights and drop the cache computed with the old ones; on failure the old ones stay."""

    async def close(self) -> None:
        """Drop the connections."""
