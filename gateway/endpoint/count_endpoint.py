"""Answers how many tokens a prompt has. It samples and records nothing, so it needs no episode."""

from contextlib import nullcontext, suppress

from gateway.dialects.dialect import Dialect, TokenCount
from gateway.endpoint.exchange import ClientGone, Exchange
from gateway.endpoint.reading import read_request
from gateway.request.model_name import asked_model
from gateway.services import Services
from gateway.turn.event_stream import send_json
from gateway.turn.large_calls import LARGE_BYTES


class CountEndpoint:
    def __init__(self, dialect: Dialect, count: TokenCount, services: Services) -> None:
        self._dialect = dialect
        self._count = count
        self._services = services

    @property
    def path(self) -> str:
        return self._count.path

    async def answer(self, exchange: Exchange) -> None:
        services = self._services
        caller = await services.authenticator.caller(exchange.headers)
        caller.require("infer")
        await services.limits.count_request(caller, exchange.scope)
        with suppress(ClientGone):
            body = await exchange.body()
            num_tokens = await exchange.while_connected(self._counted(body, caller.key_id))
            await send_json(exchange, self._count.render(num_tokens))

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
