"""The hot path: one endpoint for each path of a dialect, from bytes to bytes.

It is no FastAPI route, because it has to notice when the client leaves, has its own validation, and its cost is paid on
every turn of every agent.
"""

import logging
from contextlib import AbstractAsyncContextManager, nullcontext, suppress

from gateway.access.caller import Caller
from gateway.access.rate_limits import Use
from gateway.dialects.dialect import Dialect
from gateway.endpoint.earlier_replies import with_earlier_replies
from gateway.endpoint.exchange import ClientGone, Exchange
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


class ModelEndpoint:
    def __init__(self, dialect: Dialect, path: str, services: Services) -> None:
        self.path = path
        self._dialect = dialect
        self._services = services
        self._fingerprints = Fingerprints()

    async def answer(self, exchange: Exchange) -> None:
        caller = await self._services.authenticator.caller(exchange.headers)
        caller.require("infer")
        if caller.session is not None:
            caller = await in_session(caller, self._services.stores)
        if not caller.is_limited:
            await self._serve(caller, None, exchange)
            return
        limits = self._services.limits
        use = await limits.start_model_call(caller, exchange.scope)
        try:
            await self._serve(caller, use, exchange)
        finally:
            limits.end(use)

    async def _serve(self, caller: Caller, use: Use | None, exchange: Exchange) -> None:
        with suppress(ClientGone):
            body = await exchange.body()
            request = await read_request(
                body,
                self._dialect,
                self.path,
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
                exchange=exchange,
                body=body,
                is_large=num_bytes >= LARGE_BYTES,
            )
            await exchange.while_connected(answer)

    async def _answer_request(
        self,
        request: Request,
        caller: Caller,
        use: Use | None,
        *,
        exchange: Exchange,
        body: bytes,
        is_large: bool,
    ) -> None:
        # Callers of every project get the one project whose policy is served.
        served_project = self._services.settings.project
        model = asked_model(request.model, self._services.pool.snapshot, project=served_project)
        headers = exchange.headers
        runtime = self._fingerprints.runtime_of(headers, request)
        attempt = (
            read_joined_attempt(headers, body, is_stream=request.stream)
            if runtime.repeats_unstreamed
            else read_attempt(headers, body, digest=request.body_digest)
        )
        arrival = Arrival(
            request=request,
            headers=headers,
            caller=caller,
            runtime=runtime,
            attempt=attempt,
            path_episode=exchange.path_episode,
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
        await self._answer(call, exchange)

    async def _answer(self, call: Call, exchange: Exchange) -> None:
        if call.request.stream:
            await self._answer_streamed(call, EventStream(exchange), exchange.request_id)
            return
        reply = await self._services.turns.take(call, None)
        await send_whole(exchange, reply, self._dialect.render(call.request, reply))

    async def _answer_streamed(self, call: Call, events: EventStream, request_id: str) -> None:
        stream = self._dialect.stream(call.request, events)
        try:
            async with self._kept_alive(events, call.address.episode_id):
                reply = await self._services.turns.take(call, stream)
        except EXPECTED as error:
            if not events.has_headers:
                raise
            if isinstance(error, EngineError):  # the caller is not told which engine it was
                log.warning("call failed", extra={"route": self.path, "reason": str(error)})
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
