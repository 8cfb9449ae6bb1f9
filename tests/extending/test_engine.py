"""A kind of engine from outside our tree: one file, and one line that gives it a name."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rollout.engine.factory import ENGINE_KINDS, EngineFactory
from rollout.policies import PolicyStore
from rollout.settings import SettingsError
from rollout.tokenizer.tokenizer import Tokenizer
from tests.extending.toy_engine import ToyEngine
from tests.gateways import Gateway, StartGateway

CHAT = "/v1/chat/completions"
ASKED = {"model": "policy", "messages": [{"role": "user", "content": "Hello"}]}
KINDS = ENGINE_KINDS | {"toy": ToyEngine}


@pytest.fixture
def spoken(tokenizer: Tokenizer) -> list[int]:
    return [*tokenizer.encode("Hello there."), min(tokenizer.eos_ids)]


@pytest.fixture
async def served(start_gateway: StartGateway, spoken: list[int]) -> AsyncIterator[Gateway]:
    url = "toy://" + ",".join(map(str, spoken))
    async with start_gateway(url, engine_kinds=KINDS) as running:
        yield running


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_turn_of_a_foreign_engine_is_recorded(
    served: Gateway, spoken: list[int], *, streamed: bool
) -> None:
    """Streamed or whole, the caller reads the engine's words and the episode keeps its tokens."""
    answer = await served.admin.post(
        CHAT, json=ASKED | {"stream": streamed}, headers={"x-turngate-episode": "ep_toy"}
    )

    assert answer.status_code == 200
    (turn,) = await served.store.turns("ep_toy")
    assert turn.outputs[0].ids.tolist() == spoken
    assert turn.outputs[0].behavior_logprobs.tolist() == [-0.25] * len(spoken)
    assert answer.text.count("data:") > len(spoken) if streamed else "Hello there." in answer.text


async def test_a_foreign_engine_is_swapped(
    served: Gateway, model_dir: Path, tmp_path: Path
) -> None:
    """A policy that is activated is loaded into it, and the next turn carries its version."""
    policies = PolicyStore(tmp_path / "weights")
    policies.adopt(model_dir, created=1)
    policy = policies.write(
        3, parent=0, base_dir=model_dir, write_weights=lambda directory: None, created=2
    )
    await served.store.record_policy(policy)
    activated = (await served.admin.post("/v1/policies/3/activate")).json()
    answer = await served.admin.post(CHAT, json=ASKED)

    assert [(swap["version"], swap["error"]) for swap in activated["swaps"]] == [(3, None)]
    assert answer.headers["x-turngate-policy-version"] == "3"


async def test_a_grammar_that_an_engine_lacks_is_refused(served: Gateway) -> None:
    """What the gateway asks for is what the engine says it can do."""
    answer = await served.admin.post(CHAT, json=ASKED | {"regex": "[a-z]+"})

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_value"


@pytest.mark.parametrize("url", ["toy://1", "toy+http://host:1", "host:1"])
def test_an_unknown_kind_of_engine_is_refused(url: str) -> None:
    """Before anything is served, by a message that names the setting, the URL and the kinds there are."""
    with pytest.raises(SettingsError, match="TURNGATE_ENGINES: " + re.escape(url) + ".*sglang"):
        EngineFactory().open(url)
