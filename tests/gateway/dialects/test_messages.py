"""Anthropic Messages through the stock SDK: what a body means, and how a reply, a stream and an error look."""

import asyncio
import base64
import json
from typing import Any

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import Gateway, StartGateway
from tests.scripted_engine import (
    Garbage,
    Length,
    Refuse,
    ScriptedEngine,
    Step,
    Stop,
    Tokens,
    Version,
    Wait,
)

MESSAGES = "/v1/messages"
USER: Any = [{"role": "user", "content": "Hi"}]
BODY: Any = {"model": "policy", "max_tokens": 64, "messages": USER}
PRICE: Any = {
    "name": "price",
    "description": "What it costs.",
    "input_schema": {"type": "object", "properties": {"item": {"type": "string"}}},
}
CHAT_PRICE: Any = {
    "type": "function",
    "function": {
        "name": "price",
        "description": "What it costs.",
        "parameters": PRICE["input_schema"],
    },
}
CALL = '<tool_call>\n{"name": "price", "arguments": {"item": "melon"}}\n</tool_call>'


async def test_a_reply_is_what_the_engine_said(served: Gateway, scripted: ScriptedEngine) -> None:
    """An unstreamed message carries the text, the stop reason and the token counts of the engine's answer."""
    scripted.cached_tokens = 3
    async with served.anthropic(_strict_response_validation=True) as client:
        message = await client.messages.create(**BODY)
    (block,) = message.content
    assert (block.type == "text" and block.text, message.stop_reason) == (
        "Hello there.",
        "end_turn",
    )
    prompt = len(scripted.requests[0]["input_ids"])
    assert message.usage.cache_read_input_tokens == 3
    assert message.usage.input_tokens == prompt - 3
    assert message.usage.output_tokens > 0
    reward = {"completion_id": message.id, "value": 1.0}
    assert (await served.admin.post("/v1/rewards", json=reward)).status_code == 200


THOUGHT = "<think>\nSo it is.\n</think>\n\n"
BROKEN = CALL.replace('"melon"}', 'melon, "a": [1}')
TEXTS = (
    "Plain words.",
    f"I look.\n{CALL}",
    f"{CALL}\n{CALL}",
    f"I look.\n{CALL}\nand say more",
    BROKEN,
    CALL.partition("mel")[0],
    "up to STOP and more",
    "",
    f"{THOUGHT}It is.",
    f"{THOUGHT}{CALL}",
    THOUGHT.partition("is")[0],
)


