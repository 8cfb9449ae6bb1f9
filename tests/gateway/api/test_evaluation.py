"""Held-out evaluation as an evaluator does it: side episodes through the gateway, and which policy they found best."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rollout.ledger.ledger import Ledger
from rollout.policies import PolicyStore
from tests.gateway.conftest import eventually
from tests.gateways import Gateway, StartGateway
from tests.scripted_engine import ScriptedEngine

SIDE = {"X-Turngate-Turn-Kind": "side"}
BODY: Any = {"model": "policy", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
async def evaluating(
    start_gateway: StartGateway, scripted: ScriptedEngine
) -> AsyncIterator[Gateway]:
    """A gateway to which four held-out episodes are enough."""
    async with start_gateway(scripted, best_min_episodes=4) as running:
        yield running


async def publish(served: Gateway, directory: Path, model_dir: Path, *versions: int) -> PolicyStore:
    """Policies on disk and in the ledger, as a trainer leaves them."""
    policies = PolicyStore(directory / "weights")
    ledger = await Ledger.open(f"sqlite:///{directory / 'ledger.db'}")
    for version in versions:
        policy = policies.write(
            version, parent=None, base_dir=model_dir, write_weights=lambda _: None, created=1
        )
        await ledger.record_policy(served.project, policy)
        await served.store.record_policy(policy)
    await ledger.close()
    return policies


async def evaluate(served: Gateway, version: int, rewards: list[float]) -> None:
    """Play held-out episodes with one version, which nothing replaces meanwhile."""
    await served.admin.post(f"/v1/policies/{version}/activate")
    for reward in rewards:
        opened = (await served.admin.post("/v1/episodes", headers=SIDE)).json()
        path = f"/e/{opened['id']}/v1/chat/completions"
        answer = await served.admin.post(path, json=BODY, headers=SIDE)
        assert answer.headers["x-turngate-policy-version"] == str(version)
        body = {"episode_id": opened["id"], "value": reward, "complete": True}
        (await served.admin.post("/v1/rewards", json=body)).raise_for_status()


async def shown(served: Gateway) -> dict[int, dict[str, Any]]:
    data = (await served.admin.get("/v1/policies")).json()["data"]
    return {policy["version"]: policy for policy in data}


async def test_held_out_episodes_name_the_best_policy(
    evaluating: Gateway, tmp_path: Path, model_dir: Path
) -> None:
    """Every policy shows its mean, count and standard error, and the best of those with enough says so, in metrics too."""
    await publish(evaluating, tmp_path, model_dir, 1, 2, 3, 4)
    for version, rewards in ((1, [0, 0, 0, 1]), (2, [1, 1, 0, 1]), (3, [1, 1, 1])):
        await evaluate(evaluating, version, [float(reward) for reward in rewards])

    async def all_heard() -> bool:
        scored = await shown(evaluating)
        return sum((p["evaluation"] or {}).get("episodes", 0) for p in scored.values()) == 11

    await eventually(all_heard)
    policies = await shown(evaluating)

    assert policies[2]["evaluation"] == {
        "mean_reward": 0.75,
        "episodes": 4,
        "standard_error": pytest.approx((0.75 / 3 / 4) ** 0.5),
    }
    assert policies[3]["evaluation"]["mean_reward"] == 1
    assert policies[4]["evaluation"] is None
    assert [version for version, policy in policies.items() if policy["is_best"]] == [2]
    assert (await evaluating.admin.get("/v1/policies/2")).json() == policies[2]
    means = await evaluating.metric("turngate_evaluation_reward_mean")
    assert means == {'{version="1"}': 0.25, '{version="2"}': 0.75, '{version="3"}': 1}
    assert (await evaluating.metric("turngate_evaluation_episodes"))['{version="3"}'] == 3
    assert await evaluating.metric("turngate_best_policy_version") == {"": 2}


async def test_a_policy_whose_weights_are_gone_is_not_the_best(
    evaluating: Gateway, tmp_path: Path, model_dir: Path
) -> None:
    """Its score is shown and that it is gone; the best of those that one could still serve is named."""
    await publish(evaluating, tmp_path, model_dir, 1, 2)
    await evaluate(evaluating, 2, [1.0] * 4)
    await evaluate(evaluating, 1, [0.5] * 4)
    shutil.rmtree(tmp_path / "weights" / "v00000002")

    async def heard() -> bool:
        return all(policy["evaluation"] for policy in (await shown(evaluating)).values())

    await eventually(heard)
    policies = await shown(evaluating)

    assert (policies[2]["is_on_disk"], policies[2]["is_best"]) == (False, False)
    assert policies[2]["evaluation"]["mean_reward"] == 1
    assert (policies[1]["is_on_disk"], policies[1]["is_best"]) == (True, True)
    assert await evaluating.metric("turngate_best_policy_version") == {"": 1}
    assert list(await evaluating.metric("turngate_evaluation_episodes")) == ['{version="1"}']
