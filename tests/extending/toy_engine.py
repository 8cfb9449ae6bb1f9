"""A kind of engine in one file: it lives in this process and says the token ids that stand in its URL."""

import asyncio
from collections.abc import AsyncGenerator

from rollout.engine.engine import CONTROL_SECONDS, Capabilities, EngineOptions
from rollout.engine.generation import Chunk, Finish, GenerateRequest
from rollout.episode.turn import VersionInterval
from rollout.served_model import ServedModel


class ToyEngine:
    """`toy://5,6,7` answers every prompt with 5, 6, 7 under whichever policy was loaded last."""

    capabilities = Capabilities()

    def __init__(self, url: str, options: EngineOptions) -> None:
        self.url = url
        self._ids = [int(text) for text in url.removeprefix("toy://").split(",")]
        self._served = ServedModel(options.project, 0)
        self._may_sample = asyncio.Event()
        self._may_sample.set()

    async def generate(self, request: GenerateRequest) -> Chunk:
        await self._may_sample.wait()
        return self._chunk(0, len(self._ids))

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk]:
        for place in range(len(self._ids)):
            await self._may_sample.wait()
            yield self._chunk(place, place + 1)

    def _chunk(self, start: int, end: int) -> Chunk:
        is_last = end == len(self._ids)
        return Chunk(
            ids=self._ids[start:end],
            logprobs=[-0.25] * (end - start),
            finish=Finish("stop", self._ids[-1]) if is_last else None,
            versions=(VersionInterval(self._served.version, 0, end),),
        )

    async def abort(self, call_id: str) -> None: ...

    async def served_model(self, *, timeout: float = CONTROL_SECONDS) -> ServedModel:
        return self._served

    async def pause(self) -> None:
        self._may_sample.clear()

    async def resume(self) -> None:
        self._may_sample.set()

    async def load(self, path: str, model: ServedModel, *, timeout: float) -> None:
        self._served = model

    async def close(self) -> None: ...
