"""What AReaL's published scripts do: start a session, chat, set a reward, start the next with the same key."""

import asyncio
from typing import Any

import httpx

from tests.engine_script import Wait
from tests.gateway.api.areal.conftest import PROMPT, Script
from tests.gateway.conftest import end_of_turn, eventually, spell
from tests.gateways import ADMIN_KEY, Gateway
from tests.scripted_engine import ScriptedEngine


async def shown(served: Gateway, episode_id: str) -> dict[str, Any]:
    episode: dict[str, Any] = (await served.admin.get(f"/v1/episodes/{episode_id}")).json()
    return episode


async def test_a_health_check_counts_the_engines(served: Gateway) -> None:
    """`GET /health` needs no key and says how many workers there are."""
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
        answer = await client.get("/health")
    assert answer.json() == {"status": "ok", "workers": 1}


async def test_one_key_goes_through_several_episodes(served: Gateway, script: Script) -> None:
    """Each start with the same key is a new episode with its own turn and reward; the one before is sealed and rewarded."""
    first, key = await script.started()
    for _ in range(2):
        assert (await script.chat(key, max_tokens=512)).status_code == 200
        rewarded = await script.reward(key, 1.0)
        assert (rewarded.status_code, rewarded.json()) == (200, {"message": "success"})
        last, same = await script.started(key)
        assert same == key
        assert last != first
        ended = await shown(served, first)
        assert (ended["status"], ended["reward"], ended["num_turns"]) == ("rewarded", 1.0, 1)
        assert ended["task_id"] == "demo-task"
        first = last
    assert (await shown(served, first))["status"] == "open"


async def test_a_session_that_is_refreshed_without_a_reward_gets_0(
    served: Gateway, script: Script
) -> None:
    """Its turns train with the reward 0; a session without a turn has nothing to train."""
    played, key = await script.started()
    await script.chat(key)
    untouched, _ = await script.started(key)
    await script.started(key)
    ended, empty = await shown(served, played), await shown(served, untouched)
    assert (ended["status"], ended["reward"]) == ("rewarded", 0.0)
    assert (empty["disposition"], empty["rewards"]) == ("no_signal", [])


async def test_a_refresh_keeps_a_reward_of_0_or_less(served: Gateway, script: Script) -> None:
    """Only a session without any reward is given one."""
    played, key = await script.started()
    await script.chat(key)
    await script.reward(key, -1)
    await script.started(key)
    assert (await shown(served, played))["reward"] == -1.0


async def test_a_reward_is_of_the_last_reply_or_of_the_one_that_is_named(
    served: Gateway, script: Script
) -> None:
    """Each reply keeps its own reward, and a new value for the same reply amends it."""
    episode_id, key = await script.started()
    first = (await script.chat(key)).json()
    reply = first["choices"][0]["message"]
    await script.reward(key, 0.25)
    await script.chat(key, [*PROMPT, reply, {"role": "user", "content": "Sure?"}])
    await script.reward(key, 1.0)
    await script.reward(key, 0.5, interaction_id=first["id"])
    turns = [turn["id"] for turn in (await shown(served, episode_id))["turns"]]
    rewards = {r["turn_id"]: r["value"] for r in (await shown(served, episode_id))["rewards"]}
    assert rewards == {turns[0]: 0.5, turns[1]: 1.0}


async def test_every_dialect_is_there_without_a_prefix(served: Gateway, script: Script) -> None:
    """A session's key opens chat, Responses and Messages, and each reply's id takes a reward."""
    episode_id, key = await script.started()
    asked = [{"role": "user", "content": "Hi"}]
    bodies: dict[str, Any] = {
        "/chat/completions": {"messages": asked},
        "/responses": {"input": asked},
        "/messages": {"messages": asked, "max_tokens": 64},
        "/v1/messages": {"messages": asked, "max_tokens": 64},
    }
    for path, body in bodies.items():
        reply = await script.post(path, key, {"model": "default", **body})
        assert reply.headers["x-turngate-episode"] == episode_id, path
        rewarded = await script.reward(key, 1.0, interaction_id=reply.json()["id"])
        assert rewarded.status_code == 200, path
    assert len((await shown(served, episode_id))["rewards"]) == len(bodies)


async def test_the_last_reply_is_none_of_a_side_call(served: Gateway, script: Script) -> None:
    """A call that must not train, such as one for a title, does not take the reward of the reply before it."""
    episode_id, key = await script.started()
    await script.chat(key)
    headers = {"authorization": f"Bearer {key}", "x-turngate-turn-kind": "side"}
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as client:
        body = {"model": "default", "messages": [{"role": "user", "content": "A title, please."}]}
        await client.post("/chat/completions", json=body, headers=headers)
    await script.reward(key, 1.0)
    episode = await shown(served, episode_id)
    assert [turn["kind"] for turn in episode["turns"]] == ["train", "side"]
    assert episode["rewards"][0]["turn_id"] == episode["turns"][0]["id"]


async def test_an_ended_session_is_410_until_its_key_starts_the_next(script: Script) -> None:
    """`end_session` counts the interactions; after it the key is refused, and a start with it opens an episode again."""
    _, key = await script.started()
    await script.chat(key)
    ended = await script.end(key)
    assert ended.json() == {"message": "success", "interaction_count": 1}
    late = [await script.chat(key), await script.reward(key, 1.0), await script.end(key)]
    assert [answer.status_code for answer in late] == [410, 410, 410]
    assert late[0].json()["error"]["code"] == "session_ended"
    _, same = await script.started(key)
    assert same == key
    assert (await script.chat(key)).status_code == 200


