"""Every wrong request gets a clear error in OpenAI's shape, and nothing is lost."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, eventually
from tests.gateways import ADMIN_KEY, Gateway, StartGateway
from tests.scripted_engine import (
    Die,
    Garbage,
    Length,
    Refuse,
    ScriptedEngine,
    Tokens,
    Wait,
    running_engine,
)

CHAT = "/v1/chat/completions"
USER: Any = [{"role": "user", "content": "Hi"}]
BODY: Any = {"model": "policy", "messages": USER}


def assert_error(answer: httpx.Response, status: int, *, param: str | None = None) -> str:
    """The error has OpenAI's four fields and is permanent unless it has a `retry-after`; gives the message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    if param is not None:
        assert error["param"] == param
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    elif status < 500:
        assert answer.headers["x-should-retry"] == "false"
    return str(error["message"])


TOOL: Any = {"type": "function", "function": {"name": "f"}}
IMAGE: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
ODD_IMAGE: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,é"}}
HUGE = 2**70  # can be read, but neither written again nor recorded
DEEP: Any = json.loads("[" * 300 + "]" * 300)
BIG_CALL: Any = {"name": "f", "arguments": {"x": HUGE}}
WRONG_FIELDS: Any = (
    ({"messages": []}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0]",
    ),
    ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": [ODD_IMAGE]}]}, "messages[0].content[0]"),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
        "messages[0].tool_calls[0]",
    ),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": "many"}, "max_completion_tokens"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 1.5}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": 100_000}, "n"),
    ({"stop": [1]}, "stop[0]"),
    ({"top_logprobs": 50}, "top_logprobs"),
    ({"response_format": {"type": "xml"}}, "response_format"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0]"),
    ({"tools": [{"type": "code_interpreter"}]}, "tools[0]"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"stop_token_ids": [10_000_000]}, "stop_token_ids"),
    ({"stop_token_ids": [-1]}, "stop_token_ids"),
    ({"logit_bias": {"10000000": 1}}, "logit_bias"),
    ({"logit_bias": {"melon": 1}}, "logit_bias"),
    ({"logit_bias": {"1" * 5000: 1}}, "logit_bias"),
    ({"messages": [{"role": [], "content": "x"}]}, "messages[0].role"),
    ({"tools": [TOOL], "tool_choice": {"function": {"name": []}}}, "tool_choice"),
    ({"seed": HUGE}, "seed"),
    ({"min_tokens": HUGE}, "min_tokens"),
    ({"tools": [{"type": "function", "function": {"name": "f", "minimum": HUGE}}]}, "tools[0]"),
    ({"tools": [{"type": "function", "function": {"name": "f", "enum": DEEP}}]}, "tools[0]"),
    ({"chat_template_kwargs": {"x": HUGE}}, "chat_template_kwargs"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"x": HUGE}}}},
        "response_format",
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": BIG_CALL}]}]},
        "messages[0].tool_calls[0].function.arguments",
    ),
)


async def test_a_wrong_field_is_named(served: Gateway, scripted: ScriptedEngine) -> None:
    """A chat body with one wrong field is 400, names the field, and reaches no engine."""
    for body, param in WRONG_FIELDS:
        assert_error(await served.admin.post(CHAT, json=BODY | body), 400, param=param)
    assert scripted.requests == []


async def test_arguments_of_any_depth_are_answered(served: Gateway) -> None:
    """Arguments that nest deeper than JSON can be written again stay the text they are, in the template and the index."""
    for depth in (100, 199, 200, 201, 254, 300):
        function = {"name": "f", "arguments": '{"a":' * depth + str(HUGE) + "}" * depth}
        called = {"role": "assistant", "tool_calls": [{"id": "c1", "function": function}]}
        result = {"role": "tool", "tool_call_id": "c1", "content": "done"}
        body = BODY | {"messages": [*USER, called, result]}
        answer = await served.admin.post(CHAT, json=body)
        assert answer.status_code == 200, (depth, answer.text)


MALFORMED = (
    b"",
    b"{",
    b"[1]",
    b"\xff\xfe",
    b'{"messages": NaN}',
    b'{"messages": [{"x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}]}",
)


