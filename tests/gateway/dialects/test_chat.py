"""Chat completions through the stock SDK: the options reach the engine, its output comes back."""

import json
from typing import Any

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateways import Gateway
from tests.scripted_engine import Length, ScriptedEngine, Stop, Tokens

USER: Any = [{"role": "user", "content": "Hi"}]
PRICE: Any = {
    "type": "function",
    "function": {
        "name": "price",
        "parameters": {"type": "object", "properties": {"item": {"type": "string"}}},
    },
}
CALL = '<tool_call>\n{"name": "price", "arguments": {"item": "melon"}}\n</tool_call>'


async def test_a_reply_is_what_the_engine_said(served: Gateway) -> None:
    """An unstreamed completion carries the text, the finish reason and the token counts of the engine's answer."""
    async with served.openai(_strict_response_validation=True) as client:
        completion = await client.chat.completions.create(model="policy", messages=USER)
    choice, usage = completion.choices[0], completion.usage
    assert (choice.message.content, choice.finish_reason) == ("Hello there.", "stop")
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert completion.id.startswith("chatcmpl-turn_")


async def test_headers_name_episode_turn_and_version(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """A reply names the episode and turn that recorded it and the policy version that sampled it."""
    scripted.version = 7
    async with served.openai() as client:
        raw = await client.chat.completions.with_raw_response.create(model="x", messages=USER)
    turns = await served.store.turns(raw.headers["x-turngate-episode"])
    assert [turn.id for turn in turns] == [raw.headers["x-turngate-turn"]]
    assert raw.headers["x-turngate-policy-version"] == "7"
    assert raw.parse().id == f"chatcmpl-{turns[0].id}"
    assert raw.headers["x-request-id"]


async def test_the_exact_ids_and_logprobs_are_recorded(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The turn keeps the ids that were sampled, also when they are not the canonical encoding of their text."""
    odd = [tokenizer.encode("H")[0], tokenizer.encode("i")[0]]
    stop = end_of_turn(tokenizer)
    scripted.script(Tokens(odd, [-0.25, -1.5]), stop)
    async with served.openai() as client:
        raw = await client.chat.completions.with_raw_response.create(model="x", messages=USER)
    (turn,) = await served.store.turns(raw.headers["x-turngate-episode"])
    assert raw.parse().choices[0].message.content == "Hi"
    assert turn.outputs[0].ids.tolist() == [*odd, stop.matched]
    assert turn.outputs[0].behavior_logprobs.tolist()[:2] == [-0.25, -1.5]
    assert turn.context_ids.tolist() == scripted.requests[0]["input_ids"]


async def test_sampling_parameters_reach_the_engine(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """Every sampling parameter of the dialect, and SGLang's own, arrive under the engine's names."""
    async with served.openai() as client:
        await client.chat.completions.create(
            model="policy",
            messages=USER,
            max_completion_tokens=9,
            temperature=0.7,
            top_p=0.9,
            seed=3,
            stop=["END"],
            frequency_penalty=0.5,
            presence_penalty=-0.5,
            logit_bias={"5": 2},
            extra_body={
                "top_k": 40,
                "min_p": 0.1,
                "min_tokens": 2,
                "ignore_eos": True,
                "stop_token_ids": [4],
                "repetition_penalty": 1.1,
                "regex": "[a-z]+",
                "an_unknown_field": {"is": "ignored"},
            },
        )
    assert scripted.requests[0]["sampling_params"] == {
        "max_new_tokens": 9,
        "temperature": 0.7,
        "top_p": 0.9,
        "sampling_seed": 3,
        "stop": ["END"],
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "logit_bias": {"5": 2.0},
        "top_k": 40,
        "min_p": 0.1,
        "min_new_tokens": 2,
        "ignore_eos": True,
        "stop_token_ids": [4],
        "repetition_penalty": 1.1,
        "regex": "[a-z]+",
    }


async def test_truncated_sampling_records_the_true_logprobs(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """Under top-p the behavior logprobs are those of the truncated distribution, which the engine reports apart."""
    async with served.openai() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="policy", messages=USER, top_p=0.5, logprobs=True
        )
    (turn,) = await served.store.turns(raw.headers["x-turngate-episode"])
    shown = raw.parse().choices[0].logprobs
    assert shown is not None
    assert shown.content is not None
    recorded = turn.outputs[0].behavior_logprobs.tolist()
    assert recorded == pytest.approx([token.logprob / 2 for token in shown.content])


async def test_max_tokens_defaults_to_what_is_left(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Without max_tokens an output may fill the context."""
    async with served.openai() as client:
        await client.chat.completions.create(model="policy", messages=USER)
    asked = scripted.requests[0]
    room = tokenizer.context_length - len(asked["input_ids"])
    assert asked["sampling_params"]["max_new_tokens"] == room


async def test_roles_and_parts_are_normalized(served: Gateway, scripted: ScriptedEngine) -> None:
    """A developer message is a system message, and text parts are their text."""
    parts = [{"type": "text", "text": "He"}, {"type": "text", "text": "llo"}]
    plain: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    fancy: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts},
    ]
    async with served.openai() as client:
        await client.chat.completions.create(model="policy", messages=plain)
        await client.chat.completions.create(model="policy", messages=fancy)
    assert scripted.requests[0]["input_ids"] == scripted.requests[1]["input_ids"]


