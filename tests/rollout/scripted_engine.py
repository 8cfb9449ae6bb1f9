"""A server that speaks SGLang's routes from a script, for faults and timing that a real engine will not show on demand."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Generate = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class ScriptedEngine:
    """What it was asked, and what it answers."""

    url: str
    generate: Generate
    version: str = "0"
    is_healthy: bool = True
    fails_to_load: bool = False
    calls: list[str] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)


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


@asynccontextmanager
async def scripted_engine(
    generate: Generate = hangs, *, port: int = 0
) -> AsyncIterator[ScriptedEngine]:
    """Serve the script on a free port while the block lasts."""
    engine = ScriptedEngine("", generate)

    async def control(request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        engine.calls.append(request.path)
        if request.path == "/abort_request":
            engine.aborted.append(body["rid"])
        if request.path == "/update_weights_from_disk":
            if engine.fails_to_load:
                return web.json_response({"success": False, "message": "no such file"}, status=400)
            engine.version = body["weight_version"]
        return web.json_response({"success": True})

    async def model_info(request: web.Request) -> web.Response:
        if not engine.is_healthy:
            return web.Response(status=503)
        return web.json_response({"model_path": "x", "weight_version": engine.version})

    async def generate_as_told(request: web.Request) -> web.StreamResponse:
        await request.read()
        return await engine.generate(request)

    app = web.Application()
    app.router.add_post("/generate", generate_as_told)
    app.router.add_get("/model_info", model_info)
    app.router.add_post("/{control}", control)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, bound = runner.addresses[0][:2]
    engine.url = f"http://{host}:{bound}"
    try:
        yield engine
    finally:
        await runner.cleanup()
