"""Redis dies while a call is sampled: what it kept in memory only is forgotten, and the call has one effect all the same."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, eventually, spell
from tests.gateways import StartGateway
from tests.redis_server import KillableRedis
from tests.scripted_engine import ScriptedEngine, Wait

PATH = "/v1/chat/completions"
BODY: Any = {"model": "policy", "messages": [{"role": "user", "content": "Hi"}]}
FIRST = {"X-Turngate-Episode": "ep_1"}
KEYED = FIRST | {"Idempotency-Key": "k1"}


@pytest.fixture
def server() -> Iterator[KillableRedis]:
    with tempfile.TemporaryDirectory(prefix="tg-redis-") as directory:
        server = KillableRedis(Path(directory))
        yield server
        server.kill()


async def test_two_gateways_that_sample_one_call_answer_with_one_reply(
    start_gateway: StartGateway,
    scripted: ScriptedEngine,
    tokenizer: Tokenizer,
    server: KillableRedis,
) -> None:
    """A repeat that comes right after the crash samples too; the sample that is recorded first answers both."""
    texts = ("first try", "repeat")
    async with (
        start_gateway(scripted, redis_url=server.url) as served,
        start_gateway(scripted, redis_url=server.url, project=served.project) as other,
    ):
        assert (await served.admin.post(PATH, json=BODY, headers=FIRST)).status_code == 200
        waits = [Wait(asyncio.Event()) for _ in texts]
        for wait, text in zip(waits, texts, strict=True):
            scripted.script(wait, *spell(tokenizer, text), end_of_turn(tokenizer))
        calls = []
        for gateway, wait in zip((served, other), waits, strict=True):
            post = gateway.admin.post(PATH, json=BODY, headers=KEYED)
            calls.append(asyncio.create_task(post))
            await asyncio.wait_for(wait.reached.wait(), 30)
            server.kill()
            server.start()
        waits[1].event.set()
        repeat = await calls[1]
        waits[0].event.set()
        first = await calls[0]

        assert (first.status_code, repeat.status_code) == (200, 200)
        assert first.json() == repeat.json()
        assert first.json()["choices"][0]["message"]["content"] == "repeat"
        turns = await eventually(lambda: served.store.turns("ep_1"))
        assert len(turns) == 2
        assert len(scripted.requests) == 3
