"""One turn: begin, attach, sample, commit.

A turn exists once it is committed. Before that a crash or an error leaves nothing to train on. If the client leaves, or no
engine can finish the turn, what was sampled is kept as an `abandoned` record.
"""

from asyncio import Semaphore, TaskGroup
from collections.abc import Callable
from contextlib import nullcontext, suppress

import anyio
from msgspec.structs import replace

from gateway.attach.attacher import Attacher
from gateway.attach.episode_histories import EpisodeHistories
from gateway.attach.episode_history import EpisodeHistory
from gateway.errors import ContextOverflow
from gateway.metrics import Metrics
from gateway.parsing.output_parser import OutputParser
from gateway.parsing.output_reader import OutputReader
from gateway.request.minted_ids import call_ids
from gateway.request.request import Reply, Request
from gateway.turn.begin import Begun, begin, begin_without_episode
from gateway.turn.commit import commit
from gateway.turn.event_stream import Sink
from gateway.turn.idempotency import RunningTurns, repeated
from gateway.turn.image_sizes import Images
from gateway.turn.large_calls import LargeCalls
from gateway.turn.output_builder import OutputBuilder
from gateway.turn.planner import Planner
from gateway.turn.recorded_reply import encode_reply
from gateway.turn.running_turn import Call, RunningTurn
from gateway.turn.sampler import Sampler
from rollout.episode.turn import Anchor, Turn
from rollout.errors import AttemptSuperseded, StoreError, StoreUnavailable
from rollout.served_model import AskedModel
from rollout.tokenizer.tokenizer import Tokenizer
from rollout.tokenizer.vision import SizedImage

MAX_SAMPLED_AT_ONCE = 16  # outputs of one call; an engine shares its steps among all that run
ABANDON_SECONDS = 5.0  # to record in the store that a turn failed