async def test_tool_calls_are_parsed(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A call the model writes comes back as a tool call, with the finish reason that runtimes wait for."""
    scripted.script(*spell(tokenizer, CALL), end_of_turn(tokenizer))
    async with served.openai(_strict_response_validation=True) as client:
        completion = await client.chat.completions.create(
            model="policy", messages=USER, tools=[PRICE]
        )
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls or ()
    assert call.type == "function"
    assert call.function.name == "price"
    assert json.loads(call.function.arguments) == {"item": "melon"}


async def test_tools_forbidden_are_not_shown(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """With tool_choice none the prompt offers no tools and a call stays text."""
    scripted.script(*spell(tokenizer, CALL), end_of_turn(tokenizer))
    async with served.openai() as client:
        completion = await client.chat.completions.create(
            model="policy", messages=USER, tools=[PRICE], tool_choice="none"
        )
    assert "Tools" not in tokenizer.decode(scripted.requests[0]["input_ids"])
    assert completion.choices[0].message.content == CALL
    assert completion.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "price"}}]
)
async def test_a_forced_call_is_constrained(
    served: Gateway, scripted: ScriptedEngine, choice: Any
) -> None:
    """A forced tool choice travels as a structural tag whose content is the function's schema, and flags the output."""
    async with served.openai() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="policy", messages=USER, tools=[PRICE], tool_choice=choice
        )
    tag = json.loads(scripted.requests[0]["sampling_params"]["structural_tag"])
    (call,) = tag["format"]["tags"]
    assert tag["format"]["at_least_one"] is True
    assert call["begin"] == '<tool_call>\n{"name": "price", "arguments": '
    assert call["content"]["json_schema"] == PRICE["function"]["parameters"]
    view = (await served.admin.get(f"/v1/episodes/{raw.headers['x-turngate-episode']}")).json()
    assert set(view["turns"][0]["flags"][0]) == {"constrained", "forced"}


@pytest.mark.parametrize(
    ("response_format", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "object"}),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}},
            {"type": "integer"},
        ),
    ],
)
async def test_response_format_is_a_grammar(
    served: Gateway, scripted: ScriptedEngine, response_format: Any, schema: object
) -> None:
    """Structured answers are enforced by the engine's JSON grammar."""
    async with served.openai() as client:
        await client.chat.completions.create(
            model="policy", messages=USER, response_format=response_format
        )
    sent = scripted.requests[0]["sampling_params"].get("json_schema")
    assert (json.loads(sent) if sent else None) == schema


async def test_a_schema_leaves_room_for_tool_calls(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """With tools on offer, a response schema constrains the answer but not the choice to call."""
    schema: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "null"}}}
    async with served.openai() as client:
        await client.chat.completions.create(
            model="policy", messages=USER, tools=[PRICE], response_format=schema
        )
    tag = json.loads(scripted.requests[0]["sampling_params"]["structural_tag"])
    answer, calls = tag["format"]["elements"]
    assert answer["json_schema"] == {"type": "null"}
    assert calls["type"] == "triggered_tags"


