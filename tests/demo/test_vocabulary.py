"""The starter's tokenizer and chat template: short calls, and histories that render to what was sampled."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer as HuggingFaceTokenizer

from clients.examples.shop_clerk.shop import ITEMS, TOOLS
from deploy.demo.clerk.demonstrations import clean_chat, sloppy_chat
from deploy.demo.clerk.subject import CLERK, texts
from deploy.demo.clerk.tasks import training_tasks
from deploy.demo.starter.vocabulary import train_tokenizer
from gateway.families.registry import output_reader
from rollout.chat_template.chat_template import ChatTemplate
from rollout.tokenizer.tokenizer import Tokenizer

PRICE_CALL = (
    '<tool_call>\n{"name": "price", "arguments": {"item": "melon"}}\n</tool_call><|im_end|>'
)
CALC_CALL = '<tool_call>\n{"name": "calc", "arguments": {"expression": "3*33+6*30"}}\n</tool_call><|im_end|>'

Encode = Callable[[str], list[str]]


def made() -> HuggingFaceTokenizer:
    return train_tokenizer(texts(), pieces=CLERK.pieces)


@pytest.fixture(scope="module")
def tokens() -> Encode:
    tokenizer = made()

    def encode(text: str) -> list[str]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        return [tokenizer.decode([token], skip_special_tokens=False) for token in ids]

    return encode


def test_price_call_is_six_tokens(tokens: Encode) -> None:
    """The tags, the JSON before and after the item, the item and the end of the turn take one token each."""
    assert tokens(PRICE_CALL) == [
        "<tool_call>",
        '\n{"name": "price", "arguments": {"item": "',
        "melon",
        '"}}\n',
        "</tool_call>",
        "<|im_end|>",
    ]


def test_calc_call_spells_digits_one_by_one(tokens: Encode) -> None:
    """Each digit and each sign of an expression is a token of its own."""
    assert tokens(CALC_CALL)[2:-3] == list("3*33+6*30")


def test_item_is_one_token_wherever_it_stands(tokens: Encode) -> None:
    """The item in a question and in a call's argument is the same single token, which is what copying needs."""
    for item in ITEMS:
        assert tokens(f"What do 3 {item} and 6 {item} cost?").count(item) == 2
        assert tokens(PRICE_CALL.replace("melon", item))[2] == item


def test_tokenizer_is_the_same_every_time() -> None:
    """Two machines that make a starter agree about its ids."""
    assert made().to_str() == made().to_str()


def test_history_renders_to_the_ids_that_were_sampled(model_dir: Path) -> None:
    """What an agent sends back, through parser, template and tokenizer, is what the model wrote: one branch per episode."""
    tokenizer = Tokenizer.load(model_dir)
    template = ChatTemplate.load(model_dir, tokenizer)
    reader = output_reader(template.source)
    random = Random(3)
    for task in islice(training_tasks("round trip"), 40):
        recorded: list[int] = []
        history: list[dict[str, object]] = []
        for message in sloppy_chat(task, random)["messages"]:
            if message["role"] != "assistant":
                history.append(message)
                continue
            prompt = template.render(history, TOOLS)
            assert tokenizer.encode(prompt)[: len(recorded)] == recorded
            whole = template.render([*history, message], TOOLS, add_generation_prompt=False)
            output = tokenizer.encode(whole.removeprefix(prompt).removesuffix("\n"))
            recorded = tokenizer.encode(prompt) + output
            parsed = reader.read(tokenizer.visible_text(output), prompt_tail="")
            history.append(
                as_client_sends(
                    parsed.content, [(c.id, c.name, c.arguments) for c in parsed.tool_calls]
                )
            )
        assert recorded


def test_prompt_names_tools_and_parameters(model_dir: Path) -> None:
    """The prompt is ChatML with one line of tools, and ends where the assistant begins."""
    template = ChatTemplate.load(model_dir, Tokenizer.load(model_dir))
    task = next(training_tasks("any"))

    prompt = template.render(clean_chat(task)["messages"][:1], TOOLS)

    assert prompt == (
        "<|im_start|>system\nTools: price(item), calc(expression)<|im_end|>\n"
        f"<|im_start|>user\n{task.question}<|im_end|>\n<|im_start|>assistant\n"
    )


def as_client_sends(content: str, calls: list[tuple[str, str, str]]) -> dict[str, object]:
    functions = [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id_, name, arguments in calls
    ]
    if functions:
        return {"role": "assistant", "content": None, "tool_calls": functions}
    return {"role": "assistant", "content": content}
