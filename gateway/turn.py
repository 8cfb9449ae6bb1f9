"""One turn: begin, attach, sample, commit (`architecture.md`, "One agent turn").

A turn exists when its commit does. Before that a crash or an error leaves nothing to train on; a client that leaves, or a
turn that no engine could finish, leaves an `abandoned` record for the audit.
"""

import secrets
import time
from asyncio import CancelledError, Lock, TaskGroup
from contextlib import suppress
from dataclasses import dataclass

import anyio
import msgspec
import orjson

from gateway.attach import Attacher, Attachment
from gateway.carriers import EpisodeAddress
from gateway.conversation import extend
from gateway.errors import ApiError, BadRequest, ContextOverflow
from gateway.grammar import grammar
from gateway.history import Histories, History
from gateway.metrics import Metrics
from gateway.output import OutputBuilder, Piece
from gateway.reader import Reader
from gateway.request import Reply, Request, Usage
from gateway.retries import Retry, RunningTurns
from gateway.sampler import Emit, Job, Sampler
from gateway.sampling import engine_parameters, request_flags, sampling_record
from gateway.streaming import Opening, Sink
from rollout.episode import Anchor, OutputFlags, Turn, encode_turn, pack_tokens
from rollout.errors import EngineError, StoreError
from rollout.generation import Chunk
from rollout.header import OpenEpisode
from rollout.store import Store
from rollout.template import ChatTemplate
from rollout.tokenizer import Tokenizer

ABANDON_SECONDS = 5.0  # for the record of a turn whose client has left


@dataclass(frozen=True, slots=True)
class Call:
    """A request, who makes it and in which episode."""

    request: Request
    store: Store  # of the caller's project
    project: str
    key_id: str
    address: EpisodeAddress
    retry: Retry


