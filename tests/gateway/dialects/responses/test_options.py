"""Each field of a Responses body has its effect, is shown again, or is refused by name."""

from typing import Any

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateway.dialects.responses.response_events import (
    BODY,
    CALL,
    PATH,
    PRICE,
    streamed,
    whole,
)
from tests.gateways import Gateway
from tests.scripted_engine import ScriptedEngine

SCHEMA: Any = {"type": "object", "properties": {"n": {"type": "integer"}}}
OTHER: Any = {"type": "function", "name": "weigh"}


async def test_sampling_options_reach_the_engine(served: Gateway, scripted: ScriptedEngine) -> None:
    """Options arrive under the engine's names, and the response shows them again."""
    options = {
        "max_output_tokens": 9,
        "temperature": 0.7,
        "top_p": 0.9,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
    }
    response = await whole(served, BODY | options)
    asked = scripted.requests[0]["sampling_params"]
    assert {name: response[name] for name in options} == options
    assert asked["max_new_tokens"] == 9
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty"):
        assert asked[name] == options[name]


async def test_what_has_no_effect_is_shown_again(served: Gateway) -> None:
    """A field that marks the call comes back as it was sent, and what is not served as what is in effect."""
    marks = {
        "metadata": {"topic": "fruit"},
        "user": "u1",
        "safety_identifier": "s1",
        "prompt_cache_key": "c1",
        "max_tool_calls": 3,
        "store": False,
        "parallel_tool_calls": False,
        "instructions": "Be brief.",
        "reasoning": {"effort": "low", "summary": None},
    }
    nothing = dict.fromkeys(
        ("conversation", "prompt", "previous_response_id", "background", "text")
    )
    response = await whole(
        served,
        BODY | nothing | marks | {"truncation": "auto", "service_tier": "flex"},
        f"/e/ep_1{PATH}",
    )
    assert {name: response[name] for name in marks} == marks
    assert (response["truncation"], response["service_tier"]) == ("disabled", "default")
    view = (await served.admin.get("/v1/episodes/ep_1")).json()
    assert view["turns"][0]["notes"] == ["truncation auto is read as disabled"]


async def test_effort_none_turns_thinking_off(
    thinking: Gateway, scripted: ScriptedEngine, qwen3: Tokenizer
) -> None:
    """The prompt of a thinking model then ends after an empty thought."""
    await whole(thinking, BODY | {"reasoning": {"effort": "none"}})
    assert qwen3.decode(scripted.requests[0]["input_ids"]).endswith("<think>\n\n</think>\n\n")


async def test_a_schema_is_a_grammar(served: Gateway, scripted: ScriptedEngine) -> None:
    """`text.format` reaches the engine as a JSON schema and is shown again with all its fields."""
    format_ = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
    response = await whole(served, BODY | {"text": {"format": format_}})
    assert response["text"]["format"] == format_ | {"description": None}
    assert '"integer"' in scripted.requests[0]["sampling_params"]["json_schema"]


@pytest.mark.parametrize(
    ("choice", "shown", "hidden"),
    [
        ("none", [], ["price", "weigh"]),
        ("auto", ["price", "weigh"], []),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "price"}],
            },
            ["price"],
            ["weigh"],
        ),
        ({"type": "web_search"}, ["price", "weigh"], []),
    ],
)
async def test_the_prompt_shows_the_tools_that_may_be_called(
    served: Gateway,
    scripted: ScriptedEngine,
    tokenizer: Tokenizer,
    *,
    choice: object,
    shown: list[str],
    hidden: list[str],
) -> None:
    """`tool_choice` decides which tools the model sees, and is shown again."""
    response = await whole(served, BODY | {"tools": [PRICE, OTHER], "tool_choice": choice})
    prompt = tokenizer.decode(scripted.requests[0]["input_ids"])
    assert all(name in prompt for name in shown)
    assert not any(name in prompt for name in hidden)
    is_served = choice != {"type": "web_search"}
    assert response["tool_choice"] == (choice if is_served else "auto")


@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "function", "name": "price"}, {"type": "custom", "name": "patch"}],
)
async def test_a_call_can_be_forced(
    served: Gateway, scripted: ScriptedEngine, *, choice: object
) -> None:
    """A forced call is a grammar, of any function, of one, or of a custom tool."""
    tools = [PRICE, {"type": "custom", "name": "patch"}]
    await whole(served, BODY | {"tools": tools, "tool_choice": choice})
    assert "structural_tag" in scripted.requests[0]["sampling_params"]


