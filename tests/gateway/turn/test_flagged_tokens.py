"""Sampling that is not the policy's own is marked on what it sampled, and refused where it may not be trained."""

from typing import Any

import pytest
from openai import BadRequestError

from rollout.episode.turn import FLAGGED, OutputFlags
from tests.gateway.conftest import Gateway, StartGateway
from tests.scripted_engine import ScriptedEngine

USER: Any = [{"role": "user", "content": "What does a melon cost?"}]
WAYS: list[tuple[dict[str, Any], OutputFlags]] = [
    ({}, OutputFlags.NONE),
    ({"temperature": 0.7}, OutputFlags.NONE),
    ({"temperature": 0}, OutputFlags.GREEDY),
    ({"frequency_penalty": 0.5}, OutputFlags.PENALIZED),
    ({"extra_body": {"repetition_penalty": 1.1}}, OutputFlags.PENALIZED),
    ({"logit_bias": {"5": 1}}, OutputFlags.PENALIZED),
    ({"extra_body": {"regex": "[a-z]+"}}, OutputFlags.CONSTRAINED),
    ({"response_format": {"type": "json_object"}}, OutputFlags.CONSTRAINED),
]


@pytest.mark.parametrize(("way", "flags"), WAYS)
async def test_every_way_of_sampling_is_marked(
    served: Gateway, way: dict[str, Any], flags: OutputFlags
) -> None:
    """Every token is marked with what changed its sampling, in the episode and in its training sequences."""
    async with served.openai() as client:
        await client.chat.completions.create(model="policy", messages=USER, **way)
    (episode,) = (await served.admin.get("/v1/episodes")).json()["data"]

    view = await served.admin.get(f"/v1/episodes/{episode['id']}?view=sequences")

    (row,) = view.json()["data"]
    found = {
        flag & int(FLAGGED)
        for flag, acts in zip(row["flags"], row["action_mask"], strict=True)
        if acts
    }
    assert found == {int(flags)}
    assert not any(
        flag for flag, acts in zip(row["flags"], row["action_mask"], strict=True) if not acts
    )


async def test_sampling_that_would_not_train_is_refused(
    start_gateway: StartGateway, scripted: ScriptedEngine
) -> None:
    """With flagged_tokens=refuse the error names what was found; side calls and plain sampling are accepted."""
    async with (
        start_gateway(scripted, flagged_tokens="refuse") as served,
        served.openai() as client,
    ):
        with pytest.raises(BadRequestError) as refused:
            await client.chat.completions.create(
                model="policy", messages=USER, top_p=0.9, temperature=0
            )
        await client.chat.completions.create(model="policy", messages=USER, temperature=0.7)
        side = {"X-Turngate-Turn-Kind": "side"}
        await client.chat.completions.create(
            model="policy", messages=USER, temperature=0, extra_headers=side
        )

    assert refused.value.code == "sampling_not_trainable"
    assert "narrowed, greedy" in refused.value.message
    assert len(scripted.requests) == 2