async def test_a_stream_folds_to_the_unstreamed_reply(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """For the same token ids the SDK puts the events together to the unstreamed message, broken and cut calls too."""
    asked: Any = {**BODY, "tools": [PRICE], "stop_sequences": ["STOP"]}
    async with thinking.anthropic(_strict_response_validation=True) as client:
        for text in TEXTS:
            end: Step = Stop("STOP") if "STOP" in text else end_of_turn(qwen3)
            steps = (*spell(qwen3, text.partition(" and more")[0]), end)
            scripted.script(*steps)
            scripted.script(*steps)
            whole = await client.messages.create(**asked)
            async with client.messages.stream(**asked) as stream:
                folded = await stream.get_final_message()
            kept = {"exclude": {"id", "content"}}
            assert folded.model_dump(**kept) == whole.model_dump(**kept), text
            assert comparable(folded) == comparable(whole), text


def comparable(message: Any) -> Any:
    """The blocks without the ids and signatures, which name the turn, and without what the SDK adds."""
    left_out = {"id", "signature", "parsed_output"}
    return [block.model_dump(exclude=left_out) for block in message.content]


async def test_blocks_come_in_the_order_of_the_output(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """Thinking, text and calls are blocks of their own, and text after a call is a block after it."""
    scripted.script(*spell(qwen3, f"{THOUGHT}I look.\n{CALL}\nDone."), end_of_turn(qwen3))
    async with thinking.anthropic(_strict_response_validation=True) as client:
        message = await client.messages.create(**BODY, tools=[PRICE])
    assert message.stop_reason == "tool_use"
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "text"]
    thought, look, call, _ = message.content
    assert thought.type == "thinking"
    assert (thought.thinking, look.type == "text" and look.text) == ("So it is.", "I look.")
    assert call.type == "tool_use"
    assert (call.name, call.input) == ("price", {"item": "melon"})
    assert call.id.startswith("toolu_")
    turn = message.id.removeprefix("msg_turn_")
    assert turn in call.id
    assert turn in thought.signature


async def test_hidden_thinking_keeps_its_signature(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """With `display: omitted` the thinking block is there without its text, streamed or not."""
    asked: Any = {**BODY, "thinking": {"type": "adaptive", "display": "omitted"}}
    steps = (*spell(qwen3, f"{THOUGHT}It is."), end_of_turn(qwen3))
    scripted.script(*steps)
    scripted.script(*steps)
    async with thinking.anthropic() as client:
        whole = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            folded = await stream.get_final_message()
    for message in (whole, folded):
        block = message.content[0]
        assert block.type == "thinking"
        assert (block.thinking, bool(block.signature)) == ("", True)


async def test_a_tool_loop_continues_what_was_sampled(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """An agent that sends its blocks back, broken arguments and thinking too, reads the very ids that were sampled."""
    outputs = [
        f"{THOUGHT}I look.\n{CALL}\n{CALL}",
        BROKEN,
        CALL.partition("mel")[0],
        f"{CALL}\nand more",
        "Done.",
    ]
    messages: Any = list(USER)
    async with thinking.anthropic(path="/e/ep_loop") as client:
        for text in outputs:
            end: Step = Length() if text.endswith('"') else end_of_turn(qwen3)
            scripted.script(*spell(qwen3, text), end)
            async with client.messages.stream(
                **{**BODY, "messages": messages, "tools": [PRICE]}
            ) as stream:
                message = await stream.get_final_message()
            messages.append(message.to_param())
            results: Any = [
                {"type": "tool_result", "tool_use_id": block.id, "content": "3"}
                for block in message.content
                if block.type == "tool_use"
            ]
            messages.append({"role": "user", "content": results})
    attached = await thinking.metric("turngate_calls_attached_total")
    assert attached == {'{how="root"}': 1, '{how="bridged"}': len(outputs) - 1}


async def test_a_body_makes_the_prompt_that_chat_makes(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """Results become tool messages before the user's text, and an assistant's blocks one message."""
    blocks: Any = [
        {"role": "user", "content": [{"type": "text", "text": "Price?", "cache_control": None}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look. "},
                {"type": "text", "text": "Wait."},
                {"type": "tool_use", "id": "toolu_1", "name": "price", "input": {"item": "melon"}},
                {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "3"}, {"type": "text", "text": "4"}],
                },
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "is_error": True,
                    "content": "no",
                },
                {
                    "type": "document",
                    "title": "Fruit",
                    "source": {"type": "text", "media_type": "text/plain", "data": "Melons."},
                },
            ],
        },
        {"role": "system", "content": "Be quick."},
        {"role": "user", "content": "So?"},
    ]
    system: Any = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=a1;"},
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": "Be kind."},
    ]
    call = {"id": "toolu_1", "function": {"name": "price", "arguments": '{"item":"melon"}'}}
    chat: Any = [
        {"role": "system", "content": "Be brief.\nBe kind."},
        {"role": "user", "content": "Price?"},
        {"role": "assistant", "content": "I look. Wait.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "3\n4"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "Error:\nno"},
        {"role": "user", "content": "And\nFruit\nMelons."},
        {"role": "system", "content": "Be quick."},
        {"role": "user", "content": "So?"},
    ]
    search: Any = {"type": "web_search_20250305", "name": "web_search"}
    async with served.anthropic(default_query={"beta": "true"}) as client:
        raw = await client.messages.with_raw_response.create(
            **{**BODY, "messages": blocks, "system": system, "tools": [search, PRICE]}
        )
    async with served.openai() as other:
        await other.chat.completions.create(model="policy", messages=chat, tools=[CHAT_PRICE])
    assert scripted.requests[0]["input_ids"] == scripted.requests[1]["input_ids"]
    view = (await served.admin.get(f"/v1/episodes/{raw.headers['x-turngate-episode']}")).json()
    assert view["turns"][0]["notes"] == [
        "system block x-anthropic-… left out",
        "tool of type web_search_20250305 left out",
        "content block server_tool_use left out",
    ]


async def test_options_reach_the_engine(served: Gateway, scripted: ScriptedEngine) -> None:
    """Sampling options, stop sequences and a structured answer arrive under the engine's names."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    async with served.anthropic() as client:
        await client.messages.create(
            **BODY,
            stop_sequences=["END"],
            output_config={"format": {"type": "json_schema", "schema": schema}, "effort": "max"},
            metadata={"user_id": "someone"},
            extra_body={"temperature": 0.5, "top_p": 0.9, "top_k": 7, "service_tier": "auto"},
        )
    asked = scripted.requests[0]["sampling_params"]
    assert json.loads(asked.pop("json_schema")) == schema
    assert asked == {
        "max_new_tokens": 64,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "stop": ["END"],
    }


@pytest.mark.parametrize(
    ("choice", "single"),
    [
        ({"type": "any"}, False),
        ({"type": "any", "disable_parallel_tool_use": True}, True),
        ({"type": "tool", "name": "price"}, True),
    ],
)
async def test_a_forced_call_is_constrained(
    served: Gateway, scripted: ScriptedEngine, choice: Any, *, single: bool
) -> None:
    """A forced choice is a grammar; with `disable_parallel_tool_use` it allows one call."""
    async with served.anthropic() as client:
        await client.messages.create(**BODY, tools=[PRICE], tool_choice=choice)
    tag = json.loads(scripted.requests[0]["sampling_params"]["structural_tag"])
    assert tag["format"]["at_least_one"] is True
    assert bool(tag["format"].get("stop_after_first")) is single


async def test_a_stop_sequence_is_named(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The reply says which of the caller's sequences ended it; `max_tokens` says that it was cut."""
    scripted.script(Tokens(tokenizer.encode("one END")), Stop("END"))
    scripted.script(Tokens(tokenizer.encode("one")), Length())
    async with served.anthropic(_strict_response_validation=True) as client:
        stopped = await client.messages.create(**BODY, stop_sequences=["STOP", "END"])
        cut = await client.messages.create(**BODY)
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "END")
    assert (cut.stop_reason, cut.stop_sequence) == ("max_tokens", None)


