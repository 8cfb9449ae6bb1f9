"""A relay before the gateway that loses replies on purpose: the gateway has answered whole, the runtime gets nothing."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

HOP = {"content-length", "transfer-encoding", "connection", "host", "content-encoding", "date"}


class LossyRelay:
    def __init__(self, target: str, http: aiohttp.ClientSession, lost: Collection[int]) -> None:
        self._target = target
        self._http = http
        self._lost = lost
        self.num_calls = 0  # of models, in the order in which they came
        self.num_lost = 0

    async def relay(self, request: web.Request) -> web.StreamResponse:
        number = None
        if request.method == "POST":
            number, self.num_calls = self.num_calls, self.num_calls + 1
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP}
        url = f"{self._target}{request.path_qs}"
        body = await request.read()
        async with self._http.request(request.method, url, headers=headers, data=body) as reply:
            content = await reply.read()
            if number in self._lost:
                self.num_lost += 1
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            kept = {k: v for k, v in reply.headers.items() if k.lower() not in HOP}
            return web.Response(status=reply.status, body=content, headers=kept)


@asynccontextmanager
async def running_relay(
    target: str, lost: Collection[int]
) -> AsyncIterator[tuple[str, LossyRelay]]:
    """Its address, and what it counts. `lost` are the numbers of the calls whose replies are lost, from 0."""
    async with aiohttp.ClientSession() as http:
        relay = LossyRelay(target, http, lost)
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", relay.relay)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}", relay
        finally:
            await runner.cleanup()
