"""Sampling one output, on one engine or, when engines die, on several one after the other.

The next engine gets the prompt and every token so far: the caller sees a pause, and the version intervals record which
policy sampled each token.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing

import orjson
from msgspec import Struct
from msgspec.structs import replace

from gateway.turn.output_builder import OutputBuilder, Piece
from rollout.engine.engine import Engine
from rollout.engine.errors import (
    EngineAborted,
    EngineError,
    EngineGarbled,
    EngineTimeout,
    EngineUnreachable,
)
from rollout.engine.generation import Chunk, Finish, GenerateRequest, SamplingParameters
from rollout.engine.pool import Pool
from rollout.episode.turn import OutputFlags
from rollout.served_model import AskedModel

# Two engines may fail by themselves during a turn; after a third the turn itself is the likely cause.
MAX_ENGINES = 3
_ENGINE_FAULTS = (EngineUnreachable, EngineTimeout, EngineGarbled, EngineAborted)

Emit = Callable[[Piece, Chunk], Awaitable[None]]
Ask = Callable[[Engine, GenerateRequest, OutputBuilder, Emit], Awaitable[None]]


class Job(Struct, frozen=True, kw_only=True):
    """What every output of a turn is sampled from."""

    turn_id: str
    model: AskedModel
    affinity: str
    cache_salt: str
    encoded_prompt: bytes  # a JSON array of ids
    images: tuple[str, ...]  # one for each placeholder in it, as data: URLs
    expanded_prompt: list[int] | None  # what an engine makes of the two, if there are images
    num_prompt_tokens: int
    max_tokens: int
    parameters: SamplingParameters
    top_logprobs: int
    sampling_logprobs: bool  # of the truncated distribution that the engine samples from
    flags: OutputFlags
    stop_ids: frozenset[int]
    notes: tuple[str, ...] = ()  # what was asked otherwise

    @property
    def is_continuable(self) -> bool:
        """Whether another engine can go on after some tokens; a grammar only starts at its beginning."""
        return self.parameters.grammar is None

    def request(self, builder: OutputBuilder, attempt: int) -> GenerateRequest:
        """Ask for what is missing of an output."""
        asked, num_sampled = self.parameters, len(builder.ids)
        parameters = replace(
            asked,
            max_tokens=self.max_tokens - num_sampled,
            seed=None if asked.seed is None else asked.seed + builder.index,
            min_tokens=None if asked.min_tokens is None else max(0, asked.min_tokens - num_sampled),
        )
        return GenerateRequest(
            call_id=f"{self.turn_id}-{builder.index}-{attempt}",
            prompt_ids=self._prompt_ids(builder),
            sampling=parameters,
            top_logprobs=self.top_logprobs,
            sampling_logprobs=self.sampling_logprobs,
            images=self.images,
            expanded_ids=self._expanded_ids(builder),
            cache_salt=self.cache_salt,
        )

    def _prompt_ids(self, builder: OutputBuilder) -> bytes:
        if not builder.ids:
            return self.encoded_prompt
        return self.encoded_prompt[:-1] + b"," + orjson.dumps(builder.ids)[1:]

    def _expanded_ids(self, builder: OutputBuilder) -> list[int] | None:
        prompt = self.expanded_prompt
        return None if prompt is None else [*prompt, *builder.ids]


class Sampler:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def stream(self, job: Job, builder: OutputBuilder, emit: Emit) -> None:
        """Sample an output and emit its pieces as they come."""
        await self._sample(job, builder, emit, _stream)

    async def whole(self, job: Job, builder: OutputBuilder, emit: Emit) -> None:
        """Sample an output and emit it as one piece."""
        await self._sample(job, builder, emit, _whole)

    async def _sample(self, job: Job, builder: OutputBuilder, emit: Emit, ask: Ask) -> None:
        failed: list[str] = []
        for attempt in range(MAX_ENGINES):
            try:
                with self._pool.lease(
                    job.model, job.affinity, job.num_prompt_tokens, avoid=failed
                ) as engine:
                    await ask(engine, job.request(builder, attempt), builder, emit)
                return
            except _ENGINE_FAULTS as fault:
                failed.append(fault.engine)
                await self._recover(job, builder, emit, fault, attempt)
                if builder.finish is not None:
                    return

    async def _recover(
        self, job: Job, builder: OutputBuilder, emit: Emit, fault: EngineError, attempt: int
    ) -> None:
        """Keep what the engine sampled before it failed; give up if no other may go on."""
        if builder.finish is not None:
            return  # only the end of the connection is missing
        if fault.partial is not None:
            rest = builder.missing(fault.partial)
            if (
                rest.ids
            ):  # emit nothing before the first token, so that the failure keeps its HTTP status
                await emit(builder.add(rest), rest)
        builder.change_engine()
        ending = _ending(job, builder)
        if ending is not None:
            last = Chunk(ids=[], logprobs=[], finish=ending)
            await emit(builder.add(last), last)
        elif attempt + 1 == MAX_ENGINES or (not job.is_continuable and builder.ids):
            raise fault


async def _stream(
    engine: Engine, request: GenerateRequest, builder: OutputBuilder, emit: Emit
) -> None:
    async with aclosing(engine.stream(request)) as chunks:
        async for chunk in chunks:
            await emit(builder.add(chunk), chunk)


async def _whole(
    engine: Engine, request: GenerateRequest, builder: OutputBuilder, emit: Emit
) -> None:
    chunk = await engine.generate(request)
    await emit(builder.add(chunk), chunk)


def _ending(job: Job, builder: OutputBuilder) -> Finish | None:
    """The ending of an output whose engine died before it reported one."""
    if builder.ids and builder.ids[-1] in job.stop_ids:
        return Finish("stop", builder.ids[-1])
    if builder.is_stopped:
        return Finish("stop")
    if len(builder.ids) >= job.max_tokens:
        return Finish("length")
    return None
