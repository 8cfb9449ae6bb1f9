"""A turn between attaching and committing: its outputs as they grow, and the reply and the record they become."""

import time
from asyncio import Lock
from collections.abc import Callable, Sequence
from functools import cached_property

import msgspec

from gateway.access.rate_limits import Use
from gateway.attach.attachment import Attachment
from gateway.request.conversation_hash import answer, print_of
from gateway.request.episode_address import EpisodeAddress
from gateway.request.kept_reply import encode_kept
from gateway.request.request import Reply, ReplyChoice, ReplyHead, Request, Usage
from gateway.request.said import said_after
from gateway.turn.event_stream import Sink
from gateway.turn.output_builder import OutputBuilder, Piece
from gateway.turn.sampler import Job
from gateway.turn.sampling_parameters import sampling_record
from rollout.engine.generation import Chunk
from rollout.episode.attempt import UNKEYED, Attempt
from rollout.episode.turn import OutputFlags, Turn, VersionInterval
from rollout.served_model import AskedModel
from rollout.store.store import Store


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request, who makes it and in which episode."""

    request: Request
    model: AskedModel
    store: Store  # of the caller's project
    project: str
    key_id: str
    address: EpisodeAddress
    attempt: Attempt
    is_large: bool  # by its body and what is kept of earlier replies, so that it waits for its turn with other large calls
    client: str  # the name of its runtime, a label of the metric for breaks
    cache_salt: str = ""  # keeps the project's prompts apart in the engines' prefix caches
    use: Use | None = None  # None if the key has no limits
    is_trained: bool = True  # False: its project is served and never trained

    @property
    def max_open_episodes(self) -> int:
        """Of the caller's key; 0 is no limit."""
        return 0 if self.use is None else self.use.caller.limits.max_open_episodes or 0