class Turns:
    """Takes turns; long-lived, shared by all endpoints and dialects."""

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        reader: Reader,
        sampler: Sampler,
        metrics: Metrics,
        max_output_tokens: int,
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._reader = reader
        self._sampler = sampler
        self._metrics = metrics
        self._max_output_tokens = max_output_tokens
        self._attacher = Attacher(tokenizer, template, reader)
        self._histories = Histories()
        self._running = RunningTurns()

    async def take(self, call: Call, sink: Sink | None) -> Reply:
        """Run a turn to its commit, telling `sink` as it goes; a retried call gets the reply it missed."""
        async with self._running.join(call.project, call.address.episode_id, call.retry) as running:
            if running.reply is not None:
                return running.reply
            history, recorded = await self._begin(call)
            if recorded is not None:
                return recorded
            running.reply = await self._sample_and_commit(call, history, sink)
            return running.reply

    async def _begin(self, call: Call) -> tuple[History, Reply | None]:
        """Open the episode if it is new, and read what other gateways added to it."""
        episode_id = call.address.episode_id
        since = self._histories.num_known_turns(call.project, episode_id)
        while True:
            began = await call.store.begin(
                _wish(call),
                since=since,
                retry_key=call.retry.key if call.retry.is_repeat else "",
                body_digest=call.retry.body_digest,
            )
            history = self._histories.bring_up_to_date(
                call.project,
                episode_id,
                created_ms=began.header.created_ms,
                since=since,
                turns=began.turns,
            )
            if history is not None:
                reply = msgspec.msgpack.decode(began.reply, type=Reply) if began.reply else None
                return history, reply
            since = 0

    async def _sample_and_commit(self, call: Call, history: History, sink: Sink | None) -> Reply:
        turn = _RunningTurn(call, self._attacher.attach(call.request, history))
        self._metrics.calls_attached.labels(turn.attachment.how).inc()
        job = self._job(turn)
        builders = [self._builder(turn, index, job) for index in range(call.request.num_outputs)]
        emitter = _Emitter(turn, sink, self._metrics)
        try:
            await self._sample(job, builders, emitter, is_streamed=sink is not None)
        except (CancelledError, EngineError, ApiError):
            await self._record_abandoned(turn, job, builders, history)
            raise
        reply = turn.reply(builders, emitter.usage(builders))
        record = self._record(turn, job, builders, OutputFlags.NONE)
        await self._commit(turn, record, reply, history)
        self._count(turn, reply)
        return reply

    async def _sample(
        self, job: Job, builders: list[OutputBuilder], emit: Emit, *, is_streamed: bool
    ) -> None:
        sample = self._sampler.stream if is_streamed else self._sampler.whole
        if len(builders) == 1:
            await sample(job, builders[0], emit)
            return
        try:
            async with TaskGroup() as tasks:
                for builder in builders:
                    tasks.create_task(sample(job, builder, emit))
        except* (EngineError, ApiError) as failures:
            raise failures.exceptions[0] from None

    def _job(self, turn: "_RunningTurn") -> Job:
        request, prompt = turn.call.request, turn.attachment.prompt
        self._check_ids(request, turn.attachment)
        max_tokens = self._max_tokens(request, len(prompt))
        rules = grammar(request, self._reader.tool_format)
        options = request.sampling
        return Job(
            turn_id=turn.id,
            affinity=turn.call.address.episode_id,
            prompt=prompt,
            encoded_prompt=orjson.dumps(prompt),
            parameters=engine_parameters(options, max_tokens=max_tokens, grammar=rules),
            max_tokens=max_tokens,
            top_logprobs=request.top_logprobs,
            is_constrained=bool(rules),
            flags=request_flags(request, rules),
            stop_ids=(frozenset() if options.ignore_eos else self._tokenizer.eos_ids)
            | frozenset(options.stop_token_ids),
        )

    def _check_ids(self, request: Request, attachment: Attachment) -> None:
        """An id outside the vocabulary kills the engine for everybody."""
        limit = self._tokenizer.vocab_size
        biased = [int(key) if key.isdecimal() else -1 for key in request.sampling.logit_bias or ()]
        for name, ids in (
            ("messages", attachment.context),
            ("stop_token_ids", request.sampling.stop_token_ids),
            ("logit_bias", biased),
        ):
            if ids and not (min(ids) >= 0 and max(ids) < limit):
                raise BadRequest(
                    f"{name} has token ids outside the model's vocabulary of {limit}",
                    param=name,
                    code="invalid_token_ids",
                )

    def _max_tokens(self, request: Request, num_prompt_tokens: int) -> int:
        context = self._tokenizer.context_length
        room = context - num_prompt_tokens
        asked = request.sampling.max_tokens
        if room < 1 or (asked is not None and asked > room):
            wanted = f"{num_prompt_tokens} in the messages"
            if asked is not None:
                wanted += f" and {asked} for the completion"
            raise ContextOverflow(
                f"this model's context length is {context} tokens; the call needs {wanted}: "
                "shorten the messages or lower max_tokens",
                param="messages",
            )
        return asked if asked is not None else min(room, self._max_output_tokens)

    def _builder(self, turn: "_RunningTurn", index: int, job: Job) -> OutputBuilder:
        request = turn.call.request
        return OutputBuilder(
            index,
            request=request,
            tokenizer=self._tokenizer,
            parser=self._reader.parser(
                with_tools=bool(request.offered_tools),
                prompt_tail=self._attacher.tail(turn.attachment.prompt),
            ),
            flags=job.flags,
        )

    def _record(
        self, turn: "_RunningTurn", job: Job, builders: list[OutputBuilder], flags: OutputFlags
    ) -> Turn:
        call, attachment = turn.call, turn.attachment
        return Turn(
            id=turn.id,
            kind="side" if call.address.kind == "side" else "train",
            created_ms=turn.created_ms,
            anchor=attachment.anchor,
            context=pack_tokens(attachment.context),
            outputs=tuple(builder.record(flags) for builder in builders),
            forced=attachment.forced,
            prompt_chain=attachment.chain,
            output_chains=tuple(
                extend(attachment.chain, builder.message(attachment.prefill))
                for builder in builders
            ),
            sampling=sampling_record(call.request.sampling, job.max_tokens),
            template=self._template.digest,
            tools=attachment.tools,
            retry_key=call.retry.key,
            body_digest=call.retry.body_digest,
        )

    async def _commit(
        self, turn: "_RunningTurn", record: Turn, reply: Reply, history: History
    ) -> None:
        """Make the turn exist, and with it what a retry will be told."""
        told = msgspec.msgpack.encode(reply) if record.retry_key else b""
        ordinal = await turn.call.store.commit(
            turn.episode_id, record, encoded=encode_turn(record), reply=told
        )
        history.add(record, ordinal)
        for choice, output in zip(reply.choices, record.outputs, strict=True):
            end = Anchor(record.id, choice.index, output.num_tokens)
            history.reasoning[end] = choice.reasoning or ""

    async def _record_abandoned(
        self, turn: "_RunningTurn", job: Job, builders: list[OutputBuilder], history: History
    ) -> None:
        """Keep what was sampled for nobody, out of reach of training and of retries."""
        if not any(builder.ids for builder in builders):
            return
        record = self._record(turn, job, builders, OutputFlags.ABANDONED)
        record = msgspec.structs.replace(record, retry_key="", body_digest="", output_chains=())
        with anyio.move_on_after(ABANDON_SECONDS, shield=True), suppress(StoreError):
            ordinal = await turn.call.store.commit(
                turn.episode_id, record, encoded=encode_turn(record)
            )
            history.add(record, ordinal)

    def _count(self, turn: "_RunningTurn", reply: Reply) -> None:
        self._metrics.turns.labels(turn.call.address.kind).inc()
        self._metrics.prompt_tokens.inc(reply.usage.prompt_tokens)
        self._metrics.cached_tokens.inc(reply.usage.cached_tokens)
        self._metrics.output_tokens.inc(reply.usage.output_tokens)


