"""A proxy in front of an engine that keeps what each `/generate` was asked and answered, and changes nothing unless a test asks for it.

It is the independent witness of what was sampled: it knows neither the gateway's trie nor its store.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

NOT_FORWARDED = {"host", "content-length", "transfer-encoding", "connection"}


@dataclass
class EngineCall:
    """One call: the prompt as the engine read it, and for each sampled token its id, its logprob and who sampled it."""

    rid: str
    prompt: list[int]
    sampling: dict[str, Any]
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    finish: dict[str, Any] | None = None
    images: list[str] = field(default_factory=list)

    @property
    def turn_id(self) -> str:
        """The gateway names its calls `<turn>-<output>-<attempt>`."""
        return self.rid.rsplit("-", 2)[0]

    def read(self, event: dict[str, Any]) -> None:
        """Take in an answer or one event of it, which ends with token number `completion_tokens`."""
        meta, new = event["meta_info"], event["output_ids"]
        self.prompt = event.get("prompt_token_ids", self.prompt)  # given where there are images
        start = meta["completion_tokens"] - len(new)
        self.ids[start:] = new
        self.versions[start:] = [int(meta["weight_version"])] * len(new)
        if new:
            sampled = meta.get("output_token_sampling_logprobs") or [
                logprob for logprob, *_ in meta["output_token_logprobs"]
            ]
            self.logprobs[start:] = sampled[-len(new) :]
        for span in meta.get("weight_versions") or ():
            length = span["end"] - span["start"]
            self.versions[span["start"] : span["end"]] = [int(span["version"])] * length
        self.finish = meta["finish_reason"]


class Recorder:
    def __init__(self, engine: str, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.calls: list[EngineCall] = []
        self.aborted: list[str] = []  # calls that the engine had to drop
        self.change: Callable[[dict[str, Any]], None] | None = None  # what to spoil in each answer
        self._engine = engine
        self._session = session

    async def forward(self, request: web.Request) -> web.StreamResponse:
        """Pass a call on, and the answer back as it comes."""
        body = await request.read()
        call = self._call(body) if request.path == "/generate" else None
        if request.path == "/abort_request":
            self.aborted.append(json.loads(body)["rid"])
        headers = {k: v for k, v in request.headers.items() if k.lower() not in NOT_FORWARDED}
        async with self._session.request(
            request.method, self._engine + request.path_qs, data=body, headers=headers
        ) as answer:
            passed = {k: v for k, v in answer.headers.items() if k.lower() not in NOT_FORWARDED}
            response = web.StreamResponse(status=answer.status, headers=passed)
            await response.prepare(request)
            if answer.status != 200:
                call = None
            rest = b""
            async for data in answer.content.iter_any():
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    await response.write(self._passed(call, event) + b"\n\n")
            await response.write(self._passed(call, rest))
            await response.write_eof()
        return response

    def _call(self, body: bytes) -> EngineCall:
        asked = json.loads(body)
        call = EngineCall(asked["rid"], asked["input_ids"], asked["sampling_params"])
        call.images = asked.get("image_data", [])
        self.calls.append(call)
        return call

    def _passed(self, call: EngineCall | None, event: bytes) -> bytes:
        """The event as it goes on; in a stream it begins with `data:`, an answer that is not streamed is bare JSON."""
        prefix = b"data: " if event.startswith(b"data:") else b""
        data = event.removeprefix(b"data:").strip()
        if call is None or not data or data == b"[DONE]":
            return event
        answer = json.loads(data)
        if "meta_info" not in answer:
            return event
        call.read(answer)
        if self.change is None:
            return event
        self.change(answer)
        return prefix + json.dumps(answer).encode()


@asynccontextmanager
async def recording(engine: str) -> AsyncIterator[Recorder]:
    """A recorder in front of this engine while the block runs."""
    # SGLang drops a connection on which it failed; the next call is not to be lost between the recorder and it.
    single_use = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(auto_decompress=False, connector=single_use) as session:
        recorder = Recorder(engine, session)
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", recorder.forward)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            recorder.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield recorder
        finally:
            await runner.cleanup()
