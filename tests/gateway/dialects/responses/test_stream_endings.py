"""How a response ends: committed, broken off, left, repeated, or refused before it began."""

import asyncio
from typing import Any

import pytest
from openai import APIError

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, eventually
from tests.gateway.dialects.responses.response_events import (
    BODY,
    PATH,
    Fold,
    events_of,
    streamed,
    whole,
)
from tests.gateways import Gateway
from tests.scripted_engine import Garbage, Refuse, ScriptedEngine, Tokens, Version, Wait

STREAM: Any = BODY | {"stream": True}
EPISODE = f"/e/ep_1{PATH}"


def breaks_off(scripted: ScriptedEngine, tokenizer: Tokenizer) -> None:
    scripted.script(Tokens(tokenizer.encode("begun")), Garbage())
    scripted.script(Garbage())
    scripted.script(Garbage())


async def test_a_stream_that_breaks_off_fails(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Engines that fail for good end the stream with `error` and `response.failed`, and the turn trains nothing."""
    breaks_off(scripted, tokenizer)
    events = await streamed(served, BODY, EPISODE)
    error, failed = events[-2:]
    assert (error["type"], error["code"]) == ("error", "engine_unavailable")
    assert failed["type"] == "response.failed"
    response = failed["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    (item,) = response["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "begun")
    (turn,) = await served.store.turns("ep_1")
    assert turn.outputs[0].is_abandoned
    refused = await served.admin.post(PATH, json=BODY | {"previous_response_id": response["id"]})
    assert refused.json()["error"]["code"] == "previous_response_not_found"


async def test_the_sdk_raises_when_a_stream_breaks_off(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The stock SDK turns the failure into an exception."""
    breaks_off(scripted, tokenizer)
    async with served.openai() as client:
        stream = await client.responses.create(model="policy", input="Hi", stream=True)
        with pytest.raises(APIError):
            async for _ in stream:
                pass


async def test_the_end_waits_for_the_commit(served: Gateway) -> None:
    """When a client has seen `response.completed`, the turn is in the store."""
    async with served.admin.stream("POST", EPISODE, json=STREAM) as answer:
        async for line in answer.aiter_lines():
            if line == "event: response.completed":
                assert len(await served.store.turns("ep_1")) == 1
                return
    pytest.fail("the stream does not end")


async def test_an_error_before_the_first_token_has_its_status(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """What an engine refuses is a 400 in OpenAI's shape, streamed or not, in words that are not the engine's."""
    for body in (BODY, STREAM):
        scripted.script(Refuse(400, "the engine says no"))
        scripted.script(Refuse(400, "the engine says no"))
        answer = await served.admin.post(PATH, json=body)
        assert answer.status_code == 400
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert "says no" not in answer.text


async def test_a_client_that_leaves_aborts_the_engine(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A disconnect in mid-stream aborts the engine's call, and what was sampled never trains."""
    sampled = tokenizer.encode("so far")
    scripted.script(Tokens(sampled), Wait(asyncio.Event()), end_of_turn(tokenizer))
    async with served.admin.stream("POST", EPISODE, json=STREAM) as answer:
        async for line in answer.aiter_lines():
            if "so far" in line:
                break
    await asyncio.wait_for(scripted.was_aborted.wait(), 5)
    turns = await eventually(lambda: served.store.turns("ep_1"))
    assert turns[0].outputs[0].is_abandoned
    assert turns[0].outputs[0].ids.tolist() == sampled


async def test_a_swap_in_mid_stream_is_one_response(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Tokens of two policy versions are one message, and the record says which version sampled which."""
    scripted.script(
        Tokens(tokenizer.encode("old ")),
        Version(5),
        Tokens(tokenizer.encode("new")),
        end_of_turn(tokenizer),
    )
    events = await streamed(served, BODY, EPISODE)
    (item,) = Fold(events).items
    (turn,) = await served.store.turns("ep_1")
    assert item["content"][0]["text"] == "old new"
    assert turn.versions == (0, 5)
    assert events[-1]["response"]["system_fingerprint"] == "policy@5"


async def test_a_repeated_stream_is_the_recorded_one(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """A call with the same idempotency key gets the same items again, without the engine."""
    headers = {"idempotency-key": "once"}
    answers = [await served.admin.post(PATH, json=STREAM, headers=headers) for _ in range(2)]
    first, again = (events_of(answer) for answer in answers)
    assert Fold(first).items == Fold(again).items
    assert first[-1] | {"sequence_number": 0} == again[-1] | {"sequence_number": 0}
    assert len(scripted.requests) == 1


async def test_a_reward_names_a_response_by_its_id(served: Gateway) -> None:
    """The id that the SDK got back addresses the turn."""
    response = await whole(served, BODY, EPISODE)
    reward = {"completion_id": response["id"], "value": 1.0}
    answer = (await served.admin.post("/v1/rewards", json=reward)).json()
    assert (answer["episode_id"], f"resp_{answer['turn_id']}") == ("ep_1", response["id"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", PATH, 405), ("GET", f"{PATH}/resp_1", 404), ("POST", f"{PATH}/resp_1/cancel", 404)],
)
async def test_what_is_not_served_has_openais_error(
    served: Gateway, method: str, path: str, status: int
) -> None:
    """Other methods and paths below are refused in OpenAI's shape."""
    answer = await served.admin.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
