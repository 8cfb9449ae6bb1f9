"""One output while it is being sampled: exact ids and logprobs for the record, parsed text for the caller.

Streamed and unstreamed replies are made of the same pieces, so they cannot differ.
"""

from collections.abc import Sequence

import msgspec

from gateway.parsing.deltas import Delta, fold
from gateway.parsing.output_parser import OutputParser
from gateway.parsing.stop_text import StopText
from gateway.request.request import ReplyChoice, Request, TokenLogprob, ToolCall
from rollout.engine.generation import Chunk, Finish
from rollout.episode.turn import Output, OutputFlags, VersionInterval
from rollout.tokenizer.tokenizer import Tokenizer


class Piece(msgspec.Struct, frozen=True):
    """What one engine event gives the caller."""

    index: int
    deltas: Sequence[Delta]
    logprobs: list[TokenLogprob] | None
    token_ids: list[int] | None
    num_tokens: int = 0


class OutputBuilder:
    def __init__(
        self,
        index: int,
        *,
        request: Request,
        tokenizer: Tokenizer,
        parser: OutputParser,
        flags: OutputFlags,
    ) -> None:
        self.index = index
        self.ids: list[int] = []
        self.finish: Finish | None = None
        self._request = request
        self._tokenizer = tokenizer
        self._decoder = tokenizer.stream_decoder(parser.markers)
        self._stop_text = StopText(request.sampling.stop)
        self._parser = parser
        self._flags = flags
        self._logprobs: list[float] = []
        self._engine_start = 0  # the first token of the engine that samples now
        self._earlier_versions: list[VersionInterval] = []
        self._versions: Sequence[
            VersionInterval
        ] = ()  # as this engine reports them, counted from its first token
        self._shown_logprobs: list[TokenLogprob] = []
        self._deltas: list[Delta] = []

    def add(self, chunk: Chunk) -> Piece:
        """Take what an engine sampled since the last chunk."""
        sampled = chunk.logprobs if chunk.sampling_logprobs is None else chunk.sampling_logprobs
        self.ids += chunk.ids
        self._logprobs += sampled
        self._versions = chunk.versions or self._versions
        deltas = self._parser.feed(self._stop_text.push(self._decoder.push(chunk.ids)))
        if chunk.finish is not None:
            self.finish = chunk.finish
            deltas = [*deltas, *self._rest()]
        self._deltas += deltas
        shown = token_logprobs(chunk, self._tokenizer) if self._request.logprobs else None
        self._shown_logprobs += shown or ()
        ids = chunk.ids if self._request.return_token_ids else None
        return Piece(self.index, deltas, shown, ids, len(chunk.ids))

    def missing(self, partial: Chunk) -> Chunk:
        """The part of an engine's partial answer that did not arrive as a chunk."""
        start = len(self.ids) - self._engine_start
        sampling, top = partial.sampling_logprobs, partial.top_logprobs
        return Chunk(
            ids=partial.ids[start:],
            logprobs=partial.logprobs[start:],
            top_logprobs=None if top is None else top[start:],
            sampling_logprobs=None if sampling is None else sampling[start:],
            versions=partial.versions,
            prompt_tokens=partial.prompt_tokens,
            cached_tokens=partial.cached_tokens,
        )

    def change_engine(self) -> None:
        """The next chunk comes from another engine."""
        self._earlier_versions = self.versions
        self._versions = ()
        self._engine_start = len(self.ids)

    @property
    def versions(self) -> list[VersionInterval]:
        """The version that sampled each token; neighboring intervals of one version are joined."""
        joined = list(self._earlier_versions)
        for reported in self._versions:
            start, end = reported.start + self._engine_start, reported.end + self._engine_start
            if joined and joined[-1].version == reported.version:
                start = joined.pop().start
            joined.append(VersionInterval(reported.version, start, end))
        return joined

    @property
    def is_stopped(self) -> bool:
        """Whether a stop string has appeared."""
        return self._stop_text.is_stopped

    @property
    def finish_reason(self) -> str:
        """OpenAI's word for why it ended."""
        if self.finish is None:
            return "abort"
        if self.finish.type == "stop" and self._parser.num_tool_calls:
            return "tool_calls"
        return self.finish.type

    def record(self, more_flags: OutputFlags = OutputFlags.NONE) -> Output:
        """The output as the episode keeps it."""
        flags = int(self._flags) | int(more_flags)
        if self.finish is not None and self.finish.type == "length":
            flags |= int(OutputFlags.TRUNCATED)
        if self._parser.malformed:
            flags |= int(OutputFlags.MALFORMED)
        return Output.sampled(
            self.ids,
            self._logprobs,
            versions=self.versions,
            finish_reason=self.finish_reason,
            flags=flags,
        )

    def choice(self) -> ReplyChoice:
        message = fold(self._deltas)
        calls = tuple(ToolCall(c.id, c.name, c.arguments, c.position) for c in message.tool_calls)
        return ReplyChoice(
            index=self.index,
            content=message.content or (None if calls else ""),
            reasoning=message.reasoning or None,
            tool_calls=calls,
            finish_reason=self.finish_reason,
            stop_text=self._stop_text.matched,
            logprobs=self._shown_logprobs if self._request.logprobs else None,
            token_ids=self.ids if self._request.return_token_ids else None,
        )

    def num_tokens_of(self, text: str) -> int:
        """How many of the first tokens it takes to spell a text with which the output begins."""
        left = len(text.encode())
        for num_tokens, id_ in enumerate(self.ids):
            if left <= 0:
                return num_tokens
            left -= len(self._tokenizer.token_bytes(id_))
        return len(self.ids)

    def _rest(self) -> Sequence[Delta]:
        text = self._stop_text.push(self._decoder.finish())
        return [*self._parser.feed(text + self._stop_text.finish()), *self._parser.finish()]


def token_logprobs(chunk: Chunk, tokenizer: Tokenizer) -> list[TokenLogprob]:
    """The tokens of a chunk in OpenAI's `logprobs.content` form."""
    alternatives = chunk.top_logprobs or [[] for _ in chunk.ids]
    return [
        _shown(id_, logprob, tokenizer, [_shown(i, lp, tokenizer) for lp, i in top])
        for id_, logprob, top in zip(chunk.ids, chunk.logprobs, alternatives, strict=True)
    ]


def _shown(
    id_: int, logprob: float, tokenizer: Tokenizer, top: list[TokenLogprob] | None = None
) -> TokenLogprob:
    data = tokenizer.token_bytes(id_)
    return TokenLogprob(data.decode(errors="replace"), logprob, list(data), top)