async def test_unknown_keys_are_401_and_an_unknown_one_to_start_with_is_replaced(
    script: Script,
) -> None:
    """A key that nobody issued opens nothing; a start that names it gets a new key."""
    unknown = "sk-sess-0123456789abcdef"
    refused = [
        await script.chat(unknown),
        await script.reward(unknown, 1.0),
        await script.end(unknown),
        await script.post("/rl/start_session", unknown, {"task_id": "demo-task"}),
        await script.reward(ADMIN_KEY, 1.0),
        await script.end(ADMIN_KEY),
    ]
    assert {answer.status_code for answer in refused} == {401}
    _, key = await script.started(unknown)
    assert key != unknown
    assert (await script.chat(key)).status_code == 200


async def test_a_session_cannot_start_with_the_key_of_something_else(
    served: Gateway, script: Script
) -> None:
    """The key of an episode or of a project is bound already, and an admin key would give every agent everything."""
    episode = (await served.admin.post("/v1/episodes", json={})).json()
    project = (await served.admin.post("/v1/keys", json={})).json()
    statuses = [
        (await script.start(key)).status_code
        for key in (episode["api_key"], project["key"], ADMIN_KEY)
    ]
    assert statuses == [409, 409, 400]


async def test_a_reward_needs_an_interaction_of_its_session(script: Script) -> None:
    """A reward before the first reply, or for a reply of another session, is 400."""
    _, key = await script.started()
    assert (await script.reward(key, 1.0)).status_code == 400
    _, another = await script.started()
    reply = (await script.chat(another)).json()["id"]
    for unknown in (reply, "chatcmpl-none", "x" * 300, ""):
        assert (await script.reward(key, 1.0, interaction_id=unknown)).status_code == 400


async def test_a_session_key_reaches_its_own_episode_only(served: Gateway, script: Script) -> None:
    """It has the scopes infer and reward, for the episode that it stands for now."""
    own, key = await script.started()
    _, another = await script.started()
    strange, _ = await script.started(another)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers, trust_env=False) as client:
        mine = await client.post(f"/v1/episodes/{own}/rewards", json={"value": 1})
        theirs = [
            await client.post(f"/v1/episodes/{strange}/rewards", json={"value": 1}),
            await client.post("/v1/rewards", json={"episode_id": strange, "value": 1}),
            await client.post(f"/v1/episodes/{strange}/complete"),
            await client.delete(f"/v1/episodes/{strange}"),
        ]
        others = [
            await client.post("/v1/episodes", json={}),
            await client.get(f"/v1/episodes/{own}"),
            await client.get("/v1/keys"),
        ]
    assert mine.status_code == 200
    assert [answer.status_code for answer in theirs] == [404] * 4
    assert [answer.status_code for answer in others] == [403] * 3


async def test_two_gateways_know_the_same_sessions(
    served: Gateway, script: Script, other_script: Script
) -> None:
    """A session starts at one gateway, goes on at another, and is refreshed at either."""
    first, key = await script.started()
    assert (await other_script.chat(key)).status_code == 200
    assert (await other_script.reward(key, 1.0)).status_code == 200
    second, _ = await other_script.started(key)
    reply = await script.chat(key)
    assert reply.headers["x-turngate-episode"] == second
    assert (await shown(served, first))["status"] == "rewarded"


async def test_refreshes_at_the_same_time_leave_one_open_episode(
    served: Gateway, script: Script, other_script: Script
) -> None:
    """Of many refreshes at two gateways each is answered with a session or 429, and only the last session is open."""
    _, key = await script.started()
    await script.chat(key)
    answers = await asyncio.gather(
        *(where.start(key) for where in (script, other_script) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} <= {200, 429}
    assert any(answer.status_code == 200 for answer in answers)
    assert all("retry-after" in answer.headers for answer in answers if answer.is_error)
    page = (await served.admin.get("/v1/episodes?status=open")).json()["data"]
    assert len(page) == 1
    current = (await script.chat(key)).headers["x-turngate-episode"]
    assert current == page[0]["id"]


async def test_a_start_is_429_while_the_backlog_would_be_stale(
    served: Gateway, script: Script
) -> None:
    """The session before it ends all the same, so that what it holds can be trained; the start is repeated later."""
    played, key = await script.started()
    await script.chat(key)
    await served.store.set_training({"max_live_episodes": 1})
    refused = await script.start(key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "backlogged")
    assert int(refused.headers["retry-after"]) >= 1
    assert (await shown(served, played))["status"] == "rewarded"
    assert (await script.chat(key)).status_code == 410
    await served.store.set_training({"max_live_episodes": 0})
    assert (await script.started(key))[1] == key


async def test_a_turn_that_is_being_sampled_belongs_to_the_session_before(
    served: Gateway, script: Script, scripted: ScriptedEngine, tokenizer: Any
) -> None:
    """A refresh during a call gives the old episode the reward 0 and lets its turn end in it."""
    played, key = await script.started()
    go = Wait(asyncio.Event())
    scripted.script(go, *spell(tokenizer, "Late."), end_of_turn(tokenizer))
    call = asyncio.create_task(script.chat(key))
    await go.reached.wait()
    await script.started(key)
    go.event.set()
    assert (await call).headers["x-turngate-episode"] == played

    async def is_rewarded() -> bool:
        return (await shown(served, played))["status"] == "rewarded"

    await eventually(is_rewarded)
    assert (await shown(served, played))["reward"] == 0.0


async def test_a_start_that_is_repeated_with_its_key_opens_one_session(
    served: Gateway, script: Script
) -> None:
    """A client that lost the answer and sends an `Idempotency-Key` gets the same session and key again."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}", "idempotency-key": "start-7"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers, trust_env=False) as client:
        body = {"task_id": "t"}
        first, again = [(await client.post("/rl/start_session", json=body)).json() for _ in "12"]
    assert first == again
    assert (await script.chat(first["api_key"])).status_code == 200
