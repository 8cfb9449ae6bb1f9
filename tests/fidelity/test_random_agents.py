"""Whatever agents do to their histories, each sampled token trains once, exactly as it was sampled."""

from pathlib import Path

from tests.fidelity.random_agent import WEIGHTS
from tests.fidelity.random_episodes import Tally, running_world
from tests.profiles import per_profile

EPISODES = per_profile(ci=100, nightly=200)


async def test_every_sampled_token_trains_once_whatever_agents_do(
    redis_url: str, tmp_path: Path
) -> None:
    """Agents extend, fork, edit, cut, retry and leave through two gateways; what trains is what was sampled."""
    tally = Tally()
    async with running_world(tmp_path, redis_url) as world:
        for seed in range(0, EPISODES, 25):
            await world.play(25, seed=seed, num_steps=6, tally=tally)
    assert tally.tokens_trained_once == tally.tokens_due > 0
    assert set(WEIGHTS) <= set(tally.did)
