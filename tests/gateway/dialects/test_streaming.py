"""Streams: incremental, equal to the unstreamed reply, and terminated only once the turn is recorded."""

import asyncio
import json
from typing import Any

import pytest
from openai import APIError

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, eventually, spell
from tests.gateway.dialects.test_chat import CALL, PRICE
from tests.gateways import Gateway, StartGateway
from tests.scripted_engine import (
    Garbage,
    Refuse,
    ScriptedEngine,
    Step,
    Stop,
    Tokens,
    Wait,
    running_engine,
)

USER: Any = [{"role": "user", "content": "Hi"}]


async def chunks_of(served: Gateway, **options: Any) -> list[dict[str, Any]]:
    async with served.openai() as client:
        stream = await client.chat.completions.create(
            model="policy", messages=USER, stream=True, **options
        )
        return [chunk.model_dump() async for chunk in stream]


def folded(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The first choice, put together as a client would."""
    content, calls, finish, ids, logprobs = "", {}, [], [], []
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice["delta"]
            content += delta.get("content") or ""
            finish += [choice["finish_reason"]] if choice["finish_reason"] else []
            ids += choice.get("token_ids") or []
            logprobs += (choice["logprobs"] or {}).get("content") or []
            for call in delta.get("tool_calls") or ():
                known = calls.setdefault(call["index"], {"name": "", "arguments": ""})
                known["name"] += call["function"].get("name") or ""
                known["arguments"] += call["function"].get("arguments") or ""
    return {
        "content": content,
        "calls": list(calls.values()),
        "finish": finish,
        "ids": ids,
        "logprobs": [(token["token"], token["logprob"]) for token in logprobs],
    }


@pytest.mark.parametrize("incremental", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "Plain words.",
        "naïve 漢字 🙂 end",
        f"I look.\n{CALL}",
        f"{CALL}\n{CALL}",
        "<tool_call>\n{not json}\n</tool_call> after",
        "up to STOP and more",
    ],
)
async def test_a_stream_folds_to_the_unstreamed_reply(
    start_gateway: StartGateway, tokenizer: Tokenizer, text: str, *, incremental: bool
) -> None:
    """For the same token ids, streamed and unstreamed replies say the same, cut anywhere, events cumulative or not."""
    options: Any = {
        "tools": [PRICE],
        "stop": ["STOP"],
        "logprobs": True,
        "extra_body": {"return_token_ids": True},
    }
    stop: Step = Stop("STOP") if "STOP" in text else end_of_turn(tokenizer)
    text = text.partition(" and more")[0]
    async with (
        running_engine(incremental=incremental) as scripted,
        start_gateway(scripted) as served,
    ):
        scripted.script(*spell(tokenizer, text), stop)
        scripted.script(*spell(tokenizer, text), stop)
        streamed = folded(await chunks_of(served, **options))
        async with served.openai() as client:
            whole = await client.chat.completions.create(model="policy", messages=USER, **options)
    choice = whole.choices[0].model_dump()
    assert streamed["content"] == (choice["message"]["content"] or "")
    assert streamed["calls"] == [
        {"name": c["function"]["name"], "arguments": c["function"]["arguments"]}
        for c in choice["message"]["tool_calls"] or ()
    ]
    assert streamed["finish"] == [choice["finish_reason"]]
    assert streamed["ids"] == choice["token_ids"]
    shown = [(token["token"], token["logprob"]) for token in choice["logprobs"]["content"]]
    assert streamed["logprobs"] == shown


async def test_tokens_arrive_as_they_are_sampled(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The first words reach the client while the engine still holds back the rest."""
    rest = asyncio.Event()
    scripted.script(Tokens(tokenizer.encode("early")), Wait(rest), end_of_turn(tokenizer))
    async with served.openai() as client:
        stream = await client.chat.completions.create(model="policy", messages=USER, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                assert not rest.is_set()
                rest.set()
        assert rest.is_set()


async def test_no_header_before_the_first_token(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """While the engine is silent nothing is sent, so a refusal can still be a status."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, Refuse(400, "the engine says no"))
    scripted.script(Refuse(400, "the engine says no"))
    body = {"model": "policy", "messages": USER, "stream": True}
    asked = asyncio.create_task(served.admin.post("/v1/chat/completions", json=body))
    await wait.reached.wait()
    assert not asked.done()
    wait.event.set()
    answer = await asked
    assert answer.status_code == 400
    assert "the engine refuses the call" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"messages": USER}),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/responses", {"input": "Hi"}),
    ],
)
async def test_comments_fill_a_silence(
    start_gateway: StartGateway,
    scripted: ScriptedEngine,
    tokenizer: Tokenizer,
    path: str,
    asked: dict[str, Any],
) -> None:
    """After the configured silence headers and comments go out; the reply, or an error, follows as events."""
    async with start_gateway(scripted, keep_alive_seconds=0.05) as served:
        for then in ((*spell(tokenizer, "Late."), end_of_turn(tokenizer)), (Refuse(400, "no"),)):
            rest = asyncio.Event()
            scripted.script(Wait(rest), *then)
            lines: list[str] = []
            async with served.admin.stream("POST", path, json=asked | {"stream": True}) as answer:
                assert answer.status_code == 200
                async for line in answer.aiter_lines():
                    lines.append(line)
                    if lines.count(": ping") == 2:
                        rest.set()
            said = [line for line in lines if line and line != ": ping"]
            assert said[0].startswith(("data: ", "event: "))
            assert ('"error":{' in said[-1]) is (len(then) == 1)


async def test_usage_comes_last_and_only_when_asked(served: Gateway) -> None:
    """The usage chunk has no choices and ends the stream; without include_usage there is none."""
    plain = await chunks_of(served)
    asked = await chunks_of(served, stream_options={"include_usage": True})
    assert all(chunk["usage"] is None for chunk in plain)
    assert [bool(chunk["usage"]) for chunk in asked] == [False] * (len(asked) - 1) + [True]
    assert asked[-1]["choices"] == []
    assert asked[-1]["usage"]["completion_tokens"] > 0


async def test_streamed_siblings_are_told_apart(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """With n=2 the chunks of both outputs interleave under their index, each with one finish reason."""
    for word in ("left", "right"):
        scripted.script(*spell(tokenizer, word), end_of_turn(tokenizer))
    chunks = await chunks_of(served, n=2)
    texts = {0: "", 1: ""}
    finish = []
    for chunk in chunks:
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["delta"].get("content") or ""
            finish += [choice["index"]] if choice["finish_reason"] else []
    assert sorted(texts.values()) == ["left", "right"]
    assert sorted(finish) == [0, 1]


async def test_the_terminator_waits_for_the_commit(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """When a client has seen [DONE], the turn is in the store; when the turn cannot be recorded, it never sees it."""
    body = {"model": "policy", "messages": USER, "stream": True}
    path = "/e/ep_terminated/v1/chat/completions"
    async with served.admin.stream("POST", path, json=body) as answer:
        async for line in answer.aiter_lines():
            turns = await served.store.episode("ep_terminated")
            if line == "data: [DONE]":
                assert turns is not None
                assert turns.header.num_turns == 1
                return
    pytest.fail("no terminator")


async def test_an_error_in_mid_stream_is_an_event_without_terminator(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Engines that fail for good after the first token end the stream with an error event, which the SDK raises."""
    scripted.script(Tokens(tokenizer.encode("begun")), Garbage())
    scripted.script(Garbage())
    scripted.script(Garbage())
    body = {"model": "policy", "messages": USER, "stream": True}
    answer = await served.admin.post("/v1/chat/completions", json=body)
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert answer.status_code == 200
    assert "[DONE]" not in events
    assert json.loads(events[-1])["error"]["code"] == "engine_unavailable"
    view = await served.store.episode(answer.headers["x-turngate-episode"])
    assert view is not None
    assert view.turns[0].outputs[0].is_abandoned
    assert view.header.num_trainable_tokens == 0


async def test_the_sdk_raises_a_mid_stream_error(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The stock SDK turns the error event into an exception."""
    scripted.script(Tokens(tokenizer.encode("begun")), Garbage())
    scripted.script(Garbage())
    scripted.script(Garbage())
    with pytest.raises(APIError):
        await chunks_of(served)


async def test_a_client_that_leaves_a_stream_aborts_the_engine(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A disconnect aborts the engine's call; what was sampled is kept as abandoned and never trains."""
    sampled = tokenizer.encode("so far")
    scripted.script(Tokens(sampled), Wait(asyncio.Event()), end_of_turn(tokenizer))
    body = {"model": "policy", "messages": USER, "stream": True}
    path = "/e/ep_left/v1/chat/completions"
    async with served.admin.stream("POST", path, json=body) as answer:
        async for line in answer.aiter_lines():
            if tokenizer.decode(sampled) in line:
                break
    await asyncio.wait_for(scripted.was_aborted.wait(), 5)
    assert scripted.aborted == [scripted.requests[0]["rid"]]
    turns = await eventually(lambda: served.store.turns("ep_left"))
    assert turns[0].outputs[0].is_abandoned
    assert turns[0].outputs[0].ids.tolist() == sampled


async def test_a_client_that_leaves_an_unstreamed_call_aborts_the_engine(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A disconnect is seen also while nothing is being sent, and leaves no turn."""
    wait = Wait(asyncio.Event())
    scripted.script(Tokens(tokenizer.encode("so far")), wait, end_of_turn(tokenizer))
    body = {"model": "policy", "messages": USER}
    leaving = asyncio.create_task(served.admin.post("/e/ep_left/v1/chat/completions", json=body))
    await wait.reached.wait()
    leaving.cancel()
    await asyncio.wait_for(scripted.was_aborted.wait(), 5)
    assert scripted.aborted == [scripted.requests[0]["rid"]]
    assert await served.store.turns("ep_left") == []
