"""Calls that name an earlier reply, or items of it, instead of sending the conversation."""

from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from gateway.access.caller import Caller
from gateway.dialects.responses.dialect import ResponsesDialect
from gateway.endpoint.earlier_replies import with_earlier_replies
from gateway.request.kept_reply import encode_kept
from gateway.request.request import ReplyChoice
from gateway.turn.large_calls import LARGE_BYTES, LargeCalls
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateway.dialects.responses.response_events import (
    BODY,
    CALL,
    PATH,
    PRICE,
    streamed,
    whole,
)
from tests.gateways import ADMIN_KEY, Gateway
from tests.scripted_engine import ScriptedEngine


async def test_a_previous_response_is_continued_at_any_gateway(
    served: Gateway, other: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Only what is new is sent; the prompt is the earlier tokens as sampled and then the new message, at both gateways."""
    texts = ["One.", "Two.", "Three."]
    for text in texts:
        scripted.script(*spell(tokenizer, text), end_of_turn(tokenizer))
    path = f"/e/ep_1{PATH}"
    first = await whole(served, BODY | {"instructions": "Be brief."}, path)
    then = {"input": "And then?", "instructions": "Be brief.", "previous_response_id": first["id"]}
    second = (await streamed(other, BODY | then, path))[-1]["response"]
    last = then | {"input": "At last?", "previous_response_id": second["id"]}
    third = await whole(served, BODY | last, path)
    prompts = [request["input_ids"] for request in scripted.requests]
    turns = await served.store.turns("ep_1")
    assert third["previous_response_id"] == second["id"]
    for place in (1, 2):
        known = [*prompts[place - 1], *turns[place - 1].outputs[0].ids.tolist()]
        assert prompts[place][: len(known)] == known
    assert "And then?" in tokenizer.decode(prompts[2])
    assert tokenizer.decode(prompts[2]).count("Be brief.") == 1


async def test_instructions_are_not_carried_over(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A call that names a previous response has its own instructions, or none."""
    first = await whole(served, BODY | {"instructions": "Be brief."})
    await whole(served, BODY | {"input": "More?", "previous_response_id": first["id"]})
    prompt = tokenizer.decode(scripted.requests[1]["input_ids"])
    assert "Be brief." not in prompt
    assert "Hi" in prompt
    assert "Hello there." in prompt


async def test_results_answer_the_calls_of_the_previous_response(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A tool loop that sends results only is one path of tokens."""
    scripted.script(*spell(tokenizer, CALL), end_of_turn(tokenizer))
    path = f"/e/ep_1{PATH}"
    first = await whole(served, BODY | {"tools": [PRICE]}, path)
    (call,) = first["output"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "33"}
    body = BODY | {"tools": [PRICE], "previous_response_id": first["id"], "input": [result]}
    await whole(served, body, path)
    turns = await served.store.turns("ep_1")
    assert turns[1].anchor is not None
    assert turns[1].anchor.turn_id == turns[0].id
    assert "33" in tokenizer.decode(scripted.requests[1]["input_ids"])


async def test_items_that_are_named_are_the_recorded_ones(
    served: Gateway, other: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """References to a reply's items, without a carrier and at another gateway, are that reply."""
    scripted.script(*spell(tokenizer, f"I look.\n{CALL}"), end_of_turn(tokenizer))
    path = f"/e/ep_1{PATH}"
    first = await whole(served, BODY | {"tools": [PRICE]}, path)
    call = first["output"][-1]
    items = [
        {"role": "user", "content": "Hi"},
        *({"type": "item_reference", "id": item["id"]} for item in first["output"]),
        {"type": "function_call_output", "call_id": call["call_id"], "output": "33"},
    ]
    await whole(other, BODY | {"tools": [PRICE], "input": items}, path)
    turns = await served.store.turns("ep_1")
    assert turns[1].anchor is not None
    assert turns[1].anchor.turn_id == turns[0].id


async def test_a_long_conversation_is_kept_once(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A client that sends its whole conversation each time has each message kept once."""
    items: list[Any] = []
    for number in range(6):
        items.append({"role": "user", "content": f"{number} {'word ' * 40}"})
        response = await whole(served, BODY | {"input": items}, f"/e/ep_1{PATH}")
        items += response["output"]
    view = await served.store.episode("ep_1")
    assert view is not None
    kept, _ = await served.store.conversation(view.header.key_id, view.turns[-1].id)
    assert kept is not None
    assert len(kept) == 6
    assert b"".join(kept).count(b"word") == 6 * 40


UNKNOWN = f"resp_turn_{'0' * 24}"


async def test_a_response_that_is_not_kept_is_refused(served: Gateway) -> None:
    """One that does not exist, was not stored, or belongs to another key is a 400 that says what to send instead."""
    unstored = await whole(served, BODY | {"store": False})
    stored = await whole(served, BODY)
    answer = await served.admin.post("/v1/keys", json={"name": "other", "scopes": ["infer"]})
    key = answer.json()["key"]
    for id_, caller in (
        (UNKNOWN, ADMIN_KEY),
        ("resp_0", ADMIN_KEY),
        (unstored["id"], ADMIN_KEY),
        (stored["id"], key),
    ):
        body = BODY | {"previous_response_id": id_}
        headers = {"authorization": f"Bearer {caller}"}
        answer = await served.admin.post(PATH, json=body, headers=headers)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "previous_response_not_found"
        assert answer.json()["error"]["param"] == "previous_response_id"
    missing = {"input": [{"type": "item_reference", "id": f"msg_{'0' * 24}_0"}]}
    answer = await served.admin.post(PATH, json=BODY | missing)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "item_not_found")


async def test_a_conversation_outlives_its_episode(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A previous response of an episode that has ended is continued in a new one, with the whole conversation."""
    first = await whole(served, BODY | {"input": "A melon?"}, f"/e/ep_1{PATH}")
    await served.admin.post("/v1/episodes/ep_1/complete", json={})
    answer = await served.admin.post(
        PATH, json=BODY | {"input": "More?", "previous_response_id": first["id"]}
    )
    prompt = tokenizer.decode(scripted.requests[1]["input_ids"])
    assert answer.headers["x-turngate-episode"] != "ep_1"
    assert all(text in prompt for text in ("A melon?", "Hello there.", "More?"))


async def test_a_deleted_episode_keeps_no_messages(served: Gateway) -> None:
    """What is kept of a conversation goes with its episode."""
    response = await whole(served, BODY, f"/e/ep_1{PATH}")
    await served.admin.delete("/v1/episodes/ep_1")
    answer = await served.admin.post(PATH, json=BODY | {"previous_response_id": response["id"]})
    assert answer.json()["error"]["code"] == "previous_response_not_found"


async def kept_as(value: bytes, served: Gateway, redis_url: str) -> dict[str, Any]:
    """A response of whose conversation Redis keeps these bytes."""
    response = await whole(served, BODY, f"/e/ep_1{PATH}")
    async with Redis.from_url(redis_url) as client:
        name = f"turngate:{{{served.project}}}:ep.messages:ep_1"
        (turn_id,) = await client.hkeys(name)
        await client.hset(name, turn_id, value)
    return response


@pytest.mark.parametrize("value", [b"\n\xc1", b"\n", b"none", b"\n\x94\x91\x01\xc0\xc0\x90"])
async def test_damaged_messages_are_not_kept(value: bytes, served: Gateway, redis_url: str) -> None:
    """A conversation that cannot be read is a 400 that says to send it whole, and its items are unknown."""
    response = await kept_as(value, served, redis_url)
    item = {"type": "item_reference", "id": response["output"][0]["id"]}
    bodies = ({"previous_response_id": response["id"]}, {"input": [item]})
    answers = [await served.admin.post(PATH, json=BODY | body) for body in bodies]
    assert [answer.status_code for answer in answers] == [400, 400]
    codes = [answer.json()["error"]["code"] for answer in answers]
    assert codes == ["previous_response_not_found", "item_not_found"]


async def test_what_is_kept_counts_as_the_calls_own_bytes(served: Gateway, redis_url: str) -> None:
    """A short body that continues a long conversation is a large call, and its messages are all there."""
    reply = ReplyChoice(index=0, content="So.", reasoning=None, tool_calls=(), finish_reason="stop")
    message = {"role": "user", "content": "x" * LARGE_BYTES}
    response = await kept_as(b"\n" + encode_kept([message], reply), served, redis_url)
    view = await served.store.episode("ep_1")
    assert view is not None
    caller = Caller(view.header.key_id, served.project, frozenset())
    body = orjson.dumps(BODY | {"previous_response_id": response["id"]})
    request = ResponsesDialect().parse(body, path=PATH)
    request, num_bytes = await with_earlier_replies(
        request, caller, served.store, LargeCalls(), num_bytes=len(body)
    )
    assert num_bytes > LARGE_BYTES
    assert [each["content"] for each in request.messages] == ["x" * LARGE_BYTES, "So.", "Hi"]