@pytest.mark.parametrize("data", MALFORMED)
@pytest.mark.parametrize("path", [CHAT, "/v1/rewards"])
async def test_malformed_json(served: Gateway, data: bytes, path: str) -> None:
    """A body that is not a JSON object of the right kind is refused, never a 500."""
    headers = {"content-type": "application/json"}
    answer = await served.admin.post(path, content=data, headers=headers)
    assert answer.status_code in (400, 422)
    assert_error(answer, answer.status_code)


@pytest.mark.parametrize("path", [CHAT, "/v1/rewards"])
async def test_a_huge_body_is_refused_by_its_length(served: Gateway, path: str) -> None:
    """50 MB are 413, and the gateway goes on serving."""
    answer = await served.admin.post(path, content=b" " * 50_000_000)
    assert "larger than" in assert_error(answer, 413)
    assert (await served.admin.post(CHAT, json=BODY)).status_code == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/rewards"])
async def test_a_huge_body_of_unknown_length(served: Gateway, path: str) -> None:
    """A chunked body is cut off where it passes the limit."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b" " * 1_000_000

    assert_error(await served.admin.post(path, content=endless()), 413)


async def test_a_client_that_leaves_in_mid_body_is_no_error(served: Gateway) -> None:
    """Nobody is answered, and the request counts as one that its client gave up."""
    _, writer = await asyncio.open_connection(*served.url.removeprefix("http://").split(":"))
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n"
    writer.write(f'{head}content-length: 100\r\n\r\n{{"messages": '.encode())
    await writer.drain()
    writer.close()

    async def counted() -> dict[str, float]:
        return await served.metric("turngate_requests_total")

    assert await eventually(counted) == {f'{{route="{CHAT}",status="499"}}': 1}


async def test_a_prompt_over_the_context(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A prompt that does not fit is context_length_exceeded, and its episode is truncated from then on."""
    long: Any = [{"role": "user", "content": "word " * tokenizer.context_length}]
    fits = {"x-turngate-episode": "ep_1"}
    assert (await served.admin.post(CHAT, json=BODY, headers=fits)).status_code == 200
    assert not (await served.admin.get("/v1/episodes/ep_1")).json()["truncated"]
    answer = await served.admin.post(CHAT, json=BODY | {"messages": long}, headers=fits)
    assert str(tokenizer.context_length) in assert_error(answer, 400)
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert len(scripted.requests) == 1
    sealed = await served.admin.post("/v1/episodes/ep_1/complete", json={"truncated": False})
    assert sealed.json()["truncated"]


TITLE = {"role": "system", "content": "You are a title generator."}


@pytest.mark.parametrize(
    "marks", [{"x-turngate-turn-kind": "side"}, {"user-agent": "opencode/1.1"}]
)
async def test_a_side_call_over_the_context(
    served: Gateway, tokenizer: Tokenizer, marks: dict[str, str]
) -> None:
    """Marked or known by a rule, it says nothing about the episode, whose own conversation goes on."""
    long: Any = [TITLE, {"role": "user", "content": "word " * tokenizer.context_length}]
    named = {"x-turngate-episode": "ep_1"}
    assert (await served.admin.post(CHAT, json=BODY, headers=named)).status_code == 200
    answer = await served.admin.post(CHAT, json=BODY | {"messages": long}, headers=named | marks)
    assert_error(answer, 400)
    assert not (await served.admin.get("/v1/episodes/ep_1")).json()["truncated"]