async def test_a_prefill_is_continued(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A last message of the assistant is the beginning of the reply."""
    messages: Any = [*USER, {"role": "assistant", "content": "I say:"}]
    async with served.anthropic(path="/e/ep_1") as client:
        await client.messages.create(**{**BODY, "messages": messages})
    (turn,) = await served.store.turns("ep_1")
    assert tokenizer.decode(scripted.requests[0]["input_ids"]).endswith("assistant\nI say:")
    assert turn.forced == len(tokenizer.encode("I say:"))


async def test_thinking_can_be_switched_off(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """`disabled` reaches the template, which closes the thought; `enabled` and `adaptive` leave it to the model."""
    async with thinking.anthropic() as client:
        for kind in ({"type": "disabled"}, {"type": "enabled", "budget_tokens": 1024}):
            await client.messages.create(**BODY, thinking=kind)
    off, on = (qwen3.decode(request["input_ids"]) for request in scripted.requests)
    assert off.endswith("<think>\n\n</think>\n\n")
    assert on.endswith("assistant\n")


async def test_tokens_are_counted_as_a_call_reads_them(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """The count is the prompt's, nested results and tools too, and leaves no episode and no sample."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "3"}]}
    call = {"type": "tool_use", "id": "t", "name": "price", "input": {}}
    messages: Any = [
        *USER,
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result, {"type": "text", "text": "So?"}]},
    ]
    prompt: Any = {"model": "policy", "messages": messages, "system": "Be brief.", "tools": [PRICE]}
    async with served.anthropic() as client:
        counted = await client.messages.count_tokens(**prompt)
        assert scripted.requests == []
        assert (await served.admin.get("/v1/episodes")).json()["data"] == []
        message = await client.messages.create(**prompt, max_tokens=64)
    assert counted.input_tokens == message.usage.input_tokens
    assert counted.input_tokens == len(scripted.requests[0]["input_ids"])


NO_KEY: Any = {"headers": {"authorization": ""}}
IMAGE: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "é"}}
PDF: Any = {
    "type": "document",
    "source": {"type": "base64", "data": base64.b64encode(b"%PDF").decode()},
}
WRONG: Any = (
    ("POST", MESSAGES, {"json": BODY} | NO_KEY, 401, "authentication_error"),
    ("POST", MESSAGES, {"content": b"{"}, 400, "invalid_request_error"),
    ("POST", MESSAGES, {"content": b"\xff"}, 400, "invalid_request_error"),
    ("POST", MESSAGES, {"json": {"messages": USER}}, 400, "invalid_request_error"),
    ("POST", MESSAGES, {"json": BODY | {"messages": []}}, 400, "invalid_request_error"),
    ("POST", MESSAGES, {"json": BODY | {"tool_choice": {"type": "any"}}}, 400, "invalid_request_error"),
    ("POST", MESSAGES, {"json": BODY | {"model": "policy@9"}}, 404, "not_found_error"),
    ("POST", MESSAGES, {"content": b" " * 50_000_000}, 413, "request_too_large"),
    ("GET", MESSAGES, {}, 405, "invalid_request_error"),
    ("GET", f"{MESSAGES}/count_tokens", {}, 405, "invalid_request_error"),
    ("POST", f"{MESSAGES}/count_tokens", {"json": {}}, 400, "invalid_request_error"),
    ("POST", f"{MESSAGES}/batches", {"json": {}}, 404, "not_found_error"),
    *(
        ("POST", MESSAGES, {"json": BODY | {"messages": [{"role": "user", "content": content}]}}, 400, "invalid_request_error")
        for content in (5, [IMAGE], [PDF], [{"type": "melon"}], ["text"], [{"type": "text"}])
    ),
)  # fmt: skip


