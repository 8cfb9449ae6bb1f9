"""The model family door: a family of its own markup, in this one file, takes a tool loop through the real gateway."""

import json
from pathlib import Path
from typing import Any

import pytest
import regex

from gateway.families.model_family import ModelFamily
from gateway.families.registry import FAMILIES
from gateway.parsing.call_format import CallFormat, ForcedCall, opening
from gateway.parsing.reasoning_format import tagged
from gateway.parsing.template_texts import all_of
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import spell
from tests.gateways import StartGateway
from tests.rollout.model_directory import byte_level_bpe, write_model_directory
from tests.scripted_engine import ScriptedEngine, Stop, running_engine

TEMPLATE = """
{%- for m in messages %}<|{{ m.role }}|>
{%- if m.reasoning_content %}<|muse|>{{ m.reasoning_content }}<|mused|>{% endif %}{{ m.content or '' }}
{%- for call in m.tool_calls or [] %}<|do|>{{ call.function.name }} with {{ call.function.arguments | tojson }}<|done|>
{%- endfor %}<|stop|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""
TOKENS = ("muse", "mused", "do", "done", "stop", "user", "assistant", "tool", "system")

# <|do|>f with {...}<|done|>
TOY_CALLS = CallFormat(
    name="toy",
    shown_by=all_of("<|do|>"),
    opening=opening(r"<\|do\|>"),
    header=regex.compile(r"(?P<name>\w+) with (?=\{)"),
    closing=regex.compile(r"<\|done\|>"),
    markers=("<|do|>", "<|done|>"),
    forced=ForcedCall("<|do|>", "<|do|>NAME with ", "<|done|>"),
)
TOY = ModelFamily(
    name="Toy",
    recognized_by=all_of("<|muse|>", "<|stop|>"),
    call_formats=(TOY_CALLS,),
    reasoning_formats=(tagged("muse", "<|muse|>", "<|mused|>", shown_by="<|mused|>"),),
)

USER: Any = {"role": "user", "content": "What does a melon cost?"}
PARAMETERS = {"type": "object", "properties": {"item": {"type": "string"}}}
PRICE: Any = {"type": "function", "function": {"name": "price", "parameters": PARAMETERS}}
CALLED = '<|muse|>I look it up.<|mused|>Wait.<|do|>price with {"item": "melon"}<|done|>'


@pytest.fixture(scope="module")
def toy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bpe = byte_level_bpe([f"<|{name}|>" for name in TOKENS])
    directory = tmp_path_factory.mktemp("toy")
    return write_model_directory(directory, bpe, chat_template=TEMPLATE, eos="<|stop|>")


async def test_a_family_is_one_record(start_gateway: StartGateway, toy_dir: Path) -> None:
    """A forced call gets the family's grammar, streams in its formats, and the next turn continues the sampled ids."""
    tokenizer = Tokenizer.load(toy_dir)
    (end,) = tokenizer.eos_ids
    async with running_engine() as engine:
        engine.script(*spell(tokenizer, CALLED), Stop(end))
        engine.script(*spell(tokenizer, "Four."), Stop(end))
        async with (
            start_gateway(engine, model_dir=toy_dir, families=(*FAMILIES, TOY)) as served,
            served.openai(path="/e/toy/v1") as client,
        ):
            (card,) = [m async for m in client.models.list()][:1]
            stream = client.chat.completions.stream(
                model="policy", messages=[USER], tools=[PRICE], tool_choice="required"
            )
            async with stream as events:
                called = (await events.get_final_completion()).choices[0].message
            messages = [USER, called.model_dump(exclude_none=True), _result(called)]
            completion = await client.chat.completions.create(
                model="policy", messages=messages, tools=[PRICE]
            )
    assert card.model_dump()["rendering"]["family"] == "Toy"
    assert _grammar(engine) == {
        "thought": "<|muse|><|mused|>",
        "begin": "<|do|>price with ",
        "end": "<|done|>",
    }
    assert called.model_dump()["reasoning"] == "I look it up."
    assert called.content == "Wait."
    assert json.loads(called.tool_calls[0].function.arguments) == {"item": "melon"}
    assert completion.choices[0].message.content == "Four."
    first, second = (request["input_ids"] for request in engine.requests)
    sampled = [*tokenizer.encode(CALLED), end]
    assert second == [*first, *sampled, *tokenizer.encode("<|tool|>4<|stop|><|assistant|>")]


def _result(called: Any) -> Any:
    return {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": "4"}


def _grammar(engine: ScriptedEngine) -> dict[str, str]:
    """What stands around the thought and the arguments in the grammar of the first request."""
    tag = json.loads(engine.requests[0]["sampling_params"]["structural_tag"])
    thought, calls = tag["format"]["elements"]
    written = thought["content"]["elements"][0]
    (call,) = calls["tags"]
    return {
        "thought": written["begin"] + written["end"],
        "begin": call["begin"],
        "end": call["end"],
    }
