"""On a thinking model a grammar begins where the thought ends, and leaves room for the answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.families.gpt_oss import GPT_OSS
from gateway.parsing.reasoning_format import THINK, ReasoningFormat
from gateway.turn.grammar import after_thought
from rollout.engine.grammar import AfterThought, Regex
from rollout.engine.sglang.sampling import named_grammar
from tests.family_table import PRICE, dialogue
from tests.gateways import Gateway
from tests.rollout.shipped_templates import ShippedTemplates
from tests.scripted_engine import ScriptedEngine

CHAT = "/v1/chat/completions"
BODY: Any = {
    "model": "policy",
    "messages": [{"role": "user", "content": "Pick one."}],
    "regex": "(yes|no)",
    "max_tokens": 200,
}
HARMONY = GPT_OSS.reasoning_formats[0]


def tag_of(sampling: dict[str, str]) -> Any:
    return json.loads(sampling["structural_tag"])["format"]


@pytest.mark.parametrize(
    ("reasoning", "tail", "begin"),
    [
        (THINK, "<|im_start|>assistant\n", "<think>"),
        (THINK, "<|im_start|>assistant\n<think>\n", ""),
        (THINK, "<|im_start|>assistant\n<think>\n\n</think>\n\n", None),
        (None, "<|im_start|>assistant\n", None),
        (HARMONY, "Pick one.<|end|><|start|>assistant", "<|channel|>analysis<|message|>"),
    ],
)
def test_where_a_grammar_begins(
    reasoning: ReasoningFormat | None, tail: str, begin: str | None
) -> None:
    """After a thought that the prompt or the model opens; at once if the prompt has closed it or the model has none."""
    rules = after_thought(Regex("x"), reasoning, prompt_tail=tail, max_tokens=200)
    assert (rules.thought.begin if isinstance(rules, AfterThought) else None) == begin
    assert (rules if begin is None else rules.grammar) == Regex("x")  # type: ignore[union-attr]


def test_every_prompt_of_gpt_oss_leaves_the_thought_to_the_model(tmp_path: Path) -> None:
    """It ends as a thought does, with the end of a message and the start of the model's, and a grammar waits all the same."""
    loop = dialogue(ShippedTemplates(tmp_path), "gptoss", with_tools=True)
    loop.hear("What does it cost?")
    tails = [loop.turn("I look it up.", "", [PRICE]).tail]
    loop.return_results("4")
    tails.append(loop.turn("Easy.", "It costs 4.").tail)
    loop.hear("And two?")
    tails.append(loop.turn("", "Eight.").tail)
    assert all(tail.endswith("<|end|><|start|>assistant") for tail in (tails[0], tails[2]))
    for tail in tails:
        rules = after_thought(Regex("x"), HARMONY, prompt_tail=tail, max_tokens=200)
        assert isinstance(rules, AfterThought)
        assert rules.thought.begin == "<|channel|>analysis<|message|>"


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 200, 4096, 100_000])
def test_a_thought_leaves_room_for_the_answer(max_tokens: int) -> None:
    """Half of max_tokens or 4,096 tokens; there are few different lengths, because each is a grammar of its own."""
    rules = after_thought(Regex("x"), THINK, prompt_tail="", max_tokens=max_tokens)
    assert isinstance(rules, AfterThought)
    length = rules.thought.max_tokens
    assert 1 <= length <= max_tokens - min(max_tokens // 2, 4096)
    assert length.bit_count() == 1


def test_an_answer_of_gpt_oss_is_on_its_channel() -> None:
    """The channel of the answer is opened by the grammar, that of a call by the call itself."""
    tail = "<|end|><|start|>assistant"
    rules = after_thought(Regex("x"), HARMONY, prompt_tail=tail, max_tokens=200)
    _, opening, answer = tag_of(named_grammar(rules))["elements"]
    assert opening == {"type": "const_string", "value": "<|channel|>final<|message|>"}
    assert answer == {"type": "regex", "pattern": "x"}


async def test_a_thinking_model_thinks_first(thinking: Gateway, scripted: ScriptedEngine) -> None:
    """The engine is asked for a thought and then the answer; with thinking off, for the answer alone."""
    assert (await thinking.admin.post(CHAT, json=BODY)).status_code == 200
    thought, answer = tag_of(scripted.requests[0]["sampling_params"])["elements"]
    written, _ = thought["content"]["elements"]
    assert (written["begin"], written["end"]) == ("<think>", "</think>")
    assert written["content"] == {"type": "any_text", "max_tokens": 64}
    assert answer == {"type": "regex", "pattern": "(yes|no)"}
    off = BODY | {"chat_template_kwargs": {"enable_thinking": False}}
    assert (await thinking.admin.post(CHAT, json=off)).status_code == 200
    assert scripted.requests[1]["sampling_params"]["regex"] == "(yes|no)"


async def test_forced_json_has_few_spaces(served: Gateway, scripted: ScriptedEngine) -> None:
    """A grammar bounds the spaces between words of JSON, which an unsure model would write without end."""
    function = {"name": "f", "parameters": {"type": "object"}}
    tools = [{"type": "function", "function": function}]
    body = {**BODY, "regex": None, "tools": tools, "tool_choice": "required"}
    assert (await served.admin.post(CHAT, json=body)).status_code == 200
    (tag,) = tag_of(scripted.requests[0]["sampling_params"])["tags"]
    assert tag["content"]["max_whitespace_cnt"] == 8