async def test_errors_have_anthropics_body(served: Gateway) -> None:
    """Every refusal names its type and its request, those of the router and of the middleware too."""
    for method, path, call, status, kind in WRONG:
        answer = await served.admin.request(method, path, **call)
        assert answer.status_code == status, answer.text
        body = answer.json()
        assert (body["type"], body["error"]["type"]) == ("error", kind)
        assert body["error"]["message"]
        assert body["request_id"] == answer.headers["x-request-id"]


async def test_an_overflow_says_that_the_prompt_is_too_long(
    served: Gateway, tokenizer: Tokenizer
) -> None:
    """Claude Code shortens its conversation when it reads these words."""
    long: Any = [{"role": "user", "content": "word " * tokenizer.context_length}]
    answer = await served.admin.post(MESSAGES, json=BODY | {"messages": long})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"].startswith("prompt is too long")
    assert error["code"] == "context_length_exceeded"


async def test_an_engine_that_is_gone_is_overloaded(start_gateway: StartGateway) -> None:
    """Without an engine the answer is 503 with Anthropic's word for it, to be tried again."""
    async with start_gateway("http://127.0.0.1:1") as served:
        answer = await served.admin.post(MESSAGES, json=BODY)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "overloaded_error")
    assert int(answer.headers["retry-after"]) >= 1


async def test_claude_codes_probe_is_answered(served: Gateway) -> None:
    """`HEAD /` is 200, with an episode in the path too."""
    for path in ("/", "/e/ep_1", "/e/ep_1/"):
        assert (await served.admin.head(path)).status_code == 200, path


async def test_an_error_in_mid_stream_is_an_event(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Engines that fail for good after the first token end the stream with an error event and no `message_stop`."""
    scripted.script(Tokens(tokenizer.encode("begun")), Garbage())
    scripted.script(Garbage())
    scripted.script(Garbage())
    answer = await served.admin.post(MESSAGES, json=BODY | {"stream": True})
    events = answer.text.strip().split("\n\n")
    assert events[0].startswith("event: message_start\n")
    assert events[-1].startswith("event: error\n")
    assert "message_stop" not in answer.text
    error = json.loads(events[-1].partition("data: ")[2])
    assert error["error"]["type"] == "overloaded_error"
    assert error["request_id"] == answer.headers["x-request-id"]


async def test_a_swap_in_mid_stream_shows_only_in_the_record(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A stream goes on over a swap of the policy, and the record says who sampled each token."""
    scripted.script(
        *spell(tokenizer, "one "), Version(1), *spell(tokenizer, "two"), end_of_turn(tokenizer)
    )
    async with served.anthropic(path="/e/ep_1") as client, client.messages.stream(**BODY) as stream:
        assert await stream.get_final_text() == "one two"
    (turn,) = await served.store.turns("ep_1")
    assert turn.versions == (0, 1)


async def test_a_client_that_leaves_aborts_the_engine(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A disconnect in mid-stream aborts the engine's call."""
    scripted.script(
        Tokens(tokenizer.encode("so far")), Wait(asyncio.Event()), end_of_turn(tokenizer)
    )
    async with served.anthropic() as client, client.messages.stream(**BODY) as stream:
        async for text in stream.text_stream:
            assert text
            break
    await asyncio.wait_for(scripted.was_aborted.wait(), 5)
    assert scripted.aborted == [scripted.requests[0]["rid"]]


async def test_pings_fill_a_silence_before_the_first_token(
    start_gateway: StartGateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """After the configured silence headers and pings go out; the message, or an error, follows as events."""
    for then in ((*spell(tokenizer, "Late."), end_of_turn(tokenizer)), (Refuse(400, "no"),)):
        rest = asyncio.Event()
        scripted.script(Wait(rest), *then)
        events: list[str] = []
        async with (
            start_gateway(scripted, keep_alive_seconds=0.05) as served,
            served.admin.stream("POST", MESSAGES, json=BODY | {"stream": True}) as answer,
        ):
            assert answer.status_code == 200
            assert answer.headers["x-turngate-episode"]
            async for line in answer.aiter_lines():
                if line.startswith("event: "):
                    events.append(line.removeprefix("event: "))
                if events.count("ping") == 2:
                    rest.set()
        scripted.forget()
        assert events[:2] == ["ping", "ping"]
        assert events[-1] == ("error" if len(then) == 1 else "message_stop")
