"""Calls that are repeated, clients that leave and engines that give up: what was sampled once trains once, or is kept for audit."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.engines import connected, num_calls
from tests.fidelity.agent import USER
from tests.fidelity.received import EPISODE, assert_exact
from tests.fidelity.recorder import Recorder
from tests.gateway.conftest import eventually
from tests.gateways import Gateway, StartGateway

pytestmark = pytest.mark.engine
PATH = "/v1/chat/completions"
NUM_TOKENS = 400  # enough to leave, or to be dropped, in the middle
BODY: Any = {"messages": [USER], "max_tokens": 12}
LONG: Any = {"messages": [USER], "max_tokens": NUM_TOKENS, "ignore_eos": True}
NAMED = {"X-Turngate-Episode": EPISODE}
KEYED = {**NAMED, "Idempotency-Key": "k1"}
COUNTED = {**NAMED, "x-stainless-retry-count": "0"}


@pytest.fixture
async def served(start_gateway: StartGateway, recorder: Recorder) -> AsyncIterator[Gateway]:
    """Knows the engine's admin key, without which an engine refuses to abort."""
    async with start_gateway(recorder) as running:
        yield running


async def sampling(recorder: Recorder, *, tokens: int = 5) -> None:
    """Until the engine has streamed some tokens of its last call."""
    async with asyncio.timeout(30):
        while not recorder.calls or len(recorder.calls[-1].ids) < tokens:
            await asyncio.sleep(0.005)


async def leave(call: asyncio.Task[httpx.Response]) -> None:
    """Close the connection of a call that has no answer yet."""
    call.cancel()
    await asyncio.wait([call])


def streamed_ids(answer: httpx.Response) -> list[int]:
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[6:7] == "{"]
    choices = [choice for event in events for choice in event["choices"]]
    return [id_ for choice in choices for id_ in choice.get("token_ids") or ()]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_repeated_call_gets_the_recorded_reply(
    served: Gateway, recorder: Recorder, *, streamed: bool
) -> None:
    """Case 18: by its own key or by the SDK's count of tries, streamed or not, a repeat samples nothing."""
    body = {**BODY, "stream": streamed, "return_token_ids": True}
    for headers in (KEYED, COUNTED):
        first = await served.admin.post(PATH, json=body, headers=headers)
        repeat = {**headers, "x-stainless-retry-count": "1"}
        again = await served.admin.post(PATH, json=body, headers=repeat)
        if streamed:
            assert streamed_ids(first) == streamed_ids(again) == recorder.calls[-1].ids
        else:
            assert first.json() == again.json()
    assert len(recorder.calls) == 2
    await assert_exact(served, recorder.calls)


