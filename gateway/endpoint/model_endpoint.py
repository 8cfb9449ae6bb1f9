"""The hot path: one ASGI application per model route, from bytes to bytes.

A plain ASGI callable and not a FastAPI route, because it must see the client leave, must not validate twice, and is paid
for on every turn of every agent.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Protocol, TypeVar

from gateway.access.authentication import Authenticator, Caller
from gateway.access.rate_limits import Limits
from gateway.attach.breaks import client_of
from gateway.errors import ApiError, NotFound, translate
from gateway.middleware import PATH_EPISODE, ROUTE, Receive, Scope, Send
from gateway.project_stores import Stores
from gateway.request.episode_address import address, new_episode_id
from gateway.request.request import Reply, Request
from gateway.turn.event_stream import EventStream, Opening, Sink
from gateway.turn.idempotency import Retry
from gateway.turn.running_turn import Call
from gateway.turn.turns import Turns
from rollout.engine.errors import EngineError
from rollout.engine.pool import Pool
from rollout.errors import StoreError

T = TypeVar("T")
PINNED_PREFIX = "policy@"


class ReplyStream(Sink, Protocol):
    """A dialect's streamed reply."""

    @property
    def has_started(self) -> bool: ...
    async def finish(self, reply: Reply) -> None: ...
    async def replay(self, reply: Reply) -> None: ...
    async def fail(self, error: ApiError) -> None: ...


class Dialect(Protocol):
    """What differs between the model endpoints."""

    def parse(self, body: bytes) -> Request: ...
    def render(self, reply: Reply) -> bytes: ...
    def stream(self, request: Request, events: EventStream) -> ReplyStream: ...


class ClientGone(Exception):
    """Nobody is left to answer."""


class ModelEndpoint:
    def __init__(
        self,
        dialect: Dialect,
        *,
        route: str,
        turns: Turns,
        stores: Stores,
        pool: Pool,
        authenticator: Authenticator,
        limits: Limits,
    ) -> None:
        self._dialect = dialect
        self._route = route
        self._turns = turns
        self._stores = stores
        self._pool = pool
        self._authenticator = authenticator
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE] = self._route
        headers = dict(scope["headers"])
        caller = await self._authenticator.caller(headers)
        caller.require("infer")
        with self._limits.hold(caller), suppress(ClientGone):
            body = await read_body(receive)
            request = self._dialect.parse(body)
            self._check_model(request.model)
            call = self._call(scope, headers, caller, request, body)
            await while_connected(receive, self._answer(call, send))

    def _call(
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        caller: Caller,
        request: Request,
        body: bytes,
    ) -> Call:
        retry = Retry.of(headers, body)
        where = address(
            headers,
            key_episode=caller.episode_id,
            path_episode=scope.get(PATH_EPISODE),
            body_episodes=request.named_episodes,
            otherwise=retry.episode_id(caller.key_id) or new_episode_id(),
        )
        return Call(
            request=request,
            store=self._stores.of(caller.project),
            project=caller.project,
            key_id=caller.key_id,
            address=where,
            retry=retry,
            client=client_of(headers),
        )

    async def _answer(self, call: Call, send: Send) -> None:
        if not call.request.stream:
            reply = await self._turns.take(call, None)
            await _send_whole(send, reply, self._dialect.render(reply))
            return
        stream = self._dialect.stream(call.request, EventStream(send))
        try:
            reply = await self._turns.take(call, stream)
        except (ApiError, StoreError, EngineError) as error:
            if not stream.has_started:
                raise
            await stream.fail(translate(error))
            return
        if stream.has_started:
            await stream.finish(reply)
        else:
            await stream.replay(reply)

    def _check_model(self, model: str) -> None:
        """Any name is the policy being trained; a version must be one that an engine serves."""
        if not model.startswith(PINNED_PREFIX):
            return
        states = self._pool.snapshot()
        if model not in {f"{PINNED_PREFIX}{s.policy_version}" for s in states if s.is_up}:
            raise NotFound(
                f"model {model[:64]} is not being served; ask for policy, or see /v1/models",
                param="model",
                code="model_not_found",
            )


async def read_body(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def while_connected(receive: Receive, work: Coroutine[None, None, T]) -> T:
    """Do the work, or give it up with ClientGone when the client leaves."""
    worker = asyncio.current_task()
    assert worker is not None
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        while (await receive())["type"] != "http.disconnect":
            pass
        has_left = True
        worker.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if has_left and worker.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()


async def _send_whole(send: Send, reply: Reply, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *Opening.of(reply).headers,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