class Turns:
    """Takes turns. One lives as long as the gateway and serves all endpoints."""

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        reader: OutputReader,
        images: Images,
        attacher: Attacher,
        histories: EpisodeHistories,
        planner: Planner,
        sampler: Sampler,
        large_calls: LargeCalls,
        metrics: Metrics,
    ) -> None:
        self._tokenizer = tokenizer
        self._reader = reader
        self._images = images
        self._attacher = attacher
        self._planner = planner
        self._sampler = sampler
        self._large_calls = large_calls
        self._metrics = metrics
        self._histories = histories
        self._running = RunningTurns()
        # Else no turn is sampled before the store has answered its begin.
        self._store_answers = True

    async def take(self, call: Call, sink: Sink | None) -> Reply:
        """Run a turn to its commit and pass its pieces to `sink`; a repeated call gets the first one's reply."""
        self._images.check(call.request.images)
        work = self._take(call, sink)
        if not call.attempt.retry_key:
            return await work
        renew = call.store.renew_attempt
        return await self._running.take(work, call.address.episode_id, call.attempt, renew)

    async def num_prompt_tokens(self, request: Request, model: AskedModel) -> int:
        """How many tokens the prompt of a call has that continues no record."""
        self._images.check(request.images)
        images = await self._images.sized(request.images, model=model, affinity="")
        return await self._attacher.num_tokens(request, images)

    @property
    def history_bytes(self) -> int:
        """Memory of what is remembered of episodes."""
        return self._histories.num_bytes

    async def close(self) -> None:
        """Cancel the turns that go on without a client."""
        await self._running.close()

    async def _take(self, call: Call, sink: Sink | None) -> Reply:
        begun = await self._begin(call, is_streamed=sink is not None)
        if begun.recorded is not None:
            return begun.recorded
        if call.attempt.retry_key:
            self._running.begun(call.attempt)
        turn = await self._sampled(call, begun, sink)
        reply = turn.reply()
        try:
            await self._commit(turn, reply, begun)
        except AttemptSuperseded:
            recorded = await self._recorded_instead(call) if sink is None else None
            if recorded is None:  # or the client has got other tokens
                raise
            return recorded
        self._count(turn, reply)
        return reply

    async def _begin(self, call: Call, *, is_streamed: bool) -> Begun:
        """A streamed reply names its episode before it ends, and a limit of open episodes is checked before a turn."""
        is_unknown = call.address.is_fresh and not is_streamed and not call.max_open_episodes
        if is_unknown and self._store_answers:
            return begin_without_episode(call)
        begun = await begin(call, self._histories)
        self._store_answers = True
        return begun

    async def _recorded_instead(self, call: Call) -> Reply | None:
        """The reply of the try of the call that was recorded in place of this one, unless it is kept no more."""
        again = replace(call, attempt=repeated(call.attempt))
        begun = await begin(again, self._histories)
        if begun.recorded is None:
            await self._withdraw(again, begun, is_full=False)
        return begun.recorded

    async def _sampled(self, call: Call, begun: Begun, sink: Sink | None) -> RunningTurn:
        """Sample the outputs of a turn; one that fails before its first token is withdrawn."""
        if call.use is not None:
            call.use.tokens = None
        turn: RunningTurn | None = None
        is_whole = is_full = False
        try:
            images = await self._images.sized(
                call.request.images, model=call.model, affinity=call.address.episode_id
            )
            in_turn = self._large_calls.turn(call.key_id) if call.is_large else nullcontext()
            async with in_turn:
                turn = await self._plan(call, begun.history, images, sink)
            if call.use is not None and turn.job.parameters.grammar is not None:
                await call.use.count_grammar()
            await self._sample(turn, begun, is_streamed=sink is not None)
            is_whole = True
        except ContextOverflow:
            is_full = call.address.turn_kind == "train"
            raise
        finally:
            if not is_whole and (turn is None or not turn.has_tokens):
                await self._withdraw(call, begun, is_full=is_full)
        return turn

    async def _withdraw(self, call: Call, begun: Begun, *, is_full: bool) -> None:
        """Take the turn back, or an episode that is being sealed would wait for it until its grace time is over."""
        if call.use is not None:
            call.use.tokens = 0
        if begun.opening is not None:
            return  # the store does not know of the turn
        with anyio.move_on_after(ABANDON_SECONDS, shield=True), suppress(StoreError):
            await call.store.withdraw(call.address.episode_id, call.attempt, is_full=is_full)

    async def _plan(
        self, call: Call, history: EpisodeHistory, images: list[SizedImage], sink: Sink | None
    ) -> RunningTurn:
        request = call.request
        attachment = await self._attacher.attach(request, history, images)
        self._metrics.observe_attachment(attachment.how, attachment.break_class, call.client)
        job = self._planner.job(call, attachment)
        if call.address.turn_kind == "train":
            self._planner.check_trainable(job)
        builders = [
            OutputBuilder(
                index,
                request=request,
                tokenizer=self._tokenizer,
                parser=self._parser(request, attachment.tail, call_ids(job.turn_id, index)),
                flags=job.flags,
            )
            for index in range(request.num_outputs)
        ]
        first_token = self._metrics.first_token_seconds.observe
        return RunningTurn(call, attachment, job, builders, sink=sink, on_first_token=first_token)

    def _parser(self, request: Request, tail: str, new_id: Callable[[], str]) -> OutputParser:
        if request.prompt is not None:
            return self._reader.plain_parser()
        return self._reader.parser(tools=request.offered_tools, prompt_tail=tail, new_id=new_id)

    async def _sample(self, turn: RunningTurn, begun: Begun, *, is_streamed: bool) -> None:
        sample = self._sampler.stream if is_streamed else self._sampler.whole
        try:
            if len(turn.builders) == 1:
                await sample(turn.job, turn.builders[0], turn.emit)
                return
            at_once = Semaphore(MAX_SAMPLED_AT_ONCE)

            async def sample_in_turn(builder: OutputBuilder) -> None:
                async with at_once:
                    await sample(turn.job, builder, turn.emit)

            async with TaskGroup() as tasks:
                for builder in turn.builders:
                    tasks.create_task(sample_in_turn(builder))
        except ExceptionGroup as failures:
            await self._record_abandoned(turn, begun)
            raise failures.exceptions[0] from None
        except BaseException:  # the sink's too: sealing waits for a turn that nobody ends
            await self._record_abandoned(turn, begun)
            raise

    async def _commit(self, turn: RunningTurn, reply: Reply, begun: Begun) -> None:
        """Commit the turn, and with it the reply for repeated calls."""
        record, history = turn.record(), begun.history
        encoded = encode_reply(reply) if record.retry_key else b""
        await self._store(turn, record, encoded, begun)
        if self._reader.reads_reasoning:
            for choice, output in zip(reply.choices, record.outputs, strict=True):
                end = Anchor(record.id, choice.index, output.num_tokens)
                history.reasoning[end] = history.keep_text(choice.reasoning or "")

    async def _record_abandoned(self, turn: RunningTurn, begun: Begun) -> None:
        """Record the tokens of a turn that nobody received, so that they neither train nor answer a repeated call."""
        if not turn.has_tokens:
            return
        record = turn.abandoned_record()
        with anyio.move_on_after(ABANDON_SECONDS, shield=True), suppress(StoreError):
            await self._store(turn, record, b"", begun)

    async def _store(self, turn: RunningTurn, record: Turn, reply: bytes, begun: Begun) -> None:
        if turn.call.use is not None:
            turn.call.use.tokens = turn.num_tokens
        kept, said = turn.kept(record), turn.said()
        try:
            ordinal, opened = await commit(
                turn.call, record, reply, begun=begun, kept=kept, said=said
            )
        except StoreUnavailable:
            self._store_answers = False
            raise
        project = turn.call.project
        if opened is not None:
            self._histories.keep(project, begun.history, opened)
        self._histories.add(project, begun.history, turn=record, ordinal=ordinal)
        self._metrics.observe_record(record)

    def _count(self, turn: RunningTurn, reply: Reply) -> None:
        kind, used = turn.call.address.turn_kind, reply.usage
        self._metrics.observe_turn(
            kind, prompt=used.prompt_tokens, cached=used.cached_tokens, output=used.output_tokens
        )
