"""Several gateways behind one address: the kernel spreads connections over those that listen on the port."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.engine_script import Length, Tokens
from tests.gateways import ADMIN_KEY, Gateway, StartGateway
from tests.scripted_engine import ScriptedEngine, running_engine

CALLS = 40  # all to one of two gateways once in 2**39 runs


@pytest.fixture
async def scripted(tokenizer: Tokenizer) -> AsyncIterator[ScriptedEngine]:
    async with running_engine() as engine:
        engine.default = (Tokens(tokenizer.encode("yes")), Length())
        yield engine


async def call(url: str) -> httpx.Response:
    """One turn over a connection of its own, into the one episode."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}", "x-turngate-episode": "ep_shared"}
    body = {"messages": [{"role": "user", "content": "ready?"}], "max_tokens": 4}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return await client.post(f"{url}/v1/chat/completions", headers=headers, json=body)


async def turns_taken(gateway: Gateway) -> float:
    return sum((await gateway.metric("turngate_turns_total")).values())


async def test_gateways_of_one_address_share_calls_and_episodes(
    start_gateway: StartGateway, scripted: ScriptedEngine
) -> None:
    """Either takes turns of the one episode; after one has ended, the other takes every call to the same address."""
    async with start_gateway(scripted, share_port=True) as one:
        port = urlsplit(one.url).port
        together = start_gateway(scripted, project=one.project, port=port, share_port=True)
        async with together as other:
            assert other.url == one.url
            for _ in range(CALLS):
                assert (await call(one.url)).is_success
            taken = [await turns_taken(gateway) for gateway in (one, other)]
        assert min(taken) > 0
        assert sum(taken) == CALLS
        assert (await call(one.url)).is_success
        assert len(await one.store.turns("ep_shared")) == CALLS + 1


async def test_an_address_that_is_not_shared_belongs_to_one_gateway(
    start_gateway: StartGateway, scripted: ScriptedEngine
) -> None:
    """A second gateway on it is refused, so that nobody takes another's calls by mistake."""
    async with start_gateway(scripted) as one:
        port = urlsplit(one.url).port
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with start_gateway(scripted, port=port, share_port=True):
                pass


async def test_each_gateway_of_a_shared_address_says_that_it_lives(
    start_gateway: StartGateway, scripted: ScriptedEngine
) -> None:
    """On the listener of its metrics, which is its own: the shared address may ask another gateway."""
    async with (
        start_gateway(scripted, share_port=True) as one,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        reply = await client.get(one.metrics_url.replace("/metrics", "/healthz"))

    assert (reply.status_code, reply.text) == (200, "ok")
