"""Answers how many tokens a prompt has. It samples and records nothing, so it needs no episode."""

from contextlib import nullcontext, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.dialects.dialect import Dialect, TokenCount
from gateway.endpoint.connection import ClientGone, read_body, while_connected
from gateway.endpoint.model_endpoint import ROUTE
from gateway.endpoint.reading import read_request
from gateway.request.model_name import asked_model
from gateway.services import Services
from gateway.turn.large_calls import LARGE_BYTES


class CountEndpoint:
    def __init__(self, dialect: Dialect, count: TokenCount, services: Services) -> None:
        self._dialect = dialect
        self._count = count
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE] = self._count.path
        services = self._services
        caller = await services.authenticator.caller(dict(scope["headers"]))
        caller.require("infer")
        await services.limits.count_request(caller, scope)
        with suppress(ClientGone):
            body = await read_body(receive)
            counted = self._counted(body, caller.key_id)
            num_tokens = await while_connected(receive, counted)
            answer = Response(self._count.render(num_tokens), media_type="application/json")
            await answer(scope, receive, send)

    async def _counted(self, body: bytes, key_id: str) -> int:
        services = self._services
        request = await read_request(
            body, self._dialect, self._count.path, key_id=key_id, turns=services.large_calls
        )
        model = asked_model(
            request.model, services.pool.snapshot, project=services.settings.project
        )
        is_large = len(body) >= LARGE_BYTES
        async with services.large_calls.turn(key_id) if is_large else nullcontext():
            return await services.turns.num_prompt_tokens(request, model)
