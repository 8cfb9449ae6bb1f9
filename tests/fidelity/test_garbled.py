"""An engine that does not say how it sampled a token: the turn fails, and nothing of it is recorded."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from gateway.turn.sampler import MAX_ENGINES
from tests.fidelity.agent import USER
from tests.fidelity.received import EPISODE, assert_exact
from tests.fidelity.recorder import Recorder
from tests.gateways import Gateway

pytestmark = pytest.mark.engine
PATH = "/v1/chat/completions"
HEADERS = {"X-Turngate-Episode": EPISODE}
BODY: Any = {"messages": [USER], "max_tokens": 8, "ignore_eos": True}
Meta = dict[str, Any]


def without_a_logprob(meta: Meta) -> None:
    meta["output_token_logprobs"] = meta["output_token_logprobs"][:-1]


def with_logprobs_of_other_tokens(meta: Meta) -> None:
    for logprob in meta["output_token_logprobs"]:
        logprob[1] += 1


def without_sampling_logprobs(meta: Meta) -> None:
    meta.pop("output_token_sampling_logprobs", None)


def without_a_sampling_logprob(meta: Meta) -> None:
    meta["output_token_sampling_logprobs"] = meta["output_token_sampling_logprobs"][:-1]


def with_a_logprob_of_nothing(meta: Meta) -> None:
    meta["output_token_logprobs"][-1][0] = None


WAYS: list[tuple[dict[str, Any], Callable[[Meta], None]]] = [
    ({}, without_a_logprob),
    ({}, with_logprobs_of_other_tokens),
    ({}, with_a_logprob_of_nothing),
    ({"top_k": 4}, without_sampling_logprobs),
    ({"top_k": 4}, without_a_sampling_logprob),
]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_token_without_its_logprob_fails_the_turn(
    served: Gateway, recorder: Recorder, *, streamed: bool
) -> None:
    """Case 24: fewer logprobs than tokens, those of others, or plain ones under truncation: an error, and no turn."""
    for way, spoil in WAYS:
        recorder.change = partial(spoil_tokens, spoil)
        body = {**BODY, **way, "stream": streamed}
        answer = await served.admin.post(PATH, json=body, headers=HEADERS)
        assert answer.status_code == 503, spoil.__name__
        assert answer.json()["error"]["code"] == "engine_unavailable"
        assert await served.store.turns(EPISODE) == []
        assert len(recorder.calls) == MAX_ENGINES
        recorder.calls.clear()
    recorder.change = None
    answer = await served.admin.post(PATH, json=BODY, headers=HEADERS)
    assert answer.status_code == 200
    await assert_exact(served, recorder.calls)


def spoil_tokens(spoil: Callable[[Meta], None], answer: dict[str, Any]) -> None:
    if answer["output_ids"]:
        spoil(answer["meta_info"])