class _RunningTurn:
    """A turn between attaching and committing."""

    def __init__(self, call: Call, attachment: Attachment) -> None:
        self.id = f"turn_{secrets.token_hex(12)}"
        self.call = call
        self.attachment = attachment
        self.started = time.perf_counter()
        self.created_ms = time.time_ns() // 1_000_000

    @property
    def episode_id(self) -> str:
        return self.call.address.episode_id

    @property
    def prompt_token_ids(self) -> list[int] | None:
        return self.attachment.prompt if self.call.request.return_token_ids else None

    def opening(self, policy_version: int) -> Opening:
        return Opening(
            turn_id=self.id,
            episode_id=self.episode_id,
            created=self.created_ms // 1000,
            policy_version=policy_version,
            prompt_token_ids=self.prompt_token_ids,
        )

    def reply(self, builders: list[OutputBuilder], usage: Usage) -> Reply:
        versions = [interval.version for builder in builders for interval in builder.versions]
        return Reply(
            turn_id=self.id,
            episode_id=self.episode_id,
            created=self.created_ms // 1000,
            model=self.call.request.model,
            policy_version=max(versions, default=0),
            choices=tuple(builder.choice() for builder in builders),
            usage=usage,
            prompt_token_ids=self.prompt_token_ids,
        )


class _Emitter:
    """Passes pieces of all outputs to the sink, one at a time and not before the opening."""

    def __init__(self, turn: _RunningTurn, sink: Sink | None, metrics: Metrics) -> None:
        self._turn = turn
        self._sink = sink
        self._metrics = metrics
        self._lock = Lock()
        self._has_started = False
        self._num_cached = 0

    async def __call__(self, piece: Piece, chunk: Chunk) -> None:
        self._num_cached = max(self._num_cached, chunk.cached_tokens)
        async with self._lock:
            if not self._has_started:
                self._has_started = True
                await self._start(chunk)
            if self._sink is not None:
                await self._sink.piece(piece)

    async def _start(self, chunk: Chunk) -> None:
        self._metrics.first_token_seconds.observe(time.perf_counter() - self._turn.started)
        if self._sink is not None:
            version = chunk.versions[-1].version if chunk.versions else 0
            await self._sink.start(self._turn.opening(version))

    def usage(self, builders: list[OutputBuilder]) -> Usage:
        return Usage(
            prompt_tokens=len(self._turn.attachment.prompt),
            output_tokens=sum(len(builder.ids) for builder in builders),
            cached_tokens=self._num_cached,
        )


def _wish(call: Call) -> OpenEpisode:
    address = call.address
    return OpenEpisode(
        id=address.episode_id,
        group_id=address.group_id,
        group_size=address.group_size,
        kind=address.kind,
        key_id=call.key_id,
    )
