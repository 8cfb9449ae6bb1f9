"""Tool calls: parsers, SDKs and templates rewrite them, and the ids stay."""

import json
from typing import Any

import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.fidelity.agent import NEXT, PRICE, USER, ask, saying
from tests.fidelity.received import EPISODE, assert_exact, assert_one_row
from tests.fidelity.recorder import Recorder
from tests.gateways import Gateway

pytestmark = pytest.mark.engine
CALL = '<tool_call>\n{"name": "price", "arguments": {"item": "melon", "n": 2}}\n</tool_call>'
RESULT: Any = {"role": "tool", "tool_call_id": "call_1", "content": "4"}


async def test_a_call_that_the_client_spells_anew_is_the_same_call(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 8: arguments with other spacing and key order match by value, and the sampled spelling goes on."""
    message = (await ask(served, [USER], tools=[PRICE], **saying(CALL)))["message"]
    function = message["tool_calls"][0]["function"]
    arguments = json.loads(function["arguments"])
    function["arguments"] = json.dumps(dict(reversed(arguments.items())), separators=(",", ":"))
    await ask(served, [USER, message, RESULT], tools=[PRICE])
    assert function["arguments"] == '{"n":2,"item":"melon"}'
    assert CALL in tokenizer.decode(recorder.calls[1].prompt)
    await assert_one_row(served, recorder.calls)


async def test_a_number_that_javascript_spells_anew_is_the_same_number(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 8: a client that has one type of number sends 2.0 back as 2 and 1e2 as 100."""
    call = CALL.replace('"n": 2', '"n": 2.0, "limits": [1e2, 0.5]')
    message = (await ask(served, [USER], tools=[PRICE], **saying(call)))["message"]
    rewritten = '{"item":"melon","n":2,"limits":[100,0.5]}'
    message["tool_calls"][0]["function"]["arguments"] = rewritten
    await ask(served, [USER, message, RESULT], tools=[PRICE])
    assert call in tokenizer.decode(recorder.calls[1].prompt)
    await assert_one_row(served, recorder.calls)


async def test_another_argument_is_another_call(served: Gateway, recorder: Recorder) -> None:
    """Case 8: a value that changed is a change of history, and branches."""
    message = (await ask(served, [USER], tools=[PRICE], **saying(CALL)))["message"]
    message["tool_calls"][0]["function"]["arguments"] = '{"item": "melon", "n": 3}'
    await ask(served, [USER, message, RESULT], tools=[PRICE])
    assert len(await assert_exact(served, recorder.calls)) == 2


async def test_text_around_a_call_stays_where_it_was_sampled(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 9: a message cannot say that text followed its call, but the ids do."""
    text = f"I look it up.\n{CALL}\nOne moment."
    message = (await ask(served, [USER], tools=[PRICE], **saying(text)))["message"]
    await ask(served, [USER, message, RESULT], tools=[PRICE])
    assert len(message["tool_calls"]) == 1
    assert text in tokenizer.decode(recorder.calls[1].prompt)
    await assert_one_row(served, recorder.calls)


async def test_a_malformed_call_is_text(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 9: a call that does not parse is returned as text, flagged, and goes on as it was sampled."""
    text = '<tool_call>\n{"name": "price", "arguments": melon}\n</tool_call>'
    message = (await ask(served, [USER], tools=[PRICE], **saying(text)))["message"]
    await ask(served, [USER, message, USER], tools=[PRICE])
    turn = (await served.admin.get(f"/v1/episodes/{EPISODE}")).json()["turns"][0]
    assert message["content"] == text
    assert "tool_calls" not in message
    assert "malformed" in turn["flags"][0]
    await assert_one_row(served, recorder.calls)


async def test_arguments_that_are_no_json_stay_as_written(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 9: arguments that went wrong after the call had begun are returned as written, flagged, and go on."""
    text = CALL.replace('"melon"', "melon")
    message = (await ask(served, [USER], tools=[PRICE], **saying(text)))["message"]
    await ask(served, [USER, message, RESULT], tools=[PRICE])
    turn = (await served.admin.get(f"/v1/episodes/{EPISODE}")).json()["turns"][0]
    assert message["tool_calls"][0]["function"]["arguments"] == '{"item": melon, "n": 2}'
    assert "malformed" in turn["flags"][0]
    await assert_one_row(served, recorder.calls)


async def test_a_call_that_was_cut_goes_on_where_it_was_cut(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 6: the template closes the arguments of a call that was cut by length; the ids of the call end at the cut."""
    call = saying(CALL.replace("melon", "7" * 100)) | {"max_tokens": 90}
    message = (await ask(served, [USER], tools=[PRICE], **call))["message"]
    await ask(served, [USER, message, RESULT], tools=[PRICE])
    assert message["tool_calls"][0]["function"]["arguments"].endswith("777")
    await assert_one_row(served, recorder.calls)
    first, second = recorder.calls
    added = tokenizer.decode(second.prompt[len(first.prompt + first.ids) :])
    assert added.startswith("<|im_end|>\n<|im_start|>tool")


async def test_no_content_in_any_spelling_is_no_content(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 9: a call's message with null, empty or absent content goes on with the same ids."""
    message = (await ask(served, [USER], tools=[PRICE], **saying(CALL)))["message"]
    assert message.pop("content") is None
    for spelling in ({"content": None}, {"content": ""}, {}):
        await ask(served, [USER, message | spelling, RESULT], tools=[PRICE])
    await assert_exact(served, recorder.calls)
    first, *others = recorder.calls
    known = first.prompt + first.ids
    assert [call.prompt for call in others] == [others[0].prompt] * 3
    assert others[0].prompt[: len(known)] == known


async def test_fields_that_an_sdk_adds_do_not_matter(served: Gateway, recorder: Recorder) -> None:
    """Case 10: other call ids, `index`, `refusal` and whatever else a client stores with a message leave it the same."""
    message = (await ask(served, [USER], tools=[PRICE], **saying(CALL)))["message"]
    (call,) = message["tool_calls"]
    message |= {
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "provider_specific_fields": {"refusal": None},
        "tool_calls": [call | {"id": "call_1", "index": 0}],
    }
    await ask(served, [USER | {"name": None}, message, RESULT | {"name": "price"}], tools=[PRICE])
    await assert_one_row(served, recorder.calls)


async def test_content_in_parts_is_its_text(served: Gateway, recorder: Recorder) -> None:
    """Case 10: a client that sends every content as a list of parts says the same."""
    await ask(served, [USER], **saying("Four melons."))
    parts = [{"type": "text", "text": "Four "}, {"type": "text", "text": "melons."}]
    user = USER | {"content": [{"type": "text", "text": USER["content"]}]}
    await ask(served, [user, {"role": "assistant", "content": parts}, NEXT])
    await assert_one_row(served, recorder.calls)


async def test_a_message_of_the_stock_sdk_goes_on(served: Gateway, recorder: Recorder) -> None:
    """Case 10: what the OpenAI SDK dumps of its own message object continues the output."""
    options = {
        "model": "policy",
        "max_tokens": 48,
        "extra_headers": {"X-Turngate-Episode": EPISODE},
    }
    async with served.openai() as client:
        first = await client.chat.completions.create(
            messages=[USER], tools=[PRICE], extra_body=saying(CALL), **options
        )
        dumped: Any = first.choices[0].message.model_dump()
        await client.chat.completions.create(
            messages=[USER, dumped, RESULT], tools=[PRICE], **options
        )
    assert {"refusal", "annotations", "function_call"} <= dumped.keys()
    await assert_one_row(served, recorder.calls)