async def test_a_repeat_joins_the_call_that_runs_and_outlives_it(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 18: a repeat that arrives while the first is sampled waits for it, also when the first client leaves."""

    def post() -> asyncio.Task[httpx.Response]:
        return asyncio.create_task(
            served.admin.post(PATH, json={**LONG, "stream": True}, headers=KEYED)
        )

    first = post()
    await sampling(recorder)
    repeats = [post(), post()]
    await asyncio.sleep(0.1)  # nobody announces that a call has joined
    await leave(first)
    answers = [await repeat for repeat in repeats]
    assert len({answer.headers["x-turngate-turn"] for answer in answers}) == 1
    (call,) = recorder.calls
    assert len(call.ids) == NUM_TOKENS
    (row,) = await assert_exact(served, recorder.calls)
    assert row.action_mask.sum() == NUM_TOKENS


async def test_a_gateway_that_restarts_remembers_its_replies(
    start_gateway: StartGateway, recorder: Recorder
) -> None:
    """Case 18: the reply is committed with its turn, so that the next process answers a repeat from the record."""
    async with start_gateway(recorder) as before:
        first = await before.admin.post(PATH, json=BODY, headers=KEYED)
    async with start_gateway(recorder, project=before.project) as after:
        again = await after.admin.post(PATH, json=BODY, headers=KEYED)
        assert again.json() == first.json()
        assert len(recorder.calls) == 1
        await assert_exact(after, recorder.calls)


async def test_a_repeat_without_an_episode_finds_the_one_it_opened(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 18: a key is enough; a call that names no episode does not open another one when it is repeated."""
    key = {"Idempotency-Key": "k2"}
    first, again = [await served.admin.post(PATH, json=BODY, headers=key) for _ in range(2)]
    assert first.json() == again.json()
    await assert_exact(served, recorder.calls, first.headers["x-turngate-episode"])


@pytest.mark.parametrize("streamed", [True, False])
async def test_what_nobody_waits_for_is_aborted_and_kept_for_audit(
    served: Gateway, recorder: Recorder, engine: str, *, streamed: bool
) -> None:
    """Case 18: when the client leaves, the engine stops, and what it had streamed is abandoned and does not train."""
    post = served.admin.post(
        PATH, json={**LONG, "max_tokens": 1500, "stream": streamed}, headers=KEYED
    )
    call = asyncio.create_task(post)
    await (sampling(recorder) if streamed else begun(recorder))
    await leave(call)
    await idle(engine)
    assert recorder.aborted == [recorder.calls[0].rid]
    if streamed:
        (turn,) = await eventually(lambda: served.store.turns(EPISODE))
        (output,) = turn.outputs
        assert output.is_abandoned
        assert recorder.calls[0].ids[: output.num_tokens] == output.ids.tolist()
        orphans = await served.metric("turngate_orphaned_spans_total")
        assert orphans['{reason="abandoned"}'] == 1.0
    assert await assert_exact(served, []) == []
    again = await served.admin.post(PATH, json=BODY, headers=COUNTED)
    assert again.status_code == 200
    await assert_exact(served, recorder.calls[1:])


async def begun(recorder: Recorder) -> None:
    async with asyncio.timeout(30):
        while not recorder.calls:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)  # an engine does not announce that it has begun


async def idle(engine: str) -> None:
    """Until the engine has nothing left to sample."""
    async with asyncio.timeout(30):
        while await num_calls(engine):
            await asyncio.sleep(0.05)


async def test_an_abort_in_the_engine_costs_no_token(
    served: Gateway, recorder: Recorder, engine: str
) -> None:
    """Case 18: a turn whose request the engine drops goes on from its last token, and trains as one output."""
    post = served.admin.post(PATH, json={**LONG, "stream": True}, headers=KEYED)
    call = asyncio.create_task(post)
    await sampling(recorder)
    async with connected(engine) as client:
        await client.abort(recorder.calls[0].rid)
    assert (await call).text.endswith("data: [DONE]\n\n")
    dropped, resumed = recorder.calls
    assert 0 < len(dropped.ids) < NUM_TOKENS
    assert resumed.prompt == dropped.prompt + dropped.ids
    assert len(dropped.ids + resumed.ids) == NUM_TOKENS
    (row,) = await assert_exact(served, recorder.calls)
    assert row.tokens.tolist() == resumed.prompt + resumed.ids
    assert len(await served.store.turns(EPISODE)) == 1


async def test_an_sdk_that_times_out_trains_only_what_it_got(
    served: Gateway, recorder: Recorder, engine: str
) -> None:
    """Case 18: the stock SDK gives up on a call that waits, tries again by itself, and one turn is recorded."""
    async with connected(engine) as control:
        await control.pause()
        client = served.openai(max_retries=8, timeout=0.5)
        asking = asyncio.create_task(
            client.chat.completions.create(model="policy", **BODY, extra_headers=NAMED)
        )
        async with asyncio.timeout(30):
            while not recorder.aborted:
                await asyncio.sleep(0.01)
        await control.resume()
        completion = await asking
        await client.close()
    (turn,) = await served.store.turns(EPISODE)
    assert completion.id == f"chatcmpl-{turn.id}"
    await assert_exact(served, [call for call in recorder.calls if call.rid.startswith(turn.id)])
