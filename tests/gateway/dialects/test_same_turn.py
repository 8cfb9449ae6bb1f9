"""The same token ids as every dialect, streamed and not, describe one turn."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from rollout.episode.turn import Turn
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import Gateway
from tests.scripted_engine import ScriptedEngine

QUESTION = "What does a melon cost?"
SCHEMA: Any = {"type": "object", "properties": {"item": {"type": "string"}}}
PRICE = {"name": "price", "description": "What it costs.", "parameters": SCHEMA}
CALL = '<tool_call>\n{"name": "price", "arguments": {"item": "melon"}}\n</tool_call>'
OUTPUTS = (
    "<think>\n\n</think>\n\nPlain words, na\u00efve \u6f22\u5b57 \U0001f642.",
    "<think>\nHm, well.\n</think>\n\nSo.",
    f"<think>\nI have to look.\n</think>\n\nI look.\n{CALL}",
    f"<think>\nTwice.\n</think>\n\n{CALL}\n{CALL}",
    "<think>\nHm.\n</think>\n\n<tool_call>\n{not json}\n</tool_call> after",
    "<think>\nnever closed",
)
Events = list[dict[str, Any]]


@dataclass
class Said:
    """What a caller is told of a turn."""

    content: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    usage: tuple[int, int] = (0, 0)

    def call(self, name: str, arguments: str) -> None:
        self.calls = (*self.calls, (name, arguments))


@dataclass(frozen=True)
class Spoken:
    """A dialect: a body that asks the question, and how its replies are read."""

    path: str
    body: dict[str, Any]
    whole: Callable[[dict[str, Any]], Said]
    folded: Callable[[Events], Said]


def of_chat(reply: dict[str, Any]) -> Said:
    (choice,) = reply["choices"]
    message, usage = choice["message"], reply["usage"]
    said = Said(message["content"] or "", message.get("reasoning") or "")
    for call in message.get("tool_calls") or ():
        said.call(call["function"]["name"], call["function"]["arguments"])
    said.usage = usage["prompt_tokens"], usage["completion_tokens"]
    return said


def of_chat_chunks(chunks: Events) -> Said:
    message: dict[str, Any] = {"content": "", "reasoning": "", "tool_calls": []}
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning"] += delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or ():
                if call["index"] == len(message["tool_calls"]):
                    message["tool_calls"].append({"function": {"name": "", "arguments": ""}})
                function = message["tool_calls"][call["index"]]["function"]
                for part in ("name", "arguments"):
                    function[part] += call["function"].get(part) or ""
    return of_chat({"choices": [{"message": message}], "usage": chunks[-1]["usage"]})


def of_response(response: dict[str, Any]) -> Said:
    said, usage = Said(), response["usage"]
    for item in response["output"]:
        match item["type"]:
            case "reasoning":
                said.reasoning += "".join(part["text"] for part in item["content"])
            case "message":
                said.content += "".join(part["text"] for part in item["content"])
            case "function_call":
                said.call(item["name"], item["arguments"])
    said.usage = usage["input_tokens"], usage["output_tokens"]
    return said


def of_response_events(events: Events) -> Said:
    items: list[dict[str, Any]] = []
    for event in events:
        match event["type"]:
            case "response.output_item.added":
                items.append(event["item"] | {"content": [{"text": ""}]})
            case "response.output_text.delta" | "response.reasoning_text.delta":
                items[event["output_index"]]["content"][0]["text"] += event["delta"]
            case "response.function_call_arguments.delta":
                items[event["output_index"]]["arguments"] += event["delta"]
    return of_response(events[-1]["response"] | {"output": items})


def of_message(reply: dict[str, Any]) -> Said:
    said, usage = Said(), reply["usage"]
    for block in reply["content"]:
        match block["type"]:
            case "thinking":
                said.reasoning += block["thinking"]
            case "text":
                said.content += block["text"]
            case "tool_use":
                said.call(block["name"], json.dumps(block["input"]))
    said.usage = usage["input_tokens"], usage["output_tokens"]
    return said


def of_message_events(events: Events) -> Said:
    blocks: list[dict[str, Any]] = []
    usage: dict[str, int] = {}
    for event in events:
        match event["type"]:
            case "message_start":
                usage |= event["message"]["usage"]
            case "message_delta":
                usage |= event["usage"]
            case "content_block_start":
                blocks.append(event["content_block"] | {"json": ""})
            case "content_block_delta":
                for part in ("text", "thinking", "partial_json"):
                    name = "json" if part == "partial_json" else part
                    if part in event["delta"]:
                        blocks[event["index"]][name] += event["delta"][part]
    for block in blocks:
        if block["type"] == "tool_use":
            block["input"] = json.loads(block["json"] or "{}")
    return of_message({"content": blocks, "usage": usage})


DIALECTS = {
    "chat": Spoken(
        "/v1/chat/completions",
        {
            "messages": [{"role": "user", "content": QUESTION}],
            "tools": [{"type": "function", "function": PRICE}],
            "stream_options": {"include_usage": True},
        },
        of_chat,
        of_chat_chunks,
    ),
    "responses": Spoken(
        "/v1/responses",
        {"input": QUESTION, "tools": [{"type": "function"} | PRICE]},
        of_response,
        of_response_events,
    ),
    "messages": Spoken(
        "/v1/messages",
        {
            "messages": [{"role": "user", "content": QUESTION}],
            "tools": [
                {
                    "name": "price",
                    "description": PRICE["description"],
                    "input_schema": SCHEMA,
                }
            ],
            "max_tokens": 1024,
            "thinking": {"type": "adaptive"},
        },
        of_message,
        of_message_events,
    ),
}


def events_of(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def normal(said: Said) -> Said:
    """Without differences that JSON does not know."""
    calls = tuple((name, json.dumps(json.loads(arguments))) for name, arguments in said.calls)
    return Said(said.content.strip(), said.reasoning, calls, said.usage)


def recorded(turn: Turn) -> Turn:
    """A turn without what differs between two equal calls, and without what each dialect says of its own."""
    return msgspec.structs.replace(
        turn,
        id="",
        created_ms=0,
        body_digest="",
        sampling=msgspec.structs.replace(turn.sampling, max_tokens=0),
        notes=(),
        keeps_messages=False,
    )


async def test_every_dialect_describes_one_turn(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """Content, calls, reasoning, token counts and the record are the same in every dialect, streamed and not."""
    for place, output in enumerate(OUTPUTS):
        told: dict[tuple[str, str], Said] = {}
        turns: dict[tuple[str, str], Turn] = {}
        for name, spoken in DIALECTS.items():
            for way in ("whole", "streamed"):
                scripted.script(*spell(qwen3, output), end_of_turn(qwen3))
                episode = f"ep_{place}_{name}_{way}"
                body = spoken.body | {"model": "policy", "stream": way == "streamed"}
                answer = await thinking.admin.post(f"/e/{episode}{spoken.path}", json=body)
                assert answer.status_code == 200, answer.text
                said = (
                    spoken.folded(list(events_of(answer.text)))
                    if way == "streamed"
                    else spoken.whole(answer.json())
                )
                told[name, way] = normal(said)
                (turn,) = await thinking.store.turns(episode)
                turns[name, way] = recorded(turn)
        first = told["chat", "whole"]
        assert first.usage[0] > 0
        assert told == dict.fromkeys(told, first)
        assert turns == dict.fromkeys(turns, turns["chat", "whole"])