async def test_more_tokens_than_the_context_has_left(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """max_tokens is lowered to what is left, and the turn says so."""
    named = {"x-turngate-episode": "ep_1"}
    wanted = BODY | {"max_tokens": 10 * tokenizer.context_length}
    assert (await served.admin.post(CHAT, json=wanted, headers=named)).status_code == 200
    (asked,) = scripted.requests
    room = tokenizer.context_length - len(asked["input_ids"])
    assert asked["sampling_params"]["max_new_tokens"] == room
    (turn,) = (await served.admin.get("/v1/episodes/ep_1")).json()["turns"]
    assert turn["notes"] == [
        f"max_tokens {10 * tokenizer.context_length} was lowered to {room}: the context ends there"
    ]


NOT_THERE = (
    ("GET", "/v1/nothing", 404),
    ("GET", CHAT, 405),
    ("PUT", "/v1/episodes", 405),
    ("GET", "/v1/episodes/ep_none", 404),
    ("DELETE", "/v1/episodes/ep_none", 404),
    ("POST", "/v1/episodes/ep_none/complete", 404),
    ("GET", "/v1/groups/grp_none", 404),
    ("GET", "/v1/policies/77", 404),
    ("GET", "/v1/policies/latest", 422),
    ("GET", "/v1/episodes?limit=5000", 422),
    ("GET", "/v1/episodes?status=happy", 422),
)


async def test_what_is_not_there(served: Gateway) -> None:
    """Unknown paths, methods and resources are errors of the same shape."""
    for method, path, status in NOT_THERE:
        assert_error(await served.admin.request(method, path), status)


UNBOUNDED = ("-Infinity", "Infinity", "1e300", "-1e16")


async def test_a_reward_is_a_finite_number(served: Gateway) -> None:
    """NaN, infinity and everything that is no number is refused before it can reach a batch."""
    await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Episode": "ep_1"})
    for value in (*('"1.0"', "null", "true", "[]", "{}", "NaN", "1e999"), *UNBOUNDED):
        for path in ("/v1/episodes/ep_1/rewards", "/v1/rewards"):
            answer = await served.admin.post(
                path,
                content=f'{{"value": {value}, "episode_id": "ep_1"}}',
                headers={"content-type": "application/json"},
            )
            assert_error(answer, 400 if answer.status_code == 400 else 422)
    view = (await served.admin.get("/v1/episodes/ep_1")).json()
    assert view["rewards"] == []


async def test_an_episode_id_has_a_small_alphabet(served: Gateway) -> None:
    """An id that cannot be a key is refused wherever it comes from."""
    for episode_id in ("a b", "../x", "é", "x" * 200, "{}", "ep_1\n"):
        body = BODY | {"metadata": {"episode_id": episode_id}}
        assert_error(await served.admin.post(CHAT, json=body), 400, param="episode_id")
    in_path = await served.admin.post("/e/ep_1%0A/v1/chat/completions", json=BODY)
    assert_error(in_path, 400, param="episode_id")


WRONG_EPISODES: Any = (
    ({"metadata": {"x": HUGE}}, "metadata"),
    ({"task_id": "x" * 201}, "task_id"),
    ({"task_id": "a\0b"}, "task_id"),
    ({"group_size": 0}, "group_size"),
    ({"group_size": 65}, "group_size"),
    ({"reward_deadline_seconds": 1e300}, "reward_deadline_seconds"),
    ({"reward_deadline_seconds": 0}, "reward_deadline_seconds"),
)


async def test_an_episode_that_could_not_be_kept_is_not_opened(served: Gateway) -> None:
    """What neither Redis nor the ledger could hold is refused by name before it is anywhere."""
    for spec, param in WRONG_EPISODES:
        assert_error(await served.admin.post("/v1/episodes", json=spec), 422, param=param)
    assert (await served.store.totals()).opened == 0


async def test_numbers_too_long_to_read(served: Gateway) -> None:
    """Where a number is text, thousands of digits are refused like any other wrong one."""
    digits = "1" * 5000
    model = await served.admin.post(CHAT, json=BODY | {"model": f"policy@{digits}"})
    size = await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Group-Size": digits})
    assert_error(model, 404, param="model")
    assert_error(size, 400, param="X-Turngate-Group-Size")


async def test_a_group_has_a_largest_size(served: Gateway) -> None:
    """Header and body are refused above the setting, each with the limit; nothing is opened."""
    by_header = await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Group-Size": "65"})
    by_body = await served.admin.post("/v1/episodes", json={"group_size": 65})
    assert "between 1 and 64" in assert_error(by_header, 400, param="X-Turngate-Group-Size")
    assert "at most 64" in assert_error(by_body, 422, param="group_size")
    assert (await served.store.totals()).opened == 0


async def test_a_sealed_episode_takes_no_turns(served: Gateway, scripted: ScriptedEngine) -> None:
    """A call on a sealed episode is 409 and says what to do."""
    headers = {"X-Turngate-Episode": "ep_1"}
    await served.admin.post(CHAT, json=BODY, headers=headers)
    await served.admin.post("/v1/episodes/ep_1/complete", json={})
    answer = await served.admin.post(CHAT, json=BODY, headers=headers)
    assert "open a new one" in assert_error(answer, 409)
    assert len(scripted.requests) == 1


async def test_rewards_that_cannot_land(served: Gateway) -> None:
    """An unknown episode, turn or completion is 404; an address that is none or two is 422."""
    await served.admin.post(CHAT, json=BODY, headers={"X-Turngate-Episode": "ep_1"})
    for path, body, status in (
        ("/v1/episodes/ep_none/rewards", {"value": 1}, 404),
        ("/v1/episodes/ep_1/rewards", {"value": 1, "turn_id": "turn_none"}, 404),
        ("/v1/episodes/ep_1/rewards", {"value": 1, "turn_id": ""}, 422),
        ("/v1/rewards", {"value": 1, "completion_id": "chatcmpl-turn_none"}, 404),
        ("/v1/rewards", {"value": 1}, 422),
        ("/v1/rewards", {"value": 1, "episode_id": "ep_1", "completion_id": "x"}, 422),
        ("/v1/rewards", {}, 422),
    ):
        assert_error(await served.admin.post(path, json=body), status)


async def test_no_engine_is_503(start_gateway: StartGateway, tokenizer: Tokenizer) -> None:
    """With every engine down a call is 503 with a time to come back, and readyz names the engine."""
    async with running_engine() as scripted:
        await scripted.stop()
        async with start_gateway(scripted) as served:
            assert_error(await served.admin.post(CHAT, json=BODY), 503)
            ready = await served.admin.get("/readyz")
    assert ready.status_code == 503
    assert scripted.url in ready.json()["missing"]["engine"]


async def test_an_engine_that_dies_on_everything(served: Gateway, scripted: ScriptedEngine) -> None:
    """An engine that breaks every connection gives 503, not a hang, and no turn is recorded."""
    for _ in range(3):
        scripted.script(Die())
    headers = {"X-Turngate-Episode": "ep_1"}
    assert_error(await served.admin.post(CHAT, json=BODY, headers=headers), 503)
    assert await served.store.turns("ep_1") == []


async def test_an_engine_that_answers_garbage(served: Gateway, scripted: ScriptedEngine) -> None:
    """Nonsense from the engine is never passed on."""
    for _ in range(3):
        scripted.script(Garbage())
    assert_error(await served.admin.post(CHAT, json=BODY), 503)


async def test_an_engine_that_samples_what_does_not_exist(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """Ids outside the vocabulary are not recorded, from where they would reach the engine again."""
    for _ in range(3):
        scripted.script(Tokens([10_000_000]), Length())
    headers = {"X-Turngate-Episode": "ep_1"}
    assert_error(await served.admin.post(CHAT, json=BODY, headers=headers), 503)
    assert await served.store.turns("ep_1") == []


async def test_an_engine_that_refuses(served: Gateway, scripted: ScriptedEngine) -> None:
    """What the engine rejects is the caller's 400, in words that are not the engine's, and is not tried again."""
    scripted.script(Refuse(400, "regex does not compile"))
    answer = await served.admin.post(CHAT, json=BODY | {"regex": "("})
    assert "regex does not compile" not in assert_error(answer, 400)
    assert len(scripted.requests) == 1


async def test_a_slow_engine_is_waited_for(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A paused engine sends nothing for a while; the caller waits and gets the reply."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, Tokens(tokenizer.encode("late")), end_of_turn(tokenizer))
    asked = asyncio.create_task(served.admin.post(CHAT, json=BODY))
    await wait.reached.wait()
    wait.event.set()
    assert (await asked).json()["choices"][0]["message"]["content"] == "late"
