"""What agent runtimes send in the Responses dialect is one path of tokens."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, ModelSettings, OpenAIProvider, RunConfig, Runner, function_tool
from openai.types.shared import Reasoning

from rollout.episode.turn import Turn
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateway.dialects.responses.response_events import CALL, PATH, streamed, whole
from tests.gateway.dialects.responses.runtime_bodies import (
    ai_sdk,
    ai_sdk_items,
    codex,
    codex_items,
)
from tests.gateways import Gateway, StartGateway
from tests.scripted_engine import ScriptedEngine

EPISODE = f"/e/ep_1{PATH}"


@pytest.fixture
async def other_thinking(
    start_gateway: StartGateway, thinking: Gateway, scripted: ScriptedEngine, qwen3_dir: Path
) -> AsyncIterator[Gateway]:
    async with start_gateway(scripted, model_dir=qwen3_dir, project=thinking.project) as running:
        yield running


def are_one_path(turns: list[Turn]) -> bool:
    """Whether each turn continues the one before it."""
    anchors = [turn.anchor.turn_id if turn.anchor else None for turn in turns]
    return anchors == [None, *(turn.id for turn in turns[:-1])]


def thought(call: str) -> str:
    return f"<think>\nI have to look.\n</think>\n\n{call}"


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_openai_agents_in_its_default_mode(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer, *, is_streamed: bool
) -> None:
    """A tool loop of openai-agents, parallel calls and reasoning included, is one path of three turns."""

    @function_tool
    def price(item: str) -> str:
        """What an item costs."""
        return f"{item}: 33"

    for text in (thought(f"{CALL}\n{CALL}"), thought(CALL), thought("It costs 33.")):
        scripted.script(*spell(qwen3, text), end_of_turn(qwen3))
    settings = ModelSettings(
        reasoning=Reasoning(effort="low", summary="auto"),
        response_include=["reasoning.encrypted_content"],
    )
    agent = Agent(
        name="fruit",
        instructions="Price fruit.",
        tools=[price],
        model="policy",
        model_settings=settings,
    )
    async with thinking.openai(path="/e/ep_1/v1") as client:
        provider = OpenAIProvider(openai_client=client, use_responses=True)
        config = RunConfig(model_provider=provider, tracing_disabled=True)
        if is_streamed:
            running = Runner.run_streamed(agent, "A melon?", run_config=config)
            async for _ in running.stream_events():
                pass
            final = running.final_output
        else:
            final = (await Runner.run(agent, "A melon?", run_config=config)).final_output
    turns = await thinking.store.turns("ep_1")
    assert final == "It costs 33."
    assert len(turns) == 3
    assert are_one_path(turns)


async def test_codex_stores_nothing_and_sends_everything(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """Reasoning without its text, calls of functions, of a namespace and of custom tools come back as they were sampled."""
    shell = '<tool_call>\n{"name": "shell", "arguments": {"command": ["ls"]}}\n</tool_call>'
    patch = (
        '<tool_call>\n{"name": "apply_patch", "arguments": {"input": "*** Begin"}}\n</tool_call>'
    )
    search = '<tool_call>\n{"name": "mcp__docs__search", "arguments": {"query": "x"}}\n</tool_call>'
    for text in (thought(shell), thought(search), thought(patch), thought("Done.")):
        scripted.script(*spell(qwen3, text), end_of_turn(qwen3))
    items: list[Any] = []
    for _ in range(4):
        events = await streamed(thinking, codex(items), EPISODE)
        output = events[-1]["response"]["output"]
        items += codex_items(output)
        call = output[-1]
        if "call_id" in call:
            result = {"call_id": call["call_id"], "output": "ok"}
            items.append(result | {"type": f"{call['type']}_output"})
    turns = await thinking.store.turns("ep_1")
    assert call["type"] == "message"
    assert [item["input"] for item in items if item["type"] == "custom_tool_call"] == ["*** Begin"]
    calls = [item for item in items if item["type"] == "function_call"]
    named = [(call["name"], call.get("namespace")) for call in calls]
    assert named == [("shell", None), ("search", "mcp__docs")]
    assert are_one_path(turns)
    assert {note for turn in turns for note in turn.notes} == {
        "the namespace mcp__none holds no tool",
        "a tool of type web_search is left out",
        "the grammar of the custom tool apply_patch is shown and not enforced",
    }


async def test_the_ai_sdk_names_items_and_sends_results(
    thinking: Gateway, other_thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """Items that are named by their ids, at another gateway too, are continued as they were sampled."""
    for text in (thought(f"I look.\n{CALL}"), thought(CALL), thought("It costs 33.")):
        scripted.script(*spell(qwen3, text), end_of_turn(qwen3))
    items: list[Any] = []
    for gateway in (thinking, other_thinking, thinking):
        response = await whole(gateway, ai_sdk(items), EPISODE)
        items += ai_sdk_items(response["output"])
        items += [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "33"}
            for item in response["output"]
            if item["type"] == "function_call"
        ]
    turns = await thinking.store.turns("ep_1")
    assert len(turns) == 3
    assert are_one_path(turns)
