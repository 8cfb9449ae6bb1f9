"""The hot path: one ASGI application for each path of a dialect, from bytes to bytes.

A plain ASGI callable and not a FastAPI route, because it has to notice when the client leaves, has its own validation, and
its cost is paid on every turn of every agent.
"""

import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress

from starlette.types import Receive, Scope, Send

from gateway.access.caller import Caller
from gateway.access.rate_limits import Use
from gateway.dialects.dialect import Dialect
from gateway.endpoint.connection import ClientGone, read_body, while_connected
from gateway.endpoint.earlier_replies import with_earlier_replies
from gateway.endpoint.reading import read_request
from gateway.endpoint.session import in_session
from gateway.errors import EXPECTED, translate
from gateway.finding.finder import Arrival, find_episode
from gateway.finding.fingerprint import Fingerprints
from gateway.request.model_name import asked_model
from gateway.request.request import Request
from gateway.services import Services
from gateway.turn.event_stream import EventStream, send_whole
from gateway.turn.idempotency import read_attempt, read_joined_attempt
from gateway.turn.large_calls import LARGE_BYTES
from gateway.turn.recorded_reply import recorded_pieces
from gateway.turn.running_turn import Call
from rollout.engine.errors import EngineError

log = logging.getLogger(__name__)
REQUEST_ID = "turngate.request_id"  # scope key
ROUTE = "turngate.route"  # scope key: the path as the router knows it
PATH_EPISODE = "turngate.path_episode"  # scope key: the episode named by the path's prefix


class ModelEndpoint:
    def __init__(self, dialect: Dialect, path: str, services: Services) -> None:
        self._dialect = dialect
        self._path = path
        self._services = services
        self._fingerprints = Fingerprints()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE] = self._path
        headers = dict(scope["headers"])
        caller = await self._services.authenticator.caller(headers)
        caller.require("infer")
        if caller.session is not None:
            caller = await in_session(caller, self._services.stores)
        if not caller.is_limited:
            await self._serve(
                caller, None, headers=headers, scope=scope, receive=receive, send=send
            )
            return
        limits = self._services.limits
        use = await limits.start_model_call(caller, scope)
        try:
            await self._serve(caller, use, headers=headers, scope=scope, receive=receive, send=send)
        finally:
            limits.end(use)

    async def _serve(
        self,
        caller: Caller,
        use: Use | None,
        *,
        headers: Mapping[bytes, bytes],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        with suppress(ClientGone):
            body = await read_body(receive)
            request = await read_request(
                body,
                self._dialect,
                self._path,
                key_id=caller.key_id,
                turns=self._services.large_calls,
            )
            num_bytes = len(body)
            if request.previous_reply is not None or request.refers_to:
                request, num_bytes = await with_earlier_replies(
                    request,
                    caller,
                    self._services.stores.of(caller.project),
                    self._services.large_calls,
                    num_bytes=num_bytes,
                )
            answer = self._answer_request(
                request,
                caller,
                use,
                headers=headers,
                body=body,
                is_large=num_bytes >= LARGE_BYTES,
                scope=scope,
                send=send,
            )
            await while_connected(receive, answer)

    async def _answer_request(
        self,
        request: Request,
        caller: Caller,
        use: Use | None,
        *,
        headers: Mapping[bytes, bytes],
        body: bytes,
        is_large: bool,
        scope: Scope,
        send: Send,
    ) -> None:
        # Callers of every project get the one project whose policy is served.
        served_project = self._services.settings.project
        model = asked_model(request.model, self._services.pool.snapshot, project=served_project)
        runtime = self._fingerprints.runtime_of(headers, request)
        attempt = (
            read_joined_attempt(headers, body, is_stream=request.stream)
            if runtime.repeats_unstreamed
            else read_attempt(headers, body)
        )
        path_episode = scope.get(PATH_EPISODE)
        arrival = Arrival(
            request=request,
            headers=headers,
            caller=caller,
            runtime=runtime,
            attempt=attempt,
            path_episode=path_episode,
        )
        store = self._services.stores.of(caller.project)
        most = self._services.settings.max_group_size
        call = Call(
            request=request,
            model=model,
            store=store,
            project=caller.project,
            key_id=caller.key_id,
            address=await find_episode(arrival, store, max_group_size=most),
            attempt=attempt,
            is_large=is_large,
            client=runtime.name,
            cache_salt=caller.cache_salt,
            use=use,
            is_trained=caller.trains,
        )
        await self._answer(call, send, scope[REQUEST_ID])

    async def _answer(self, call: Call, send: Send, request_id: str) -> None:
        if call.request.stream:
            await self._answer_streamed(call, EventStream(send), request_id)
            return
        reply = await self._services.turns.take(call, None)
        await send_whole(send, reply, self._dialect.render(call.request, reply))

    async def _answer_streamed(self, call: Call, events: EventStream, request_id: str) -> None:
        stream = self._dialect.stream(call.request, events)
        try:
            async with self._kept_alive(events, call.address.episode_id):
                reply = await self._services.turns.take(call, stream)
        except EXPECTED as error:
            if not events.has_headers:
                raise
            if isinstance(error, EngineError):  # the caller is not told which engine it was
                log.warning("call failed", extra={"route": self._path, "reason": str(error)})
            failure = translate(error)
            failure.request_id = request_id
            await stream.fail(failure)
            return
        if not events.has_started:  # a repeated call, answered from the record
            await stream.start(reply)
            for piece in recorded_pieces(reply):
                await stream.piece(piece)
        await stream.finish(reply)

    def _kept_alive(
        self, events: EventStream, episode_id: str
    ) -> AbstractAsyncContextManager[None]:
        keep_alive, seconds = self._dialect.keep_alive, self._services.settings.keep_alive_seconds
        if keep_alive is None or not seconds:
            return nullcontext()
        return events.kept_alive(keep_alive, after_seconds=seconds, episode_id=episode_id)
