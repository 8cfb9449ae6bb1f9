"""A token trains with the logprob of the distribution it was drawn from, and is marked with what changed that distribution."""

import math
from typing import Any

import httpx
import numpy as np
import pytest

from rollout.episode.sequences import TokenSequence
from rollout.episode.turn import OutputFlags, Sampling
from rollout.tokenizer.tokenizer import Tokenizer
from tests.engines import ADMIN_KEY
from tests.fidelity.agent import NEXT, PRICE, USER, ask, saying
from tests.fidelity.received import EPISODE, assert_exact, assert_one_row
from tests.fidelity.recorder import EngineCall, Recorder
from tests.gateways import Gateway, StartGateway

pytestmark = pytest.mark.engine
CLOSE = 1e-4


def flags_of(row: TokenSequence) -> set[OutputFlags]:
    """The flags of the tokens that train."""
    return {OutputFlags(flag) for flag in row.flags[row.action_mask].tolist()}


async def distributions(
    engine: str, call: EngineCall, *, vocab_size: int
) -> list[dict[int, float]]:
    """For each token of a call, the logprobs of the whole vocabulary at its place, as the engine reads them in a prompt."""
    body = {
        "input_ids": call.prompt + call.ids,
        "sampling_params": {"max_new_tokens": 1},
        "return_logprob": True,
        "logprob_start_len": 0,
        "top_logprobs_num": vocab_size,
    }
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
        answer = await client.post(f"{engine}/generate", json=body)
    tops = answer.json()["meta_info"]["input_top_logprobs"][len(call.prompt) :]
    return [{id_: logprob for logprob, id_, _ in top} for top in tops]


async def test_a_prefill_is_context_and_what_follows_it_trains(
    served: Gateway, recorder: Recorder, tokenizer: Tokenizer
) -> None:
    """Case 20: what the caller put in the model's mouth is in the row and does not train; the next turn goes on."""
    begun = {"role": "assistant", "content": "It costs "}
    answer = await ask(served, [USER, begun], continue_final_message=True, **saying("four coins."))
    whole = {"role": "assistant", "content": begun["content"] + answer["message"]["content"]}
    await ask(served, [USER, whole, NEXT])
    row = await assert_one_row(served, recorder.calls)
    first = recorder.calls[0]
    assert tokenizer.decode(first.prompt).endswith("assistant\nIt costs ")
    assert not row.action_mask[: len(first.prompt)].any()
    assert row.action_mask[len(first.prompt) : len(first.prompt + first.ids)].all()
    spans = (await served.admin.get(f"/v1/episodes/{EPISODE}?view=tokens")).json()["data"]
    kinds = [(span["kind"], span["trains"]) for span in spans]
    assert ("forced", False) in kinds, kinds


