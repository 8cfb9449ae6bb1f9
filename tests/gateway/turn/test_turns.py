"""A turn's life through the gateway: history reused token by token, engines that die, retries, swaps."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from rollout.episode.sequences import linearize
from rollout.episode.trie import Trie
from rollout.episode.turn import VersionInterval
from rollout.tokenizer.tokenizer import Tokenizer
from tests.gateway.conftest import end_of_turn, spell
from tests.gateway.dialects.test_chat import CALL, PRICE
from tests.gateways import Gateway, StartGateway
from tests.scripted_engine import (
    Abort,
    Die,
    End,
    Garbage,
    Length,
    Refuse,
    ScriptedEngine,
    Tokens,
    Version,
    Wait,
    running_engine,
)

EPISODE = {"X-Turngate-Episode": "ep_1"}
USER: Any = {"role": "user", "content": "Hi"}


async def ask(served: Gateway, messages: list[Any], **options: Any) -> Any:
    async with served.openai() as client:
        options.setdefault("extra_headers", EPISODE)
        completion = await client.chat.completions.create(
            model="policy", messages=messages, **options
        )
    return completion.choices[0].message


async def test_sampled_ids_are_never_encoded_again(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The next prompt continues the stored ids exactly, although their text would encode differently."""
    odd = [tokenizer.encode(letter)[0] for letter in "Hello"]
    assert tokenizer.encode("Hello") != odd
    stop = end_of_turn(tokenizer)
    scripted.script(Tokens(odd), stop)
    answer = await ask(served, [USER])
    messages = [USER, answer.model_dump(), {"role": "user", "content": "More"}]
    await ask(served, messages)
    first, second = (request["input_ids"] for request in scripted.requests)
    assert second[: len(first) + len(odd) + 1] == [*first, *odd, stop.matched]
    rest = tokenizer.decode(second[len(first) + len(odd) + 1 :])
    assert rest == "\n<|im_start|>user\nMore<|im_end|>\n<|im_start|>assistant\n"
    (row,) = linearize(Trie(await served.store.turns("ep_1")))
    assert row.action_mask.sum() == len(odd) + 1 + len(spell(tokenizer, "Hello there.")) + 1


