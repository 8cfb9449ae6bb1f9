"""A repeated call, its own retries and clients that leave: however often it is asked, a turn is sampled once."""

import asyncio
import json

import httpx

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import Gateway, end_of_turn, spell
from tests.gateway.turn.test_turns import EPISODE, USER, start_joined
from tests.scripted_engine import ScriptedEngine, Wait

PATH = "/v1/chat/completions"
BODY = {"model": "policy", "messages": [USER]}


async def leave(call: asyncio.Task[httpx.Response]) -> None:
    """Close the connection of a call that has no answer yet."""
    call.cancel()
    await asyncio.wait([call])


def text_of(answer: httpx.Response) -> str:
    """The content of a streamed reply."""
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"] for line in lines for choice in json.loads(line)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


async def test_a_turn_outlives_its_client_when_a_retry_has_joined(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """An SDK that gives up the first connection after its retry has arrived gets the one sample through the retry."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, *spell(tokenizer, "once"), end_of_turn(tokenizer))
    first, retry = await start_joined(served, wait, num_joined=1)
    await leave(first)
    await asyncio.sleep(0.2)  # nobody announces that a client has left
    wait.event.set()
    answer = await retry
    assert answer.json()["choices"][0]["message"]["content"] == "once"
    assert len(scripted.requests) == 1
    assert scripted.aborted == []
    assert [t.id for t in await served.store.turns("ep_1")] == [answer.headers["x-turngate-turn"]]


async def test_a_turn_that_nobody_waits_for_is_aborted(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """When the last of a call and its retries has left, the engine stops sampling."""
    wait = Wait(asyncio.Event())
    scripted.script(wait)
    calls = await start_joined(served, wait, num_joined=2)
    for call in calls:
        assert scripted.aborted == []
        await leave(call)
    await asyncio.wait_for(scripted.was_aborted.wait(), 5)
    assert len(scripted.requests) == 1


async def test_a_key_of_a_running_call_takes_no_other_body(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """A second body under one key is refused at once, not only when the first is recorded."""
    wait = Wait(asyncio.Event())
    scripted.script(wait)
    (running,) = await start_joined(served, wait, num_joined=0)
    headers = {**EPISODE, "Idempotency-Key": "k1"}
    other = await served.admin.post(PATH, json=BODY | {"seed": 1}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert len(scripted.requests) == 1
    await leave(running)


async def test_a_streamed_turn_outlives_its_client_too(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A turn whose client left goes on for its retry, which gets the whole reply."""
    wait = Wait(asyncio.Event())
    scripted.script(
        *spell(tokenizer, "first"), wait, *spell(tokenizer, ", rest"), end_of_turn(tokenizer)
    )
    headers = {**EPISODE, "Idempotency-Key": "k1"}
    body = BODY | {"stream": True}
    async with served.admin.stream("POST", PATH, json=body, headers=headers) as opened:
        await anext(opened.aiter_lines())
        retry = asyncio.create_task(served.admin.post(PATH, json=body, headers=headers))
        await asyncio.sleep(0.2)  # nobody announces that a call has joined
    await asyncio.sleep(0.2)  # nor that a client has left
    wait.event.set()
    answer = await retry
    assert text_of(answer) == "first, rest"
    assert answer.headers["x-turngate-turn"] == opened.headers["x-turngate-turn"]
    (turn,) = await served.store.turns("ep_1")
    assert not turn.outputs[0].is_abandoned
    assert len(scripted.requests) == 1


async def test_a_key_without_an_episode_is_one_episode(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """A call that names no episode and is repeated under its key is answered from the episode it opened."""
    headers = {"Idempotency-Key": "order 66/7"}
    first, again = [await served.admin.post(PATH, json=BODY, headers=headers) for _ in range(2)]
    assert first.json() == again.json()
    assert first.headers["x-turngate-episode"] == again.headers["x-turngate-episode"]
    assert len(scripted.requests) == 1
    other = await served.admin.post(PATH, json=BODY, headers={"Idempotency-Key": "order 67"})
    assert other.headers["x-turngate-episode"] != first.headers["x-turngate-episode"]


async def test_a_key_is_of_the_api_key_that_sent_it(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """Two agents that happen to choose the same key do not get each other's episodes."""
    headers = {"Idempotency-Key": "1"}
    mine = await served.admin.post(PATH, json=BODY, headers=headers)
    made = (await served.admin.post("/v1/keys", json={"scopes": ["infer"]})).json()
    theirs = await served.admin.post(
        PATH, json=BODY, headers=headers | {"authorization": f"Bearer {made['key']}"}
    )
    assert mine.headers["x-turngate-episode"] != theirs.headers["x-turngate-episode"]
    assert len(scripted.requests) == 2
