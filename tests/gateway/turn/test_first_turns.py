"""The first turn of an episode that nobody named: one write opens the episode and records the turn."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import redis.asyncio as redis

from rollout.episode.episode_status import EpisodeStatus
from rollout.store.lua_scripts import read_script
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import Gateway, end_of_turn, spell
from tests.gateways import StartGateway
from tests.redis_server import KillableRedis
from tests.scripted_engine import Refuse, ScriptedEngine, Wait

PATH = "/v1/chat/completions"
USER: Any = {"role": "user", "content": "Hi"}
BODY: Any = {"model": "policy", "messages": [USER]}


async def test_an_episode_is_opened_with_its_first_turn(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """It is not there while the turn is sampled, it is open afterwards, and a later turn continues it from memory."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, *spell(tokenizer, "Hello"), end_of_turn(tokenizer))
    call = asyncio.create_task(served.admin.post(PATH, json=BODY))
    await wait.reached.wait()
    before, _ = await served.store.episodes()
    wait.event.set()
    first = await call
    named = {"X-Turngate-Episode": first.headers["x-turngate-episode"]}
    messages = [USER, first.json()["choices"][0]["message"], USER]
    await served.admin.post(PATH, json=BODY | {"messages": messages}, headers=named)

    ((episode,), _) = await served.store.episodes()
    assert before == []
    assert (episode.header.id, episode.header.status) == (
        named["X-Turngate-Episode"],
        EpisodeStatus.OPEN,
    )
    one, two = await served.store.turns(episode.header.id)
    assert two.anchor is not None
    assert two.anchor.turn_id == one.id


async def test_a_first_call_that_fails_leaves_no_episode(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """Nothing was recorded that could be asked for."""
    scripted.script(Refuse(400, "no"))
    answer = await served.admin.post(PATH, json=BODY)

    assert answer.status_code >= 400
    assert (await served.store.episodes())[0] == []


async def test_a_first_call_that_fails_asks_redis_for_nothing(
    served: Gateway, scripted: ScriptedEngine, redis_url: str
) -> None:
    """Nothing was begun there that could be withdrawn, so its error does not wait for a Redis that is away."""
    scripted.script(Refuse(400, "no"))
    async with redis.Redis.from_url(redis_url) as client, client.monitor() as monitor:
        answer = await served.admin.post(PATH, json=BODY)
        await client.echo("the end")
        seen = ""
        while "the end" not in seen:
            seen += (await monitor.next_command())["command"]

    assert answer.status_code >= 400
    assert read_script("withdraw").sha not in seen
    assert "-- withdraw:" not in seen


async def test_redis_may_die_while_a_first_turn_is_sampled(
    start_gateway: StartGateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The commit is tried again, and opens the episode once."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, *spell(tokenizer, "Hello"), end_of_turn(tokenizer))
    with tempfile.TemporaryDirectory(prefix="tg-redis-") as directory:
        server = KillableRedis(Path(directory))
        async with start_gateway(scripted, redis_url=server.url) as served:
            call = asyncio.create_task(served.admin.post(PATH, json=BODY))
            await wait.reached.wait()
            server.kill()
            server.start()
            wait.event.set()
            answer = await call

            assert answer.status_code == 200
            assert (await served.store.totals()).opened == 1
            assert len(await served.store.turns(answer.headers["x-turngate-episode"])) == 1
        server.kill()