class RunningTurn:
    """Passes the pieces of all outputs to the sink, one at a time, after the head of the reply."""

    def __init__(
        self,
        call: Call,
        attachment: Attachment,
        job: Job,
        builders: list[OutputBuilder],
        *,
        sink: Sink | None,
        on_first_token: Callable[[float], None],
    ) -> None:
        self.call = call
        self.attachment = attachment
        self.job = job
        self.builders = builders
        self.created_ms = time.time_ns() // 1_000_000
        self._sink = sink
        self._on_first_token = on_first_token
        self._started = time.perf_counter()
        self._has_token = False
        self._num_cached = 0
        self._one_at_a_time = Lock() if sink is not None and len(builders) > 1 else None

    @property
    def episode_id(self) -> str:
        return self.call.address.episode_id

    @property
    def has_tokens(self) -> bool:
        """Whether anything was sampled yet."""
        return any(builder.ids for builder in self.builders)

    @property
    def num_tokens(self) -> int:
        """Of the prompt and of all outputs."""
        return self.attachment.prompt.num_tokens + sum(len(b.ids) for b in self.builders)

    async def emit(self, piece: Piece, chunk: Chunk) -> None:
        self._num_cached = max(self._num_cached, chunk.cached_tokens)
        if self._sink is None:
            self._note_first_token()
            return
        if self._one_at_a_time is None:
            await self._pass_on(piece, chunk, self._sink)
            return
        async with self._one_at_a_time:
            await self._pass_on(piece, chunk, self._sink)

    async def _pass_on(self, piece: Piece, chunk: Chunk, sink: Sink) -> None:
        if not self._has_token:
            await sink.start(self._head(chunk.versions))
        self._note_first_token()
        await sink.piece(piece)

    def _note_first_token(self) -> None:
        if not self._has_token:
            self._has_token = True
            self._on_first_token(time.perf_counter() - self._started)

    def _head(self, versions: Sequence[VersionInterval]) -> ReplyHead:
        return ReplyHead(
            turn_id=self.job.turn_id,
            episode_id=self.episode_id,
            created=self.created_ms // 1000,
            model=self.call.request.model,
            policy_version=max((interval.version for interval in versions), default=0),
            usage=self._usage(),
            prompt_token_ids=self._prompt_token_ids,
        )

    def reply(self) -> Reply:
        """What the caller gets, and a repeated call gets again."""
        num_reasoning = sum(
            builder.num_tokens_of(choice.reasoning)
            for builder, choice in zip(self.builders, self._choices, strict=True)
            if choice.reasoning
        )
        head = self._head([interval for b in self.builders for interval in b.versions])
        return Reply(
            turn_id=head.turn_id,
            episode_id=head.episode_id,
            created=head.created,
            model=head.model,
            policy_version=head.policy_version,
            usage=self._usage(num_reasoning),
            prompt_token_ids=head.prompt_token_ids,
            choices=self._choices,
            completed=int(time.time()),
        )

    @cached_property
    def _choices(self) -> tuple[ReplyChoice, ...]:
        """What was sampled; read when all outputs have ended."""
        return tuple(builder.choice() for builder in self.builders)

    @cached_property
    def _answers(self) -> list[bytes]:
        """The hashes of the messages that the client will send back."""
        return [print_of(answer(choice, self.attachment.prefill)) for choice in self._choices]

    def _usage(self, num_reasoning: int = 0) -> Usage:
        return Usage(
            prompt_tokens=self.attachment.prompt.num_tokens,
            output_tokens=sum(len(builder.ids) for builder in self.builders),
            # How much of a prompt is cached also tells how the engine is used by others.
            cached_tokens=0 if self.call.cache_salt else self._num_cached,
            reasoning_tokens=num_reasoning,
        )

    def record(self) -> Turn:
        """What the episode keeps."""
        chains = tuple(map(self.attachment.chain.extended_by, self._answers))
        return self._record(flags=OutputFlags.NONE, output_chains=chains, attempt=self.call.attempt)

    def kept(self, record: Turn) -> tuple[str, bytes]:
        """The turn whose conversation this one continues, and what it adds, for calls that name its reply."""
        request = self.call.request
        if not record.keeps_messages:
            return "", b""
        turn_id, num_known = self.attachment.continues
        added = request.messages[num_known or request.num_instructions :]
        return turn_id, encode_kept(added, self._choices[0])

    def abandoned_record(self) -> Turn:
        """The record of a turn that nobody received: no later call continues it, no repeated call gets it."""
        return self._record(flags=OutputFlags.ABANDONED, output_chains=(), attempt=UNKEYED)

    def _record(
        self, *, flags: OutputFlags, output_chains: tuple[str, ...], attempt: Attempt
    ) -> Turn:
        call, attachment = self.call, self.attachment
        return Turn(
            id=self.job.turn_id,
            kind=call.address.turn_kind,
            created_ms=self.created_ms,
            anchor=attachment.anchor,
            context=attachment.context.tobytes(),
            outputs=tuple(builder.record(flags) for builder in self.builders),
            forced=attachment.forced,
            prompt_chain=attachment.chain.end,
            output_chains=output_chains,
            sampling=sampling_record(self.job.parameters),
            template=attachment.template,
            tools=attachment.tools,
            retry_key=attempt.retry_key,
            body_digest=attempt.body_digest,
            media=tuple(attachment.media),
            keeps_messages=call.request.keeps_messages and not flags,
            found_by=call.address.found_by,
            thread=call.address.thread,
            client=call.client,
            notes=self._notes,
        )

    @property
    def _notes(self) -> tuple[str, ...]:
        call, attachment = self.call, self.attachment
        return (*call.address.notes, *call.request.notes, *attachment.notes, *self.job.notes)

    def said(self) -> tuple[str, ...]:
        """A key and digests by which later calls of the conversation find the episode."""
        if not self.call.address.is_found_by_words:
            return ()
        attachment, request = self.attachment, self.call.request
        prints = attachment.chain.prints
        messages = request.messages[: len(prints)]
        said = (said_after(messages, prints, print_) for print_ in self._answers)
        digests = [digest for each in said for digest in each]
        return (self.call.key_id, *digests)

    @cached_property
    def _prompt_token_ids(self) -> list[int] | None:
        return self.attachment.prompt.ids.tolist() if self.call.request.return_token_ids else None