async def test_forced_and_constrained_outputs_are_flagged(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 20: a forced tool call, JSON and a pattern are the grammar's choice too, and every token says so."""
    forced = {"type": "function", "function": {"name": "price"}}
    ways: list[dict[str, Any]] = [
        {"tools": [PRICE], "tool_choice": forced},
        {"response_format": {"type": "json_object"}},
        {"regex": "[a-z]{3}"},
        {},
    ]
    for way in ways:
        await ask(served, [USER], max_tokens=16, **way)
    rows = await assert_exact(served, recorder.calls)
    found = {row.turns[row.action_mask][0]: flags_of(row).pop() for row in rows}
    constrained = [bool(found[turn] & OutputFlags.CONSTRAINED) for turn in range(4)]
    forced_ones = [bool(found[turn] & OutputFlags.FORCED) for turn in range(4)]
    assert constrained == [True, True, True, False]
    assert forced_ones == [True, False, False, False]


async def test_every_call_keeps_its_own_sampling_parameters(
    served: Gateway, recorder: Recorder
) -> None:
    """Case 21: what each call asked for is stored with its turn, and the flags of its tokens follow from it."""
    ways: list[tuple[dict[str, Any], Sampling, OutputFlags]] = [
        ({}, Sampling(max_tokens=8), OutputFlags.NONE),
        ({"temperature": 0.7}, Sampling(0.7, max_tokens=8), OutputFlags.NONE),
        ({"top_k": 4}, Sampling(top_k=4, max_tokens=8), OutputFlags.NARROWED),
        (
            {"presence_penalty": 0.5, "seed": 3},
            Sampling(max_tokens=8, seed=3, presence_penalty=0.5),
            OutputFlags.PENALIZED,
        ),
        ({"logit_bias": {"40": 2.0}}, Sampling(max_tokens=8), OutputFlags.PENALIZED),
    ]
    messages: list[Any] = [USER]
    for way, _, _ in ways:
        answer = await ask(served, messages, max_tokens=8, min_tokens=8, **way)
        messages += [answer["message"], NEXT]
    row = await assert_one_row(served, recorder.calls)
    turns = await served.store.turns(EPISODE)
    assert [turn.sampling for turn in turns] == [sampling for _, sampling, _ in ways]
    for ordinal, (_, _, flags) in enumerate(ways):
        assert set(row.flags[row.turns == ordinal]) == {int(flags | OutputFlags.TRUNCATED)}


@pytest.mark.parametrize("streamed", [True, False])
async def test_the_distribution_that_was_sampled_is_the_one_recorded(
    served: Gateway, recorder: Recorder, engine: str, tokenizer: Tokenizer, *, streamed: bool
) -> None:
    """Case 21: logprobs are relative to what temperature and truncation left, as recomputed over the whole vocabulary."""
    ways: dict[str, dict[str, float]] = {
        "ep_cool": {"temperature": 0.7},
        "ep_top_k": {"top_k": 3},
        "ep_top_p": {"top_p": 0.2},
        "ep_min_p": {"min_p": 0.9},
        "ep_both": {"top_k": 3, "temperature": 0.7},
    }
    for episode_id, way in ways.items():
        body = {"messages": [USER], "max_tokens": 8, "ignore_eos": True, "stream": streamed, **way}
        headers = {"X-Turngate-Episode": episode_id}
        answer = await served.admin.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        call = recorder.calls.pop()
        row = await assert_one_row(served, [call], episode_id)
        places = await distributions(engine, call, vocab_size=tokenizer.vocab_size)
        expected = [
            logprob_under(place, token, **way)
            for place, token in zip(places, call.ids, strict=True)
        ]
        assert np.abs(row.behavior_logprobs[row.action_mask] - expected).max() < CLOSE


def logprob_under(
    place: dict[int, float],
    token: int,
    *,
    temperature: float = 1.0,
    top_k: int = 10**9,
    top_p: float = 1.0,
    min_p: float = 0.0,
) -> float:
    """A slow reference in float64: temper, keep the likeliest, renormalize."""
    weights = {id_: math.exp(logprob / temperature) for id_, logprob in place.items()}
    total, before, kept = sum(weights.values()), 0.0, dict[int, float]()
    for id_, weight in sorted(weights.items(), key=lambda item: -item[1]):
        if len(kept) < top_k and before <= top_p and weight >= min_p * max(weights.values()):
            kept[id_] = weight
        before += weight / total
    return math.log(kept[token] / sum(kept.values()))


async def test_what_does_not_train_here_is_refused_before_it_is_sampled(
    start_gateway: StartGateway, recorder: Recorder
) -> None:
    """Case 21: with flagged_tokens=refuse a gateway asks the engine for no such token."""
    async with start_gateway(recorder, flagged_tokens="refuse") as served:
        body = {"messages": [USER], "max_tokens": 8, "top_p": 0.5}
        answer = await served.admin.post("/v1/chat/completions", json=body)
    assert answer.json()["error"]["code"] == "sampling_not_trainable"
    assert recorder.calls == []


async def test_recorded_logprobs_are_those_of_the_policy(
    served: Gateway, recorder: Recorder, engine: str, tokenizer: Tokenizer
) -> None:
    """Case 23: what a turn recorded, the engine says again when it reads the same ids as a prompt, to 1e-4.

    An engine on CPU does not speculate. This stands for it: drafted or not, a token's logprob must be the target model's.
    """
    messages: list[Any] = [USER]
    for _ in range(3):
        answer = await ask(served, messages, max_tokens=24, ignore_eos=True)
        messages += [answer["message"], NEXT]
    row = await assert_one_row(served, recorder.calls)
    (first, *_) = np.flatnonzero(row.action_mask)
    whole = EngineCall("", row.tokens[:first].tolist(), {}, ids=row.tokens[first:].tolist())
    again = await distributions(engine, whole, vocab_size=tokenizer.vocab_size)
    recomputed = [place[token] for place, token in zip(again, whole.ids, strict=True)]
    trained = row.action_mask[first:]
    assert trained.sum() == 72
    assert np.abs(recomputed - row.behavior_logprobs[first:])[trained].max() < CLOSE
