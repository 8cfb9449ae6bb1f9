"""A family whose markup is special tokens (gpt-oss, its real template), through the real gateway."""

import json
from pathlib import Path
from typing import Any

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import spell
from tests.gateway.model_outputs import harmony
from tests.gateways import StartGateway
from tests.rollout.model_directory import (
    byte_level_bpe,
    special_tokens_in,
    write_model_directory,
)
from tests.rollout.shipped_templates import source
from tests.scripted_engine import ScriptedEngine, Stop

USER: Any = {"role": "user", "content": "What does a melon cost?"}
PRICE: Any = {
    "type": "function",
    "function": {
        "name": "price",
        "description": "What an item costs.",
        "parameters": {"type": "object", "properties": {"item": {"type": "string"}}},
    },
}
CALLED = harmony("I look it up.", "", [("price", {"item": "melon"})]).removesuffix("<|call|>")


@pytest.fixture(scope="module")
def gptoss_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokens = special_tokens_in(text := source("gptoss"))
    bpe = byte_level_bpe(dict.fromkeys([*tokens, "<|constrain|>", "<|endoftext|>"]))
    return write_model_directory(
        tmp_path_factory.mktemp("gptoss"),
        bpe,
        chat_template=text,
        eos="<|return|>",
        config={"eos_token_id": [bpe.token_to_id("<|return|>"), bpe.token_to_id("<|call|>")]},
        bos="<|endoftext|>",
    )


async def test_markup_that_is_special_tokens_is_read(
    start_gateway: StartGateway, scripted: ScriptedEngine, gptoss_dir: Path
) -> None:
    """Channels come apart though no client sees a special token, streamed and not, before a call and after it."""
    tokenizer = Tokenizer.load(gptoss_dir)
    call, end = (tokenizer.token_id(text) for text in ("<|call|>", "<|return|>"))
    assert call in tokenizer.special_ids
    for _ in "ab":
        scripted.script(*spell(tokenizer, CALLED), Stop(call))
    answer = harmony("Easy.", "Four.", []).removesuffix("<|return|>")
    scripted.script(*spell(tokenizer, answer), Stop(end))
    async with start_gateway(scripted, model_dir=gptoss_dir) as served, served.openai() as client:
        stream = client.chat.completions.stream(model="policy", messages=[USER], tools=[PRICE])
        async with stream as events:
            streamed = (await events.get_final_completion()).choices[0].message

        async def ask(messages: list[Any]) -> Any:
            completion = await client.chat.completions.create(
                model="policy",
                messages=messages,
                tools=[PRICE],
            )
            return completion.choices[0].message

        called = await ask([USER])
        result = {"role": "tool", "tool_call_id": called.tool_calls[0].id, "content": "4"}
        said = await ask([USER, called.model_dump(), result])
    for message in (streamed, called):
        assert message.model_dump()["reasoning"] == "I look it up."
        assert not message.content
        assert json.loads(message.tool_calls[0].function.arguments) == {"item": "melon"}
    assert (said.model_dump()["reasoning"], said.content) == ("Easy.", "Four.")