async def test_stop_strings_are_trimmed_but_recorded(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The reply ends before the stop string; the record keeps every id that was sampled."""
    ids = tokenizer.encode("one END")
    scripted.script(Tokens(ids), Stop("END"))
    async with served.openai() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="policy", messages=USER, stop="END"
        )
    (turn,) = await served.store.turns(raw.headers["x-turngate-episode"])
    assert raw.parse().choices[0].message.content == "one "
    assert raw.parse().choices[0].finish_reason == "stop"
    assert turn.outputs[0].ids.tolist() == ids


async def test_length_is_said_and_flagged(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """An output cut by length is marked as cut, for the client and in the record."""
    scripted.script(Tokens(tokenizer.encode("and then")), Length())
    async with served.openai() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="policy", messages=USER, max_tokens=2
        )
    view = (await served.admin.get(f"/v1/episodes/{raw.headers['x-turngate-episode']}")).json()
    assert raw.parse().choices[0].finish_reason == "length"
    assert view["turns"][0]["flags"] == [["truncated"]]


async def test_several_outputs_are_siblings_of_one_turn(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """With n=3 three calls run side by side and one turn records three outputs."""
    for word in ("a", "b", "c"):
        scripted.script(*spell(tokenizer, word), end_of_turn(tokenizer))
    async with served.openai() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="policy", messages=USER, n=3, seed=10
        )
    (turn,) = await served.store.turns(raw.headers["x-turngate-episode"])
    choices = raw.parse().choices
    assert [choice.index for choice in choices] == [0, 1, 2]
    assert sorted(choice.message.content or "" for choice in choices) == ["a", "b", "c"]
    assert len(turn.outputs) == 3
    seeds = sorted(request["sampling_params"]["sampling_seed"] for request in scripted.requests)
    assert seeds == [10, 11, 12]


async def test_logprobs_and_token_ids_on_request(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Logprobs come per sampled token with alternatives, and return_token_ids shows the ids of prompt and output."""
    async with served.openai(_strict_response_validation=True) as client:
        completion = await client.chat.completions.create(
            model="policy",
            messages=USER,
            logprobs=True,
            top_logprobs=2,
            extra_body={"return_token_ids": True},
        )
    choice = completion.choices[0]
    assert choice.logprobs is not None
    shown = choice.logprobs.content or []
    ids = choice.model_dump()["token_ids"]
    assert completion.model_dump()["prompt_token_ids"] == scripted.requests[0]["input_ids"]
    assert bytes(b for token in shown[:-1] for b in token.bytes or ()).decode() == "Hello there."
    assert len(shown) == len(ids)
    assert all(len(token.top_logprobs) == 2 for token in shown)


async def test_reasoning_effort_is_the_templates_business(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """A template argument changes nothing for a template that does not read it, and is accepted."""
    async with served.openai() as client:
        await client.chat.completions.create(model="policy", messages=USER, reasoning_effort="low")
        await client.chat.completions.create(model="policy", messages=USER)
    assert scripted.requests[0]["input_ids"] == scripted.requests[1]["input_ids"]


async def test_a_prefill_is_continued_and_forced(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """With continue_final_message the model goes on after the caller's words, which are context and not trained."""
    messages: Any = [*USER, {"role": "assistant", "content": "I say: "}]
    async with served.openai() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="policy", messages=messages, extra_body={"continue_final_message": True}
        )
    (turn,) = await served.store.turns(raw.headers["x-turngate-episode"])
    prompt = tokenizer.decode(scripted.requests[0]["input_ids"])
    assert prompt.endswith("<|im_start|>assistant\nI say: ")
    assert turn.forced == len(tokenizer.encode("I say: "))


async def test_models_are_the_alias_and_what_is_served(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """The model list has the alias and the version that engines serve; a version that none serves is 404."""
    async with served.openai() as client:
        names = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("policy@0")
        await client.chat.completions.create(model="policy@0", messages=USER)
    missing = await served.admin.get("/v1/models/policy@99")
    assert names == ["policy", "policy@0"]
    assert one.id == "policy@0"
    assert one.model_dump()["rendering"] == {
        "family": "Qwen2.5, Qwen3, Hermes",
        "tool_format": "hermes",
        "reasoning_format": None,
        "tokenizer": "tiktoken",
        "after_results": "bridged",
        "after_questions": "bridged",
    }
    assert missing.status_code == 404
