"""A real HTTP server that speaks SGLang's `/generate` and control routes from a script: exact tokens, timing, faults.

engine.script(Tokens([5, 6]), Wait(event), Tokens([7]), Stop(2))     what the next call gets
engine.requests, engine.aborted                                       what the gateway did
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.engine_script import (
    Abort,
    Die,
    End,
    Garbage,
    Length,
    Refuse,
    Step,
    Stop,
    Tokens,
    Version,
    Wait,
)

Generate = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ScriptedEngine:
    def __init__(self, version: int = 0, *, incremental: bool = True) -> None:
        self.version = version
        self.incremental = incremental
        self.requests: list[dict[str, Any]] = []
        self.aborted: list[str] = []
        self.was_aborted = asyncio.Event()
        self.calls: list[str] = []
        self.url = ""
        self.is_healthy = True
        self.fails_to_load = False
        self.generate: Generate | None = None  # answers every call instead of the script
        self.cached_tokens = 0
        self.expand: Callable[[list[int]], list[int]] = list  # what images make of a prompt
        self.grammars: list[dict[str, Any]] = []  # those it was asked about
        self.refuses_grammars: tuple[int, str] | None = None  # with this status and message
        self.default: tuple[Step, ...] = ()
        self.policy: Callable[[dict[str, Any]], Iterable[Step]] | None = None
        self.replies: list[_Reply] = []
        self._scripts: deque[tuple[Step, ...]] = deque()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._runner: web.AppRunner | None = None

    def script(self, *steps: Step) -> None:
        """What the next unscripted call will get."""
        self._scripts.append(steps)

    def forget(self) -> None:
        """Drop what was recorded so far."""
        self.requests.clear()
        self.replies.clear()
        self.aborted.clear()

    async def start(self, port: int = 0) -> None:
        app = web.Application(client_max_size=2**26)
        app.add_routes(
            [
                web.post("/generate", self._generate),
                web.post("/abort_request", self._abort),
                web.post("/grammars", self._grammars),
                web.get("/model_info", self._model_info),
                web.get("/v1/loads", self._loads),
                web.post("/pause_generation", self._pause),
                web.post("/continue_generation", self._continue),
                web.post("/update_weights_from_disk", self._update),
            ]
        )
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        if self.generate is not None:
            return await self.generate(request)
        reply = _Reply(self, request, body)
        self.replies.append(reply)
        task = asyncio.current_task()
        assert task is not None
        self._running[body["rid"]] = task
        try:
            return await reply.play(self._steps(body))
        except ConnectionResetError:  # the caller has left
            return web.Response()
        finally:
            self._running.pop(body["rid"], None)

    def _steps(self, body: dict[str, Any]) -> Iterable[Step]:
        if self._scripts:
            return self._scripts.popleft()
        return self.policy(body) if self.policy is not None else self.default

    async def _grammars(self, request: web.Request) -> web.Response:
        self.grammars.append(await request.json())
        if self.refuses_grammars is None:
            return web.json_response({})
        status, message = self.refuses_grammars
        return web.json_response({"error": {"message": message}}, status=status)

    async def _abort(self, request: web.Request) -> web.Response:
        self.aborted.append((await request.json())["rid"])
        self.was_aborted.set()
        return web.json_response({})

    async def _model_info(self, request: web.Request) -> web.Response:
        if not self.is_healthy:
            return web.Response(status=503)
        info = {"model_path": "scripted", "weight_version": str(self.version)}
        return web.json_response(info)

    async def _loads(self, request: web.Request) -> web.Response:
        return web.json_response({"loads": [{"num_running_reqs": len(self._running)}]})

    async def _pause(self, request: web.Request) -> web.Response:
        self.calls.append("pause")
        return web.json_response({"status": "ok"})

    async def _continue(self, request: web.Request) -> web.Response:
        self.calls.append("continue")
        return web.json_response({"status": "ok"})

    async def _update(self, request: web.Request) -> web.Response:
        self.calls.append("load")
        if self.fails_to_load:
            return web.json_response({"success": False, "message": "no such file"}, status=400)
        self.version = int((await request.json())["weight_version"])
        return web.json_response({"success": True, "message": ""})


class _Reply:
    """One answer while it is played, and afterwards the record of what was sampled."""

    def __init__(self, engine: ScriptedEngine, request: web.Request, body: dict[str, Any]) -> None:
        self.body = body
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.has_ended = False
        self._engine = engine
        self._request = request
        self._sent = 0
        self._version = engine.version
        self._spans: list[list[int]] = []
        self._stream: web.StreamResponse | None = None

    async def play(self, steps: Iterable[Step]) -> web.StreamResponse:
        for step in steps:
            match step:
                case Tokens(ids=ids, logprobs=logprobs):
                    await self._sample(ids, logprobs)
                case Wait(event=event, reached=reached):
                    reached.set()
                    await event.wait()
                case Version(number=number):
                    self._version = number
                case Stop(matched=matched):
                    if isinstance(matched, int):
                        self._add([matched], None)
                    return await self._end({"type": "stop", "matched": matched})
                case Length():
                    return await self._end({"type": "length", "length": len(self.ids)})
                case End(reason=reason):
                    await self._send(self._event({"type": reason}))
                case Abort(message=message):
                    return await self._end({"type": "abort", "message": message})
                case Die():
                    assert self._request.transport is not None
                    self._request.transport.abort()
                    return web.Response()
                case Garbage(data=data):
                    return await self._garbage(data)
                case Refuse(status=status, message=message):
                    error = {"error": {"message": message}}
                    return web.json_response(error, status=status)
        raise AssertionError("a script must end")

    def _add(self, ids: list[int], logprobs: list[float] | None) -> None:
        start = len(self.ids)
        self.ids += ids
        self.logprobs += logprobs or [-0.5 - 0.001 * (start + i) for i in range(len(ids))]
        if self._spans and self._spans[-1][0] == self._version:
            self._spans[-1][2] = len(self.ids)
        else:
            self._spans.append([self._version, start, len(self.ids)])

    async def _sample(self, ids: list[int], logprobs: list[float] | None) -> None:
        self._add(ids, logprobs)
        if self.body["stream"]:
            await self._send(self._event(None))

    @property
    def versions(self) -> list[int]:
        """Who sampled each token."""
        return [version for version, start, end in self._spans for _ in range(start, end)]

    async def _end(self, finish: dict[str, Any]) -> web.StreamResponse:
        event = self._event(finish)
        self.has_ended = True
        if not self.body["stream"]:
            return web.json_response(event)
        await self._send(event)
        assert self._stream is not None
        await self._stream.write(b"data: [DONE]\n\n")
        await self._stream.write_eof()
        return self._stream

    def _event(self, finish: dict[str, Any] | None) -> dict[str, Any]:
        start = self._sent if self.body["stream"] and self._engine.incremental else 0
        self._sent = len(self.ids)
        pairs = list(zip(self.logprobs, self.ids, strict=True))
        prompt = self._engine.expand(self.body["input_ids"])
        meta: dict[str, Any] = {
            "id": self.body["rid"],
            "finish_reason": finish,
            "prompt_tokens": len(prompt),
            "completion_tokens": len(self.ids),
            "cached_tokens": self._engine.cached_tokens,
            "weight_version": str(self._version),
            "output_token_logprobs": [[lp, id_, None] for lp, id_ in pairs[start:]],
        }
        top = self.body["top_logprobs_num"]
        if top:
            meta["output_top_logprobs"] = [
                [[lp - k, id_, None] for k in range(top)] for lp, id_ in pairs[start:]
            ]
        if self.body["return_sampling_mask"]:
            meta["output_token_sampling_logprobs"] = [lp / 2 for lp, _ in pairs[start:]]
        if finish is not None:
            meta["weight_versions"] = [
                {"version": str(version), "start": first, "end": last}
                for version, first, last in self._spans
            ]
        event = {"text": "", "output_ids": self.ids[start:], "meta_info": meta}
        if self.body.get("return_prompt_token_ids"):
            event["prompt_token_ids"] = prompt
        return event

    async def _send(self, event: dict[str, Any]) -> None:
        if self._stream is None:
            self._stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await self._stream.prepare(self._request)
        await self._stream.write(b"data: " + json.dumps(event).encode() + b"\n\n")

    async def _garbage(self, data: bytes) -> web.StreamResponse:
        if not self.body["stream"]:
            return web.Response(body=data)
        stream = self._stream or web.StreamResponse(headers={"content-type": "text/event-stream"})
        if self._stream is None:
            await stream.prepare(self._request)
        await stream.write(b"data: " + data + b"\n\n")
        await stream.write_eof()
        return stream


@asynccontextmanager
async def running_engine(
    version: int = 0, *, incremental: bool = True, port: int = 0
) -> AsyncIterator[ScriptedEngine]:
    engine = ScriptedEngine(version, incremental=incremental)
    await engine.start(port)
    try:
        yield engine
    finally:
        await engine.stop()
