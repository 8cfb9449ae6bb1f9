"""The data path to one SGLang server: token ids in, token ids and logprobs out, streamed or not.

Every failure is an EngineError that carries what had been sampled. Leaving a call early, by cancellation or by closing
its stream, aborts it in the engine, which would otherwise go on sampling.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from http import HTTPStatus

import anyio
import msgspec

from rollout.engine.engine import EngineOptions
from rollout.engine.errors import (
    EngineAborted,
    EngineError,
    EngineFailed,
    EngineGarbled,
    EngineRejected,
    EngineTimeout,
    EngineUnreachable,
)
from rollout.engine.generation import Chunk, GenerateRequest
from rollout.engine.http.client import HttpClient
from rollout.engine.http.connection import Connection
from rollout.engine.sglang.answer import Answer
from rollout.engine.sglang.engine_key import KEY_REFUSED, WRONG_KEY, authorization
from rollout.engine.sglang.error_text import error_text
from rollout.engine.sglang.grammar_check import GrammarCheck
from rollout.engine.sglang.sampling import sampling_params
from rollout.engine.sglang.server.grammars.limits import TOO_SLOW


class DataPath:
    """The sampling half of SglangEngine."""

    def __init__(self, url: str, options: EngineOptions) -> None:
        self.url = url
        self._deadlines = options.deadlines
        self._vocab_size = options.vocab_size
        self._window_seconds = options.stream_window_seconds
        self._http = HttpClient(
            url,
            headers=authorization(options.admin_key),
            connect_seconds=options.deadlines.connect,
        )
        self._grammar_check = GrammarCheck(url, self._http)

    async def close(self) -> None:
        await self._http.close()

    async def generate(self, request: GenerateRequest) -> Chunk:
        answer = self._answer(request)
        connection: Connection | None = None
        seconds = self._deadlines.whole_reply
        try:
            connection = await self._call(request, stream=False, seconds=seconds)
            body = await connection.read_all(seconds)
            self._check_status(connection.status, body)
            answer.add(body)
            if not answer.is_finished:
                raise answer.garbled(f"no finish_reason in {body[:200]!r}")
        except BaseException as error:
            self._release(connection, answer)
            await self._leave(error, request, answer)
            raise
        self._release(connection, answer)
        return answer.take()

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk]:
        """What arrives together, or within a window, is one chunk."""
        answer = self._answer(request)
        connection: Connection | None = None
        seconds, rest = self._deadlines.first_token, b""
        try:
            connection = await self._call(request, stream=True, seconds=seconds)
            while not answer.is_finished:
                data = await connection.read(seconds)
                if connection.status != HTTPStatus.OK:
                    data += await connection.read_all(seconds)
                    self._check_status(connection.status, data)
                if not data:
                    raise _ended_early(self.url, rest, answer)
                *events, rest = (rest + data).split(b"\n\n")
                if events:
                    _add_events(events, answer)
                    seconds = self._deadlines.next_token
                    connection.open_window(self._window_seconds)
                    yield answer.take()
        except BaseException as error:
            self._release(connection, answer)
            await self._leave(error, request, answer)
            raise
        self._release(connection, answer)

    async def abort(self, call_id: str) -> None:
        body = msgspec.json.encode({"rid": call_id})
        try:
            async with asyncio.timeout(self._deadlines.abort):
                status, answer = await self._http.ask(
                    "/abort_request", body, seconds=self._deadlines.abort
                )
        except TimeoutError as error:
            raise EngineTimeout(self.url, "did not answer an abort") from error
        except OSError as error:
            raise EngineUnreachable(self.url, _why(error)) from error
        self._check_status(status, answer)

    def _answer(self, request: GenerateRequest) -> Answer:
        return Answer(
            self.url,
            vocab_size=self._vocab_size,
            needs_sampling_logprobs=request.sampling_logprobs,
            expanded_ids=request.expanded_ids,
        )

    async def _call(self, request: GenerateRequest, *, stream: bool, seconds: float) -> Connection:
        """Send the request."""
        body = self._encode(request, stream=stream)
        if request.sampling.grammar is not None:
            await self._grammar_check.check(request.sampling.grammar, seconds=seconds)
        # SGLang closes a connection after a failure on it, which some images cause; the next call would be lost.
        return await self._http.post(
            "/generate", body, seconds=seconds, is_last_call=bool(request.images)
        )

    def _release(self, connection: Connection | None, answer: Answer) -> None:
        """Before a call is aborted, so that the engine sends nothing more of it. Never twice, because the next call may use it by then."""
        if connection is not None:
            # The end of a stream comes after the last token, and leaves the connection to the next call.
            drain_seconds = self._deadlines.next_token if answer.is_finished else 0
            connection.release(drain_seconds=drain_seconds)

    async def _leave(self, error: BaseException, request: GenerateRequest, answer: Answer) -> None:
        """Translate a failure, and leave nothing running in the engine."""
        match error:
            case EngineAborted() | EngineFailed() | EngineRejected():
                grammar = request.sampling.grammar
                if grammar is not None and TOO_SLOW in error.why:
                    raise self._grammar_check.refuse(grammar) from error
            case TimeoutError():
                await self._abandon(request.call_id, answer)
                why = "did not answer before the deadline"
                raise EngineTimeout(self.url, why, answer.partial) from error
            case OSError():
                raise EngineUnreachable(self.url, _why(error), answer.partial) from error
            case asyncio.CancelledError() | GeneratorExit() | EngineGarbled():
                await self._abandon(request.call_id, answer)

    def _encode(self, request: GenerateRequest, *, stream: bool) -> bytes:
        ids = request.prompt_ids
        if isinstance(ids, list):
            self._check_ids(ids)
        return _encoder.encode(
            _Body(
                rid=request.call_id,
                input_ids=msgspec.Raw(ids) if isinstance(ids, bytes) else ids,
                sampling_params=sampling_params(request.sampling),
                stream=stream,
                top_logprobs_num=request.top_logprobs,
                return_sampling_mask=request.sampling_logprobs,
                image_data=request.images or msgspec.UNSET,
                return_prompt_token_ids=bool(request.images) or msgspec.UNSET,
                extra_key=request.cache_salt or msgspec.UNSET,
            )
        )

    def _check_ids(self, ids: list[int]) -> None:
        """One id outside the vocabulary stops the whole server."""
        if not ids:
            raise EngineRejected(self.url, "the prompt has no tokens")
        limit = self._vocab_size
        if limit is not None and not (min(ids) >= 0 and max(ids) < limit):
            raise EngineRejected(self.url, f"a token id is outside the vocabulary of {limit}")

    def _check_status(self, status: int, body: bytes) -> None:
        if status == HTTPStatus.OK:
            return
        if status in KEY_REFUSED:
            raise EngineUnreachable(self.url, WRONG_KEY)
        why = f"status {status}: {error_text(body)}"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            failed = status == HTTPStatus.INTERNAL_SERVER_ERROR
            raise (EngineFailed if failed else EngineUnreachable)(self.url, why)
        raise EngineRejected(self.url, why)

    async def _abandon(self, call_id: str, answer: Answer) -> None:
        """Abort a call whose reader has left, also while the reader is being cancelled."""
        if answer.is_finished:
            return
        with anyio.CancelScope(shield=True), suppress(EngineError):
            await self.abort(call_id)


class _Body(msgspec.Struct):
    rid: str
    input_ids: list[int] | msgspec.Raw
    sampling_params: dict[str, object]
    stream: bool
    top_logprobs_num: int
    return_sampling_mask: bool
    return_logprob: bool = True
    image_data: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    return_prompt_token_ids: bool | msgspec.UnsetType = msgspec.UNSET
    extra_key: str | msgspec.UnsetType = msgspec.UNSET  # part of the prefix cache's keys


_encoder = msgspec.json.Encoder()


def _add_events(events: list[bytes], answer: Answer) -> None:
    """Take in server-sent events; the closing `[DONE]` and comments carry nothing."""
    for event in events:
        if event.startswith(b"data:") and not event.endswith(b"[DONE]"):
            answer.add(event[5:])


def _ended_early(engine: str, rest: bytes, answer: Answer) -> EngineError:
    if rest:
        return answer.garbled(f"the stream ends inside {rest[:200]!r}")
    return EngineUnreachable(engine, "closed the stream before its last token", answer.partial)


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