async def test_an_output_with_a_special_token_is_continued(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """What a policy samples and no client sees stays in the ids, and is no reason to branch."""
    hidden = tokenizer.token_id("<|im_start|>")
    assert hidden is not None
    sampled = [*tokenizer.encode("before"), hidden, *tokenizer.encode(" after")]
    stop = end_of_turn(tokenizer)
    scripted.script(Tokens(sampled), stop)
    answer = await ask(served, [USER])
    await ask(served, [USER, answer.model_dump(), USER])
    first, second = (request["input_ids"] for request in scripted.requests)
    assert answer.content == "before after"
    assert second[len(first) :][: len(sampled) + 1] == [*sampled, stop.matched]


async def test_an_output_is_known_by_its_ids_although_it_came_back_as_something_else(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A call that its client repeats as text encodes to the ids that were sampled, and is that output."""
    first = (await ask(served, [USER], tools=[PRICE])).model_dump()
    scripted.script(*spell(tokenizer, CALL), end_of_turn(tokenizer))
    await ask(served, [USER, first, USER], tools=[PRICE])
    as_text = {"role": "assistant", "content": CALL}
    await ask(served, [USER, first, USER, as_text, USER], tools=[PRICE])
    (row,) = linearize(Trie(await served.store.turns("ep_1")))
    assert set(row.turns[row.action_mask]) == {0, 1, 2}


async def test_a_history_cut_down_to_a_call_and_its_result_is_a_branch(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """A sliding window may leave no message from before the call."""
    await ask(served, [USER], tools=[PRICE])
    function = {"name": "price", "arguments": "{}"}
    called = {"id": "c", "type": "function", "function": function}
    call = {"role": "assistant", "content": None, "tool_calls": [called]}
    result = {"role": "tool", "tool_call_id": "c", "content": "4"}
    assert (await ask(served, [call, result], tools=[PRICE])).content == "Hello there."
    assert len(linearize(Trie(await served.store.turns("ep_1")))) == 2


async def test_a_tool_loop_is_one_sequence(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A call whose arguments the client spells differently, with its result, continues the sampled ids."""
    scripted.script(*spell(tokenizer, CALL), end_of_turn(tokenizer))
    answer = (await ask(served, [USER], tools=[PRICE])).model_dump()
    answer["tool_calls"][0]["function"]["arguments"] = '{ "item" :"melon"}'
    answer["tool_calls"][0]["id"] = "renamed"
    result = {"role": "tool", "tool_call_id": "renamed", "content": "4"}
    await ask(served, [USER, answer, result], tools=[PRICE])
    assert len(linearize(Trie(await served.store.turns("ep_1")))) == 1
    assert await served.metric("turngate_calls_attached_total") == {
        '{how="root"}': 1.0,
        '{how="bridged"}': 1.0,
    }


async def test_a_cut_turn_is_closed_before_the_next(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """The end-of-turn token that a truncated output lacks is added as context, not as if it had been sampled."""
    ids = tokenizer.encode("and so")
    scripted.script(Tokens(ids), Length())
    answer = await ask(served, [USER], max_tokens=len(ids))
    await ask(served, [USER, answer.model_dump(), USER])
    first, second = await served.store.turns("ep_1")
    assert first.outputs[0].ids.tolist() == ids
    assert second.context_ids[0] == end_of_turn(tokenizer).matched
    (row,) = linearize(Trie([first, second]))
    assert not row.action_mask[len(first.context_ids) + len(ids)]


async def test_an_edited_history_branches(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A client that rewrites an answer gets a branch that shares the prefix up to the edit."""
    await ask(served, [USER])
    edited = {"role": "assistant", "content": "Something else."}
    await ask(served, [USER, edited, USER])
    first, second = await served.store.turns("ep_1")
    prompt = tokenizer.decode(scripted.requests[1]["input_ids"])
    assert "Something else." in prompt
    assert len(second.context_ids) < len(scripted.requests[1]["input_ids"])
    assert len(linearize(Trie([first, second]))) == 2


async def test_another_gateway_continues_the_episode(
    start_gateway: StartGateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Gateways share nothing but Redis: the second turn may come to another one and still continues the ids."""
    async with (
        start_gateway(scripted) as one,
        start_gateway(scripted, project=one.project) as other,
    ):
        answer = await ask(one, [USER])
        await ask(other, [USER, answer.model_dump(), USER])
        back = await ask(other, [USER, answer.model_dump(), USER])
        await ask(one, [USER, answer.model_dump(), USER, back.model_dump(), USER])
        assert (await other.metric("turngate_calls_attached_total"))['{how="bridged"}'] == 2.0
        assert (await one.metric("turngate_calls_attached_total"))['{how="bridged"}'] == 1.0


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("fault", [Die(), Garbage(), Abort()])
async def test_a_turn_survives_its_engine(
    start_gateway: StartGateway, tokenizer: Tokenizer, fault: Any, *, streamed: bool
) -> None:
    """When an engine fails in mid-turn the client sees a whole text, and the record has the version of each token."""
    begun, rest = tokenizer.encode("The quick "), tokenizer.encode("brown fox")
    async with (
        running_engine(version=1) as one,
        running_engine(version=2) as two,
        start_gateway(one, two) as served,
    ):
        one.default = two.default = (Tokens(rest), end_of_turn(tokenizer))
        await ask(served, [USER])
        first, second = (one, two) if one.requests else (two, one)
        first.script(Tokens(begun), fault)
        answer = await said(served, streamed=streamed)
        _, turn = await served.store.turns("ep_1")
    # An engine that broke off an unstreamed answer never told what it had sampled.
    kept = begun if streamed or isinstance(fault, Abort) else []
    assert answer == tokenizer.decode(kept + rest)
    assert second.requests[-1]["input_ids"] == first.requests[0]["input_ids"] + kept
    assert turn.outputs[0].ids.tolist()[:-1] == kept + rest
    versions = [turn.outputs[0].versions[0].version, turn.outputs[0].versions[-1].version]
    assert versions == [first.version if kept else second.version, second.version]


@pytest.mark.parametrize("is_told", [True, False])
async def test_an_answer_is_whole_although_its_connection_breaks(
    start_gateway: StartGateway, tokenizer: Tokenizer, *, is_told: bool
) -> None:
    """Once an output has ended nothing is asked again, also where a grammar forbids to go on, said or seen by its end token."""
    end = End("stop") if is_told else Tokens([min(tokenizer.eos_ids)])
    async with running_engine() as engine, start_gateway(engine) as served:
        engine.script(*spell(tokenizer, "{}"), end, Die())
        body = {"messages": [USER], "stream": True, "response_format": {"type": "json_object"}}
        answer = await served.admin.post("/v1/chat/completions", json=body, headers=EPISODE)
        assert answer.text.endswith("data: [DONE]\n\n")
        assert len(engine.requests) == 1
        (turn,) = await served.store.turns("ep_1")
    assert turn.outputs[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "spans",
    [[], [{"version": "1", "start": 0, "end": 1}], [{"version": "1", "start": 1, "end": 9}]],
)
async def test_versions_that_leave_a_gap_cost_a_retry(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer, spans: Any
) -> None:
    """An engine that cannot say who sampled what is asked again, and what is recorded adds up."""
    event = {"output_ids": [5, 6], "meta_info": {"completion_tokens": 2, "weight_versions": spans}}
    event["meta_info"]["output_token_logprobs"] = [[-0.5, 5, None], [-0.5, 6, None]]
    event["meta_info"]["finish_reason"] = {"type": "length" if spans else "abort"}
    scripted.script(Garbage(json.dumps(event).encode()))
    await ask(served, [USER])
    (turn,) = await served.store.turns("ep_1")
    assert turn.outputs[0].ids[:2].tolist() == [5, 6]
    assert turn.outputs[0].versions[-1].end == turn.outputs[0].num_tokens


async def said(served: Gateway, *, streamed: bool) -> str:
    async with served.openai() as client:
        if not streamed:
            whole = await client.chat.completions.create(
                model="policy", messages=[USER], extra_headers=EPISODE
            )
            return whole.choices[0].message.content or ""
        stream = await client.chat.completions.create(
            model="policy", messages=[USER], stream=True, extra_headers=EPISODE
        )
        return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])


async def test_a_swap_in_mid_turn_splits_the_versions(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """Tokens sampled before and after a swap carry their own versions, as the engine reports them."""
    scripted.version = 3
    before, after = tokenizer.encode("old"), tokenizer.encode(" new")
    scripted.script(Tokens(before), Version(4), Tokens(after), end_of_turn(tokenizer))
    await said(served, streamed=True)
    (turn,) = await served.store.turns("ep_1")
    total = len(before) + len(after) + 1
    assert turn.outputs[0].versions == (
        VersionInterval(3, 0, len(before)),
        VersionInterval(4, len(before), total),
    )


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_retry_gets_the_recorded_reply(
    served: Gateway, scripted: ScriptedEngine, *, streamed: bool
) -> None:
    """A call the SDK repeats, told by its retry count, is answered from the record and samples nothing."""
    body = {"model": "policy", "messages": [USER], "stream": streamed}
    answers = [
        await served.admin.post(
            "/v1/chat/completions",
            json=body,
            headers={**EPISODE, "x-stainless-retry-count": count},
        )
        for count in ("0", "1")
    ]
    assert len(scripted.requests) == 1
    assert len(await served.store.turns("ep_1")) == 1
    ids = {answer.headers["x-turngate-turn"] for answer in answers}
    assert len(ids) == 1
    if not streamed:
        assert answers[0].json() == answers[1].json()


async def test_equal_calls_are_not_retries(served: Gateway, scripted: ScriptedEngine) -> None:
    """An agent that samples the same prompt twice gets two samples."""
    await ask(served, [USER])
    await ask(served, [USER])
    assert len(scripted.requests) == 2
    assert len(await served.store.turns("ep_1")) == 2


async def test_an_idempotency_key_is_one_sample(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """A repeated key joins the call that is running, gets its reply afterwards, and refuses another body."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, *spell(tokenizer, "once"), end_of_turn(tokenizer))
    headers = {**EPISODE, "Idempotency-Key": "k1"}
    body = {"model": "policy", "messages": [USER]}
    path = "/v1/chat/completions"
    running = asyncio.create_task(served.admin.post(path, json=body, headers=headers))
    await wait.reached.wait()
    joined = asyncio.create_task(served.admin.post(path, json=body, headers=headers))
    wait.event.set()
    later = await served.admin.post(path, json=body, headers=headers)
    assert (await running).json() == (await joined).json() == later.json()
    assert len(scripted.requests) == 1
    other = await served.admin.post(path, json=body | {"n": 2}, headers=headers)
    assert other.status_code == 409
    assert other.headers["x-should-retry"] == "false"


async def test_a_joined_call_is_not_told_of_a_turn_that_was_never_recorded(
    served: Gateway, scripted: ScriptedEngine, tokenizer: Tokenizer
) -> None:
    """When the commit is refused, every caller that joined the call is refused too."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, *spell(tokenizer, "lost"), end_of_turn(tokenizer))
    calls = await start_joined(served, wait, num_joined=1)
    await served.admin.delete("/v1/episodes/ep_1")
    wait.event.set()
    assert [(await call).status_code for call in calls] == [409, 409]


async def test_of_several_joined_calls_one_goes_on(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """When the call they joined fails, one of them samples and the others get its reply."""
    wait = Wait(asyncio.Event())
    scripted.script(wait, Refuse(400, "no"))
    calls = await start_joined(served, wait, num_joined=3)
    wait.event.set()
    first, *joined = [await call for call in calls]
    assert first.status_code == 400
    assert len({answer.json()["id"] for answer in joined}) == 1
    assert len(scripted.requests) == 2


async def start_joined(
    served: Gateway, wait: Wait, *, num_joined: int
) -> list[asyncio.Task[httpx.Response]]:
    """A call that waits in the engine, and others with its key that wait for it."""
    headers = {**EPISODE, "Idempotency-Key": "k1"}
    body = {"model": "policy", "messages": [USER]}

    def start() -> asyncio.Task[httpx.Response]:
        post = served.admin.post("/v1/chat/completions", json=body, headers=headers)
        return asyncio.create_task(post)

    calls = [start()]
    await wait.reached.wait()
    calls += [start() for _ in range(num_joined)]
    await asyncio.sleep(0.2)  # nobody announces that a call has joined
    return calls


async def test_concurrent_calls_of_one_episode_all_count(
    served: Gateway, scripted: ScriptedEngine
) -> None:
    """Sub-agents that call at the same time each get their own root or branch in the one episode."""
    topics: list[Any] = [{"role": "user", "content": f"Topic {i}"} for i in range(8)]
    await asyncio.gather(*(ask(served, [topic]) for topic in topics))
    turns = await served.store.turns("ep_1")
    assert len(turns) == 8
    assert len(linearize(Trie(turns))) == 8
