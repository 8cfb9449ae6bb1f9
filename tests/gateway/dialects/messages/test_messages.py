"""Anthropic Messages through the stock SDK: what a body means, and what a reply says."""

from typing import Any

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateway.dialects.messages.bodies import (
    BODY,
    BROKEN,
    CALL,
    CHAT_PRICE,
    PRICE,
    THOUGHT,
    USER,
)
from tests.gateways import Gateway
from tests.scripted_engine import (
    Length,
    ScriptedEngine,
    Step,
)


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
