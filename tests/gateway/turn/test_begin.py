"""The begin of a turn whose episode has other turns than this gateway remembers."""

from typing import Any

from redis.asyncio import Redis

from tests.gateways import Gateway
from tests.scripted_engine import Refuse, ScriptedEngine

PATH = "/v1/chat/completions"
BODY: Any = {"model": "policy", "messages": [{"role": "user", "content": "Hi"}]}
NAMED = {"X-Turngate-Episode": "ep_1"}


async def test_a_turn_that_reads_the_log_anew_is_begun_once(
    served: Gateway, scripted: ScriptedEngine, redis_url: str
) -> None:
    """After a failover lost a turn: if the next one fails, sealing does not wait for a turn that nobody takes."""
    assert (await served.admin.post(PATH, json=BODY, headers=NAMED)).status_code == 200
    start = f"turngate:{{{served.project}}}:ep"
    async with Redis.from_url(redis_url) as redis:
        await redis.delete(f"{start}.turns:ep_1", f"{start}.turn_ids:ep_1")
        lost = {"begun": 0, "turns": 0, "trainable_turns": 0}
        await redis.hset(f"{start}:ep_1", mapping=lost)
    scripted.script(Refuse(400, "no"))

    assert (await served.admin.post(PATH, json=BODY, headers=NAMED)).status_code == 400
    await served.admin.post("/v1/episodes/ep_1/complete", json={})

    found = await served.store.episode("ep_1")
    assert found is not None
    assert found.header.disposition == "no_signal"
