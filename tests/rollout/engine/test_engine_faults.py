"""What the data path makes of an engine that is down, slow, or answers garbage."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web

from rollout.engine.engine import Engine
from rollout.engine.errors import (
    EngineError,
    EngineFailed,
    EngineGarbled,
    EngineRejected,
    EngineTimeout,
    EngineUnreachable,
)
from rollout.engine.generation import Chunk, Deadlines, GenerateRequest, SamplingParameters
from tests.engines import factory
from tests.scripted_engine import Generate, ScriptedEngine, running_engine


def answer(ids: Sequence[int], **meta: Any) -> dict[str, Any]:
    """An unstreamed answer with these ids; `meta` replaces parts of its meta_info."""
    whole = {
        "completion_tokens": len(ids),
        "prompt_tokens": 3,
        "weight_version": "0",
        "finish_reason": {"type": "length", "length": len(ids)},
        "output_token_logprobs": [[-0.5, token, None] for token in ids],
    }
    return {"output_ids": list(ids), "meta_info": whole | meta}


def replies(body: dict[str, Any] | bytes, *, status: int = 200) -> Generate:
    """Every call gets this body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def generate(request: web.Request) -> web.Response:
        return web.Response(body=content, status=status)

    return generate


def streams(events: Iterable[dict[str, Any]], *, then: Awaitable[object] | None = None) -> Generate:
    """Every call gets these events, then waits for `then` or gets the end of the stream."""
    content = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events]

    async def generate(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in content:
            await response.write(event)
        if then is not None:
            await then
        return response

    return generate


async def hangs(request: web.Request) -> web.StreamResponse:
    """Never answers."""
    await asyncio.Event().wait()
    raise AssertionError


REQUEST = GenerateRequest("r", [1, 2, 3], SamplingParameters(max_tokens=2))
SHORT = Deadlines(first_token=0.2, next_token=0.2, whole_reply=0.2, abort=0.2)
UNFINISHED = answer([7, 8], finish_reason=None)

Call = Callable[[Engine], object]


async def _whole(client: Engine) -> list[Chunk]:
    return [await client.generate(REQUEST)]


async def _streamed(client: Engine) -> list[Chunk]:
    async with aclosing(client.stream(REQUEST)) as chunks:
        return [chunk async for chunk in chunks]


@asynccontextmanager
async def _calling(generate: Generate) -> AsyncIterator[tuple[Engine, ScriptedEngine]]:
    async with running_engine() as engine:
        engine.generate = generate
        client = factory(deadlines=SHORT).open(engine.url)
        try:
            yield client, engine
        finally:
            await client.close()


@pytest.mark.parametrize("call", [_whole, _streamed])
async def test_a_refused_connection_is_unreachable(call: Call) -> None:
    """Nobody listens on the port."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = factory(deadlines=SHORT).open(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(EngineUnreachable, match=r"127\.0\.0\.1"):
            await call(client)
        await client.close()


@pytest.mark.parametrize("call", [_whole, _streamed])
async def test_a_silent_engine_times_out_and_is_told_to_stop(call: Call) -> None:
    """The call that nobody waits for is aborted."""
    async with _calling(hangs) as (client, engine):
        with pytest.raises(EngineTimeout):
            await call(client)
        assert engine.aborted == ["r"]


async def test_a_stream_that_stalls_keeps_what_came() -> None:
    """The deadline between two tokens passes; the partial answer has the first two."""
    stalling = streams([UNFINISHED], then=asyncio.Event().wait())
    async with _calling(stalling) as (client, engine):
        with pytest.raises(EngineTimeout) as raised:
            await _streamed(client)
        assert raised.value.partial is not None
        assert raised.value.partial.ids == [7, 8]
        assert engine.aborted == ["r"]


async def test_a_stream_that_just_ends_is_unreachable() -> None:
    """Without a finish reason the end of the stream is the engine's end."""
    async with _calling(streams([UNFINISHED])) as (client, _):
        with pytest.raises(EngineUnreachable, match="before its last token") as raised:
            await _streamed(client)
        assert raised.value.partial is not None
        assert raised.value.partial.ids == [7, 8]


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"<html>", 200, EngineGarbled),
        (b"", 200, EngineGarbled),
        (b'{"error": {"message": "no such field"}}', 400, EngineRejected),
        (b"proxy error", 502, EngineUnreachable),
        (b"Internal Server Error", 500, EngineFailed),
    ],
)
@pytest.mark.parametrize("call", [_whole, _streamed])
async def test_a_wrong_answer_is_an_error_of_its_kind(
    call: Call, body: bytes, status: int, kind: type[EngineError]
) -> None:
    """Streamed or not, garbage, refusal and failure are told apart."""
    expected = EngineUnreachable if (call, body) == (_streamed, b"") else kind
    async with _calling(replies(body, status=status)) as (client, _):
        with pytest.raises(expected):
            await call(client)


async def test_an_answer_that_does_not_end_is_garbled() -> None:
    """An unstreamed answer must say why it stopped."""
    async with _calling(replies(UNFINISHED)) as (client, _):
        with pytest.raises(EngineGarbled, match="finish_reason"):
            await _whole(client)


async def test_events_that_arrive_together_are_one_chunk() -> None:
    """The reader is not woken for each."""
    first, second = answer([7], finish_reason=None), answer([8], completion_tokens=2)
    both = b"".join(b"data: " + _encoded(event) + b"\n\n" for event in (first, second))
    async with _calling(replies(both + b"data: [DONE]\n\n")) as (client, _):
        chunks = await _streamed(client)

    assert [chunk.ids for chunk in chunks] == [[7, 8]]


async def test_a_connection_serves_one_call_after_another() -> None:
    """A stream read to its end leaves its connection to the next call."""
    peers = set()
    event = b"data: " + _encoded(answer([7])) + b"\n\ndata: [DONE]\n\n"
    reply = replies(event)

    async def generate(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return await reply(request)

    async with _calling(generate) as (client, _):
        for _ in range(5):
            await _streamed(client)

    assert len(peers) == 1


async def test_a_call_with_images_leaves_its_connection_to_nobody() -> None:
    """An engine that fails on an image is about to drop the connection, and the next call would be lost with it."""
    peers = set()
    reply = replies(b"Internal Server Error", status=500)

    async def generate(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return await reply(request)

    seeing = msgspec.structs.replace(REQUEST, images=("data:image/png;base64,AAAA",))
    async with _calling(generate) as (client, _):
        for _ in range(3):
            with pytest.raises(EngineFailed):
                await client.generate(seeing)

    assert len(peers) == 3


def _encoded(event: dict[str, object]) -> bytes:
    return json.dumps(event).encode()
