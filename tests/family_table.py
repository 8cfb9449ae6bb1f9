"""The table of model families in the manual: each template is loaded and a dialogue attached, and a row says what came of it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gateway.parsing.call_format import CallFormat
from gateway.parsing.reasoning_format import ReasoningFormat
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.dialogue import Dialogue
from tests.rollout import shipped_templates
from tests.rollout.model_directory import (
    byte_level_bpe,
    sentencepiece_like,
    write_kimi_directory,
    write_model_directory,
)
from tests.rollout.pre_tokenizers import PRE_TOKENIZERS

PRICE = ("price", {"city": "Paris", "count": 2})
LOOK_UP = ("look_up", {"tags": ["é", {"deep": [1, None]}], "options": {}})
HEAD = (
    "family",
    "template",
    "tokenizer",
    "tool calls",
    "reasoning",
    "a turn ends with",
    "after a tool's result",
    "after a question",
)
OPENED = "the prompt opens a thought that history does not show"
DROPPED = "thoughts are dropped"


class Row(NamedTuple):
    """A family, templates that behave alike, how its tokenizer splits text, and why a call branches if one does."""

    family: str
    templates: tuple[str, ...]
    splits: str
    why: str = ""


ROWS = (
    Row("Qwen2.5", ("qwen2_5",), "qwen"),
    Row("Qwen3", ("qwen3",), "qwen", DROPPED),
    Row("Qwen3 2507, Qwen3-VL", ("qwen3_instruct_2507", "qwen3_vl"), "qwen"),
    Row("Qwen3.5, Qwen3.6", ("qwen3_5_think", "qwen3_6"), "qwen", OPENED),
    Row("Qwen3.8", ("qwen3_8",), "qwen"),
    Row("Llama 3.1 to 3.3", ("llama3_1", "llama3_2"), "llama3"),
    Row("DeepSeek V3, R1", ("deepseekv3", "deepseek_r1_distill"), "deepseek", OPENED),
    Row("DeepSeek V3.1", ("deepseek_v31",), "deepseek"),
    Row("GLM-4.5, GLM-4.6", ("glm4moe",), "llama3", DROPPED),
    Row("Mistral", ("mistral",), "sentencepiece", "the list of tools moves to the last question"),
    Row("Ministral 3", ("ministral",), "tekken"),
    Row("Hermes", ("hermes",), "llama3"),
    Row("gpt-oss", ("gptoss",), "o200k", f"`<|return|>` becomes `<|end|>`, {DROPPED}"),
    Row("Kimi-K2", ("kimi_k2",), "kimi"),
    Row("Kimi-K2-Thinking", ("kimi_k2_thinking",), "kimi", DROPPED),
    Row("MiniMax-M2", ("minimax_m2",), "gpt2", OPENED),
)


def families() -> list[tuple[str, ...]]:
    """A row of cells for each family, under HEAD."""
    with tempfile.TemporaryDirectory() as directory:
        return list(_rows(Path(directory)))


def _rows(directory: Path) -> Iterator[tuple[str, ...]]:
    shipped = shipped_templates.ShippedTemplates(directory)
    for row in ROWS:
        outcomes = [attached(shipped, name) for name in row.templates]
        assert all(outcome == outcomes[0] for outcome in outcomes), row.family
        reader = dialogue(shipped, row.templates[0], with_tools=True).reader
        yield (
            row.family,
            ", ".join(_named(name) for name in row.templates),
            _tokenizer(directory / row.splits, row.splits),
            _format(reader.call_format),
            _format(reader.reasoning_format),
            ", ".join(
                dict.fromkeys(f"`{end}`" for end in shipped_templates.ends(row.templates[0]))
            ),
            _after_a_result(outcomes[0], row),
            _after_a_question(outcomes[0], row),
        )


def _format(form: CallFormat | ReasoningFormat | None) -> str:
    return f"`{form.name}`" if form else ""


def _named(name: str) -> str:
    return f"`{name}`" + (" \\*" if shipped_templates.is_written_here(name) else "")


def _after_a_result(outcome: dict[str, str], row: Row) -> str:
    return "bridged" if outcome["after a result"] == "bridged" else f"a branch: {row.why}"


def _after_a_question(outcome: dict[str, str], row: Row) -> str:
    branching = {case for case, how in outcome.items() if how != "bridged"} - {"after a result"}
    cases = {
        frozenset(): "bridged",
        frozenset({"after a thought"}): "bridged; after a thought a branch",
        frozenset({"after a thought", "after text"}): "bridged; with tools a branch",
        frozenset({"after a thought", "after text", "without tools"}): "a branch",
    }
    return cases[frozenset(branching)] + (f": {row.why}" if branching else "")


def dialogue(
    shipped: shipped_templates.ShippedTemplates,
    name: str,
    *,
    with_tools: bool,
    **template_kwargs: object,
) -> Dialogue:
    template, tokenizer = shipped.load(name)
    ends = shipped_templates.ends(name)
    return Dialogue(template, tokenizer, ends=ends, with_tools=with_tools, **template_kwargs)


def attached(shipped: shipped_templates.ShippedTemplates, name: str) -> dict[str, str]:
    """How each kind of call attached; that the prompt is the template's is checked on the way."""
    loop = dialogue(shipped, name, with_tools=True)
    loop.hear("What does it cost?")
    loop.turn("I look it up.", "", [PRICE])
    loop.return_results("4")
    after_result = loop.turn("Once more.", "", [LOOK_UP]).how
    loop.return_results("none\n")
    assert loop.turn("Easy.", "It costs 4.").how == after_result
    loop.hear("And two?")
    after_thought = loop.turn("", "Eight.").how
    loop.hear("Sure?")
    after_text = loop.turn("", "Yes.").how
    plain = dialogue(shipped, name, with_tools=False)
    plain.hear("Hello")
    plain.turn("", "Hi.")
    plain.hear("So?")
    without_tools = plain.turn("", "Well.").how
    return {
        "after a result": after_result,
        "after a thought": after_thought,
        "after text": after_text,
        "without tools": without_tools,
    }


def _tokenizer(directory: Path, splits: str) -> str:
    if directory.exists():
        pass  # another family splits text in the same way
    elif splits == "kimi":
        write_kimi_directory(directory)
    elif splits == "sentencepiece":
        write_model_directory(directory, sentencepiece_like(), eos="</s>")
    else:
        built: Any = byte_level_bpe(pre_tokenizer=PRE_TOKENIZERS[splits], vocab_size=400)
        write_model_directory(directory, built)
    return f"`{Tokenizer.load(directory).kind}`"