@pytest.mark.parametrize(
    ("arguments", "input_"),
    [
        ('{"input": "*** Begin\\n"}', "*** Begin\n"),
        ('{"text": "x"}', '{"text": "x"}'),
        ("{}", "{}"),
    ],
)
async def test_a_custom_call_has_plain_text(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer, arguments: str, input_: str
) -> None:
    """The input of a custom tool's call is its argument, or what the model wrote instead; streamed it is the same."""
    call = f'<tool_call>\n{{"name": "patch", "arguments": {arguments}}}\n</tool_call>'
    for _ in range(2):
        scripted.script(*spell(tokenizer, call), end_of_turn(tokenizer))
    body = BODY | {"tools": [{"type": "custom", "name": "patch", "description": "Edits."}]}
    (item,) = (await whole(served, body))["output"]
    events = await streamed(served, body)
    done = [each for each in events if each["type"] == "response.custom_tool_call_input.done"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "patch", input_)
    assert [each["input"] for each in done] == [input_]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": []}, "input", "invalid_value"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role", "invalid_value"),
        ({"input": [{"role": "user", "content": 5}]}, "input[0].content", "invalid_value"),
        (
            {"input": ["x", {"role": "user", "content": "y"}]},
            "input[0]",
            "invalid_value",
        ),
        (
            {
                "input": [
                    {"role": "user", "content": "x"},
                    {"type": "reasoning", "summary": []},
                    {"type": "function_call", "call_id": "c"},
                ]
            },
            "input[2].name",
            "invalid_value",
        ),
        ({"max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "invalid_value"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice", "invalid_value"),
        ({"text": {"format": {"type": "xml"}}}, "text.format", "invalid_value"),
        ({"background": True}, "background", "unsupported_value"),
        ({"conversation": {"id": "conv_1"}}, "conversation", "unsupported_value"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_value"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_value"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(
    served: Gateway, scripted: ScriptedEngine, body: Any, param: str, code: str
) -> None:
    """A wrong field is a 400 in OpenAI's shape that names it, and nothing is sampled."""
    answer = await served.admin.post(PATH, json=BODY | body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)
    assert error["type"] == "invalid_request_error"
    assert scripted.requests == []


async def test_items_of_unknown_types_are_left_out(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """What other servers' tools left in the input is dropped with a note, and the rest is a conversation."""
    items = [
        {"role": "user", "content": "Look it up."},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "So."}],
        },
        {"type": "compaction", "encrypted_content": "x"},
        {"role": "user", "content": "Go on."},
    ]
    await whole(served, BODY | {"input": items}, f"/e/ep_1{PATH}")
    view = (await served.admin.get("/v1/episodes/ep_1")).json()
    prompt = tokenizer.decode(scripted.requests[0]["input_ids"])
    assert view["turns"][0]["notes"] == [
        "an input item of type web_search_call is left out",
        "an input item of type compaction is left out",
    ]
    assert all(text in prompt for text in ("Look it up.", "So.", "Go on."))


async def test_shell_calls_and_their_outputs_are_shown(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The calls of a local shell are calls to the model, and their outputs are results."""
    items = [
        {"role": "user", "content": "List."},
        {
            "type": "local_shell_call",
            "call_id": "c1",
            "status": "completed",
            "action": {"type": "exec", "command": ["ls", "-a"]},
        },
        {"type": "local_shell_call_output", "call_id": "c1", "output": "a b"},
        {"type": "shell_call", "call_id": "c2", "action": {"commands": ["pwd"]}},
        {"type": "shell_call_output", "call_id": "c2", "output": [{"stdout": "/tmp"}]},
    ]
    await whole(served, BODY | {"input": items})
    prompt = tokenizer.decode(scripted.requests[0]["input_ids"])
    assert all(text in prompt for text in ('"local_shell"', '"ls"', "a b", '"pwd"', "/tmp"))


async def test_results_between_the_calls_of_one_reply_do_not_split_it(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A client that puts each result after its call continues the reply that made both calls."""
    scripted.script(*spell(tokenizer, f"{CALL}\n{CALL}"), end_of_turn(tokenizer))
    path = f"/e/ep_1{PATH}"
    first = await whole(served, BODY | {"tools": [PRICE]}, path)
    items: list[Any] = [{"role": "user", "content": "Hi"}]
    for call in first["output"]:
        items += [call, {"type": "function_call_output", "call_id": call["call_id"], "output": "3"}]
    await whole(served, BODY | {"tools": [PRICE], "input": items}, path)
    turns = await served.store.turns("ep_1")
    assert turns[1].anchor is not None
    assert turns[1].anchor.turn_id == turns[0].id
