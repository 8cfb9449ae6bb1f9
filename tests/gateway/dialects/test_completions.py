"""Text completions through the stock SDK: prompts of text and ids, and outputs that are continued as they were sampled."""

from typing import Any

import pytest
from openai import BadRequestError

from rollout.episode.turn import Anchor
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import Gateway
from tests.scripted_engine import Garbage, Length, ScriptedEngine, Stop, Tokens

PATH = "/v1/completions"
PROMPT = "Once upon a time"


async def test_text_is_read_as_it_is(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """No template touches the prompt, and markup in the output stays text."""
    call = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    scripted.script(*spell(tokenizer, call), end_of_turn(tokenizer))
    async with served.openai(_strict_response_validation=True) as client:
        completion = await client.completions.create(model="policy", prompt=PROMPT)
    (choice,) = completion.choices
    assert scripted.requests[0]["input_ids"] == tokenizer.encode(PROMPT)
    assert scripted.requests[0]["sampling_params"]["max_new_tokens"] == 16
    assert (choice.text, choice.finish_reason) == (call, "stop")
    assert completion.id.startswith("cmpl-turn_")
    reward = {"completion_id": completion.id, "value": 1.0}
    assert (await served.admin.post("/v1/rewards", json=reward)).status_code == 200


async def test_a_stream_folds_to_the_unstreamed_reply(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """For the same token ids, streamed and not, text, logprobs, ids and usage are the same, for each of several outputs."""
    asked: Any = {
        "model": "policy",
        "prompt": [PROMPT],
        "n": 2,
        "logprobs": 2,
        "extra_body": {"return_token_ids": True},
    }
    async with served.openai(_strict_response_validation=True) as client:
        whole = await client.completions.create(**asked)
    async with served.openai() as client:  # its strict type has no chunks before the last
        stream = await client.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    parts = [chunk.choices[0] for chunk in chunks if chunk.choices and chunk.choices[0].logprobs]
    for choice in whole.choices:
        mine = [part for part in parts if part.index == choice.index]
        logprobs = [part.logprobs.model_dump() for part in mine if part.logprobs]
        joined = {key: [x for each in logprobs for x in each[key]] for key in logprobs[0]}
        assert "".join(part.text for part in mine) == choice.text == "Hello there."
        assert choice.logprobs is not None
        assert joined == choice.logprobs.model_dump()
        ids = [id_ for part in mine for id_ in part.model_dump()["token_ids"]]
        assert ids == choice.model_dump()["token_ids"]
    ends = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert ends == [choice.finish_reason for choice in whole.choices] == ["stop", "stop"]
    assert chunks[-1].usage == whole.usage
    assert chunks[0].model_dump()["prompt_token_ids"] == scripted.requests[0]["input_ids"]


async def test_echo_shows_the_prompt(served: Gateway) -> None:
    """The text begins with the prompt, streamed or not."""
    asked: Any = {"model": "policy", "prompt": PROMPT, "echo": True}
    async with served.openai() as client:
        whole = await client.completions.create(**asked)
        stream = await client.completions.create(**asked, stream=True)
        streamed = "".join([chunk.choices[0].text async for chunk in stream])
    assert whole.choices[0].text == streamed == f"{PROMPT}Hello there."


async def test_text_continues_what_was_sampled(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A prompt that begins with a recorded output, up to its stop string or cut, reads the very ids; others branch."""
    odd = [tokenizer.encode(letter)[0] for letter in ", there"]  # not the canonical encoding
    first = tokenizer.encode(PROMPT)
    assert tokenizer.encode(PROMPT + ", there") != first + odd
    stop = tokenizer.encode(" was END")
    scripted.script(Tokens(odd), end_of_turn(tokenizer))
    scripted.script(Tokens(stop), Stop("END"))
    scripted.script(Tokens(odd), Length())
    async with served.openai(path="/e/ep_1/v1") as client:
        text = PROMPT
        for _ in range(3):
            completion = await client.completions.create(model="policy", prompt=text, stop="END")
            text += completion.choices[0].text
        await client.completions.create(model="policy", prompt=f"{text}!")
        await client.completions.create(model="policy", prompt=f"{PROMPT}, thereby")
        await client.completions.create(model="policy", prompt="Never")
    sent = [request["input_ids"] for request in scripted.requests]
    assert text == f"{PROMPT}, there was , there"
    assert sent[1] == first + odd
    assert sent[2] == first + odd + tokenizer.encode(" was ")
    assert sent[3] == sent[2] + odd + tokenizer.encode("!")
    assert sent[4] == first + odd + tokenizer.encode("by")
    assert sent[5] == tokenizer.encode("Never")
    attached = await served.metric("turngate_calls_attached_total")
    assert attached == {'{how="root"}': 2, '{how="bridged"}': 4}


async def test_ids_attach_by_ids(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A prompt of ids is sent as it is, and continues the recorded ids that it begins with."""
    odd = [tokenizer.encode(letter)[0] for letter in "abc"]
    scripted.script(Tokens(odd), Length())
    first = tokenizer.encode(PROMPT)
    async with served.openai(path="/e/ep_1/v1") as client:
        await client.completions.create(model="policy", prompt=first)
        await client.completions.create(model="policy", prompt=[[*first, *odd, *first]])
    turns = await served.store.turns("ep_1")
    assert scripted.requests[1]["input_ids"] == [*first, *odd, *first]
    assert turns[1].anchor is not None
    assert (turns[1].anchor.turn_id, turns[1].anchor.output) == (turns[0].id, 0)
    assert turns[1].context_ids.tolist() == first


async def test_the_ids_of_a_rendered_prompt_are_the_turn_that_chat_takes(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The same ids as a chat and as a completion, streamed or not, are recorded alike, and are one place of an episode."""
    body: Any = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    for stream in (False, True):
        asked = body | {"stream": stream}
        await served.admin.post(f"/e/ep_{stream}/v1/chat/completions", json=asked)
        ids = scripted.requests[-1]["input_ids"]
        asked = {"prompt": ids, "max_tokens": 9, "stream": stream}
        await served.admin.post(f"/e/ep_{stream}{PATH}", json=asked)
        chat, completion = await served.store.turns(f"ep_{stream}")
        assert completion.outputs == chat.outputs
        assert completion.sampling == chat.sampling
        assert completion.anchor == Anchor(chat.id, -1, len(chat.context_ids))
        assert completion.context_ids.tolist() == []


WRONG: Any = (
    ({"prompt": ["a", "b"]}, "prompt"),
    ({"prompt": [[1], [2]]}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [1, "a"]}, "prompt[1]"),
    ({"prompt": [-1]}, "prompt[0]"),
    ({"prompt": [2**31 - 1]}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"suffix": "end"}, "suffix"),
    ({"best_of": 3}, "best_of"),
    ({"echo": True, "logprobs": 1}, "echo"),
    ({"echo": True, "prompt": [1]}, "echo"),
    ({"logprobs": 50}, "logprobs"),
)


async def test_what_would_have_no_effect_is_refused(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """Several prompts, suffixes and ranking are 400 and name the field; no engine is asked."""
    body: Any = {"model": "policy", "prompt": PROMPT}
    for wrong, param in WRONG:
        answer = await served.admin.post(PATH, json=body | wrong)
        assert answer.status_code == 400, (wrong, answer.text)
        assert answer.json()["error"]["param"] == param
    assert scripted.requests == []


async def test_errors_have_openais_body(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A prompt over the context is `context_length_exceeded`; a failure in mid-stream is an event without terminator."""
    async with served.openai() as client:
        with pytest.raises(BadRequestError) as overflow:
            await client.completions.create(
                model="policy", prompt="word " * tokenizer.context_length
            )
    assert overflow.value.code == "context_length_exceeded"
    scripted.script(Tokens(tokenizer.encode("begun")), Garbage())
    scripted.script(Garbage())
    scripted.script(Garbage())
    answer = await served.admin.post(
        PATH, json={"model": "policy", "prompt": PROMPT, "stream": True}
    )
    assert answer.status_code == 200
    assert "engine_unavailable" in answer.text
    assert "[DONE]" not in answer.text
