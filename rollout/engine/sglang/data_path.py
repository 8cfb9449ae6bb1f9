"""The data path to one SGLang server: token ids in, token ids and logprobs out, streamed or not.

Every failure is an EngineError that carries what had been sampled. Leaving a call early, by cancellation or by closing
its stream, aborts it in the engine, which would otherwise go on sampling.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from io import BytesIO

import aiohttp
import anyio
import msgspec
from yarl import URL

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
from rollout.engine.sglang.answer import Answer
from rollout.engine.sglang.engine_key import KEY_REFUSED, WRONG_KEY, authorization
from rollout.engine.sglang.error_text import error_text
from rollout.engine.sglang.grammar_check import GrammarCheck
from rollout.engine.sglang.sampling import sampling_params
from rollout.engine.sglang.server.grammars.limits import TOO_SLOW
from rollout.engine.sglang.stream_window import StreamWindow

LARGE_BODY = 1_000_000  # bytes; aiohttp writes a larger one at once if it is given as bytes
# SGLang closes a connection after a failure on it, which some images cause; the next call on it would be lost.
ONE_CALL = {"connection": "close"}


class DataPath:
    """The sampling half of SglangEngine."""

    def __init__(self, url: str, options: EngineOptions) -> None:
        self.url = url
        self._options = options
        self._deadlines = options.deadlines
        self._vocab_size = options.vocab_size
        self._generate_url = URL(url + "/generate")
        self._abort_url = URL(url + "/abort_request")
        self._grammar_check = GrammarCheck(url)

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        """Opened by the first call, because aiohttp needs the event loop that will use it."""
        return _open_session(self._options.admin_key, self._deadlines.connect)

    async def close(self) -> None:
        await self._session.close()

    async def generate(self, request: GenerateRequest) -> Chunk:
        answer = self._answer(request)
        seconds = self._deadlines.whole_reply
        async with self._call(request, answer, stream=False, seconds=seconds) as response:
            async with asyncio.timeout(seconds):
                body = await response.read()
            answer.add(body)
            if not answer.is_finished:
                raise answer.garbled(f"no finish_reason in {body[:200]!r}")
        return answer.take()

    async def stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk]:
        """What arrives together, or within a window, is one chunk."""
        answer = self._answer(request)
        seconds, rest = self._deadlines.first_token, b""
        window = StreamWindow(self._options.stream_window_seconds)
        async with self._call(request, answer, stream=True, seconds=seconds) as response:
            response.content.on_eof(window.end)
            while not answer.is_finished:
                data = response.content.read_nowait() or await _arriving(response, seconds)
                if not data:
                    raise _ended_early(self.url, rest, answer)
                *events, rest = (rest + data).split(b"\n\n")
                if events:
                    _add_events(events, answer)
                    seconds = self._deadlines.next_token
                    window.begin()
                    yield answer.take()
                    await window.over()

    async def abort(self, call_id: str) -> None:
        body = msgspec.json.encode({"rid": call_id})
        try:
            async with asyncio.timeout(self._deadlines.abort):
                response = await self._session.post(self._abort_url, data=body)
                async with response:
                    await self._check_status(response)
        except TimeoutError as error:
            raise EngineTimeout(self.url, "did not answer an abort") from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnreachable(self.url, _why(error)) from error

    def _answer(self, request: GenerateRequest) -> Answer:
        return Answer(
            self.url,
            vocab_size=self._vocab_size,
            needs_sampling_logprobs=request.sampling_logprobs,
            expanded_ids=request.expanded_ids,
        )

    @asynccontextmanager
    async def _call(
        self, request: GenerateRequest, answer: Answer, *, stream: bool, seconds: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send the request, translate every failure, and leave nothing running in the engine."""
        body = self._encode(request, stream=stream)
        try:
            async with asyncio.timeout(seconds):
                if request.sampling.grammar is not None:
                    await self._grammar_check.check(request.sampling.grammar, self._session)
                response = await self._session.post(
                    self._generate_url,
                    data=_in_pieces(body),
                    headers=ONE_CALL if request.images else None,
                )
            async with response:
                await self._check_status(response)
                yield response
                # An answer read to its very end leaves the connection to the next call.
                if not response.content.at_eof():
                    async with asyncio.timeout(self._deadlines.next_token):
                        await response.read()
        except (EngineAborted, EngineFailed, EngineRejected) as error:
            grammar = request.sampling.grammar
            if grammar is None or TOO_SLOW not in error.why:
                raise
            raise self._grammar_check.refuse(grammar) from error
        except TimeoutError as error:
            await self._abandon(request.call_id, answer)
            raise EngineTimeout(
                self.url, "did not answer before the deadline", answer.partial
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineUnreachable(self.url, _why(error), answer.partial) from error
        except (asyncio.CancelledError, GeneratorExit, EngineGarbled):
            await self._abandon(request.call_id, answer)
            raise

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

    async def _check_status(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 200:
            return
        if response.status in KEY_REFUSED:
            raise EngineUnreachable(self.url, WRONG_KEY)
        body = await response.read()
        why = f"status {response.status}: {error_text(body)}"
        if response.status >= 500:
            raise (EngineFailed if response.status == 500 else EngineUnreachable)(self.url, why)
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


def _in_pieces(body: bytes) -> bytes | BytesIO:
    """A large body is sent in pieces, between which other calls go on."""
    return body if len(body) < LARGE_BODY else BytesIO(body)


def _open_session(admin_key: str | None, connect_seconds: float) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        headers={"content-type": "application/json"} | authorization(admin_key),
        # SGLang drops idle connections after 5 s, and a call sent into that moment would be lost.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("user-agent", "accept", "accept-encoding"),
    )


async def _arriving(response: aiohttp.ClientResponse, seconds: float) -> bytes:
    async with asyncio.timeout(seconds):
        return await response.content.readany()


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
